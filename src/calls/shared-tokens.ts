import type { UpstreamReply } from '../kraken/transport.js';
import type { Job } from './job.js';

/**
 * WebSocket tokens that are handed to further clients of the same account for a while, instead of each asking Kraken for
 * one: a bot that comes back costs the counter nothing. Only whoever may ask for a token gets one.
 */
export class SharedTokens {
  readonly #shareMs: () => number;
  readonly #now: () => number;
  readonly #tokens = new Map<string, { readonly reply: UpstreamReply; readonly at: number }>();

  /** `shareMs` 0 shares none. `now` is a monotonic clock, ms. */
  constructor(shareMs: () => number, now: () => number = () => performance.now()) {
    this.#shareMs = shareMs;
    this.#now = now;
  }

  /** The token there is for such a call; undefined when Kraken has to be asked. */
  find(job: Job): UpstreamReply | undefined {
    if (!this.#isShared(job)) return undefined;
    const token = this.#tokens.get(job.account.fingerprint);
    if (token === undefined || this.#now() - token.at >= this.#shareMs()) return undefined;
    job.record.outcome = 'executed';
    job.record.isMerged = true;
    return token.reply;
  }

  /** Keeps the answer for others. `askedAt`: a token's life may begin as soon as it was asked for. */
  keep(job: Job, reply: UpstreamReply, askedAt: number): void {
    if (!this.#isShared(job) || job.record.outcome !== 'executed') return;
    this.#tokens.set(job.account.fingerprint, { reply, at: askedAt });
  }

  #isShared({ endpoint, call }: Job): boolean {
    const isAsked = endpoint.name === 'GetWebSocketsToken' && call.idempotencyKey === undefined;
    return this.#shareMs() > 0 && isAsked && call.noMerge !== true;
  }
}
