import { mkdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
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
import { schemaProblem, SchemaError } from './postgres/migrations.js';
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
/** Nodes are heard of once a second. */
const LOOK_MS = 250;
const MOST_LOOKS = 12;
/** Nodes that were started within so long of each other, ms, were started together. */
const STARTED_MS = 10_000;

/**
 * Everything in a database that several nodes share. There is no other place to fall back to: while the database cannot be
 * asked, nothing is signed. Only the journal is this node's own, in its file, which is locked for it.
 */
export class PostgresBacking implements Backing {
  readonly tenures: SharedLanes;
  readonly #parts: PostgresBackingParts;
  /** For lanes, nonces and signs of life: nothing else may keep these waiting. */
  readonly #database: Database;
  /** For everything else. */
  readonly #records: Database;
  #nodes: Nodes | undefined;

  constructor(parts: PostgresBackingParts) {
    this.#parts = parts;
    const { config, log, run, onWrite } = parts;
    const { nonce, lanes } = config();
    if (nonce.url === undefined) throw new TypeError('nonce.store postgres goes with a nonce.url');
    const name = `kraken-signing-proxy ${run}`;
    this.#database = new Database({ url: nonce.url, lanes: nonce.connections, name });
    this.#records = new Database({ url: nonce.url, lanes: 1, name });
    this.tenures = new SharedLanes({
      ...{ database: this.#database, run, mode: lanes, onDraw: onWrite },
      silence: () => this.#silence,
      onLost: (lane, err) =>
        log.warn({ lane, err }, 'a lane was lost while it was ours; it is asked for again'),
      onTrouble: (lane, err) =>
        log.error({ lane, err }, 'what another node has left with a lane is not readable'),
    });
  }

  /**
   * What is told to be committed has to survive a crash: nonces are durable before they are used. Rejects with SchemaError
   * where the database or the role was told otherwise.
   */
  async #checkDurability(): Promise<void> {
    const [row] = await this.#database.query<{ commit: string; sync: string; told: string }>(
      "SELECT current_setting('synchronous_commit') AS commit, current_setting('fsync') AS sync, " +
        "current_setting('client_min_messages') AS told",
    );
    if (row?.commit === 'off' || row?.sync === 'off')
      throw new SchemaError(
        'the database forgets in a crash what it has said to be committed: fsync and synchronous_commit must not be off ' +
          '(for the role: ALTER ROLE … SET synchronous_commit = on)',
      );
    if (row?.commit === 'local')
      this.#parts.log.warn('synchronous_commit is local: a failover may lose what a replica has not got yet');
    if (row?.told === 'error')
      this.#parts.log.warn(
        'client_min_messages is error: a commit that somebody tells not to wait for its replica looks done',
      );
  }

  get #silence(): Silence | undefined {
    const why = this.#nodes?.problem;
    return this.#nodes === undefined || why === undefined ? undefined : { ms: this.#nodes.lastSeenMs, why };
  }

  async open({ signal, onWaiting, onLost }: OwnOptions): Promise<OpenBacking> {
    const { config, log, version, run } = this.#parts;
    const { journal } = config();
    const [database, records] = [this.#database, this.#records];
    const clock = new DatabaseClock();
    const files = journal.enabled ? await ownFile(journal.file, { signal, onWaiting, onLost }) : undefined;
    let holds: PostgresHolds | undefined;
    let timer: NodeJS.Timeout | undefined;
    const close = async (): Promise<void> => {
      clearInterval(timer);
      holds?.close();
      await this.#nodes?.close();
      await Promise.all([database.close(), records.close()]);
      await files?.release();
    };
    try {
      const problem = await schemaProblem(database);
      if (problem !== undefined) throw problem;
      await this.#checkDurability();
      this.#nodes = await Nodes.open({
        ...{ database, run, version, host: hostname() },
        onTime: (sentAt, receivedAt, databaseMs) => clock.observe(sentAt, receivedAt, databaseMs),
      });
      holds = await PostgresHolds.open({ database: records });
      timer = setInterval(() => this.tenures.check(), CHECK_MS);
      timer.unref();
      const answers = new PostgresAnswers({
        ...{ database: records, run, clock },
        onTrouble: (err) => log.error({ err }, 'what became of a call was not stored'),
      });
      return {
        place: await placeOf(database),
        isShared: true,
        othersServe: othersServe(this.#nodes, run),
        holds,
        answers,
        openNonces: async () => {
          await this.tenures.load();
          return this.tenures;
        },
        openLedger: () => Promise.resolve(new PostgresLedger({ database: records })),
        problem: () => answers.problem,
        assertOwned: () => files?.assertOwned(Date.now()),
        close,
      };
    } catch (error) {
      await close();
      throw error;
    }
  }
}

/** One that was killed a moment ago looks alive: only one that is heard of again is. */
async function othersServe(nodes: Nodes, own: string): Promise<boolean> {
  const since = nodes.alive.find(({ run }) => run === own)?.startedAt ?? 0;
  // Who has started with this one starts for Kraken as well.
  const others = nodes.alive.filter(({ run, startedAt }) => run !== own && startedAt < since - STARTED_MS);
  const before = new Map(others.map(({ run, seenAt }) => [run, seenAt]));
  for (let looks = 0; looks < MOST_LOOKS && before.size > 0; looks++) {
    await delay(LOOK_MS, undefined, { ref: false });
    if (nodes.alive.some(({ run, seenAt }) => seenAt > (before.get(run) ?? Infinity))) return true;
  }
  return false;
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
