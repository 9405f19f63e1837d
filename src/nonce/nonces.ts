import type { Claim } from '../answers/begun.js';
import { ProxyError } from '../errors.js';

/**
 * The nonces of every account: above all that were handed out before, by whatever process, and durable before they are
 * handed out. Whatever is refused is refused with ProxyError `not-owner`, and no nonce was spent.
 */
export interface Nonces {
  /**
   * The next nonce for a key. With a claim only as long as no other node has taken the call over; else it rejects with
   * TakenOver.
   */
  draw(fingerprint: string, claim?: Claim): bigint | Promise<bigint>;
  /**
   * Lifts one key's own floor, or without a key everybody's. Durable when it resolves. Never lowers. Rejects with RangeError,
   * and changes nothing, when no nonces would be left above.
   */
  lift(to: bigint, fingerprint?: string): Promise<void>;
  /** Throws when what was drawn last for the key must not be used any more. Called right before it leaves. */
  assertOwned(fingerprint: string): void;
  /** Above which the next nonce of a key will be, or of any key that has no floor of its own. */
  floorOf(fingerprint?: string): bigint;
  /** Nonces handed out since the start. */
  readonly issued: number;
  /** How far the floor is ahead of the clock, in seconds; 0 while the clock leads. */
  readonly leadSeconds: number;
  /** Why no nonce can be drawn now; undefined when one can. */
  readonly problem: string | undefined;
  /** Gives the state up. */
  close(): Promise<void>;
}

/** Another node has taken the call over while it waited: there it is done, or found out about. */
export class TakenOver extends Error {
  constructor() {
    super('another node has taken this call over');
    this.name = 'TakenOver';
  }
}

/** A lane that is not ours any more: what was to be sent was not sent, and may be once the lane is ours again. */
export class LaneLost extends ProxyError {
  constructor(why: string, cause?: unknown) {
    super('not-owner', why, { retryAfterSeconds: 1, ...(cause === undefined ? {} : { cause }) });
  }
}
