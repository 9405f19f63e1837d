import { ProxyError } from './errors.js';
import { publicLabel } from './kraken/endpoints.js';
import { verdictOf } from './kraken/outcome.js';
import { UpstreamError, type Upstream, type UpstreamReply } from './kraken/transport.js';
import { newCallRecord, type CallRecord } from './log.js';
import type { Answer } from './proxy.js';

/** A client's public call as it arrived. */
export interface PublicCall {
  readonly requestId: string;
  /** The name after `/0/public/`. */
  readonly endpoint: string;
  /** With its `?`; empty when there is none. */
  readonly query: string;
  /** Of a POST, as old clients make them; undefined for a GET. */
  readonly body: Buffer | undefined;
  readonly headers: Record<string, string>;
  /** Public replies are large and pass untouched, so the client may choose their encoding. */
  readonly acceptEncoding: string | undefined;
}

export interface PublicApiParts {
  readonly upstream: Upstream;
  readonly record: (call: CallRecord) => void;
}

/** Beyond these a public call is refused: nobody has to prove who they are to make one. */
const MAX_UNDER_WAY = 256;

/** Public calls: unsigned, without a nonce, beside the lanes. */
export class PublicApi {
  readonly #parts: PublicApiParts;
  #underWay = 0;

  constructor(parts: PublicApiParts) {
    this.#parts = parts;
  }

  call(call: PublicCall): Answer {
    const record = newCallRecord(call.requestId, publicLabel(call.endpoint));
    record.client = 'public';
    record.account = 'none';
    const started = performance.now();
    const reply = this.#send(call, record).finally(() => {
      this.#underWay--;
      record.totalMs = performance.now() - started;
      this.#parts.record(record);
    });
    return { reply, hangUp: () => (record.hungUp = true) };
  }

  async #send(call: PublicCall, record: CallRecord): Promise<UpstreamReply> {
    const sent = performance.now();
    try {
      if (++this.#underWay > MAX_UNDER_WAY)
        throw new ProxyError('queue-full', 'too many public calls are under way', { retryAfterSeconds: 1 });
      const path = `/0/public/${call.endpoint}${queryOf(call)}`;
      const headers = { ...call.headers };
      if (call.acceptEncoding !== undefined) headers['accept-encoding'] = call.acceptEncoding;
      const reply = await this.#parts.upstream.send({ method: 'GET', path, headers, body: null });
      record.status = reply.status;
      // An encoded body says nothing to us; for a public call its status is enough.
      const verdict = reply.headers['content-encoding'] === undefined ? verdictOf(reply) : undefined;
      record.outcome = verdict?.outcome ?? (reply.status === 200 ? 'executed' : 'unknown');
      record.krakenError = verdict?.error?.slice(0, 200);
      return reply;
    } catch (cause) {
      const error =
        cause instanceof UpstreamError
          ? new ProxyError('upstream-unreachable', `no reply from Kraken: ${cause.message}`, { cause })
          : cause;
      if (error instanceof ProxyError) {
        record.ownError = error.code;
        record.reason = error.message;
      }
      throw error;
    } finally {
      record.upstreamMs = performance.now() - sent;
    }
  }
}

/** Kraken takes public calls as GET only: an old client's form becomes the query. */
function queryOf({ query, body }: PublicCall): string {
  if (body === undefined || body.length === 0) return query;
  const form = body.toString('latin1').trim();
  // A `#` would cut the query off for whoever reads it as a URL.
  if (!/^[!"$-~]*$/.test(form) || /^[{["]/.test(form)) {
    throw new ProxyError('invalid-body', 'the body of a public call must be a form');
  }
  return query.length > 1 ? `${query}&${form}` : `?${form}`;
}
