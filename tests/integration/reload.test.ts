import { randomBytes } from 'node:crypto';
import { openGate, type Gate } from '../support/gate.js';
import { TestClient } from '../support/http.js';
import { Scrape } from '../support/metrics.js';
import {
  openProxyWorld,
  type ConfigParts,
  type ProxyWorld,
  type WorldOptions,
} from '../support/proxy-world.js';
import { signedRequest } from '../support/sign.js';
import { until } from '../support/until.js';
import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';

let world: ProxyWorld;
let bot: TestClient;
let gate: Gate | undefined;

async function open(config: ConfigParts = {}, sandbox: WorldOptions['sandbox'] = {}): Promise<void> {
  world = await openProxyWorld({ config, sandbox });
  bot = new TestClient(world.url);
}
afterEach(async () => {
  bot.close();
  await world.close();
  await gate?.close();
  gate = undefined;
});

/** What the proxy is to work by from now on. */
async function reloadWith(config: ConfigParts | string): Promise<Awaited<ReturnType<ProxyWorld['act']>>> {
  world.rewrite(config);
  return await world.act('reload');
}

async function answered(client: TestClient, endpoint = 'Balance'): Promise<string> {
  const { json } = await client.private(endpoint);
  return json?.error[0] ?? 'well';
}

const GRID = { key: 'grid', accounts: ['master'] };

describe('a reload', () => {
  it('puts clients and what they may do in force for the next call', async () => {
    await open({ clients: { grid: GRID } });
    const grid = new TestClient(world.url, { 'API-Key': 'grid' });
    const late = new TestClient(world.url, { 'API-Key': 'late' });
    expect([await answered(grid), await answered(late)]).toEqual(['well', 'EAPI:Invalid key']);
    const { status, body } = await reloadWith({
      clients: { grid: { ...GRID, allow: ['trade'] }, late: { key: 'late', accounts: ['master'] } },
    });
    expect([status, body]).toEqual([
      200,
      { changed: ['clients.grid.rules.allow', 'clients.late'], needsRestart: [] },
    ]);
    expect([await answered(grid), await answered(late)]).toEqual(['EGeneral:Permission denied', 'well']);
    await reloadWith({ clients: { late: { key: 'late', accounts: ['master'] } } });
    expect(await answered(grid)).toBe('EAPI:Invalid key');
    grid.close();
    late.close();
  });

  it('does not forget which nonces a client has used: a captured call stays used', async () => {
    const secret = randomBytes(64).toString('base64');
    const clients = { grid: { ...GRID, secret, nonceWindow: 0 } };
    await open({ clients });
    const send = async (): Promise<string> => {
      const { json } = await signedRequest(world.url, '/0/private/Balance', 'grid', secret, 'nonce=1000');
      return json?.error[0] ?? 'well';
    };
    expect(await send()).toBe('well');
    await reloadWith({ clients, queue: { maxWaitMs: 5_000 } });
    expect(await send()).toBe('EAPI:Invalid signature');
  });

  it('drops no call: one in flight and those that wait end well', async () => {
    gate = await openGate();
    await open({ upstream: { url: gate.url } });
    gate.leadTo(world.sandbox.url);
    gate.shut();
    const replies = ['Balance', 'OpenOrders', 'CancelAll'].map((endpoint) => bot.private(endpoint));
    await until(async () => (await world.status()).lanes[0]?.waiting === 2);
    const { body } = await reloadWith({ upstream: { url: gate.url }, queue: { maxWaiting: 1 } });
    expect(body).toEqual({ changed: ['queue.maxWaiting'], needsRestart: [] });
    expect((await bot.private('TradeBalance')).headers['x-proxy-error']).toBe('queue-full');
    gate.open();
    for (const { json } of await Promise.all(replies)) expect(json?.error).toEqual([]);
  });

  it('puts another key of an account in force: what leaves from then on is signed with it', async () => {
    const [master = { account: '', key: '', secret: '' }] = DEMO_KEYS;
    const fresh = { account: 'master', key: 'fresh-key', secret: randomBytes(64).toString('base64') };
    const accounts = { master: { key: master.key, secret: master.secret } };
    await open({ accounts }, { keys: [...DEMO_KEYS, fresh] });
    const keyOf = (): string | undefined => world.sandbox.received.at(-1)?.key;
    await bot.private('Balance');
    expect(keyOf()).toBe(master.key);
    const { body } = await reloadWith({ accounts: { master: { key: fresh.key, secret: fresh.secret } } });
    expect(body.changed).toContain('accounts.master.secret');
    expect(await answered(bot)).toBe('well');
    expect(keyOf()).toBe(fresh.key);
  });

  it('signs calls that wait already with the new key: the former may be gone at Kraken', async () => {
    const [master = { account: '', key: '', secret: '' }] = DEMO_KEYS;
    const fresh = { account: 'master', key: 'fresh-key', secret: randomBytes(64).toString('base64') };
    const accounts = { master: { key: master.key, secret: master.secret } };
    await open({ accounts }, { keys: [...DEMO_KEYS, fresh] });
    await world.act('pause');
    const waiting = bot.private('Balance');
    await until(async () => (await world.status()).lanes[0]?.waiting === 1);
    await reloadWith({ accounts: { master: { key: fresh.key, secret: fresh.secret } } });
    await world.act('resume');
    expect((await waiting).json?.error).toEqual([]);
    expect(world.sandbox.received.at(-1)?.key).toBe(fresh.key);
  });

  it('changes limits, pacing and the log’s level, and config_info tells', async () => {
    await open({ startup: { windowMs: 0 }, log: { level: 'info' } });
    const pacing = { enabled: true, tiers: { intermediate: { max: 7 } } };
    expect((await reloadWith({ pacing, log: { level: 'warn' } })).body).toMatchObject({
      changed: ['log.level', 'pacing.enabled', 'pacing.tiers.intermediate.max'],
    });
    const lines = world.log.length;
    await bot.private('Balance');
    expect(world.log.slice(lines)).toEqual([]);
    const [account] = (await world.status()).accounts;
    expect(account?.callCounter.max).toBe(7);
    expect(account?.callCounter.level).toBeGreaterThan(0.5);
    expect((await Scrape.of(world.opsUrl)).text).toContain('pacing="true"');
  });

  it('says what needs a restart, leaves that as it is, and takes the rest', async () => {
    await open();
    const { body } = await reloadWith({
      listen: { port: 0, maxBodyBytes: 2_048 },
      lanes: 'key',
      queue: { maxWaitMs: 1_234 },
      nonce: { file: 'other.txt' },
    });
    expect(body).toEqual({
      changed: ['queue.maxWaitMs'],
      needsRestart: ['journal.file', 'lanes', 'listen.maxBodyBytes', 'nonce.file'],
    });
    expect((await world.status()).mode).toBe('global');
    expect(await answered(bot)).toBe('well');
  });

  it('that cannot be read changes nothing and says why, without a secret', async () => {
    await open({ clients: { grid: GRID } });
    const grid = new TestClient(world.url, { 'API-Key': 'grid' });
    const secret = 'do-not-show-me';
    for (const [config, why] of [
      ['{ "listen": ', 'not JSON'],
      [{ clients: { grid: { ...GRID, alow: ['read'], secret } } }, 'did you mean allow'],
      [{ queue: { maxWaitMs: -1 }, clients: {} }, 'queue.maxWaitMs'],
    ] as const) {
      const { status, body } = await reloadWith(config);
      expect(status).toBe(409);
      expect(body.error?.message).toContain(why);
      expect(JSON.stringify([body, world.log])).not.toContain(secret);
      expect(await answered(grid)).toBe('well');
    }
    grid.close();
  });

  it('refuses to leave a listener that others reach without clients', async () => {
    await open({
      listen: { host: '0.0.0.0', port: 0, insecure: true, hosts: ['127.0.0.1'] },
      clients: { grid: GRID },
    });
    const { status, body } = await reloadWith({ listen: { port: 0 } });
    expect(status).toBe(409);
    expect(body.error?.message).toContain('without "clients" the proxy serves loopback only');
    const url = `http://127.0.0.1:${new URL(world.url).port}`;
    const stranger = new TestClient(url);
    expect(await answered(stranger)).toBe('EAPI:Invalid key');
    stranger.close();
  });

  it('opens the ledger of the day for a limit that needs it', async () => {
    const clients = (orders?: object): ConfigParts => ({
      clients: { grid: { ...GRID, ...(orders && { orders }) } },
    });
    await open(clients());
    const grid = new TestClient(world.url, { 'API-Key': 'grid' });
    const order = { pair: 'XBTUSD', type: 'buy', ordertype: 'limit', price: '10000', volume: '1' };
    const place = async (): Promise<unknown> =>
      (await grid.private('AddOrder', order)).headers['x-proxy-error'];
    expect(await place()).toBeUndefined();
    expect((await reloadWith(clients({ maxNotionalPerDay: { USD: '15000' } }))).status).toBe(200);
    expect([await place(), await place()]).toEqual([undefined, 'permission-denied']);
    grid.close();
  });

  it('several at once are taken one after another', async () => {
    await open();
    world.rewrite({ queue: { maxWaitMs: 1_234 } });
    const all = await Promise.all([1, 2, 3].map(() => world.act('reload')));
    expect(all.map(({ body }) => body.changed)).toEqual([['queue.maxWaitMs'], [], []]);
  });
});
