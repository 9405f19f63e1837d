export interface KrakenClockOptions {
  /** Told when Kraken's clock is found to differ from ours, and when that changes by more than 5 s; ms. */
  readonly onSkew?: (offsetMs: number) => void;
  /** Our wall clock, unix ms; best one that is never set. Default: the system's. */
  readonly wallNow?: () => number;
}

/** Where the offset lies, ms; and when that was known, unix ms by our wall clock. */
interface Span {
  readonly low: number;
  readonly high: number;
  readonly at: number;
}

/** The `Date` header tells whole seconds, cut off. */
const RESOLUTION_MS = 1_000;
/** Smaller differences do not matter to anybody, and mostly cannot be told. */
const NO_SKEW_MS = 2_000;
const NEW_SKEW_MS = 5_000;
/** How fast two clocks may part: 200 ppm, some 17 s a day. What was known grows vague with time. */
const DRIFT = 0.0002;

/** Until Kraken has said something, its clock is taken to be right within this. */
const UNKNOWN = { low: -NO_SKEW_MS, high: NO_SKEW_MS };
/** A machine's clock that nobody has set yet may be off by so much. */
const UNSET_MS = 600_000;

const HTTP_DATE = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/;

/**
 * How Kraken's clock differs from ours, from the `Date` headers of replies (RFC 9110 6.6.1). Kraken's clock showed a
 * moment of that second some time between our sending and our receiving; where the spans of several calls overlap,
 * there the offset lies. Two calls have to agree before anything is believed, and two again before something else is:
 * neither one odd reply nor a wall clock that is set leads it astray for long.
 */
export class KrakenClock {
  readonly #onSkew: ((offsetMs: number) => void) | undefined;
  readonly #wallNow: () => number;
  #believed: Span | undefined;
  /** What the latest calls say that disagree with what is believed. */
  #suspected: Span | undefined;
  /** Of all that was said before anything is believed, what puts Kraken's clock furthest back. */
  #lowest: Span | undefined;
  #offsetMs = 0;
  #toldMs = 0;
  // Calls of one second: the first tells the earliest that the second can have begun, the last when it had not ended.
  #text = '';
  #date = NaN;
  #lastSentAt = 0;
  #lastReceivedAt = 0;

  constructor({ onSkew, wallNow = Date.now }: KrakenClockOptions = {}) {
    this.#onSkew = onSkew;
    this.#wallNow = wallNow;
  }

  /** What to add to our wall clock to get Kraken's, ms; 0 while they differ by less than about 2 s. */
  get offsetMs(): number {
    return this.#offsetMs;
  }

  /** Kraken's clock, unix ms. */
  now(): number {
    return this.#wallNow() + this.#offsetMs;
  }

  /** Whether Kraken has shown its clock: before that nothing can be proven by it. */
  get isKnown(): boolean {
    return this.#believed !== undefined;
  }

  /** The least that Kraken's clock may show now, unix ms. */
  earliest(): number {
    const wall = this.#wallNow();
    const { low, at } = this.#believed ?? { ...UNKNOWN, at: wall };
    return wall + low - Math.abs(wall - at) * DRIFT;
  }

  /**
   * The least that it may show now by the worst that can be thought of: before two replies have agreed, either our clock
   * is right or one of the replies; before the first one ours may be far off. Unix ms.
   */
  leastThinkable(): number {
    if (this.#believed !== undefined) return this.earliest();
    if (this.#lowest === undefined) return this.earliest() - UNSET_MS;
    const wall = this.#wallNow();
    const { low, at } = this.#lowest;
    return Math.min(this.earliest(), wall + low - Math.abs(wall - at) * DRIFT);
  }

  /** The most that it may show now, unix ms. */
  latest(): number {
    const wall = this.#wallNow();
    const { high, at } = this.#believed ?? { ...UNKNOWN, at: wall };
    return wall + high + Math.abs(wall - at) * DRIFT;
  }

  /** A reply's `Date`, with the moments by our wall clock when its call was sent and it was received, unix ms. */
  observe(date: string | undefined, sentAt: number, receivedAt: number): void {
    if (date === undefined) return;
    if (date !== this.#text) {
      const last = spanOf(this.#date, this.#lastSentAt, this.#lastReceivedAt);
      // Of the same second as one before, so it may refine what is believed, but confirms nothing.
      if (last !== undefined) this.#refine(last);
      this.#text = date;
      this.#date = HTTP_DATE.test(date) ? Date.parse(date) : NaN;
      const span = spanOf(this.#date, sentAt, receivedAt);
      if (span !== undefined) this.#weigh(span);
      this.#conclude();
    }
    this.#lastSentAt = sentAt;
    this.#lastReceivedAt = receivedAt;
  }

  #weigh(span: Span): void {
    if (this.#refine(span)) {
      if (this.#suspected !== undefined && overlap(this.#suspected, span) === undefined)
        this.#suspected = undefined;
      return;
    }
    if (this.#lowest === undefined || span.low < this.#lowest.low) this.#lowest = span;
    const confirmed = this.#suspected && overlap(this.#suspected, span);
    if (confirmed !== undefined) this.#believed = confirmed;
    this.#suspected = confirmed === undefined ? span : undefined;
  }

  /** False when it does not agree with what is believed. */
  #refine(span: Span): boolean {
    const refined = this.#believed && overlap(this.#believed, span);
    if (refined !== undefined) this.#believed = refined;
    return refined !== undefined;
  }

  #conclude(): void {
    if (this.#believed === undefined) return;
    const { low, high } = this.#believed;
    const middle = Math.round((low + high) / 2);
    // A span may be wide; only one that lies outside altogether proves a difference.
    const proven = low > NO_SKEW_MS || high < -NO_SKEW_MS;
    const known = this.#offsetMs !== 0 && Math.abs(middle) > NO_SKEW_MS;
    this.#offsetMs = proven || known ? middle : 0;
    const begins = this.#toldMs === 0 && this.#offsetMs !== 0;
    if (!begins && Math.abs(this.#offsetMs - this.#toldMs) <= NEW_SKEW_MS) return;
    this.#toldMs = this.#offsetMs;
    this.#onSkew?.(this.#offsetMs);
  }
}

/** Undefined when there is no date, or our clock was set back in between. Kraken's clock is never at the end of its second. */
function spanOf(date: number, sentAt: number, receivedAt: number): Span | undefined {
  if (Number.isNaN(date) || !(sentAt <= receivedAt)) return undefined;
  return { low: date - receivedAt, high: date + RESOLUTION_MS - sentAt, at: receivedAt };
}

/** Where both can be true; undefined when they cannot. The earlier one has grown vague. */
function overlap(earlier: Span, later: Span): Span | undefined {
  const vague = Math.abs(later.at - earlier.at) * DRIFT;
  const low = Math.max(earlier.low - vague, later.low);
  const high = Math.min(earlier.high + vague, later.high);
  return low < high ? { low, high, at: later.at } : undefined;
}
