import { mkdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { PostgresAnswers } from './answers/postgres-answers.js';
import type { Backing, OpenBacking, OwnOptions } from './backing.js';
import type { Config } from './config.js';
import { PostgresHolds } from './holds/postgres-holds.js';
import type { Log } from './log.js';
import { resolveLinks } from './nonce/file-store.js';
import { Ownership, type OwnershipOptions } from './nonce/ownership.js';
import { StateOwnedElsewhereError } from './nonce/store.js';
import { SharedLanes, type Silence } from './nonce/shared-lanes.js';
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
const CHECK_MS = 500;

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
      silence: () => this.#silence,
      onLost: (lane, err) =>
        log.warn({ lane, err }, 'a lane was lost while it was ours; it is asked for again'),
    });
  }

  get #silence(): Silence | undefined {
    const why = this.#nodes?.problem;
    return this.#nodes === undefined || why === undefined ? undefined : { ms: this.#nodes.lastSeenMs, why };
  }

  async open({ signal, onWaiting, onLost }: OwnOptions): Promise<OpenBacking> {
    const { config, log, version, run } = this.#parts;
    const { journal } = config();
    const database = this.#database;
    const clock = new DatabaseClock();
    const files = journal.enabled ? await ownFile(journal.file, { signal, onWaiting, onLost }) : undefined;
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
        openNonces: async () => {
          await this.tenures.load();
          return this.tenures;
        },
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

/** Of the processes on this machine that are told to write the file, one has it. */
async function ownFile(file: string, options: OwnershipOptions): Promise<Ownership> {
  await mkdir(dirname(file), { recursive: true });
  try {
    return await Ownership.acquire(resolveLinks(file), options);
  } catch (error) {
    if (!(error instanceof StateOwnedElsewhereError)) throw error;
    const why = `the journal ${file} is another process's: each node needs a journal.file of its own (${error.message})`;
    throw new StateOwnedElsewhereError(why);
  }
}

/** Told by the database, so that nothing of the url gets out. */
async function placeOf(database: Database): Promise<string> {
  const [row] = await database.query<{ name: string }>('SELECT current_database() AS name');
  return `PostgreSQL, database ${row?.name ?? ''}`;
}
