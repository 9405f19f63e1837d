import type { CallRecord } from '../log.js';

/** The part of a call's record that is counted. */
export type CountedCall = Pick<CallRecord, 'outcome' | 'ownError' | 'waitMs' | 'upstreamMs'>;

/** Calls that ended within one second. Means and maxima are null where no call had such a time. */
export interface SecondView {
  /** Unix seconds. */
  readonly at: number;
  readonly calls: number;
  /** Refused, of unknown outcome, or answered with an error of the proxy's own. */
  readonly errors: number;
  readonly waitMs: number | null;
  readonly waitMaxMs: number | null;
  readonly upstreamMs: number | null;
  readonly upstreamMaxMs: number | null;
}

/** The last hour by the second, oldest first: entry i of each list is second `from + i`. */
export interface HistoryView {
  /** Unix seconds. */
  readonly from: number;
  readonly seconds: number;
  readonly calls: readonly number[];
  readonly errors: readonly number[];
  readonly waitMs: readonly (number | null)[];
  readonly waitMaxMs: readonly (number | null)[];
  readonly upstreamMs: readonly (number | null)[];
  readonly upstreamMaxMs: readonly (number | null)[];
}

const HOUR_SECONDS = 3_600;
/** More than the view, and a power of two: the remainder of a number so large costs more than all the adding. */
const RING_SECONDS = 4_096;

/** The places of one second's figures, side by side. */
const AT = 0;
const CALLS = 1;
const ERRORS = 2;
const WAITS = 3;
const WAIT_SUM = 4;
const WAIT_MAX = 5;
const SENDS = 6;
const UPSTREAM_SUM = 7;
const UPSTREAM_MAX = 8;
const FIGURES = 9;

/**
 * What became of the calls of the last hour, by the second in which they ended. It is told of every call, so `add`
 * only adds to numbers that are there already. Seconds are the wall clock's: where it steps back, the calls of both
 * passes count for the same second; where it steps forward, the seconds between are empty.
 */
export class CallHistory {
  readonly #now: () => number;
  readonly #figures = new Float64Array(RING_SECONDS * FIGURES);

  /** `now` is unix ms. */
  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /** A call has ended. */
  add({ outcome, ownError, waitMs, upstreamMs }: CountedCall): void {
    const figures = this.#figures;
    const second = Math.floor(this.#now() / 1_000);
    const slot = (second & (RING_SECONDS - 1)) * FIGURES;
    if (figures[slot] !== second) {
      figures.fill(0, slot, slot + FIGURES);
      figures[slot + AT] = second;
    }
    add(figures, slot + CALLS, 1);
    if (outcome === 'refused' || outcome === 'unknown' || ownError !== undefined) {
      add(figures, slot + ERRORS, 1);
    }
    if (waitMs !== undefined) {
      add(figures, slot + WAITS, 1);
      add(figures, slot + WAIT_SUM, waitMs);
      raise(figures, slot + WAIT_MAX, waitMs);
    }
    if (upstreamMs !== undefined) {
      add(figures, slot + SENDS, 1);
      add(figures, slot + UPSTREAM_SUM, upstreamMs);
      raise(figures, slot + UPSTREAM_MAX, upstreamMs);
    }
  }

  /** The last 3600 whole seconds. */
  view(): HistoryView {
    const from = Math.floor(this.#now() / 1_000) - HOUR_SECONDS;
    const seconds = Array.from({ length: HOUR_SECONDS }, (_, index) => this.second(from + index));
    return {
      from,
      seconds: HOUR_SECONDS,
      calls: seconds.map(({ calls }) => calls),
      errors: seconds.map(({ errors }) => errors),
      waitMs: seconds.map(({ waitMs }) => waitMs),
      waitMaxMs: seconds.map(({ waitMaxMs }) => waitMaxMs),
      upstreamMs: seconds.map(({ upstreamMs }) => upstreamMs),
      upstreamMaxMs: seconds.map(({ upstreamMaxMs }) => upstreamMaxMs),
    };
  }

  /** One second, in unix seconds; empty when it is not of the last hour. */
  second(at: number): SecondView {
    const start = (at & (RING_SECONDS - 1)) * FIGURES;
    const figure = (place: number): number => this.#figures[start + place] ?? 0;
    if (figure(AT) !== at) return { at, calls: 0, errors: 0, ...NO_TIMES };
    const mean = (sum: number, count: number): number | null =>
      figure(count) === 0 ? null : rounded(figure(sum) / figure(count));
    const highest = (max: number, count: number): number | null =>
      figure(count) === 0 ? null : rounded(figure(max));
    return {
      at,
      calls: figure(CALLS),
      errors: figure(ERRORS),
      waitMs: mean(WAIT_SUM, WAITS),
      waitMaxMs: highest(WAIT_MAX, WAITS),
      upstreamMs: mean(UPSTREAM_SUM, SENDS),
      upstreamMaxMs: highest(UPSTREAM_MAX, SENDS),
    };
  }
}

const NO_TIMES = { waitMs: null, waitMaxMs: null, upstreamMs: null, upstreamMaxMs: null } as const;

function add(figures: Float64Array, place: number, amount: number): void {
  figures[place] = (figures[place] ?? 0) + amount;
}

function raise(figures: Float64Array, place: number, to: number): void {
  if (to > (figures[place] ?? 0)) figures[place] = to;
}

/** To the microsecond. */
function rounded(ms: number): number {
  return Math.round(ms * 1_000) / 1_000;
}
