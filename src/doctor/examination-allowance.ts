/** So many examinations of a key at once, and then one each so many ms. */
const BURST = 8;
const REFILL_MS = 10_000;

/**
 * How often a key may be examined because somebody asks: each time costs a point of its account's call counter, which
 * an impatient operator or a script must not take away from the clients. `now` is monotonic, ms.
 */
export class ExaminationAllowance {
  readonly #now: () => number;
  #fullAt = -Infinity;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Whether there is one to take. */
  get isOpen(): boolean {
    return this.#fullAt - this.#now() <= (BURST - 1) * REFILL_MS;
  }

  /** Takes one, if there is one. */
  take(): boolean {
    if (!this.isOpen) return false;
    this.#fullAt = Math.max(this.#fullAt, this.#now()) + REFILL_MS;
    return true;
  }
}
