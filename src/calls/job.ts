import { createHash } from 'node:crypto';
import { checkIdempotencyKey, type CallId } from '../answers/call-id.js';
import type { OpenRecord } from '../answers/begun.js';
import type { Caller, Credentials, SignedCall } from '../clients.js';
import { ProxyError } from '../errors.js';
import type { Account } from '../kraken/account.js';
import type { BodyTemplate } from '../kraken/body.js';
import type { Endpoint } from '../kraken/endpoints.js';
import { readFields, type Fields } from '../kraken/fields.js';
import type { UpstreamReply } from '../kraken/transport.js';
import type { Verdict } from '../kraken/outcome.js';
import type { CallRecord } from '../log.js';
import type { EngineCharge } from '../orders/engine-counter.js';
import { parametersDigest } from '../orders/order-identity.js';
import type { SafeOrder } from './order-safety.js';

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
  /** The client wants no answer of an equal read. Default false. */
  readonly noMerge?: boolean;
  /** The value of `Idempotency-Key`. */
  readonly idempotencyKey?: string | undefined;
}

/** A call has left the lane because an equal one was answered. */
class AnsweredTogether extends Error {}

/** A private call on its way: what was read of it, and what has become of it so far. */
export class Job {
  readonly call: PrivateCall;
  readonly endpoint: Endpoint;
  readonly caller: Caller;
  readonly record: CallRecord;
  /** A reload may give it another key while it waits. */
  account: Account;
  /** What goes to Kraken but for the proxy's own fields. */
  body: BodyTemplate;
  /** What makes an order safe to lose; undefined for other calls. */
  order: SafeOrder | undefined;
  /** Its entry among the known answers, while it is ours. */
  entry: OpenRecord | undefined;
  /** What the matching engine counts for it. */
  charge: EngineCharge | undefined;
  /** Tells equal reads; undefined for a call that shares no answer. */
  question: string | undefined;
  /** Somebody else brings its entry to an end. */
  isHandedOver = false;
  /** Gives up its place in the lane; false when its turn has come. */
  leave: (error: Error) => boolean = () => false;
  /** Another's answer to the same question. */
  shared: UpstreamReply | undefined;
  /** It only asks Kraken to check an order: harmless to repeat, whatever its endpoint. */
  isHarmless = false;
  /** What its rules ask in turn was asked. */
  isDecided = false;
  /** It has waited for room once after Kraken said there was none. */
  hasWaitedForRoom = false;
  /** It was sent again after it was certain that the first was not executed. */
  wasResent = false;
  /** How often it came to nothing on its way, and how the last time. */
  failures = 0;
  failure: ProxyError | undefined;
  /** Of the reply it ended with. */
  verdict: Verdict | undefined;
  /** Monotonic ms. */
  readonly arrivedAt = performance.now();
  /** Monotonic ms at which its client was gone. */
  hungUpAt: number | undefined;
  /** Told when the client hangs up. */
  onHangUp: () => void = () => undefined;
  /** The body as the client sent it, but for the nonce. */
  readonly ownBody: BodyTemplate;
  readonly #bytes: Buffer;
  #fields: Fields | ProxyError | undefined;

  constructor(
    call: PrivateCall,
    endpoint: Endpoint,
    caller: Caller,
    bytes: Buffer,
    body: BodyTemplate,
    record: CallRecord,
  ) {
    this.call = call;
    this.endpoint = endpoint;
    this.caller = caller;
    this.account = caller.account;
    this.#bytes = bytes;
    this.body = body;
    this.ownBody = body;
    this.record = record;
  }

  /** The body as the client sent it. */
  get bytes(): Buffer {
    return this.#bytes;
  }

  /**
   * The fields of the call, for those who look into it. Throws ProxyError `invalid-body` when a name comes twice, and for
   * a query, which is signed and sent as it is: Kraken might read fields from there too.
   */
  fields(): Fields {
    if (this.#fields === undefined) {
      try {
        if (this.call.path.includes('?'))
          throw new ProxyError('invalid-body', 'limits on orders allow no query beside the body');
        this.#fields = readFields(this.#bytes, this.body.format);
      } catch (error) {
        if (!(error instanceof ProxyError)) throw error;
        this.#fields = error;
      }
    }
    if (this.#fields instanceof ProxyError) throw this.#fields;
    return this.#fields;
  }

  /** The same where there are any to be told. */
  fieldsIfAny(): Fields | undefined {
    try {
      return this.fields();
    } catch (error) {
      if (error instanceof ProxyError) return undefined;
      throw error;
    }
  }

  /** Tells equal reads: they ask the same of the same key. */
  askForAll(): string {
    const { fingerprint } = this.account;
    this.question = `${fingerprint}${this.call.path}\n${this.body.complete('0').toString('latin1')}`;
    return this.question;
  }

  /** An equal read was answered while this one waited. */
  answer(reply: UpstreamReply): void {
    if (!this.leave(new AnsweredTogether())) return;
    this.shared = reply;
  }

  /**
   * What a repeat of this call would have in common with it: the client's Idempotency-Key, or the `cl_ord_id` it gave its
   * order. Undefined when there is neither. Throws ProxyError `invalid-body` for a key that cannot be one.
   */
  idOfClient(): CallId | undefined {
    const { idempotencyKey } = this.call;
    // A read may be asked as often as one likes, an old answer to it is a wrong one, and a token is kept nowhere.
    const isKept = this.endpoint.class !== 'read' && this.endpoint.group !== 'websocket';
    if (idempotencyKey !== undefined && isKept)
      return { ...this.#scope('key'), id: checkIdempotencyKey(idempotencyKey) };
    if (this.endpoint.callClass !== 'order' || this.isHarmless) return undefined;
    const ids = orderIdsOf(this.fieldsIfAny());
    return ids === undefined ? undefined : { ...this.#scope('order'), id: ids };
  }

  /** What it has in common with an equal call that gave no id either. */
  idOfBody(): CallId {
    return { ...this.#scope('body'), id: '' };
  }

  #scope(kind: CallId['kind']): Omit<CallId, 'id'> {
    const fields = this.fieldsIfAny();
    const { name } = this.endpoint;
    const digest = fields === undefined ? this.#digestOfBytes() : parametersDigest(name, fields);
    const { client } = this.caller;
    return { kind, client, account: this.account.name, endpoint: name, digest };
  }

  #digestOfBytes(): string {
    return createHash('sha256').update(this.call.path).update(this.body.complete('0')).digest('hex');
  }
}

/** The client's `cl_ord_id` of an order, or those of a whole batch. */
function orderIdsOf(fields: Fields | undefined): string | undefined {
  const id = fields?.get('cl_ord_id');
  if (typeof id === 'string' && id !== '') return id;
  const orders = fields?.get('orders');
  if (!Array.isArray(orders) || orders.length === 0) return undefined;
  const ids = orders.map((order: unknown) =>
    order instanceof Map ? (order.get('cl_ord_id') as unknown) : '',
  );
  return ids.every((one) => typeof one === 'string' && one !== '') ? ids.join('\n') : undefined;
}
