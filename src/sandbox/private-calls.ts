import { refusalReply, resultReply, thrownReply, type Reply } from './answer.js';
import type { CallFields } from './call-fields.js';
import type { EngineCounters } from './engine-counter.js';
import type { Exchange } from './exchange.js';
import { isPermitted, type PrivateEndpoint, type SystemStatus } from './private-endpoint.js';
import { privateEndpoints } from './private-endpoints.js';
import type { CheckedCall, KeyState, RequestChecks } from './request-checks.js';
import type { ReceivedCall } from './traffic.js';

/** What private calls run on. */
export interface PrivateCallsOptions {
  readonly checks: RequestChecks;
  readonly exchange: Exchange;
  readonly engineCounters: EngineCounters;
  /** The clock of gateway and engine, ms. */
  readonly now: () => number;
  readonly callCounter: () => boolean;
  readonly systemStatus: () => SystemStatus;
}

/** A call that passed every check and waits for its endpoint to run. */
interface AcceptedCall {
  readonly endpoint: PrivateEndpoint;
  readonly key: KeyState;
  readonly fields: CallFields;
  readonly arrivedAt: number;
  readonly received: ReceivedCall;
}

const INVALID_NONCE = 'EAPI:Invalid nonce';
const RATE_LIMIT = 'EAPI:Rate limit exceeded';
const MAINTENANCE = 'EService:Unavailable';

/** The one path of a private call inside the stand-in: the gateway's checks, then the engine. */
export class PrivateCalls {
  readonly #options: PrivateCallsOptions;
  readonly #endpoints: ReadonlyMap<string, PrivateEndpoint> = privateEndpoints();
  #rateLimited = 0;
  #invalidNonces = 0;

  constructor(options: PrivateCallsOptions) {
    this.#options = options;
  }

  /** How many calls the call counter refused. */
  get rateLimited(): number {
    return this.#rateLimited;
  }

  /** How many calls were refused for their nonce. */
  get invalidNonces(): number {
    return this.#invalidNonces;
  }

  /**
   * Checks the call, runs its endpoint and notes both in `received`. With `instead`, the call is checked
   * and then refused with that E-string, not run.
   */
  answer(call: CheckedCall, received: ReceivedCall, instead?: string): Reply {
    const accepted = this.#check(call, received, instead);
    const reply = typeof accepted === 'string' ? refusalReply(accepted) : this.#execute(accepted);
    received.error = reply.error;
    return reply;
  }

  /**
   * Checks the call, which spends its nonce and its cost, and notes a refusal; what runs its endpoint
   * later, undefined for a call refused.
   */
  accept(call: CheckedCall, received: ReceivedCall): (() => void) | undefined {
    const accepted = this.#check(call, received, undefined);
    if (typeof accepted === 'string') {
      received.error = accepted;
      return undefined;
    }
    return () => {
      received.error = this.#execute(accepted).error;
    };
  }

  /**
   * The E-string to refuse the call with, if there is one. Whether Kraken looks for the endpoint before
   * the key is not confirmed; it does so here, so an unknown name spends no nonce.
   */
  #check(call: CheckedCall, received: ReceivedCall, instead: string | undefined): AcceptedCall | string {
    const { checks, callCounter, systemStatus } = this.#options;
    const endpoint = this.#endpoints.get(received.endpoint ?? '');
    if (received.method !== 'POST' || endpoint === undefined) return 'EGeneral:Unknown method';
    const now = this.#options.now();
    const key = checks.check(call, now);
    if (typeof key === 'string') {
      if (key === INVALID_NONCE) this.#invalidNonces += 1;
      return key;
    }
    if (instead !== undefined) return instead;
    if (callCounter() && !key.counter.take(endpoint.cost, now)) {
      this.#rateLimited += 1;
      return RATE_LIMIT;
    }
    if (!isPermitted(endpoint, key.config.permissions)) return 'EGeneral:Permission denied';
    if (systemStatus() === 'maintenance') return MAINTENANCE;
    return { endpoint, key, fields: call.body.fields, arrivedAt: now, received };
  }

  #execute(accepted: AcceptedCall): Reply {
    const { exchange, engineCounters } = this.#options;
    const { endpoint, key, fields, arrivedAt, received } = accepted;
    const systemStatus = this.#options.systemStatus();
    // Again: it may have begun while the call was on its way from the gateway to the engine.
    if (systemStatus === 'maintenance') return refusalReply(MAINTENANCE);
    const account = exchange.account(key.config.account, key.config.tier);
    exchange.catchUp(account);
    received.executed = true;
    const now = this.#options.now();
    try {
      return resultReply(
        endpoint.run({ fields, account, key, exchange, engineCounters, arrivedAt, now, systemStatus }),
      );
    } catch (error) {
      return thrownReply(error);
    }
  }
}
