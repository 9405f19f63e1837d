import { createHash } from 'node:crypto';
import { ProxyError } from '../errors.js';

/**
 * What makes two calls the same one:
 * - `key`: the client's `Idempotency-Key`, for client and account. Another endpoint or digest under it is a mistake.
 * - `order`: the `cl_ord_id` of an order, for client, account, endpoint and digest. Other parameters are another call.
 * - `body`: nothing but client, account, endpoint and digest: the call gave no id.
 */
export interface CallId {
  readonly kind: 'key' | 'order' | 'body';
  readonly client: string;
  readonly account: string;
  readonly endpoint: string;
  /** The key or the `cl_ord_id`; of kind `body` it is empty. */
  readonly id: string;
  /** Of the parameters without nonce and otp. */
  readonly digest: string;
}

/** A call's id as it is compared and stored: nothing in it is secret. */
export interface Identity {
  /** A JSON list of strings that begins with the kind. */
  readonly key: string;
  /** What the first call under an idempotency key asked for, as a JSON list; undefined for the other kinds. */
  readonly asked: string | undefined;
}

/** Texts beyond this length are told apart by their digests; Kraken's longest `cl_ord_id` has 36 characters. */
const MAX_ID = 64;

export function identityOf({ kind, client, account, endpoint, id, digest }: CallId): Identity {
  if (kind === 'key') {
    // The client may have made its key from what nobody else should read.
    const key = JSON.stringify([kind, client, account, sha256(id)]);
    return { key, asked: JSON.stringify([endpoint, digest]) };
  }
  const bounded = id.length > MAX_ID ? `sha256:${sha256(id)}` : id;
  return { key: JSON.stringify([kind, client, account, endpoint, bounded, digest]), asked: undefined };
}

/** An `Idempotency-Key` as it came. Throws ProxyError `invalid-body` unless it is 1 to 255 printable ASCII characters. */
export function checkIdempotencyKey(text: string): string {
  if (/^[\x20-\x7e]{1,255}$/.test(text)) return text;
  const detail = 'an Idempotency-Key has 1 to 255 printable ASCII characters';
  throw new ProxyError('invalid-body', detail, { detail });
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
