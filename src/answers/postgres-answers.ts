import type { Database } from '../postgres/database.js';
import type { DatabaseClock } from '../postgres/database-clock.js';
import { AwaitedRows } from './awaited-rows.js';
import { endingOnce, type Begun, type Intent, type OpenRecord } from './begun.js';
import { identityOf, type CallId } from './call-id.js';
import type { CanceledOrders } from '../orders/canceled-orders.js';
import type { Answers } from './known-answers.js';
import { PendingWrites } from './pending-writes.js';
import { SharedCalls } from './shared-calls.js';
import { SharedLostReplies } from './shared-lost-replies.js';
import { storedInTime, Turns, type SharedRows } from './shared-rows.js';
import { StoreHealth } from './store-health.js';

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
  /** How long a call waits for a database that is away. Default 5000 ms. */
  readonly patienceMs?: number;
}

const STRAYS_MS = 10_000;
const SWEEP_MS = 60_000;
const PROBE_MS = 1_000;
/** At a time: so that others need not wait for the forgetting of a busy day. */
const MOST_SWEPT = 1_000;

// Each cancel deletes what is older than itself, whenever it comes.
const canceledSql = (table: string, named: string): string => `
  DELETE FROM ${table} WHERE account = $1 AND state = 'answered' AND at <= to_timestamp($2::float8 / 1000) ${named}`;
const withdrawnSql = (named: string): string => `
  WITH lost AS (${canceledSql('kraken_proxy.lost_reply', named)})
  ${canceledSql('kraken_proxy.answer', named)}`;
const CANCELED_ALL = withdrawnSql('');
const CANCELED = withdrawnSql('AND orders && ARRAY(SELECT jsonb_array_elements_text($3::jsonb))');

// As long as the record of an order: a disk without room has none for this.
const PROBE = `
  INSERT INTO kraken_proxy.answer (key, state, json) VALUES ($1, 'done', repeat('-', 500))
  ON CONFLICT (key) DO UPDATE SET at = clock_timestamp()`;
const UNPROBE = 'DELETE FROM kraken_proxy.answer WHERE key = $1';

/**
 * The calls of the last 24 hours that must not be done twice, each with its answer as soon as there is one, kept in
 * PostgreSQL by several nodes. What began is durable before it is sent; what has no answer when its node has died is in
 * doubt, for exactly one of those who ask.
 */
export class PostgresAnswers implements Answers {
  /** Another node may know of one at any time. */
  readonly hasBodies = true;
  readonly #shared: SharedRows;
  readonly #writes: PendingWrites;
  readonly #health: StoreHealth;
  readonly #awaited: AwaitedRows;
  readonly #calls: SharedCalls;
  readonly #lost: SharedLostReplies;
  readonly #onTrouble: (error: unknown) => void;
  readonly #timers: NodeJS.Timeout[] = [];
  #cancels = 0;
  #isClosed = false;

  constructor(options: PostgresAnswersOptions) {
    const { database, run, clock, onTrouble = () => undefined, pollMs, patienceMs } = options;
    this.#onTrouble = onTrouble;
    const health = (this.#health = new StoreHealth(patienceMs));
    const onFailure = (error: unknown): void => health.failed(error);
    this.#writes = new PendingWrites({ database, onFailure, onGivenUp: onTrouble });
    this.#awaited = new AwaitedRows(database, pollMs);
    const own = { writes: this.#writes, awaited: this.#awaited, turns: new Turns(), health, onTrouble };
    this.#shared = { database, run, clock, ...own };
    this.#calls = new SharedCalls(this.#shared);
    this.#lost = new SharedLostReplies(this.#shared);
    this.#every(STRAYS_MS, () => this.releaseStrays());
    this.#every(SWEEP_MS, () => this.sweep());
    this.#every(PROBE_MS, () => this.#probe());
  }

  /** Why calls that must not be done twice are refused: nothing was kept for seconds. Undefined: it can be. */
  get problem(): string | undefined {
    return this.#health.problem;
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

  async canceled(account: string, orders: CanceledOrders, sentAt: number): Promise<void> {
    const { clock } = this.#shared;
    const isAll = orders === 'all';
    const now = isAll ? sentAt : performance.now();
    const until = clock.isKnown ? clock.toDatabase(now) + (isAll ? -clock.errorMs : clock.errorMs) : Infinity;
    this.#lost.canceled(account, orders, sentAt);
    const ours = this.#calls.canceled(account, orders, sentAt);
    const values = isAll ? [account, until] : [account, until, JSON.stringify(orders)];
    // Cancels need not wait for one another.
    const key = `cancel ${++this.#cancels}`;
    const written = this.#writes.write(key, isAll ? CANCELED_ALL : CANCELED, values);
    await Promise.all([ours, storedInTime(written)]);
  }

  /** `written` rejects while the database does not take it: it is written later then. */
  lost(id: CallId, intent: Intent, since = -Infinity, arrivedAt?: number): OpenRecord {
    return this.#lost.open(identityOf(id).key, intent, since, arrivedAt);
  }

  /** What is under way by this node's name and nobody here does is in doubt; done every 10 s. Rejects with DatabaseError. */
  async releaseStrays(): Promise<void> {
    for (const kept of [this.#calls, this.#lost]) await kept.releaseStrays();
  }

  /** Drops what is older than a day, a part at a time; done once a minute. Rejects with DatabaseError. */
  async sweep(): Promise<void> {
    for (const kept of [this.#calls, this.#lost])
      while (!this.#isClosed && (await kept.sweep(MOST_SWEPT)) === MOST_SWEPT);
  }

  /** Writes what is still to be written, for 5 s at most. The database stays open. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#health.close();
    for (const timer of this.#timers) clearInterval(timer);
    this.#awaited.close();
    await this.#writes.close();
  }

  /** Nobody may send anything that would tell whether it is well again. */
  async #probe(): Promise<void> {
    if (!this.#health.isFailing) return;
    const { database, run } = this.#shared;
    const values = [JSON.stringify(['probe', run])];
    try {
      await database.query(PROBE, values);
      this.#health.worked();
      await database.query(UNPROBE, values);
    } catch {
      // The first failure counts, and is told.
    }
  }

  /** Not while it is still at it. */
  #every(ms: number, work: () => Promise<void>): void {
    let isAtIt = false;
    const timer = setInterval(() => {
      if (isAtIt) return;
      isAtIt = true;
      void work()
        .catch(this.#onTrouble)
        .finally(() => (isAtIt = false));
    }, ms);
    timer.unref();
    this.#timers.push(timer);
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
