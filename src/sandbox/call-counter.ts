/** Kraken's word for how far an account is verified; it sets the REST limits. */
export type Tier = 'starter' | 'intermediate' | 'pro';

// KRAKEN.md 3.1. Starter stands in one of the two official copies only.
const LIMITS: Readonly<Record<Tier, { readonly max: number; readonly decayPerSecond: number }>> = {
  starter: { max: 15, decayPerSecond: 0.33 },
  intermediate: { max: 20, decayPerSecond: 0.5 },
  pro: { max: 20, decayPerSecond: 1 },
};

/** The REST call counter of one key: each call adds its cost, time takes it off again (KRAKEN.md 3.1). */
export class CallCounter {
  readonly #max: number;
  readonly #decayPerMs: number;
  #level = 0;
  #at = 0;

  constructor(tier: Tier) {
    this.#max = LIMITS[tier].max;
    this.#decayPerMs = LIMITS[tier].decayPerSecond / 1000;
  }

  /** The counter as it stands at `now` (ms). */
  level(now: number): number {
    // A clock that steps back neither adds nor takes.
    const elapsed = Math.max(0, now - this.#at);
    this.#level = Math.max(0, this.#level - elapsed * this.#decayPerMs);
    this.#at = now;
    return this.#level;
  }

  /**
   * Adds the cost if it fits. A call refused adds nothing: "longer if calls continue" (KRAKEN.md 3.1)
   * has no figure to enforce.
   */
  take(cost: number, now: number): boolean {
    if (cost === 0) return true;
    // Sixteen digits of rounding must not refuse the call that fits exactly.
    if (this.level(now) + cost > this.#max + 1e-9) return false;
    this.#level += cost;
    return true;
  }
}
