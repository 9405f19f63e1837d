import type { TripReason } from '../kraken/outcome.js';
import { ProxyError } from '../errors.js';
import type { SharedClock } from './tenure.js';

/**
 * What a probe found: Kraken takes the key again (`closed`), still refuses the key or its signature (`open`), has
 * locked it out (`lockout`), or has said nothing about it (`no-answer`).
 */
export type ProbeAnswer = 'closed' | 'open' | 'lockout' | 'no-answer';

/** Why a key's breaker is open, or that it is closed. */
export type BreakerState = TripReason | 'closed';

export interface BreakersOptions {
  /** From an invalid key or signature to the first probe, ms. */
  readonly pauseMs: number;
  /** From a lockout to the first probe, ms. */
  readonly lockoutMs: number;
  /** Pauses double up to this, ms; a first pause that is longer stands. */
  readonly maxPauseMs: number;
  /** Asks Kraken with the key. Has to settle some time; a rejection is `no-answer`. Never two at a time for a key. */
  readonly probe: (key: string) => Promise<ProbeAnswer>;
  /** Told when a breaker opens, closes, or has another reason to be open. */
  readonly onChange?: (key: string, state: BreakerState) => void;
  /** A monotonic clock, ms. Default: the process's own. */
  readonly now?: () => number;
  /** Unix ms, for texts. Default: the system's. */
  readonly wallNow?: () => number;
}

/** A key's breaker as one node leaves it to the next; times in ms. */
export interface BreakerLeft {
  /** When it came to its state. */
  readonly since: number;
  /** Undefined: it is closed. */
  readonly open?: { readonly why: TripReason; readonly pauseMs: number; readonly probeAt: number };
}

interface OpenBreaker {
  why: TripReason;
  pauseMs: number;
  /** Monotonic ms of the next probe. */
  probeAt: number;
  timer: NodeJS.Timeout | undefined;
}

/** A probe without an answer says nothing about the key, and has cost nothing: the next may come soon. */
const NO_ANSWER_MS = 10_000;
/** A time of ours that went to the shared clock and came back may differ by so much, ms. */
const SAME_MS = 50;
const TOLD_MS = 24 * 60 * 60 * 1_000;
/** A longer timer would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

const REASONS: Readonly<Record<TripReason, string>> = {
  lockout: 'Kraken has locked this key out',
  key: 'Kraken does not know this key',
  signature: "Kraken refuses this key's signature: its secret or its otp is wrong",
};

/**
 * One breaker for each key, by fingerprint. While it is open nothing is sent with the key but a probe now and then,
 * ever more seldom: each further attempt may start Kraken's own lockout anew (KRAKEN.md 3.3). Only a probe closes
 * it: a call that was under way when it opened may come back well and proves nothing.
 */
export class Breakers {
  readonly #options: BreakersOptions;
  readonly #now: () => number;
  readonly #wallNow: () => number;
  readonly #open = new Map<string, OpenBreaker>();
  /** When each that was ever open came to its state, monotonic ms. */
  readonly #since = new Map<string, number>();
  #closed = false;

  constructor(options: BreakersOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#wallNow = options.wallNow ?? Date.now;
  }

  /** Throws ProxyError `locked-out` while the key's breaker is open. */
  assertClosed(key: string): void {
    const breaker = this.#open.get(key);
    if (breaker === undefined) return;
    const leftMs = this.#leftMs(breaker);
    const until = new Date(this.#wallNow() + leftMs).toISOString();
    const then = leftMs === 0 ? 'the key is being tried now' : `the key is tried again at ${until}`;
    const reason = `${REASONS[breaker.why]}: nothing is sent with it, ${then}`;
    throw new ProxyError('locked-out', reason, { retryAfterSeconds: leftMs / 1_000, detail: reason });
  }

  /** Why the key's breaker is open; undefined while it is closed. */
  reasonOf(key: string): TripReason | undefined {
    return this.#open.get(key)?.why;
  }

  /** Whose breakers are open. */
  keys(): string[] {
    return [...this.#open.keys()];
  }

  /** Its secret is another: Kraken is asked at once, unless it has locked the key out. */
  retry(key: string): void {
    const breaker = this.#open.get(key);
    if (breaker === undefined || breaker.why === 'lockout' || breaker.timer === undefined || this.#closed)
      return;
    clearTimeout(breaker.timer);
    this.#probeIn(0, key, breaker);
  }

  /** The key is in use no more: nothing is asked about it. */
  forget(key: string): void {
    clearTimeout(this.#open.get(key)?.timer);
    this.#open.delete(key);
    this.#since.delete(key);
  }

  /** Until the next probe, s; 0 while it is under way, or when the breaker is closed. */
  remainingSeconds(key: string): number {
    const breaker = this.#open.get(key);
    return breaker === undefined ? 0 : this.#leftMs(breaker) / 1_000;
  }

  /** Opens the key's breaker. One that is open already stays as it is: calls that were under way come back. */
  trip(key: string, why: TripReason): void {
    if (this.#open.has(key)) return;
    const { pauseMs, lockoutMs } = this.#options;
    const first = why === 'lockout' ? lockoutMs : pauseMs;
    const breaker = { why, pauseMs: Math.min(first, this.#maxPauseMs()), probeAt: 0, timer: undefined };
    this.#open.set(key, breaker);
    this.#probeIn(breaker.pauseMs, key, breaker);
    this.#tell(key, why);
  }

  /** Whether the key is being tried now. */
  isProbing(key: string): boolean {
    const breaker = this.#open.get(key);
    return breaker !== undefined && breaker.timer === undefined;
  }

  /** What another node that sends with these keys has to know. */
  leave(clock: SharedClock): Record<string, BreakerLeft> {
    // What was closed long ago every node has heard of.
    for (const [key, at] of this.#since)
      if (!this.#open.has(key) && this.#now() - at > TOLD_MS) this.#since.delete(key);
    const left = [...this.#since].map(([key, at]): [string, BreakerLeft] => {
      const since = clock.toShared(at);
      const breaker = this.#open.get(key);
      if (breaker === undefined) return [key, { since }];
      const { why, pauseMs, probeAt } = breaker;
      return [key, { since, open: { why, pauseMs, probeAt: clock.toShared(probeAt) } }];
    });
    return Object.fromEntries(left);
  }

  /** Another node leaves the key's breaker so; the latest word counts. A probe of ours that is due is not needed then. */
  takeUp(key: string, { since, open }: BreakerLeft, clock: SharedClock): void {
    const at = clock.toLocal(since);
    if (at <= (this.#since.get(key) ?? -Infinity) + SAME_MS || this.#closed) return;
    const former = this.#open.get(key);
    if (former === undefined && open === undefined) return;
    clearTimeout(former?.timer);
    this.#open.delete(key);
    if (open !== undefined) {
      const { why, pauseMs } = open;
      const breaker: OpenBreaker = { why, pauseMs, probeAt: 0, timer: undefined };
      this.#open.set(key, breaker);
      this.#probeIn(Math.max(0, clock.toLocal(open.probeAt) - this.#now()), key, breaker);
    }
    if (former?.why !== open?.why) this.#options.onChange?.(key, open?.why ?? 'closed');
    this.#since.set(key, at);
  }

  /** Probes no more. What is open stays so. */
  close(): void {
    this.#closed = true;
    for (const { timer } of this.#open.values()) clearTimeout(timer);
  }

  #probeIn(ms: number, key: string, breaker: OpenBreaker): void {
    breaker.probeAt = this.#now() + ms;
    if (this.#closed) return;
    breaker.timer = setTimeout(() => {
      breaker.timer = undefined; // the probe is under way
      void this.#probe(key, breaker);
    }, ms).unref();
  }

  async #probe(key: string, breaker: OpenBreaker): Promise<void> {
    const { probe, lockoutMs } = this.#options;
    const asked = (async () => await probe(key))();
    const answer = await asked.catch((): ProbeAnswer => 'no-answer');
    if (this.#closed || this.#open.get(key) !== breaker) return;
    if (answer === 'closed') {
      this.#open.delete(key);
      this.#tell(key, 'closed');
      return;
    }
    if (answer === 'no-answer') {
      this.#probeIn(NO_ANSWER_MS, key, breaker);
      return;
    }
    const doubled = 2 * breaker.pauseMs;
    breaker.pauseMs = Math.min(
      this.#maxPauseMs(),
      answer === 'lockout' ? Math.max(doubled, lockoutMs) : doubled,
    );
    this.#probeIn(breaker.pauseMs, key, breaker);
    this.#since.set(key, this.#now());
    if (answer !== 'lockout' || breaker.why === 'lockout') return;
    breaker.why = 'lockout';
    this.#tell(key, 'lockout');
  }

  #tell(key: string, state: BreakerState): void {
    this.#since.set(key, this.#now());
    this.#options.onChange?.(key, state);
  }

  #maxPauseMs(): number {
    const { pauseMs, lockoutMs, maxPauseMs } = this.#options;
    return Math.min(MAX_TIMER_MS, Math.max(maxPauseMs, pauseMs, lockoutMs));
  }

  #leftMs({ probeAt }: OpenBreaker): number {
    return Math.max(0, probeAt - this.#now());
  }
}
