/** What one GetApiKeyInfo brought. */
export interface Examination {
  /** Ours that were drawn for it, in order: Kraken's answer is to the last of them. */
  readonly nonces: readonly bigint[];
  /** Kraken's E-string, which an open breaker gives as well; else why there was no answer; undefined when all is well. */
  readonly error: string | undefined;
  /** Whether Kraken itself has said something. */
  readonly answered: boolean;
  /** The whole reply, where it was a good one. */
  readonly body: Buffer | undefined;
  /** When the answer came, unix ms. */
  readonly at: number;
}

/** Where a difference of two clocks lies, ms. */
export interface ClockSpan {
  readonly low: number;
  readonly high: number;
}
