import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KnownAnswers, type Answers } from '../../src/answers/known-answers.js';
import { PostgresAnswers } from '../../src/answers/postgres-answers.js';
import { DatabaseClock } from '../../src/postgres/database-clock.js';
import { Database } from '../../src/postgres/database.js';
import { Secret } from '../../src/secret.js';
import type { PostgresServer } from './postgres.js';

export type KeptAnswers = Answers & { close(): Promise<void> };

/** A place where answers are kept, and its time. */
export interface AnswersStore {
  /** Opens it; the former process need not have closed it, as after a crash. */
  open(): Promise<KeptAnswers>;
  /** So much time goes by for all that is kept. */
  age(ms: number): Promise<void>;
  /** Closes what was opened, and removes the place. */
  remove(): Promise<void>;
}

export class FileAnswers implements AnswersStore {
  readonly #folder = mkdtempSync(join(tmpdir(), 'answers-'));
  readonly #opened: KnownAnswers[] = [];
  #clock = 1_800_000_000_000;

  async open(): Promise<KeptAnswers> {
    const answers = await KnownAnswers.open(join(this.#folder, 'nonce.answers'), { now: () => this.#clock });
    this.#opened.push(answers);
    return answers;
  }

  age(ms: number): Promise<void> {
    this.#clock += ms;
    return Promise.resolve();
  }

  async remove(): Promise<void> {
    for (const answers of this.#opened) await answers.close();
    rmSync(this.#folder, { recursive: true });
  }
}

/** A node on a database. */
export interface AnswersNode {
  readonly run: string;
  readonly answers: PostgresAnswers;
  readonly database: Database;
  /** What it could not write, or sweep. */
  readonly troubles: unknown[];
}

/** A database that several nodes use at once. */
export class SharedAnswers implements AnswersStore {
  readonly #server: PostgresServer;
  readonly #url: string;
  readonly #nodes: AnswersNode[] = [];

  private constructor(server: PostgresServer, url: string) {
    this.#server = server;
    this.#url = url;
  }

  /** Nothing and nobody is known in that database from here on. */
  static async emptied(server: PostgresServer, url: string): Promise<SharedAnswers> {
    await server.query(url, 'TRUNCATE kraken_proxy.answer, kraken_proxy.lost_reply, kraken_proxy.node');
    return new SharedAnswers(server, url);
  }

  /**
   * One more node, alive until `die`; `patienceMs`: how long a statement of it waits for the database, and `waitMs`: how
   * long a call does for a database that is away.
   */
  async node(patienceMs = 5_000, waitMs = 5_000): Promise<AnswersNode> {
    const run = `run-${this.#nodes.length + 1}`;
    await this.query(`
      INSERT INTO kraken_proxy.node (run, host, version, seen_at) VALUES ('${run}', 'here', '1', 'infinity')`);
    const database = new Database({ url: new Secret(this.#url), lanes: 1, patienceMs });
    const troubles: unknown[] = [];
    const onTrouble = (error: unknown): void => void troubles.push(error);
    const times = { pollMs: 20, patienceMs: waitMs };
    const answers = new PostgresAnswers({ database, run, clock: new DatabaseClock(), onTrouble, ...times });
    const node = { run, answers, database, troubles };
    this.#nodes.push(node);
    return node;
  }

  /** The others see no sign of it any more; its process may go on all the same. */
  async die({ run }: AnswersNode): Promise<void> {
    await this.query(
      `UPDATE kraken_proxy.node SET seen_at = clock_timestamp() - interval '6 seconds' WHERE run = '${run}'`,
    );
  }

  async open(): Promise<KeptAnswers> {
    for (const former of this.#nodes) await this.die(former);
    return (await this.node()).answers;
  }

  async age(ms: number): Promise<void> {
    for (const table of ['answer', 'lost_reply'])
      await this.query(`UPDATE kraken_proxy.${table} SET at = at - interval '${ms} ms'`);
  }

  async query<Row>(sql: string): Promise<readonly Row[]> {
    return await this.#server.query<Row>(this.#url, sql);
  }

  async remove(): Promise<void> {
    for (const { answers, database } of this.#nodes) {
      await answers.close();
      await database.close();
    }
  }
}
