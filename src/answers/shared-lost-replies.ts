import { randomUUID } from 'node:crypto';
import { writtenInTime } from '../durable-lines.js';
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
import { decodeReply, encodeReply } from './stored-reply.js';
import { ToldAnswers, type ToldAnswer } from './told-answers.js';

/** A lost reply as somebody has found it, which may be another's a moment later. */
interface Found {
  readonly id: string;
  readonly state: 'under-way' | 'in-doubt' | 'answered' | 'done';
  readonly node: string | null;
  readonly record: string | null;
}

/** One that concerns a call. */
interface Lost extends Found {
  /** Of one that is answered: the reply. */
  readonly json: string | null;
  readonly is_alive: boolean;
}

/** One that is this node's, and held by nobody here. */
interface Stray extends Found {
  readonly key: string;
}

/** Whoever is overtaken by others so often gives up. */
const MOST_TRIES = 10;
/**
 * A hang-up at one node and the call after it at another came by two networks to two processes, either of which may have
 * been late: one order too few is better than one too many. ms
 */
const MARGIN_MS = 1_000;

/** As `LostReplies` has it: after that, an equal call is meant anew. */
const OLD = `l.at <= clock_timestamp() - interval '10 minutes' AND NOT (l.state = 'under-way' AND ${aliveSql('l.node')})`;
const CONCERNS = `l.key = $1 AND l.since < to_timestamp($2::float8 / 1000) AND NOT (${OLD})`;

const LOOK = `SELECT ${NOW_SQL} AS now, (
  SELECT json_agg(json_build_object('id', l.id, 'state', l.state, 'node', l.node, 'record', l.record,
    'json', CASE l.state WHEN 'answered' THEN l.json END, 'is_alive', ${aliveSql('l.node')}) ORDER BY l.at)
  FROM kraken_proxy.lost_reply l WHERE ${CONCERNS}) AS lost`;
const HAS = `SELECT ${NOW_SQL} AS now,
  EXISTS (SELECT FROM kraken_proxy.lost_reply l WHERE ${CONCERNS}) AS is_known`;
// Of several who find it, one gets it.
const TAKE = `DELETE FROM kraken_proxy.lost_reply WHERE id = $1 AND state IN ('answered', 'done') RETURNING 1`;
const AS_FOUND = `id = $1 AND state = $2 AND node IS NOT DISTINCT FROM $3 AND record IS NOT DISTINCT FROM $4`;
const TAKE_OVER = `
  UPDATE kraken_proxy.lost_reply SET state = 'under-way', node = $5, record = $6 WHERE ${AS_FOUND} RETURNING json`;
const END_LOST = `
  UPDATE kraken_proxy.lost_reply SET state = $5, json = $6, node = NULL, at = clock_timestamp(), account = $7,
    orders = ARRAY(SELECT jsonb_array_elements_text($8::jsonb))
  WHERE ${AS_FOUND} RETURNING 1`;

const INSERT = `
  INSERT INTO kraken_proxy.lost_reply (id, key, state, json, node, since, record)
  VALUES ($1, $2, 'under-way', $3, $4, to_timestamp($5::float8 / 1000), $6) ON CONFLICT (id) DO NOTHING`;
const OURS = `id = $1 AND node = $2 AND record = $3 AND state = 'under-way'`;
const ANSWERED = `
  UPDATE kraken_proxy.lost_reply SET state = $4, json = $5, node = NULL, at = clock_timestamp(), account = $6,
    orders = ARRAY(SELECT jsonb_array_elements_text($7::jsonb))
  WHERE ${OURS} RETURNING 1`;
const IN_DOUBT = `
  UPDATE kraken_proxy.lost_reply SET state = 'in-doubt', json = coalesce($4, json), node = NULL, at = clock_timestamp()
  WHERE ${OURS} RETURNING 1`;
const UPDATE = `UPDATE kraken_proxy.lost_reply SET json = $4 WHERE ${OURS} RETURNING 1`;
const DROP = `DELETE FROM kraken_proxy.lost_reply WHERE ${OURS} RETURNING 1`;

const OUR_OLD_ONES = `
  SELECT id, key, state, node, record FROM kraken_proxy.lost_reply
  WHERE node = $1 AND state = 'under-way' AND at < clock_timestamp() - interval '10 seconds'`;
const SWEEP = `
  DELETE FROM kraken_proxy.lost_reply WHERE id IN (
    SELECT id FROM kraken_proxy.lost_reply l
    WHERE ${OLD} AND (l.state IN ('answered', 'done') OR l.at <= clock_timestamp() - interval '24 hours')
    LIMIT $1 FOR UPDATE SKIP LOCKED)
  RETURNING 1`;

/**
 * Calls without an id whose replies were lost, at whichever node: what became of each is told to one equal call that
 * comes after it. Several may be equal; each is found out, and told, for itself.
 */
export class SharedLostReplies {
  readonly #shared: SharedRows;
  /** Those that this process finds out about, by their ids. */
  readonly #open = new Map<string, Outcome>();
  /** As `SharedCalls` has it, by their ids. */
  readonly #told = new ToldAnswers();

  constructor(shared: SharedRows) {
    this.#shared = shared;
  }

  /** A call of that key begins; undefined when no lost one concerns it. */
  async begin(key: string, arrivedAt: number): Promise<Begun | undefined> {
    const { turns } = this.#shared;
    return await patiently(
      this.#shared,
      async () => await turns.take(key, () => this.#begin(key, arrivedAt)),
    );
  }

  async has(key: string, arrivedAt: number): Promise<boolean> {
    return await patiently(this.#shared, async () => {
      await this.#shared.writes.settled(key);
      const values = [key, await this.#arrivalOf(arrivedAt)];
      const [row] = await timed<{ readonly now: number; readonly is_known: boolean }>(
        this.#shared,
        HAS,
        values,
      );
      return row?.is_known === true;
    });
  }

  /** What was told here of orders that are canceled is not told again. */
  canceled(account: string, orders: CanceledOrders, sentAt: number): void {
    this.#told.canceled(account, orders, sentAt);
  }

  /**
   * A call of that key whose holder finds out what became of it; `since` in monotonic ms. With `arrivedAt`, of the call
   * itself, `since` is when its client was seen to be gone.
   */
  open(key: string, intent: Intent, since: number, arrivedAt = Infinity): OpenRecord {
    const { run, clock, writes, health } = this.#shared;
    const [id, record] = [randomUUID(), randomUUID()];
    const from = Math.min(since, Math.max(since - MARGIN_MS, arrivedAt));
    // Without a time any equal call may be its repeat.
    const fromThen =
      clock.isKnown && Number.isFinite(from) ? clock.toDatabase(from) - clock.errorMs : -Infinity;
    const inserted = writes.write(key, INSERT, [id, key, JSON.stringify(intent), run, fromThen, record]);
    const written = writtenInTime(
      inserted.then(() => {
        health.worked();
      }),
      'a lost reply',
    );
    // The reason is for whoever waits for it; nobody has to.
    written.catch(() => undefined);
    return this.#recordOf(id, key, record, written);
  }

  /** Drops so many of those that are old; resolves with how many there were. Rejects with DatabaseError. */
  async sweep(most: number): Promise<number> {
    return (await this.#shared.database.query(SWEEP, [most])).length;
  }

  /** As `SharedCalls.releaseStrays`. */
  async releaseStrays(): Promise<void> {
    const { database, run, turns, onTrouble } = this.#shared;
    for (const stray of await database.query<Stray>(OUR_OLD_ONES, [run])) {
      if (this.#open.has(stray.id)) continue;
      await turns.take(stray.key, () => this.#release(stray)).catch(onTrouble);
    }
  }

  async #release(stray: Stray): Promise<void> {
    const { run, writes } = this.#shared;
    const { id, key, record } = stray;
    await writes.settled(key);
    if (this.#open.has(id)) return;
    const told = this.#told.get(id, id);
    if (told !== undefined) await this.#endLost(stray, told);
    else await writes.write(key, IN_DOUBT, [id, run, record, null], false);
  }

  async #begin(key: string, arrivedAt: number): Promise<Begun | undefined> {
    await this.#shared.writes.settled(key);
    for (let tries = 0; tries < MOST_TRIES; tries++) {
      const concerns = await this.#look(key, arrivedAt);
      if (concerns.length === 0) return undefined;
      const begun = await this.#beginOne(key, concerns);
      if (begun !== undefined) return begun;
    }
    throw contended();
  }

  async #look(key: string, arrivedAt: number): Promise<readonly Lost[]> {
    const values = [key, await this.#arrivalOf(arrivedAt)];
    const [row] = await timed<{ readonly now: number; readonly lost: readonly Lost[] | null }>(
      this.#shared,
      LOOK,
      values,
    );
    return row?.lost ?? [];
  }

  /** Undefined when another was faster. */
  async #beginOne(key: string, concerns: readonly Lost[]): Promise<Begun | undefined> {
    const known = concerns.find(({ state }) => state === 'answered' || state === 'done');
    if (known !== undefined) return await this.#take(key, known);
    const doubt = concerns.find((lost) => lost.state === 'in-doubt' || !this.#isUnderWay(lost));
    if (doubt !== undefined) {
      const told = this.#told.get(doubt.id, doubt.id);
      if (told !== undefined) {
        await this.#endLost(doubt, told);
        return undefined;
      }
      const record = randomUUID();
      const former = await this.#takeOver(key, doubt, record);
      return former && { state: 'in-doubt', record: this.#recordOf(doubt.id, key, record), intent: former };
    }
    const [underWay] = concerns;
    if (underWay === undefined) return undefined;
    const outcome = this.#open.get(underWay.id)?.wait() ?? this.#shared.awaited.lostReply(underWay.id);
    return { state: 'under-way', outcome };
  }

  /** One of our own that nobody here knows of is nobody's. */
  #isUnderWay({ id, node, is_alive }: Lost): boolean {
    return this.#open.has(id) || (is_alive && node !== this.#shared.run);
  }

  async #take(key: string, { id, json }: Lost): Promise<Begun | undefined> {
    const { database, writes } = this.#shared;
    let isOurs: boolean;
    try {
      isOurs = (await database.query(TAKE, [id])).length > 0;
    } catch (error) {
      if (!isOpen(error)) throw error;
      // It may be gone: asked again, it would be sent again. Two that are told of it are one order too few.
      isOurs = true;
      writes.write(key, TAKE, [id]).catch(() => undefined);
    }
    if (!isOurs) return undefined;
    return json === null ? { state: 'done' } : { state: 'answered', reply: decodeReply(json) };
  }

  /** The database has lost the end of a call that was answered here: whoever looks again finds it. */
  async #endLost({ id, state, node, record }: Found, { json, placed }: ToldAnswer): Promise<void> {
    const end = [json === undefined ? 'done' : 'answered', json ?? ''];
    const named = [placed?.account ?? null, JSON.stringify(placed?.orders ?? [])];
    await this.#shared.database.query(END_LOST, [id, state, node, record, ...end, ...named]);
  }

  async #takeOver(key: string, { id, ...former }: Lost, record: string): Promise<Intent | undefined> {
    const { database, run, writes } = this.#shared;
    try {
      const values = [id, former.state, former.node, former.record, run, record];
      const [taken] = await database.query<{ readonly json: string }>(TAKE_OVER, values);
      return taken && (JSON.parse(taken.json) as Intent);
    } catch (error) {
      if (isOpen(error)) writes.write(key, IN_DOUBT, [id, run, record, null]).catch(() => undefined);
      throw error;
    }
  }

  /** As the database's clock has it, and not too early: an arrival is compared with moments that other nodes saw. */
  async #arrivalOf(arrivedAt: number): Promise<number> {
    const { clock } = this.#shared;
    if (!Number.isFinite(arrivedAt)) return arrivedAt;
    if (!clock.isKnown) await timed(this.#shared, `SELECT ${NOW_SQL} AS now`);
    return clock.isKnown ? clock.toDatabase(arrivedAt) + clock.errorMs : Infinity;
  }

  #recordOf(id: string, key: string, record: string, written = Promise.resolve()): OpenRecord {
    const { run, writes } = this.#shared;
    const outcome = new Outcome();
    this.#open.set(id, outcome);
    /** The write is pending before the call is no longer open. One of those who wait takes it; the others are calls of their own. */
    const end = (text: string, ...values: readonly (string | null)[]): Promise<number> => {
      const stored = writes.write(key, text, [id, run, record, ...values]);
      this.#open.delete(id);
      outcome.tell(undefined);
      return stored;
    };
    return endingOnce({
      claim: { lostReply: id },
      written,
      answered: async (reply) => {
        const json = encodeReply(reply);
        const placed = placedBy(key, reply);
        this.#told.add({ key: id, call: id, json, placed });
        const state = json === undefined ? 'done' : 'answered';
        const named = [placed?.account ?? null, JSON.stringify(placed?.orders ?? [])];
        return await storedInTime(end(ANSWERED, state, json ?? '', ...named));
      },
      forget: () => {
        end(DROP).catch(() => undefined);
      },
      leaveInDoubt: async (intent) => {
        await storedInTime(end(IN_DOUBT, JSON.stringify(intent)));
      },
      update: async (intent) => {
        const failure = await storedInTime(
          writes.write(key, UPDATE, [id, run, record, JSON.stringify(intent)], false),
        );
        if (failure !== undefined) throw failure;
      },
    });
  }
}
