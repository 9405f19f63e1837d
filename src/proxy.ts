import type { Clients, Credentials } from './clients.js';
import { ProxyError } from './errors.js';
import type { Account } from './kraken/account.js';
import { parseBody } from './kraken/body.js';
import { endpointOf, type Endpoint } from './kraken/endpoints.js';
import { verdictOf } from './kraken/outcome.js';
import {
  UpstreamError,
  type Upstream,
  type UpstreamReply,
  type UpstreamRequest,
} from './kraken/transport.js';
import type { Lane } from './lane/lane.js';
import { newCallRecord, type CallRecord } from './log.js';

/** A client's private call as it arrived, whole. */
export interface PrivateCall extends Credentials {
  readonly requestId: string;
  /** The name after `/0/private/`. */
  readonly endpoint: string;
  /** `/0/private/<Name>` with its query: what is signed and requested. */
  readonly path: string;
  readonly contentType: string | undefined;
  readonly body: Buffer;
  /** The client's own headers that go on to Kraken. */
  readonly headers: Record<string, string>;
  /** The client asked not to be held back by the startup window. */
  readonly skipStartup: boolean;
}

/** Hands out nonces that are durable. */
export interface NonceSource {
  /** Throws or rejects with ProxyError `not-owner`. */
  draw(fingerprint: string): bigint | Promise<bigint>;
  /** Throws ProxyError `not-owner`: a nonce drawn before must not be used any more. */
  assertOwned(): void;
}

/** Where an account's private calls wait and through which connection they leave. */
export interface Route {
  readonly lane: Lane;
  readonly upstream: Upstream;
}

export interface ProxyParts {
  readonly clients: Clients;
  readonly routeOf: (account: Account) => Route;
  readonly nonces: NonceSource;
  /** Told of every call once it has ended. */
  readonly record: (call: CallRecord) => void;
}

/** A call under way. */
export interface Answer {
  /** Kraken's reply, or a ProxyError, or HungUp. */
  readonly reply: Promise<UpstreamReply>;
  /** The client is gone: a call that waits leaves the lane; one in flight goes on to its end. */
  hangUp(): void;
}

/** Kraken's error texts are short; whatever else comes does not fill the log. */
const MAX_ERROR_TEXT = 200;

/** The client hung up before its turn came: its call was not sent, and nobody is left to answer. */
export class HungUp extends Error {
  constructor() {
    super('the client hung up while its call waited');
    this.name = 'HungUp';
  }
}

/** The path of a private call (DESIGN 2). The order of its steps is what keeps money safe. */
export class Proxy {
  readonly #parts: ProxyParts;

  constructor(parts: ProxyParts) {
    this.#parts = parts;
  }

  call(call: PrivateCall): Answer {
    const endpoint = endpointOf(call.endpoint);
    const record = newCallRecord(call.requestId, endpoint.label);
    let leave = (): void => undefined;
    const reply = this.#handle(call, endpoint, record, (leaveLane) => (leave = leaveLane));
    const hangUp = (): void => {
      record.hungUp = true;
      leave();
    };
    return { reply, hangUp };
  }

  async #handle(
    call: PrivateCall,
    endpoint: Endpoint,
    record: CallRecord,
    onJoined: (leave: () => void) => void,
  ): Promise<UpstreamReply> {
    const { clients, routeOf, nonces } = this.#parts;
    const started = performance.now();
    try {
      const { client, account } = clients.identify(call);
      record.client = client;
      record.account = account.name;
      const body = parseBody(call.body, call.contentType, { dropOtp: account.otp !== undefined });
      const { lane, upstream } = routeOf(account);

      const joined = performance.now();
      const inTurn = async (): Promise<UpstreamReply> => {
        record.waitMs = performance.now() - joined;
        if (record.hungUp) throw new HungUp();
        const drawn = nonces.draw(account.fingerprint); // durable before it is used
        record.nonce = (typeof drawn === 'bigint' ? drawn : await drawn).toString();
        const bytes = body.complete(record.nonce, account.otp?.());
        const signature = account.signer.sign(call.path, record.nonce, bytes); // exactly the bytes that leave
        const headers = {
          ...call.headers,
          'content-type': body.contentType,
          'api-key': account.key,
          'api-sign': signature,
        };
        const mayLeave = (): void => {
          nonces.assertOwned(); // a process frozen since the draw may have lost the state
          if (record.hungUp) throw new HungUp(); // while the call waited for the disk or a connection
        };
        const request = { method: 'POST', path: call.path, headers, body: bytes, mayLeave } as const;
        return await this.#send(upstream, request, endpoint, record);
      };

      const exempt = endpoint.group === 'cancel' || call.skipStartup;
      const turn = lane.join(inTurn, { exempt });
      onJoined(() => turn.leave(new HungUp()));
      return await turn.result;
    } catch (error) {
      if (error instanceof ProxyError) {
        record.ownError = error.code;
        record.reason = error.message;
      }
      throw error;
    } finally {
      record.totalMs = performance.now() - started;
      // Once the answer is on its way: the client does not wait for our bookkeeping.
      setImmediate(this.#parts.record, record);
    }
  }

  /** Sends once and settles the outcome; the lane's slot is ours until the whole reply is in or the attempt failed. */
  async #send(
    upstream: Upstream,
    request: UpstreamRequest,
    endpoint: Endpoint,
    record: CallRecord,
  ): Promise<UpstreamReply> {
    const sent = performance.now();
    try {
      const reply = await upstream.send(request);
      const verdict = verdictOf(reply);
      record.outcome = verdict.outcome;
      record.status = reply.status;
      record.krakenError = verdict.error?.slice(0, MAX_ERROR_TEXT);
      return reply;
    } catch (cause) {
      if (!(cause instanceof UpstreamError)) throw cause;
      record.outcome = cause.sent === 'never' ? 'not-sent' : 'unknown';
      const code =
        cause.sent === 'never' || endpoint.class === 'read' ? 'upstream-unreachable' : 'outcome-unknown';
      throw new ProxyError(code, `no reply from Kraken: ${cause.message}`, { cause });
    } finally {
      record.upstreamMs = performance.now() - sent;
    }
  }
}
