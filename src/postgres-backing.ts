import { hostname } from 'node:os';
import { PostgresAnswers } from './answers/postgres-answers.js';
import type { Backing, OpenBacking, OwnOptions } from './backing.js';
import type { Config } from './config.js';
import { PostgresHolds } from './holds/postgres-holds.js';
import type { Log } from './log.js';
import { Ownership } from './nonce/ownership.js';
import { SharedLanes } from './nonce/shared-lanes.js';
import { PostgresLedger } from './policy/postgres-ledger.js';
import { DatabaseClock } from './postgres/database-clock.js';
import { Database } from './postgres/database.js';
import { schemaProblem } from './postgres/migrations.js';
import { Nodes } from './postgres/nodes.js';

export interface PostgresBackingParts {
  readonly config: () => Config;
  readonly log: Log;
  readonly version: string;
  readonly run: string;
  readonly onWrite: (seconds: number, error: unknown) => void;
}

/** How often it is looked whether anything is heard of the database, ms. */
const CHECK_MS = 1_000;

/**
 * Everything in a database that several nodes share. There is no other place to fall back to: while the database cannot be
 * asked, nothing is signed. Only the journal is this node's own, in its file, which is locked for it.
 */
export class PostgresBacking implements Backing {
  readonly tenures: SharedLanes;
  readonly #parts: PostgresBackingParts;
  readonly #database: Database;
  #nodes: Nodes | undefined;

  constructor(parts: PostgresBackingParts) {
    this.#parts = parts;
    const { config, log, run, onWrite } = parts;
    const { nonce, lanes } = config();
    if (nonce.url === undefined) throw new TypeError('nonce.store postgres goes with a nonce.url');
    const name = `kraken-signing-proxy ${run}`;
    this.#database = new Database({ url: nonce.url, lanes: nonce.connections, name });
    this.tenures = new SharedLanes({
      ...{ database: this.#database, run, mode: lanes, onDraw: onWrite },
      silence: () => this.#nodes?.problem,
      onLost: (lane, err) => log.warn({ lane, err }, 'a lane was lost while it was ours; it is asked for again'),
    });
  }

  async open({ signal, onWaiting, onLost }: OwnOptions): Promise<OpenBacking> {
    const { config, log, version, run } = this.#parts;
    const { journal } = config();
    const database = this.#database;
    const clock = new DatabaseClock();
    const files = journal.enabled
      ? await Ownership.acquire(journal.file, { signal, onWaiting, onLost })
      : undefined;
    let holds: PostgresHolds | undefined;
    let timer: NodeJS.Timeout | undefined;
    const close = async (): Promise<void> => {
      clearInterval(timer);
      holds?.close();
      await this.#nodes?.close();
      await database.close();
      await files?.release();
    };
    try {
      const problem = await schemaProblem(database);
      if (problem !== undefined) throw problem;
      this.#nodes = await Nodes.open({
        ...{ database, run, version, host: hostname() },
        onTime: (sentAt, receivedAt, databaseMs) => clock.observe(sentAt, receivedAt, databaseMs),
      });
      holds = await PostgresHolds.open({ database });
      timer = setInterval(() => this.tenures.check(), CHECK_MS);
      timer.unref();
      return {
        place: await placeOf(database),
        isShared: this.#nodes.alive.some((node) => node.run !== run),
        holds,
        answers: new PostgresAnswers({
          ...{ database, run, clock },
          onTrouble: (err) => log.error({ err }, 'what became of a call is not stored yet'),
        }),
        openNonces: () => Promise.resolve(this.tenures),
        openLedger: () => Promise.resolve(new PostgresLedger({ database })),
        assertOwned: () => files?.assertOwned(Date.now()),
        close,
      };
    } catch (error) {
      await close();
      throw error;
    }
  }
}

/** Told by the database, so that nothing of the url gets out. */
async function placeOf(database: Database): Promise<string> {
  const [row] = await database.query<{ name: string }>('SELECT current_database() AS name');
  return `PostgreSQL, database ${row?.name ?? ''}`;
}
