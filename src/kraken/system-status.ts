export interface SystemStatusOptions {
  /** GETs `/0/public/SystemStatus`; resolves with the whole reply's body. Has to settle some time. */
  readonly ask: () => Promise<Buffer>;
  /** The least time from one question to the next, ms. Default 10,000. */
  readonly checkMs?: number;
  /** Told of every change; undefined: Kraken's word is too old to be believed. */
  readonly onChange?: (status: string | undefined) => void;
  /** A monotonic clock, ms. Default: the process's own. */
  readonly now?: () => number;
}

const CHECK_MS = 10_000;
/** How many checks without a good answer it takes until a maintenance is no longer believed. */
const STALE_CHECKS = 3;
const MAINTENANCE = 'maintenance';

/**
 * What Kraken says about itself (SystemStatus, KRAKEN.md 2.3), asked when calls fail as they do in a maintenance. It is
 * only ever a reason to refuse calls while Kraken says so: in doubt they go on.
 */
export class SystemStatus {
  readonly #options: SystemStatusOptions;
  readonly #checkMs: number;
  readonly #now: () => number;
  #status: string | undefined;
  /** When the question was asked that the status answers, by the monotonic clock. */
  #knownAt = -Infinity;
  #askedAt = -Infinity;
  #asking = false;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: SystemStatusOptions) {
    this.#options = options;
    this.#checkMs = options.checkMs ?? CHECK_MS;
    this.#now = options.now ?? (() => performance.now());
  }

  /** What Kraken said of itself, while that is fresh; undefined when nobody had reason to ask. */
  get status(): string | undefined {
    return this.#isStale(this.#knownAt) ? undefined : this.#status;
  }

  /** Why a call need not be sent now; undefined when there is no reason. Other states than maintenance take calls. */
  get problem(): string | undefined {
    return this.#status === MAINTENANCE && !this.#isStale(this.#knownAt)
      ? 'Kraken is in maintenance'
      : undefined;
  }

  /** A call has failed as if Kraken were away. Asks, unless it was asked just now. */
  suspect(): void {
    if (this.#closed || this.#asking || this.#now() < this.#askedAt + this.#checkMs) return;
    void this.#ask();
  }

  /** Asks no more. */
  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
  }

  async #ask(): Promise<void> {
    const askedAt = this.#now();
    this.#askedAt = askedAt;
    this.#asking = true;
    let status: string | undefined;
    try {
      status = statusOf(await this.#options.ask());
    } catch {
      // No answer, or none that can be read, changes nothing: what is known grows old by itself.
    }
    this.#asking = false;
    if (this.#closed || status === undefined || this.#isStale(askedAt)) return;
    this.#knownAt = askedAt;
    this.#set(status);
  }

  /** While Kraken is in maintenance nobody's calls would bring it to ask again. */
  #look(): void {
    if (this.#isStale(this.#knownAt)) this.#set(undefined);
    else if (!this.#asking) void this.#ask();
  }

  #set(status: string | undefined): void {
    if (status !== MAINTENANCE) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    } else this.#timer ??= setInterval(() => this.#look(), this.#checkMs).unref();
    if (status === this.#status) return;
    this.#status = status;
    this.#options.onChange?.(status);
  }

  /** An answer is as old as its question. */
  #isStale(askedAt: number): boolean {
    return this.#now() - askedAt > STALE_CHECKS * this.#checkMs;
  }
}

/** `online`, `maintenance`, `cancel_only`, `post_only`, or what else Kraken calls it; undefined: it does not say. */
function statusOf(body: Buffer): string | undefined {
  const { error, result } = JSON.parse(body.toString()) as {
    readonly error?: unknown;
    readonly result?: { readonly status?: unknown } | null;
  };
  const status = result?.status;
  const isGood = Array.isArray(error) && error.length === 0 && typeof status === 'string';
  return isGood && /^[a-z_]{1,32}$/.test(status) ? status : undefined;
}
