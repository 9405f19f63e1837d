import { writtenInTime } from '../durable-lines.js';
import type { Database, DatabaseError, Values } from '../postgres/database.js';

export interface PendingWritesOptions {
  readonly database: Pick<Database, 'query'>;
  /** What failed is tried again this often. Default 1000 ms. */
  readonly retryMs?: number;
  /** What waits for the database takes so much memory at most; what fails beyond that is given up. Default 64 MiB. */
  readonly maxBytes?: number;
  /** The database did not take one at its first try. */
  readonly onFailure?: (error: unknown) => void;
  /** A write was given up. */
  readonly onGivenUp?: (error: unknown) => void;
}

/** A write that the database did not take. */
interface Late {
  readonly text: string;
  readonly values: Values;
  /** Monotonic ms. */
  readonly since: number;
  readonly end: () => void;
}

const RETRY_MS = 1_000;
const MAX_BYTES = 64 * 1024 * 1024;
/** Nobody asks for what is older. */
const LASTS_MS = 24 * 60 * 60 * 1000;
const NAME = 'the record of a call';
/** Of a write beyond its texts: an estimate. */
const WRITE_BYTES = 500;

/**
 * Writes that have to reach the database whether somebody waits for them or not: those of one key one after the other,
 * and again and again while the database is away.
 */
export class PendingWrites {
  readonly #options: PendingWritesOptions;
  /** By key: resolves once all of it is written, or given up. */
  readonly #chains = new Map<string, Promise<void>>();
  readonly #late: Late[] = [];
  #bytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #draining: Promise<Error | undefined> | undefined;
  #isClosed = false;

  constructor(options: PendingWritesOptions) {
    this.#options = options;
  }

  /**
   * Resolves with the number of rows that the statement returned. Rejects with DatabaseError when its first try fails;
   * it is repeated all the same, unless `isRepeated` is false, and the later ones of its key wait for it.
   */
  write(key: string, text: string, values: Values, isRepeated = true): Promise<number> {
    const before = this.#chains.get(key);
    const bytes = WRITE_BYTES + bytesOf(values);
    this.#bytes += bytes;
    const first = (before ?? Promise.resolve()).then(async () => {
      const rows = await this.#options.database.query(text, values);
      return rows.length;
    });
    const all = first
      .then(
        () => undefined,
        (error: unknown) => {
          if (!isHopeless(error)) this.#options.onFailure?.(error);
          return isRepeated ? this.#repeat(text, values, error) : undefined;
        },
      )
      .finally(() => {
        this.#bytes -= bytes;
        if (this.#chains.get(key) === all) this.#chains.delete(key);
      });
    this.#chains.set(key, all);
    return first;
  }

  isPending(key: string): boolean {
    return this.#chains.has(key);
  }

  /**
   * Resolves once nothing of the key is pending: at once, as a rule. Rejects with DatabaseError while the database is
   * away, with ProxyError `not-owner` after 5 s.
   */
  async settled(key: string): Promise<void> {
    const chain = this.#chains.get(key);
    if (chain === undefined) return;
    await writtenInTime(this.#late.length === 0 ? chain : this.#afterLate(chain), NAME);
  }

  /** Tries what is left once more, for 5 s at most; what is not written then is given up. */
  async close(): Promise<void> {
    if (!this.#isClosed) {
      this.#isClosed = true;
      const all = Promise.all(this.#chains.values()).then(() => undefined);
      void this.#drain();
      await writtenInTime(all, NAME).catch(() => undefined);
    }
    clearTimeout(this.#timer);
    this.#endAll();
  }

  async #repeat(text: string, values: Values, error: unknown): Promise<void> {
    const { maxBytes = MAX_BYTES, onGivenUp } = this.#options;
    if (this.#isClosed || isHopeless(error) || this.#bytes > maxBytes) {
      onGivenUp?.(error);
      return;
    }
    await new Promise<void>((end) => {
      this.#late.push({ text, values, since: performance.now(), end });
      this.#drainSoon();
    });
  }

  /** What is late is not left to its time: somebody waits. */
  async #afterLate(chain: Promise<void>): Promise<void> {
    const failure = await this.#drain();
    if (failure !== undefined) throw failure;
    await chain;
  }

  #drainSoon(): void {
    if (this.#timer !== undefined || this.#isClosed) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.#drain();
    }, this.#options.retryMs ?? RETRY_MS);
    this.#timer.unref();
  }

  /** Resolves with the error that ended it. */
  #drain(): Promise<Error | undefined> {
    return (this.#draining ??= this.#drainAll().finally(() => (this.#draining = undefined)));
  }

  /** One after the other, up to the first that fails for a reason that is not its own: then the others would fail too. */
  async #drainAll(): Promise<Error | undefined> {
    let failure: Error | undefined;
    for (const late of [...this.#late]) {
      try {
        await this.#options.database.query(late.text, late.values);
      } catch (error) {
        const isOver = isHopeless(error) || performance.now() - late.since > LASTS_MS;
        if (isOver || this.#isClosed) this.#options.onGivenUp?.(error);
        if (this.#isClosed) this.#endAll();
        if (!isOver) {
          this.#drainSoon();
          failure ??= error as DatabaseError;
          if (isItsOwn(error)) continue;
          return failure;
        }
      }
      // Closed meanwhile, the list is empty.
      const index = this.#late.indexOf(late);
      if (index >= 0) this.#late.splice(index, 1);
      late.end();
    }
    return failure;
  }

  #endAll(): void {
    for (const { end } of this.#late.splice(0)) end();
  }
}

/** What the database refuses for its values it refuses each time. */
function isHopeless(error: unknown): boolean {
  return /^2[23]/.test((error as Partial<DatabaseError>).sqlState ?? '');
}

/** No right to a table, or none there: others may be written. Those of one key are not among them. */
function isItsOwn(error: unknown): boolean {
  return /^(?:42|54)/.test((error as Partial<DatabaseError>).sqlState ?? '');
}

function bytesOf(values: Values): number {
  return values.reduce<number>((sum, value) => sum + (typeof value === 'string' ? value.length : 8), 0);
}
