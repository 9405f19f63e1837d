import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { ProxyError, renderError, type ErrorCode } from '../errors.js';
import { queryHasNonce } from '../kraken/body.js';
import type { UpstreamReply } from '../kraken/transport.js';
import type { Log } from '../log.js';
import type { Answer, Proxy } from '../proxy.js';
import type { PublicApi } from '../public-api.js';
import { HungUp } from '../calls/sender.js';
import { BodyBudget, isReset, readBody, RequestAbandoned, type BodyRoom } from './body.js';
import { headersForClient, headersForHttp2, headersForKraken, refuseBrowsers } from './headers.js';
import type { SlowDown } from './slow-down.js';
import { parseTarget, type Target } from './target.js';
import { peerSubject } from './tls.js';

export interface AppParts {
  readonly proxy: Pick<Proxy, 'call'>;
  readonly publicApi: Pick<PublicApi, 'call'>;
  /** Names the listener answers to. */
  readonly hosts: readonly string[];
  readonly maxBodyBytes: number;
  readonly bodyTimeoutMs: number;
  readonly userAgent: string;
  readonly nextRequestId: () => string;
  /** Holds back answers to those who keep failing to prove who they are. */
  readonly slowDown: SlowDown;
  /** Told of each request that was refused before it became a call. */
  readonly refused: (requestId: string, error: ProxyError) => void;
  readonly log: Log;
}

const ONE_WRITE_BYTES = 8_192;
/** All bodies together, from their first byte until their call is answered. */
const MAX_BODIES_BYTES = 64 * 1024 * 1024;
/** A public call's body becomes a query. Anybody may send one, so these have a bound of their own. */
const MAX_PUBLIC_BODY_BYTES = 16_384;
const MAX_PUBLIC_BODIES_BYTES = 4 * 1024 * 1024;
/** Errors of somebody who is not who they say. */
const BAD_CREDENTIALS: ReadonlySet<ErrorCode> = new Set(['invalid-key', 'invalid-signature']);

/**
 * The proxy's listener as clients see it: Kraken's paths, and nothing else. It works on node:http itself: there
 * are two routes, and a framework's web objects cost every call some 15 us and hide the raw request target.
 * node:http2 hands it requests and responses that behave alike.
 */
export function createApp(parts: AppParts): RequestListener {
  const { proxy, publicApi, maxBodyBytes, bodyTimeoutMs, userAgent } = parts;
  const hosts = new Set(parts.hosts);
  const budget = new BodyBudget(Math.max(MAX_BODIES_BYTES, 2 * maxBodyBytes));
  const publicBudget = new BodyBudget(MAX_PUBLIC_BODIES_BYTES);

  const bodyOf = (incoming: IncomingMessage, room: BodyRoom, maxBytes: number): Promise<Buffer> =>
    readBody(incoming, { maxBytes, timeoutMs: bodyTimeoutMs, room });

  const privateCall = (
    incoming: IncomingMessage,
    target: Target,
    requestId: string,
    room: BodyRoom,
  ): Answer => {
    const { headers, socket } = incoming;
    refuseRepeatedCredentials(incoming);
    if (
      (target.query !== '' && queryHasNonce(target.query)) ||
      headers['api-nonce'] !== undefined ||
      headers['api-otp'] !== undefined
    ) {
      throw new ProxyError(
        'invalid-body',
        'a nonce or otp belongs in the body, not in the query or a header',
      );
    }
    return proxy.call({
      requestId,
      apiKey: single(headers['api-key']),
      apiSign: single(headers['api-sign']),
      authorization: headers.authorization,
      pathAccount: target.account,
      address: socket.remoteAddress,
      certificate: () => peerSubject(socket),
      endpoint: target.name,
      path: `/0/private/${target.name}${target.query}`,
      contentType: headers['content-type'],
      readBody: () => bodyOf(incoming, room, maxBodyBytes),
      headers: headersForKraken(headers, userAgent),
      skipStartup: headers['x-proxy-startup'] === 'skip',
      noMerge: headers['x-proxy-merge'] === 'no',
      idempotencyKey: single(headers['idempotency-key']),
    });
  };

  const publicCall = async (
    incoming: IncomingMessage,
    target: Target,
    requestId: string,
    room: BodyRoom,
  ): Promise<Answer> => {
    const { headers, method } = incoming;
    const body = method === 'POST' ? await bodyOf(incoming, room, MAX_PUBLIC_BODY_BYTES) : undefined;
    return publicApi.call({
      requestId,
      endpoint: target.name,
      query: target.query,
      body,
      headers: headersForKraken(headers, userAgent),
      acceptEncoding: single(headers['accept-encoding']),
    });
  };

  const holdBack = async (
    incoming: IncomingMessage,
    outgoing: ServerResponse,
    requestId: string,
    error: ProxyError,
  ): Promise<void> => {
    const { remoteAddress: address } = incoming.socket;
    const { count, heldMs } = parts.slowDown.failed(address);
    // A flood must not fill the log as well: after the tenth, every failure that doubles the count.
    if (count <= 10 || Number.isInteger(Math.log2(count)))
      parts.log.warn({ requestId, address, error: error.code, count, heldMs }, 'bad credentials');
    await parts.slowDown.hold(heldMs, (hungUp) => outgoing.once('close', hungUp));
  };

  const serve = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const requestId = parts.nextRequestId();
    if (isReset(incoming)) return; // it came and went in one piece
    let room: BodyRoom | undefined;
    let called = false;
    try {
      refuseBrowsers(incoming.headers, hosts);
      const target = parseTarget(incoming.url ?? '');
      if (target === undefined) {
        notFound(outgoing, requestId);
        return;
      }
      const isPrivate = target.kind === 'private';
      room = (isPrivate ? budget : publicBudget).open();
      if (incoming.method !== 'POST' && (isPrivate || incoming.method !== 'GET')) {
        methodNotAllowed(outgoing, requestId, isPrivate ? 'POST' : 'GET, POST');
        return;
      }
      const answer = isPrivate
        ? privateCall(incoming, target, requestId, room)
        : await publicCall(incoming, target, requestId, room);
      called = true;
      onHangUp(incoming, outgoing, () => answer.hangUp());
      writeReply(outgoing, requestId, await answer.reply);
    } catch (error) {
      if (error instanceof RequestAbandoned || error instanceof HungUp) return; // nobody is left to answer
      if (!(error instanceof ProxyError)) {
        parts.log.error({ requestId, err: error }, 'a bug: the call failed in a way nobody foresaw');
        writeBug(outgoing, requestId);
        return;
      }
      if (!called) parts.refused(requestId, error);
      room?.leave(); // before the answer is held back
      if (BAD_CREDENTIALS.has(error.code)) await holdBack(incoming, outgoing, requestId, error);
      if (!outgoing.destroyed) writeError(outgoing, requestId, error);
    } finally {
      room?.leave();
    }
  };

  return (incoming, outgoing) => void serve(incoming, outgoing);
}

/**
 * Of two headers that say who calls, node joins or drops one, and whoever looked at the request before us (a load
 * balancer, a firewall) may have read the other.
 */
function refuseRepeatedCredentials({ rawHeaders }: IncomingMessage): void {
  const seen = new Set<string>();
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const raw = rawHeaders[at] ?? '';
    if (!CREDENTIAL_LENGTHS.has(raw.length)) continue; // most names, at next to no cost
    const name = raw.toLowerCase();
    if (!CREDENTIAL_HEADERS.includes(name)) continue;
    if (seen.has(name)) throw new ProxyError('invalid-key', `${name} comes twice`);
    seen.add(name);
  }
}

const CREDENTIAL_HEADERS: readonly string[] = ['api-key', 'api-sign', 'authorization'];
const CREDENTIAL_LENGTHS: ReadonlySet<number> = new Set(CREDENTIAL_HEADERS.map((name) => name.length));

/** Calls back when the client is gone before its answer was out; perhaps more than once. */
function onHangUp(incoming: IncomingMessage, outgoing: ServerResponse, hangUp: () => void): void {
  const { socket } = incoming;
  const tell = (): void => {
    // HTTP/2 also ends and finishes the writing side of a stream that its client has reset.
    if (!outgoing.writableEnded || !outgoing.writableFinished) hangUp();
  };
  outgoing.once('close', tell);
  // Behind another request of a pipeline: such a response has no socket yet and is never told that it closed.
  if (outgoing.socket === null) {
    socket.setMaxListeners(0).once('close', tell);
    outgoing.once('close', () => socket.off('close', tell));
  }
  if (socket.destroyed) hangUp();
}

function writeReply(
  outgoing: ServerResponse,
  requestId: string,
  { status, headers, body, own }: UpstreamReply,
): void {
  const list = headersForClient(headers);
  for (const name in own) list.push(name, own[name] ?? '');
  list.push('content-length', String(body.length), 'x-request-id', requestId);
  outgoing.writeHead(status, outgoing.req.httpVersionMajor === 2 ? headersForHttp2(list) : list);
  // As latin1 text, which keeps every byte, head and body leave in one write.
  if (body.length <= ONE_WRITE_BYTES) outgoing.end(body.toString('latin1'), 'latin1');
  else outgoing.end(body);
}

/** The proxy's own errors, in Kraken's clothes. */
function writeError(outgoing: ServerResponse, requestId: string, error: ProxyError): void {
  const { status, headers, body } = renderError(error);
  outgoing.writeHead(status, { ...headers, 'content-length': body.length, 'x-request-id': requestId });
  outgoing.end(body);
}

function writeBug(outgoing: ServerResponse, requestId: string): void {
  writePlain(outgoing, requestId, 500, { error: ['EGeneral:Internal error'] });
}

function notFound(outgoing: ServerResponse, requestId: string): void {
  writePlain(outgoing, requestId, 404, { error: ['EGeneral:Unknown method'] });
}

function methodNotAllowed(outgoing: ServerResponse, requestId: string, allow: string): void {
  outgoing.setHeader('allow', allow);
  writePlain(outgoing, requestId, 405, { error: ['EGeneral:Unknown method'] });
}

function writePlain(outgoing: ServerResponse, requestId: string, status: number, value: object): void {
  const body = JSON.stringify(value);
  outgoing.setHeader('x-request-id', requestId);
  outgoing.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
  });
  outgoing.end(body);
}

function single(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(', ') : value;
}
