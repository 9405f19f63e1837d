import { randomUUID } from 'node:crypto';
import type { CanceledOrders } from '../orders/canceled-orders.js';
import { placedBy } from './placed-answers.js';
import { endingOnce, type Begun, type Intent, type OpenRecord } from './begun.js';
import { Outcome } from './outcome.js';
import {
  aliveSql,
  contended,
  isOpen,
  NOW_SQL,
  patiently,
  storedInTime,
  timed,
  type SharedRows,
} from './shared-rows.js';
import { decodeReply, encodeReply, type StoredReply } from './stored-reply.js';
import { ToldAnswers, type ToldAnswer } from './told-answers.js';

/** A call as somebody has found it, which may be another's a moment later. */
interface Found {
  readonly state: 'new' | 'under-way' | 'in-doubt' | 'answered' | 'done';
  readonly node: string | null;
  readonly call: string | null;
  readonly record: string | null;
}

/** One that is this node's, and held by nobody here. */
interface Stray extends Found {
  readonly id: string;
}

/** What the table says of a call at its beginning. */
interface Row extends Found {
  readonly asked: string | null;
  readonly json: string | null;
  readonly is_alive: boolean;
  readonly now: number;
}

/** A call that this process has under way. */
interface OpenCall {
  readonly asked: string | undefined;
  readonly outcome: Outcome;
}

/** Whoever is overtaken by others so often gives up. */
const MOST_TRIES = 10;

/** As `KnownCalls` has it: what ended, or lost its node, more than a day ago is as if it had never been. */
const OLD = `a.at <= clock_timestamp() - interval '24 hours' AND NOT (a.state = 'under-way' AND ${aliveSql('a.node')})`;

// What was inserted is not in the snapshot that the second half reads, nor is what others insert at the same time:
// then there is no row at all, and it is asked again.
const BEGIN = `
  WITH fresh AS (
    INSERT INTO kraken_proxy.answer AS a (key, asked, state, json, node, call, record)
    VALUES ($1, $2, 'under-way', $3, $4, $5, $5)
    ON CONFLICT (key) DO UPDATE SET asked = excluded.asked, state = excluded.state, json = excluded.json,
      node = excluded.node, call = excluded.call, record = excluded.record, account = NULL, orders = NULL,
      at = clock_timestamp()
    WHERE ${OLD}
    RETURNING 1
  )
  SELECT 'new' AS state, NULL AS asked, NULL AS json, NULL AS node, NULL AS call, NULL AS record, true AS is_alive,
    ${NOW_SQL} AS now
  FROM fresh
  UNION ALL
  SELECT a.state, a.asked, a.json, a.node, a.call, a.record, ${aliveSql('a.node')}, ${NOW_SQL}
  FROM kraken_proxy.answer a WHERE a.key = $1 AND NOT EXISTS (SELECT FROM fresh)`;

const HAS = `SELECT ${NOW_SQL} AS now, EXISTS (
  SELECT FROM kraken_proxy.answer a WHERE a.key = $1 AND NOT (${OLD})) AS is_known`;

// Only one of those who find it so takes it.
const AS_FOUND = `key = $1 AND state = $2 AND node IS NOT DISTINCT FROM $3 AND record IS NOT DISTINCT FROM $4`;
const TAKE_OVER = `
  UPDATE kraken_proxy.answer SET state = 'under-way', node = $5, record = $6, at = clock_timestamp()
  WHERE ${AS_FOUND} RETURNING json`;
const END_LOST = `
  UPDATE kraken_proxy.answer SET state = $5, json = $6, node = NULL, at = clock_timestamp(), account = $7,
    orders = ARRAY(SELECT jsonb_array_elements_text($8::jsonb))
  WHERE ${AS_FOUND} RETURNING 1`;

const OURS = `key = $1 AND node = $2 AND record = $3 AND state = 'under-way'`;
const ANSWERED = `
  UPDATE kraken_proxy.answer SET state = $4, json = $5, node = NULL, at = clock_timestamp(), account = $6,
    orders = ARRAY(SELECT jsonb_array_elements_text($7::jsonb))
  WHERE ${OURS} RETURNING 1`;
const IN_DOUBT = `
  UPDATE kraken_proxy.answer SET state = 'in-doubt', json = coalesce($4, json), node = NULL, at = clock_timestamp()
  WHERE ${OURS} RETURNING 1`;
// Another intent is that of another try.
const UPDATE = `
  UPDATE kraken_proxy.answer SET json = $4, call = record, at = clock_timestamp() WHERE ${OURS} RETURNING 1`;
const FORGET = `DELETE FROM kraken_proxy.answer WHERE ${OURS} RETURNING 1`;
const FORGET_ANSWER = `
  DELETE FROM kraken_proxy.answer WHERE key = $1 AND call = $2 AND state = 'answered' RETURNING 1`;

const OUR_OLD_ONES = `
  SELECT key AS id, state, node, call, record FROM kraken_proxy.answer
  WHERE node = $1 AND state = 'under-way' AND at < clock_timestamp() - interval '10 seconds'`;
const SWEEP = `
  DELETE FROM kraken_proxy.answer WHERE key IN (
    SELECT key FROM kraken_proxy.answer a WHERE ${OLD} ORDER BY at LIMIT $1 FOR UPDATE SKIP LOCKED)
  RETURNING 1`;

/** Those who may end a call, and what it is that they end. */
interface Held {
  /** As of the columns of those names. */
  readonly record: string;
  readonly call: string | null;
}

/** The calls of the last 24 hours with ids of their own that must not be done twice, by whichever node. */
export class SharedCalls {
  readonly #shared: SharedRows;
  readonly #open = new Map<string, OpenCall>();
  /** The database may lose an end that it has confirmed, with a replica that takes over. */
  readonly #told = new ToldAnswers();

  constructor(shared: SharedRows) {
    this.#shared = shared;
  }

  /** As `Answers.begin`: what is new is durable already. */
  async begin(key: string, asked: string | undefined, intent: Intent): Promise<Begun> {
    const { turns } = this.#shared;
    // Each try begins once it is settled what has become of the one before.
    return await patiently(
      this.#shared,
      async () => await turns.take(key, () => this.#begin(key, asked, intent)),
    );
  }

  async has(key: string): Promise<boolean> {
    return await patiently(this.#shared, async () => {
      if (this.#open.has(key)) return true;
      await this.#shared.writes.settled(key);
      const [row] = await timed<{ readonly now: number; readonly is_known: boolean }>(this.#shared, HAS, [
        key,
      ]);
      return row?.is_known === true;
    });
  }

  /**
   * What was told here of orders that are canceled is not told again, not even when its end is still to be written.
   * Never rejects.
   */
  async canceled(account: string, orders: CanceledOrders, sentAt: number): Promise<void> {
    const { writes } = this.#shared;
    const late = this.#told.canceled(account, orders, sentAt).filter(({ key }) => writes.isPending(key));
    await Promise.all(
      late.map(({ key, call }) => storedInTime(writes.write(key, FORGET_ANSWER, [key, call]))),
    );
  }

  /** Drops so many of those that are old; resolves with how many there were. Rejects with DatabaseError. */
  async sweep(most: number): Promise<number> {
    const { database } = this.#shared;
    return (await database.query(SWEEP, [most])).length;
  }

  /**
   * What is under way by this node's name and nobody here does: an end that the database lost, or a beginning that it took
   * too late. It is in doubt for whoever asks. Rejects with DatabaseError.
   */
  async releaseStrays(): Promise<void> {
    const { database, run, turns, onTrouble } = this.#shared;
    for (const stray of await database.query<Stray>(OUR_OLD_ONES, [run])) {
      if (this.#open.has(stray.id)) continue;
      // One that begins is in its turn until it is open. The others do not depend on it; it is looked at again.
      await turns.take(stray.id, () => this.#release(stray)).catch(onTrouble);
    }
  }

  async #release(stray: Stray): Promise<void> {
    const { run, writes } = this.#shared;
    const { id, record, call } = stray;
    await writes.settled(id);
    if (this.#open.has(id)) return;
    const told = this.#told.get(id, call);
    if (told !== undefined) await this.#tellAgain(id, stray, told);
    else await writes.write(id, IN_DOUBT, [id, run, record, null], false);
  }

  async #begin(key: string, asked: string | undefined, intent: Intent): Promise<Begun> {
    await this.#shared.writes.settled(key);
    for (let tries = 0; tries < MOST_TRIES; tries++) {
      const open = this.#open.get(key);
      if (open !== undefined)
        return open.asked === asked
          ? { state: 'under-way', outcome: open.outcome.wait() }
          : { state: 'mismatch' };
      const begun = await this.#tryToBegin(key, asked, intent);
      if (begun !== undefined) return begun;
    }
    throw contended();
  }

  /** Undefined when another has changed it meanwhile. */
  async #tryToBegin(key: string, asked: string | undefined, intent: Intent): Promise<Begun | undefined> {
    const { run, awaited } = this.#shared;
    const record = randomUUID();
    const row = await this.#insert(key, asked, JSON.stringify(intent), record);
    if (row === undefined) return undefined;
    if (row.state === 'new') {
      this.#told.forget(key);
      return { state: 'new', record: this.#recordOf(key, asked, { record, call: record }) };
    }
    if ((row.asked ?? undefined) !== asked) return { state: 'mismatch' };
    if (row.state === 'answered') return { state: 'answered', reply: decodeReply(row.json ?? '') };
    if (row.state === 'done') return { state: 'done' };
    // One of our own that nobody here knows of is nobody's.
    if (row.state === 'under-way' && row.is_alive && row.node !== run)
      return { state: 'under-way', outcome: awaited.answer(key) };
    const told = this.#told.get(key, row.call);
    if (told !== undefined) return await this.#tellAgain(key, row, told);
    const former = await this.#takeOver(key, row, record);
    return (
      former && {
        state: 'in-doubt',
        record: this.#recordOf(key, asked, { record, call: row.call }),
        intent: former,
      }
    );
  }

  async #insert(
    key: string,
    asked: string | undefined,
    json: string,
    record: string,
  ): Promise<Row | undefined> {
    const { run, writes, health } = this.#shared;
    try {
      const [row] = await timed<Row>(this.#shared, BEGIN, [key, asked ?? null, json, run, record]);
      if (row?.state === 'new') health.worked();
      return row;
    } catch (error) {
      // Nothing is sent for it.
      if (isOpen(error)) writes.write(key, FORGET, [key, run, record]).catch(() => undefined);
      throw error;
    }
  }

  /** The database has lost the end of a call that was answered here: looking for it would find it known, as if another's. */
  async #tellAgain(key: string, row: Found, { json, placed }: ToldAnswer): Promise<Begun | undefined> {
    const { database } = this.#shared;
    const { state, node, record } = row;
    const end = [json === undefined ? 'done' : 'answered', json ?? ''];
    const named = [placed?.account ?? null, JSON.stringify(placed?.orders ?? [])];
    const ended = await database.query(END_LOST, [key, state, node, record, ...end, ...named]);
    if (ended.length === 0) return undefined;
    return json === undefined ? { state: 'done' } : { state: 'answered', reply: decodeReply(json) };
  }

  async #takeOver(key: string, row: Row, record: string): Promise<Intent | undefined> {
    const { database, run, writes } = this.#shared;
    try {
      const values = [key, row.state, row.node, row.record, run, record];
      const [taken] = await database.query<{ readonly json: string }>(TAKE_OVER, values);
      return taken && (JSON.parse(taken.json) as Intent);
    } catch (error) {
      if (isOpen(error)) writes.write(key, IN_DOUBT, [key, run, record, null]).catch(() => undefined);
      throw error;
    }
  }

  #recordOf(key: string, asked: string | undefined, held: Held): OpenRecord {
    const { run, writes } = this.#shared;
    const ours = [key, run, held.record];
    let { call } = held;
    const open: OpenCall = { asked, outcome: new Outcome() };
    this.#open.set(key, open);
    /** The write is pending before the call is no longer open: who begins next waits for it. */
    const end = (
      reply: StoredReply | undefined,
      text: string,
      ...values: readonly (string | null)[]
    ): Promise<number> => {
      const stored = writes.write(key, text, [...ours, ...values]);
      this.#open.delete(key);
      open.outcome.tell(reply);
      return stored;
    };
    return endingOnce({
      claim: { answer: key },
      written: Promise.resolve(),
      answered: async (reply) => {
        const json = encodeReply(reply);
        const placed = placedBy(key, reply);
        this.#told.add({ key, call, json, placed });
        const state = json === undefined ? 'done' : 'answered';
        const named = [placed?.account ?? null, JSON.stringify(placed?.orders ?? [])];
        return await storedInTime(end(reply, ANSWERED, state, json ?? '', ...named));
      },
      forget: () => {
        end(undefined, FORGET).catch(() => undefined);
      },
      leaveInDoubt: async (intent) => {
        await storedInTime(end(undefined, IN_DOUBT, JSON.stringify(intent)));
      },
      update: async (intent) => {
        const failure = await storedInTime(
          writes.write(key, UPDATE, [...ours, JSON.stringify(intent)], false),
        );
        if (failure !== undefined) throw failure;
        call = held.record;
      },
    });
  }
}
