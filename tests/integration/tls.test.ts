import { request, type RequestOptions } from 'node:https';
import { constants } from 'node:http2';
import { connect } from 'node:tls';
import { Http2Client, replyOf } from '../support/http2-client.js';
import { openOddUpstream } from '../support/odd-upstream.js';
import { END_HEADERS, END_STREAM, FRAME, RawHttp2 } from '../support/raw-http2.js';
import { requestText, talk } from '../support/raw-socket.js';
import { openTlsWorld, type TlsWorld } from '../support/tls-world.js';
import { until } from '../support/until.js';

const MAX_BODY = 2_048;
const BODY_TIMEOUT_MS = 200;
const ORDER = { pair: 'XBTUSD', type: 'buy', ordertype: 'limit', price: '37500', volume: '1.25' };
const ORDER_TEXT = new URLSearchParams(ORDER).toString();
const BALANCE = '/0/private/Balance';

let world: TlsWorld;
let client: Http2Client;
beforeAll(async () => {
  world = await openTlsWorld({ maxBodyBytes: MAX_BODY, bodyTimeoutMs: BODY_TIMEOUT_MS });
});
beforeEach(async () => {
  client = await Http2Client.open(world.url, { ca: world.ca });
});
afterEach(async () => {
  await client.close();
  await untilLane(0, 0);
  expect(world.log.filter(({ level }) => Number(level) >= 50)).toEqual([]); // none of it is a bug
});
afterAll(() => world.close());

function untilLane(waiting: number, inFlight: number): Promise<void> {
  return until(async () => {
    const lane = await world.lane();
    return lane.waiting === waiting && lane.inFlight === inFlight;
  });
}

interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
}

/** A call as any program makes it with node:https. */
function overHttp1(path: string, body: string, options: RequestOptions = {}): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(world.url);
    const req = request(
      { hostname, port, path, method: 'POST', ca: world.ca, agent: false, ...options },
      (res) => {
        let text = '';
        res.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
        res.on('error', reject).on('end', () => {
          resolve({ status: res.statusCode ?? 0, headers: res.headers, body: text });
        });
      },
    );
    req.on('error', reject).end(body);
  });
}

/** The calls that reach the sandbox meanwhile. */
async function sentDuring(work: () => Promise<void>): Promise<(string | undefined)[]> {
  const before = world.sandbox.receivedCount;
  await work();
  return world.sandbox.received.filter(({ seq }) => seq > before).map(({ endpoint }) => endpoint);
}

it('an order over HTTP/2 is signed, and the sandbox takes it', async () => {
  const reply = await client.private('AddOrder', ORDER);
  expect(reply.status).toBe(200);
  expect(reply.json?.error).toEqual([]);
  expect(reply.headers['x-request-id']).toMatch(/./);
  expect(reply.headers['content-length']).toBe(String(reply.body.length));
  const received = world.sandbox.received.at(-1);
  expect(received).toMatchObject({ endpoint: 'AddOrder', executed: true });
  expect(received?.rawBody.toString()).toContain(`&${ORDER_TEXT}`);
  expect(Object.keys(received?.headers ?? {}).filter((name) => name.startsWith(':'))).toEqual([]);
  expect(received?.headers.host).toBe(new URL(world.gate.url).host);
});

it('an order over HTTP/1.1 in TLS is signed, and the sandbox takes it', async () => {
  const reply = await overHttp1('/0/private/AddOrder', ORDER_TEXT);
  expect(JSON.parse(reply.body)).toMatchObject({ error: [] });
  expect(world.sandbox.received.at(-1)).toMatchObject({ endpoint: 'AddOrder', executed: true });
});

it('a public call over HTTP/2 is served', async () => {
  const stream = client.session.request({ ':path': '/0/public/Time' });
  expect((await replyOf(stream)).json?.error).toEqual([]);
  expect((await client.raw('POST', '/0/public/Time')).json?.error).toEqual([]);
});

it.each([
  ['304 Not Modified', '', 304],
  ['520 Odd', '<html>', 520],
])(
  'what Kraken answers with %s reaches an HTTP/2 client, repeated headers as one',
  async (line, body, status) => {
    const head = [
      'Vary: a',
      'Vary: b',
      'Content-Type: text/x',
      'Content-Type: text/y',
      'Connection: keep-alive',
    ];
    const length = status === 304 ? [] : [`Content-Length: ${body.length}`];
    const odd = await openOddUpstream([`HTTP/1.1 ${line}`, ...head, ...length, '', body].join('\r\n'));
    const other = await openTlsWorld({}, odd.url);
    const bot = await Http2Client.open(other.url, { ca: other.ca });
    const reply = await replyOf(bot.session.request({ ':path': '/0/public/Time' }));
    expect([reply.status, reply.body.toString()]).toEqual([status, body]);
    expect(reply.headers).toMatchObject({ vary: 'a, b', 'content-type': 'text/x, text/y' });
    expect(reply.headers.connection).toBeUndefined();
    await bot.close();
    await other.close();
    await odd.close();
  },
);

it('many calls at once on one HTTP/2 connection are all served, and no two are in flight to Kraken', async () => {
  const replies = await Promise.all(Array.from({ length: 250 }, () => client.private('Balance')));
  expect(replies.filter(({ json }) => json?.error.length !== 0)).toEqual([]);
  expect(world.sandbox.maxInFlight).toBe(1);
});

describe('a client that gives up on a call that waits', () => {
  async function giveUp(leave: (waiting: ReturnType<Http2Client['begin']>[]) => void): Promise<void> {
    const other = await Http2Client.open(world.url, { ca: world.ca });
    const sent = await sentDuring(async () => {
      world.gate.shut();
      const first = other.private('Balance');
      await untilLane(0, 1);
      const waiting = ['AddOrder', 'CancelAll'].map((name) => client.begin('POST', `/0/private/${name}`));
      for (const stream of waiting) stream.end(ORDER_TEXT);
      await untilLane(2, 1);
      leave(waiting);
      await untilLane(0, 1);
      world.gate.open();
      expect((await first).json?.error).toEqual([]);
      expect((await other.private('OpenOrders')).json?.error).toEqual([]);
    });
    expect(sent).toEqual(['Balance', 'OpenOrders']);
    await other.close();
  }

  it.each(['NGHTTP2_CANCEL', 'NGHTTP2_NO_ERROR', 'NGHTTP2_INTERNAL_ERROR'] as const)(
    'by RST_STREAM with %s: the call is not sent',
    (code) =>
      giveUp((waiting) => {
        for (const stream of waiting) stream.close(constants[code]);
      }),
  );

  it('by closing the connection: the call is not sent', () => giveUp(() => client.session.destroy()));

  it('over HTTP/1.1 in TLS: the call is not sent', async () => {
    const sent = await sentDuring(async () => {
      world.gate.shut();
      const first = overHttp1(BALANCE, '');
      await untilLane(0, 1);
      const gone = new AbortController();
      const order = overHttp1('/0/private/AddOrder', ORDER_TEXT, { signal: gone.signal });
      await untilLane(1, 1);
      gone.abort();
      await expect(order).rejects.toThrow('aborted');
      await untilLane(0, 1);
      world.gate.open();
      expect((await first).status).toBe(200);
    });
    expect(sent).toEqual(['Balance']);
  });
});

describe('a body over HTTP/2', () => {
  it('may be exactly maxBodyBytes', async () => {
    const fields = { a: 'x'.repeat(MAX_BODY - 2) };
    expect((await client.private('Balance', fields)).json?.error).toEqual([]);
  });

  it.each(['with', 'without'])(
    'that is too large, %s a content-length, is refused; nothing is sent',
    async (length) => {
      const body = 'x'.repeat(200_000);
      const headers = length === 'with' ? { 'content-length': String(body.length) } : undefined;
      const sent = await sentDuring(async () => {
        const reply = await client.raw('POST', BALANCE, body, headers);
        expect(reply.headers['x-proxy-error']).toBe('body-too-large');
      });
      expect(sent).toEqual([]);
      expect((await client.private('Balance')).json?.error).toEqual([]);
    },
  );

  it('that is slow is refused after bodyTimeoutMs', async () => {
    const sent = await sentDuring(async () => {
      const stream = client.begin('POST', '/0/private/AddOrder');
      stream.write('pair=XBTUSD');
      const answer = await new Promise((resolve) => stream.once('response', resolve));
      expect(answer).toMatchObject({ 'x-proxy-error': 'invalid-body' });
      stream.close();
    });
    expect(sent).toEqual([]);
  });

  it.each(['NGHTTP2_NO_ERROR', 'NGHTTP2_CANCEL'] as const)(
    'that is broken off by RST_STREAM with %s is not taken for a whole one',
    async (code) => {
      const sent = await sentDuring(async () => {
        const stream = client.begin('POST', '/0/private/AddOrder');
        stream.write(ORDER_TEXT);
        // The proxy has seen it once it has answered a request sent after it.
        await client.raw('GET', '/');
        stream.close(constants[code]);
        await client.private('Balance');
      });
      expect(sent).toEqual(['Balance']);
    },
  );

  it('that is broken off in so many frames is not taken for a whole one', async () => {
    const raw = await RawHttp2.open(world.url, world.ca);
    const sent = await sentDuring(async () => {
      raw.greet();
      raw.send(FRAME.HEADERS, END_HEADERS, 1, raw.block('POST', '/0/private/AddOrder'));
      raw.send(FRAME.DATA, 0, 1, ORDER_TEXT);
      raw.send(FRAME.RST_STREAM, 0, 1, Buffer.alloc(4)); // NO_ERROR
      raw.send(FRAME.HEADERS, END_HEADERS | END_STREAM, 3, raw.block('POST', BALANCE));
      await until(() => raw.frames.some(({ type, stream }) => type === FRAME.DATA && stream === 3));
      await client.private('OpenOrders');
    });
    expect(sent).toEqual(['Balance', 'OpenOrders']);
    raw.socket.destroy();
  });

  it.each(['3', '300'])('of 4 bytes with a content-length of %s is not taken', async (length) => {
    const sent = await sentDuring(async () => {
      const reply = client.raw('POST', '/0/private/AddOrder', 'a=12', { 'content-length': length });
      await expect(reply).rejects.toThrow('the stream closed with code');
    });
    expect(sent).toEqual([]);
  });
});

describe('a request over HTTP/2 that is none of a trading program', () => {
  const host = (): string => new URL(world.url).host;
  it.each<[string, () => Record<string, string>]>([
    ['Origin', () => ({ origin: 'https://evil.example' })],
    ['Sec-Fetch-Site', () => ({ 'sec-fetch-site': 'cross-site' })],
    ['a foreign :authority', () => ({ ':authority': 'evil.example' })],
    ['a foreign :authority beside a good Host', () => ({ ':authority': 'evil.example', host: host() })],
    ['a foreign Host beside a good :authority', () => ({ ':authority': host(), host: 'evil.example' })],
  ])('with %s is refused', async (_, headers) => {
    const sent = await sentDuring(async () => {
      const reply = await client.raw('POST', BALANCE, '', headers());
      expect(reply.headers['x-proxy-error']).toBe('permission-denied');
      expect(reply.body.toString()).not.toContain('result');
    });
    expect(sent).toEqual([]);
  });

  it('is served when Host and :authority agree', async () => {
    const reply = await client.raw('POST', BALANCE, '', { ':authority': host(), host: host() });
    expect(reply.json?.error).toEqual([]);
  });

  it.each(['GET', 'PUT', 'DELETE', 'OPTIONS', 'HEAD'])(
    '%s of a private call is not allowed',
    async (method) => {
      const stream = client.session.request({ ':method': method, ':path': BALANCE });
      stream.on('error', () => undefined);
      const reply = await replyOf(stream);
      expect([reply.status, reply.headers.allow]).toEqual([405, 'POST']);
    },
  );

  it('CONNECT opens no tunnel', async () => {
    const stream = client.session.request({ ':method': 'CONNECT', ':authority': 'localhost:1' });
    stream.on('error', () => undefined);
    const answer = await new Promise((resolve) => stream.once('response', resolve));
    expect(answer).toMatchObject({ ':status': 405 });
    stream.close();
  });

  it.each(['/', '/0/private/../private/Balance', '//0/private/Balance', '/0/private/Balance#x'])(
    'for %s finds nothing',
    async (path) => {
      expect((await client.raw('POST', path)).status).toBe(404);
    },
  );

  it('for a whole URL in :path is ended', async () => {
    const reply = client.raw('POST', 'https://api.kraken.com/0/private/Balance');
    await expect(reply).rejects.toThrow('the stream closed with code');
  });

  it('with headers beyond 16 KiB is refused', async () => {
    const reply = client.raw('POST', BALANCE, '', { 'x-large': 'x'.repeat(20_000) });
    await expect(reply).rejects.toThrow('the stream closed with code');
    expect((await client.private('Balance')).json?.error).toEqual([]);
  });
});

describe('the port', () => {
  async function negotiated(options: object): Promise<string | false | null> {
    const { hostname, port } = new URL(world.url);
    const socket = connect({ host: hostname, port: Number(port), ca: world.ca, ...options });
    await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
    const { alpnProtocol } = socket;
    socket.destroy();
    return alpnProtocol;
  }

  it('is an https one', () => expect(world.url).toMatch(/^https:/));

  it('speaks h2 and http/1.1, h2 first, and http/1.1 to whoever names nothing', async () => {
    expect(await negotiated({ ALPNProtocols: ['http/1.1', 'h2'] })).toBe('h2');
    expect(await negotiated({ ALPNProtocols: ['http/1.1'] })).toBe('http/1.1');
    expect(await negotiated({})).toBe(false);
    await expect(negotiated({ ALPNProtocols: ['spdy/3'] })).rejects.toThrow(/alert|ECONNRESET/);
    expect((await overHttp1(BALANCE, '')).status).toBe(200);
  });

  it('refuses TLS 1.1, and takes 1.2 and 1.3', async () => {
    const only = (version: string): object => ({
      minVersion: version,
      maxVersion: version,
      ciphers: 'DEFAULT:@SECLEVEL=0',
    });
    await expect(negotiated(only('TLSv1.1'))).rejects.toThrow(/alert|version/);
    expect(await negotiated(only('TLSv1.2'))).toBe(false);
    expect(await negotiated(only('TLSv1.3'))).toBe(false);
  });

  it('gives plain HTTP nothing, and serves on', async () => {
    const sent = await sentDuring(async () => {
      expect(await talk(world.url, requestText(world.url, 'POST', BALANCE))).toBeUndefined();
    });
    expect(sent).toEqual([]);
    expect((await client.private('Balance')).json?.error).toEqual([]);
  });
});
