/** A counter that points are added to and time takes off again, never below zero. */
export class DecayingCounter {
  readonly #most: number;
  readonly #decayPerMs: number;
  #level = 0;
  #at = 0;

  constructor(most: number, decayPerSecond: number) {
    this.#most = most;
    this.#decayPerMs = decayPerSecond / 1000;
  }

  /** The counter as it stands at `now` (ms). */
  level(now: number): number {
    // A clock that steps back neither adds nor takes.
    const elapsed = Math.max(0, now - this.#at);
    this.#level = Math.max(0, this.#level - elapsed * this.#decayPerMs);
    this.#at = now;
    return this.#level;
  }

  /** Whether so many points fit under the most. */
  fits(points: number, now: number): boolean {
    // Sixteen digits of rounding must not refuse what fits exactly.
    return this.level(now) + points <= this.#most + 1e-9;
  }

  /** Adds the points, whether they fit or not. */
  add(points: number, now: number): void {
    this.#level = this.level(now) + points;
  }
}
