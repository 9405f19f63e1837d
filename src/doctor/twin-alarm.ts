import type { ClockSpan } from './examination.js';
import type { KeyInfo } from './key-info.js';

export interface TwinAlarmOptions {
  /** A monotonic clock, ms; the same as the doctor's. Default: the process's own. */
  readonly now?: () => number;
  /** From the drawing of a nonce until its call has reached Kraken for certain, or never will; ms. Default 120,000. */
  readonly flightMs?: number;
  /** How many of our latest nonces are kept for each key. Default 1024. */
  readonly keep?: number;
  /** Other nodes draw nonces for the same keys from the same floor, and are not heard of here. Default false. */
  readonly isShared?: boolean;
}

/** A good answer to an examination. */
export interface Examined {
  /** Our nonces for it, in order; the last one is the one that Kraken took. */
  readonly nonces: readonly bigint[];
  readonly info: Pick<KeyInfo, 'nonce' | 'nonceWindow' | 'lastUsed'>;
  /** Unix ms. */
  readonly at: number;
  /** What to add to the monotonic clock to get Kraken's, ms; undefined when that is not known now. */
  readonly offset: ClockSpan | undefined;
}

/** Why another program must be using a key. It did so between `from` and `to`, unix ms by our wall clock. */
export interface TwinEvidence {
  readonly kind: 'nonce' | 'last-used' | 'refused';
  readonly from: number;
  readonly to: number;
  /** `nonce`: the other's. `refused`: ours, the other's is not below it. `last-used`: undefined. */
  readonly nonce: bigint | undefined;
  /** `last-used`: when Kraken saw the key used, unix ms by Kraken's clock, to the second. */
  readonly usedAt: number | undefined;
}

/** What an answered examination proves for those after it. */
interface Reference {
  readonly at: number;
  readonly steadyAt: number;
  /** Kraken's highest nonce when it had taken ours; undefined when that cannot be told. */
  readonly highest: bigint | undefined;
  readonly offset: ClockSpan | undefined;
  isRefusalTold: boolean;
}

interface OwnUses {
  readonly nonces: BigUint64Array;
  /** When each was drawn, by the monotonic clock. */
  readonly times: Float64Array;
  count: number;
  newest: bigint;
  reference: Reference | undefined;
}

const FLIGHT_MS = 120_000;
const KEEP = 1_024;
/** Whether Kraken cuts seconds off or rounds them is not known. */
const SECOND_MS = 1_000;

/**
 * Tells that another program uses a key of ours, from what its examinations (GetApiKeyInfo) say. What the reply's
 * `nonce` and `last_used` mean exactly is not confirmed (KRAKEN.md 9): they may stand for the moment before the
 * examining call or include it. Each rule holds for both meanings, and where the meaning takes its evidence away it is
 * silent. Everything starts with an examination that Kraken answered, the reference; the first one after a start only
 * becomes it, so nothing that happened before, to us or to others, is ever held against anybody.
 *
 * - **nonce**: the highest nonce of a key only rises. If it is now above what it was at the reference (with our nonce
 *   of then, which was taken) and is none that we have drawn for the key since the start, somebody else has raised it
 *   in between. Drawn is enough to be ours: the call may have been sent or not, lost, refused, or have come late. No
 *   nonce of a former run, nor of another owner of the state, can lie so high, for every draw is above all theirs. A
 *   nonce window lets lower nonces pass, but they do not raise the highest. Of more draws than are kept the older ones
 *   are not known any more: what lies below those kept proves nothing. A nonce that went through a double on its way
 *   here is ours if one of ours goes to the same double. While `nonce` includes the examination, its own nonce is all
 *   it ever shows, and this rule says nothing.
 * - **refused**: Kraken calls our newest nonce for the key invalid though it is above the highest at the reference. So
 *   the highest is now at least that, and we have drawn none so high: somebody else has.
 * - **last-used**: Kraken saw the key used after the reference and before this examination, at a time that no call of
 *   ours explains, the examination itself among them: none was drawn in the `flightMs` before. Kraken tells a second,
 *   cut off or rounded; and how its clock stood to our monotonic one is known to a span at both examinations. What a
 *   sleep of the machine adds to it widens the span, and a wall clock that is set does not touch it. The
 *   reference is a call of ours too, so those of a former run have all arrived before anything counts.
 *
 * Where nodes share the keys, the other nodes' calls look like a stranger's. Then the last use proves nothing; and a nonce
 * only if it is above that of the examination itself, which is above all that any node had drawn. A refusal proves what
 * it does elsewhere, as the floor that our nonce was drawn from is everybody's.
 */
export class TwinAlarm {
  readonly #now: () => number;
  readonly #flightMs: number;
  readonly #keep: number;
  readonly #isShared: boolean;
  readonly #keys = new Map<string, OwnUses>();

  constructor({
    now = () => performance.now(),
    flightMs = FLIGHT_MS,
    keep = KEEP,
    isShared = false,
  }: TwinAlarmOptions = {}) {
    this.#isShared = isShared;
    this.#now = now;
    this.#flightMs = flightMs;
    this.#keep = keep;
  }

  /** A nonce of ours was drawn for the key. For every call: before it leaves, and in the order of drawing. */
  drawn(fingerprint: string, nonce: bigint): void {
    const uses = this.#keys.get(fingerprint) ?? this.#begin(fingerprint);
    const place = uses.count % this.#keep;
    uses.nonces[place] = nonce;
    uses.times[place] = this.#now();
    uses.newest = nonce;
    uses.count++;
  }

  /**
   * The key is in use no more: others may use it now. If it comes back, its first examination is a reference anew, as
   * after a start.
   */
  forget(fingerprint: string): void {
    this.#keys.delete(fingerprint);
  }

  /** Kraken has answered an examination well. What it proves is told once; the next one starts from here. */
  examined(fingerprint: string, { nonces, info, at, offset }: Examined): TwinEvidence | undefined {
    const accepted = nonces.at(-1);
    const uses = this.#keys.get(fingerprint);
    // Without our draws everything would look like somebody else's.
    if (accepted === undefined || uses?.nonces.includes(accepted) !== true) return undefined;
    const { reference } = uses;
    uses.reference = {
      at,
      steadyAt: this.#now(),
      highest: highestAfter(accepted, info),
      offset,
      isRefusalTold: false,
    };
    if (reference === undefined) return undefined;
    const found = { from: reference.at, to: at };
    const { nonce, lastUsed } = info;
    if (this.#isShared && (nonce === undefined || nonce <= accepted)) return undefined;
    if (nonce !== undefined && this.#isOfAnother(uses, reference, nonce))
      return { ...found, kind: 'nonce', nonce, usedAt: undefined };
    if (
      !this.#isShared &&
      typeof lastUsed === 'number' &&
      this.#isUnexplained(uses, reference, lastUsed, offset)
    )
      return { ...found, kind: 'last-used', nonce: undefined, usedAt: lastUsed };
    return undefined;
  }

  /**
   * Kraken has called this nonce and others of the same call invalid, each of them fresh; `at` is unix ms. Told at
   * once, before the next nonce is drawn for the key: else it proves nothing.
   */
  refused(fingerprint: string, nonce: bigint, at: number): TwinEvidence | undefined {
    const uses = this.#keys.get(fingerprint);
    const reference = uses?.reference;
    if (uses?.newest !== nonce || reference?.highest === undefined) return undefined;
    if (nonce <= reference.highest || reference.isRefusalTold) return undefined;
    // Once: while it lasts every call of ours says so. How high it is now only the next good examination tells.
    reference.isRefusalTold = true;
    return { kind: 'refused', from: reference.at, to: at, nonce, usedAt: undefined };
  }

  #begin(fingerprint: string): OwnUses {
    const uses: OwnUses = {
      nonces: new BigUint64Array(this.#keep),
      times: new Float64Array(this.#keep),
      count: 0,
      newest: 0n,
      reference: undefined,
    };
    this.#keys.set(fingerprint, uses);
    return uses;
  }

  #isOfAnother(uses: OwnUses, { highest }: Reference, nonce: bigint): boolean {
    if (highest === undefined || nonce <= highest || uses.nonces.includes(nonce)) return false;
    const oldest = uses.count > this.#keep ? (uses.nonces[uses.count % this.#keep] ?? 0n) : 0n;
    if (nonce < oldest) return false;
    const rounded = Number(nonce);
    const isOfDouble = BigInt(rounded) === nonce || String(rounded) === nonce.toString();
    return !(isOfDouble && uses.nonces.some((own) => Number(own) === rounded));
  }

  #isUnexplained(
    uses: OwnUses,
    reference: Reference,
    lastUsed: number,
    offset: ClockSpan | undefined,
  ): boolean {
    if (offset === undefined || reference.offset === undefined) return false;
    const from = lastUsed - SECOND_MS - Math.max(offset.high, reference.offset.high);
    const to = lastUsed + SECOND_MS - Math.min(offset.low, reference.offset.low);
    if (from <= reference.steadyAt) return false;
    const known = Math.min(uses.count, this.#keep);
    // Of those before the oldest that is kept, none can be under way any more if that one cannot.
    if (uses.count > this.#keep && from <= (uses.times[uses.count % this.#keep] ?? 0) + this.#flightMs)
      return false;
    return !uses.times.subarray(0, known).some((time) => time < to && time + this.#flightMs > from);
  }
}

/** Either meaning of the reply: whichever is higher, what it says or the nonce that was taken. */
function highestAfter(accepted: bigint, info: Examined['info']): bigint | undefined {
  if (info.nonce !== undefined) return info.nonce > accepted ? info.nonce : accepted;
  // Without a window whatever is taken is the highest.
  return info.nonceWindow === 0n ? accepted : undefined;
}
