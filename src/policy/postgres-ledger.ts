import { createHash } from 'node:crypto';
import { ProxyError } from '../errors.js';
import type { Database, Session } from '../postgres/database.js';
import { parseAmount, type Decimal } from './decimal.js';
import type { Ledger, Reservation } from './spending.js';

export interface PostgresLedgerOptions {
  readonly database: Pick<Database, 'query' | 'session'>;
}

/** What a client and a currency have, each line with a lock of its own. */
interface Place {
  readonly client: string;
  readonly quote: string;
}

const COUNTED = `
  FROM kraken_proxy.spending
  WHERE client = $1 AND quote = $2 AND at > statement_timestamp() - interval '24 hours'`;
const SPENT = `SELECT coalesce(sum(amount), 0)::text AS spent ${COUNTED}`;
const RESERVE = `
  INSERT INTO kraken_proxy.spending (client, quote, amount)
  SELECT $1, $2, $3::numeric
  WHERE $4::numeric IS NULL OR (SELECT coalesce(sum(amount), 0) ${COUNTED}) + $3::numeric <= $4::numeric
  RETURNING id`;
const GIVE_BACK = `DELETE FROM kraken_proxy.spending WHERE id = ANY (string_to_array($1, ',')::bigint[])`;
// Nodes that clean up at the same time do not wait for each other.
const CLEAN_UP = `
  DELETE FROM kraken_proxy.spending WHERE id IN (
    SELECT id FROM kraken_proxy.spending WHERE at < statement_timestamp() - interval '24 hours'
    ORDER BY at LIMIT 1000 FOR UPDATE SKIP LOCKED)`;

/** The first half of the locks' keys; the second is the client's and the currency's. */
const LOCKS = hashOf('kraken_proxy.spending');
/** A node that froze in the middle must not keep the others from trading. */
const FROZEN_MS = 2_000;
const CLEAN_UP_MS = 60_000;
const RETRY_MS = 1_000;
/** Ids of rows that wait to be taken out. Those beyond count until they are a day old. */
const MAX_RETURNED = 10_000;

/**
 * The ledger of the day in PostgreSQL, one for all nodes, over 24 hours by the database's clock. A reservation is
 * durable when it resolves. Where the answer to a commit was lost, or a giving back comes to nothing, an amount may count
 * for its day though its order never went: the limit is never passed for that.
 */
export class PostgresLedger implements Ledger {
  readonly #database: PostgresLedgerOptions['database'];
  /** By client and currency, the end of its line. */
  readonly #lines = new Map<string, Promise<unknown>>();
  readonly #returned = new Set<string>();
  #returning: Promise<void> | undefined;
  #retry: NodeJS.Timeout | undefined;
  readonly #cleaning: NodeJS.Timeout;
  #isClosed = false;

  /** Nothing is asked of the database before the first call. */
  constructor({ database }: PostgresLedgerOptions) {
    this.#database = database;
    this.#cleaning = setInterval(() => void database.query(CLEAN_UP).catch(() => undefined), CLEAN_UP_MS);
    this.#cleaning.unref();
  }

  async spent(client: string, quote: string): Promise<Decimal> {
    this.#assertOpen();
    const [row] = await this.#database.query<{ readonly spent: string }>(SPENT, [client, quote]);
    const spent = parseAmount(row?.spent ?? '');
    if (spent === undefined) throw notOurs(`the ledger of the day holds no amount for ${client} in ${quote}`);
    return spent;
  }

  async reserve(
    client: string,
    quote: string,
    amount: Decimal,
    limit: Decimal | undefined,
  ): Promise<Reservation | undefined> {
    this.#assertOpen();
    const place = { client, quote };
    const id = await this.#inLine(place, () => this.#insert(place, amount, limit));
    if (id === undefined) return undefined;
    return { written: Promise.resolve(), giveBack: () => this.#giveBack(id) };
  }

  /** Takes out what was given back. Rejects with DatabaseError when that fails: then it counts until it is a day old. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#cleaning);
    await Promise.allSettled(this.#lines.values());
    await this.#returning;
    clearTimeout(this.#retry);
    await this.#takeOut();
  }

  /**
   * One at a time for each client and currency: those that wait for a lock would each keep a connection. What fails for
   * one fails for all behind it: the database is away for them as well.
   */
  #inLine<T>({ client, quote }: Place, act: () => Promise<T>): Promise<T> {
    const key = JSON.stringify([client, quote]);
    const turn = (this.#lines.get(key) ?? Promise.resolve()).then(act);
    const leave = (): void => {
      if (this.#lines.get(key) === turn) this.#lines.delete(key);
    };
    this.#lines.set(key, turn);
    turn.then(leave, leave);
    return turn;
  }

  /** The id of the new row; undefined when the amount does not fit. */
  async #insert(place: Place, amount: Decimal, limit: Decimal | undefined): Promise<string | undefined> {
    const session = await this.#database.session();
    let id: string | undefined;
    try {
      await lock(session, place);
      const values = [place.client, place.quote, amount.toFixed(), limit?.toFixed() ?? null];
      // A statement of its own, so that it sees what the last holder of the lock has committed.
      id = (await session.query<{ readonly id: string }>(RESERVE, values))[0]?.id;
      await session.query('COMMIT');
    } catch (error) {
      // The transaction and its lock end with the connection.
      session.destroy();
      // Only the commit may have been done.
      if (id !== undefined) this.#giveBack(id);
      throw error;
    }
    session.release();
    return id;
  }

  #giveBack(id: string): void {
    if (this.#returned.size < MAX_RETURNED) this.#returned.add(id);
    this.#returning ??= this.#returnAll();
  }

  /** Until all is taken out, or the database fails: then again later. Never rejects. */
  async #returnAll(): Promise<void> {
    try {
      while (this.#returned.size > 0) await this.#takeOut();
    } catch {
      this.#returnLater();
    } finally {
      this.#returning = undefined;
    }
  }

  #returnLater(): void {
    clearTimeout(this.#retry);
    if (this.#isClosed) return;
    this.#retry = setTimeout(() => {
      this.#returning ??= this.#returnAll();
    }, RETRY_MS);
    this.#retry.unref();
  }

  async #takeOut(): Promise<void> {
    const ids = [...this.#returned];
    if (ids.length === 0) return;
    await this.#database.query(GIVE_BACK, [ids.join()]);
    for (const id of ids) this.#returned.delete(id);
  }

  #assertOpen(): void {
    if (this.#isClosed) throw notOurs('the ledger of the day is closed');
  }
}

/** Begins a transaction that has the client's currency for itself. */
async function lock(session: Session, { client, quote }: Place): Promise<void> {
  const key = hashOf(JSON.stringify([client, quote]));
  await session.query(
    `BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL idle_in_transaction_session_timeout = ${FROZEN_MS}; ` +
      `SELECT pg_advisory_xact_lock(${LOCKS}, ${key})`,
  );
}

/** As PostgreSQL's int4. Two clients with the same one wait for each other, and no more. */
function hashOf(text: string): number {
  return createHash('sha256').update(text).digest().readInt32BE();
}

function notOurs(reason: string): ProxyError {
  return new ProxyError('not-owner', reason, { retryAfterSeconds: 1 });
}
