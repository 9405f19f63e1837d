import { randomBytes } from 'node:crypto';

const NS_PER_MS = 1_000_000n;
const UNITS = { ms: 1n, s: 1_000n, m: 60_000n, h: 3_600_000n, d: 86_400_000n } as const;
/** A jump costs every other program of the key that much time; a week is more than any clock error. */
const MAX_JUMP_MS = 7n * UNITS.d;
/** Kraken types nonces int64 (KRAKEN.md 1.4), and space is reserved above a floor. */
const MAX_FLOOR = 2n ** 63n - 1n - 1_000_000_000n;
/** A plan is good for so long, ms. */
const PLAN_MS = 300_000;
/** Above what Kraken has seen, so that a clock a little behind does not meet it at once. */
const MARGIN = 1_000_000_000n;

/** What such a jump does to a key, for the person who is about to make it. */
export const MEANING_OF_A_JUMP =
  'From the next call on Kraken refuses every nonce below the new floor, for ever. This proxy goes on above it. ' +
  'Another program that uses the key directly with a nanosecond clock gets "EAPI:Invalid nonce" until the clock has ' +
  'passed the new floor; one that counts in milliseconds or microseconds can never use the key again. This cannot be ' +
  'undone.';

/** The jump that was asked for cannot be made; the message says why. */
export class JumpError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'JumpError';
  }
}

/** A jump as it would be made. */
export interface JumpPlan {
  readonly id: string;
  /** Undefined: all keys. */
  readonly account: string | undefined;
  /** Why it would be made, as far as can be told. */
  readonly cause: string;
  readonly from: bigint;
  readonly to: bigint;
  /** Unix ms. */
  readonly expiresAt: number;
}

export interface JumpRequest {
  readonly account: string | undefined;
  /** Fingerprint of the account's key. */
  readonly key: string | undefined;
  /** Such as `1h`; undefined: as far as Kraken's own nonce for the key makes necessary. */
  readonly distance: string | undefined;
  /** The highest nonce that Kraken is known to have seen on the key. */
  readonly seen: bigint | undefined;
}

export interface NonceJumpsOptions {
  /** As `OwnedNonces`. */
  readonly nonces: {
    floorOf(key?: string): bigint | undefined;
    jump(to: bigint, key: string | undefined): Promise<void>;
  };
  /** Unix ms. Default: the system's. */
  readonly now?: () => number;
}

/**
 * Lifts of the floor that a person asks for, in two steps: a plan that says what it means, and the jump by the id of the
 * plan. A floor never comes down again.
 */
export class NonceJumps {
  readonly #nonces: NonceJumpsOptions['nonces'];
  readonly #now: () => number;
  #planned: (JumpPlan & { readonly key: string | undefined }) | undefined;

  constructor({ nonces, now = Date.now }: NonceJumpsOptions) {
    this.#nonces = nonces;
    this.#now = now;
  }

  /** Changes nothing. The latest plan is the one that can be applied. Throws JumpError. */
  plan({ account, key, distance, seen }: JumpRequest): JumpPlan {
    const floor = this.#nonces.floorOf(key);
    if (floor === undefined) throw new JumpError('the nonce state is not ours (yet)');
    const clock = BigInt(this.#now()) * NS_PER_MS;
    const from = floor > clock ? floor : clock;
    const { to, cause } = distance === undefined ? toSeen(from, seen) : byDistance(from, distance, seen);
    if (to - from > MAX_JUMP_MS * NS_PER_MS)
      throw new JumpError(
        `a jump of ${describeNs(to - from)} is refused, at most 7 d: the key has seen nonces of a larger unit, make a new key`,
      );
    if (to >= MAX_FLOOR) throw new JumpError('the jump would pass the last nonce Kraken takes (2^63 - 1)');
    const id = randomBytes(6).toString('hex');
    const plan = { id, account, cause, from, to, expiresAt: this.#now() + PLAN_MS };
    this.#planned = { ...plan, key };
    return plan;
  }

  /**
   * Makes the planned jump, once; gives the plan. `keyOf` tells the fingerprint of an account's key now. Throws JumpError;
   * rejects when the floor cannot be written, but it may come into force once it can.
   */
  async apply(id: string, keyOf: (account: string) => string | undefined): Promise<JumpPlan> {
    const plan = this.#planned;
    if (plan?.id !== id) throw new JumpError('there is no such plan (any more): plan the jump again');
    if (this.#now() >= plan.expiresAt) throw new JumpError('the plan is too old: plan the jump again');
    if (plan.account !== undefined && keyOf(plan.account) !== plan.key)
      throw new JumpError(`${plan.account} has another key since: plan the jump again`);
    const floor = this.#nonces.floorOf(plan.key);
    if (floor === undefined) throw new JumpError('the nonce state is not ours (any more)');
    if (floor >= plan.to) throw new JumpError('the floor has passed the planned one already: nothing to do');
    this.#planned = undefined;
    await this.#nonces.jump(plan.to, plan.key);
    return plan;
  }
}

/** Such as 500ms, 30s, 10m, 1h or 2d, at most 7d, as ms; undefined for anything else. */
export function parseDistance(text: string | undefined): bigint | undefined {
  const [, count, unit] = /^([1-9]\d{0,11})(ms|s|m|h|d)$/.exec(text ?? '') ?? [];
  const ms = count === undefined ? undefined : BigInt(count) * UNITS[unit as keyof typeof UNITS];
  return ms === undefined || ms > MAX_JUMP_MS ? undefined : ms;
}

interface Reach {
  readonly to: bigint;
  readonly cause: string;
}

function toSeen(from: bigint, seen: bigint | undefined): Reach {
  if (seen === undefined || seen < from) {
    throw new JumpError(
      'as far as is known Kraken has seen no nonce above ours on this key: say a distance if you know better',
    );
  }
  return { to: seen + MARGIN, cause: causeOf(from, seen) };
}

function byDistance(from: bigint, distance: string, seen: bigint | undefined): Reach {
  const ms = parseDistance(distance);
  if (ms === undefined)
    throw new JumpError('distance is a duration such as 500ms, 30s, 10m, 1h or 2d, at most 7d');
  const to = from + ms * NS_PER_MS;
  if (seen === undefined) return { to, cause: 'an operator asks for it; what Kraken has seen is not known' };
  if (seen < from) return { to, cause: 'an operator asks for it; Kraken has seen no nonce above ours' };
  if (seen >= to)
    throw new JumpError(
      `that is not enough: Kraken has seen a nonce ${describeNs(seen - from)} above ours on this key`,
    );
  return { to, cause: causeOf(from, seen) };
}

function causeOf(from: bigint, seen: bigint): string {
  return `Kraken has seen a nonce ${describeNs(seen - from)} above ours on this key`;
}

function describeNs(ns: bigint): string {
  const seconds = Number(ns / NS_PER_MS) / 1_000;
  if (seconds < 120) return `${seconds.toFixed(3)} s`;
  if (seconds < 2 * 86_400) return `${(seconds / 3_600).toFixed(2)} h`;
  return `${(seconds / 86_400).toFixed(1)} d`;
}
