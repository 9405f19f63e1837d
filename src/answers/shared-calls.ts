import { endingOnce, type Begun, type Intent, type OpenRecord } from './begun.js';
import { Outcome } from './outcome.js';
import { aliveSql, contended, isOpen, NOW_SQL, storedInTime, timed, type SharedRows } from './shared-rows.js';
import { decodeReply, encodeReply, type StoredReply } from './stored-reply.js';

/** What the table says of a call at its beginning. */
interface Row {
  readonly state: 'new' | 'under-way' | 'in-doubt' | 'answered' | 'done';
  readonly asked: string | null;
  readonly json: string | null;
  readonly node: string | null;
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
    INSERT INTO kraken_proxy.answer AS a (key, asked, state, json, node) VALUES ($1, $2, 'under-way', $3, $4)
    ON CONFLICT (key) DO UPDATE SET asked = excluded.asked, state = excluded.state, json = excluded.json,
      node = excluded.node, at = clock_timestamp()
    WHERE ${OLD}
    RETURNING 1
  )
  SELECT 'new' AS state, NULL AS asked, NULL AS json, NULL AS node, true AS is_alive, ${NOW_SQL} AS now FROM fresh
  UNION ALL
  SELECT a.state, a.asked, a.json, a.node, ${aliveSql('a.node')}, ${NOW_SQL} FROM kraken_proxy.answer a
  WHERE a.key = $1 AND NOT EXISTS (SELECT FROM fresh)`;

const HAS = `SELECT ${NOW_SQL} AS now, EXISTS (
  SELECT FROM kraken_proxy.answer a WHERE a.key = $1 AND NOT (${OLD})) AS is_known`;

// Only one of those who find it so takes it.
const TAKE_OVER = `
  UPDATE kraken_proxy.answer SET state = 'under-way', node = $2, at = clock_timestamp()
  WHERE key = $1 AND state = $3 AND node IS NOT DISTINCT FROM $4 RETURNING json`;

const OURS = `key = $1 AND node = $2 AND state = 'under-way'`;
// Its loss in a crash of the database leaves the call in doubt, no more: its client need not wait for the disk.
const ANSWERED = `
  UPDATE kraken_proxy.answer SET state = $3, json = $4, node = NULL, at = clock_timestamp()
  WHERE ${OURS} AND set_config('synchronous_commit', 'off', true) = 'off' RETURNING 1`;
const IN_DOUBT = `
  UPDATE kraken_proxy.answer SET state = 'in-doubt', json = coalesce($3, json), node = NULL, at = clock_timestamp()
  WHERE ${OURS} RETURNING 1`;
const UPDATE = `UPDATE kraken_proxy.answer SET json = $3, at = clock_timestamp() WHERE ${OURS} RETURNING 1`;
const FORGET = `DELETE FROM kraken_proxy.answer WHERE ${OURS} RETURNING 1`;
const NOT_BEGUN = `DELETE FROM kraken_proxy.answer WHERE ${OURS} AND at >= to_timestamp($3::float8 / 1000)`;
const FORGET_ANSWER = `DELETE FROM kraken_proxy.answer WHERE key = $1 AND state = 'answered' RETURNING 1`;

const OUR_OLD_ONES = `
  SELECT key AS id FROM kraken_proxy.answer
  WHERE node = $1 AND state = 'under-way' AND at < clock_timestamp() - interval '1 minute'`;
const SWEEP = `
  DELETE FROM kraken_proxy.answer WHERE key IN (
    SELECT key FROM kraken_proxy.answer a WHERE ${OLD} ORDER BY at LIMIT $1 FOR UPDATE SKIP LOCKED)
  RETURNING 1`;

/** The calls of the last 24 hours with ids of their own that must not be done twice, by whichever node. */
export class SharedCalls {
  readonly #shared: SharedRows;
  readonly #open = new Map<string, OpenCall>();

  constructor(shared: SharedRows) {
    this.#shared = shared;
  }

  /** As `Answers.begin`: what is new is durable already. */
  async begin(key: string, asked: string | undefined, intent: Intent): Promise<Begun> {
    const { turns, writes } = this.#shared;
    return await turns.take(key, async () => {
      await writes.settled(key);
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
    });
  }

  async has(key: string): Promise<boolean> {
    if (this.#open.has(key)) return true;
    await this.#shared.writes.settled(key);
    const [row] = await timed<{ readonly now: number; readonly is_known: boolean }>(this.#shared, HAS, [key]);
    return row?.is_known === true;
  }

  /** Never rejects. */
  async forget(key: string): Promise<void> {
    await storedInTime(this.#shared.writes.write(key, FORGET_ANSWER, [key]));
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
    const { database, run, turns, writes } = this.#shared;
    for (const { id } of await database.query<{ readonly id: string }>(OUR_OLD_ONES, [run]))
      await turns.take(id, async () => {
        await writes.settled(id);
        if (!this.#open.has(id)) await writes.write(id, IN_DOUBT, [id, run, null], false);
      });
  }

  /** Undefined when another has changed it meanwhile. */
  async #tryToBegin(key: string, asked: string | undefined, intent: Intent): Promise<Begun | undefined> {
    const { run, awaited } = this.#shared;
    const row = await this.#insert(key, asked, JSON.stringify(intent));
    if (row === undefined) return undefined;
    if (row.state === 'new') return { state: 'new', record: this.#recordOf(key, asked) };
    if ((row.asked ?? undefined) !== asked) return { state: 'mismatch' };
    if (row.state === 'answered') return { state: 'answered', reply: decodeReply(row.json ?? '') };
    if (row.state === 'done') return { state: 'done' };
    // One of our own that nobody here knows of is nobody's.
    if (row.state === 'under-way' && row.is_alive && row.node !== run)
      return { state: 'under-way', outcome: awaited.answer(key) };
    const former = await this.#takeOver(key, row);
    return former && { state: 'in-doubt', record: this.#recordOf(key, asked), intent: former };
  }

  async #insert(key: string, asked: string | undefined, json: string): Promise<Row | undefined> {
    const { run, clock, writes } = this.#shared;
    const began = clock.isKnown ? clock.toDatabase(performance.now()) - clock.errorMs : undefined;
    try {
      const [row] = await timed<Row>(this.#shared, BEGIN, [key, asked ?? null, json, run]);
      return row;
    } catch (error) {
      // Nothing is sent for it. If it is there all the same, and not for longer, others need not wait for it.
      const undo: Parameters<typeof writes.write> =
        began === undefined ? [key, IN_DOUBT, [key, run, null]] : [key, NOT_BEGUN, [key, run, began]];
      if (isOpen(error)) writes.write(...undo).catch(() => undefined);
      throw error;
    }
  }

  async #takeOver(key: string, { state, node }: Row): Promise<Intent | undefined> {
    const { database, run, writes } = this.#shared;
    try {
      const [taken] = await database.query<{ readonly json: string }>(TAKE_OVER, [key, run, state, node]);
      return taken && (JSON.parse(taken.json) as Intent);
    } catch (error) {
      if (isOpen(error)) writes.write(key, IN_DOUBT, [key, run, null]).catch(() => undefined);
      throw error;
    }
  }

  #recordOf(key: string, asked: string | undefined): OpenRecord {
    const { run, writes } = this.#shared;
    const open: OpenCall = { asked, outcome: new Outcome() };
    this.#open.set(key, open);
    /** The write is pending before the call is no longer open: who begins next waits for it. */
    const end = (
      reply: StoredReply | undefined,
      ...write: Parameters<typeof writes.write>
    ): Promise<number> => {
      const stored = writes.write(...write);
      this.#open.delete(key);
      open.outcome.tell(reply);
      return stored;
    };
    return endingOnce({
      claim: { answer: key },
      written: Promise.resolve(),
      answered: async (reply) => {
        const json = encodeReply(reply);
        const state = json === undefined ? 'done' : 'answered';
        return await storedInTime(end(reply, key, ANSWERED, [key, run, state, json ?? '']));
      },
      forget: () => {
        end(undefined, key, FORGET, [key, run]).catch(() => undefined);
      },
      leaveInDoubt: async (intent) => {
        await storedInTime(end(undefined, key, IN_DOUBT, [key, run, JSON.stringify(intent)]));
      },
      update: async (intent) => {
        const failure = await storedInTime(
          writes.write(key, UPDATE, [key, run, JSON.stringify(intent)], false),
        );
        if (failure !== undefined) throw failure;
      },
    });
  }
}
