import type { Database } from '../postgres/database.js';
import { Outcome } from './outcome.js';
import { aliveSql } from './shared-rows.js';
import { decodeReply, type StoredReply } from './stored-reply.js';

/** A call under way at another node, and who waits for it here. */
interface Awaited {
  readonly outcome: Outcome;
  /** Monotonic ms: whoever still waits then looks anew. */
  readonly until: number;
}

interface Row {
  readonly id: string;
  readonly state: string | null;
  readonly json: string | null;
  readonly is_alive: boolean;
}

const POLL_MS = 150;
const LONGEST_MS = 60_000;

const POLL = `
  SELECT w.id, a.state, CASE a.state WHEN 'answered' THEN a.json END AS json, ${aliveSql('a.node')} AS is_alive
  FROM jsonb_array_elements_text($1::jsonb) AS w (id) LEFT JOIN kraken_proxy.answer a ON a.key = w.id
  UNION ALL
  SELECT w.id, l.state, NULL, ${aliveSql('l.node')}
  FROM jsonb_array_elements_text($2::jsonb) AS w (id) LEFT JOIN kraken_proxy.lost_reply l ON l.id = w.id`;

/** Waits for the ends of calls that other nodes have under way: one statement looks for all of them, now and then. */
export class AwaitedRows {
  readonly #database: Pick<Database, 'query'>;
  readonly #pollMs: number;
  readonly #answers = new Map<string, Awaited>();
  readonly #lost = new Map<string, Awaited>();
  #timer: NodeJS.Timeout | undefined;
  #isPolling = false;
  #isClosed = false;

  constructor(database: Pick<Database, 'query'>, pollMs = POLL_MS) {
    this.#database = database;
    this.#pollMs = pollMs;
  }

  /**
   * The reply to a call of that key; undefined when it was forgotten or went into doubt, when its node has died, and after
   * a minute.
   */
  answer(key: string): Promise<StoredReply | undefined> {
    return this.#wait(this.#answers, key);
  }

  /** Resolves with undefined once a lost reply is no longer under way, and after a minute. */
  lostReply(id: string): Promise<StoredReply | undefined> {
    return this.#wait(this.#lost, id);
  }

  /** Nobody waits any longer. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    for (const waiting of [this.#answers, this.#lost]) this.#end(waiting, () => true);
  }

  #wait(waiting: Map<string, Awaited>, id: string): Promise<StoredReply | undefined> {
    if (this.#isClosed) return Promise.resolve(undefined);
    const former = waiting.get(id);
    if (former !== undefined) return former.outcome.wait();
    const outcome = new Outcome();
    waiting.set(id, { outcome, until: performance.now() + LONGEST_MS });
    this.#pollSoon();
    return outcome.wait();
  }

  #pollSoon(): void {
    const isNeeded = this.#answers.size + this.#lost.size > 0;
    if (!isNeeded || this.#isPolling || this.#timer !== undefined || this.#isClosed) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#isPolling = true;
      void this.#poll().finally(() => {
        this.#isPolling = false;
        this.#pollSoon();
      });
    }, this.#pollMs);
    this.#timer.unref();
  }

  async #poll(): Promise<void> {
    const answers = [...this.#answers.keys()];
    const ids = [...this.#lost.keys()];
    const values = [JSON.stringify(answers), JSON.stringify(ids)];
    // A database that is away may come back before those who wait give up.
    const rows = await this.#database.query<Row>(POLL, values).catch((): readonly Row[] => []);
    for (const { id, state, json, is_alive } of rows) {
      if (state === 'under-way' && is_alive) continue;
      this.#tell(this.#answers, id, json === null ? undefined : decodeReply(json));
      this.#tell(this.#lost, id, undefined);
    }
    const now = performance.now();
    for (const waiting of [this.#answers, this.#lost]) this.#end(waiting, ({ until }) => until <= now);
  }

  #tell(waiting: Map<string, Awaited>, id: string, reply: StoredReply | undefined): void {
    const awaited = waiting.get(id);
    waiting.delete(id);
    awaited?.outcome.tell(reply);
  }

  #end(waiting: Map<string, Awaited>, isOver: (awaited: Awaited) => boolean): void {
    for (const [id, awaited] of waiting) if (isOver(awaited)) this.#tell(waiting, id, undefined);
  }
}
