import { rmSync } from 'node:fs';
import { ERROR_CODES } from '../../src/errors.js';
import { PRIVATE_ENDPOINTS } from '../../src/kraken/endpoints.js';
import { TestClient } from '../support/http.js';
import { Scrape } from '../support/metrics.js';
import { openProxyWorld, type ProxyWorld } from '../support/proxy-world.js';
import { requestText, talk } from '../support/raw-socket.js';
import { rawRequest, type SignedReply } from '../support/sign.js';
import { until } from '../support/until.js';

const STARTUP = { windowMs: 60_000, maxPerSecond: 20, minIntervalMs: 500 };

let world: ProxyWorld;
let client: TestClient;
beforeAll(async () => {
  world = await openProxyWorld({ config: { startup: STARTUP } });
  client = new TestClient(world.url);
});
afterAll(async () => {
  client.close();
  await world.close();
});

function get(path: string, opsUrl = world.opsUrl): Promise<SignedReply> {
  return rawRequest(opsUrl, path, 'GET', '', {});
}

interface Ready {
  readonly status: number;
  readonly body: { readonly status: string; readonly reasons: { reason: string; detail: string }[] };
}

async function ready(opsUrl = world.opsUrl): Promise<Ready> {
  const { status, body } = await get('/readyz', opsUrl);
  return { status, body: JSON.parse(body.toString()) as Ready['body'] };
}

/** Names, types and label names of the proxy's own metrics, as Prometheus reads them. */
function typesOf(text: string): Map<string, string> {
  return new Map(
    [...text.matchAll(/^# TYPE kraken_proxy_(\S+) (\S+)$/gm)].map(([, name = '', type = '']) => [name, type]),
  );
}

describe('/healthz', () => {
  it('says that the process is alive', async () => {
    const reply = await get('/healthz');
    expect([reply.status, reply.body.toString()]).toEqual([200, '{"status":"alive"}']);
  });
});

describe('/readyz', () => {
  it('is 200 without reasons while calls are served', async () => {
    expect(await ready()).toEqual({
      status: 200,
      body: { status: 'ready', reasons: [], held: [], findings: [] },
    });
  });

  it('is 503 with the reason standby until a hot standby has taken over; calls are refused meanwhile', async () => {
    const owner = await openProxyWorld();
    const standby = await openProxyWorld({ folder: owner.folder, config: { nonce: { standby: true } } });
    await until(() => standby.server.opsUrl !== '');
    const { url, opsUrl } = standby.server;
    await until(async () => (await ready(opsUrl)).body.reasons.some(({ reason }) => reason === 'standby'));
    const { status, body } = await ready(opsUrl);
    expect(status).toBe(503);
    expect(body.status).toBe('not ready');
    expect(body.reasons.find(({ reason }) => reason === 'standby')?.detail).toContain(
      `process ${process.pid}`,
    );
    const own = new TestClient(url);
    const refused = await own.private('Balance');
    expect(refused.json).toEqual({ error: ['EService:Unavailable'] });
    expect(refused.headers).toMatchObject({ 'x-proxy-error': 'not-owner', 'retry-after': '1' });
    await owner.server.close();
    await until(async () => (await ready(opsUrl)).status === 200);
    expect((await own.private('Balance')).json?.error).toEqual([]);
    own.close();
    await standby.close();
    await owner.close();
  });

  it('is 503 with the reason not-owner once the state is lost; nothing is signed any more', async () => {
    const lost = await openProxyWorld();
    const own = new TestClient(lost.url);
    rmSync(`${lost.stateFile}.lock`, { recursive: true });
    await until(() => lost.fatal.length > 0);
    const { status, body } = await ready(lost.opsUrl);
    expect(status).toBe(503);
    expect(body.reasons).toMatchObject([
      { reason: 'not-owner', detail: expect.stringContaining('lock') as string },
    ]);
    expect((await own.private('AddOrder')).headers['x-proxy-error']).toBe('not-owner');
    expect(lost.sandbox.receivedCount).toBe(0);
    expect((await get('/healthz', lost.opsUrl)).status).toBe(200);
    own.close();
    await lost.close().catch(() => undefined); // what it cannot write any more it reports
    await lost.sandbox.close();
  });
});

describe('/metrics', () => {
  it('has every metric of the contract, with its type', async () => {
    await client.private('Balance');
    const { headers, body } = await get('/metrics');
    expect(headers['content-type']).toMatch(/^text\/plain; version=0\.0\.4/);
    // DESIGN 5
    expect(Object.fromEntries(typesOf(body.toString()))).toMatchObject({
      calls_total: 'counter',
      call_seconds: 'histogram',
      upstream_seconds: 'histogram',
      lane_wait_seconds: 'histogram',
      lane_waiting: 'gauge',
      lane_in_flight: 'gauge',
      nonces_issued_total: 'counter',
      nonce_lead_seconds: 'gauge',
      nonce_rate: 'gauge',
      nonce_burst_rate: 'gauge',
      startup_window_open: 'gauge',
      upstream_errors_total: 'counter',
      own_errors_total: 'counter',
      state_writes_total: 'counter',
      state_write_seconds: 'histogram',
      call_counter: 'gauge',
      engine_counter: 'gauge',
      breaker_seconds: 'gauge',
      clock_offset_seconds: 'gauge',
      settled_total: 'counter',
      replayed_total: 'counter',
      merged_total: 'counter',
      build_info: 'gauge',
      config_info: 'gauge',
    });
    expect(body.toString()).toMatch(/^process_resident_memory_bytes \d+/m);
    expect(body.toString()).toMatch(/^nodejs_eventloop_lag_seconds /m);
  });

  it('names the version and the tuning in force', async () => {
    const scrape = await Scrape.of(world.opsUrl);
    expect(scrape.value('build_info', { version: '0.0.0-test', node: process.versions.node })).toBe(1);
    const tuning = { lanes: 'global', windowMs: '60000', maxPerSecond: '20', minIntervalMs: '500' };
    expect(scrape.value('config_info', tuning)).toBe(1);
    const limits = { reserveMs: '10000', maxWaiting: '1000', maxWaitMs: '8000', timeoutMs: '15000' };
    expect(scrape.value('config_info', limits)).toBe(1);
    const pacing = { pacing: 'false', engine: 'report', merge: 'false', settle: 'true', resend: 'true' };
    expect(scrape.value('config_info', pacing)).toBe(1);
    expect(scrape.value('config_info', { upstream: new URL(world.sandbox.url).host })).toBe(1);
  });

  it("has each of the seed system's statistics", async () => {
    const own = await openProxyWorld();
    const bot = new TestClient(own.url);
    await Promise.all(Array.from({ length: 7 }, () => bot.private('Balance')));
    const scrape = await Scrape.of(own.opsUrl);
    expect(scrape.value('nonces_issued_total')).toBe(7);
    expect(scrape.value('state_writes_total', { result: 'ok' })).toBeGreaterThanOrEqual(1);
    expect(scrape.value('startup_window_open')).toBe(0);
    // Rates count whole seconds: the running one has to end first.
    await until(async () => (await Scrape.of(own.opsUrl)).value('nonce_burst_rate') > 0);
    expect((await Scrape.of(own.opsUrl)).value('nonce_rate')).toBeGreaterThan(0);
    bot.close();
    await own.close();
  });

  it('counts calls by outcome, their errors and their times', async () => {
    const own = await openProxyWorld({
      config: { upstream: { timeoutMs: 250 }, orders: { settle: false } },
    });
    const bot = new TestClient(own.url);
    await bot.private('Balance');
    await bot.private('Balance', {}, '/accounts/alice');
    await bot.private('AddOrder', { pair: 'NOPE', type: 'buy', ordertype: 'market', volume: '1' });
    own.sandbox.fault({ kind: 'error', error: 'EService:Unavailable' });
    await bot.private('AddOrder', { volume: '1' });
    own.sandbox.fault({ kind: 'hang' });
    // Another order: the same again would not be sent.
    await bot.private('AddOrder', { volume: '2' });
    await bot.raw('POST', '/0/private/AddOrder', '[]');
    await bot.raw('GET', '/0/public/Time');
    const scrape = await Scrape.of(own.opsUrl);
    const calls = (account: string, endpoint: string, outcome: string): number =>
      scrape.value('calls_total', { account, endpoint, outcome });
    expect(calls('master', 'Balance', 'executed')).toBe(1);
    expect(calls('alice', 'Balance', 'executed')).toBe(1);
    expect(calls('master', 'AddOrder', 'refused')).toBe(1);
    expect(calls('master', 'AddOrder', 'unknown')).toBe(2);
    expect(calls('master', 'AddOrder', 'not-sent')).toBe(1);
    expect(calls('none', 'Time', 'executed')).toBe(1);
    expect(scrape.value('upstream_errors_total', { account: 'master', class: 'EQuery' })).toBe(1);
    expect(scrape.value('upstream_errors_total', { account: 'master', class: 'EService' })).toBe(1);
    expect(scrape.value('upstream_errors_total', { account: 'master', class: 'transport' })).toBe(1);
    expect(scrape.value('own_errors_total', { code: 'outcome-unknown' })).toBe(2);
    expect(scrape.value('own_errors_total', { code: 'invalid-body' })).toBe(1);
    expect(scrape.value('lane_wait_seconds_count')).toBe(5);
    expect(scrape.value('upstream_seconds_count', { endpoint: 'AddOrder' })).toBe(3);
    expect(scrape.value('upstream_seconds_sum', { endpoint: 'AddOrder' })).toBeGreaterThan(0.24);
    expect(scrape.value('call_seconds_count', { endpoint: 'AddOrder' })).toBe(4);
    bot.close();
    await own.close();
  });

  it('counts repeats as one call, what was found out by how it ended, and what a key is held back for', async () => {
    const own = await openProxyWorld();
    const bot = new TestClient(own.url);
    own.sandbox.fault({ kind: 'reset-before' });
    await bot.private('Balance');
    own.sandbox.fault({ kind: 'reset-after' });
    await bot.private('CancelAll');
    own.sandbox.fault({ kind: 'reset-after' });
    const order = { pair: 'XBTUSD', type: 'buy', ordertype: 'limit', price: '10000', volume: '1' };
    expect((await bot.private('AddOrder', order)).headers['x-proxy-outcome']).toBe('settled');
    own.sandbox.fault({ kind: 'error', error: 'EAPI:Invalid key' });
    await bot.private('Balance');
    expect((await bot.private('Balance')).headers['x-proxy-error']).toBe('locked-out');
    const scrape = await Scrape.of(own.opsUrl);
    const local = (endpoint: string, outcome: string): number =>
      scrape.value('calls_total', { account: 'master', client: 'local', endpoint, outcome });
    expect(local('Balance', 'executed')).toBe(1);
    expect(local('Balance', 'unknown')).toBe(0);
    expect(local('CancelAll', 'executed')).toBe(1);
    expect(local('AddOrder', 'executed')).toBe(1);
    expect(local('Balance', 'refused')).toBe(1);
    expect(local('Balance', 'not-sent')).toBe(1);
    expect(scrape.value('settled_total', { account: 'master', result: 'done' })).toBe(1);
    expect(scrape.value('calls_total', { client: 'proxy', endpoint: 'OpenOrders' })).toBe(1);
    expect(scrape.value('own_errors_total', { code: 'locked-out' })).toBe(1);
    expect(scrape.value('breaker_seconds', { account: 'master' })).toBeGreaterThan(50);
    expect(scrape.value('breaker_seconds', { account: 'alice' })).toBe(0);
    bot.close();
    await own.close();
  });

  it('shows the call counter of each account as far as it is paced', async () => {
    const own = await openProxyWorld({ config: { pacing: { enabled: true } } });
    const bot = new TestClient(own.url);
    await bot.private('Balance');
    await bot.private('TradesHistory');
    const scrape = await Scrape.of(own.opsUrl);
    expect(scrape.value('call_counter', { account: 'master' })).toBeGreaterThan(4);
    expect(scrape.value('call_counter', { account: 'master' })).toBeLessThanOrEqual(5);
    expect(scrape.value('call_counter', { account: 'alice' })).toBe(0);
    bot.close();
    await own.close();
  });

  it('has no label whose values a client could make up', async () => {
    const own = await openProxyWorld();
    const bot = new TestClient(own.url);
    const odd = ['Nope', 'balance', 'Balance2', 'constructor', 'toString', 'A/b/c', '0'.repeat(64)];
    for (const name of odd) {
      await bot.raw('POST', `/0/private/${name}`);
      await bot.raw('GET', `/0/public/${name}`);
      await bot.raw('POST', `/accounts/${name.replaceAll('/', '-')}/0/private/Balance`);
      await bot.raw('POST', '/0/private/Balance', '', { 'api-key': name });
      await bot.raw('POST', '/0/private/Balance', '', { host: `${name}.example` });
      await bot.raw('POST', '/0/private/Balance', '', { 'user-agent': name, 'x-client': name });
      own.sandbox.fault({ kind: 'error', error: `E${name}:${name}` });
      await bot.private('Balance');
    }
    const names = PRIVATE_ENDPOINTS.map(({ name }) => name);
    const allowed: Record<string, readonly string[]> = {
      endpoint: [...names, 'Time', 'other'],
      account: ['master', 'alice', 'none', 'unknown'],
      client: ['local', 'public', 'unknown'],
      rule: ['allow'],
      decision: ['denied'],
      outcome: ['executed', 'refused', 'unknown', 'not-sent'],
      code: ERROR_CODES,
      class: ['other', 'EGeneral', 'transport'],
      result: ['ok', 'failed'],
      target: ['everything', 'account', 'client'],
      mode: ['pause', 'cancel-only', 'freeze'],
    };
    const { body } = await get('/metrics', own.opsUrl);
    const seen = new Set<string>();
    for (const [, name, labels = ''] of body.toString().matchAll(/^kraken_proxy_(\w+)\{(.*)\} \S+$/gm)) {
      if (name === 'build_info' || name === 'config_info') continue;
      for (const [, label = '', value = ''] of labels.matchAll(/(\w+)="([^"]*)"/g)) {
        seen.add(label);
        if (label === 'le') expect(value).toMatch(/^(?:\d+(?:\.\d+)?|\+Inf)$/);
        else
          expect({ name, label, values: allowed[label] }).toMatchObject({
            values: expect.arrayContaining([value]) as string[],
          });
      }
    }
    expect([...seen].sort()).toEqual([
      'account',
      'class',
      'client',
      'code',
      'decision',
      'endpoint',
      'le',
      'mode',
      'outcome',
      'result',
      'rule',
      'target',
    ]);
    const scrape = await Scrape.of(own.opsUrl);
    expect(scrape.value('calls_total', { endpoint: 'other' })).toBeGreaterThanOrEqual(2 * odd.length);
    bot.close();
    await own.close();
  });

  it('lists every code of the closed list from the start, so that a first error is a rise from 0', async () => {
    const codes = (await Scrape.of(world.opsUrl)).samples('own_errors_total').map(({ labels }) => labels[0]);
    expect(codes).toEqual(ERROR_CODES.map((code) => `code="${code}"`));
  });
});

describe('the startup window', () => {
  async function act(name: string): Promise<string> {
    const headers = { 'content-type': 'application/json' };
    const body = JSON.stringify({ who: 'ana', why: 'all bots are back' });
    return (
      await rawRequest(world.opsUrl, `/v1/startup-window/${name}`, 'POST', body, headers)
    ).body.toString();
  }
  async function open(): Promise<[string, number]> {
    const shown = (await get('/v1/startup-window')).body.toString();
    return [shown, (await Scrape.of(world.opsUrl)).value('startup_window_open')];
  }

  it('is left by close and begun anew by open, and each act is logged', async () => {
    expect(await open()).toEqual(['{"open":true}', 1]);
    expect(await act('close')).toBe('{"open":false}');
    expect(await open()).toEqual(['{"open":false}', 0]);
    expect(await act('open')).toBe('{"open":true}');
    expect(await open()).toEqual(['{"open":true}', 1]);
    const signed = { who: 'ana', why: 'all bots are back', address: '127.0.0.1', result: 'done' };
    expect(world.log.filter(({ msg }) => msg === 'operator')).toMatchObject([
      { act: 'startup-window/close', ...signed },
      { act: 'startup-window/open', ...signed },
    ]);
  });

  it('is for loopback only while there is no token: a listener that others reach neither shows nor moves it', async () => {
    const ops = { host: '0.0.0.0', hosts: ['scrape.me'] };
    const wide = await openProxyWorld({ config: { startup: STARTUP, ops } });
    const url = `http://127.0.0.1:${new URL(wide.opsUrl).port}`;
    const ask = (method: string, path: string): ReturnType<typeof talk> =>
      talk(url, requestText(url, method, path, '', { Host: 'scrape.me' }));
    for (const [method, path] of [
      ['POST', '/v1/startup-window/close'],
      ['GET', '/v1/startup-window'],
    ] as const) {
      const reply = await ask(method, path);
      expect([reply?.status, reply?.body.toString()]).toEqual([
        403,
        expect.stringContaining('ops.token') as string,
      ]);
    }
    expect((await ask('GET', '/metrics'))?.body.toString()).toContain('startup_window_open 1');
    expect(wide.log.filter(({ level }) => level === 40).length).toBeGreaterThan(0); // the warning about it
    await wide.close();
  });
});

it('the first lines of the log name the two addresses and a curl to try', () => {
  const [listening] = world.log.filter(({ msg }) => msg === 'listening');
  expect(listening).toMatchObject({ url: world.url, ops: world.opsUrl, version: '0.0.0-test' });
  expect(
    world.log.some(({ msg }) => String(msg).startsWith(`try: curl -s -X POST ${world.url}/0/private/`)),
  ).toBe(true);
});
