import { refusalReply, resultReply, thrownReply, type Reply } from './answer.js';
import type { Exchange } from './exchange.js';
import { isPermitted, type PrivateEndpoint, type SystemStatus } from './private-endpoint.js';
import { privateEndpoints } from './private-endpoints.js';
import type { CheckedCall, RequestChecks } from './request-checks.js';
import type { ReceivedCall } from './traffic.js';

/** What private calls run on. */
export interface PrivateCallsOptions {
  readonly checks: RequestChecks;
  readonly exchange: Exchange;
  readonly now: () => number;
  readonly callCounter: () => boolean;
  readonly systemStatus: () => SystemStatus;
}

/** The one path of a private call inside the stand-in. */
export class PrivateCalls {
  readonly #options: PrivateCallsOptions;
  readonly #endpoints: ReadonlyMap<string, PrivateEndpoint> = privateEndpoints();

  constructor(options: PrivateCallsOptions) {
    this.#options = options;
  }

  /**
   * Checks the call, runs its endpoint and notes both in `received`. With `instead`, the call is checked
   * and then refused with that E-string, not run. Whether Kraken looks for the endpoint before the key
   * is not confirmed; it does so here, so an unknown name spends no nonce.
   */
  answer(call: CheckedCall, received: ReceivedCall, instead?: string): Reply {
    const endpoint = this.#endpoints.get(received.endpoint ?? '');
    const reply =
      received.method === 'POST' && endpoint !== undefined
        ? this.#checked(endpoint, call, received, instead)
        : refusalReply('EGeneral:Unknown method');
    received.error = reply.error;
    return reply;
  }

  #checked(
    endpoint: PrivateEndpoint,
    call: CheckedCall,
    received: ReceivedCall,
    instead: string | undefined,
  ): Reply {
    const { checks, exchange } = this.#options;
    const now = this.#options.now();
    const systemStatus = this.#options.systemStatus();
    const key = checks.check(call, now);
    if (typeof key === 'string') return refusalReply(key);
    if (instead !== undefined) return refusalReply(instead);
    if (this.#options.callCounter() && !key.counter.take(endpoint.cost, now)) {
      return refusalReply('EAPI:Rate limit exceeded');
    }
    if (!isPermitted(endpoint, key.config.permissions)) return refusalReply('EGeneral:Permission denied');
    if (systemStatus === 'maintenance') return refusalReply('EService:Unavailable');
    const account = exchange.account(key.config.account, key.config.tier);
    exchange.catchUp(account);
    received.executed = true;
    try {
      return resultReply(
        endpoint.run({ fields: call.body.fields, account, key, exchange, now, systemStatus }),
      );
    } catch (error) {
      return thrownReply(error);
    }
  }
}
