import { networkOf } from './network.js';

/** So many failures from one address are answered at once: people mistype, and bots start with an old key. */
const FREE_FAILURES = 5;
const FIRST_MS = 100;
const LONGEST_MS = 5_000;
/** An address without a failure for so long starts anew. */
const FORGET_MS = 60_000;
const MAX_ADDRESSES = 10_000;
/** So many answers are held back at once; beyond, holding more would help whoever floods us. */
const MAX_HELD = 500;

export interface Failure {
  /** Failures in a row from this address. */
  readonly count: number;
  /** How long the answer is held back, ms. */
  readonly heldMs: number;
}

/**
 * Slows down addresses that keep presenting bad credentials: after the fifth, each answer takes twice as long as the
 * one before, up to 5 s. Good calls from the same address are not touched: behind it may be a whole office.
 */
export class SlowDown {
  readonly #now: () => number;
  /** By address, the one that failed last at the end. */
  readonly #failures = new Map<string, { count: number; at: number }>();
  #held = 0;

  /** `now` is a monotonic clock in ms. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Notes a failure and says how long its answer is to be held back. */
  failed(address: string | undefined): Failure {
    const at = this.#now();
    const who = networkOf(address);
    const before = this.#failures.get(who);
    const count = before === undefined || at - before.at > FORGET_MS ? 1 : before.count + 1;
    this.#failures.delete(who); // to the end
    this.#failures.set(who, { count, at });
    if (this.#failures.size > MAX_ADDRESSES) {
      for (const [oldest] of this.#failures) {
        this.#failures.delete(oldest);
        break;
      }
    }
    if (count <= FREE_FAILURES || this.#held >= MAX_HELD) return { count, heldMs: 0 };
    return { count, heldMs: Math.min(FIRST_MS * 2 ** (count - FREE_FAILURES - 1), LONGEST_MS) };
  }

  /** Resolves after so many ms, or when `hungUp` calls back. */
  hold(ms: number, onHangUp: (hungUp: () => void) => void): Promise<void> {
    if (ms === 0) return Promise.resolve();
    this.#held++;
    return new Promise<void>((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(end, ms);
      timer.unref();
      onHangUp(end);
    }).then(() => {
      this.#held--;
    });
  }
}
