import { createHash } from 'node:crypto';

/** The lane in which all keys' calls wait, where there is one for all. */
export const GLOBAL = 'global';

/** A lane as the node finds it that has just taken its lock, or waits for what the node before has under way. */
export interface LaneRow {
  readonly floor: string;
  readonly tenure: string;
  readonly node: string | null;
  readonly is_free: boolean;
  /** Since the last nonce was handed out, ms. */
  readonly drawn_ms: number;
  /** The database's clock, unix ms. */
  readonly now_ms: number;
  readonly state: Readonly<Record<string, unknown>>;
  /** Floors of keys that have one of their own, as decimal text; null: none has. */
  readonly key_floors: Readonly<Record<string, string>> | null;
  /** The floor of the lane of all keys, for a lane of one: lanes may have been otherwise yesterday. */
  readonly global_floor: string | null;
}

/** The statements are texts without values, several in one round trip: what goes into them is checked, or quoted by pg. */
export interface TakeOptions {
  readonly lane: string;
  /** How long the database waits for the lock, ms. */
  readonly waitMs: number;
  /** A holder from which the database hears nothing for so long has lost the lock, ms. */
  readonly leaseMs: number;
}

/**
 * Begins the transaction that holds the lane's lock until its end. With a lane for each key the global one is locked too,
 * shared: a node that has one lane for all, by another config, waits for all of them.
 *
 * Read committed, whatever the database's default is: the row is to be seen as it is when the lock is there, not as it
 * was when the wait began.
 */
export function takeStatement(options: TakeOptions, literal: (text: string) => string): string {
  const { lane } = options;
  const [wait, lease] = [whole(options.waitMs), whole(options.leaseMs)];
  const locks =
    lane === GLOBAL
      ? `SELECT pg_advisory_xact_lock(${lockOf(GLOBAL)})`
      : `SELECT pg_advisory_xact_lock_shared(${lockOf(GLOBAL)}); SELECT pg_advisory_xact_lock(${lockOf(lane)})`;
  return (
    'BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; ' +
    // Limits that somebody has set for all must not end the wait, nor take the lock away in the middle of a call.
    `SET LOCAL lock_timeout = ${wait}; SET LOCAL idle_in_transaction_session_timeout = ${lease}; ` +
    "SET LOCAL statement_timeout = 0; SELECT set_config('transaction_timeout', '0', true) " +
    "WHERE current_setting('transaction_timeout', true) <> '0'; " + // PostgreSQL 17 has it
    `${locks}; ${lookStatement(lane, literal)}`
  );
}

/** The row, for who holds the lock. */
export function lookStatement(lane: string, literal: (text: string) => string): string {
  const name = literal(lane);
  // With a lane for each key, those lanes have had nonces of their own.
  const floors =
    lane === GLOBAL
      ? `SELECT fingerprint, floor FROM kraken_proxy.key_floor
           UNION ALL SELECT name, floor FROM kraken_proxy.lane WHERE name <> ${name}`
      : `SELECT fingerprint, floor FROM kraken_proxy.key_floor WHERE fingerprint = ${name}`;
  return `SELECT floor, tenure, node, is_free, state,
      extract(epoch FROM clock_timestamp() - drawn_at)::float8 * 1000 AS drawn_ms,
      extract(epoch FROM clock_timestamp())::float8 * 1000 AS now_ms,
      (SELECT jsonb_object_agg(fingerprint, floor::text) FROM
        (SELECT fingerprint, max(floor) AS floor FROM (${floors}) AS one GROUP BY fingerprint) AS each) AS key_floors,
      ${lane === GLOBAL ? 'NULL' : `(SELECT floor FROM kraken_proxy.lane WHERE name = ${literal(GLOBAL)})`} AS global_floor
    FROM kraken_proxy.lane WHERE name = ${name}`;
}

/**
 * Ends the tenure: what the next one has to know, and that nothing is under way, become visible with the release of the
 * lock. What a crash of the database takes back of it costs the next one a moment of waiting, so nobody waits for the disk.
 */
export function giveStatement(
  end: {
    readonly lane: string;
    readonly tenure: bigint;
    readonly run: string;
    readonly state: object;
  },
  literal: (text: string) => string,
): string {
  return (
    'SET LOCAL synchronous_commit = off; ' +
    `UPDATE kraken_proxy.lane SET is_free = true, state = ${literal(JSON.stringify(end.state))}::jsonb
      WHERE name = ${literal(end.lane)} AND tenure = ${end.tenure} AND node = ${literal(end.run)}; COMMIT`
  );
}

const CLAIMED = `
  ($7::text IS NULL OR EXISTS (SELECT FROM kraken_proxy.answer WHERE key = $7 AND node = $4 AND state = 'under-way'))
  AND ($8::text IS NULL
    OR EXISTS (SELECT FROM kraken_proxy.lost_reply WHERE id = $8 AND node = $4 AND state = 'under-way'))`;

const CLOCK = '(extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000';

const ADVANCE = `
  UPDATE kraken_proxy.lane
  SET floor = greatest(floor + 1, $5::bigint, ${CLOCK}),
    tenure = $3, node = $4, drawn_at = clock_timestamp(), is_free = false, state = $6::jsonb
  WHERE name = $1 AND tenure = $2 AND (tenure <> $3 OR node = $4)`;

/**
 * Advances the lane's floor. Values: lane, tenure before, tenure from now on, run, least nonce, state. No row: the lane is
 * another's by now.
 */
export const DRAW = `${ADVANCE} RETURNING floor`;

/** The same as long as the call is ours. Values as for DRAW, then the claims. */
export const DRAW_CLAIMED = `${ADVANCE} AND ${CLAIMED} RETURNING floor`;

/** The same for a key whose own floor is above its lane's: only that one rises. Values as for DRAW_CLAIMED, then the fingerprint. */
export const DRAW_OF_KEY = `
  WITH held AS (
    UPDATE kraken_proxy.lane
    SET tenure = $3, node = $4, drawn_at = clock_timestamp(), is_free = false, state = $6::jsonb
    WHERE name = $1 AND tenure = $2 AND (tenure <> $3 OR node = $4) AND ${CLAIMED}
    RETURNING name)
  INSERT INTO kraken_proxy.key_floor AS own (fingerprint, floor) SELECT $9, $5::bigint FROM held
  ON CONFLICT (fingerprint) DO UPDATE SET floor = greatest(own.floor + 1, excluded.floor)
  RETURNING floor`;

/**
 * The lane is free though its lock was lost on the way: nothing of ours is under way any more, and what was learned counts
 * if nobody has had the lane since. Values: lane, tenure, run, state.
 */
export const FREE = `
  UPDATE kraken_proxy.lane SET is_free = true, state = $4::jsonb
  WHERE name = $1 AND tenure = $2 AND node = $3 AND NOT is_free`;

export const TENURE = 'SELECT tenure FROM kraken_proxy.lane WHERE name = $1';

export const MAKE_LANE = 'INSERT INTO kraken_proxy.lane (name) VALUES ($1) ON CONFLICT DO NOTHING';

export const HIGHEST = 'SELECT max(floor) AS floor FROM kraken_proxy.lane';

/** Values: floor. */
export const LIFT_ALL = 'UPDATE kraken_proxy.lane SET floor = greatest(floor, $1::bigint)';

/** Values: fingerprint, floor. */
export const LIFT_KEY = `
  INSERT INTO kraken_proxy.key_floor AS own (fingerprint, floor) VALUES ($1, $2::bigint)
  ON CONFLICT (fingerprint) DO UPDATE SET floor = greatest(own.floor, excluded.floor)`;

/** The number of a lane's advisory lock, the same on every node: 64 bits, with sign. */
export function lockOf(lane: string): bigint {
  return createHash('sha256').update(`kraken_proxy.lane ${lane}`).digest().readBigInt64BE(0);
}

function whole(ms: number): number {
  return Math.max(1, Math.ceil(ms));
}
