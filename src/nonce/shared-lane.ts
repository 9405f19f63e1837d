import { setTimeout as delay } from 'node:timers/promises';
import type { Claim } from '../answers/begun.js';
import type { Moment } from '../clocks.js';
import { ProxyError } from '../errors.js';
import type { LaneState, SharedClock, SharedState, Tenure } from '../lane/tenure.js';
import type { Database, Session } from '../postgres/database.js';
import {
  DRAW,
  DRAW_CLAIMED,
  DRAW_OF_KEY,
  FREE,
  giveStatement,
  LIFT_KEY,
  lookStatement,
  MAKE_LANE,
  takeStatement,
  TENURE,
  type LaneRow,
} from './lane-row.js';
import { TakenOver } from './nonces.js';

/** What the lanes of one node have in common. */
export interface SharedLaneParts {
  readonly database: Pick<Database, 'query' | 'laneSession' | 'literal'>;
  /** Names this run of this node. */
  readonly run: string;
  readonly state: () => SharedState | undefined;
  /** Told of every nonce: how long the database took, and what failed. */
  readonly onDraw: (seconds: number, error: unknown) => void;
  /** The lane was lost while it was ours. */
  readonly onLost: (lane: string, why: Error) => void;
  /** What another node has left cannot be read; the lane is ours all the same. */
  readonly onTrouble: (lane: string, why: unknown) => void;
  /** Whole ms since 1970. */
  readonly wallNow: () => number;
  /** Calls wait so long for a database that is gone, ms. */
  readonly patienceMs: number;
}

/** A lane that is not ours any more: what was to be sent was not sent, and may be once the lane is ours again. */
export class LaneLost extends ProxyError {
  constructor(why: string, cause?: unknown) {
    super('not-owner', why, { retryAfterSeconds: 1, ...(cause === undefined ? {} : { cause }) });
  }
}

/** A tenure: from the lock until it is given back or lost. */
interface Held {
  readonly session: Session;
  readonly clock: SharedClock;
  /** The tenure before ours; ours is the next, from the first nonce on. */
  readonly before: bigint;
  /** Monotonic ms. */
  readonly since: number;
  heartbeat: NodeJS.Timeout | undefined;
  /** The database has last said that the lock is there to what was asked then. */
  provenAt: Moment;
  /** No other node has had it for a while: nobody else seems to want it. */
  readonly isAlone: boolean;
  hasDrawn: boolean;
  /** The lock is gone. */
  lost: Error | undefined;
}

const NS_PER_MS = 1_000_000n;
/** The lock is looked after this often, ms: a node that is alive and can be heard keeps it, however long its call takes. */
const HEARTBEAT_MS = 1_000;
/** Without an answer for so long, ms, it is taken to be lost. */
const HEARTBEAT_PATIENCE_MS = 2_000;
/** The database takes the lock from a holder that it has not heard of for so long, ms. */
const LEASE_MS = 5_000;
/**
 * When a node has lost its lock with a call under way, the next one gives that call so long, ms from its nonce on, unless
 * it is known to have ended. And no nonce is used that was drawn half as long ago, as after a freeze, unless the lock is
 * heard of: so a call sent with it, and the next node's, do not meet, if Kraken answers within the other half.
 */
const FLIGHT_MS = 2_000;
/** The longest that a nonce may wait for its connection, ms; and how lately the lock must have been heard of then. */
const LONGEST_WAY_MS = 15_000;
const PROVEN_MS = 2_000;
const LOOK_AGAIN_MS = 50;
/** A node keeps the lane for several calls, ms; then others have their turn, after they have wanted it in vain less long. */
const ALONE_MS = 250;
const AMONG_OTHERS_MS = 50;
/** A node that no other has asked for the lane for so long, ms, takes itself to be alone. */
const ALONE_AFTER_MS = 5_000;
/** When nobody else seems to want it, it is kept a moment longer for the next call, ms. */
const LINGER_MS = 20;
/** A lock is waited for so long at a time, ms: other lanes may need the connection. */
const LONGEST_WAIT_MS = 1_000;
/** Beyond that wait, until the database is taken to be gone, ms. */
const ANSWER_MS = 5_000;
const RETRY_MS = 250;
/** A lane without nonces is tried again after this, ms, if no call has tried it before. */
const DRAW_AGAIN_MS = 2_000;

/**
 * One lane among the nodes that share it. An advisory lock, held by an open transaction, says whose turn it is; a row of
 * the table holds the floor. Every nonce is one statement of its own, which advances the floor and is committed before
 * the nonce is used, and which succeeds only for the tenure that the node believes it has: a node that has lost the lock
 * unseen, frozen or cut off, gets no nonce once another one has had one.
 *
 * The lock is lost with its connection (killed, cut off) or when the database has not heard of the node for 5 s (frozen).
 */
export class SharedLane implements Tenure {
  readonly name: string;
  readonly #parts: SharedLaneParts;
  readonly #listeners: (() => void)[] = [];
  #held: Held | undefined;
  /** While the lock is waited for. */
  #taking: Session | undefined;
  /** The lane is being taken, or given back. */
  #step: Promise<void> | undefined;
  #wantedUntil = -Infinity;
  #isInTurn = false;
  /** Another node used the lane last then, monotonic ms. */
  #othersAt = -Infinity;
  #linger: NodeJS.Timeout | undefined;
  #isMade = false;
  #isClosed = false;
  /** What the database said when it could not be asked, and since when, monotonic ms. */
  #failure:
    | {
        readonly error: Error;
        readonly since: number;
        readonly timer: NodeJS.Timeout;
        readonly isOfDraw: boolean;
      }
    | undefined;
  #unheard: LaneLost | undefined;
  /** The highest nonce that we know of: the database may lose the last ones, as a replica that takes over does. */
  #floor = 0n;
  /** Of keys that have one of their own, as of the latest tenure. */
  readonly #keyFloors = new Map<string, bigint>();
  #drawnAt: Moment = { steady: -Infinity, wall: -Infinity };
  #issued = 0;

  constructor(name: string, parts: SharedLaneParts) {
    this.name = name;
    this.#parts = parts;
  }

  get isOurs(): boolean {
    return this.#held !== undefined && this.#held.lost === undefined && this.#step === undefined;
  }

  get problem(): ProxyError | undefined {
    const { failure } = this;
    if (this.#unheard !== undefined) return this.#unheard;
    if (failure === undefined || performance.now() - failure.since < this.#parts.patienceMs) return undefined;
    return failure.error instanceof ProxyError
      ? failure.error
      : new LaneLost(failure.error.message, failure.error);
  }

  /** Why the database cannot be asked now, and since when; undefined while it can. */
  get failure(): { readonly error: Error; readonly since: number } | undefined {
    return this.#failure;
  }

  get floor(): bigint {
    return this.#floor;
  }

  get issued(): number {
    return this.#issued;
  }

  /** The floor of a key as of the latest tenure; undefined when it has none of its own. */
  ownFloorOf(fingerprint: string): bigint | undefined {
    return this.#keyFloors.get(fingerprint);
  }

  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  want(ms: number): void {
    this.#stay();
    this.#wantedUntil = Math.max(this.#wantedUntil, performance.now() + ms);
    if (this.#held?.lost !== undefined && this.#step === undefined) this.#give();
    // One that is overdue leaves the line soon, and asks for nothing.
    if (this.#held !== undefined || this.#step !== undefined || this.#isClosed || !this.#isWanted) return;
    this.#begin(this.#take());
  }

  turnBegan(): void {
    this.#isInTurn = true;
    this.#stay();
  }

  turnEnded(): void {
    this.#isInTurn = false;
    const held = this.#held;
    if (held === undefined || this.#step !== undefined) return;
    const budgetMs = held.isAlone ? ALONE_MS : AMONG_OTHERS_MS;
    if (held.lost !== undefined || performance.now() - held.since >= budgetMs) this.#give();
  }

  rest(): void {
    this.#wantedUntil = -Infinity;
    if (this.#isInTurn) return;
    if (this.#held === undefined || this.#step !== undefined || this.#linger !== undefined) return;
    if (!this.#held.isAlone) {
      this.#give();
      return;
    }
    this.#linger = setTimeout(() => {
      this.#linger = undefined;
      if (this.#step === undefined) this.#give();
    }, LINGER_MS);
  }

  /**
   * The next nonce for a key, in the turn of its call. Rejects with LaneLost, or with TakenOver when another node has
   * taken over what is claimed.
   */
  async draw(fingerprint: string, claim: Claim = {}): Promise<bigint> {
    const held = this.#held;
    if (held === undefined) throw new LaneLost(`lane ${this.name} is not ours`);
    if (held.lost !== undefined) throw new LaneLost(held.lost.message, held.lost);
    // From when it is asked for: the database may count from then on.
    const asked = this.#moment();
    const started = asked.steady;
    try {
      const nonce = await this.#advance(held, fingerprint, claim);
      this.#parts.onDraw((performance.now() - started) / 1_000, undefined);
      this.#drawnAt = asked;
      this.#issued++;
      this.#works();
      return nonce;
    } catch (error) {
      if (error instanceof TakenOver) throw error;
      this.#parts.onDraw((performance.now() - started) / 1_000, error);
      // Nobody knows whether it was advanced; the next tenure will.
      this.#lose(held, error as Error);
      if (!(error instanceof LaneLost)) this.#failsToDraw(error as Error);
      throw error instanceof LaneLost ? error : new LaneLost((error as Error).message, error);
    }
  }

  /** Throws LaneLost when the nonce that was drawn last must not be used any more. */
  assertOwned(): void {
    const held = this.#held;
    if (held === undefined) throw new LaneLost(`lane ${this.name} is not ours`);
    if (held.lost !== undefined) throw new LaneLost(held.lost.message, held.lost);
    // A connection to Kraken may take its time, as long as the lock is heard of.
    if (this.#ageOf(this.#drawnAt) < FLIGHT_MS / 2) return;
    if (this.#ageOf(this.#drawnAt) < LONGEST_WAY_MS && this.#ageOf(held.provenAt) < PROVEN_MS) return;
    throw new LaneLost(
      `a nonce of lane ${this.name} was drawn too long ago: the process stood still, or a connection took long`,
    );
  }

  /** Lifts the own floor of a key. Durable when it resolves. */
  async lift(to: bigint, fingerprint: string): Promise<void> {
    await this.#parts.database.query(LIFT_KEY, [fingerprint, to]);
    if (to > (this.#keyFloors.get(fingerprint) ?? 0n)) this.#keyFloors.set(fingerprint, to);
  }

  /** Nothing is heard of the database: what waits for its answer waits in vain. Without a reason it is heard again. */
  unheard(why: string | undefined): void {
    if ((why === undefined) === (this.#unheard === undefined)) return;
    this.#unheard = why === undefined ? undefined : new LaneLost(why);
    if (why !== undefined) this.#taking?.destroy();
    this.#changed();
  }

  /** Gives the lane back; nothing may be under way in it. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#wantedUntil = -Infinity;
    this.#taking?.destroy();
    this.#stay();
    clearTimeout(this.#failure?.timer);
    // What outlasts the time that a stop gives it goes on without the lane, and the next node gives it a moment.
    if (this.#isInTurn) this.#held?.session.destroy();
    else if (this.#held !== undefined && this.#step === undefined) this.#give();
    await this.#step;
    // One that came all the same.
    if (this.#held !== undefined && !this.#isInTurn) await this.#giveBack(this.#held);
  }

  #moment(): Moment {
    return { steady: performance.now(), wall: this.#parts.wallNow() };
  }

  /** The monotonic clock stands still while a machine sleeps; the wall clock does not, but it may be set. */
  #ageOf({ steady, wall }: Moment): number {
    return Math.max(performance.now() - steady, this.#parts.wallNow() - wall);
  }

  /** What was about to be given back is kept. */
  #stay(): void {
    clearTimeout(this.#linger);
    this.#linger = undefined;
  }

  #begin(step: Promise<void>): void {
    this.#step = step.finally(() => {
      this.#step = undefined;
      // What was wanted meanwhile.
      if (this.#held === undefined && !this.#isClosed && this.#isWanted) this.#begin(this.#take());
      this.#changed();
    });
  }

  get #isWanted(): boolean {
    return performance.now() < this.#wantedUntil;
  }

  /** Takes the lane as long as it is wanted; never rejects. While the database is away it is asked on and on. */
  async #take(): Promise<void> {
    if (this.#failure !== undefined) await delay(RETRY_MS, undefined, { ref: false });
    while (!this.#isClosed && (this.#isWanted || this.#failure !== undefined)) {
      try {
        const held = await this.#tryToTake(Math.max(1, this.#wantedUntil - performance.now()));
        // That a nonce can be had is another matter.
        if (this.#failure?.isOfDraw !== true) this.#works();
        if (held === undefined) continue;
        this.#held = held;
        return;
      } catch (error) {
        this.#fails(error as Error);
        await delay(RETRY_MS, undefined, { ref: false });
      }
    }
  }

  /** Undefined when others have had the lock all the time. */
  async #tryToTake(wantedMs: number): Promise<Held | undefined> {
    const { database, run } = this.#parts;
    if (!this.#isMade) await database.query(MAKE_LANE, [this.name]);
    this.#isMade = true;
    const session = await database.laneSession();
    this.#taking = session;
    try {
      const waitMs = Math.min(wantedMs, LONGEST_WAIT_MS);
      const take = takeStatement({ lane: this.name, waitMs, leaseMs: LEASE_MS }, database.literal);
      let row = this.#found(await session.query<LaneRow>(take, undefined, waitMs + ANSWER_MS));
      // By our clock as well: that of a replica that has taken over may be another one.
      const until = performance.now() + FLIGHT_MS;
      while (row.node !== run && !row.is_free && row.drawn_ms < FLIGHT_MS && performance.now() < until) {
        await delay(LOOK_AGAIN_MS);
        row = this.#found(await session.query<LaneRow>(lookStatement(this.name, database.literal)));
      }
      return this.#hold(session, row);
    } catch (error) {
      if ((error as { sqlState?: string }).sqlState === LOCK_TIMEOUT) {
        await session.query('ROLLBACK').catch(() => session.destroy());
        session.release();
        return undefined;
      }
      session.destroy();
      throw error;
    } finally {
      this.#taking = undefined;
    }
  }

  #found(rows: readonly LaneRow[]): LaneRow {
    const [row] = rows;
    if (row !== undefined) return row;
    this.#isMade = false;
    throw new Error(`the database has no row for lane ${this.name} any more: it is made anew`);
  }

  #hold(session: Session, row: LaneRow): Held {
    const { run } = this.#parts;
    // What we have left ourselves we know better than the row.
    const isOwn = row.node === run;
    if (!isOwn) this.#othersAt = performance.now() - Math.max(0, row.drawn_ms);
    const isAlone = performance.now() - this.#othersAt > ALONE_AFTER_MS;
    const held: Held = {
      session,
      clock: clockAt(row.now_ms),
      before: BigInt(row.tenure),
      since: performance.now(),
      heartbeat: undefined,
      provenAt: this.#moment(),
      isAlone,
      hasDrawn: false,
      lost: undefined,
    };
    for (const [key, floor] of Object.entries(row.key_floors ?? {}))
      this.#keyFloors.set(key, max(BigInt(floor), this.#keyFloors.get(key) ?? 0n));
    this.#floor = max(this.#floor, max(BigInt(row.floor), BigInt(row.global_floor ?? 0)));
    if (!isOwn) this.#takeUp(row.state, held.clock);
    held.heartbeat = setInterval(() => void this.#beat(held), HEARTBEAT_MS);
    session.onLost((error) => this.#lose(held, error));
    return held;
  }

  #takeUp(left: LaneState, clock: SharedClock): void {
    try {
      this.#parts.state()?.takeUp(this.name, left, clock);
    } catch (error) {
      this.#parts.onTrouble(this.name, error);
    }
  }

  async #beat(held: Held): Promise<void> {
    const asked = this.#moment();
    try {
      await held.session.query('SELECT', undefined, HEARTBEAT_PATIENCE_MS);
      held.provenAt = asked;
    } catch (error) {
      this.#lose(held, error as Error);
    }
  }

  async #advance(held: Held, fingerprint: string, claim: Claim): Promise<bigint> {
    const { database, run, wallNow } = this.#parts;
    const own = this.#keyFloors.get(fingerprint);
    const next = max(this.#floor + 1n, BigInt(wallNow()) * NS_PER_MS);
    const isAbove = own !== undefined && own >= next;
    const tenure = held.before + 1n;
    const values = [
      ...[this.name, held.hasDrawn ? tenure : held.before, tenure, run, isAbove ? own + 1n : next],
      ...[JSON.stringify(this.#stateOf(held)), claim.answer ?? null, claim.lostReply ?? null],
    ];
    const isClaimed = claim.answer !== undefined || claim.lostReply !== undefined;
    const [row] = isAbove
      ? await database.query<{ floor: string }>(DRAW_OF_KEY, [...values, fingerprint])
      : await (isClaimed
          ? database.query<{ floor: string }>(DRAW_CLAIMED, values)
          : database.query<{ floor: string }>(DRAW, values.slice(0, 6)));
    if (row === undefined) throw await this.#whyNone(held);
    held.hasDrawn = true;
    const nonce = BigInt(row.floor);
    if (isAbove) this.#keyFloors.set(fingerprint, nonce);
    else this.#floor = nonce;
    return nonce;
  }

  async #whyNone(held: Held): Promise<Error> {
    const [row] = await this.#parts.database.query<{ tenure: string }>(TENURE, [this.name]);
    if (row !== undefined && BigInt(row.tenure) === held.before + (held.hasDrawn ? 1n : 0n))
      return new TakenOver();
    return new LaneLost(`another node has taken lane ${this.name} over`);
  }

  #stateOf({ clock }: Held): LaneState {
    return this.#parts.state()?.leave(this.name, clock) ?? {};
  }

  #lose(held: Held, why: Error): void {
    if (held.lost !== undefined) return;
    held.lost = why;
    clearInterval(held.heartbeat);
    if (this.#held !== held) return; // not yet, or no more
    this.#parts.onLost(this.name, why);
    this.#changed();
  }

  /** Not in a turn: what is under way in it needs the lane, and may need more nonces. */
  #give(): void {
    const held = this.#held;
    if (held === undefined || this.#isInTurn) return;
    clearInterval(held.heartbeat);
    this.#stay();
    this.#begin(this.#giveBack(held));
  }

  /** Never rejects. */
  async #giveBack(held: Held): Promise<void> {
    const { session, before, hasDrawn, lost } = held;
    const { database, run } = this.#parts;
    const tenure = before + 1n;
    try {
      if (lost !== undefined) throw lost;
      if (hasDrawn) {
        const state = this.#stateOf(held);
        const end = { lane: this.name, tenure, run, state };
        await session.query(giveStatement(end, database.literal));
      } else await session.query('COMMIT');
      session.release();
    } catch {
      // With the connection goes the lock. That nothing is under way the next one may learn all the same.
      session.destroy();
      if (hasDrawn) void this.#free(held).catch(() => undefined);
    }
    this.#held = undefined;
  }

  async #free(held: Held): Promise<void> {
    const state = JSON.stringify(this.#stateOf(held));
    await this.#parts.database.query(FREE, [this.name, held.before + 1n, this.#parts.run, state]);
  }

  #works(): void {
    clearTimeout(this.#failure?.timer);
    this.#failure = undefined;
  }

  #fails(error: Error): void {
    if (this.#failure !== undefined) {
      this.#failure = { ...this.#failure, error };
      return;
    }
    const timer = setTimeout(() => this.#changed(), this.#parts.patienceMs + 1);
    timer.unref();
    this.#failure = { error, since: performance.now(), timer, isOfDraw: false };
    this.#changed();
  }

  /** The lock can be had, and no nonce: a full disk, say. Only another try shows that it has passed. */
  #failsToDraw(error: Error): void {
    clearTimeout(this.#failure?.timer);
    const timer = setTimeout(() => {
      this.#failure = undefined;
      this.#changed();
    }, DRAW_AGAIN_MS);
    timer.unref();
    this.#failure = { error, since: this.#failure?.since ?? performance.now(), timer, isOfDraw: true };
    this.#changed();
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }
}

/** PostgreSQL's lock_not_available. */
const LOCK_TIMEOUT = '55P03';

/**
 * The database read its clock before its answer came: by at most a round trip what is told by this clock is told as
 * earlier than it was.
 */
function clockAt(sharedMs: number): SharedClock {
  const offset = sharedMs - performance.now();
  return { toLocal: (ms) => ms - offset, toShared: (ms) => ms + offset };
}

function max(one: bigint, other: bigint): bigint {
  return one > other ? one : other;
}
