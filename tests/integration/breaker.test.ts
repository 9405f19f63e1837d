import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';
import type { SandboxOptions } from '../../src/sandbox/sandbox.js';
import { TestClient } from '../support/http.js';
import { Scrape } from '../support/metrics.js';
import { openProxyWorld, type ConfigParts, type ProxyWorld } from '../support/proxy-world.js';
import type { SignedReply } from '../support/sign.js';
import { until } from '../support/until.js';

const [MASTER = '', ALICE = ''] = DEMO_KEYS.map(({ key }) => key);
const PAUSE_MS = 1_000;
const LONG_MS = 60_000;
const ORDER = { pair: 'XBTUSD', type: 'buy', ordertype: 'limit', price: '10000', volume: '0.01' };

let world: ProxyWorld;
let client: TestClient;
afterEach(async () => {
  client.close();
  await world.close();
});

async function open(
  breaker: Readonly<Record<string, number>>,
  sandbox: Partial<SandboxOptions> = {},
  config: ConfigParts = {},
): Promise<void> {
  world = await openProxyWorld({ config: { breaker, ...config }, sandbox });
  client = new TestClient(world.url, { 'api-key': MASTER });
}

/** The private calls on a key, in order of arrival. */
function calls(key = MASTER): (string | undefined)[] {
  return world.sandbox.received.filter((call) => call.key === key).map(({ endpoint }) => endpoint);
}

function expectLockedOut(reply: SignedReply, seconds: number): void {
  expect(reply.json).toEqual({ error: ['EGeneral:Temporary lockout'] });
  expect(reply.headers['x-proxy-error']).toBe('locked-out');
  expect(reply.headers['x-proxy-error-detail']).toContain('nothing is sent with it');
  const retryAfter = Number(reply.headers['retry-after']);
  expect(retryAfter).toBeGreaterThan(0);
  expect(retryAfter).toBeLessThanOrEqual(seconds);
}

function logged(message: string): boolean {
  return world.log.some(({ msg }) => msg === message);
}

const REOPENED = 'Kraken takes this key again';

describe.each(['EAPI:Invalid key', 'EAPI:Invalid signature', 'EGeneral:Temporary lockout'])('%s', (error) => {
  it('is given to its call as it is, and stops all that come after it on this key', async () => {
    await open({ pauseMs: LONG_MS, lockoutMs: LONG_MS });
    world.sandbox.fault({ kind: 'error', error, key: MASTER });
    const first = await client.private('Balance');
    expect(first.json).toEqual({ error: [error] });
    expect(first.headers['x-proxy-error']).toBeUndefined();
    for (const endpoint of ['Balance', 'AddOrder', 'CancelAll', 'GetApiKeyInfo'])
      expectLockedOut(await client.private(endpoint, ORDER), LONG_MS / 1_000);
    expect(calls()).toEqual(['Balance']);
    expect(world.log).toContainEqual(
      expect.objectContaining({
        level: 50,
        account: 'master',
        msg: expect.stringContaining('turns it away') as string,
      }),
    );
    expect((await Scrape.of(world.opsUrl)).value('own_errors_total', { code: 'locked-out' })).toBe(4);
  });

  it('leaves other keys alone', async () => {
    await open({ pauseMs: LONG_MS, lockoutMs: LONG_MS });
    world.sandbox.fault({ kind: 'error', error, key: MASTER });
    await client.private('Balance');
    const alice = new TestClient(world.url, { 'api-key': ALICE });
    expect((await alice.private('AddOrder', ORDER)).json?.error).toEqual([]);
    expect((await alice.private('Balance')).json?.error).toEqual([]);
    alice.close();
  });

  it('ends the wait of the calls of its key at once', async () => {
    await open({ pauseMs: LONG_MS, lockoutMs: LONG_MS }, { delayMs: 150 });
    world.sandbox.fault({ kind: 'error', error, key: MASTER });
    const first = client.private('TradeBalance');
    await until(() => world.sandbox.inFlight === 1);
    const waiting = ['Balance', 'AddOrder', 'CancelAll', 'ClosedOrders'].map((name) =>
      client.private(name, ORDER),
    );
    const alice = new TestClient(world.url, { 'api-key': ALICE });
    const others = [1, 2, 3].map(() => alice.private('Balance'));
    expect((await first).json).toEqual({ error: [error] });
    for (const reply of await Promise.all(waiting)) expectLockedOut(reply, LONG_MS / 1_000);
    // None of them had to wait for those of the other key.
    expect(calls(ALICE).length).toBeLessThan(3);
    for (const reply of await Promise.all(others)) expect(reply.json?.error).toEqual([]);
    expect(calls()).toEqual(['TradeBalance']);
    alice.close();
  });

  it('is over when, after the pause, one GetApiKeyInfo is answered', async () => {
    await open({ pauseMs: PAUSE_MS, lockoutMs: PAUSE_MS });
    world.sandbox.fault({ kind: 'error', error, key: MASTER });
    await client.private('Balance');
    await until(() => logged(REOPENED));
    const [tripped, probe] = world.sandbox.received;
    expect((probe?.at ?? 0) - (tripped?.at ?? 0)).toBeGreaterThanOrEqual(PAUSE_MS - 5);
    expect((await client.private('Balance')).json?.error).toEqual([]);
    expect(calls()).toEqual(['Balance', 'GetApiKeyInfo', 'Balance']);
  });
});

it('a probe that fails doubles the pause', async () => {
  await open({ pauseMs: PAUSE_MS, lockoutMs: PAUSE_MS });
  world.sandbox.fault({ kind: 'error', error: 'EAPI:Invalid signature', key: MASTER, times: 2 });
  await client.private('Balance');
  await until(() => calls().length === 2);
  await until(async () => Number((await client.private('Balance')).headers['retry-after']) === 2);
  await until(() => logged(REOPENED));
  const [, first, second] = world.sandbox.received;
  expect((second?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThanOrEqual(2 * PAUSE_MS - 5);
  expect(calls()).toEqual(['Balance', 'GetApiKeyInfo', 'GetApiKeyInfo']);
});

it('a secret that is wrong costs one call, whatever the clients do', async () => {
  const wrong = { key: MASTER, secret: Buffer.from('not the secret of this key').toString('base64') };
  await open({ pauseMs: LONG_MS }, {}, { accounts: { master: wrong } });
  const replies = await Promise.all(Array.from({ length: 20 }, () => client.private('Balance')));
  expect(replies.filter(({ json }) => json?.error[0] === 'EAPI:Invalid signature')).toHaveLength(1);
  expect(replies.filter(({ headers }) => headers['x-proxy-error'] === 'locked-out')).toHaveLength(19);
  expect(calls()).toEqual(['Balance']);
});

it('an order that was lost is found out about when the breaker, tripped by the question, has closed', async () => {
  await open({ pauseMs: PAUSE_MS, lockoutMs: PAUSE_MS });
  world.sandbox.fault({ kind: 'reset-after', endpoint: 'AddOrder' });
  world.sandbox.fault({ kind: 'error', error: 'EGeneral:Temporary lockout', endpoint: 'OpenOrders' });
  const reply = await client.private('AddOrder', ORDER);
  expect(reply.headers['x-proxy-outcome']).toBe('settled');
  expect(reply.json?.result).toMatchObject({ txid: [world.sandbox.orders('master')[0]?.txid] });
  expect(calls().slice(0, 3)).toEqual(['AddOrder', 'OpenOrders', 'GetApiKeyInfo']);
  expect(world.sandbox.orders('master')).toHaveLength(1);
});

it('the seconds until the next try are a metric', async () => {
  await open({ pauseMs: LONG_MS });
  world.sandbox.fault({ kind: 'error', error: 'EAPI:Invalid key', key: MASTER });
  await client.private('Balance');
  const scrape = await Scrape.of(world.opsUrl);
  expect(scrape.text).toMatch(/^kraken_proxy_\w*breaker\w*\{account="master"\} (59\.\d+|60)$/m);
  expect(scrape.text).toMatch(/^kraken_proxy_\w*breaker\w*\{account="alice"\} 0$/m);
});
