import fc from 'fast-check';
import { gzipSync } from 'node:zlib';
import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';
import { TestClient } from '../support/http.js';
import { Scrape } from '../support/metrics.js';
import { openProxyWorld, type ProxyWorld } from '../support/proxy-world.js';
import { RawConnection, requestText, talk, type RawReply } from '../support/raw-socket.js';
import { until } from '../support/until.js';

const MAX_BODY = 2_048;
const BODY_TIMEOUT_MS = 200;
const BALANCE = '/0/private/Balance';
const INVALID = 'EGeneral:Invalid arguments';
const DENIED = 'EGeneral:Permission denied';

let world: ProxyWorld;
let client: TestClient;
let unfinished: RawConnection;
let unfinishedFor: Promise<number>;
beforeAll(async () => {
  world = await openProxyWorld({
    config: { listen: { maxBodyBytes: MAX_BODY, bodyTimeoutMs: BODY_TIMEOUT_MS } },
  });
  client = new TestClient(world.url);
  // Headers that never end are cut off after some seconds: the other tests run meanwhile.
  unfinished = await RawConnection.open(world.url);
  unfinished.write(`POST ${BALANCE} HTTP/1.1\r\nHost: localhost\r\nX-Slow: `);
  const since = performance.now();
  unfinishedFor = unfinished.closed.then(() => performance.now() - since);
});
afterAll(async () => {
  client.close();
  await world.close();
});

interface Footprint {
  readonly received: number;
  readonly nonces: number;
  readonly ownErrors: number;
}

let before: Footprint;
beforeEach(async () => {
  before = await footprint();
});

async function footprint(): Promise<Footprint> {
  const scrape = await Scrape.of(world.opsUrl);
  return {
    received: world.sandbox.receivedCount,
    nonces: scrape.value('nonces_issued_total'),
    ownErrors: scrape.value('own_errors_total'),
  };
}

/** Nothing was sent, no nonce was spent, and the next call is served. */
async function expectNothingHappened(refusals?: number): Promise<void> {
  const after = await footprint();
  expect(after.received).toBe(before.received);
  expect(after.nonces).toBe(before.nonces);
  if (refusals !== undefined) expect(after.ownErrors - before.ownErrors).toBe(refusals);
  expect((await client.private('Balance')).json?.error).toEqual([]);
  expect(world.sandbox.receivedCount).toBe(before.received + 1);
  expect(world.log.filter(({ level }) => Number(level) >= 50)).toEqual([]); // none of it is a bug
}

function expectOwnError(reply: RawReply | undefined, code: string, envelope: string): void {
  expect(reply?.status).toBe(200);
  expect(reply?.body.toString()).toBe(JSON.stringify({ error: [envelope] }));
  expect(reply?.headers['x-proxy-error']).toBe(code);
}

/** As the operator's listener says it. */
function expectForbidden(reply: RawReply | undefined): void {
  expect(reply?.status).toBe(403);
  expect(reply?.body.toString()).toMatch(/^\{"error":\{"code":"forbidden",/);
  expect(reply?.headers['x-proxy-error']).toBe('permission-denied');
}

function post(
  target: string,
  body: string | Buffer = '',
  headers: Record<string, string> = {},
): Promise<RawReply | undefined> {
  return talk(world.url, requestText(world.url, 'POST', target, body.toString('latin1'), headers));
}

describe('a body that is refused', () => {
  it.each<[string, string | Buffer, Record<string, string>]>([
    ['bad UTF-8', Buffer.from([0x61, 0x3d, 0xff, 0xfe]), {}],
    ['a cut-off UTF-8 sequence', Buffer.from('a=\u20ac').subarray(0, 4), {}],
    ['a byte order mark', Buffer.from('\ufeffa=1'), {}],
    ['broken JSON', '{"a":1', {}],
    ['JSON with a trailing comma', '{"a":1,}', {}],
    ['JSON with something behind it', '{"a":1}{"b":2}', {}],
    ['JSON nested too deep', `{"a":${'['.repeat(200)}${']'.repeat(200)}}`, {}],
    ['a JSON array', '[{"a":1}]', {}],
    ['a JSON string', '"a=1"', {}],
    ['a JSON number', '42', {}],
    ['a JSON null', 'null', {}],
    ['neither form nor JSON', 'hello', {}],
    ['a nonce in capitals', 'Nonce=1', {}],
    ['a nonce in brackets', 'nonce[]=1', {}],
    ['a nonce in capitals in JSON', '{"NONCE":1}', {}],
    ['multipart', '--x\r\n\r\na=1\r\n--x--', { 'Content-Type': 'multipart/form-data; boundary=x' }],
    ['gzip', gzipSync('a=1'), { 'Content-Encoding': 'gzip' }],
    ['an encoding nobody knows', 'a=1', { 'Content-Encoding': 'zstd, br' }],
    ['a transfer coding beside chunked', '3\r\na=1\r\n0\r\n\r\n', {}],
  ])('%s: invalid arguments, nothing sent', async (name, body, headers) => {
    if (name.startsWith('a transfer coding')) {
      const head = `POST ${BALANCE} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n`;
      const zipped = gzipSync('a=1');
      const chunk = `\r\n${zipped.length.toString(16)}\r\n${zipped.toString('latin1')}\r\n0\r\n\r\n`;
      expectOwnError(await talk(world.url, head + chunk), 'invalid-body', INVALID);
    } else {
      expectOwnError(await post(BALANCE, body, headers), 'invalid-body', INVALID);
    }
    await expectNothingHappened(1);
  });
});

describe('the size of a body', () => {
  const full = `a=${'x'.repeat(MAX_BODY - 2)}`;

  it('may be exactly maxBodyBytes', async () => {
    expect((await post(BALANCE, full))?.body.toString()).toMatch(/^\{"error":\[\],/);
    expect(world.sandbox.received.at(-1)?.rawBody.toString().endsWith(`&${full}`)).toBe(true);
    const chunked = { 'Content-Length': '', 'Transfer-Encoding': 'chunked' };
    const text = requestText(world.url, 'POST', BALANCE, chunk(full), chunked).replace(
      /Content-Length: \r\n/,
      '',
    );
    expect((await talk(world.url, text))?.body.toString()).toMatch(/^\{"error":\[\],/);
  });

  it('over it by content-length is refused before the body is there', async () => {
    const head = requestText(world.url, 'POST', BALANCE, '', { 'Content-Length': String(MAX_BODY + 1) });
    expectOwnError(await talk(world.url, head), 'body-too-large', INVALID);
    await expectNothingHappened(1);
  });

  it('over it in chunks is refused, and a client that sends on to the end reads its answer', async () => {
    const connection = await RawConnection.open(world.url);
    const head = requestText(world.url, 'POST', BALANCE, '', { 'Transfer-Encoding': 'chunked' });
    connection.write(head.replace(/Content-Length: 0\r\n/, ''));
    for (let sent = 0; sent < 64; sent++) connection.write(chunk('x'.repeat(16_384), false));
    connection.write('0\r\n\r\n');
    expectOwnError(await connection.reply(), 'body-too-large', INVALID);
    connection.hangUp();
    await expectNothingHappened(1);
  });

  it('over it leaves the connection good for the next call', async () => {
    const connection = await RawConnection.open(world.url);
    connection.write(requestText(world.url, 'POST', BALANCE, 'x'.repeat(1_000_000)));
    expectOwnError(await connection.reply(), 'body-too-large', INVALID);
    connection.write(requestText(world.url, 'POST', BALANCE));
    expect((await connection.reply())?.body.toString()).toMatch(/^\{"error":\[\],/);
    connection.hangUp();
  });

  it.each([20, 400])('claimed in %i digits is refused', async (digits) => {
    const length = '9'.repeat(digits);
    const reply = await talk(
      world.url,
      requestText(world.url, 'POST', BALANCE, '', { 'Content-Length': length }),
    );
    expect([200, 400]).toContain(reply?.status);
    expect(reply?.body.toString()).not.toContain('result');
    await expectNothingHappened();
  });

  function chunk(text: string, ended = true): string {
    return `${text.length.toString(16)}\r\n${text}\r\n${ended ? '0\r\n\r\n' : ''}`;
  }
});

describe('a request that is slow', () => {
  it('in its body is answered after bodyTimeoutMs', async () => {
    const started = performance.now();
    const text = requestText(world.url, 'POST', BALANCE, 'a=1', { 'Content-Length': '10' });
    expectOwnError(await talk(world.url, text), 'invalid-body', INVALID);
    expect(performance.now() - started).toBeGreaterThanOrEqual(BODY_TIMEOUT_MS - 1);
    await expectNothingHappened(1);
  });

  it('in its body without end, byte by byte, is answered all the same and then cut off', async () => {
    const connection = await RawConnection.open(world.url);
    const head = requestText(world.url, 'POST', BALANCE, '', { 'Transfer-Encoding': 'chunked' });
    connection.write(head.replace(/Content-Length: 0\r\n/, ''));
    const drip = setInterval(() => connection.write('1\r\na\r\n'), 20);
    expectOwnError(await connection.reply(), 'invalid-body', INVALID);
    await connection.closed;
    clearInterval(drip);
    await expectNothingHappened(1);
  });

  it('of which the client gives up is forgotten', async () => {
    const connection = await RawConnection.open(world.url);
    connection.write(requestText(world.url, 'POST', BALANCE, 'a=1', { 'Content-Length': '10' }));
    connection.hangUp();
    await expectNothingHappened(0);
  });
});

describe('a method that is none of Kraken’s', () => {
  it.each(['GET', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'HEAD', 'TRACE', 'PROPFIND', 'QUERY'])(
    '%s of a private call is not allowed',
    async (method) => {
      const connection = await RawConnection.open(world.url);
      connection.write(requestText(world.url, method, BALANCE, '', { Connection: 'close' }));
      // A HEAD's answer announces a body that does not come.
      const reply = method === 'HEAD' ? undefined : await connection.reply();
      if (method === 'HEAD') await connection.closed;
      else expect([405, 400]).toContain(reply?.status);
      if (reply?.status === 405) expect(reply.headers.allow).toBe('POST');
      connection.hangUp();
      await expectNothingHappened();
    },
  );

  it.each(['PUT', 'DELETE', 'OPTIONS'])('%s of a public call is not allowed', async (method) => {
    const reply = await talk(world.url, requestText(world.url, method, '/0/public/Time'));
    expect(reply?.status).toBe(405);
    expect(reply?.headers.allow).toBe('GET, POST');
    await expectNothingHappened();
  });

  it.each(['BREW', 'post', 'POST\t', ''])('%j is no method', async (method) => {
    const reply = await talk(world.url, requestText(world.url, method, BALANCE));
    expect(reply?.status).toBe(400);
    await expectNothingHappened();
  });

  it('CONNECT opens no tunnel', async () => {
    const target = new URL(world.sandbox.url).host;
    expect(await talk(world.url, `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`)).toBeUndefined();
    await expectNothingHappened();
  });

  it('an upgrade to a WebSocket is not made', async () => {
    const headers = {
      Connection: 'Upgrade',
      Upgrade: 'websocket',
      'Sec-WebSocket-Key': 'x',
      'Sec-WebSocket-Version': '13',
    };
    const reply = await talk(world.url, requestText(world.url, 'GET', BALANCE, '', headers));
    expect(reply?.status).toBe(405);
    await expectNothingHappened();
  });
});

describe('a path that is none of Kraken’s to the letter', () => {
  const own = (target: string): string => target.replace('SELF', new URL(world.url).host);
  it.each([
    '/',
    '/0',
    '/0/private/',
    '/0/private/../private/Balance',
    '/0/private/../public/Time',
    '/0/public/../private/Balance',
    '/0/private/./Balance',
    '/0/private/Balance/..',
    '/0/private/%2e%2e/Balance',
    '/0/private/%2E%2E/private/Balance',
    '/0/private%2fBalance',
    '/0/private/Earn%2FAllocate',
    '/0/private/Earn%252FAllocate',
    '/0/private/Bal%61nce',
    '/0/private//Balance',
    '//0/private/Balance',
    '/0//private/Balance',
    '/0/private/Balance/',
    '/0/private/Balance//',
    '/0/private/Balance;x=1',
    '/0/private/Balance#x',
    '/0/private/Balance?a=1#x',
    '/0/private\\Balance',
    '/0\\private\\Balance',
    '/0/PRIVATE/Balance',
    '/1/private/Balance',
    '/0/private/Balance:443',
    '/0/private/Balance@evil.example',
    '//evil.example/0/private/Balance',
    '//evil.example',
    '/accounts/alice/accounts/master/0/private/Balance',
    '/accounts//0/private/Balance',
    '/accounts/../0/private/Balance',
    '/accounts/alice/../0/private/Balance',
    '/accounts/al%69ce/0/private/Balance',
    '/sandbox/faults',
    'http://SELF/0/private/Balance',
    'http://evil.example/0/private/Balance',
    'https://api.kraken.com/0/private/Balance',
    'api.kraken.com:443',
    '*',
    '0/private/Balance',
    '/0/private/Balance\u00e9',
    '/0/private/Balance%00',
    '/0/private/Balance\u0000',
    '/0/private/Balance\u0007',
    '/0/private/Balance\t',
    '/0/private/Bal ance',
  ])('%j is not served', async (target) => {
    await expectNotServed(own(target));
  });

  it.each([
    ['a name of 65 letters', `/0/private/${'A'.repeat(65)}`],
    ['ten names', `/0/private/${'A/'.repeat(9)}A`],
    ['a name of 9,000 letters', `/0/private/${'A'.repeat(9_000)}`],
    ['a query beyond the limit of headers', `/0/private/Balance?${'a'.repeat(20_000)}`],
  ])('%s is not served', async (_, target) => {
    await expectNotServed(target);
  });

  async function expectNotServed(target: string): Promise<void> {
    const reply = await post(target, 'asset=XBT');
    expect([400, 404, 431]).toContain(reply?.status);
    expect(reply?.body.toString()).not.toContain('result');
    await expectNothingHappened();
  }

  it.each(['nonce=1', 'a=1&nonce=1', 'a=1&NONCE=1', '%6eonce=1', 'otp=1', 'nonce[]=1'])(
    '?%s: a nonce or otp does not belong there',
    async (query) => {
      expectOwnError(await post(`${BALANCE}?${query}`), 'invalid-body', INVALID);
      await expectNothingHappened(1);
    },
  );

  it.each(['API-Nonce', 'api-otp'])('a nonce or otp in the header %s is refused', async (name) => {
    expectOwnError(await post(BALANCE, '', { [name]: '1' }), 'invalid-body', INVALID);
    await expectNothingHappened(1);
  });
});

describe('HTTP that is ambiguous', () => {
  it.each([
    [
      'content-length and transfer-encoding',
      'Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    [
      'transfer-encoding and content-length',
      'Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n',
    ],
    ['two content-lengths', 'Content-Length: 3\r\nContent-Length: 4\r\n\r\na=1'],
    ['a list of content-lengths', 'Content-Length: 3, 3\r\n\r\na=1'],
    ['a signed content-length', 'Content-Length: +3\r\n\r\na=1'],
    ['a hexadecimal content-length', 'Content-Length: 0x3\r\n\r\na=1'],
    [
      'a transfer-encoding that is not chunked at its end',
      'Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n',
    ],
    ['a blank before the colon', 'Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n'],
    ['a bad chunk size', 'Transfer-Encoding: chunked\r\n\r\nzz\r\na=1\r\n0\r\n\r\n'],
    [
      'a chunk size beyond 64 bits',
      `Transfer-Encoding: chunked\r\n\r\n${'f'.repeat(17)}\r\na=1\r\n0\r\n\r\n`,
    ],
    ['a header folded over two lines', 'Content-Length: 0\r\nAPI-Key: a\r\n b\r\n\r\n'],
    ['a bare line feed in a header', 'Content-Length: 0\r\nX: a\nAPI-Key: b\r\n\r\n'],
    ['a bare carriage return in a header', 'Content-Length: 0\r\nX: a\rAPI-Key: b\r\n\r\n'],
    ['a NUL in a header', 'Content-Length: 0\r\nX: a\u0000b\r\n\r\n'],
    ['a header without a name', 'Content-Length: 0\r\n: b\r\n\r\n'],
    ['a header name with a blank', 'Content-Length: 0\r\nAPI Key: b\r\n\r\n'],
    ['headers without end', `X: ${'a'.repeat(40_000)}\r\n\r\n`],
    ['an expectation nobody knows', 'Content-Length: 0\r\nExpect: 200-ok\r\n\r\n'],
  ])('%s is not served', async (_, rest) => {
    const reply = await talk(world.url, `POST ${BALANCE} HTTP/1.1\r\nHost: localhost\r\n${rest}`);
    expect([400, 413, 417, 431, 200]).toContain(reply?.status);
    expect(reply?.body.toString()).not.toContain('result');
    await expectNothingHappened();
  });

  it('a second request smuggled behind a content-length is read as the request it is', async () => {
    const connection = await RawConnection.open(world.url);
    const inner = requestText(world.url, 'POST', BALANCE, '', { Origin: 'https://evil.example' });
    connection.write(requestText(world.url, 'POST', '/nowhere', '') + inner);
    expect((await connection.reply())?.status).toBe(404);
    expectOwnError(await connection.reply(), 'permission-denied', DENIED);
    connection.hangUp();
    await expectNothingHappened(1);
  });

  it('HTTP/1.0 without a Host is refused, with one it is served', async () => {
    const without = await talk(world.url, `POST ${BALANCE} HTTP/1.0\r\n\r\n`);
    expect([200, 400]).toContain(without?.status);
    expect(without?.body.toString()).not.toContain('result');
    await expectNothingHappened();
    const served = await talk(world.url, `POST ${BALANCE} HTTP/1.0\r\nHost: localhost\r\n\r\n`);
    expect(served?.body.toString()).toMatch(/^\{"error":\[\],/);
  });

  it.each(['HTTP/1.2', 'HTTP/3.0', 'HTTP/9.9', 'ICE/1.1'])('%s is not served', async (version) => {
    const reply = await talk(world.url, `POST ${BALANCE} ${version}\r\nHost: localhost\r\n\r\n`);
    expect(reply?.status).toBe(400);
    await expectNothingHappened();
  });

  it('a TLS hello and the preface of HTTP/2 are turned away', async () => {
    const hello = Buffer.from('16030100c6010000c20303', 'hex');
    expect((await talk(world.url, hello))?.status ?? 400).toBe(400);
    expect((await talk(world.url, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'))?.status ?? 400).toBe(400);
    await expectNothingHappened();
  });
});

describe('a header injected with a line break', () => {
  it.each(['API-Key', 'Authorization', 'User-Agent', 'X-Custom'])(
    'in %s never gets to Kraken',
    async (name) => {
      const injected = `a\u0085b\u2028c`.replace('\u2028', '\u00e2\u0080\u00a8');
      const reply = await post(BALANCE, '', { [name]: injected });
      expect([200, 400]).toContain(reply?.status);
      const { headers } = world.sandbox.received.at(-1) ?? { headers: {} };
      expect(Object.keys(headers)).not.toContain('c');
      expect((await client.private('Balance')).json?.error).toEqual([]);
    },
  );
});

const ACT = JSON.stringify({ who: 'ana', why: 'a test' });

describe.each([
  ['the proxy', () => world.url, 'POST', BALANCE, ''],
  ['the ops listener', () => world.opsUrl, 'POST', '/v1/startup-window/close', ACT],
  ['the ops listener, reading', () => world.opsUrl, 'GET', '/metrics', ''],
] as const)('%s', (listener, url, method, target, body) => {
  const ask = (headers: Record<string, string>): Promise<RawReply | undefined> => {
    const type: Record<string, string> = body === '' ? {} : { 'Content-Type': 'application/json' };
    return talk(url(), requestText(url(), method, target, body, { ...type, ...headers }));
  };
  const expectDenied = (reply: RawReply | undefined): void => {
    if (listener === 'the proxy') expectOwnError(reply, 'permission-denied', DENIED);
    else expectForbidden(reply);
  };

  it.each([
    ['evil.example'],
    ['evil.example:8787'],
    ['127.0.0.1.evil.example'],
    ['localhost.evil.example:80'],
    ['localhost@evil.example'],
    ['127.0.0.2'],
    ['0.0.0.0'],
    ['2130706433'],
    ['0x7f.1'],
    ['127.1'],
    ['[::ffff:127.0.0.1]'],
    ['localhost.'],
    ['localhost:8787:80'],
    ['localhost,evil.example'],
    ['a localhost'],
    [''],
    [':8787'],
    ['api.kraken.com'],
  ])('refuses the foreign Host %j, as DNS rebinding brings it', async (host) => {
    const reply = await ask({ Host: host });
    if (reply?.status !== 400) expectDenied(reply);
    expect(reply?.body.toString()).not.toContain('result');
    await expectNothingHappened();
  });

  it.each(['localhost', 'LOCALHOST', 'LocalHost:1', '127.0.0.1', '127.0.0.1:65535', '[::1]', '[::1]:8787'])(
    'answers to the Host %s',
    async (host) => {
      const reply = await ask({ Host: host });
      expect(reply?.status).toBe(200);
      expect(reply?.headers['x-proxy-error']).toBeUndefined();
    },
  );

  it.each<[string, Record<string, string>]>([
    ['Origin', { Origin: 'https://evil.example' }],
    ['Origin: null, as from a sandboxed frame', { Origin: 'null' }],
    ['an empty Origin', { Origin: '' }],
    ['an Origin of its own', { ORIGIN: 'http://localhost:8787' }],
    ['Sec-Fetch-Site', { 'Sec-Fetch-Site': 'same-site' }],
    ['Sec-Fetch-Mode in capitals', { 'SEC-FETCH-MODE': 'no-cors' }],
    ['a Sec-Fetch header of times to come', { 'Sec-Fetch-Storage-Access': 'none' }],
    [
      'all that Chromium sends with a form',
      {
        Connection: 'keep-alive',
        'Cache-Control': 'max-age=0',
        'sec-ch-ua': '"Chromium";v="131"',
        'sec-ch-ua-mobile': '?0',
        'sec-ch-ua-platform': '"Linux"',
        Origin: 'null',
        'Content-Type': 'application/x-www-form-urlencoded',
        'Upgrade-Insecure-Requests': '1',
        'User-Agent': 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/131.0.0.0 Safari/537.36',
        Accept: 'text/html,application/xhtml+xml',
        'Sec-Fetch-Site': 'cross-site',
        'Sec-Fetch-Mode': 'navigate',
        'Sec-Fetch-User': '?1',
        'Sec-Fetch-Dest': 'document',
        'Accept-Encoding': 'gzip, deflate, br',
      },
    ],
  ])('refuses a web page: %s', async (_name, headers) => {
    expectDenied(await ask(headers));
    await expectNothingHappened(1);
  });
});

it('an address typed into a browser gets nothing of the proxy', async () => {
  expectOwnError(await post(BALANCE, '', { 'Sec-Fetch-Site': 'none' }), 'permission-denied', DENIED);
  await expectNothingHappened(1);
});

it('a preflight is refused without leave for anything', async () => {
  const headers = { Origin: 'https://evil.example', 'Access-Control-Request-Method': 'POST' };
  for (const url of [world.url, world.opsUrl]) {
    const reply = await talk(url, requestText(url, 'OPTIONS', BALANCE, '', headers));
    expect(reply?.headers['x-proxy-error']).toBe('permission-denied');
    expect(Object.keys(reply?.headers ?? {}).filter((name) => name.startsWith('access-control'))).toEqual([]);
  }
  await expectNothingHappened(2);
});

it('an act of the operator needs POST and its exact path', async () => {
  for (const [method, target] of [
    ['GET', '/v1/startup-window/close'],
    ['POST', '/v1/startup-window/closed'],
    ['POST', '/v1/startup-window'],
    ['POST', '/metrics'],
  ] as const) {
    expect((await talk(world.opsUrl, requestText(world.opsUrl, method, target)))?.status).toBe(404);
  }
  await expectNothingHappened();
});

describe('random bytes on the socket', () => {
  const token = fc.constantFrom(
    'POST /0/private/Balance HTTP/1.1\r\n',
    'GET /0/public/Time HTTP/1.1\r\n',
    'Host: localhost\r\n',
    'Content-Length: 5\r\n',
    'Transfer-Encoding: chunked\r\n',
    'API-Key: sandbox-master-key\r\n',
    '\r\n',
    '\r\n\r\n',
    '{"nonce":1}',
    'nonce=1&a=b',
    '5\r\n',
    '0\r\n\r\n',
    ' ',
    ': ',
    '\n',
    '\u0000',
  );
  const noise = fc.uint8Array({ maxLength: 20 }).map((some) => Buffer.from(some).toString('latin1'));
  const bytes = fc
    .array(fc.oneof({ weight: 4, arbitrary: token }, noise), {
      minLength: 1,
      maxLength: 12,
    })
    .map((pieces) => Buffer.from(pieces.join(''), 'latin1'));

  it('bring neither the proxy down nor anything unsigned to Kraken', async () => {
    const first = world.sandbox.receivedCount;
    const connections: RawConnection[] = [];
    await fc.assert(
      fc.asyncProperty(bytes, fc.constantFrom('proxy', 'ops'), async (sent, listener) => {
        const connection = await RawConnection.open(listener === 'proxy' ? world.url : world.opsUrl);
        connections.push(connection);
        connection.write(sent);
      }),
      { numRuns: 200, endOnFailure: true },
    );
    // What was whole is answered by then; what was not is hung up on.
    expect((await client.private('Balance')).json?.error).toEqual([]);
    for (const connection of connections) connection.hangUp();
    await until(async () => (await Scrape.of(world.opsUrl)).value('lane_waiting') === 0);
    expect((await client.private('Balance')).json?.error).toEqual([]);
    const received = world.sandbox.received.slice(first - world.sandbox.receivedCount);
    for (const { endpoint, nonce, key, headers, error } of received) {
      if (endpoint === 'Time') continue;
      expect({ endpoint, error }).toEqual({ endpoint: 'Balance', error: undefined });
      expect(nonce).toMatch(/^\d{19}$/);
      expect(DEMO_KEYS.map((known) => known.key)).toContain(key);
      expect(headers['api-sign']).toMatch(/^[A-Za-z0-9+/]{86}==$/);
    }
    expect(world.log.filter(({ level }) => Number(level) >= 50)).toEqual([]);
  });
});

it('headers that never end are cut off', async () => {
  const reply = await unfinished.reply();
  expect(reply?.status ?? 408).toBe(408);
  expect(await unfinishedFor).toBeLessThan(12_000);
  await expectNothingHappened();
});
