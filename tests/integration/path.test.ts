import { createHmac, randomBytes } from 'node:crypto';
import { gunzipSync, gzipSync } from 'node:zlib';
import { cloudflarePage } from '../../src/sandbox/cloudflare-page.js';
import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';
import type { ReceivedCall, SandboxKey } from '../../src/sandbox/sandbox.js';
import { callLines } from '../support/call-lines.js';
import { TestClient } from '../support/http.js';
import { openOddUpstream, type OddUpstream } from '../support/odd-upstream.js';
import { ANYTHING, openProxyWorld, type ConfigParts, type ProxyWorld } from '../support/proxy-world.js';
import { requestText, talk } from '../support/raw-socket.js';
import { apiSign, signedRequest, type SignedReply } from '../support/sign.js';
import { until } from '../support/until.js';

const [MASTER, ALICE] = DEMO_KEYS as [SandboxKey, SandboxKey];
const FORM = 'application/x-www-form-urlencoded';
const RESTING = { pair: 'XBTUSD', type: 'buy', ordertype: 'limit', price: '10000', volume: '1.25' };

let world: ProxyWorld;
let client: TestClient;
beforeAll(async () => {
  world = await openProxyWorld();
  client = new TestClient(world.url);
});
afterAll(async () => {
  client.close();
  await world.close();
});

/** The last call the sandbox received. */
function last(of: ProxyWorld = world): ReceivedCall {
  const call = of.sandbox.received.at(-1);
  if (call === undefined) throw new Error('the sandbox has received nothing');
  return call;
}

function codeOf(reply: SignedReply): string | undefined {
  return reply.headers['x-proxy-error'] as string | undefined;
}

describe('the account of a call', () => {
  it.each([
    ['the default account without any sign of another', {}, '', MASTER],
    ['the one whose public key is the API-Key', { 'API-Key': ALICE.key }, '', ALICE],
    ['the one whose public key is the bearer token', { authorization: `Bearer ${ALICE.key}` }, '', ALICE],
    ['the one in the path', {}, '/accounts/alice', ALICE],
    ['the one on which API-Key and path agree', { 'API-Key': ALICE.key }, '/accounts/alice', ALICE],
    [
      'that of the API-Key before that of the bearer token',
      { 'API-Key': ALICE.key, authorization: `Bearer ${MASTER.key}` },
      '',
      ALICE,
    ],
  ])('is %s', async (_, headers, prefix, account) => {
    const reply = await client.raw('POST', `${prefix}/0/private/Balance`, '', headers);
    expect(reply.json?.error).toEqual([]);
    expect(last().key).toBe(account.key);
    expect(last().path).toBe('/0/private/Balance');
  });

  it.each([
    ['an unknown API-Key', { 'API-Key': 'nobody' }, ''],
    ['an empty API-Key', { 'API-Key': '' }, ''],
    ['an API-Key that names a property of every object', { 'API-Key': 'constructor' }, ''],
    ['an unknown bearer token', { authorization: 'Bearer nobody' }, ''],
    ['an Authorization of another kind', { authorization: 'Basic c2FuZGJveA==' }, ''],
    ['an unknown account in the path', {}, '/accounts/bob'],
    ['an account in the path that differs in case', {}, '/accounts/Alice'],
    ['an unknown API-Key beside a known account', { 'API-Key': 'nobody' }, '/accounts/alice'],
  ])('is never the default one for %s', async (_, headers, prefix) => {
    const before = world.sandbox.receivedCount;
    const reply = await client.raw('POST', `${prefix}/0/private/Balance`, '', headers);
    expect(reply.status).toBe(200);
    expect(reply.json).toEqual({ error: ['EAPI:Invalid key'] });
    expect(codeOf(reply)).toBe('invalid-key');
    expect(world.sandbox.receivedCount).toBe(before);
  });

  it('is refused when API-Key and path name two', async () => {
    const before = world.sandbox.receivedCount;
    const headers = { 'API-Key': MASTER.key };
    const reply = await client.raw('POST', '/accounts/alice/0/private/Balance', '', headers);
    expect(reply.json).toEqual({ error: ['EGeneral:Permission denied'] });
    expect(codeOf(reply)).toBe('permission-denied');
    expect(world.sandbox.receivedCount).toBe(before);
  });

  it('is refused when there are two API-Key headers, even equal ones', async () => {
    const before = world.sandbox.receivedCount;
    for (const second of [ALICE.key, MASTER.key]) {
      const text = requestText(world.url, 'POST', '/0/private/Balance', '', {
        'API-Key': `${MASTER.key}\r\napi-key: ${second}`,
      });
      expect((await talk(world.url, text))?.headers['x-proxy-error']).toBe('invalid-key');
    }
    expect(world.sandbox.receivedCount).toBe(before);
  });

  it('must be named when there is no default account', async () => {
    const strict = await openProxyWorld({ config: { defaultAccount: undefined as unknown as string } });
    const own = new TestClient(strict.url);
    expect((await own.private('Balance')).json).toEqual({ error: ['EAPI:Invalid key'] });
    expect((await own.private('Balance', {}, '/accounts/alice')).json?.error).toEqual([]);
    own.close();
    await strict.close();
  });
});

describe('the body', () => {
  const FORMS: [name: string, sent: string, rest: string][] = [
    ['without any field', '', ''],
    ['with its fields in their order', 'b=2&a=1&b=3', '&b=2&a=1&b=3'],
    [
      'with brackets as they were',
      'close[price]=1&close%5Bprice2%5D=2',
      '&close[price]=1&close%5Bprice2%5D=2',
    ],
    [
      'with percent-escapes as they were',
      'price=%2b5%25&memo=a+b%20c%c3%A9',
      '&price=%2b5%25&memo=a+b%20c%c3%A9',
    ],
    ['with 19-digit integers', 'start=1795000000123456789', '&start=1795000000123456789'],
    ['with raw UTF-8', 'memo=\u00e9\u20ac', '&memo=\u00e9\u20ac'],
    ['without the nonces of the client', 'nonce=1&a=1&nonce=2&b=2&%6eonce=3', '&a=1&b=2'],
    ['with the otp of a client whose account has none', 'otp=123456&a=1', '&otp=123456&a=1'],
  ];
  it.each(FORMS)('as a form reaches Kraken %s', async (_, sent, rest) => {
    const reply = await client.raw('POST', '/0/private/Balance', sent, { 'content-type': FORM });
    expect(reply.json?.error).toEqual([]);
    expect(last().rawBody.toString()).toBe(`nonce=${last().nonce}${rest}`);
  });

  const NESTED = '[{"close":{"price":1.10},"x":"\\"nonce\\":1"}]';
  const OBJECTS: [name: string, sent: string, received: (nonce: string) => string][] = [
    ['without any member', '{}', (nonce) => `{"nonce":"${nonce}"}`],
    [
      'with its blanks, order, nested values and 19-digit integers',
      `{ "orders" : ${NESTED} ,\n"big":1795000000123456789, "e":1E+2 }`,
      (nonce) => `{"nonce":"${nonce}", "orders" : ${NESTED} ,\n"big":1795000000123456789, "e":1E+2 }`,
    ],
    [
      'without the nonce of the client, a number staying a number',
      '{"nonce":1,"nested":{"nonce":2}}',
      (nonce) => `{"nonce":${nonce},"nested":{"nonce":2}}`,
    ],
    [
      'without the nonce of the client at its end, a string staying a string',
      '{"a": [1, 2], "nonce": "1795"}',
      (nonce) => `{"nonce":"${nonce}","a": [1, 2]}`,
    ],
  ];
  it.each(OBJECTS)('as JSON reaches Kraken %s', async (_, sent, received) => {
    const headers = { 'content-type': 'application/json' };
    const reply = await client.raw('POST', '/0/private/Balance', sent, headers);
    expect(reply.json?.error).toEqual([]);
    expect(last().rawBody.toString()).toBe(received(last().nonce ?? ''));
  });

  it.each([
    ['no Content-Type, form', undefined, 'asset=XBT', FORM],
    ['no Content-Type, JSON', undefined, '{"asset":"XBT"}', 'application/json'],
    ['a Content-Type with charset', `${FORM}; charset=utf-8`, 'asset=XBT', `${FORM}; charset=utf-8`],
    [
      'a JSON type with charset',
      'application/json; charset=utf-8',
      '{"asset":"XBT"}',
      'application/json; charset=utf-8',
    ],
    ['JSON that calls itself a form, as curl does', FORM, '{"asset":"XBT"}', 'application/json'],
    ['a form that calls itself JSON', 'application/json', 'asset=XBT', FORM],
    ['an odd Content-Type', 'text/plain;charset=UTF-8', 'asset=XBT', FORM],
    ['a charset in which ASCII is not ASCII', `${FORM}; charset=utf-16`, 'asset=XBT', FORM],
  ])('goes with a Content-Type that fits: %s', async (_, type, body, expected) => {
    const headers = type === undefined ? {} : { 'content-type': type };
    expect((await client.raw('POST', '/0/private/Balance', body, headers)).json?.error).toEqual([]);
    expect(last().headers['content-type']).toBe(expected);
  });

  it('may come in chunks', async () => {
    const text =
      `POST /0/private/Balance HTTP/1.1\r\nHost: ${new URL(world.url).host}\r\nTransfer-Encoding: chunked\r\n\r\n` +
      '4\r\nasse\r\n5;ext=1\r\nt=XBT\r\n0\r\nAPI-Key: in-a-trailer\r\n\r\n';
    const reply = await talk(world.url, text);
    expect(reply?.body.toString()).toMatch(/^\{"error":\[\],/);
    expect(last().rawBody.toString()).toBe(`nonce=${last().nonce}&asset=XBT`);
    expect(last().headers).toMatchObject({ 'content-length': String(last().rawBody.length) });
    expect(last().headers).not.toHaveProperty('transfer-encoding');
    expect(last().key).toBe(MASTER.key);
  });

  it('may be large', async () => {
    const body = `memo=${'x'.repeat(900_000)}`;
    expect((await client.raw('POST', '/0/private/Balance', body)).json?.error).toEqual([]);
    expect(last().rawBody.length).toBe(`nonce=${last().nonce}&`.length + body.length);
  });
});

describe('the body of an order', () => {
  const FIELDS = 'pair=XBTUSD&type=buy&ordertype=limit&price=10000&volume=1.25&oflags=post%2cfciq';
  const UUID = '[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}';
  const WHEN = String.raw`\d{4}-\d\d-\d\dT\d\d(?::|%3A)\d\d(?::|%3A)\d\d\.\d{3}Z`;

  it('gets an id and a deadline beside the nonce; the rest is as it was', async () => {
    expect((await client.raw('POST', '/0/private/AddOrder', FIELDS)).json?.error).toEqual([]);
    const body = last().rawBody.toString();
    const head = new RegExp(`^nonce=${last().nonce}&cl_ord_id=${UUID}&deadline=(${WHEN})&`).exec(body);
    expect(body).toBe(`${head?.[0]}${FIELDS}`);
    const aheadMs = Date.parse(decodeURIComponent(head?.[1] ?? '')) - Date.now();
    expect(aheadMs).toBeGreaterThan(2_000);
    expect(aheadMs).toBeLessThan(60_000);
  });

  it('as JSON gets them as well', async () => {
    const json = ` "pair":"XBTUSD", "type":"buy","ordertype":"limit","price":10000.0,"volume":"1.25" }`;
    const headers = { 'content-type': 'application/json' };
    expect((await client.raw('POST', '/0/private/AddOrder', `{${json}`, headers)).json?.error).toEqual([]);
    const body = last().rawBody.toString();
    const head = new RegExp(`^{"nonce":"${last().nonce}","cl_ord_id":"${UUID}","deadline":"${WHEN}",`).exec(
      body,
    );
    expect(body).toBe(`${head?.[0]}${json}`);
  });

  it.each([
    ['cl_ord_id', `cl_ord_id=my-own-id-1`],
    ['userref', 'userref=4711'],
  ])('keeps its own %s and its own deadline: nothing is added', async (_, id) => {
    const deadline = encodeURIComponent(new Date(Date.now() + 20_000).toISOString());
    const fields = `${FIELDS}&${id}&deadline=${deadline}`;
    expect((await client.raw('POST', '/0/private/AddOrder', fields)).json?.error).toEqual([]);
    expect(last().rawBody.toString()).toBe(`nonce=${last().nonce}&${fields}`);
  });

  it('stays as it was where orders are not to be settled, and where Kraken is only to check it', async () => {
    const checked = `${FIELDS}&validate=true`;
    expect((await client.raw('POST', '/0/private/AddOrder', checked)).json?.error).toEqual([]);
    expect(last().rawBody.toString()).toBe(`nonce=${last().nonce}&${checked}`);
    const plain = await openProxyWorld({ config: { orders: { settle: false } } });
    const own = new TestClient(plain.url);
    expect((await own.raw('POST', '/0/private/AddOrder', FIELDS)).json?.error).toEqual([]);
    expect(last(plain).rawBody.toString()).toBe(`nonce=${last(plain).nonce}&${FIELDS}`);
    own.close();
    await plain.close();
  });
});

describe('the signature', () => {
  it('is that of the account over exactly the bytes sent; what the client sent is replaced', async () => {
    const body = 'nonce=99999999999999999999&pair=XBTUSD';
    const headers = { 'API-Key': ALICE.key, 'API-Sign': 'bm90IHRoaXM=' };
    await client.raw('POST', '/0/private/Balance', body, headers);
    const { key, nonce = '', rawBody, headers: received } = last();
    expect(key).toBe(ALICE.key);
    expect(nonce).toMatch(/^\d{19}$/);
    expect(received['api-sign']).toBe(apiSign('/0/private/Balance', nonce, rawBody, ALICE.secret));
  });

  it('covers a name with a slash', async () => {
    const earning = await openProxyWorld(ANYTHING);
    const own = new TestClient(earning.url, ANYTHING.headers);
    const { json } = await own.private(
      'Earn/Allocate',
      { strategy_id: 'S1', amount: '1' },
      '/accounts/master',
    );
    expect(json).toEqual({ error: [], result: true });
    expect(last(earning).path).toBe('/0/private/Earn/Allocate');
    own.close();
    await earning.close();
  });

  it('covers the query string as it came', async () => {
    const path = '/0/private/Balance?id=TGWOJ4JQPOTZT2&b=%2F&c[]=1';
    expect((await client.raw('POST', path, '{}')).json?.error).toEqual([]);
    const { nonce = '', rawBody, headers } = last();
    expect(last().path).toBe(path);
    expect(headers['api-sign']).toBe(apiSign(path, nonce, rawBody, MASTER.secret));
  });
});

describe('two-factor authentication', () => {
  const SEED = 'JBSWY3DPEHPK3PXP';

  async function withOtp(
    otp: object,
    key: SandboxKey['otp'],
    run: (of: ProxyWorld, own: TestClient) => Promise<void>,
  ): Promise<void> {
    const accounts: ConfigParts = {
      master: { key: MASTER.key, secret: MASTER.secret, otp },
      alice: { key: ALICE.key, secret: ALICE.secret },
    };
    const keys = [{ ...MASTER, ...(key === undefined ? {} : { otp: key }) }, ALICE];
    const otpWorld = await openProxyWorld({ config: { accounts }, sandbox: { keys } });
    const own = new TestClient(otpWorld.url);
    try {
      await run(otpWorld, own);
    } finally {
      own.close();
      await otpWorld.close();
    }
  }

  it('with a static password: it goes with every call, that of the client does not', async () => {
    await withOtp({ static: 'p&ss w=rd\u20ac' }, 'p&ss w=rd\u20ac', async (of, own) => {
      expect((await own.private('Balance', { otp: '000000', asset: 'XBT' })).json?.error).toEqual([]);
      const otp = 'p%26ss%20w%3Drd%E2%82%AC';
      expect(last(of).rawBody.toString()).toBe(`nonce=${last(of).nonce}&otp=${otp}&asset=XBT`);
      const json = { 'content-type': 'application/json' };
      const reply = await own.raw('POST', '/0/private/Balance', '{"a":1,"otp":"000000"}', json);
      expect(reply.json?.error).toEqual([]);
    });
  });

  it('with an authenticator app: it is the code of this half minute', async () => {
    await withOtp(
      { totp: SEED },
      (now) => [totp(SEED, now), totp(SEED, now - 1_000)],
      async (of, own) => {
        expect((await own.private('Balance')).json?.error).toEqual([]);
        expect(last(of).rawBody.toString()).toMatch(/^nonce=\d{19}&otp=\d{6}$/);
      },
    );
  });

  it('is added for its account only', async () => {
    await withOtp({ static: 'password' }, 'password', async (of, own) => {
      expect((await own.private('Balance', { otp: '1' }, '/accounts/alice')).json?.error).toEqual([]);
      expect(last(of).rawBody.toString()).toBe(`nonce=${last(of).nonce}&otp=1`);
    });
  });

  /** RFC 6238 with SHA-1, 6 digits and 30 s, written apart from the proxy's library. */
  function totp(base32: string, nowMs: number): string {
    let bits = '';
    for (const letter of base32) {
      bits += 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0');
    }
    const key = Buffer.from((bits.match(/.{8}/g) ?? []).map((byte) => Number.parseInt(byte, 2)));
    const counter = Buffer.alloc(8);
    counter.writeBigUInt64BE(BigInt(Math.floor(nowMs / 30_000)));
    const mac = createHmac('sha1', key).update(counter).digest();
    const code = mac.readUInt32BE((mac[19] ?? 0) & 0xf) & 0x7fffffff;
    return String(code % 1_000_000).padStart(6, '0');
  }
});

describe('the reply', () => {
  it('is the zip of an export, byte for byte', async () => {
    const fields = { report: 'ledgers', description: 'd' };
    const { json } = await client.private('AddExport', fields, '/accounts/alice');
    const { id } = json?.result as { id: string };
    const reply = await client.private('RetrieveExport', { id }, '/accounts/alice');
    expect(reply.headers['content-type']).toBe('application/octet-stream');
    expect(reply.body.subarray(0, 2).toString()).toBe('PK');
    const nonce = (world.sandbox.highestNonce(ALICE.key) ?? 0n) + 1_000_000_000_000n;
    const direct = await signedRequest(
      world.sandbox.url,
      '/0/private/RetrieveExport',
      ALICE.key,
      ALICE.secret,
      `nonce=${nonce}&id=${id}`,
    );
    expect(reply.body.equals(direct.body)).toBe(true);
  });

  it('keeps 19-digit integers', async () => {
    const { json } = await client.private('AddOrder', RESTING);
    const [txid = ''] = (json?.result as { txid: string[] }).txid;
    const reply = await client.private('AmendOrder', { txid, limit_price: '10001' });
    expect(reply.body.toString()).toMatch(/"amend_timestamp":\d{19}\}/);
  });

  it('keeps warnings', async () => {
    const reply = await client.private('AddOrder', { ...RESTING, oflags: 'nompp', validate: 'true' });
    expect(reply.json?.error).toEqual(['WGeneral:Deprecated:nompp']);
    expect(reply.json).toHaveProperty('result.descr');
  });

  it("keeps Kraken's own errors, without a code of the proxy's", async () => {
    const reply = await client.private('AddOrder', { ...RESTING, pair: 'NOPE' });
    expect(reply.json).toEqual({ error: ['EQuery:Unknown asset pair'] });
    expect(codeOf(reply)).toBeUndefined();
  });

  describe.each([502, 520, 522, 525])("is never Cloudflare's page with its %i", (status) => {
    let own: ProxyWorld;
    let bot: TestClient;
    beforeEach(async () => {
      own = await openProxyWorld({ config: { orders: { settle: false }, queue: { maxWaitMs: 100 } } });
      bot = new TestClient(own.url);
      own.sandbox.fault({ kind: 'html', status, times: Infinity });
    });
    afterEach(async () => {
      bot.close();
      await own.close();
    });

    it.each([
      ['an order', 'AddOrder', status === 525 ? 'EService:Unavailable' : 'EProxy:Outcome unknown'],
      ['a read', 'Balance', 'EService:Unavailable'],
    ])("but Kraken's envelope: %s", async (_, name, error) => {
      const reply = await bot.private(name, RESTING);
      expect(reply.status).toBe(200);
      expect(reply.headers['content-type']).toBe('application/json');
      expect(reply.json).toEqual({ error: [error] });
      expect(reply.body.includes(cloudflarePage(status).subarray(0, 15))).toBe(false);
    });
  });

  describe('from an upstream with everything odd in it', () => {
    // An export: anything else that is no envelope is no reply of Kraken's.
    const bytes = Buffer.concat([Buffer.from('PK'), Buffer.from([0, 255, 0xc3, 0x28]), randomBytes(70_000)]);
    const head = [
      'HTTP/1.1 200 Odd But Fine',
      'Content-Type: application/octet-stream',
      `Content-Length: ${bytes.length}`,
      'Set-Cookie: __cf_bm=secret; path=/',
      'Set-Cookie: second=1',
      'Alt-Svc: h3=":443"; ma=86400',
      'Strict-Transport-Security: max-age=31536000',
      'Connection: keep-alive, X-Hop',
      'Keep-Alive: timeout=5',
      'X-Hop: for the proxy only',
      'Proxy-Authenticate: Basic',
      'Trailer: X-T',
      'X-Request-Id: theirs',
      'X-Proxy-Error: outcome-unknown',
      'X-Proxy-Error-Detail: none of ours',
      'X-Proxy-Outcome: settled',
      'Idempotent-Replayed: true',
      'CF-Ray: 9f00',
      'X-Latin: caf\u00e9',
      'X-Twice: 1',
      'X-Twice: 2',
      '\r\n',
    ].join('\r\n');
    let upstream: OddUpstream;
    let odd: ProxyWorld;
    let reply: SignedReply;
    beforeAll(async () => {
      upstream = await openOddUpstream(Buffer.concat([Buffer.from(head, 'latin1'), bytes]));
      odd = await openProxyWorld({ config: { upstream: { url: upstream.url } } });
      const own = new TestClient(odd.url);
      reply = await own.private('Balance');
      own.close();
    });
    afterAll(async () => {
      await odd.close();
      await upstream.close();
    });

    it('has the same status and bytes', () => {
      expect(reply.status).toBe(200);
      expect(reply.body.equals(bytes)).toBe(true);
    });

    it('has no cookies, no other services, nothing meant for the hop before', () => {
      for (const name of ['set-cookie', 'alt-svc', 'strict-transport-security', 'proxy-authenticate']) {
        expect(reply.headers).not.toHaveProperty(name);
      }
      for (const name of ['trailer', 'x-hop']) expect(reply.headers).not.toHaveProperty(name);
    });

    it('has the other headers as they were', () => {
      expect(reply.headers).toMatchObject({ 'cf-ray': '9f00', 'x-latin': 'caf\u00e9', 'x-twice': '1, 2' });
      expect(reply.headers['content-type']).toBe('application/octet-stream');
    });

    it("has the proxy's request id, and no error code that the proxy did not set", () => {
      expect(reply.headers['x-request-id']).toMatch(/^[0-9a-f]{8}-\w+$/);
      expect(reply.headers).not.toHaveProperty('x-proxy-error');
      expect(reply.headers).not.toHaveProperty('x-proxy-error-detail');
    });

    it('does not say that the proxy has settled or replayed it', () => {
      expect(reply.headers).not.toHaveProperty('x-proxy-outcome');
      expect(reply.headers).not.toHaveProperty('idempotent-replayed');
    });
  });
});

describe('X-Request-Id', () => {
  it.each([
    ['a private call', 'POST', '/0/private/Balance', {}, 200],
    ['a public call', 'GET', '/0/public/Time', {}, 200],
    ['a refused call', 'POST', '/0/private/Balance', { 'API-Key': 'nobody' }, 200],
    ['a browser', 'POST', '/0/private/Balance', { origin: 'https://evil.example' }, 200],
    ['a path that is none of Kraken’s', 'GET', '/', {}, 404],
    ['a wrong method', 'GET', '/0/private/Balance', {}, 405],
  ])('is on the answer to %s', async (_, method, path, headers, status) => {
    const one = await client.raw(method, path, '', headers);
    const other = await client.raw(method, path, '', headers);
    expect(one.status).toBe(status);
    expect(one.headers['x-request-id']).toMatch(/^[0-9a-f]{8}-\w+$/);
    expect(other.headers['x-request-id']).not.toBe(one.headers['x-request-id']);
  });

  it("is the proxy's own, whatever the client sent, and does not reach Kraken", async () => {
    const headers = { 'x-request-id': 'theirs' };
    const reply = await client.raw('POST', '/0/private/Balance', '', headers);
    expect(reply.headers['x-request-id']).not.toContain('theirs');
    expect(last().headers).not.toHaveProperty('x-request-id');
    const requestId = reply.headers['x-request-id'];
    expect(await callLines(world.log, { requestId })).toHaveLength(1);
  });
});

describe("the client's headers", () => {
  const DROPPED = {
    cookie: 'session=1',
    authorization: `Bearer ${MASTER.key}`,
    'proxy-authorization': 'Basic YTpi',
    'x-forwarded-for': '10.0.0.1',
    'x-forwarded-host': 'inside',
    'x-forwarded-proto': 'http',
    'x-real-ip': '10.0.0.1',
    forwarded: 'for=10.0.0.1',
    via: '1.1 inside',
    referer: 'http://inside/',
    te: 'trailers',
    'keep-alive': 'timeout=5',
    'x-hop': 'between us',
    'x-proxy-startup': 'skip',
    'x-proxy-merge': 'no',
    'idempotency-key': '1',
    'cf-connecting-ip': '10.0.0.1',
    'accept-encoding': 'gzip, br',
  };

  it('that are between the client and the proxy never reach Kraken', async () => {
    const headers = { ...DROPPED, connection: 'keep-alive, X-Hop' };
    expect((await client.raw('POST', '/0/private/Balance', '', headers)).json?.error).toEqual([]);
    for (const name of Object.keys(DROPPED)) expect(last().headers).not.toHaveProperty(name);
    expect(last().headers.host).toBe(new URL(world.sandbox.url).host);
  });

  it('that are for Kraken reach it as they came', async () => {
    const headers = { 'user-agent': 'my bot/1.0', 'x-korigin': 'tests', accept: '*/*' };
    await client.raw('POST', '/0/private/Balance', '', headers);
    expect(last().headers).toMatchObject(headers);
  });

  it('get a User-Agent where there is none', async () => {
    await client.private('Balance');
    expect(last().headers['user-agent']).toBe('kraken-signing-proxy/0.0.0-test');
  });
});

describe('a public call', () => {
  it('passes without key, signature and nonce', async () => {
    const reply = await client.raw('GET', '/0/public/Ticker?pair=XBTUSD', '', { 'API-Key': MASTER.key });
    expect(reply.json?.error).toEqual([]);
    expect(last()).toMatchObject({ method: 'GET', path: '/0/public/Ticker?pair=XBTUSD', nonce: undefined });
    expect(last().headers).not.toHaveProperty('api-key');
    expect(last().headers).not.toHaveProperty('api-sign');
    expect(last().rawBody).toHaveLength(0);
  });

  it('as the POST of an old client becomes the GET', async () => {
    const reply = await client.raw('POST', '/0/public/Ticker', 'pair=XBTUSD%2CETHUSD', {
      'content-type': FORM,
    });
    expect(Object.keys(reply.json?.result as object)).toHaveLength(2);
    expect(last()).toMatchObject({ method: 'GET', path: '/0/public/Ticker?pair=XBTUSD%2CETHUSD' });
    expect(last().headers).not.toHaveProperty('content-type');
    await client.raw('POST', '/0/public/OHLC?pair=XBTUSD', 'interval=5');
    expect(last().path).toBe('/0/public/OHLC?pair=XBTUSD&interval=5');
    await client.raw('POST', '/0/public/Time', '');
    expect(last().path).toBe('/0/public/Time');
  });

  it.each(['{"pair":"XBTUSD"}', '["a"]', 'pair=\u00e9', 'a=1\r\nX: 1', 'pair=XBTUSD#x'])(
    'whose body is no form is refused: %j',
    async (body) => {
      const before = world.sandbox.receivedCount;
      const reply = await client.raw('POST', '/0/public/Ticker', body);
      expect(codeOf(reply)).toBe('invalid-body');
      expect(world.sandbox.receivedCount).toBe(before);
    },
  );

  it('passes under the prefix of an account too', async () => {
    expect((await client.raw('GET', '/accounts/alice/0/public/Time')).json?.error).toEqual([]);
    expect(last().path).toBe('/0/public/Time');
  });

  it('is not held up by a private call that hangs', async () => {
    const slow = await openProxyWorld({
      config: { upstream: { timeoutMs: 500 }, queue: { maxWaitMs: 100 } },
    });
    const own = new TestClient(slow.url);
    slow.sandbox.fault({ kind: 'hang' });
    const hanging = own.private('Balance');
    await until(() => slow.sandbox.inFlight === 1);
    expect((await own.raw('GET', '/0/public/Time')).json?.error).toEqual([]);
    expect(slow.sandbox.inFlight).toBe(1);
    expect(codeOf(await hanging)).toBe('upstream-unreachable');
    own.close();
    await slow.close();
  });

  it("asks for the client's encodings and passes an encoded reply untouched", async () => {
    const zipped = gzipSync('{"error":[],"result":{"unixtime":1}}');
    const head = `HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: ${zipped.length}\r\n\r\n`;
    const upstream = await openOddUpstream(Buffer.concat([Buffer.from(head), zipped]));
    const odd = await openProxyWorld({ config: { upstream: { url: upstream.url } } });
    const own = new TestClient(odd.url);
    const reply = await own.raw('GET', '/0/public/Time', '', { 'accept-encoding': 'gzip, br' });
    expect(upstream.requests[0]).toMatch(/\r\naccept-encoding: gzip, br\r\n/);
    expect(reply.headers['content-encoding']).toBe('gzip');
    expect(gunzipSync(reply.body).toString()).toContain('"unixtime":1');
    await own.raw('GET', '/0/public/Time');
    expect(upstream.requests[1]).not.toMatch(/accept-encoding/);
    own.close();
    await odd.close();
    await upstream.close();
  });
});
