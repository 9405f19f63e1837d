/** A write that fails for so long is more than a restart of the database, ms. */
const PROBLEM_AFTER_MS = 3_000;
const PATIENCE_MS = 5_000;

/** Whether a database takes what is to be kept: it may answer every question, and have no room left. */
export class StoreHealth {
  /** How long a call waits for it, ms. */
  readonly patienceMs: number;
  #failure: { readonly since: number; readonly why: string } | undefined;
  #isClosed = false;

  constructor(patienceMs = PATIENCE_MS) {
    this.patienceMs = patienceMs;
  }

  /** Something new was written. */
  worked(): void {
    this.#failure = undefined;
  }

  failed(error: unknown): void {
    this.#failure ??= { since: performance.now(), why: (error as Error).message };
  }

  get isFailing(): boolean {
    return this.#failure !== undefined;
  }

  /** Nobody need wait for it: nothing was written for longer than a call waits, although it was tried. */
  get isLongAway(): boolean {
    return this.#isClosed || this.#failedForMs > this.patienceMs;
  }

  /** Why nothing can be kept, and so nothing be sent that must not be done twice; undefined: it can. */
  get problem(): string | undefined {
    return this.#failedForMs > PROBLEM_AFTER_MS ? this.#failure?.why : undefined;
  }

  close(): void {
    this.#isClosed = true;
  }

  get #failedForMs(): number {
    return this.#failure === undefined ? 0 : performance.now() - this.#failure.since;
  }
}
