/** Two clocks in ms: a steady one, which may stand still while the machine sleeps, and the wall's, which may be set. */
export interface ClockOptions {
  /** Never steps back. Default: the process's own. */
  readonly now?: () => number;
  /** Default: the system's. */
  readonly wallNow?: () => number;
}

/**
 * The wall clock as it was when the process started, and steady from there on: unix ms that nobody sets. While the
 * machine sleeps it may stand still.
 */
export function steadyWallNow(): number {
  return performance.timeOrigin + performance.now();
}

/** When something was asked, by both clocks. */
export interface Moment {
  readonly steady: number;
  readonly wall: number;
}

/** Tells ages for which a sleep of the machine counts: by whichever clock says more. */
export class Clocks {
  readonly #now: () => number;
  readonly #wallNow: () => number;

  constructor({ now = () => performance.now(), wallNow = Date.now }: ClockOptions = {}) {
    this.#now = now;
    this.#wallNow = wallNow;
  }

  moment(): Moment {
    return { steady: this.#now(), wall: this.#wallNow() };
  }

  /** Ms since then. A wall clock that was set back makes nothing younger. */
  age({ steady, wall }: Moment): number {
    return Math.max(this.#now() - steady, this.#wallNow() - wall);
  }
}
