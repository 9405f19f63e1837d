import { Secret } from '../../src/secret.js';
import { requestText, talk } from '../support/raw-socket.js';
import { openOperatorWorld, type OperatorWorld, type OpsReply } from '../support/operator-world.js';

const TOKEN = 'correct-horse-battery-staple-0123456789';
const JSON_BODY = JSON.stringify({ who: 'ana', why: 'w' });
const PAGE = (path: string): { headers: Record<string, string>; body: string } | undefined =>
  path === '/' || path === '/app.js'
    ? { headers: { 'content-type': 'text/html' }, body: 'the page' }
    : undefined;

let world: OperatorWorld;
async function open(options: Parameters<typeof openOperatorWorld>[0] = {}): Promise<OperatorWorld> {
  world = await openOperatorWorld({ page: PAGE, ...options });
  return world;
}
afterEach(() => world.close());

function bearer(token: string): { headers: Record<string, string> } {
  return { headers: { authorization: `Bearer ${token}` } };
}

/** Nothing was read, nothing was done. */
function expectRefused(reply: OpsReply, status: number, code: string): void {
  expect([reply.status, reply.code]).toEqual([status, code]);
  expect(reply.text).not.toContain('version');
  expect(reply.text).not.toContain(TOKEN);
  expect(world.controls.told).toEqual([]);
  expect(Object.keys(reply.headers).filter((name) => name.startsWith('access-control'))).toEqual([]);
}

describe('a web page of another origin', () => {
  const FETCH = { 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'empty' };
  const FOREIGN: readonly [string, Record<string, string>][] = [
    ['another Origin', { origin: 'https://evil.example' }],
    ['another port of this machine', { origin: 'http://localhost:3000' }],
    ['Origin: null', { origin: 'null' }],
    ['an empty Origin', { origin: '' }],
    ['an Origin that begins like ours', { origin: 'http://127.0.0.1:{port}.evil.example' }],
    ['an Origin without a scheme', { origin: '127.0.0.1:{port}' }],
    ['an Origin of another scheme', { origin: 'ftp://127.0.0.1:{port}' }],
    ['our Origin from another site', { origin: 'http://127.0.0.1:{port}', 'sec-fetch-site': 'cross-site' }],
    ['another Origin from our site', { origin: 'http://evil.example', 'sec-fetch-site': 'same-origin' }],
    ['Sec-Fetch-Site: cross-site', { ...FETCH, 'sec-fetch-site': 'cross-site' }],
    ['Sec-Fetch-Site: same-site', { ...FETCH, 'sec-fetch-site': 'same-site' }],
    ['a Sec-Fetch-Site of times to come', { ...FETCH, 'sec-fetch-site': 'same-origin-ish' }],
    ['Sec-Fetch headers without a site', FETCH],
    ['Sec-Fetch-Mode: navigate alone', { 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' }],
    ['a frame', { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'iframe' }],
    ['a foreign Host', { host: 'evil.example' }],
    ['a foreign Host with our Origin', { host: 'evil.example', origin: 'http://evil.example' }],
    ['a Host that begins like ours', { host: '127.0.0.1.evil.example' }],
    ['a Host with a user', { host: '127.0.0.1@evil.example' }],
  ];
  const REQUESTS: readonly (readonly [string, string])[] = [
    ['GET', '/v1/status'],
    ['HEAD', '/v1/status'],
    ['GET', '/v1/events'],
    ['POST', '/v1/pause'],
    ['OPTIONS', '/v1/pause'],
    ['PUT', '/v1/pause'],
    ['GET', '/metrics'],
    ['GET', '/readyz'],
    ['GET', '/'],
    ['GET', '/app.js'],
    ['POST', '/'],
    ['GET', '/nowhere'],
  ];

  it.each(FOREIGN)('is refused whatever it asks for: %s', async (_, given) => {
    await open();
    const headers = Object.fromEntries(
      Object.entries(given).map(([name, value]) => [name, value.replace('{port}', String(world.port))]),
    );
    for (const [method, path] of REQUESTS) {
      const reply = await world.ask(method, path, {
        headers: { 'content-type': 'application/json', ...headers },
        body: method === 'POST' || method === 'PUT' ? JSON_BODY : '',
      });
      // A Host that is none at all is turned away even earlier.
      if (reply.status === 400) expect(reply.text).toBe('');
      else if (method === 'HEAD')
        expect([reply.status, reply.headers['x-proxy-error']]).toEqual([403, 'permission-denied']);
      else {
        expectRefused(reply, 403, 'forbidden');
        expect(reply.headers['x-proxy-error']).toBe('permission-denied');
      }
    }
    expect(world.acted).toEqual([]);
  });

  it('is refused even with the right token', async () => {
    await open({ token: TOKEN });
    const headers = { ...bearer(TOKEN).headers, origin: 'https://evil.example' };
    expectRefused(await world.act('pause', {}, { headers }), 403, 'forbidden');
  });

  it('may lead to the page, and to nothing else', async () => {
    await open();
    const headers = {
      'sec-fetch-site': 'cross-site',
      'sec-fetch-mode': 'navigate',
      'sec-fetch-dest': 'document',
      'sec-fetch-user': '?1',
    };
    expect(await world.ask('GET', '/', { headers })).toMatchObject({ status: 200, text: 'the page' });
    expect(await world.ask('GET', '/?from=mail', { headers })).toMatchObject({ status: 200 });
    for (const path of [
      '/app.js',
      '/v1/status',
      '/metrics',
      '//',
      '/v1/',
      '/.',
      '/%2e/v1/status',
      '/v1/status?/',
    ]) {
      const { status } = await world.ask('GET', path, { headers });
      // Dots are resolved before anybody looks: '/.' is '/'.
      expect({ path, status }).toEqual({ path, status: path === '/.' ? 200 : 403 });
    }
    expect((await world.ask('POST', '/', { headers })).status).toBe(403);
    const withOrigin = { ...headers, origin: 'https://evil.example' };
    expect((await world.ask('GET', '/', { headers: withOrigin })).status).toBe(403);
  });

  it('each refusal is told of, for the log and the metrics', async () => {
    await open();
    await world.ask('GET', '/v1/status', { headers: { origin: 'https://evil.example' } });
    await world.ask('GET', '/v1/status', { headers: { host: 'evil.example' } });
    expect(world.refused).toEqual([
      'the request comes from a web page: its Origin is another',
      'the Host header is not one that listen.hosts or ops.hosts names',
    ]);
  });

  it('in the absolute form of the target, a foreign host is one as well', async () => {
    await open();
    const ask = async (target: string): Promise<number | undefined> =>
      (await talk(world.url, requestText(world.url, 'GET', target)))?.status;
    expect(await ask('http://evil.example/v1/status')).toBe(403);
    expect(await ask(`http://127.0.0.1:${world.port}/v1/status`)).toBe(200);
  });
});

describe('our own page, and programs', () => {
  it.each<[string, Record<string, string>]>([
    ['a program', {}],
    ['Node’s own fetch', { 'sec-fetch-mode': 'cors' }],
    [
      'the page by fetch',
      { 'sec-fetch-site': 'same-origin', 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty' },
    ],
    ['the page by POST', { 'sec-fetch-site': 'same-origin', origin: 'http://127.0.0.1:{port}' }],
    ['the page under its other name', { host: 'LocalHost:{port}', origin: 'http://localhost:{port}' }],
    ['the page behind TLS', { host: 'localhost', origin: 'https://localhost' }],
    ['the page where a browser sends no Sec-Fetch headers', { origin: 'http://127.0.0.1:{port}' }],
    ['somebody who typed the address', { 'sec-fetch-site': 'none', 'sec-fetch-mode': 'navigate' }],
  ])('%s may read and act', async (_, given) => {
    await open();
    const headers = Object.fromEntries(
      Object.entries(given).map(([name, value]) => [name, value.replace('{port}', String(world.port))]),
    );
    for (const path of ['/', '/app.js', '/v1/status', '/metrics', '/readyz']) {
      expect({ path, status: (await world.ask('GET', path, { headers })).status }).toEqual({
        path,
        status: 200,
      });
    }
    expect((await world.act('pause', {}, { headers })).status).toBe(200);
  });

  it('ask under the names of ops.hosts, and under no other', async () => {
    await open({ hosts: ['ops.shop.example'] });
    const ask = async (host: string): Promise<number> =>
      (await world.ask('GET', '/v1/status', { headers: { host } })).status;
    expect(await ask('ops.shop.example:8788')).toBe(200);
    expect(await ask('127.0.0.1')).toBe(403);
  });
});

describe('with a token', () => {
  beforeEach(() => open({ token: TOKEN }));

  it('health, readiness, metrics and the page need none', async () => {
    for (const path of ['/healthz', '/readyz', '/metrics', '/', '/app.js']) {
      expect({ path, status: (await world.ask('GET', path)).status }).toEqual({ path, status: 200 });
    }
  });

  it('it opens reading and acting', async () => {
    expect((await world.ask('GET', '/v1/status', bearer(TOKEN))).status).toBe(200);
    expect((await world.ask('GET', '/v1/openapi.json', bearer(TOKEN))).status).toBe(200);
    expect((await world.act('pause', {}, bearer(TOKEN))).status).toBe(200);
    expect(
      (await world.ask('GET', '/v1/status', { headers: { authorization: `bearer  ${TOKEN} ` } })).status,
    ).toBe(200);
    expect((await world.ask('GET', '/v1/nowhere', bearer(TOKEN))).status).toBe(404);
  });

  it('a request without one is told how to bring it, and is no guess', async () => {
    for (let n = 0; n < 30; n++) {
      const reply = await world.ask('GET', '/v1/status');
      expectRefused(reply, 401, 'unauthorized');
      expect(reply.headers['www-authenticate']).toMatch(/^Bearer /);
    }
    expect(world.badTokens).toEqual([]);
    expect((await world.ask('GET', '/v1/status', bearer(TOKEN))).status).toBe(200);
  });

  it.each([
    ['a wrong one', `Bearer ${TOKEN.slice(0, -1)}x`],
    ['its beginning', `Bearer ${TOKEN.slice(0, -1)}`],
    ['more than it', `Bearer ${TOKEN}x`],
    ['it in capitals', `Bearer ${TOKEN.toUpperCase()}`],
    ['one character', 'Bearer x'],
    ['8 KiB', `Bearer ${'x'.repeat(8_000)}`],
  ])('%s is refused and told of, without the token', async (_, authorization) => {
    expectRefused(await world.ask('GET', '/v1/status', { headers: { authorization } }), 401, 'unauthorized');
    expect(world.badTokens).toEqual([{ address: '127.0.0.1', count: 1, limited: false }]);
  });

  it.each([
    ['another scheme', { authorization: `Basic ${Buffer.from(`ops:${TOKEN}`).toString('base64')}` }],
    ['no scheme', { authorization: TOKEN }],
    ['nothing behind the scheme', { authorization: 'Bearer ' }],
    ['two tokens', { authorization: `Bearer ${TOKEN} ${TOKEN}` }],
    ['a list of schemes', { authorization: `Basic x, Bearer ${TOKEN}` }],
    ['another header', { 'x-authorization': `Bearer ${TOKEN}`, 'api-key': TOKEN, cookie: `token=${TOKEN}` }],
    ['the way to another proxy', { 'proxy-authorization': `Bearer ${TOKEN}` }],
  ])('it does not count in %s', async (_, headers) => {
    expectRefused(await world.ask('GET', '/v1/status', { headers }), 401, 'unauthorized');
  });

  it.each([
    ['GET', '/v1/status'],
    ['HEAD', '/v1/status'],
    ['OPTIONS', '/v1/status'],
    ['GET', '/v1/calls?limit=1'],
    ['GET', '/v1/history'],
    ['GET', '/v1/events'],
    ['HEAD', '/v1/events'],
    ['GET', '/v1/openapi.json'],
    ['GET', '/v1/startup-window'],
    ['POST', '/v1/pause'],
    ['POST', '/v1/stop'],
    ['PUT', '/v1/pause'],
    ['PATCH', '/v1/pause'],
    ['DELETE', '/v1/pause'],
    ['GET', '/V1/status'],
    ['GET', '/v1/STATUS'],
    ['GET', '//v1/status'],
    ['GET', '///v1//status'],
    ['GET', '/./v1/status'],
    ['GET', '/x/../v1/status'],
    ['GET', '/metrics/../v1/status'],
    ['GET', '/metrics/%2e%2e/v1/status'],
    ['GET', '/healthz/v1/status'],
    ['GET', '/%76%31/status'],
    ['GET', '/v1%2fstatus'],
    ['GET', '/v1/status/'],
    ['GET', '/v1/status?token=' + TOKEN],
    ['GET', '/v1/status?/metrics'],
    ['GET', '/v1/status%3f/metrics'],
    ['GET', '/v1/status;/metrics'],
    ['GET', '/v1'],
    ['GET', '/nowhere'],
    ['GET', 'http://localhost/v1/status'],
    ['POST', '/'],
    ['POST', '/app.js'],
  ])('%s %s needs it', async (method, path) => {
    const headers = {
      'content-type': 'application/json',
      'x-http-method-override': 'GET',
      'x-original-url': '/metrics',
      'x-forwarded-for': '127.0.0.1',
    };
    const reply = await world.ask(method, path, { headers, body: method === 'POST' ? JSON_BODY : '' });
    if (method === 'HEAD') expect([reply.status, reply.text]).toEqual([401, '']);
    else expectRefused(reply, 401, 'unauthorized');
    expect(world.acted).toEqual([]);
  });

  it('a new one holds from the next request on, and the old one no more', async () => {
    world.token = new Secret('another-token');
    expect((await world.ask('GET', '/v1/status', bearer(TOKEN))).status).toBe(401);
    expect((await world.ask('GET', '/v1/status', bearer('another-token'))).status).toBe(200);
  });

  it('it is in no answer, no record of an act and nothing that is told', async () => {
    const told: unknown[] = [];
    const tell = async (reply: Promise<OpsReply>): Promise<void> => void told.push(await reply);
    for (const path of [
      '/v1/status',
      '/v1/calls',
      '/v1/history',
      '/v1/openapi.json',
      '/metrics',
      '/readyz',
      `/${TOKEN.length}`,
    ]) {
      await tell(world.ask('GET', path, bearer(TOKEN)));
    }
    await tell(world.ask('GET', '/v1/status', bearer(`${TOKEN}x`)));
    await tell(world.act('pause', {}, bearer(TOKEN)));
    await tell(world.act('pause', { account: '?' }, bearer(TOKEN)));
    world.controls.trouble = new Error('boom');
    await tell(world.act('pause', {}, bearer(TOKEN)));
    told.push(world.acted, world.badTokens, world.refused, world.failed.map(String));
    expect(JSON.stringify(told)).not.toContain(TOKEN);
    expect(JSON.stringify(told)).toContain('ana');
  });
});

describe('wrong tokens', () => {
  beforeEach(() => open({ token: TOKEN }));

  async function guess(from: string, token: string): Promise<OpsReply> {
    return await world.ask('GET', '/v1/status', { ...bearer(token), from });
  }
  async function guessTen(from: string): Promise<void> {
    for (let n = 0; n < 10; n++) expect((await guess(from, `${from}-${n}`)).status).toBe(401);
  }

  it('after ten in a minute whoever brings more from that address has to wait', async () => {
    await guessTen('127.0.0.2');
    world.clock.ms += 20_000;
    for (const token of ['11', '12', '13', '14', '15', '16']) {
      const reply = await guess('127.0.0.2', token);
      expectRefused(reply, 429, 'too-many');
      expect(reply.headers['retry-after']).toBe('40');
    }
    // Told of are the first ten, then each that doubles the count.
    const told = world.badTokens.map(({ count, limited }) => [count, limited]);
    expect(told.slice(-2)).toEqual([
      [10, false],
      [16, true],
    ]);
  });

  it('never keep the right one out, from whatever address it comes', async () => {
    await guessTen('127.0.0.2');
    expectRefused(await guess('127.0.0.2', 'x'), 429, 'too-many');
    expect((await guess('127.0.0.2', TOKEN)).status).toBe(200);
    expect((await guess('127.0.0.3', TOKEN)).status).toBe(200);
    expect((await world.act('pause', {}, { ...bearer(TOKEN), from: '127.0.0.2' })).status).toBe(200);
    // Nor does the right one earn others more guesses.
    expect((await guess('127.0.0.2', 'y')).status).toBe(429);
  });

  it('are answered as such again when the minute is over', async () => {
    await guessTen('127.0.0.2');
    world.clock.ms += 59_999;
    expect((await guess('127.0.0.2', 'x')).status).toBe(429);
    world.clock.ms += 1;
    expect((await guess('127.0.0.2', 'x')).status).toBe(401);
  });

  it('count whatever the method, the path and the spelling', async () => {
    const tries = ['GET /v1/status', 'POST /v1/pause', 'OPTIONS /v1/x', 'HEAD /v1/status', 'GET //V1/status'];
    for (let n = 0; n < 10; n++) {
      const [method = '', path = ''] = (tries[n % tries.length] ?? '').split(' ');
      expect((await world.ask(method, path, bearer(`guess-${n}`))).status).toBe(401);
    }
    for (const each of tries) {
      const [method = '', path = ''] = each.split(' ');
      expect({ each, status: (await world.ask(method, path, bearer('one-more'))).status }).toEqual({
        each,
        status: 429,
      });
    }
    expect((await world.ask('GET', '/metrics')).status).toBe(200);
  });

  it('one that comes again is no further guess: a script with an old token goes on being told so', async () => {
    for (let n = 0; n < 40; n++) expect((await guess('127.0.0.2', 'the-old-token')).status).toBe(401);
    expect(world.badTokens.at(-1)).toEqual({ address: '127.0.0.2', count: 32, limited: false });
    expect((await guess('127.0.0.2', TOKEN)).status).toBe(200);
  });

  it('from many addresses are bounded together', async () => {
    for (let n = 1; n <= 20; n++) await guessTen(`127.0.2.${n}`);
    expectRefused(await guess('127.0.3.1', 'x'), 429, 'too-many');
    expect((await guess('127.0.3.2', 'x')).status).toBe(429);
    expect(world.badTokens.at(-1)).toEqual({ address: '127.0.3.2', count: 2, limited: true });
    expect((await guess('127.0.3.2', TOKEN)).status).toBe(200);
    world.clock.ms += 60_000;
    expect((await guess('127.0.3.2', 'x')).status).toBe(401);
  });
});

describe('without a token', () => {
  it('a listener beyond loopback serves no page and no API, and says how to mend it', async () => {
    await open({ onLoopback: false });
    for (const [method, path] of [
      ['GET', '/'],
      ['GET', '/app.js'],
      ['GET', '/v1/status'],
      ['GET', '/v1/openapi.json'],
      ['GET', '/v1/events'],
      ['POST', '/v1/pause'],
      ['GET', '/V1/status'],
      ['GET', '//'],
      ['OPTIONS', '/v1/status'],
    ] as const) {
      const reply = await world.ask(method, path, { headers: { 'content-type': 'application/json' } });
      expectRefused(reply, 403, 'forbidden');
      expect(reply.text).toMatch(/ops\.token.*ops\.host/);
    }
    expectRefused(await world.ask('GET', '/v1/status', bearer('')), 403, 'forbidden');
    for (const path of ['/healthz', '/readyz', '/metrics']) {
      expect((await world.ask('GET', path)).status).toBe(200);
    }
    expect(world.acted).toEqual([]);
  });

  it.each(['forwarded', 'via', 'x-forwarded-for', 'x-real-ip'])(
    'on loopback, what another server has forwarded (%s) may be from anywhere',
    async (name) => {
      await open();
      const headers = { [name]: '192.0.2.1' };
      expectRefused(await world.ask('GET', '/v1/status', { headers }), 403, 'forbidden');
      expectRefused(await world.act('pause', {}, { headers }), 403, 'forbidden');
      expect((await world.ask('GET', '/metrics', { headers })).status).toBe(200);
    },
  );
});

describe('how often', () => {
  it('20 acts at once, then one a second; reads and metrics go on', async () => {
    await open();
    for (let n = 0; n < 20; n++) expect((await world.act('pause')).status).toBe(200);
    const reply = await world.act('pause');
    expect([reply.status, reply.code, reply.headers['retry-after']]).toEqual([429, 'too-many', '1']);
    expect(world.controls.told).toHaveLength(20);
    expect((await world.ask('GET', '/v1/status')).status).toBe(200);
    world.clock.ms += 1_000;
    expect((await world.act('pause')).status).toBe(200);
    expect((await world.act('pause')).status).toBe(429);
    world.clock.ms += 3_600_000;
    for (let n = 0; n < 20; n++) expect((await world.act('pause')).status).toBe(200);
    expect((await world.act('pause')).status).toBe(429);
  });

  it('acts that are refused count as well, so that they cannot fill the journal', async () => {
    await open();
    for (let n = 0; n < 20; n++) expect((await world.ask('POST', '/v1/pause')).status).toBe(415);
    expect((await world.ask('POST', '/v1/pause')).status).toBe(429);
    expect(world.acted).toHaveLength(20);
  });

  it('50 reads a second; acts go on', async () => {
    await open();
    for (let n = 0; n < 50; n++) expect((await world.ask('GET', '/v1/startup-window')).status).toBe(200);
    expect((await world.ask('HEAD', '/v1/startup-window')).status).toBe(429);
    expect((await world.ask('GET', '/v1/status')).status).toBe(429);
    expect((await world.act('pause')).status).toBe(200);
    world.clock.ms += 100;
    for (let n = 0; n < 5; n++) expect((await world.ask('GET', '/v1/status')).status).toBe(200);
    expect((await world.ask('GET', '/v1/status')).status).toBe(429);
    expect((await world.ask('GET', '/metrics')).status).toBe(200);
    expect((await world.ask('GET', '/')).status).toBe(200);
  });

  it('who has no token uses up nothing of it', async () => {
    await open({ token: TOKEN });
    for (let n = 0; n < 60; n++) await world.ask('GET', '/v1/status');
    for (let n = 0; n < 30; n++) await world.act('pause');
    expect((await world.ask('GET', '/v1/status', bearer(TOKEN))).status).toBe(200);
    expect((await world.act('pause', {}, bearer(TOKEN))).status).toBe(200);
  });
});
