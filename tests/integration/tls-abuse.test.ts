import type { RequestListener } from 'node:http';
import { constants } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { TlsServer } from '../../src/http/tls-server.js';
import { peerSubject } from '../../src/http/tls.js';
import { TestAuthority } from '../support/certificates.js';
import { Http2Client, replyOf } from '../support/http2-client.js';
import { END_HEADERS, END_STREAM, frame, FRAME, RawHttp2 } from '../support/raw-http2.js';
import { CertificateFolder } from '../support/tls-world.js';
import { until } from '../support/until.js';

const GREETING_MS = 200;
const REQUEST_MS = 400;
const IDLE_MS = 600;
const LARGE = 'x'.repeat(4_000_000);

const authority = new TestAuthority();
const ca = authority.cert;
let files: CertificateFolder;
/** Whose bounds a test can wait for. */
let strict: TlsServer;
/** Whose bounds no test reaches, on however slow a machine. */
let patient: TlsServer;
/** Requests whose answer is up to the test. */
let waiting: Parameters<RequestListener>[1][] = [];

const serve: RequestListener = (incoming, outgoing) => {
  if (incoming.url === '/wait') waiting.push(outgoing);
  else if (incoming.url === '/large') outgoing.end(LARGE);
  else incoming.resume().on('end', () => outgoing.end('served'));
};

beforeAll(async () => {
  files = new CertificateFolder(authority.server());
  strict = await openServer([REQUEST_MS, GREETING_MS, IDLE_MS]);
  patient = await openServer([60_000, 60_000, 60_000]);
});
afterEach(async () => {
  waiting = [];
  const client = await Http2Client.open(urlOf(patient), { ca });
  expect((await client.raw('POST', '/')).body.toString()).toBe('served');
  await client.close();
});
afterAll(async () => {
  for (const server of [strict, patient]) {
    const closed = new Promise((resolve) => server.server.close(resolve));
    server.stopAccepting();
    server.cut();
    await closed;
    await server.close();
  }
  files.remove();
});

async function openServer(
  bounds: readonly [request: number, headers: number, idle: number],
): Promise<TlsServer> {
  const [requestTimeout, headersTimeout, keepAliveTimeout] = bounds;
  const server = await TlsServer.open(
    serve,
    { requestTimeout, headersTimeout, keepAliveTimeout, connectionsCheckingInterval: 100 },
    { certFile: files.path('cert.pem'), keyFile: files.path('key.pem'), onReload: () => undefined },
  );
  await new Promise<void>((resolve) => server.server.listen(0, '127.0.0.1', resolve));
  return server;
}

function urlOf({ server }: TlsServer): string {
  return `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function greeted(
  server: TlsServer,
  settings: readonly (readonly [number, number])[] = [],
): Promise<RawHttp2> {
  const raw = await RawHttp2.open(urlOf(server), ca);
  raw.greet(settings);
  await until(() => raw.frames.length > 0);
  return raw;
}

it('a connection on which nothing is said is cut off', async () => {
  const raw = await RawHttp2.open(urlOf(strict), ca);
  await raw.closed;
});

it('a connection without requests is told to go away, however many pings it sends', async () => {
  const raw = await greeted(strict);
  const pings = setInterval(() => raw.send(FRAME.PING, 0, 0, Buffer.alloc(8)), 20);
  await until(() => raw.goneAway);
  await raw.closed;
  clearInterval(pings);
});

it('a connection whose headers never end is cut off', async () => {
  const raw = await greeted(strict);
  raw.send(FRAME.HEADERS, 0, 1, raw.block('POST', '/'));
  const drip = setInterval(() => raw.send(FRAME.CONTINUATION, 0, 1), 200);
  await raw.closed;
  clearInterval(drip);
});

it('a request whose body never ends is reset, and what it has answered does not keep it', async () => {
  const raw = await greeted(strict);
  raw.send(FRAME.HEADERS, END_HEADERS, 1, raw.block('POST', '/'));
  raw.send(FRAME.HEADERS, END_HEADERS, 3, raw.block('POST', '/wait'));
  const drip = setInterval(() => raw.send(FRAME.DATA, 0, 1, 'x'), 20);
  await until(() => raw.resets(1) !== undefined && raw.resets(3) !== undefined);
  expect([raw.resets(1), raw.resets(3)]).toEqual([constants.NGHTTP2_CANCEL, constants.NGHTTP2_CANCEL]);
  clearInterval(drip);
  raw.socket.destroy();
});

it('a whole request may wait for its answer as long as that takes', async () => {
  const client = await Http2Client.open(urlOf(strict), { ca });
  const reply = client.raw('POST', '/wait', 'x');
  const late = await RawHttp2.open(urlOf(strict), ca); // cut off later than the request would be
  await late.closed;
  const idle = await greeted(strict);
  await idle.closed;
  waiting[0]?.end('late');
  expect((await reply).body.toString()).toBe('late');
  await client.close();
});

it('a client that does not take its answer loses it', async () => {
  const raw = await greeted(strict, [[4, 0]]); // SETTINGS_INITIAL_WINDOW_SIZE
  raw.send(FRAME.HEADERS, END_HEADERS | END_STREAM, 1, raw.block('GET', '/large'));
  await until(() => raw.resets(1) === constants.NGHTTP2_CANCEL);
  raw.socket.destroy();
});

it('a client that does not read from its connection loses it', async () => {
  const raw = await greeted(strict, [[4, 0x7fffffff]]);
  raw.socket.pause();
  for (let stream = 1; stream < 40; stream += 2) {
    raw.send(FRAME.HEADERS, END_HEADERS | END_STREAM, stream, raw.block('GET', '/large'));
  }
  await untilClosed(raw);
});

/** The socket is not read, so that it does not learn that it was closed before it writes. */
async function untilClosed(raw: RawHttp2): Promise<void> {
  const poke = setInterval(() => raw.send(FRAME.PING, 0, 0, Buffer.alloc(8)), 50);
  await raw.closed;
  clearInterval(poke);
}

it('streams beyond 100 on a connection are refused as not processed', async () => {
  const raw = await greeted(patient);
  for (let stream = 1; stream <= 203; stream += 2) {
    raw.send(FRAME.HEADERS, END_HEADERS | END_STREAM, stream, raw.block('POST', '/wait'));
  }
  await until(() => raw.resets(203) !== undefined);
  expect([raw.resets(201), raw.resets(203)]).toEqual([7, 7]);
  expect(waiting).toHaveLength(100);
  raw.socket.destroy();
});

it('streams beyond 1,000 on all connections are refused as not processed, until others have ended', async () => {
  const clients = await Promise.all(
    Array.from({ length: 10 }, () => Http2Client.open(urlOf(patient), { ca })),
  );
  const replies = clients.flatMap((client) =>
    Array.from({ length: 100 }, () => client.raw('POST', '/wait', 'x')),
  );
  await until(() => waiting.length === 1_000);
  const last = await Http2Client.open(urlOf(patient), { ca });
  await expect(last.raw('POST', '/')).rejects.toThrow(`code ${constants.NGHTTP2_REFUSED_STREAM}`);
  for (const outgoing of waiting) outgoing.end('done');
  await Promise.all(replies);
  expect((await last.raw('POST', '/')).body.toString()).toBe('served');
  await Promise.all([...clients, last].map((client) => client.close()));
});

it('a client that opens and resets streams without end is told to go away, and served no more', async () => {
  const raw = await greeted(patient);
  const reset = Buffer.of(0, 0, 0, constants.NGHTTP2_CANCEL);
  let stream = 1;
  for (; stream < 6_000; stream += 2) {
    raw.send(FRAME.HEADERS, END_HEADERS | END_STREAM, stream, raw.block('POST', '/wait'));
    raw.send(FRAME.RST_STREAM, 0, stream, reset);
  }
  await until(() => raw.goneAway);
  expect(waiting.length).toBeLessThan(2_000);
  raw.send(FRAME.HEADERS, END_HEADERS | END_STREAM, stream, raw.block('POST', '/'));
  const other = await Http2Client.open(urlOf(patient), { ca });
  expect((await other.raw('POST', '/')).body.toString()).toBe('served');
  await other.close();
  expect(raw.frames.filter(({ type }) => type === FRAME.HEADERS)).toEqual([]);
  raw.socket.destroy();
});

it.each([
  ['settings', FRAME.SETTINGS, 0],
  ['pings', FRAME.PING, 8],
])('a flood of %s whose answers are not read ends the connection', async (_, type, length) => {
  const raw = await greeted(patient);
  raw.socket.pause();
  const burst = Buffer.concat(Array.from({ length: 5_000 }, () => frame(type, 0, 0, Buffer.alloc(length))));
  const flood = setInterval(() => {
    if (raw.socket.writableLength < 1_000_000) raw.socket.write(burst);
  }, 1);
  await raw.closed;
  clearInterval(flood);
});

it('a stream reset by its client tells the request that it is closed, once; its socket may still be asked', async () => {
  const client = await Http2Client.open(urlOf(patient), { ca });
  const stream = client.begin('POST', '/wait');
  const ended = replyOf(stream).catch(() => 'reset');
  await until(() => waiting.length === 1);
  let closes = 0;
  waiting[0]?.on('close', () => closes++);
  stream.close(constants.NGHTTP2_CANCEL);
  expect(await ended).toBe('reset');
  await until(() => closes > 0);
  const [outgoing] = waiting;
  expect(outgoing && peerSubject(outgoing.req.socket)).toBeUndefined();
  await client.close();
  expect(closes).toBe(1);
  expect(outgoing && [peerSubject(outgoing.req.socket), outgoing.req.socket.remoteAddress]).toEqual([
    undefined,
    undefined,
  ]);
});
