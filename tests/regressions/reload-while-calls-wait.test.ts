/**
 * Calls that waited in the lane during a reload went by what was in force before it: a pause of an account whose key was
 * rotated let them go, a client or an account that was taken out of the config still traded, and one whose rights were
 * taken away used them once more. Whoever waits is asked again in its turn.
 */
import { randomBytes } from 'node:crypto';
import { TestClient } from '../support/http.js';
import { openProxyWorld, testConfig, type ConfigParts, type ProxyWorld } from '../support/proxy-world.js';
import { until } from '../support/until.js';
import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';

const [master = { account: '', key: '', secret: '' }, alice = master] = DEMO_KEYS;
const fresh = { account: 'master', key: 'fresh-key', secret: randomBytes(64).toString('base64') };
const ORDER = { pair: 'XBTUSD', type: 'buy', ordertype: 'limit', price: '10000', volume: '1' };
const GRID = { key: 'grid', accounts: ['master'] };
const CANCELS = { key: 'cancels', accounts: ['master'] };

const keysOf = (
  ...all: readonly { readonly account: string; readonly key: string; readonly secret: string }[]
): object => Object.fromEntries(all.map(({ account, key, secret }) => [account, { key, secret }]));

let world: ProxyWorld;
let bot: TestClient;
async function open(config: ConfigParts, key?: string): Promise<void> {
  world = await openProxyWorld({ config, sandbox: { keys: [...DEMO_KEYS, fresh] } });
  bot = new TestClient(world.url, key === undefined ? {} : { 'API-Key': key });
}
afterEach(async () => {
  bot.close();
  await world.close();
});

async function reload(config: ConfigParts): Promise<void> {
  world.rewrite(config);
  expect((await world.act('reload')).status).toBe(200);
}

async function waits(): Promise<void> {
  await until(async () => (await world.status()).lanes.some(({ waiting }) => waiting === 1));
}

it.each(['global', 'key'])(
  'a paused account whose key is rotated stays paused (lanes: %s)',
  async (lanes) => {
    const config = { lanes, queue: { maxWaitMs: 2_000 } };
    await open({ ...config, accounts: keysOf(master) });
    await world.act('pause', { account: 'master' });
    const order = bot.private('AddOrder', ORDER);
    await waits();
    await reload({ ...config, accounts: keysOf(fresh) });
    expect((await world.status()).accounts[0]?.waiting).toBe(1);
    expect((await order).headers['x-proxy-error-detail']).toContain('paused');
    expect(world.sandbox.receivedCount).toBe(0);
  },
);

it('a call for an account that was taken out is refused', async () => {
  await open({ accounts: keysOf(master, alice), defaultAccount: 'master' });
  await world.act('pause', { account: 'alice' });
  const order = bot.private('AddOrder', ORDER, '/accounts/alice');
  await waits();
  world.rewrite(JSON.stringify({ ...testConfig(world.sandbox.url), accounts: keysOf(master) }));
  expect((await world.act('reload')).body.changed).toEqual(['accounts.alice']);
  expect((await world.act('resume', { account: 'alice' })).body.holds).toEqual([]);
  expect((await order).json).toEqual({ error: ['EAPI:Invalid key'] });
  expect(world.sandbox.receivedCount).toBe(0);
});

it('a call of a client that was taken out is refused', async () => {
  await open({ clients: { grid: GRID, cancels: CANCELS } }, 'grid');
  await world.act('pause');
  const order = bot.private('AddOrder', ORDER);
  await waits();
  await reload({ clients: { cancels: CANCELS } });
  await world.act('resume');
  expect((await order).json).toEqual({ error: ['EAPI:Invalid key'] });
  expect(world.sandbox.receivedCount).toBe(0);
});

it('a call that its client may make no longer is refused; one that it may still make goes', async () => {
  await open({ clients: { grid: GRID } }, 'grid');
  await world.act('pause');
  const [order, read] = [bot.private('AddOrder', ORDER), bot.private('Balance')];
  await until(async () => (await world.status()).lanes.some(({ waiting }) => waiting === 2));
  await reload({ clients: { grid: { ...GRID, allow: ['read'] } } });
  await world.act('resume');
  expect((await order).json).toEqual({ error: ['EGeneral:Permission denied'] });
  expect((await read).json?.error).toEqual([]);
});

it('a new limit on orders holds for those that wait', async () => {
  await open({ clients: { grid: GRID } }, 'grid');
  await world.act('pause');
  const order = bot.private('AddOrder', ORDER);
  await waits();
  await reload({ clients: { grid: { ...GRID, orders: { maxVolume: '0.5' } } } });
  await world.act('resume');
  expect((await order).headers['x-proxy-error-detail']).toContain('orders.maxVolume');
  expect(world.sandbox.receivedCount).toBe(0);
});

it('a secret that was wrong and is put right is tried at once', async () => {
  const wrong = { ...master, secret: randomBytes(64).toString('base64') };
  await open({ accounts: keysOf(wrong) });
  expect((await bot.private('Balance')).json?.error).toEqual(['EAPI:Invalid signature']);
  expect((await bot.private('Balance')).headers['x-proxy-error']).toBe('locked-out');
  await reload({ accounts: keysOf(master) });
  await until(async () => (await world.status()).accounts[0]?.breaker.open === false);
  expect((await bot.private('Balance')).json?.error).toEqual([]);
});
