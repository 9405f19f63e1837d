// @ts-check
/** @import { Breaker, Hold, Severity, Status } from './types.js' */

const WHOLE = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });
const COMPACT = new Intl.NumberFormat('en-US', { notation: 'compact', maximumFractionDigits: 2 });
const CLOCK = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const LIST = new Intl.ListFormat('en');
/** A sentence names no more. */
const MOST_TROUBLES = 4;
const DAY = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' });

/** @param {number} count */
export function whole(count) {
  return WHOLE.format(count);
}

/**
 * A count where there is little room: `1,284`, `1.28M`.
 * @param {number} count
 */
export function compact(count) {
  return count < 100_000 ? whole(count) : COMPACT.format(count);
}

/**
 * A number with as many decimals as help at its size.
 * @param {number} value
 */
export function short(value) {
  if (Number.isInteger(value) || Math.abs(value) >= 100) return whole(value);
  return value.toFixed(Math.abs(value) < 10 ? 2 : 1).replace(/\.?0+$/, '');
}

/** @param {number | null | undefined} ms */
export function milliseconds(ms) {
  if (ms === null || ms === undefined) return '–';
  if (ms >= 1_000) return `${short(Number((ms / 1_000).toPrecision(3)))} s`;
  if (ms > 0 && ms < 0.1) return '<0.1 ms';
  return `${ms < 10 ? short(Number(ms.toFixed(1))) : whole(ms)} ms`;
}

/**
 * A span in words: `42 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`.
 * @param {number} seconds
 */
export function span(seconds) {
  const total = Math.max(0, Math.round(seconds));
  const minutes = Math.floor(total / 60);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / 24);
  if (days > 0) return join(days, 'd', hours % 24, 'h');
  if (hours > 0) return join(hours, 'h', minutes % 60, 'min');
  if (minutes > 0) return join(minutes, 'min', total % 60, 's');
  return `${total} s`;
}

/**
 * @param {number} large
 * @param {string} largeUnit
 * @param {number} small
 * @param {string} smallUnit
 */
function join(large, largeUnit, small, smallUnit) {
  return small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;
}

/**
 * A time of day here, with the date when it is not today's.
 * @param {number | string} at unix ms or ISO
 */
export function moment(at) {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return String(at);
  const time = CLOCK.format(date);
  return date.toDateString() === new Date().toDateString() ? time : `${DAY.format(date)}, ${time}`;
}

/**
 * To the millisecond: calls are told apart by it.
 * @param {string} at
 */
export function exactMoment(at) {
  const date = new Date(at);
  return `${CLOCK.format(date)}.${String(date.getMilliseconds()).padStart(3, '0')}`;
}

/**
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 */
export function counted(count, one, many = `${one}s`) {
  return `${whole(count)} ${count === 1 ? one : many}`;
}

/** @param {number} bytes */
export function size(bytes) {
  if (bytes < 1_024) return `${bytes} B`;
  if (bytes < 1_048_576) return `${short(bytes / 1_024)} KiB`;
  return `${short(bytes / 1_048_576)} MiB`;
}

/** @param {Hold} hold */
export function holdTarget(hold) {
  if (hold.account !== undefined) return `account ${hold.account}`;
  if (hold.client !== undefined) return `client ${hold.client}`;
  return 'everything';
}

/** @type {Readonly<Record<Hold['mode'], string>>} */
export const HOLD_WORDS = { pause: 'Paused', 'cancel-only': 'On cancel only', freeze: 'Frozen' };

/** @type {Readonly<Record<Hold['mode'], string>>} */
export const HOLD_MEANS = {
  pause: 'calls wait, then are answered EService:Busy',
  'cancel-only': 'cancels and reads go, the rest is refused',
  freeze: 'twin alarm: cancels and reads go, the rest is refused',
};

/** @type {Readonly<Record<NonNullable<Breaker['why']>, string>>} */
export const BREAKER_WORDS = {
  key: 'Kraken does not know this key',
  signature: "Kraken refuses this key's signature",
  lockout: 'Kraken has locked this key out',
};

/** @type {Readonly<Record<Severity, string>>} */
export const SEVERITY_WORDS = { error: 'Error', warning: 'Warning', info: 'Note' };

/** @type {Readonly<Record<string, string>>} Kraken's SystemStatus, and what it means here. */
const KRAKEN_WORDS = {
  online: 'Kraken is online.',
  maintenance: 'Kraken is in maintenance: it takes no calls.',
  cancel_only: 'Kraken takes cancels only.',
  post_only: 'Kraken takes post-only orders and cancels.',
  limit_only: 'Kraken takes limit orders and cancels only.',
};

/** @param {string | null} status */
export function krakenSentence(status) {
  if (status === null) return "Kraken's own status was not asked: nothing fails.";
  return KRAKEN_WORDS[status] ?? `Kraken says “${status}”.`;
}

/**
 * Whether calls go, and what an operator should look at.
 * @param {Status} status
 */
export function healthSentence(status) {
  if (!status.ready) return 'Not ready: calls are not taken.';
  const troubles = troublesOf(status);
  if (troubles.length === 0) return 'Ready: calls are taken and sent.';
  const named = troubles.slice(0, MOST_TROUBLES);
  if (troubles.length > MOST_TROUBLES) named.push(`${troubles.length - MOST_TROUBLES} more`);
  return `Ready, but ${LIST.format(named)}.`;
}

/**
 * What keeps calls from going although the proxy is ready, and what may soon.
 * @param {Status} status
 */
export function troublesOf({ hold, accounts, clients, findings, nonce, krakenStatus }) {
  /** @type {string[]} */
  const troubles = [];
  if (hold !== null) troubles.push(`everything is ${HOLD_WORDS[hold.mode].toLowerCase()}`);
  if (krakenStatus !== null && krakenStatus !== 'online') troubles.push('Kraken is not fully online');
  if (nonce.problem !== null) troubles.push('the nonce state cannot be written as it should');
  for (const { name, breaker } of accounts) if (breaker.open) troubles.push(`${name}’s breaker is open`);
  for (const each of [...accounts, ...clients]) {
    if (each.hold !== null) troubles.push(`${each.name} is ${HOLD_WORDS[each.hold.mode].toLowerCase()}`);
  }
  const errors = findings.filter(({ severity }) => severity === 'error').length;
  if (errors > 0) troubles.push(`the key doctor found ${counted(errors, 'error')}`);
  return troubles;
}
