import { randomUUID } from 'node:crypto';
import { writtenInTime } from '../durable-lines.js';
import { endingOnce, type Begun, type Intent, type OpenRecord } from './begun.js';
import { Outcome } from './outcome.js';
import { aliveSql, contended, isOpen, NOW_SQL, storedInTime, timed, type SharedRows } from './shared-rows.js';
import { decodeReply, encodeReply } from './stored-reply.js';

/** A lost reply that concerns a call. */
interface Lost {
  readonly id: string;
  readonly state: 'under-way' | 'in-doubt' | 'answered' | 'done';
  readonly node: string | null;
  readonly is_alive: boolean;
}

/** Whoever is overtaken by others so often gives up. */
const MOST_TRIES = 10;

/** As `LostReplies` has it: after that, an equal call is meant anew. */
const OLD = `l.at <= clock_timestamp() - interval '10 minutes' AND NOT (l.state = 'under-way' AND ${aliveSql('l.node')})`;
const CONCERNS = `l.key = $1 AND l.since < to_timestamp($2::float8 / 1000) AND NOT (${OLD})`;

const LOOK = `SELECT ${NOW_SQL} AS now, (
  SELECT json_agg(json_build_object('id', l.id, 'state', l.state, 'node', l.node,
    'is_alive', ${aliveSql('l.node')}) ORDER BY l.at)
  FROM kraken_proxy.lost_reply l WHERE ${CONCERNS}) AS lost`;
const HAS = `SELECT ${NOW_SQL} AS now,
  EXISTS (SELECT FROM kraken_proxy.lost_reply l WHERE ${CONCERNS}) AS is_known`;
// Of several who find it, one gets it.
const TAKE = `
  DELETE FROM kraken_proxy.lost_reply WHERE id = $1 AND state IN ('answered', 'done') RETURNING state, json`;
const TAKE_OVER = `
  UPDATE kraken_proxy.lost_reply SET state = 'under-way', node = $2
  WHERE id = $1 AND state = $3 AND node IS NOT DISTINCT FROM $4 RETURNING json`;

const INSERT = `
  INSERT INTO kraken_proxy.lost_reply (id, key, state, json, node, since)
  VALUES ($1, $2, 'under-way', $3, $4, to_timestamp($5::float8 / 1000)) ON CONFLICT (id) DO NOTHING`;
const OURS = `id = $1 AND node = $2 AND state = 'under-way'`;
const END = `
  UPDATE kraken_proxy.lost_reply SET state = $3, json = coalesce($4, json), node = NULL, at = clock_timestamp()
  WHERE ${OURS} RETURNING 1`;
const UPDATE = `UPDATE kraken_proxy.lost_reply SET json = $3 WHERE ${OURS} RETURNING 1`;
const DROP = `DELETE FROM kraken_proxy.lost_reply WHERE ${OURS} RETURNING 1`;
const FORGET = `DELETE FROM kraken_proxy.lost_reply WHERE key = $1 AND state = 'answered' RETURNING 1`;

const OUR_OLD_ONES = `
  SELECT id, key FROM kraken_proxy.lost_reply
  WHERE node = $1 AND state = 'under-way' AND at < clock_timestamp() - interval '1 minute'`;
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

  constructor(shared: SharedRows) {
    this.#shared = shared;
  }

  /** A call of that key begins; undefined when no lost one concerns it. */
  async begin(key: string, arrivedAt: number): Promise<Begun | undefined> {
    const { turns, writes } = this.#shared;
    return await turns.take(key, async () => {
      await writes.settled(key);
      for (let tries = 0; tries < MOST_TRIES; tries++) {
        const concerns = await this.#look(key, arrivedAt);
        if (concerns.length === 0) return undefined;
        const begun = await this.#beginOne(key, concerns);
        if (begun !== undefined) return begun;
      }
      throw contended();
    });
  }

  async has(key: string, arrivedAt: number): Promise<boolean> {
    await this.#shared.writes.settled(key);
    const values = [key, await this.#arrivalOf(arrivedAt)];
    const [row] = await timed<{ readonly now: number; readonly is_known: boolean }>(
      this.#shared,
      HAS,
      values,
    );
    return row?.is_known === true;
  }

  /** Nobody is told of it any more. Never rejects. */
  async forget(key: string): Promise<void> {
    await storedInTime(this.#shared.writes.write(key, FORGET, [key]));
  }

  /** A call of that key whose holder finds out what became of it; `since` in monotonic ms. */
  open(key: string, intent: Intent, since: number): OpenRecord {
    const { run, clock, writes } = this.#shared;
    const id = randomUUID();
    // Without a time any equal call may be its repeat: one order too few is better than one too many.
    const from =
      clock.isKnown && Number.isFinite(since) ? clock.toDatabase(since) - clock.errorMs : -Infinity;
    const inserted = writes.write(key, INSERT, [id, key, JSON.stringify(intent), run, from]);
    const written = writtenInTime(
      inserted.then(() => undefined),
      'a lost reply',
    );
    // The reason is for whoever waits for it; nobody has to.
    written.catch(() => undefined);
    return this.#recordOf(id, key, written);
  }

  /** Drops so many of those that are old; resolves with how many there were. Rejects with DatabaseError. */
  async sweep(most: number): Promise<number> {
    return (await this.#shared.database.query(SWEEP, [most])).length;
  }

  /** As `SharedCalls.releaseStrays`. */
  async releaseStrays(): Promise<void> {
    const { database, run, turns, writes } = this.#shared;
    const ours = await database.query<{ readonly id: string; readonly key: string }>(OUR_OLD_ONES, [run]);
    for (const { id, key } of ours)
      await turns.take(key, async () => {
        await writes.settled(key);
        if (!this.#open.has(id)) await writes.write(key, END, [id, run, 'in-doubt', null], false);
      });
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
    const { database } = this.#shared;
    const known = concerns.find(({ state }) => state === 'answered' || state === 'done');
    if (known !== undefined) {
      const [taken] = await database.query<{ readonly state: string; readonly json: string }>(TAKE, [
        known.id,
      ]);
      if (taken?.state === 'answered') return { state: 'answered', reply: decodeReply(taken.json) };
      return taken && { state: 'done' };
    }
    const doubt = concerns.find((lost) => lost.state === 'in-doubt' || !this.#isUnderWay(lost));
    if (doubt !== undefined) {
      const former = await this.#takeOver(key, doubt);
      return former && { state: 'in-doubt', record: this.#recordOf(doubt.id, key), intent: former };
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

  async #takeOver(key: string, { id, state, node }: Lost): Promise<Intent | undefined> {
    const { database, run, writes } = this.#shared;
    try {
      const [taken] = await database.query<{ readonly json: string }>(TAKE_OVER, [id, run, state, node]);
      return taken && (JSON.parse(taken.json) as Intent);
    } catch (error) {
      if (isOpen(error)) writes.write(key, END, [id, run, 'in-doubt', null]).catch(() => undefined);
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

  #recordOf(id: string, key: string, written = Promise.resolve()): OpenRecord {
    const { run, writes } = this.#shared;
    const outcome = new Outcome();
    this.#open.set(id, outcome);
    /** The write is pending before the call is no longer open. One of those who wait takes it; the others are calls of their own. */
    const end = (text: string, ...values: readonly (string | null)[]): Promise<number> => {
      const stored = writes.write(key, text, [id, run, ...values]);
      this.#open.delete(id);
      outcome.tell(undefined);
      return stored;
    };
    return endingOnce({
      claim: { lostReply: id },
      written,
      answered: async (reply) => {
        const json = encodeReply(reply);
        return await storedInTime(end(END, json === undefined ? 'done' : 'answered', json ?? ''));
      },
      forget: () => {
        end(DROP).catch(() => undefined);
      },
      leaveInDoubt: async (intent) => {
        await storedInTime(end(END, 'in-doubt', JSON.stringify(intent)));
      },
      update: async (intent) => {
        const failure = await storedInTime(
          writes.write(key, UPDATE, [id, run, JSON.stringify(intent)], false),
        );
        if (failure !== undefined) throw failure;
      },
    });
  }
}
