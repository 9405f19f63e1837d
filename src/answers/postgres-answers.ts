import type { Database } from '../postgres/database.js';
import type { DatabaseClock } from '../postgres/database-clock.js';
import { AwaitedRows } from './awaited-rows.js';
import { endingOnce, type Begun, type Intent, type OpenRecord } from './begun.js';
import { identityOf, type CallId } from './call-id.js';
import type { Answers } from './known-answers.js';
import { PendingWrites } from './pending-writes.js';
import { SharedCalls } from './shared-calls.js';
import { SharedLostReplies } from './shared-lost-replies.js';
import { Turns, type SharedRows } from './shared-rows.js';

export interface PostgresAnswersOptions {
  readonly database: Pick<Database, 'query'>;
  /** Of this node, as the table of nodes has it: what is under way belongs to it as long as it is alive there. */
  readonly run: string;
  /** Learns from the statements made here, too. */
  readonly clock: DatabaseClock;
  /** Something was not written, or not swept. What waits for the database is written later, unless it is given up. */
  readonly onTrouble?: (error: unknown) => void;
  /** How often it is looked what became of calls under way at other nodes. Default 150 ms. */
  readonly pollMs?: number;
}

const SWEEP_MS = 60_000;
/** At a time: so that others need not wait for the forgetting of a busy day. */
const MOST_SWEPT = 1_000;

/**
 * The calls of the last 24 hours that must not be done twice, each with its answer as soon as there is one, kept in
 * PostgreSQL by several nodes. What began is durable before it is sent; what has no answer when its node has died is in
 * doubt, for exactly one of those who ask.
 */
export class PostgresAnswers implements Answers {
  /** Another node may know of one at any time. */
  readonly hasBodies = true;
  readonly #writes: PendingWrites;
  readonly #awaited: AwaitedRows;
  readonly #calls: SharedCalls;
  readonly #lost: SharedLostReplies;
  readonly #onTrouble: (error: unknown) => void;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor({ database, run, clock, onTrouble = () => undefined, pollMs }: PostgresAnswersOptions) {
    this.#onTrouble = onTrouble;
    this.#writes = new PendingWrites({ database, onGivenUp: onTrouble });
    this.#awaited = new AwaitedRows(database, pollMs);
    const own = { writes: this.#writes, awaited: this.#awaited, turns: new Turns() };
    const shared: SharedRows = { database, run, clock, ...own };
    this.#calls = new SharedCalls(shared);
    this.#lost = new SharedLostReplies(shared);
    this.#sweepIn(SWEEP_MS);
  }

  async begin(id: CallId, intent: Intent, arrivedAt = Infinity): Promise<Begun> {
    const { key, asked } = identityOf(id);
    if (id.kind !== 'body') return await this.#calls.begin(key, asked, intent);
    return (await this.#lost.begin(key, arrivedAt)) ?? this.#beginWithoutId(key, intent);
  }

  async has(id: CallId, arrivedAt = Infinity): Promise<boolean> {
    const { key } = identityOf(id);
    return await (id.kind === 'body' ? this.#lost.has(key, arrivedAt) : this.#calls.has(key));
  }

  async forget(id: CallId): Promise<void> {
    const { key } = identityOf(id);
    await (id.kind === 'body' ? this.#lost.forget(key) : this.#calls.forget(key));
  }

  /** `written` rejects while the database does not take it: it is written later then. */
  lost(id: CallId, intent: Intent, since = -Infinity): OpenRecord {
    return this.#lost.open(identityOf(id).key, intent, since);
  }

  /** Drops what is older than a day, a part at a time; done once a minute. Rejects with DatabaseError. */
  async sweep(): Promise<void> {
    for (const kept of [this.#calls, this.#lost]) {
      await kept.releaseStrays();
      while (!this.#isClosed && (await kept.sweep(MOST_SWEPT)) === MOST_SWEPT);
    }
  }

  /** Writes what is still to be written, for 5 s at most. The database stays open. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#awaited.close();
    await this.#writes.close();
  }

  #sweepIn(ms: number): void {
    this.#timer = setTimeout(() => {
      void this.sweep()
        .catch(this.#onTrouble)
        .finally(() => {
          if (!this.#isClosed) this.#sweepIn(SWEEP_MS);
        });
    }, ms);
    this.#timer.unref();
  }

  /** Only once its reply is lost is there anything to keep. */
  #beginWithoutId(key: string, intent: Intent): Begun {
    const record = endingOnce({
      written: Promise.resolve(),
      answered: () => Promise.resolve(undefined),
      forget: () => undefined,
      leaveInDoubt: (later) => this.#lost.open(key, intent, -Infinity).leaveInDoubt(later),
      update: () => Promise.resolve(),
    });
    return { state: 'new', record };
  }
}
