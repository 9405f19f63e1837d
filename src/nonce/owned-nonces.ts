import type { Claim } from '../answers/begun.js';
import { ProxyError } from '../errors.js';
import type { Nonces } from './nonces.js';

const NS_PER_MS = 1_000_000n;
const MOST_LIFTS = 10n;

/**
 * The nonces of this process from before it owns the state until after it has given it up. In between they are those of
 * its store; before and after, every draw is refused with `not-owner`.
 */
export class OwnedNonces {
  readonly #onIssued: (fingerprint: string, nonce: bigint) => void;
  readonly #liftMs: number;
  #nonces: Nonces | undefined;
  #why = 'the nonce state is not opened yet';

  /** `liftMs`: how far a key's floor is lifted at a time. */
  constructor(onIssued: (fingerprint: string, nonce: bigint) => void, liftMs = 0) {
    this.#onIssued = onIssued;
    this.#liftMs = liftMs;
  }

  /** From here on nonces are drawn from `nonces`, which is closed with this. */
  own(nonces: Nonces): void {
    this.#nonces = nonces;
  }

  /** Says why there are no nonces, while there are none. */
  explain(why: string): void {
    this.#why = why;
  }

  draw(fingerprint: string, claim?: Claim): bigint | Promise<bigint> {
    if (this.#nonces === undefined) throw new ProxyError('not-owner', this.#why, { retryAfterSeconds: 1 });
    const nonce = this.#nonces.draw(fingerprint, claim);
    if (typeof nonce === 'bigint') {
      this.#onIssued(fingerprint, nonce);
      return nonce;
    }
    return nonce.then((drawn) => {
      this.#onIssued(fingerprint, drawn);
      return drawn;
    });
  }

  /**
   * Lifts the floor of one key above a nonce that Kraken called invalid, but not further from the clock than a few lifts
   * lead: a floor cannot be lowered again. Resolves when it is durable. Rejects with ProxyError `not-owner`.
   */
  async lift(fingerprint: string, above: bigint): Promise<void> {
    if (this.#nonces === undefined) throw new ProxyError('not-owner', this.#why, { retryAfterSeconds: 1 });
    const lift = BigInt(this.#liftMs) * NS_PER_MS;
    const furthest = BigInt(Date.now()) * NS_PER_MS + MOST_LIFTS * lift;
    if (lift > 0n && above + lift <= furthest) await this.#nonces.lift(above + lift, fingerprint);
  }

  /** Lifts the floor of one key, or of all without one, to where a person wants it. As `Nonces.lift`. */
  async jump(to: bigint, fingerprint: string | undefined): Promise<void> {
    if (this.#nonces === undefined) throw new ProxyError('not-owner', this.#why, { retryAfterSeconds: 1 });
    await this.#nonces.lift(to, fingerprint);
  }

  /** Above which the next nonce of a key will be, or of any key that has no floor of its own; undefined while not owned. */
  floorOf(fingerprint?: string): bigint | undefined {
    return this.#nonces?.floorOf(fingerprint);
  }

  /** The floor of a key that has one of its own, above everybody's. */
  ownFloorOf(fingerprint: string): bigint | undefined {
    const floor = this.#nonces?.floorOf(fingerprint);
    return floor === this.#nonces?.floorOf() ? undefined : floor;
  }

  get issued(): number {
    return this.#nonces?.issued ?? 0;
  }

  /** Throws ProxyError `not-owner` when what was drawn must not be used any more. */
  assertOwned(fingerprint: string): void {
    if (this.#nonces === undefined) throw new ProxyError('not-owner', this.#why);
    this.#nonces.assertOwned(fingerprint);
  }

  /** Why no nonce can be drawn now; undefined when one can. */
  get problem(): string | undefined {
    return this.#nonces === undefined ? this.#why : this.#nonces.problem;
  }

  get leadSeconds(): number {
    return this.#nonces?.leadSeconds ?? 0;
  }

  /** Writes the exact floor and gives the state up. */
  async close(): Promise<void> {
    const nonces = this.#nonces;
    this.#nonces = undefined;
    this.#why = 'the proxy is stopping';
    await nonces?.close();
  }
}
