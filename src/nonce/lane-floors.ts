import type { LaneRow } from './lane-row.js';

/** A nonce to ask the database for: at least this, from the key's own floor or the lane's. */
export interface Step {
  readonly least: bigint;
  readonly isOfKey: boolean;
}

const NS_PER_MS = 1_000_000n;

/** The highest nonces of a lane that a node knows of: the database may lose the last ones, as a replica that takes over does. */
export class LaneFloors {
  #floor = 0n;
  /** Of keys that have one of their own. */
  readonly #ofKeys = new Map<string, bigint>();

  get floor(): bigint {
    return this.#floor;
  }

  /** Undefined when the key has none of its own. */
  ofKey(fingerprint: string): bigint | undefined {
    return this.#ofKeys.get(fingerprint);
  }

  /** As the database has them. */
  seen({ floor, global_floor, key_floors }: LaneRow): void {
    this.#floor = max(this.#floor, max(BigInt(floor), BigInt(global_floor ?? 0)));
    for (const [fingerprint, own] of Object.entries(key_floors ?? {})) this.lifted(BigInt(own), fingerprint);
  }

  lifted(to: bigint, fingerprint: string): void {
    this.#ofKeys.set(fingerprint, max(to, this.#ofKeys.get(fingerprint) ?? 0n));
  }

  /** What a nonce of the key has to be, by our clock, unix ms. */
  next(fingerprint: string, wallNow: number): Step {
    const own = this.#ofKeys.get(fingerprint);
    const least = max(this.#floor + 1n, BigInt(wallNow) * NS_PER_MS);
    return own !== undefined && own >= least ? { least: own + 1n, isOfKey: true } : { least, isOfKey: false };
  }

  /** The nonce that the database gave for a step. */
  drawn(nonce: bigint, { isOfKey }: Step, fingerprint: string): void {
    if (isOfKey) this.#ofKeys.set(fingerprint, nonce);
    else this.#floor = nonce;
  }
}

function max(one: bigint, other: bigint): bigint {
  return one > other ? one : other;
}
