import type { Clients, Credentials, SignedCall } from './clients.js';
import { ProxyError } from './errors.js';
import type { Account } from './kraken/account.js';
import { parseBody, type BodyTemplate } from './kraken/body.js';
import { endpointOf, type Endpoint } from './kraken/endpoints.js';
import { readFields, type Fields } from './kraken/fields.js';
import { verdictOf } from './kraken/outcome.js';
import { UpstreamError, type Upstream, type UpstreamReply } from './kraken/transport.js';
import type { Lane } from './lane/lane.js';
import { newCallRecord, type CallRecord } from './log.js';
import type { Decision, Finding, Policy } from './policy/policy.js';

/** A client's private call as it arrives. */
export interface PrivateCall extends Credentials, SignedCall {
  readonly requestId: string;
  /** The whole body; only read for a caller whose key is known. Rejects with ProxyError, or when the client is gone. */
  readonly readBody: () => Promise<Buffer>;
  /** The name after `/0/private/`. */
  readonly endpoint: string;
  readonly contentType: string | undefined;
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
  readonly policy: Pick<Policy, 'decide'>;
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
    const { clients, policy, routeOf } = this.#parts;
    const started = performance.now();
    let decision: Decision | undefined;
    try {
      const caller = clients.identify(call);
      const { client, rules, account } = caller;
      record.client = client;
      record.account = account.name;
      const bytes = await call.readBody();
      const body = parseBody(bytes, call.contentType, { dropOtp: account.otp !== undefined });
      caller.verify(call, bytes, body.clientNonce);

      const fields = (): Fields => fieldsOf(call, bytes, body);
      const asked = policy.decide({ client, rules, account: account.name, endpoint, fields });
      decision = asked instanceof Promise ? await asked : asked;
      enforce(decision, record); // before anything is queued or a nonce is spent

      const { lane, upstream } = routeOf(account);
      const joined = performance.now();
      const inTurn = async (): Promise<UpstreamReply> => {
        record.waitMs = performance.now() - joined;
        if (record.hungUp) throw new HungUp();
        const hungUp = (): boolean => record.hungUp;
        const { path, headers } = call;
        const sending = { upstream, account, path, headers, body, endpoint, hungUp };
        if (decision?.inTurn !== undefined) await this.#decideInTurn(decision.inTurn, sending, record);
        return await this.#send(sending, record);
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
      decision?.settle(record.outcome === 'executed' || record.outcome === 'unknown' ? 'maybe' : 'nothing');
      // Once the answer is on its way: the client does not wait for our bookkeeping.
      setImmediate(this.#parts.record, record);
    }
  }

  /** Sends once and settles the outcome; the lane's slot is ours until the whole reply is in or the attempt failed. */
  async #send(sending: Sending, record: CallRecord): Promise<UpstreamReply> {
    const { nonces } = this.#parts;
    const { account, upstream, path, body, endpoint } = sending;
    const drawn = nonces.draw(account.fingerprint); // durable before it is used
    record.nonce = (typeof drawn === 'bigint' ? drawn : await drawn).toString();
    const bytes = body.complete(record.nonce, account.otp?.());
    const signature = account.signer.sign(path, record.nonce, bytes); // exactly the bytes that leave
    const headers = {
      ...sending.headers,
      'content-type': body.contentType,
      'api-key': account.key,
      'api-sign': signature,
    };
    const mayLeave = (): void => {
      nonces.assertOwned(); // a process frozen since the draw may have lost the state
      if (sending.hungUp()) throw new HungUp(); // while the call waited for the disk or a connection
    };
    const sent = performance.now();
    try {
      const reply = await upstream.send({ method: 'POST', path, headers, body: bytes, mayLeave });
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

  /** What rules want to know from Kraken about the account, asked in the turn of the call they are for. */
  async #decideInTurn(
    decide: NonNullable<Decision['inTurn']>,
    own: Pick<Sending, 'upstream' | 'account' | 'hungUp'>,
    record: CallRecord,
  ): Promise<void> {
    let failure: unknown;
    const verdict = await decide(async (name, form) => {
      try {
        return await this.#ask(name, form, own, record.requestId);
      } catch (error) {
        failure = error;
        throw error;
      }
    });
    // Not the client's fault: it is told what really stands in the way.
    if (verdict.denied !== undefined && (failure instanceof ProxyError || failure instanceof HungUp))
      throw failure;
    enforce(verdict, record);
  }

  /** The proxy's own read. Rejects when the answer is no good. */
  async #ask(
    name: string,
    form: string,
    own: Pick<Sending, 'upstream' | 'account' | 'hungUp'>,
    requestId: string,
  ): Promise<Buffer> {
    const started = performance.now();
    const endpoint = endpointOf(name);
    const record = newCallRecord(requestId, endpoint.label);
    record.client = 'proxy';
    record.account = own.account.name;
    const body = parseBody(Buffer.from(form), undefined);
    try {
      const path = `/0/private/${name}`;
      const reply = await this.#send({ ...own, path, headers: {}, body, endpoint }, record);
      if (record.outcome === 'executed') return reply.body;
      throw new Error(`${name} was answered ${record.krakenError ?? `with HTTP ${reply.status}`}`);
    } finally {
      record.totalMs = performance.now() - started;
      setImmediate(this.#parts.record, record);
    }
  }
}

/**
 * The fields of a call, for rules that look into it. A query is signed and sent as it is, and Kraken might read fields
 * from there too.
 */
function fieldsOf({ path }: PrivateCall, bytes: Buffer, { format }: BodyTemplate): Fields {
  if (path.includes('?'))
    throw new ProxyError('invalid-body', 'limits on orders allow no query beside the body');
  return readFields(bytes, format);
}

/** One signed call on its way. */
interface Sending {
  readonly upstream: Upstream;
  readonly account: Account;
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body: BodyTemplate;
  readonly endpoint: Endpoint;
  readonly hungUp: () => boolean;
}

/** Notes what rules found; throws ProxyError `permission-denied` when one of them refuses. */
function enforce(
  { denied, reported }: { readonly denied: Finding | undefined; readonly reported: readonly Finding[] },
  record: CallRecord,
): void {
  if (reported.length > 0) record.reported = [...record.reported, ...reported];
  if (denied === undefined) return;
  record.rule = denied.rule;
  throw new ProxyError('permission-denied', denied.reason, { detail: `${denied.rule}: ${denied.reason}` });
}
