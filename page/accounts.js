// @ts-check
import { byId, element, Rows, setAttribute, setText, show } from './dom.js';
import { BREAKER_WORDS, HOLD_WORDS, compact, counted, moment, short, span, whole } from './words.js';
/** @import { Account, Client, Hold, Lane, Status } from './types.js' */

/** What an act's dialog starts with. @typedef {{ account?: string, client?: string }} Target */
/** @typedef {(act: 'pause' | 'resume' | 'drop', target: Target) => void} OpenAct */

/** The lane's classes in the order in which they go. */
const CLASSES = ['cancel', 'own', 'change', 'order', 'other', 'read', 'history'];
const NANOSECONDS = 1_000_000_000;

/** Each account's counters, floor and breaker; the lanes, and who waits in them. */
export class AccountsView {
  #figures = new Rows(byId('figures'), createFigure);
  #lanes = new Rows(byId('lane-rows'), createLane);
  #accounts;
  #clients;

  /** @param {OpenAct} openAct */
  constructor(openAct) {
    this.#accounts = new Rows(byId('account-list'), (/** @type {Account} */ { name }) =>
      createAccount(name, openAct),
    );
    this.#clients = new Rows(byId('client-rows'), (/** @type {Client} */ { name }) =>
      createClient(name, openAct),
    );
  }

  /** @param {Status} status */
  render(status) {
    this.#figures.render(figuresOf(status), ({ name }) => name, updateFigure);
    const now = Date.parse(status.now);
    this.#accounts.render(
      status.accounts,
      ({ name }) => name,
      (card, account) => updateAccount(card, account, now),
    );
    this.#lanes.render(status.lanes, ({ name }) => name, updateLane);
    show(byId('lanes'), status.lanes.length > 0);
    show(byId('lanes-none'), status.lanes.length === 0);
    // In the configuration's order: sorted by who waits, buttons would move away under the pointer.
    this.#clients.render(status.clients, ({ name }) => name, updateClient);
  }
}

/** @typedef {{ name: string, value: string, detail: string, wide?: boolean }} Figure */

/**
 * @param {Status} status
 * @returns {Figure[]}
 */
function figuresOf({ nonce, calls, clockOffsetSeconds }) {
  const floor = nonce.floor === null || nonce.floor === '0' ? 'none yet' : nonce.floor;
  const offset =
    Math.abs(clockOffsetSeconds) < 0.001
      ? 'level with Kraken’s'
      : `${signed(clockOffsetSeconds)} to Kraken’s`;
  return [
    {
      name: 'Nonce floor',
      value: floor,
      detail: `${leadWords(nonce.leadSeconds)}, ${compact(nonce.issued)} drawn`,
      wide: true,
    },
    {
      name: 'Nonces',
      value: `${short(nonce.perSecond)}/s`,
      detail: `peak ${whole(nonce.burst)}/s`,
    },
    { name: 'Calls', value: whole(calls.total), detail: 'since the start' },
    { name: 'Executed', value: whole(calls.executed), detail: share(calls.executed, calls.total) },
    { name: 'Refused', value: whole(calls.refused), detail: share(calls.refused, calls.total) },
    { name: 'Unknown', value: whole(calls.unknown), detail: share(calls.unknown, calls.total) },
    { name: 'Not sent', value: whole(calls.notSent), detail: share(calls.notSent, calls.total) },
    { name: 'Clock', value: offset.split(' ')[0] ?? '', detail: offset.split(' ').slice(1).join(' ') },
  ];
}

/** @param {number} seconds */
function signed(seconds) {
  return `${seconds > 0 ? '+' : '−'}${short(Math.abs(seconds))} s`.replace(' ', '\u00a0');
}

/** @param {number} seconds */
function leadWords(seconds) {
  if (seconds < 0.05) return 'level with the clock';
  return `${seconds < 60 ? `${seconds.toFixed(1)} s` : span(seconds)} ahead of the clock`;
}

/**
 * @param {number} part
 * @param {number} all
 */
function share(part, all) {
  if (all === 0 || part === 0) return part === 0 ? 'none' : '';
  const percent = (100 * part) / all;
  return percent < 0.1 ? 'below 0.1 %' : `${short(Number(percent.toFixed(1)))} %`;
}

function createFigure() {
  const name = element('dt');
  const value = element('dd', { class: 'value' });
  const detail = element('dd', { class: 'muted' });
  return { root: element('div', {}, name, value, detail), name, value, detail };
}

/**
 * @param {ReturnType<typeof createFigure>} row
 * @param {Figure} figure
 */
function updateFigure(row, figure) {
  setAttribute(row.root, 'class', figure.wide === true ? 'wide' : undefined);
  setText(row.name, figure.name);
  setText(row.value, figure.value);
  setText(row.detail, figure.detail);
}

/** @param {string} label */
function createGauge(label) {
  const bar = element('span', { class: 'fill' });
  const meter = element(
    'div',
    { class: 'gauge', role: 'meter', 'aria-label': label, 'aria-valuemin': '0' },
    bar,
  );
  const text = element('span', { class: 'gauge-text' });
  const head = element('div', { class: 'gauge-head' }, element('span', {}, label), text);
  return { root: element('div', { class: 'gauge-row' }, head, meter), bar, meter, text };
}

/**
 * @param {ReturnType<typeof createGauge>} gauge
 * @param {number} level
 * @param {number} max
 * @param {string} words
 */
function updateGauge({ bar, meter, text }, level, max, words) {
  const part = max > 0 ? Math.min(1, Math.max(0, level / max)) : 0;
  setAttribute(meter, 'aria-valuemax', String(max));
  setAttribute(meter, 'aria-valuenow', String(Math.min(max, Math.max(0, level))));
  setAttribute(meter, 'aria-valuetext', words);
  setAttribute(meter, 'data-kind', part >= 1 ? 'error' : part >= 0.8 ? 'warning' : 'ok');
  bar.style.transform = `scaleX(${part.toFixed(4)})`;
  setText(text, words);
}

/**
 * @param {string} name
 * @param {OpenAct} openAct
 */
function createAccount(name, openAct) {
  const tier = element('span', { class: 'muted' });
  const mark = element('span', { class: 'mark small', 'aria-hidden': 'true' });
  const state = element('span');
  const title = element('h3', {}, name);
  const act = element('button', { type: 'button', class: 'quiet small' });
  act.addEventListener('click', () =>
    openAct(act.dataset.act === 'resume' ? 'resume' : 'pause', { account: name }),
  );
  const chip = element('span', { class: 'state' }, mark, state);
  const head = element('div', { class: 'account-head' }, title, chip, tier, act);
  const calls = createGauge('Call counter');
  const engine = createGauge('Matching engine counter');
  const waiting = element('dd');
  const floor = element('dd');
  const lead = element('dd', { class: 'muted' });
  const breaker = element('dd');
  const facts = element(
    'dl',
    { class: 'facts-list' },
    element('div', {}, element('dt', {}, 'Waiting'), waiting),
    element('div', {}, element('dt', {}, 'Own nonce floor'), floor, lead),
    element('div', {}, element('dt', {}, 'Breaker'), breaker),
  );
  const hold = element('p', { class: 'hold' });
  const root = element('li', { class: 'card account' }, head, calls.root, engine.root, facts, hold);
  return { root, tier, mark, state, calls, engine, waiting, floor, lead, breaker, hold, act };
}

/**
 * @param {ReturnType<typeof createAccount>} card
 * @param {Account} account
 * @param {number} now unix ms, of the proxy
 */
function updateAccount(card, account, now) {
  const { callCounter, engineCounter, breaker, hold, keyFloor } = account;
  setText(card.tier, `${account.tier} · key ${account.fingerprint}`);
  const { decayPerSecond } = callCounter;
  const decay = decayPerSecond === undefined ? '' : `, falls ${short(decayPerSecond)}/s`;
  updateGauge(card.calls, callCounter.level, callCounter.max, `${counterText(callCounter)}${decay}`);
  updateGauge(card.engine, engineCounter.level, engineCounter.max, counterText(engineCounter));
  const kind = breaker.open ? 'error' : hold === null ? 'ok' : 'warning';
  setAttribute(card.root, 'data-kind', kind);
  setAttribute(card.mark, 'data-kind', kind);
  setText(card.state, breaker.open ? 'Breaker open' : hold === null ? 'In use' : HOLD_WORDS[hold.mode]);
  setText(card.waiting, whole(account.waiting));
  setText(card.breaker, breakerText(account));
  setText(card.floor, keyFloor ?? 'none, the shared one holds');
  setText(card.lead, keyFloor === null ? '' : leadWords(leadOf(keyFloor, now)));
  updateHold(card.hold, hold);
  updateHoldButton(card.act, hold, `account ${account.name}`);
}

/** @param {Account['callCounter']} counter */
function counterText({ level, max }) {
  return `${short(Number(level.toFixed(1)))} of ${whole(max)}`;
}

/** @param {Account} account */
function breakerText({ breaker }) {
  if (!breaker.open) return 'closed';
  const why = breaker.why === null ? 'open' : BREAKER_WORDS[breaker.why];
  return breaker.seconds > 0 ? `${why}; next try in ${span(breaker.seconds)}` : `${why}; being tried now`;
}

/**
 * @param {string} floor nanoseconds, decimal text
 * @param {number} now unix ms
 */
function leadOf(floor, now) {
  return /^\d+$/.test(floor) ? Number(BigInt(floor) - BigInt(now) * 1_000_000n) / NANOSECONDS : 0;
}

/**
 * @param {HTMLElement} target
 * @param {Hold | null} hold
 */
function updateHold(target, hold) {
  show(target, hold !== null);
  if (hold === null) return;
  setText(target, `${HOLD_WORDS[hold.mode]} by ${hold.who} since ${moment(hold.since)}: ${hold.why}`);
}

/**
 * @param {HTMLButtonElement} button
 * @param {Hold | null} hold
 * @param {string} whom
 */
function updateHoldButton(button, hold, whom) {
  const act = hold === null ? 'pause' : 'resume';
  setAttribute(button, 'data-act', act);
  setText(button, hold === null ? 'Pause…' : 'Resume…');
  setAttribute(button, 'aria-label', `${hold === null ? 'Pause' : 'Resume'} ${whom}…`);
}

function createLane() {
  const name = element('th', { scope: 'row' });
  const inFlight = element('td', { class: 'number' });
  const waiting = element('td', { class: 'number' });
  const classes = element('td', { class: 'muted' });
  return { root: element('tr', {}, name, inFlight, waiting, classes), name, inFlight, waiting, classes };
}

/**
 * @param {ReturnType<typeof createLane>} row
 * @param {Lane} lane
 */
function updateLane(row, lane) {
  setText(row.name, lane.name);
  setText(row.inFlight, whole(lane.inFlight));
  setText(row.waiting, whole(lane.waiting));
  const names = [...CLASSES, ...Object.keys(lane.byClass).filter((name) => !CLASSES.includes(name))];
  const waiting = names.filter((name) => (lane.byClass[name] ?? 0) > 0);
  setText(
    row.classes,
    waiting.map((name) => counted(lane.byClass[name] ?? 0, name, name)).join(', ') || 'nothing',
  );
}

/**
 * @param {string} name
 * @param {OpenAct} openAct
 */
function createClient(name, openAct) {
  const waiting = element('td', { class: 'number' });
  const hold = element('span', { class: 'row-hold' });
  const drop = element(
    'button',
    { type: 'button', class: 'quiet small', 'aria-label': `Drop what ${name} has waiting…` },
    'Drop…',
  );
  drop.addEventListener('click', () => openAct('drop', { client: name }));
  const act = element('button', { type: 'button', class: 'quiet small' });
  act.addEventListener('click', () =>
    openAct(act.dataset.act === 'resume' ? 'resume' : 'pause', { client: name }),
  );
  const head = element('th', { scope: 'row' }, name, hold);
  const acts = element('td', { class: 'row-acts' }, drop, act);
  return { root: element('tr', {}, head, waiting, acts), waiting, hold, act };
}

/**
 * @param {ReturnType<typeof createClient>} row
 * @param {Client} client
 */
function updateClient(row, client) {
  setText(row.waiting, whole(client.waiting));
  setAttribute(row.root, 'data-waits', client.waiting > 0);
  const { hold } = client;
  show(row.hold, hold !== null);
  setText(
    row.hold,
    hold === null ? '' : `${HOLD_WORDS[hold.mode]} by ${hold.who} since ${moment(hold.since)}`,
  );
  updateHoldButton(row.act, hold, `client ${client.name}`);
}
