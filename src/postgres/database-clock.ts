/** One look at the database's clock. */
interface Sample {
  /** Its time less ours, ms. */
  readonly offset: number;
  /** How far off that may have been, ms: the answer was made at some moment of the round trip. */
  readonly error: number;
  /** Monotonic ms. */
  readonly at: number;
}

/** Two machines' clocks run apart by so much at most while both are kept in step: NTP's own limit for slewing. */
const DRIFT = 500e-6;
/** An older look says nothing any more. */
const LASTS_MS = 10 * 60 * 1000;

/**
 * What time it is at the database: each statement that tells its clock is a look at it. The best look counts: the one of
 * the shortest round trip, unless it has grown too old to be better than a later one.
 */
export class DatabaseClock {
  readonly #now: () => number;
  #best: Sample | undefined;

  /** `now`: monotonic ms. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /**
   * A statement was sent and its answer received then, both monotonic ms; in between the database's clock said `dbMs`,
   * ms since 1970. A time in which the statement waited for a connection makes the look worse, not wrong.
   */
  observe(sentAt: number, receivedAt: number, dbMs: number): void {
    if (!(receivedAt >= sentAt) || !Number.isFinite(dbMs)) return;
    const middle = (sentAt + receivedAt) / 2;
    const sample = { offset: dbMs - middle, error: (receivedAt - sentAt) / 2, at: receivedAt };
    const best = this.#best;
    if (best === undefined) this.#best = sample;
    else {
      const bound = boundOf(best, receivedAt);
      // They exclude each other: another server answers now, or its clock was set.
      const isStep = Math.abs(sample.offset - best.offset) > bound + sample.error;
      const isOver = receivedAt - best.at >= LASTS_MS;
      if (isStep || isOver || sample.error <= bound) this.#best = sample;
    }
  }

  /** Whether there was a look in the last ten minutes. */
  get isKnown(): boolean {
    return this.#best !== undefined && this.#now() - this.#best.at < LASTS_MS;
  }

  /** How far off the times may be, ms; Infinity while nothing is known. */
  get errorMs(): number {
    return this.#best === undefined || !this.isKnown ? Infinity : boundOf(this.#best, this.#now());
  }

  /** The database's time, ms since 1970, at a moment of ours, monotonic ms. Throws while nothing is known. */
  toDatabase(mono: number): number {
    return mono + this.#known().offset;
  }

  /** Our monotonic ms at a moment of the database's clock, ms since 1970. Throws while nothing is known. */
  toLocal(dbMs: number): number {
    return dbMs - this.#known().offset;
  }

  #known(): Sample {
    if (this.#best === undefined || !this.isKnown) throw new Error("the database's time is not known");
    return this.#best;
  }
}

function boundOf({ error, at }: Sample, now: number): number {
  return error + Math.max(0, now - at) * DRIFT;
}
