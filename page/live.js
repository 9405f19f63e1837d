// @ts-check
import { ApiError } from './api.js';
import { EventParser } from './event-stream.js';
/** @import { Api } from './api.js' */
/** @import { Call, Connection, HistoryReply, Status, Tick } from './types.js' */

/** @typedef {{ status: Status, calls: Call[], history: HistoryReply }} Snapshot */

/**
 * @typedef {object} LiveParts
 * @property {Api} api
 * @property {(snapshot: Snapshot) => void} onSnapshot
 * @property {(tick: Tick) => void} onTick
 * @property {(connection: Connection) => void} onConnection
 * @property {() => void} onUnauthorized the token is missing or wrong: nothing more is asked until `start`
 */

/** A tick comes each second. Without one for so long the figures are called old … */
const STALE_MS = 2_000;
/** … and after so long the connection is given up: it may hang for minutes before the system says so. */
const GIVE_UP_MS = 5_000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 5_000;
const LOOK_MS = 200;
/** Seconds that the ticks may skip before the past is loaded anew. */
const GAP_SECONDS = 2;
const RELOAD_EVERY_MS = 5_000;

/** Follows the proxy: loads what is, then takes a tick a second, and comes back by itself after every break. */
export class Live {
  #parts;
  /** @type {Connection} */
  #connection = { state: 'connecting', since: Date.now() };
  /** @type {AbortController | undefined} */
  #attempt;
  #heardAt = Date.now();
  #lastSecond = 0;
  #reloadedAt = 0;
  #run = 0;

  /** @param {LiveParts} parts */
  constructor(parts) {
    this.#parts = parts;
    setInterval(() => this.#look(), LOOK_MS);
  }

  /** (Re)starts at once: at the beginning, and with a new token. */
  start() {
    this.#attempt?.abort();
    this.#heardAt = Date.now();
    const run = ++this.#run;
    void this.#follow(run);
  }

  /** Nothing more is asked until `start`. */
  stop() {
    this.#run++;
    this.#attempt?.abort();
    // What comes next is a beginning, not the end of a break.
    this.#connection = { state: 'connecting', since: Date.now() };
  }

  /** @param {number} run */
  async #follow(run) {
    let pauseMs = FIRST_PAUSE_MS;
    while (run === this.#run) {
      const attempt = new AbortController();
      this.#attempt = attempt;
      /** @type {string | undefined} */
      let refusal;
      try {
        await this.#listen(attempt.signal, () => (pauseMs = FIRST_PAUSE_MS));
      } catch (error) {
        if (run !== this.#run) return;
        if (error instanceof ApiError && error.status === 401) {
          this.stop();
          this.#parts.onUnauthorized();
          return;
        }
        if (error instanceof ApiError && error.status >= 400) refusal = error.message;
      }
      attempt.abort();
      if (run !== this.#run) return;
      this.#lose(refusal);
      await pause(pauseMs);
      pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2);
    }
  }

  /**
   * One connection, to its end.
   * @param {AbortSignal} signal
   * @param {() => void} onLive
   */
  async #listen(signal, onLive) {
    const { api, onTick } = this.#parts;
    const giveUp = setTimeout(() => this.#attempt?.abort(), GIVE_UP_MS);
    const stream = await api.events(signal).finally(() => clearTimeout(giveUp));
    this.#heardAt = Date.now();
    // The stream first, then what was before it: so nothing falls between the two.
    /** @type {Tick[] | undefined} */
    let early = [];
    const loaded = this.#load().then(() => {
      for (const tick of early ?? []) onTick(tick);
      early = undefined;
      this.#set({ state: 'live', since: Date.now() });
      onLive();
    });
    loaded.catch(() => this.#attempt?.abort());
    const parser = new EventParser();
    const decoder = new TextDecoder();
    const reader = stream.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      this.#heardAt = Date.now();
      for (const { event, data } of parser.push(decoder.decode(value, { stream: true }))) {
        if (event !== 'tick') continue;
        const tick = /** @type {Tick} */ (JSON.parse(data));
        this.#lastSecond = this.#mind(tick.second.at);
        if (early === undefined) onTick(tick);
        else early.push(tick);
      }
      if (early === undefined) this.#set({ state: 'live', since: Date.now() });
    }
    await loaded;
  }

  /**
   * Ticks were lost (the machine slept, the proxy was stopped for a moment): the past has a hole.
   * @param {number} second
   */
  #mind(second) {
    const hasGap = this.#lastSecond > 0 && second - this.#lastSecond > GAP_SECONDS;
    if (hasGap && Date.now() - this.#reloadedAt > RELOAD_EVERY_MS) this.#load().catch(() => undefined);
    return second;
  }

  async #load() {
    const { api, onSnapshot } = this.#parts;
    this.#reloadedAt = Date.now();
    const [status, calls, history] = await Promise.all([api.status(), api.calls(), api.history()]);
    onSnapshot({ status, calls, history });
  }

  #look() {
    const silentMs = Date.now() - this.#heardAt;
    if (this.#connection.state === 'live' && silentMs > STALE_MS) this.#lose(undefined);
    if (silentMs > GIVE_UP_MS && this.#connection.state === 'lost') {
      this.#heardAt = Date.now();
      this.#attempt?.abort();
    }
  }

  /** @param {string | undefined} refusal */
  #lose(refusal) {
    const since = this.#connection.state === 'lost' ? this.#connection.since : this.#heardAt;
    this.#set({ state: 'lost', since, ...(refusal !== undefined && { refusal }) });
  }

  /** @param {Connection} connection */
  #set(connection) {
    const { state, refusal } = this.#connection;
    if (state === connection.state && refusal === connection.refusal) return;
    this.#connection = connection;
    this.#parts.onConnection(connection);
  }
}

/** @param {number} ms */
function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
