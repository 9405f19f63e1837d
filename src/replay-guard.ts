const MOST_KEPT = 10_000;

/**
 * Refuses a client's nonce that was used before: taken is one above everything so far, or at most `window` below the
 * highest and not yet seen. Kept in memory: it starts anew with the process.
 */
export class ReplayGuard {
  readonly #window: bigint;
  /** Nonces up to here are refused whatever they are. */
  #floor = -1n;
  #seen = new Set<bigint>();

  constructor(window: bigint) {
    this.#window = window;
  }

  /** One with another window that knows what this one knows. */
  with(window: bigint): ReplayGuard {
    const guard = new ReplayGuard(window);
    guard.#floor = this.#floor;
    guard.#seen = new Set(this.#seen);
    return guard;
  }

  /** Whether this nonce, as decimal text, is fresh; from then on it is used. */
  accept(text: string): boolean {
    if (!/^\d{1,20}$/.test(text)) return false;
    const nonce = BigInt(text);
    if (nonce <= this.#floor || this.#seen.has(nonce)) return false;
    this.#raise(nonce - this.#window - 1n); // never falls
    this.#seen.add(nonce);
    if (this.#seen.size > MOST_KEPT) this.#forget();
    return true;
  }

  #raise(floor: bigint): void {
    if (floor > this.#floor) this.#floor = floor;
  }

  /** Drops what the floor covers; where that is not enough, the lower half becomes part of the floor. */
  #forget(): void {
    let kept = [...this.#seen].filter((nonce) => nonce > this.#floor);
    if (kept.length > MOST_KEPT / 2) {
      kept.sort((a, b) => (a < b ? -1 : 1));
      const half = kept.length >> 1;
      this.#raise(kept[half - 1] ?? this.#floor);
      kept = kept.slice(half);
    }
    this.#seen = new Set(kept);
  }
}
