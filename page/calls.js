// @ts-check
import { byId, element, Rows, setAttribute, setText, show } from './dom.js';
import { callKey } from './model.js';
import { counted, exactMoment, milliseconds, whole } from './words.js';
/** @import { Model } from './model.js' */
/** @import { Call } from './types.js' */

/** @type {Readonly<Record<Call['outcome'], { word: string, kind: string }>>} */
const OUTCOMES = {
  executed: { word: 'Executed', kind: 'ok' },
  refused: { word: 'Refused', kind: 'error' },
  unknown: { word: 'Unknown', kind: 'warning' },
  'not-sent': { word: 'Not sent', kind: 'info' },
};
/** @type {Readonly<Record<string, string>>} */
const SETTLED = { done: 'found out: done', 'not-done': 'found out: not done', untold: 'not found out' };

/**
 * The last calls, newest first, with a filter. While the pointer or the focus is in the list it stands still: a line
 * must not slip away under the eye.
 */
export class CallsView {
  #rows = new Rows(byId('call-rows'), createRow, true);
  #box = byId('calls-box');
  #filter = /** @type {HTMLInputElement} */ (byId('filter'));
  #outcome = /** @type {HTMLSelectElement} */ (byId('outcome'));
  #count = byId('calls-count');
  #none = byId('calls-none');
  /** @type {Model | undefined} */
  #model;
  /** What the list showed when it was stopped. @type {{ calls: Call[], arrived: number } | undefined} */
  #held;
  #hasPointer = false;
  #hasFocus = false;
  /** Texts to search, made once a call. @type {WeakMap<Call, string>} */
  #texts = new WeakMap();

  constructor() {
    this.#box.addEventListener('pointerenter', (event) =>
      this.#hold({ pointer: event.pointerType === 'mouse' }),
    );
    this.#box.addEventListener('pointerleave', () => this.#hold({ pointer: false }));
    this.#box.addEventListener('focusin', () => this.#hold({ focus: true }));
    this.#box.addEventListener('focusout', () => this.#hold({ focus: false }));
    this.#filter.addEventListener('input', () => this.#show());
    this.#outcome.addEventListener('change', () => this.#show());
  }

  /** @param {Model} model */
  render(model) {
    this.#model = model;
    if (this.#held === undefined) this.#show();
    else this.#tell(this.#visible().length);
  }

  /** @param {{ pointer?: boolean, focus?: boolean }} what */
  #hold({ pointer = this.#hasPointer, focus = this.#hasFocus }) {
    this.#hasPointer = pointer;
    this.#hasFocus = focus;
    if (!pointer && !focus) this.#held = undefined;
    else if (this.#model !== undefined) {
      this.#held ??= { calls: this.#model.calls, arrived: this.#model.arrived };
    }
    setAttribute(this.#box, 'data-held', this.#held !== undefined);
    this.#show();
  }

  #show() {
    if (this.#model === undefined) return;
    const visible = this.#visible();
    this.#rows.render(visible, callKey, updateRow);
    this.#tell(visible.length);
  }

  #visible() {
    const calls = this.#held?.calls ?? this.#model?.calls ?? [];
    const words = this.#filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const outcome = this.#outcome.value;
    if (words.length === 0 && outcome === '') return calls;
    return calls.filter(
      (call) => isOf(call, outcome) && words.every((word) => this.#textOf(call).includes(word)),
    );
  }

  /** @param {number} visible */
  #tell(visible) {
    const model = this.#model;
    if (model === undefined) return;
    const { calls, arrived } = this.#held ?? model;
    const parts = [
      visible === calls.length
        ? counted(visible, 'call')
        : `${whole(visible)} of ${counted(calls.length, 'call')}`,
    ];
    if (this.#held !== undefined) {
      const fresh = model.arrived - arrived;
      parts.push(fresh === 0 ? 'held while you read' : `held while you read: ${whole(fresh)} new`);
    } else if (model.skipped > 0) parts.push(`${whole(model.skipped)} more in the last second`);
    setText(this.#count, parts.join(' · '));
    show(this.#none, visible === 0);
    setText(this.#none, calls.length === 0 ? 'No calls yet.' : 'No call is like that.');
  }

  /** @param {Call} call */
  #textOf(call) {
    let text = this.#texts.get(call);
    if (text === undefined) {
      const { client, account, endpoint, outcome, requestId, nonce, txids } = call;
      text = [client, account, endpoint, outcome, requestId, nonce ?? '', ...txids, notesOf(call)]
        .join(' ')
        .toLowerCase();
      this.#texts.set(call, text);
    }
    return text;
  }
}

/**
 * @param {Call} call
 * @param {string} outcome
 */
function isOf(call, outcome) {
  if (outcome === '') return true;
  return outcome === 'trouble' ? call.outcome !== 'executed' : call.outcome === outcome;
}

/**
 * What went wrong, then what else is worth knowing.
 * @param {Call} call
 */
function notesOf({ krakenError, error, reason, rule, settled, txids, replayed, merged, hungUp, status }) {
  /** @type {string[]} */
  const notes = [];
  if (krakenError !== null) notes.push(krakenError);
  if (error !== null) notes.push(rule === null ? error : `${error} (${rule})`);
  if (reason !== null) notes.push(reason);
  if (settled !== null) notes.push(SETTLED[settled] ?? settled);
  if (status !== null && status >= 400) notes.push(`HTTP ${status}`);
  if (replayed) notes.push('replayed');
  if (merged) notes.push('merged');
  if (hungUp) notes.push('client hung up');
  notes.push(...txids);
  return notes.join(' · ');
}

const CELLS = /** @type {const} */ ([
  'time',
  'endpoint',
  'outcome',
  'client',
  'account',
  'lane',
  'kraken',
  'total',
  'nonce',
  'request',
  'notes',
]);
const NUMBERS = new Set(['lane', 'kraken', 'total']);

/** @returns {{ root: HTMLElement, cells: Record<typeof CELLS[number], HTMLElement>, mark: HTMLElement, word: HTMLElement, call: Call | undefined }} */
function createRow() {
  const cells = /** @type {Record<typeof CELLS[number], HTMLElement>} */ ({});
  const root = element('tr', { role: 'row' });
  for (const name of CELLS) {
    const cell = element('td', { role: 'cell', class: NUMBERS.has(name) ? `c-${name} number` : `c-${name}` });
    cells[name] = cell;
    root.append(cell);
  }
  const mark = element('span', { class: 'mark tiny', 'aria-hidden': 'true' });
  const word = element('span');
  cells.outcome.append(mark, word);
  return { root, cells, mark, word, call: undefined };
}

/**
 * @param {ReturnType<typeof createRow>} row
 * @param {Call} call
 */
function updateRow(row, call) {
  // A call does not change any more: its row is written once.
  if (row.call === call) return;
  row.call = call;
  const { root, cells, mark, word } = row;
  const outcome = OUTCOMES[call.outcome];
  setAttribute(root, 'data-kind', outcome.kind);
  setAttribute(mark, 'data-kind', outcome.kind);
  setText(word, outcome.word);
  setText(cells.time, exactMoment(call.at));
  setText(cells.endpoint, call.endpoint);
  setText(cells.client, call.client);
  setText(cells.account, call.account);
  setText(cells.lane, milliseconds(call.waitMs));
  setText(cells.kraken, milliseconds(call.upstreamMs));
  setText(cells.total, milliseconds(call.totalMs));
  setText(cells.nonce, call.nonce ?? '–');
  setText(cells.request, call.requestId);
  setText(cells.notes, notesOf(call));
}
