import type { Claim } from '../answers/begun.js';
import type { SharedState, Tenures } from '../lane/tenure.js';
import { GLOBAL, HIGHEST, LIFT_ALL, MAKE_LANE } from './lane-row.js';
import type { Nonces } from './nonces.js';
import { SharedLane, type SharedLaneParts } from './shared-lane.js';

export interface SharedLanesOptions extends Pick<
  SharedLaneParts,
  'database' | 'run' | 'onDraw' | 'onLost' | 'onTrouble'
> {
  /** One lane for all keys, or one for each. */
  readonly mode: 'global' | 'key';
  /** Nothing was heard of the database for so long, ms, and why; undefined while it is heard of. */
  readonly silence: () => Silence | undefined;
  /** Whole ms since 1970. Default: the system's. */
  readonly wallNow?: () => number;
  /** Calls wait so long for a database that is gone, ms. Default 5000. */
  readonly patienceMs?: number;
}

export interface Silence {
  readonly ms: number;
  readonly why: string;
}

/** As long as for a disk that hangs. */
const PATIENCE_MS = 5_000;
const NS_PER_MS = 1_000_000n;
/** Kraken types nonces int64 (KRAKEN.md 1.4), as PostgreSQL does. */
const MAX_NONCE = 2n ** 63n - 1n;
/** Nonces that a lift has to leave. */
const MIN_SPACE = 1_000_000n;

/** The lanes that several nodes share through PostgreSQL, and the nonces that are handed out in them. */
export class SharedLanes implements Nonces, Tenures {
  readonly #options: SharedLanesOptions;
  readonly #wallNow: () => number;
  readonly #patienceMs: number;
  readonly #lanes = new Map<string, SharedLane>();
  #state: SharedState | undefined;
  #lifted = 0n;

  constructor(options: SharedLanesOptions) {
    this.#options = options;
    this.#wallNow = options.wallNow ?? Date.now;
    this.#patienceMs = options.patienceMs ?? PATIENCE_MS;
  }

  of(name: string): SharedLane {
    let lane = this.#lanes.get(name);
    if (lane === undefined) {
      const { database, run, onDraw, onLost, onTrouble } = this.#options;
      lane = new SharedLane(name, {
        ...{ database, run, onDraw, onLost, onTrouble },
        state: () => this.#state,
        wallNow: this.#wallNow,
        patienceMs: this.#patienceMs,
      });
      this.#lanes.set(name, lane);
    }
    return lane;
  }

  share(state: SharedState): void {
    this.#state = state;
  }

  /** Reads where the floors stand, so that they can be told before the first call. */
  async load(): Promise<void> {
    const [row] = await this.#options.database.query<{ floor: string | null }>(HIGHEST);
    this.#lifted = BigInt(row?.floor ?? 0);
  }

  async draw(fingerprint: string, claim?: Claim): Promise<bigint> {
    return await this.#laneOf(fingerprint).draw(fingerprint, claim);
  }

  async lift(to: bigint, fingerprint?: string): Promise<void> {
    if (to + MIN_SPACE >= MAX_NONCE) throw new RangeError(`a floor of ${to} leaves no nonces below 2^63`);
    if (fingerprint !== undefined) {
      await this.#laneOf(fingerprint).lift(to, fingerprint);
      return;
    }
    const { database } = this.#options;
    await database.query(MAKE_LANE, [GLOBAL]);
    await database.query(LIFT_ALL, [to]);
    if (to > this.#lifted) this.#lifted = to;
  }

  assertOwned(fingerprint: string): void {
    this.#laneOf(fingerprint).assertOwned();
  }

  /** As far as this node knows: others draw from the same floors. */
  floorOf(fingerprint?: string): bigint {
    let floor = this.#lifted;
    for (const lane of this.#lanes.values()) if (lane.floor > floor) floor = lane.floor;
    if (fingerprint === undefined) return floor;
    const own = this.#laneOf(fingerprint).ownFloorOf(fingerprint) ?? 0n;
    return own > floor ? own : floor;
  }

  get issued(): number {
    return [...this.#lanes.values()].reduce((sum, { issued }) => sum + issued, 0);
  }

  get leadSeconds(): number {
    return Math.max(0, Number(this.floorOf() - BigInt(this.#wallNow()) * NS_PER_MS) / 1e9);
  }

  get problem(): string | undefined {
    for (const { failure } of this.#lanes.values()) if (failure !== undefined) return failure.error.message;
    return this.#options.silence()?.why;
  }

  /** To be called now and then: those who wait for a database that is silent have to be told. */
  check(): void {
    const silence = this.#options.silence();
    const why = silence !== undefined && silence.ms >= this.#patienceMs ? silence.why : undefined;
    for (const lane of this.#lanes.values()) lane.unheard(why);
  }

  /** Gives all lanes back. */
  async close(): Promise<void> {
    await Promise.all([...this.#lanes.values()].map((lane) => lane.close()));
  }

  #laneOf(fingerprint: string): SharedLane {
    return this.of(this.#options.mode === 'global' ? GLOBAL : fingerprint);
  }
}
