import { setTimeout as delay } from 'node:timers/promises';
import { writtenInTime } from '../durable-lines.js';
import { ProxyError } from '../errors.js';
import type { Database, DatabaseError } from '../postgres/database.js';
import type { DatabaseClock } from '../postgres/database-clock.js';
import type { AwaitedRows } from './awaited-rows.js';
import type { PendingWrites } from './pending-writes.js';
import type { StoreHealth } from './store-health.js';

/** What the calls of all kinds have in common that several nodes share. */
export interface SharedRows {
  readonly database: Pick<Database, 'query'>;
  readonly clock: DatabaseClock;
  /** Of this node. */
  readonly run: string;
  readonly writes: PendingWrites;
  readonly awaited: AwaitedRows;
  readonly turns: Turns;
  readonly health: StoreHealth;
  /** Something was not done, and is tried again later. */
  readonly onTrouble: (error: unknown) => void;
}

/** SQL: whether the node of that name is alive, as all nodes judge it. */
export function aliveSql(node: string): string {
  return `EXISTS (SELECT FROM kraken_proxy.node n
    WHERE n.run = ${node} AND n.seen_at > clock_timestamp() - interval '5 seconds')`;
}

/** SQL: the database's time, ms since 1970. */
export const NOW_SQL = '(extract(epoch FROM clock_timestamp()) * 1000)::float8';

/** Takes one at a time for each key. */
export class Turns {
  readonly #last = new Map<string, Promise<unknown>>();

  /** Rejects as `work` does, and with ProxyError `not-owner` when those before take longer than 5 s. */
  async take<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(key);
    const turn = (async () => {
      if (before !== undefined)
        await writtenInTime(
          before.then(() => undefined),
          'an equal call',
        );
      return await work();
    })();
    const over = Promise.allSettled([before, turn]);
    this.#last.set(key, over);
    try {
      return await turn;
    } finally {
      void over.then(() => {
        if (this.#last.get(key) === over) this.#last.delete(key);
      });
    }
  }
}

/** The rows of a statement whose rows tell the database's time as `now`. Rejects with DatabaseError. */
export async function timed<Row extends { readonly now: number }>(
  { database, clock }: Pick<SharedRows, 'database' | 'clock'>,
  ...statement: Parameters<Database['query']>
): Promise<readonly Row[]> {
  const sentAt = performance.now();
  const rows = await database.query<Row>(...statement);
  const [row] = rows;
  if (row !== undefined) clock.observe(sentAt, performance.now(), row.now);
  return rows;
}

/** What the database did not take is tried again after so long, ms. */
const AGAIN_MS = 250;

/**
 * Does the work again and again, for as long as the store's patience lasts, when the database is away or says no for the
 * moment: a restart of it refuses nobody. Not when it has been away for longer than that. Rejects as the last try does.
 */
export async function patiently<T>({ health }: SharedRows, work: () => Promise<T>): Promise<T> {
  const began = performance.now();
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!isOfDatabase(error) || !isOpen(error)) throw error;
      health.failed(error);
      const isLate = performance.now() - began + AGAIN_MS > health.patienceMs;
      if (isLate || health.isLongAway) throw error;
      await delay(AGAIN_MS);
    }
  }
}

function isOfDatabase(error: unknown): error is DatabaseError {
  return error instanceof ProxyError && 'sqlState' in error;
}

/**
 * Nobody knows whether it was done: there was no answer, or one like that of a server that stops, which may have
 * committed it.
 */
export function isOpen(error: unknown): boolean {
  return !REFUSED.test((error as Partial<DatabaseError>).sqlState ?? '');
}

/** SQL states of statements that were not executed: values, constraints, a server that only reads, no such table. */
const REFUSED = /^(?:2[235]|42)/;

export function takenOver(): ProxyError {
  const detail = 'another proxy has taken this call over: this one did not answer for too long';
  return new ProxyError('not-owner', detail, { retryAfterSeconds: 1 });
}

/** Others were faster each time. */
export function contended(): ProxyError {
  return new ProxyError('not-owner', 'the record of the call changes too fast', { retryAfterSeconds: 1 });
}

/** Resolves when a write is in the database: with its reason if not, within 5 s; never rejects. */
export async function storedInTime(stored: Promise<number>): Promise<ProxyError | undefined> {
  let rows = 0;
  try {
    await writtenInTime(
      stored.then((count) => {
        rows = count;
      }),
      'the record of a call',
    );
  } catch (error) {
    return error as ProxyError;
  }
  return rows > 0 ? undefined : takenOver();
}
