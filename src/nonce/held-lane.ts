import type { Claim } from '../answers/begun.js';
import { Clocks, type Moment } from '../clocks.js';
import type { LaneState, SharedClock } from '../lane/tenure.js';
import type { Database, Session } from '../postgres/database.js';
import type { LaneFloors, Step } from './lane-floors.js';
import { DRAW, DRAW_CLAIMED, DRAW_OF_KEY, FREE, giveStatement, TENURE, type LaneRow } from './lane-row.js';
import { LaneLost, TakenOver } from './nonces.js';

export interface HeldLaneParts {
  readonly name: string;
  /** Names this run of this node. */
  readonly run: string;
  readonly database: Pick<Database, 'query' | 'literal'>;
  /** Its open transaction has the lock. */
  readonly session: Session;
  /** The lane as it was when the lock was had. */
  readonly row: LaneRow;
  readonly floors: LaneFloors;
  /** Whole ms since 1970. */
  readonly wallNow: () => number;
  /** What the next node has to know. */
  readonly leave: (clock: SharedClock) => LaneState;
  /** Called once, if at all. */
  readonly onLost: (held: HeldLane, why: Error) => void;
}

/** The lock is looked after this often, ms: a node that is alive and can be heard keeps it, however long its call takes. */
const HEARTBEAT_MS = 1_000;
/** Without an answer for so long, ms, it is taken to be lost. */
const HEARTBEAT_PATIENCE_MS = 2_000;
/**
 * When a node has lost its lock with a call under way, the next one gives that call so long, ms from its nonce on, unless
 * it is known to have ended. And no nonce is used that was drawn half as long ago, as after a freeze, unless the lock is
 * heard of: so a call sent with it, and the next node's, do not meet, if Kraken answers within the other half.
 */
export const FLIGHT_MS = 2_000;
/** The longest that a nonce may wait for its connection, ms; and how lately the lock must have been heard of then. */
const LONGEST_WAY_MS = 15_000;
const PROVEN_MS = 2_000;

const NEVER: Moment = { steady: -Infinity, wall: -Infinity };

/** A lane while it is ours, which is one tenure: from the lock until it is given back or lost. */
export class HeldLane {
  /** Monotonic ms. */
  readonly since = performance.now();
  readonly clock: SharedClock;
  readonly #parts: HeldLaneParts;
  /** The monotonic clock stands still while a machine sleeps; the wall clock does not, but it may be set. */
  readonly #clocks: Clocks;
  /** The tenure before ours; ours is the next, from the first nonce on. */
  readonly #before: bigint;
  readonly #heartbeat: NodeJS.Timeout;
  /** The database has last said that the lock is there to what was asked then. */
  #provenAt: Moment;
  #drawnAt = NEVER;
  #hasDrawn = false;
  #lost: Error | undefined;

  constructor(parts: HeldLaneParts) {
    const { row, session, wallNow } = parts;
    this.#parts = parts;
    this.#clocks = new Clocks({ wallNow });
    this.clock = clockAt(row.now_ms);
    this.#before = BigInt(row.tenure);
    this.#provenAt = this.#clocks.moment();
    this.#heartbeat = setInterval(() => void this.#beat(), HEARTBEAT_MS);
    session.onLost((error) => this.lose(error));
  }

  /** Why the lock is gone; undefined while it is there. */
  get lost(): Error | undefined {
    return this.#lost;
  }

  /**
   * The next nonce for a key. Rejects with LaneLost; with TakenOver when another node has taken over what is claimed; or
   * with what the database said: then nobody knows whether the floor was advanced, and the tenure must end.
   */
  async draw(fingerprint: string, claim: Claim): Promise<bigint> {
    this.assertHeld();
    const { floors, wallNow } = this.#parts;
    // From when it is asked for: the database may count from then on.
    const asked = this.#clocks.moment();
    const step = floors.next(fingerprint, wallNow());
    const nonce = await this.#advance(step, fingerprint, claim);
    this.#hasDrawn = true;
    this.#drawnAt = asked;
    floors.drawn(nonce, step, fingerprint);
    return nonce;
  }

  /** Throws LaneLost when the lock is gone. */
  assertHeld(): void {
    if (this.#lost !== undefined) throw new LaneLost(this.#lost.message, this.#lost);
  }

  /** Throws LaneLost when the nonce that was drawn last must not be used any more. */
  assertOwned(): void {
    this.assertHeld();
    // A connection to Kraken may take its time, as long as the lock is heard of.
    const drawnFor = this.#clocks.age(this.#drawnAt);
    if (drawnFor < FLIGHT_MS / 2) return;
    if (drawnFor < LONGEST_WAY_MS && this.#clocks.age(this.#provenAt) < PROVEN_MS) return;
    throw new LaneLost(
      `a nonce of lane ${this.#parts.name} was drawn too long ago: the process stood still, or a connection took long`,
    );
  }

  /** The lock is gone, or must be taken to be. */
  lose(why: Error): void {
    if (this.#lost !== undefined) return;
    this.#lost = why;
    clearInterval(this.#heartbeat);
    this.#parts.onLost(this, why);
  }

  /** Gives the lane back; nothing may be under way in it. Never rejects. */
  async end(): Promise<void> {
    clearInterval(this.#heartbeat);
    const { name, run, session, database } = this.#parts;
    try {
      if (this.#lost !== undefined) throw this.#lost;
      if (this.#hasDrawn) {
        const end = { lane: name, tenure: this.#before + 1n, run, state: this.#state() };
        await session.query(giveStatement(end, database.literal));
      } else await session.query('COMMIT');
      session.release();
    } catch {
      // With the connection goes the lock. That nothing is under way the next one may learn all the same.
      session.destroy();
      if (this.#hasDrawn) void this.#free().catch(() => undefined);
    }
  }

  /** Lets the lock go while a call is under way: the next node gives that call a moment. */
  drop(): void {
    this.#parts.session.destroy();
  }

  async #advance({ least, isOfKey }: Step, fingerprint: string, claim: Claim): Promise<bigint> {
    const { database, name, run } = this.#parts;
    const tenure = this.#before + 1n;
    const values = [
      ...[name, this.#hasDrawn ? tenure : this.#before, tenure, run, least],
      ...[JSON.stringify(this.#state()), claim.answer ?? null, claim.lostReply ?? null],
    ];
    const isClaimed = claim.answer !== undefined || claim.lostReply !== undefined;
    const [row] = isOfKey
      ? await database.query<{ floor: string }>(DRAW_OF_KEY, [...values, fingerprint])
      : await (isClaimed
          ? database.query<{ floor: string }>(DRAW_CLAIMED, values)
          : database.query<{ floor: string }>(DRAW, values.slice(0, 6)));
    if (row === undefined) throw await this.#whyNone();
    return BigInt(row.floor);
  }

  async #whyNone(): Promise<Error> {
    const { database, name } = this.#parts;
    const [row] = await database.query<{ tenure: string }>(TENURE, [name]);
    const isOurs = row !== undefined && BigInt(row.tenure) === this.#before + (this.#hasDrawn ? 1n : 0n);
    return isOurs ? new TakenOver() : new LaneLost(`another node has taken lane ${name} over`);
  }

  async #beat(): Promise<void> {
    const asked = this.#clocks.moment();
    try {
      await this.#parts.session.query('SELECT', undefined, HEARTBEAT_PATIENCE_MS);
      this.#provenAt = asked;
    } catch (error) {
      this.lose(error as Error);
    }
  }

  async #free(): Promise<void> {
    const { database, name, run } = this.#parts;
    await database.query(FREE, [name, this.#before + 1n, run, JSON.stringify(this.#state())]);
  }

  #state(): LaneState {
    return this.#parts.leave(this.clock);
  }
}

/**
 * The database read its clock before its answer came: by at most a round trip what is told by this clock is told as
 * earlier than it was.
 */
function clockAt(sharedMs: number): SharedClock {
  const offset = sharedMs - performance.now();
  return { toLocal: (ms) => ms - offset, toShared: (ms) => ms + offset };
}
