interface WaitingCall {
  readonly dueAt: number;
  readonly execute: () => void;
}

/**
 * A matching engine behind its gateway: calls that passed the checks and wait here, and the time it is in
 * the engine. Time is the sandbox's clock, so that a test with a clock of its own decides when a call runs;
 * whoever looks at what the engine has done calls `catchUp` first.
 */
export class SlowEngine {
  readonly #clock: () => number;
  /** By the time they are due. */
  #waiting: WaitingCall[] = [];
  #timer: NodeJS.Timeout | undefined;
  #executingAt: number | undefined;

  constructor(clock: () => number) {
    this.#clock = clock;
  }

  /**
   * The clock; while a call that waited is carried out, the time that it was due: what becomes of it must
   * not hang on how much later a test's clock was looked at.
   */
  readonly now = (): number => this.#executingAt ?? this.#clock();

  /** Carries out `execute` once the clock is so much further. */
  add(delayMs: number, execute: () => void): void {
    const dueAt = this.#clock() + delayMs;
    const later = this.#waiting.findIndex((waiting) => waiting.dueAt > dueAt);
    this.#waiting.splice(later < 0 ? this.#waiting.length : later, 0, { dueAt, execute });
    this.#watch();
  }

  /** Carries out what is due. */
  catchUp(): void {
    if (this.#waiting.length === 0) return;
    const now = this.#clock();
    for (let first = this.#waiting[0]; first !== undefined && first.dueAt <= now; first = this.#waiting[0]) {
      this.#waiting.shift();
      this.#executingAt = first.dueAt;
      try {
        first.execute();
      } finally {
        this.#executingAt = undefined;
      }
    }
  }

  /** What still waits is never carried out. */
  close(): void {
    this.#waiting = [];
    clearTimeout(this.#timer);
  }

  /** Lets a call run without another call to look; the clock decides whether it is due. */
  #watch(): void {
    clearTimeout(this.#timer);
    const [first] = this.#waiting;
    if (first === undefined) return;
    const remainingMs = Math.max(1, first.dueAt - this.#clock());
    this.#timer = setTimeout(() => {
      this.catchUp();
      this.#watch();
    }, remainingMs);
    this.#timer.unref();
  }
}
