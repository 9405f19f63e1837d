import { ProxyError } from '../errors.js';
import type { Nonces } from './nonces.js';
import { StateLostError, type NonceState, type NonceStore } from './store.js';

const NS_PER_MS = 1_000_000n;
/** Space reserved where the floor is ahead of the clock: there each nonce takes one step, not the time. */
const MIN_SPACE = 1_000_000n;
/** A call does not wait for a hanging disk for longer than this. */
const WRITE_PATIENCE_MS = 5_000;
const RETRY_WRITE_MS = 1_000;
/** Kraken types nonces int64 (KRAKEN.md 1.4); a reservation never reaches beyond. */
const MAX_RESERVED = 2n ** 63n - 1n;

export interface NonceSequenceOptions {
  /** How far ahead of what has been used the durable floor is kept, in ms. */
  readonly reserveMs: number;
  /** The wall clock, whole ms since 1970. */
  readonly now?: () => number;
  /** Told of every attempt to write the state: how long it took, and what failed. */
  readonly onWrite?: (seconds: number, error: unknown) => void;
}

interface KeyFloor {
  used: bigint;
  durable: bigint;
}

/**
 * The one strictly rising sequence of nonces, in ns since 1970, for every account, client, retry and restart:
 * `next = max(clock, floor + 1)`. A nonce is handed out only below a floor that is already durable, so a
 * crash may skip nonces but never repeats one. The reservation is renewed in the background when half of it
 * is left, so that a call almost never waits for the disk.
 */
export class NonceSequence implements Nonces {
  readonly #store: NonceStore;
  readonly #now: () => number;
  readonly #reserve: bigint;
  readonly #onWrite: (seconds: number, error: unknown) => void;
  readonly #keyFloors = new Map<string, KeyFloor>();
  readonly #refresher: NodeJS.Timeout;

  /** Highest nonce handed out or, before the first, the durable floor found at the start. */
  #floor: bigint;
  /** Nonces up to here may be handed out. */
  #durable = 0n;
  /** Beyond this one the reservation is renewed. */
  #renewAt = 0n;
  #clockMs = 0;
  #clock = 0n;
  #issued = 0;
  #writing: Promise<void> | undefined;
  #failure: unknown;
  #retry: NodeJS.Timeout | undefined;
  #closed = false;

  private constructor(store: NonceStore, options: NonceSequenceOptions) {
    this.#store = store;
    this.#now = options.now ?? Date.now;
    this.#reserve = BigInt(options.reserveMs) * NS_PER_MS;
    this.#onWrite = options.onWrite ?? (() => undefined);
    this.#floor = store.initial?.floor ?? 0n;
    for (const [key, floor] of store.initial?.keyFloors ?? []) {
      this.#keyFloors.set(key, { used: floor, durable: floor });
    }
    // Without calls the clock eats the reservation up: renew it in time for the next call.
    this.#refresher = setInterval(() => void this.#renew(), Math.floor(options.reserveMs / 2));
    this.#refresher.unref();
  }

  /** Takes over an opened store; resolves when the first reservation is durable, rejects when it cannot be. */
  static async open(store: NonceStore, options: NonceSequenceOptions): Promise<NonceSequence> {
    const sequence = new NonceSequence(store, options);
    await sequence.#renew();
    if (sequence.#failure !== undefined) {
      sequence.#stopTimers();
      throw sequence.#failure as Error;
    }
    return sequence;
  }

  /**
   * The next nonce for a key: above every earlier one and already durable. Throws or rejects with
   * ProxyError `not-owner` when the state is lost or cannot be written; then no nonce was spent.
   * Synchronous while the reservation lasts.
   */
  draw(key: string): bigint | Promise<bigint> {
    const now = this.#now();
    this.#assertUsable(now);
    const nonce = this.#next(key, now);
    return nonce ?? this.#drawWhenReserved(key);
  }

  /** Throws ProxyError `not-owner` when the state is lost: what was drawn must not be used any more. */
  assertOwned(): void {
    this.#assertOwned(this.#now());
  }

  #assertOwned(now: number): void {
    try {
      this.#store.assertOwned(now);
    } catch (cause) {
      throw new ProxyError('not-owner', (cause as Error).message, { cause });
    }
  }

  /**
   * Lifts one key's own floor, or without a key everybody's. Durable when it resolves. Never lowers. Rejects
   * with RangeError, and changes nothing, when no nonces would be left above.
   */
  async lift(to: bigint, key?: string): Promise<void> {
    this.#assertUsable();
    if (to + MIN_SPACE >= MAX_RESERVED) throw new RangeError(`a floor of ${to} leaves no nonces below 2^63`);
    if (key === undefined) {
      if (to > this.#floor) this.#floor = to;
    } else if (to > (this.#keyFloors.get(key)?.used ?? this.#floor)) {
      this.#keyFloors.set(key, { used: to, durable: this.#keyFloors.get(key)?.durable ?? 0n });
    }
    await this.#renewNow();
  }

  /** Highest nonce that may have been used on any key by this process or before it. */
  get floor(): bigint {
    return this.#floor;
  }

  /** The same of one key, which may have a higher one of its own. */
  floorOf(key?: string): bigint {
    const own = key === undefined ? undefined : this.#keyFloors.get(key);
    return own === undefined || own.used < this.#floor ? this.#floor : own.used;
  }

  /** Nonces handed out since the start. */
  get issued(): number {
    return this.#issued;
  }

  /** How far the floor is ahead of the clock, in seconds; 0 while the clock leads. */
  get leadSeconds(): number {
    return Math.max(0, Number(this.#floor - this.#readClock()) / 1e9);
  }

  /** Why no nonce can be drawn now; undefined when one can. */
  get problem(): string | undefined {
    try {
      this.#assertUsable();
      return undefined;
    } catch (error) {
      return (error as Error).message;
    }
  }

  /** Writes the exact floors, so that the next start goes on right above them, and gives the store up. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#stopTimers();
    try {
      if (this.#writing !== undefined) await withPatience(this.#writing);
      this.#store.assertOwned(this.#now());
      if (this.#issued > 0 || this.#store.initial !== undefined) {
        await withPatience(this.#write({ floor: this.#floor, keyFloors: this.#usedKeyFloors() }));
      }
    } finally {
      await this.#store.close();
    }
  }

  #assertUsable(now = this.#now()): void {
    this.#assertOwned(now);
    if (this.#closed) throw new ProxyError('not-owner', 'the nonce sequence is closed');
    if (this.#failure !== undefined) {
      const reason = `the nonce state cannot be written (${reasonOf(this.#failure)}); trying again every second`;
      throw new ProxyError('not-owner', reason, { cause: this.#failure, retryAfterSeconds: 1 });
    }
  }

  /** Hands out the next nonce if its space is durable. */
  #next(key: string, now = this.#now()): bigint | undefined {
    const clock = this.#readClock(now);
    const above = this.#floor + 1n;
    const next = clock > above ? clock : above;
    const own = this.#keyFloors.size === 0 ? undefined : this.#keyFloors.get(key);
    if (own !== undefined && own.used >= next) return this.#nextOfKey(own);
    if (next > this.#durable) return undefined;
    // The common sequence has overtaken it: the key needs no floor of its own any more.
    if (own !== undefined) this.#keyFloors.delete(key);
    this.#floor = next;
    this.#issued++;
    if (next > this.#renewAt && this.#writing === undefined) void this.#renew();
    return next;
  }

  #nextOfKey(own: KeyFloor): bigint | undefined {
    const next = own.used + 1n;
    if (next > own.durable) return undefined;
    own.used = next;
    this.#issued++;
    if (own.durable - next < MIN_SPACE / 2n && this.#writing === undefined) void this.#renew();
    return next;
  }

  async #drawWhenReserved(key: string): Promise<bigint> {
    for (;;) {
      await this.#renewNow();
      const nonce = this.#next(key);
      if (nonce !== undefined) return nonce;
    }
  }

  /** Waits for a reservation that was begun after this call. Rejects with `not-owner`. */
  async #renewNow(): Promise<void> {
    // One under way may have begun before the space we need was known.
    try {
      if (this.#writing !== undefined) await withPatience(this.#writing);
      await withPatience(this.#renew());
    } catch (error) {
      // The disk hangs: say so to those who come next, until a write succeeds after all.
      this.#failure ??= error;
      throw error;
    }
    this.#assertUsable();
  }

  /** Makes the next stretch durable. Never rejects: a failure closes the sequence until a retry succeeds. */
  #renew(): Promise<void> {
    this.#writing ??= this.#reserveNext().finally(() => {
      this.#writing = undefined;
    });
    return this.#writing;
  }

  async #reserveNext(): Promise<void> {
    if (this.#closed) return;
    const clock = this.#readClock();
    const start = max(clock, this.#floor);
    const byTime = clock + this.#reserve;
    const bySteps = this.#floor + MIN_SPACE;
    // Never lower than before, whatever the clock did: what was reserved once may be handed out at any time.
    const durable = max(max(byTime, bySteps), this.#durable);
    const keyFloors = new Map([...this.#keyFloors].map(([key, own]) => [key, own.used + MIN_SPACE]));
    try {
      if ([durable, ...keyFloors.values()].some((floor) => floor >= MAX_RESERVED)) {
        throw new RangeError('no nonces are left below 2^63: is the clock right?');
      }
      await this.#write({ floor: durable, keyFloors });
    } catch (error) {
      this.#failure = error;
      if (!(error instanceof StateLostError)) this.#retryLater();
      return;
    }
    this.#failure = undefined;
    this.#durable = durable;
    this.#renewAt = start + (durable - start) / 2n;
    for (const [key, floor] of keyFloors) {
      const own = this.#keyFloors.get(key);
      if (own !== undefined && floor > own.durable) own.durable = floor;
    }
  }

  async #write(state: NonceState): Promise<void> {
    const started = performance.now();
    try {
      await this.#store.write(state);
      this.#onWrite((performance.now() - started) / 1_000, undefined);
    } catch (error) {
      this.#onWrite((performance.now() - started) / 1_000, error);
      throw error;
    }
  }

  #retryLater(): void {
    if (this.#retry !== undefined || this.#closed) return;
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      void this.#renew();
    }, RETRY_WRITE_MS);
    this.#retry.unref();
  }

  #stopTimers(): void {
    clearInterval(this.#refresher);
    clearTimeout(this.#retry);
  }

  #usedKeyFloors(): Map<string, bigint> {
    return new Map(
      [...this.#keyFloors].filter(([, own]) => own.used > this.#floor).map(([k, own]) => [k, own.used]),
    );
  }

  /** The clock in ns. The BigInt is made once a millisecond: most draws share it. */
  #readClock(ms = this.#now()): bigint {
    if (ms !== this.#clockMs) {
      this.#clockMs = ms;
      this.#clock = BigInt(ms) * NS_PER_MS;
    }
    return this.#clock;
  }
}

function max(one: bigint, other: bigint): bigint {
  return one > other ? one : other;
}

async function withPatience(work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const patience = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new ProxyError('not-owner', `the nonce state was not written within ${WRITE_PATIENCE_MS} ms`));
    }, WRITE_PATIENCE_MS);
  });
  try {
    await Promise.race([work, patience]);
  } finally {
    clearTimeout(timer);
  }
}

function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return error instanceof ProxyError ? message : (code ?? message);
}
