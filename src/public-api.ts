import { brotliDecompressSync, gunzipSync, inflateSync } from 'node:zlib';
import { ProxyError } from './errors.js';
import { publicLabel } from './kraken/endpoints.js';
import { verdictOf, type Verdict } from './kraken/outcome.js';
import {
  UpstreamError,
  type Upstream,
  type UpstreamReply,
  type UpstreamRequest,
} from './kraken/transport.js';
import type { PublicBudget } from './lane/public-budget.js';
import { newCallRecord, type CallRecord } from './log.js';
import type { Answer } from './proxy.js';
import { HungUp } from './calls/sender.js';

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
  /** While it waits it may share the reply of a call like it; default true. */
  readonly merge?: boolean;
}

export interface PublicApiParts {
  readonly upstream: Upstream;
  readonly record: (call: CallRecord) => void;
  /** Default: every call goes at once. */
  readonly budget?: PublicBudget;
}

/** More than these are not sent at a time: nobody has to prove who they are to make a public call. */
const MAX_UNDER_WAY = 256;
/** Kraken's errors are shorter; a longer encoded body is not opened. */
const MAX_ENCODED_ERROR = 256;

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
    let leave = (): void => undefined;
    const reply = this.#answer(call, record, (leaveLine) => (leave = leaveLine)).finally(() => {
      record.totalMs = performance.now() - started;
      this.#parts.record(record);
    });
    const hangUp = (): void => {
      record.hungUp = true;
      leave();
    };
    return { reply, hangUp };
  }

  async #answer(
    call: PublicCall,
    record: CallRecord,
    onWaiting: (leave: () => void) => void,
  ): Promise<UpstreamReply> {
    const { budget } = this.#parts;
    let sent: number | undefined;
    try {
      const request = requestOf(call);
      if (this.#underWay >= MAX_UNDER_WAY)
        throw new ProxyError('queue-full', 'too many public calls are under way', { retryAfterSeconds: 1 });
      let answer: Promise<UpstreamReply>;
      if (budget === undefined || budget.tryTake()) {
        sent = performance.now();
        answer = this.#send(request);
      } else {
        const turn = budget.wait({
          sameAs: call.merge === false ? undefined : identityOf(request),
          send: () => this.#send(request),
          onTurn: () => (sent = performance.now()),
        });
        onWaiting(() => turn.leave(new HungUp()));
        answer = turn.reply;
      }
      const reply = await answer;
      record.status = reply.status;
      const verdict = verdictOfEncoded(reply);
      record.outcome = verdict?.sent === false ? 'not-sent' : (verdict?.outcome ?? 'executed');
      record.krakenError = verdict?.error?.slice(0, 200);
      if (reply.status === 429 || (verdict !== undefined && SLOWER.has(verdict.remedy.kind))) budget?.empty();
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
      if (sent !== undefined) record.upstreamMs = performance.now() - sent;
    }
  }

  #send(request: UpstreamRequest): Promise<UpstreamReply> {
    this.#underWay++;
    return this.#parts.upstream.send(request).finally(() => this.#underWay--);
  }
}

/** Kraken wants to be asked less often. */
const SLOWER: ReadonlySet<string> = new Set(['wait-for-room', 'wait-until']);

function requestOf(call: PublicCall): UpstreamRequest {
  const path = `/0/public/${call.endpoint}${queryOf(call)}`;
  const headers = { ...call.headers };
  if (call.acceptEncoding !== undefined) headers['accept-encoding'] = call.acceptEncoding;
  return { method: 'GET', path, headers, body: null };
}

/** Calls with the same one get the same reply; undefined: this one's reply is for itself. */
function identityOf({ path, headers }: UpstreamRequest): string | undefined {
  // A 304 is good for the one who has the rest.
  for (const name in headers) if (name.startsWith('if-')) return undefined;
  return `${headers['accept-encoding'] ?? ''}\n${path}`;
}

/** The outcome of a reply whose body may be encoded; undefined when that hides it, as with all but short bodies. */
function verdictOfEncoded(reply: UpstreamReply): Verdict | undefined {
  const encoding = reply.headers['content-encoding'];
  if (encoding === undefined || reply.status !== 200) return verdictOf(reply);
  if (reply.body.length > MAX_ENCODED_ERROR) return undefined;
  const decode = DECODERS.get(String(encoding).toLowerCase());
  try {
    return decode && verdictOf({ ...reply, body: decode(reply.body, { maxOutputLength: 65_536 }) });
  } catch {
    return undefined; // not for us to judge: it passes untouched
  }
}

const DECODERS: ReadonlyMap<string, (body: Buffer, options: { maxOutputLength: number }) => Buffer> = new Map<
  string,
  (body: Buffer, options: { maxOutputLength: number }) => Buffer
>([
  ['gzip', gunzipSync],
  ['br', brotliDecompressSync],
  ['deflate', inflateSync],
]);

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
