import type { Database } from './database.js';

/** A proxy that runs on the database. Times in unix ms, by the database's clock. */
export interface Node {
  /** Names one run of its process. */
  readonly run: string;
  readonly host: string;
  readonly version: string;
  readonly startedAt: number;
  readonly seenAt: number;
}

export interface NodesOptions {
  readonly database: Pick<Database, 'query'>;
  /** Of this node. */
  readonly run: string;
  readonly host: string;
  readonly version: string;
  /**
   * With each beat that the database took: what its clock said, unix ms, at some moment between the sending of the beat
   * and the receipt of its answer, both by `performance.now()`.
   */
  readonly onTime?: (sentAt: number, receivedAt: number, databaseMs: number) => void;
  /** Another set of nodes is alive than before. */
  readonly onChange?: () => void;
}

interface NodeRow {
  readonly run: string;
  readonly host: string;
  readonly version: string;
  readonly started_at: Date;
  readonly seen_at: Date;
  readonly is_this: boolean;
  readonly now_ms: number;
}

const BEAT_MS = 1_000;
/** A node without a beat for so long, by the database's clock, is dead. */
export const DEAD_AFTER_MS = 5_000;
/** This node tells that it is about to be taken for dead. */
const PROBLEM_AFTER_MS = 3_000;

// Nobody waits for another's rows here. The statement does not see what it inserts, so this node's row comes by itself.
const BEAT = `
  WITH gone AS (
    DELETE FROM kraken_proxy.node WHERE run IN (
      SELECT run FROM kraken_proxy.node
      WHERE run <> $1 AND seen_at < statement_timestamp() - interval '1 day'
      FOR UPDATE SKIP LOCKED)
  ), this AS (
    INSERT INTO kraken_proxy.node (run, host, version) VALUES ($1, $2, $3)
    ON CONFLICT (run) DO UPDATE SET seen_at = clock_timestamp()
    RETURNING *
  )
  SELECT run, host, version, started_at, seen_at, true AS is_this,
    (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now_ms
  FROM this
  UNION ALL
  SELECT run, host, version, started_at, seen_at, false, 0 FROM kraken_proxy.node
  WHERE run <> $1 AND seen_at > statement_timestamp() - ${DEAD_AFTER_MS} * interval '1 ms'
  ORDER BY started_at, run`;

/** Says once a second that this node is alive, and knows which others are. */
export class Nodes {
  readonly #options: NodesOptions;
  #alive: readonly Node[] = [];
  #seenAt = 0;
  #failure: string | undefined;
  #beating: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  private constructor(options: NodesOptions) {
    this.#options = options;
  }

  /** Resolves once the database knows this node. Rejects with DatabaseError when it does not take it. */
  static async open(options: NodesOptions): Promise<Nodes> {
    const nodes = new Nodes(options);
    await nodes.#beat();
    nodes.#beatIn(BEAT_MS);
    return nodes;
  }

  /** All that are alive, this one with them, as of the last beat; the one that has run longest is the first. */
  get alive(): readonly Node[] {
    return this.#alive;
  }

  /** Ms since the last beat that the database took. */
  get lastSeenMs(): number {
    return performance.now() - this.#seenAt;
  }

  /** Why the others may soon take this node for dead; undefined: they do not. */
  get problem(): string | undefined {
    if (this.lastSeenMs <= PROBLEM_AFTER_MS) return undefined;
    return this.#failure ?? 'the database: no answer';
  }

  /**
   * Takes this node out, so that others need not wait until it is dead. Never rejects: a database that is away finds
   * out by itself. Takes no longer than the database's patience.
   */
  async close(): Promise<void> {
    if (!this.#isClosed) {
      this.#isClosed = true;
      clearTimeout(this.#timer);
      // A beat under way would bring the row back.
      this.#beating = this.#beating.then(() => this.#leave());
    }
    await this.#beating;
  }

  async #leave(): Promise<void> {
    if (this.#failure !== undefined) return;
    const { database, run } = this.#options;
    await database.query('DELETE FROM kraken_proxy.node WHERE run = $1', [run]).catch(() => undefined);
  }

  #beatIn(ms: number): void {
    this.#timer = setTimeout(() => {
      const began = performance.now();
      this.#beating = this.#beat()
        .catch((error: unknown) => {
          this.#failure = (error as Error).message;
        })
        .then(() => {
          if (!this.#isClosed) this.#beatIn(Math.max(0, BEAT_MS - (performance.now() - began)));
        });
    }, ms);
    this.#timer.unref();
  }

  async #beat(): Promise<void> {
    const { database, run, host, version, onTime } = this.#options;
    const sentAt = performance.now();
    const rows = await database.query<NodeRow>(BEAT, [run, host, version]);
    const receivedAt = performance.now();
    // The database took it at some time after it was sent.
    this.#seenAt = sentAt;
    this.#failure = undefined;
    const now = rows.find(({ is_this }) => is_this)?.now_ms;
    if (now !== undefined) onTime?.(sentAt, receivedAt, now);
    this.#know(rows.map(nodeOf));
  }

  #know(alive: readonly Node[]): void {
    const runsOf = (nodes: readonly Node[]): string => nodes.map(({ run }) => run).join();
    const isOther = runsOf(alive) !== runsOf(this.#alive);
    this.#alive = alive;
    if (isOther) this.#options.onChange?.();
  }
}

function nodeOf({ run, host, version, started_at, seen_at }: NodeRow): Node {
  return { run, host, version, startedAt: started_at.getTime(), seenAt: seen_at.getTime() };
}
