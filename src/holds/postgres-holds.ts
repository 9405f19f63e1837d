import type { Database, Session } from '../postgres/database.js';
import type { Hold, HoldChange, HoldMode, HoldStore } from './holds.js';

export interface PostgresHoldsOptions {
  readonly database: Pick<Database, 'query' | 'session'>;
}

interface HoldRow {
  readonly mode: HoldMode;
  readonly account: string | null;
  readonly client: string | null;
  readonly since: number;
  readonly who: string;
  readonly why: string;
}

// What an operator has put there by SQL is more exact than to the ms.
const SINCE = `date_trunc('milliseconds', since)`;
const READ = `
  SELECT mode, account, client, (extract(epoch FROM ${SINCE}) * 1000)::float8 AS since, who, why
  FROM kraken_proxy.hold ORDER BY id`;
const ON_TARGET = 'account IS NOT DISTINCT FROM $1 AND client IS NOT DISTINCT FROM $2';
const LIFT = `
  DELETE FROM kraken_proxy.hold
  WHERE ${ON_TARGET} AND mode = $3 AND ${SINCE} = $4::timestamptz AND who = $5 AND why = $6`;
const REPLACE = `
  DELETE FROM kraken_proxy.hold
  WHERE ${ON_TARGET} AND (mode = 'freeze') = ($3 = 'freeze') AND ${SINCE} <= $4::timestamptz`;
const SET = `
  INSERT INTO kraken_proxy.hold (account, client, mode, since, who, why)
  SELECT $1::text, $2::text, $3::text, $4::timestamptz, $5, $6
  WHERE NOT EXISTS (
    SELECT FROM kraken_proxy.hold
    WHERE ${ON_TARGET} AND (mode = 'freeze') = ($3 = 'freeze') AND ${SINCE} > $4::timestamptz)`;
// Two operators at two nodes come one after the other; readers do not wait. A node that froze in the middle keeps no
// operator of another from stopping all.
const BEGIN = `
  BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
  SET LOCAL idle_in_transaction_session_timeout = 2000;
  LOCK TABLE kraken_proxy.hold IN SHARE ROW EXCLUSIVE MODE`;

const READ_EVERY_MS = 1_000;

/** The holds of all nodes in PostgreSQL. Each reads once a second what the others have set and lifted. */
export class PostgresHolds implements HoldStore {
  readonly former: readonly Hold[];
  readonly #database: PostgresHoldsOptions['database'];
  /** Begun and ended: what was read across one of these is of before it. */
  #changes = 0;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  private constructor(database: PostgresHoldsOptions['database'], former: readonly Hold[]) {
    this.#database = database;
    this.former = former;
  }

  /** Rejects with DatabaseError when they cannot be read: what was stopped must not start by mistake. */
  static async open({ database }: PostgresHoldsOptions): Promise<PostgresHolds> {
    return new PostgresHolds(database, await read(database));
  }

  async change({ lifted, set }: HoldChange): Promise<void> {
    this.#changes++;
    try {
      const session = await this.#database.session();
      try {
        await session.query(BEGIN);
        for (const hold of lifted) await session.query(LIFT, valuesOf(hold));
        for (const hold of set) await put(session, hold);
        await session.query('COMMIT');
      } catch (error) {
        // The transaction and its lock end with the connection.
        session.destroy();
        throw error;
      }
      session.release();
    } finally {
      this.#changes++;
    }
  }

  /** Until this is closed. A reading that fails is left out. */
  follow(onHolds: (holds: readonly Hold[]) => void): void {
    if (this.#isClosed) return;
    this.#timer = setTimeout(() => {
      void this.#look(onHolds)
        .catch(() => undefined)
        .then(() => this.follow(onHolds));
    }, READ_EVERY_MS);
    this.#timer.unref();
  }

  /** Follows no more. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  async #look(onHolds: (holds: readonly Hold[]) => void): Promise<void> {
    const changes = this.#changes;
    const holds = await read(this.#database);
    if (changes === this.#changes && !this.#isClosed) onHolds(holds);
  }
}

async function read(database: PostgresHoldsOptions['database']): Promise<readonly Hold[]> {
  return (await database.query<HoldRow>(READ)).map(({ account, client, ...hold }) => ({
    ...hold,
    ...(account !== null && { account }),
    ...(client !== null && { client }),
  }));
}

/** The latest word counts: this one may have waited long for the database. */
async function put(session: Session, hold: Hold): Promise<void> {
  const values = valuesOf(hold);
  await session.query(REPLACE, values.slice(0, 4));
  await session.query(SET, values);
}

function valuesOf({ account, client, mode, since, who, why }: Hold): (string | null)[] {
  return [account ?? null, client ?? null, mode, new Date(since).toISOString(), who, why];
}
