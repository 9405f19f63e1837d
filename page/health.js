// @ts-check
import { byId, element, Rows, setAttribute, setText, show } from './dom.js';
import {
  counted,
  HOLD_MEANS,
  HOLD_WORDS,
  healthSentence,
  BREAKER_WORDS,
  holdTarget,
  krakenSentence,
  moment,
  SEVERITY_WORDS,
  size,
  span,
  troublesOf,
} from './words.js';
/** @import { Finding, Hold, Severity, Status } from './types.js' */

/** @typedef {'ok' | Severity} Kind */
/** @typedef {{ key: string, kind: Kind, text: string }} Note */

const RANK = { error: 0, warning: 1, info: 2, ok: 3 };

/** Health in words, what stands in the way, and what the key doctor found. */
export class HealthView {
  #verdict = byId('verdict');
  #notes = new Rows(byId('notes'), createNote);
  #findings = new Rows(byId('findings-list'), createFinding);

  /**
   * @param {Status} status
   * @param {boolean} isStale it is no longer known whether it is so
   */
  render(status, isStale) {
    const kind = verdictOf(status);
    setAttribute(this.#verdict, 'data-kind', kind);
    setAttribute(byId('verdict-mark'), 'data-kind', kind);
    setText(byId('verdict-text'), `${isStale ? 'Last known: ' : ''}${healthSentence(status)}`);
    setText(byId('verdict-more'), uptime(status));
    this.#notes.render(notesOf(status), ({ key }) => key, updateNote);
    const findings = together(status.findings).sort((a, b) => RANK[a.severity] - RANK[b.severity]);
    show(byId('findings-none'), findings.length === 0);
    show(byId('findings-list'), findings.length > 0);
    this.#findings.render(findings, findingKey, updateFinding);
  }
}

/**
 * What a screen reader is told when it changes: everything that decides whether somebody has to act.
 * @param {Status} status
 */
export function healthAloud(status) {
  const why = status.ready ? '' : `${status.reasons.map(({ detail }) => detail).join('. ')}.`;
  return [healthSentence(status), why, krakenSentence(status.krakenStatus)].filter(Boolean).join(' ');
}

/**
 * @param {Status} status
 * @returns {Kind}
 */
export function verdictOf(status) {
  if (!status.ready) return 'error';
  return troublesOf(status).length > 0 ? 'warning' : 'ok';
}

/** @param {Status} status */
function uptime({ startedAt, now, version }) {
  const seconds = (Date.parse(now) - Date.parse(startedAt)) / 1_000;
  return `Version ${version}, running for ${span(seconds)}.`;
}

/**
 * @param {Status} status
 * @returns {Note[]}
 */
function notesOf(status) {
  const { reasons, krakenStatus, nonce, journal, config, clockOffsetSeconds, startupWindow, hold } = status;
  /** @type {Note[]} */
  const notes = reasons.map(({ reason, detail }) => ({
    key: `reason ${reason}`,
    kind: 'error',
    text: detail,
  }));
  if (hold !== null) notes.push({ key: 'hold', kind: 'warning', text: holdSentence(hold) });
  for (const each of [...status.accounts, ...status.clients]) {
    if (each.hold === null) continue;
    notes.push({ key: `hold ${holdTarget(each.hold)}`, kind: 'warning', text: holdSentence(each.hold) });
  }
  for (const { name, breaker } of status.accounts) {
    if (!breaker.open) continue;
    const why = breaker.why === null ? 'its breaker is open' : BREAKER_WORDS[breaker.why];
    const next =
      breaker.seconds > 0 ? `it is tried again in ${span(breaker.seconds)}` : 'it is being tried now';
    notes.push({
      key: `breaker ${name}`,
      kind: 'error',
      text: `${name}: ${why}. Nothing is sent with it; ${next}.`,
    });
  }
  if (nonce.problem !== null)
    notes.push({ key: 'nonce', kind: 'error', text: `Nonce state: ${nonce.problem}` });
  notes.push({ key: 'kraken', kind: krakenKind(krakenStatus), text: krakenSentence(krakenStatus) });
  if (startupWindow.open) {
    notes.push({
      key: 'startup',
      kind: 'info',
      text: 'The startup window is open: calls are slowed down for a while after a start, cancels excepted.',
    });
  }
  if (Math.abs(clockOffsetSeconds) > 1) {
    const way = clockOffsetSeconds > 0 ? 'behind' : 'ahead of';
    const text = `This machine's clock is ${span(Math.abs(clockOffsetSeconds))} ${way} Kraken's.`;
    notes.push({ key: 'clock', kind: 'warning', text });
  }
  if (journal !== null) notes.push(journalNote(journal));
  for (const text of config.warnings) notes.push({ key: `config ${text}`, kind: 'warning', text });
  return notes.sort((a, b) => RANK[a.kind] - RANK[b.kind]);
}

/**
 * @param {NonNullable<Status['journal']>} journal
 * @returns {Note}
 */
function journalNote({ problem, lost, lines, bytes }) {
  const key = 'journal';
  const lostWords = lost === 0 ? '' : ` ${counted(lost, 'line')} lost.`;
  if (problem !== null) return { key, kind: 'error', text: `Journal: ${problem}.${lostWords}` };
  const text = `Journal: ${counted(lines, 'line')} written, ${size(bytes)}.${lostWords}`;
  return { key, kind: lost === 0 ? 'ok' : 'warning', text };
}

/**
 * @param {string | null} status
 * @returns {Kind}
 */
function krakenKind(status) {
  if (status === 'online') return 'ok';
  if (status === null) return 'info';
  return status === 'maintenance' ? 'error' : 'warning';
}

/** @param {Hold} hold */
function holdSentence(hold) {
  const { mode, since, who, why } = hold;
  return `${HOLD_WORDS[mode]}: ${holdTarget(hold)}, by ${who} since ${moment(since)} (${why}): ${HOLD_MEANS[mode]}.`;
}

function createNote() {
  const mark = element('span', { class: 'mark small', 'aria-hidden': 'true' });
  const word = element('span', { class: 'unseen' });
  const text = element('span');
  return { root: element('li', {}, mark, word, text), mark, word, text };
}

/**
 * @param {ReturnType<typeof createNote>} row
 * @param {Note} note
 */
function updateNote({ root, mark, word, text }, note) {
  setAttribute(root, 'data-kind', note.kind);
  setAttribute(mark, 'data-kind', note.kind);
  setText(word, note.kind === 'ok' ? '' : `${SEVERITY_WORDS[note.kind]}: `);
  setText(text, note.text);
}

/** One thing found, and of whom. @typedef {Omit<Finding, 'account'> & { accounts: (string | null)[] }} Found */

/**
 * What was found in the same words of several accounts is one thing to mend.
 * @param {readonly Finding[]} findings
 * @returns {Found[]}
 */
function together(findings) {
  /** @type {Map<string, Found>} */
  const found = new Map();
  for (const { account, ...finding } of findings) {
    const { code, severity, text, fix, since } = finding;
    const key = JSON.stringify([code, severity, text, fix]);
    const same = found.get(key);
    if (same === undefined) found.set(key, { ...finding, accounts: [account] });
    else {
      same.accounts.push(account);
      if (since < same.since) same.since = since;
    }
  }
  return [...found.values()];
}

/** @param {Found} found */
function findingKey({ code, accounts }) {
  return JSON.stringify([code, accounts]);
}

/** @param {Found} finding */
function createFinding({ accounts }) {
  const mark = element('span', { class: 'mark small', 'aria-hidden': 'true' });
  const severity = element('strong', { class: 'severity' });
  const chips = accounts.flatMap((name) => [element('span', { class: 'chip' }, name ?? 'all accounts'), ' ']);
  const text = element('span', { class: 'finding-text' });
  const fix = element('p', { class: 'fix' });
  const since = element('span', { class: 'muted since' });
  const head = element('p', { class: 'finding-head' }, severity, ' ', ...chips, text);
  const root = element('li', { class: 'card finding' }, mark, element('div', {}, head, fix), since);
  return { root, mark, severity, text, fix, since };
}

/**
 * @param {ReturnType<typeof createFinding>} row
 * @param {Found} finding
 */
function updateFinding({ root, mark, severity, text, fix, since }, finding) {
  setAttribute(root, 'data-kind', finding.severity);
  setAttribute(mark, 'data-kind', finding.severity);
  setText(severity, SEVERITY_WORDS[finding.severity]);
  setText(text, finding.text);
  setText(fix, `What to do: ${finding.fix}`);
  setText(since, `since ${moment(finding.since)}`);
}
