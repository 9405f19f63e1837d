import type { SharedClock } from './tenure.js';

export interface CounterLimits {
  /** The height of Kraken's call counter at which it refuses more. */
  readonly max: number;
  /** What time takes off the counter, points a second; above 0. */
  readonly decayPerSecond: number;
}

export interface PacerOptions {
  /** The limits of a key by its fingerprint; asked once for each key, and again by `refresh`. */
  readonly counters: (key: string) => CounterLimits;
  /** Points of every counter that are never used: for what Kraken counts and we do not know of. */
  readonly headroom: number;
  /** Points beyond the headroom that only urgent calls may use. */
  readonly reserve: number;
  /** A monotonic clock, ms. Default: the process's own. */
  readonly now?: () => number;
}

/** What a call that is being sent adds to its key's counter. */
export interface Spending {
  readonly key: string;
  readonly cost: number;
  ended: boolean;
}

/** A key's counter as one node leaves it to the next: points as of a time, ms, and until when the key is held. */
export interface CounterState {
  readonly level: number;
  readonly at: number;
  readonly heldUntil?: number;
}

interface Counter {
  max: number;
  decayPerMs: number;
  /** Points of the calls that have ended, as of `at`; they decay. */
  base: number;
  at: number;
  /** Calls under way that cost, and their points, which do not decay. */
  underWay: number;
  inFlight: number;
  /** Monotonic ms before which Kraken wants no call of this key. */
  heldUntil: number;
  /** A call has found no room since listeners were last told. */
  refused: boolean;
}

/** Points. A delay goes this far past the moment at which there is room, so that rounding cannot undo it. */
const MARGIN = 1e-6;
/** Ms. A hold that has less than this to go is over: a clock that counts for months is no finer. */
const INSTANT = 1e-3;

/**
 * Kraken's REST call counter of each key (KRAKEN.md 3.1), from outside: each call adds its cost, time takes it off
 * again. Kraken counts a call at a moment between its `begin` and its `end` that we do not know, so a cost counts in
 * full from `begin` and decays only from `end` on.
 *
 * That is never less than Kraken's counter K, as long as nobody else spends. Take F: the base, plus the costs of those
 * calls under way that Kraken has counted already. A call that is counted adds its cost to both, K and F. An `end` only
 * moves a cost from one part of F to the other. In between, K falls at the full rate until it is 0, and F at that rate
 * or, when its base is 0, not at all. So F never gets below K, and the model, which holds all costs under way, not
 * below F. Only what reaches Kraken after its `end` (an attempt that timed out) escapes this; the headroom is for that.
 * Kraken keeps its counter at or below `max`, so the base is never taken for more than that.
 */
export class Pacer {
  readonly #options: PacerOptions;
  readonly #now: () => number;
  readonly #counters = new Map<string, Counter>();
  readonly #listeners: (() => void)[] = [];
  /** The latest moment to which any key is held; -Infinity when none is. */
  #latestHold = -Infinity;
  #telling = false;

  constructor(options: PacerOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /**
   * Whole ms until a call of this cost may go, 0 when it may now. After that wait it is 0, unless something was spent
   * meanwhile or is still under way: then it tells what the wait will be at least, and `onChange` says when to ask
   * again. A call dearer than all usable room may go when the counter is at 0, as it would wait for ever.
   */
  delayMs(key: string, cost: number, urgent = false): number {
    if (cost === 0 && !this.#mayBeHeld(key)) return 0; // the usual order: not even the clock is read
    const now = this.#now();
    if (now >= this.#latestHold) this.#latestHold = -Infinity;
    const counter = this.#counterOf(key);
    const held = counter.heldUntil - now;
    const room = cost === 0 ? 0 : this.#roomInMs(counter, cost, urgent, now);
    const delay = Math.max(held > INSTANT ? Math.ceil(held) : 0, room);
    if (delay > 0) counter.refused = true;
    return delay;
  }

  /** A call is about to be sent. Its cost counts until `end`, and decays from then on. */
  begin(key: string, cost: number): Spending {
    if (cost > 0) {
      const counter = this.#counterOf(key);
      counter.underWay++;
      counter.inFlight += cost;
    }
    return { key, cost, ended: false };
  }

  /** The reply is in, or the attempt has failed. `counted` is false when certainly nothing was sent. Once only. */
  end(spending: Spending, counted: boolean): void {
    if (spending.ended) return;
    spending.ended = true;
    if (spending.cost === 0) return;
    const counter = this.#counterOf(spending.key);
    const base = baseAt(counter, this.#now());
    counter.underWay--;
    // No rounding of fractions stays behind: a dear call waits for exactly 0.
    counter.inFlight = counter.underWay === 0 ? 0 : Math.max(0, counter.inFlight - spending.cost);
    if (counted) this.#setBase(counter, Math.min(counter.max, base + spending.cost));
    if (counter.refused) this.#changed();
  }

  /** Kraken said that the limit is exceeded: somebody else spends too. The counter is taken to be at its maximum. */
  full(key: string): void {
    const counter = this.#counterOf(key);
    this.#setBase(counter, counter.max);
  }

  /** No call of this key goes before that moment (monotonic ms), whatever it costs: `EService:Throttled`. */
  holdUntil(key: string, at: number): void {
    const counter = this.#counterOf(key);
    counter.heldUntil = Math.max(counter.heldUntil, at);
    this.#latestHold = Math.max(this.#latestHold, at);
  }

  /** The limits may have changed. What is on the counters stays. */
  refresh(): void {
    for (const [key, counter] of this.#counters) {
      this.#setBase(counter, baseAt(counter, this.#now()));
      const { max, decayPerSecond } = this.#options.counters(key);
      counter.max = max;
      counter.decayPerMs = decayPerSecond / 1_000;
    }
    this.#changed();
  }

  /** What another node that sends with these keys has to know. A call under way counts in full, and decays from now on. */
  leave(clock: SharedClock): Record<string, CounterState> {
    const now = this.#now();
    const at = clock.toShared(now);
    const left = [...this.#counters].map(([key, counter]): [string, CounterState] => {
      const level = baseAt(counter, now) + counter.inFlight;
      const isHeld = counter.heldUntil > now;
      return [key, isHeld ? { level, at, heldUntil: clock.toShared(counter.heldUntil) } : { level, at }];
    });
    return Object.fromEntries(
      left.filter(([, { level, heldUntil }]) => level > 0 || heldUntil !== undefined),
    );
  }

  /**
   * Another node has sent with this key and leaves its counter so. What we know stands where it is more: then the other's
   * word was lost.
   */
  takeUp(key: string, { level, at, heldUntil }: CounterState, clock: SharedClock): void {
    const counter = this.#counterOf(key);
    const now = this.#now();
    const since = Math.max(0, now - clock.toLocal(at));
    const left = Math.max(0, Math.min(level, counter.max) - since * counter.decayPerMs);
    this.#setBase(counter, Math.max(left, baseAt(counter, now)));
    if (heldUntil !== undefined) this.holdUntil(key, clock.toLocal(heldUntil));
  }

  /** How high Kraken's counter of this key may be now, in points. */
  level(key: string): number {
    const counter = this.#counterOf(key);
    return baseAt(counter, this.#now()) + counter.inFlight;
  }

  /** Calls back, soon after, when a call that found no room may find some, or a better figure of its wait. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  #mayBeHeld(key: string): boolean {
    return this.#latestHold !== -Infinity && this.#counters.get(key)?.heldUntil !== undefined;
  }

  #roomInMs(counter: Counter, cost: number, urgent: boolean, now: number): number {
    const { headroom, reserve } = this.#options;
    const usable = counter.max - headroom - (urgent ? 0 : reserve);
    const free = Math.max(0, usable - cost);
    const excess = baseAt(counter, now) + counter.inFlight - free;
    return excess <= 0 ? 0 : Math.ceil((excess + MARGIN) / counter.decayPerMs);
  }

  #setBase(counter: Counter, base: number): void {
    counter.base = base;
    counter.at = this.#now();
  }

  #counterOf(key: string): Counter {
    let counter = this.#counters.get(key);
    if (counter === undefined) {
      const { max, decayPerSecond } = this.#options.counters(key);
      const decayPerMs = decayPerSecond / 1_000;
      counter = {
        max,
        decayPerMs,
        base: 0,
        at: 0,
        underWay: 0,
        inFlight: 0,
        heldUntil: -Infinity,
        refused: false,
      };
      this.#counters.set(key, counter);
    }
    return counter;
  }

  #changed(): void {
    if (this.#telling) return;
    this.#telling = true;
    // Not at once: the lane whose call has just ended still holds its slot.
    queueMicrotask(() => {
      this.#telling = false;
      for (const counter of this.#counters.values()) counter.refused = false;
      for (const listener of this.#listeners) listener();
    });
  }
}

/** Told from the last change on each time, so that asking often adds no rounding. */
function baseAt({ base, at, decayPerMs }: Counter, now: number): number {
  return Math.max(0, base - (now - at) * decayPerMs);
}
