import { Refusal, resultReply, thrownReply, type Reply } from './answer.js';
import { DecayingCounter } from './decaying-counter.js';
import type { SystemStatus } from './private-endpoint.js';
import { publicEndpoints, type PublicEndpoint } from './public-endpoints.js';
import type { ReceivedCall } from './traffic.js';

/** How many public calls Kraken takes from one address: about 1 in a second (KRAKEN.md 2.3). */
export interface PublicLimit {
  readonly perSecond: number;
  /** So many at once, when none came for a while. */
  readonly burst: number;
}

/** What public calls run on. */
export interface PublicCallsOptions {
  readonly now: () => number;
  /** Undefined: as many as come. */
  readonly limit: PublicLimit | undefined;
  readonly systemStatus: () => SystemStatus;
}

/** The one path of a public call inside the stand-in. */
export class PublicCalls {
  readonly #options: PublicCallsOptions;
  readonly #endpoints: ReadonlyMap<string, PublicEndpoint> = publicEndpoints();
  /** One for the sandbox, to which every caller has the same address. */
  readonly #counter: DecayingCounter | undefined;

  constructor(options: PublicCallsOptions) {
    this.#options = options;
    const { limit } = options;
    this.#counter = limit === undefined ? undefined : new DecayingCounter(limit.burst, limit.perSecond);
  }

  /**
   * Runs the endpoint and notes it in `received`; with `instead`, refuses with that E-string. GET only
   * (KRAKEN.md 1.1); that anything else is an unknown method is the sandbox's choice.
   */
  answer(received: ReceivedCall, query: string, instead?: string): Reply {
    let reply: Reply;
    try {
      reply = resultReply(this.#result(received, query, instead));
    } catch (error) {
      reply = thrownReply(error);
    }
    received.error = reply.error;
    return reply;
  }

  #result(received: ReceivedCall, query: string, instead: string | undefined): unknown {
    const endpoint = this.#endpoints.get(received.endpoint ?? '');
    const now = this.#options.now();
    if (instead !== undefined) throw new Refusal(instead);
    if (this.#counter !== undefined) {
      if (!this.#counter.fits(1, now)) throw new Refusal('EAPI:Rate limit exceeded');
      this.#counter.add(1, now);
    }
    if (received.method !== 'GET' || endpoint === undefined) throw new Refusal('EGeneral:Unknown method');
    received.executed = true;
    return endpoint({
      query: new URLSearchParams(query),
      now,
      systemStatus: this.#options.systemStatus(),
    });
  }
}
