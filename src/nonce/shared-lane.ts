import { setTimeout as delay } from 'node:timers/promises';
import type { Claim } from '../answers/begun.js';
import type { ProxyError } from '../errors.js';
import type { SharedState, Tenure } from '../lane/tenure.js';
import type { Database, Session } from '../postgres/database.js';
import { FLIGHT_MS, HeldLane } from './held-lane.js';
import { LaneFloors } from './lane-floors.js';
import { LaneOutage, type Failure } from './lane-outage.js';
import { LIFT_KEY, lookStatement, MAKE_LANE, takeStatement, type LaneRow } from './lane-row.js';
import { LaneLost, TakenOver } from './nonces.js';

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

/** The database takes the lock from a holder that it has not heard of for so long, ms. */
const LEASE_MS = 5_000;
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
/** PostgreSQL's lock_not_available. */
const LOCK_TIMEOUT = '55P03';

/**
 * One lane among the nodes that share it. An advisory lock, held by an open transaction, says whose turn it is; a row of
 * the table holds the floor. Every nonce is one statement of its own, which advances the floor and is committed before
 * the nonce is used, and which succeeds only for the tenure that the node believes it has: a node that has lost the lock
 * unseen, frozen or cut off, gets no nonce once another one has had one.
 *
 * The lock is lost with its connection (killed, cut off) or when the database has not heard of the node for 5 s (frozen).
 * Here is when it is taken and given back; what is done with it is in `HeldLane`.
 */
export class SharedLane implements Tenure {
  readonly name: string;
  readonly #parts: SharedLaneParts;
  readonly #floors = new LaneFloors();
  readonly #outage: LaneOutage;
  readonly #listeners: (() => void)[] = [];
  #held: HeldLane | undefined;
  /** No other node has had it for a while: nobody else seems to want it. */
  #isAlone = false;
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
  #unheard: LaneLost | undefined;
  #issued = 0;

  constructor(name: string, parts: SharedLaneParts) {
    this.name = name;
    this.#parts = parts;
    this.#outage = new LaneOutage(parts.patienceMs, () => this.#changed());
  }

  get isOurs(): boolean {
    return this.#held !== undefined && this.#held.lost === undefined && this.#step === undefined;
  }

  get problem(): ProxyError | undefined {
    return this.#unheard ?? this.#outage.problem;
  }

  /** Why the database cannot be asked now, and since when; undefined while it can. */
  get failure(): Failure | undefined {
    return this.#outage.failure;
  }

  get floor(): bigint {
    return this.#floors.floor;
  }

  get issued(): number {
    return this.#issued;
  }

  /** The floor of a key as of the latest tenure; undefined when it has none of its own. */
  ownFloorOf(fingerprint: string): bigint | undefined {
    return this.#floors.ofKey(fingerprint);
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
    const budgetMs = this.#isAlone ? ALONE_MS : AMONG_OTHERS_MS;
    if (held.lost !== undefined || performance.now() - held.since >= budgetMs) this.#give();
  }

  rest(): void {
    this.#wantedUntil = -Infinity;
    if (this.#isInTurn) return;
    if (this.#held === undefined || this.#step !== undefined || this.#linger !== undefined) return;
    if (!this.#isAlone) {
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
    const held = this.#ours();
    const started = performance.now();
    try {
      const nonce = await held.draw(fingerprint, claim);
      this.#parts.onDraw((performance.now() - started) / 1_000, undefined);
      this.#issued++;
      this.#outage.end();
      return nonce;
    } catch (error) {
      if (error instanceof TakenOver) throw error;
      this.#parts.onDraw((performance.now() - started) / 1_000, error);
      // Nobody knows whether it was advanced; the next tenure will.
      held.lose(error as Error);
      if (error instanceof LaneLost) throw error;
      this.#outage.drawFailed(error as Error);
      throw new LaneLost((error as Error).message, error);
    }
  }

  /** Throws LaneLost when the nonce that was drawn last must not be used any more. */
  assertOwned(): void {
    this.#ours().assertOwned();
  }

  /** Lifts the own floor of a key. Durable when it resolves. */
  async lift(to: bigint, fingerprint: string): Promise<void> {
    await this.#parts.database.query(LIFT_KEY, [fingerprint, to]);
    this.#floors.lifted(to, fingerprint);
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
    this.#outage.end();
    // What outlasts the time that a stop gives it goes on without the lane.
    if (this.#isInTurn) this.#held?.drop();
    else if (this.#held !== undefined && this.#step === undefined) this.#give();
    await this.#step;
    // One that came all the same.
    if (this.#held !== undefined && !this.#isInTurn) await this.#giveBack(this.#held);
  }

  #ours(): HeldLane {
    if (this.#held === undefined) throw new LaneLost(`lane ${this.name} is not ours`);
    this.#held.assertHeld();
    return this.#held;
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
    if (this.failure !== undefined) await delay(RETRY_MS, undefined, { ref: false });
    while (!this.#isClosed && (this.#isWanted || this.failure !== undefined)) {
      try {
        const held = await this.#tryToTake(Math.max(1, this.#wantedUntil - performance.now()));
        this.#outage.lockAnswered();
        if (held === undefined) continue;
        this.#held = held;
        return;
      } catch (error) {
        this.#outage.lockFailed(error as Error);
        await delay(RETRY_MS, undefined, { ref: false });
      }
    }
  }

  /** Undefined when others have had the lock all the time. */
  async #tryToTake(wantedMs: number): Promise<HeldLane | undefined> {
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

  #hold(session: Session, row: LaneRow): HeldLane {
    const { database, run, wallNow, state, onLost, onTrouble } = this.#parts;
    this.#floors.seen(row);
    const held = new HeldLane({
      ...{ name: this.name, run, database, session, row, floors: this.#floors, wallNow },
      leave: (clock) => state()?.leave(this.name, clock) ?? {},
      onLost: (lost, why) => {
        if (this.#held !== lost) return; // not yet, or no more
        onLost(this.name, why);
        this.#changed();
      },
    });
    // What we have left ourselves we know better than the row.
    if (row.node !== run) {
      this.#othersAt = performance.now() - Math.max(0, row.drawn_ms);
      try {
        state()?.takeUp(this.name, row.state, held.clock);
      } catch (error) {
        onTrouble(this.name, error);
      }
    }
    this.#isAlone = performance.now() - this.#othersAt > ALONE_AFTER_MS;
    return held;
  }

  /** Not in a turn: what is under way in it needs the lane, and may need more nonces. */
  #give(): void {
    if (this.#held === undefined || this.#isInTurn) return;
    this.#stay();
    this.#begin(this.#giveBack(this.#held));
  }

  /** Never rejects. */
  async #giveBack(held: HeldLane): Promise<void> {
    await held.end();
    this.#held = undefined;
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }
}
