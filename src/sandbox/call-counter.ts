import { DecayingCounter } from './decaying-counter.js';

/** Kraken's word for how far an account is verified; it sets the REST and the trading limits. */
export type Tier = 'starter' | 'intermediate' | 'pro';

// KRAKEN.md 3.1. Starter stands in one of the two official copies only.
const LIMITS: Readonly<Record<Tier, { readonly max: number; readonly decayPerSecond: number }>> = {
  starter: { max: 15, decayPerSecond: 0.33 },
  intermediate: { max: 20, decayPerSecond: 0.5 },
  pro: { max: 20, decayPerSecond: 1 },
};

/** The REST call counter of one key: each call adds its cost, time takes it off again (KRAKEN.md 3.1). */
export class CallCounter {
  readonly #counter: DecayingCounter;

  constructor(tier: Tier) {
    this.#counter = new DecayingCounter(LIMITS[tier].max, LIMITS[tier].decayPerSecond);
  }

  /** The counter as it stands at `now` (ms). */
  level(now: number): number {
    return this.#counter.level(now);
  }

  /**
   * Adds the cost if it fits. A call refused adds nothing: "longer if calls continue" (KRAKEN.md 3.1)
   * has no figure to enforce.
   */
  take(cost: number, now: number): boolean {
    if (cost === 0) return true;
    if (!this.#counter.fits(cost, now)) return false;
    this.#counter.add(cost, now);
    return true;
  }
}
