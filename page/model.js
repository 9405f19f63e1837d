// @ts-check
/** @import { Call, HistoryReply, Second, Status, Tick } from './types.js' */

const HOUR = 3_600;
const MOST_CALLS = 200;

/** @typedef {(number | null)[]} Series */

/** The last hour, a column a second, in the shape the charts draw. */
export class History {
  /** Unix seconds. @type {number[]} */
  at = [];
  /** @type {Series} */
  calls = [];
  /** @type {Series} */
  errors = [];
  /** @type {Series} */
  waitMs = [];
  /** @type {Series} */
  waitMaxMs = [];
  /** @type {Series} */
  upstreamMs = [];
  /** @type {Series} */
  upstreamMaxMs = [];

  /** @param {HistoryReply} reply */
  load(reply) {
    this.at = reply.calls.map((_, index) => reply.from + index);
    this.calls = [...reply.calls];
    this.errors = [...reply.errors];
    this.waitMs = [...reply.waitMs];
    this.waitMaxMs = [...reply.waitMaxMs];
    this.upstreamMs = [...reply.upstreamMs];
    this.upstreamMaxMs = [...reply.upstreamMaxMs];
  }

  /** @param {Second} second one that is there already is replaced */
  add(second) {
    const last = this.at.at(-1) ?? second.at - 1;
    const first = this.at[0] ?? second.at;
    if (second.at < first) return;
    for (let at = Math.max(last + 1, second.at - HOUR); at <= second.at; at++) this.#append(at);
    while (this.at.length > HOUR) this.#dropOldest();
    const index = this.at.length - 1 - (Math.max(last, second.at) - second.at);
    this.calls[index] = second.calls;
    this.errors[index] = second.errors;
    this.waitMs[index] = second.waitMs;
    this.waitMaxMs[index] = second.waitMaxMs;
    this.upstreamMs[index] = second.upstreamMs;
    this.upstreamMaxMs[index] = second.upstreamMaxMs;
  }

  get #series() {
    return [this.calls, this.errors, this.waitMs, this.waitMaxMs, this.upstreamMs, this.upstreamMaxMs];
  }

  /** @param {number} at */
  #append(at) {
    this.at.push(at);
    for (const series of this.#series) series.push(null);
  }

  #dropOldest() {
    this.at.shift();
    for (const series of this.#series) series.shift();
  }
}

/** All that the page shows. */
export class Model {
  /** @type {Status | undefined} */
  status;
  history = new History();
  /** Newest first. @type {Call[]} */
  calls = [];
  /** Calls that came since the page was opened. */
  arrived = 0;
  /** Calls of the last second that were too many to be listed. */
  skipped = 0;

  /** @param {{ status: Status, calls: Call[], history: HistoryReply }} snapshot */
  load({ status, calls, history }) {
    this.status = status;
    this.calls = calls.slice(0, MOST_CALLS);
    this.history.load(history);
  }

  /** @param {Tick} tick */
  tick({ status, second, calls, skipped }) {
    this.status = status;
    this.history.add(second);
    this.skipped = skipped;
    // The first tick may repeat what the snapshot had.
    const known = new Set(this.calls.map(callKey));
    const fresh = calls.filter((call) => !known.has(callKey(call)));
    this.arrived += fresh.length + skipped;
    if (fresh.length > 0) this.calls = [...fresh, ...this.calls].slice(0, MOST_CALLS);
  }
}

/**
 * Tells calls apart; the proxy's own calls share their request ids.
 * @param {Call} call
 */
export function callKey({ at, requestId, endpoint, nonce }) {
  return `${requestId} ${at} ${endpoint} ${nonce ?? ''}`;
}
