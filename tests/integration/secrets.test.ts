import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { ConfigError, parseConfig } from '../../src/config.js';
import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';
import type { SandboxKey } from '../../src/sandbox/sandbox.js';
import { callLines } from '../support/call-lines.js';
import { TestClient } from '../support/http.js';
import { openOddUpstream } from '../support/odd-upstream.js';
import { openProxyWorld, testConfig, type ProxyWorld } from '../support/proxy-world.js';
import { RawConnection, requestText, talk } from '../support/raw-socket.js';
import { rawRequest, type SignedReply } from '../support/sign.js';
import { until } from '../support/until.js';

const [MASTER, ALICE] = DEMO_KEYS as [SandboxKey, SandboxKey];
const OTP = 'otp-marker-7d1f';
const TOTP_SEED = 'MARKERSEEDJBSWY3DPEHPK3PXP234567';
const TIMEOUT_MS = 250;

/** What a client puts into a request, each recognizable wherever it turns up. */
const MARKED = {
  body: 'body-marker-51c8',
  query: 'query-marker-90ab',
  key: 'key-marker-3f77',
  bearer: 'bearer-marker-aa02',
  sign: 'c2lnbi1tYXJrZXItMTE=',
  cookie: 'cookie-marker-e6d4',
  account: 'account-marker-44',
  endpoint: 'EndpointMarker8812',
  host: 'host-marker-19.example',
  origin: 'https://origin-marker-73.example',
  header: 'header-marker-0c',
  otp: 'otp-of-client-marker-6b',
  idempotency: 'idempotency-marker-8e21',
};

let world: ProxyWorld;
let client: TestClient;
/** Everything the process wrote or answered by itself, as text. */
let written = '';
/** The files it keeps. */
let files: string[] = [];
/** What it wrote beside its log. */
let streams = '';

async function note(reply: Promise<SignedReply>): Promise<SignedReply> {
  const { headers, body, status } = await reply;
  // Kraken's replies may say what they like; what the proxy answers by itself may not.
  if (headers['x-proxy-error'] !== undefined || status === 404 || status === 405) {
    written += `${JSON.stringify(headers)}\n${body.toString()}\n`;
  }
  return await reply;
}

beforeAll(async () => {
  const writes = [process.stdout, process.stderr].map((stream) => {
    const write = stream.write.bind(stream);
    stream.write = (chunk: string | Uint8Array, ...rest: never[]) => {
      streams += String(chunk);
      return write(chunk, ...rest);
    };
    return () => (stream.write = write);
  });
  world = await openProxyWorld({
    config: {
      upstream: { timeoutMs: TIMEOUT_MS },
      listen: { maxBodyBytes: 1_024, bodyTimeoutMs: 100 },
      accounts: {
        master: { key: MASTER.key, secret: MASTER.secret, otp: { static: OTP } },
        alice: { key: ALICE.key, secret: ALICE.secret, otp: { totp: TOTP_SEED } },
      },
    },
    sandbox: { keys: [{ ...MASTER, otp: OTP }, ALICE] },
  });
  client = new TestClient(world.url);
  await exercise();
  for (const path of ['/metrics', '/readyz', '/healthz', '/nowhere', '/v1/startup-window']) {
    const { headers, body } = await rawRequest(world.opsUrl, path, 'GET', '', {});
    written += `${JSON.stringify(headers)}\n${body.toString()}\n`;
  }
  client.close();
  files = readdirSync(world.folder, { withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => `${name}\n${readFileSync(join(world.folder, name), 'latin1')}`);
  await world.close();
  for (const restore of writes) restore();
  written +=
    JSON.stringify(world.log) +
    inspect(world.fatal, { depth: 9, showHidden: true }) +
    streams +
    files.join('\n');
}, 60_000);

/** Every kind of call and mishap, with marked values wherever a client can put some. */
async function exercise(): Promise<void> {
  const { sandbox } = world;
  const { body, query, key, bearer, sign, cookie, account, endpoint, host, origin, header, otp } = MARKED;
  const { idempotency } = MARKED;
  const fields = { memo: body, [body]: '1', otp, nonce: '17' };
  const headers = { 'api-sign': sign, cookie, 'x-custom': header, 'user-agent': header };
  const json = JSON.stringify({ memo: body, otp, nonce: 17 });
  const form = new URLSearchParams(fields).toString();

  // Good ones, by every way to an account, and Kraken's own refusals.
  await client.raw('POST', `/0/private/Balance?${query}=${query}`, form, {
    ...headers,
    'api-key': MASTER.key,
  });
  await client.raw('POST', '/0/private/Balance', json, { ...headers, authorization: `Bearer ${ALICE.key}` });
  await client.private('Balance', fields, '/accounts/alice');
  await client.private('AddOrder', { ...fields, pair: body });
  await client.private(endpoint, fields);
  await client.raw('GET', `/0/public/Ticker?pair=${query}`);
  await client.raw('POST', `/0/public/${endpoint}`, form);

  // Refused by the proxy.
  await note(client.raw('POST', '/0/private/Balance', form, { ...headers, 'api-key': key }));
  await note(
    client.raw('POST', '/0/private/Balance', form, { ...headers, authorization: `Bearer ${bearer}` }),
  );
  await note(
    client.raw('POST', '/0/private/Balance', form, { ...headers, authorization: `Basic ${bearer}` }),
  );
  await note(client.raw('POST', `/accounts/${account}/0/private/Balance`, form, headers));
  await note(client.raw('POST', '/accounts/alice/0/private/Balance', form, { 'api-key': MASTER.key }));
  await note(client.raw('POST', `/0/private/Balance?nonce=${query}`, form, headers));
  await note(client.raw('POST', '/0/private/Balance', form, { ...headers, 'api-nonce': header }));
  await note(client.raw('POST', '/0/private/Balance', form, { ...headers, host }));
  await note(client.raw('POST', '/0/private/Balance', form, { ...headers, origin }));
  await note(rawRequest(world.opsUrl, '/metrics', 'GET', '', { ...headers, origin, host }));
  for (const bad of [
    `{"memo":"${body}"`,
    `["${body}"]`,
    `"${body}"`,
    body,
    `nonce[]=${body}`,
    `a=${body}\u0000&Nonce=1`,
  ]) {
    await note(client.raw('POST', '/0/private/Balance', bad, headers));
  }
  await note(client.raw('POST', '/0/private/Balance', Buffer.from(`a=${body}\xff`, 'latin1'), headers));
  await note(client.raw('POST', '/0/private/Balance', `a=${body.repeat(100)}`, headers));
  await note(client.raw('POST', '/0/public/Ticker', `{"a":"${body}"}`, headers));
  await note(client.raw('PUT', '/0/private/Balance', form, headers));
  await note(client.raw('POST', `/${endpoint}?${query}`, form, headers));
  await talk(
    world.url,
    requestText(world.url, 'POST', '/0/private/Balance', form, { 'Content-Length': '900' }),
  );
  await talk(world.url, `POST /0/private/Balance HTTP/1.1\r\nHost: localhost\r\n${body} ${key}\r\n\r\n`);

  // Mishaps on the way to Kraken.
  for (const kind of ['reset-before', 'reset-after', 'hang', 'cut', 'html'] as const) {
    sandbox.fault({ kind });
    // Each another one: a repeat would not be sent.
    const order = `${form}&${kind}=1`;
    await note(client.raw('POST', '/0/private/AddOrder', order, { ...headers, 'api-key': MASTER.key }));
    sandbox.fault({ kind });
    await note(client.raw('POST', '/0/private/Balance', form, { ...headers, 'api-key': MASTER.key }));
  }
  // Found out, and kept on disk.
  const found = `${form}&pair=XBTUSD&type=buy&ordertype=limit&price=10000&volume=1`;
  for (const fault of [{ kind: 'reset-after' }, undefined] as const) {
    if (fault !== undefined) sandbox.fault(fault);
    const reply = await client.raw('POST', '/0/private/AddOrder', found, {
      ...headers,
      'api-key': MASTER.key,
      'idempotency-key': idempotency,
    });
    expect(reply.json?.error).toEqual([]);
  }
  for (const error of ['EService:Unavailable', 'EGeneral:Temporary lockout']) {
    sandbox.fault({ kind: 'error', error });
    await note(
      client.raw('POST', '/accounts/alice/0/private/AddOrder', `${form}&last=1`, {
        ...headers,
        'idempotency-key': `${idempotency}${error.length}`,
      }),
    );
  }
  await note(client.raw('POST', '/accounts/alice/0/private/Balance', form, headers));
  expect(sandbox.received.filter(({ endpoint: name }) => name === 'AddOrder')).toHaveLength(9);
  sandbox.fault({ kind: 'hang' });
  const gone = await RawConnection.open(world.url);
  const received = sandbox.receivedCount;
  gone.write(requestText(world.url, 'POST', '/0/private/CancelOrder', form, { 'API-Key': MASTER.key }));
  await until(() => sandbox.receivedCount > received);
  gone.hangUp();
  await client.private('Balance', fields);
}

function expectNowhere(name: string, secret: string): void {
  expect(secret.length).toBeGreaterThan(5);
  for (const shape of [secret, encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1)]) {
    const at = written.indexOf(shape);
    // What is shown on failure says where, not what.
    expect({ name, around: at < 0 ? 'nowhere' : written.slice(Math.max(0, at - 60), at) }).toEqual({
      name,
      around: 'nowhere',
    });
  }
}

it('the search itself finds what was written', () => {
  expect(written).toContain('"endpoint":"AddOrder"');
  expect(written).toContain('kraken_proxy_calls_total');
  expect(written).toContain('EGeneral:Permission denied');
  expect(written).toContain('EProxy:Outcome unknown');
  expect(written).toContain('EGeneral:Temporary lockout');
  expect(files.join('\n')).toContain('state.txt.answers');
  expect(files.join('\n')).toContain('buy 1.00000000 XBTUSD');
  expect(world.log.filter(({ msg }) => msg === 'call').length).toBeGreaterThan(15);
  expect(world.log.filter(({ msg }) => msg === 'refused').length).toBeGreaterThan(4);
});

describe('nothing that the process writes, at level trace, or answers by itself contains', () => {
  it.each(DEMO_KEYS.map(({ account, secret }) => [account, secret]))(
    'the secret of %s in any shape',
    (_, secret) => {
      expectNowhere('base64', secret);
      expectNowhere('the first part of it', secret.slice(0, 24));
      const bytes = Buffer.from(secret, 'base64');
      expectNowhere('hex', bytes.toString('hex'));
      expectNowhere('plain', bytes.toString('latin1').slice(0, 20));
      expectNowhere('a list of bytes', [...bytes.subarray(0, 8)].join(','));
    },
  );

  it.each(DEMO_KEYS.map(({ account, key }) => [account, key]))('the public key of %s', (_, key) => {
    expectNowhere('key', key);
  });

  it('a signature that Kraken got', () => {
    const signatures = world.sandbox.received
      .map(({ headers }) => headers['api-sign'])
      .filter((sign) => sign !== undefined);
    expect(signatures.length).toBeGreaterThan(8);
    for (const sign of signatures) expectNowhere('API-Sign', String(sign));
  });

  it('an otp, static or computed, or what it is computed from', () => {
    expectNowhere('static', OTP);
    expectNowhere('seed', TOTP_SEED);
    const codes = world.sandbox.received.flatMap(
      ({ rawBody }) => /otp=(\d{6})(?:&|$)/.exec(rawBody.toString())?.[1] ?? [],
    );
    expect(codes.length).toBeGreaterThan(0);
    for (const code of codes) expect(new RegExp(`(?<!\\d)${code}(?!\\d)`).test(written)).toBe(false);
  });

  it.each(Object.entries(MARKED))('what a client puts into its %s', (name, value) => {
    expectNowhere(name, value);
  });

  it('a body that Kraken got', () => {
    for (const { rawBody } of world.sandbox.received) {
      if (rawBody.length > 40) expectNowhere('body', rawBody.toString());
    }
  });

  it('a reply of Kraken’s', () => {
    expectNowhere('balance', '"XXBT"');
    expectNowhere('page', 'cf-wrapper');
  });
});

it('nothing is written beside the log', () => {
  expect(streams).toBe('');
});

it('bytes of an upstream that speaks no HTTP are not logged', async () => {
  const upstream = await openOddUpstream('upstream-marker-5e: HTTP?\r\n\r\n');
  const odd = await openProxyWorld({
    config: { upstream: { url: upstream.url }, queue: { maxWaitMs: 100 } },
  });
  const own = new TestClient(odd.url);
  await own.private('Balance');
  await own.raw('GET', '/0/public/Time');
  own.close();
  await odd.close();
  await upstream.close();
  expect(odd.log.filter(({ msg }) => msg === 'call')).toHaveLength(2);
  expect(JSON.stringify(odd.log)).not.toContain('upstream-marker');
});

describe('a bad config is reported without', () => {
  const secret = Buffer.alloc(64, 'config-marker ').toString('base64');
  const plain = 'config-marker-2b9a';
  const account = (parts: object): object => ({ accounts: { master: { key: 'k', secret, ...parts } } });
  it.each<[string, object]>([
    ['a secret that is not base64', account({ secret: `${secret}!` })],
    ['a secret with a line break', account({ secret: `${secret.slice(0, 40)}\n${secret.slice(40)}` })],
    ['a key that cannot be one', account({ key: `${plain} ${plain}` })],
    ['an otp that is not base32', account({ otp: { totp: plain } })],
    ['an otp of the wrong kind', account({ otp: plain })],
    ['a secret where an option belongs', account({ [secret]: 1 })],
    ['a secret as the name of a variable', account({ secret: { env: secret } })],
    ['a secret as the path of a file', account({ secret: { file: secret } })],
    ['a secret as a tier', account({ tier: secret })],
    ['a secret as the name of an account', { accounts: { [secret]: { key: 'k', secret: 1 } } }],
    [
      'literals before a live upstream',
      { upstream: { url: 'https://api.kraken.com' }, ...account({ key: plain }) },
    ],
    ['a password in the upstream', { upstream: { url: `https://user:${plain}@api.kraken.com` } }],
    ['a secret in the upstream’s query', { upstream: { url: `https://api.kraken.com/?${plain}` } }],
  ])('%s', (_, parts) => {
    const text = JSON.stringify({ ...testConfig('sandbox'), ...parts });
    expectHidden(text);
  });

  it('the text around a syntax error', () => {
    expectHidden(`{ "accounts": { "master": { "secret": "${secret}" "key": "${plain}" } } }`);
    expectHidden(`{ "accounts": { "master": { "secret": ${secret} } } }`);
  });

  function expectHidden(text: string): void {
    let error: unknown;
    try {
      parseConfig(text, { file: '/nowhere/proxy.config.json', env: {} });
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(ConfigError);
    const shown = [
      (error as Error).stack,
      JSON.stringify(error),
      inspect(error, { depth: 9, showHidden: true }),
    ].join('\n');
    for (const hidden of [secret, secret.slice(0, 40), plain]) expect(shown.includes(hidden)).toBe(false);
  }
});

describe('the canonical line of a call', () => {
  let own: ProxyWorld;
  let bot: TestClient;
  beforeAll(async () => {
    own = await openProxyWorld({ config: { upstream: { timeoutMs: TIMEOUT_MS } } });
    bot = new TestClient(own.url);
  });
  afterAll(async () => {
    bot.close();
    await own.close();
  });

  const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
  const number = expect.any(Number) as number;

  /** The one line of the call with that request id. */
  async function lineOf(reply: SignedReply): Promise<Readonly<Record<string, unknown>>> {
    const lines = await callLines(own.log, { requestId: reply.headers['x-request-id'] });
    expect(lines).toHaveLength(1);
    return lines[0] ?? {};
  }

  it('of one that was executed says who, what, with which nonce, how long, and how it ended', async () => {
    const reply = await bot.private('Balance');
    expect(await lineOf(reply)).toEqual({
      level: 30,
      time: expect.stringMatching(TIME) as string,
      msg: 'call',
      requestId: reply.headers['x-request-id'],
      client: 'local',
      account: 'master',
      endpoint: 'Balance',
      outcome: 'executed',
      nonce: own.sandbox.received.at(-1)?.nonce,
      waitMs: number,
      upstreamMs: number,
      totalMs: number,
      status: 200,
    });
    const { waitMs, upstreamMs, totalMs } = (await lineOf(reply)) as Record<string, number>;
    expect(totalMs).toBeGreaterThanOrEqual(upstreamMs ?? NaN);
    expect(waitMs).toBeGreaterThanOrEqual(0);
  });

  it("of one that Kraken refused has Kraken's error", async () => {
    const reply = await bot.private(
      'AddOrder',
      { pair: 'NOPE', type: 'buy', ordertype: 'market', volume: '1' },
      '/accounts/alice',
    );
    const expected = {
      outcome: 'refused',
      krakenError: 'EQuery:Unknown asset pair',
      account: 'alice',
      endpoint: 'AddOrder',
    };
    expect(await lineOf(reply)).toMatchObject({ level: 30, ...expected });
  });

  it('of one that the proxy answered by itself has the code and the reason, and no nonce if none was spent', async () => {
    const reply = await bot.raw('POST', '/0/private/AddOrder', '[]');
    const expected = {
      outcome: 'not-sent',
      error: 'invalid-body',
      reason: 'the body is JSON, but not a JSON object',
    };
    expect(await lineOf(reply)).toMatchObject({ level: 40, ...expected, totalMs: number });
    expect(await lineOf(reply)).not.toHaveProperty('nonce');
    expect(await lineOf(reply)).not.toHaveProperty('status');
  });

  it('of one whose fate is open is a warning with its nonce', async () => {
    own.sandbox.fault({ kind: 'hang' });
    const reply = await bot.private('AddOrder');
    const { nonce } = own.sandbox.received.at(-1) ?? {};
    expect(await lineOf(reply)).toMatchObject({
      level: 40,
      outcome: 'unknown',
      error: 'outcome-unknown',
      nonce,
      upstreamMs: number,
    });
  });

  it('of a public one says so', async () => {
    const reply = await bot.raw('GET', '/0/public/Time');
    expect(await lineOf(reply)).toMatchObject({
      client: 'public',
      account: 'none',
      endpoint: 'Time',
      outcome: 'executed',
    });
  });

  it('is written for one whose client hung up, too', async () => {
    own.sandbox.fault({ kind: 'delay', delayMs: 50 });
    const received = own.sandbox.receivedCount;
    const gone = await RawConnection.open(own.url);
    gone.write(requestText(own.url, 'POST', '/0/private/CancelAll'));
    await until(() => own.sandbox.receivedCount > received);
    gone.hangUp();
    const lines = await callLines(own.log, { endpoint: 'CancelAll' });
    expect(lines).toMatchObject([
      { hungUp: true, outcome: 'executed', nonce: own.sandbox.received.at(-1)?.nonce },
    ]);
  });
});
