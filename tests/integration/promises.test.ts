import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';
import { TestClient } from '../support/http.js';
import { openProxyWorld, type ProxyWorld } from '../support/proxy-world.js';
import { until } from '../support/until.js';

const [MASTER = '', ALICE = ''] = DEMO_KEYS.map(({ key }) => key);

function noncesOf(world: ProxyWorld): bigint[] {
  return world.sandbox.received
    .filter(({ nonce }) => nonce !== undefined)
    .map(({ nonce }) => BigInt(nonce ?? 0));
}

function expectRising(nonces: readonly bigint[]): void {
  for (const [index, nonce] of nonces.entries()) {
    if (index > 0) expect(nonce > (nonces[index - 1] ?? 0n)).toBe(true);
  }
}

describe.each(['global', 'key'])(
  '1,000 concurrent calls from many clients over two accounts, lanes "%s"',
  (lanes) => {
    let world: ProxyWorld;
    let clients: TestClient[];
    beforeAll(async () => {
      world = await openProxyWorld({
        config: { lanes, queue: { maxWaiting: 1_000, maxWaitMs: 60_000 } },
        // Slow enough for two lanes to overlap.
        sandbox: { delayMs: lanes === 'key' ? 2 : 0 },
      });
      clients = Array.from(
        { length: 10 },
        (_, i) => new TestClient(world.url, { 'api-key': i % 2 ? ALICE : MASTER }),
      );
      const calls = Array.from({ length: 100 }, () =>
        clients.map((client) => client.private('Balance', { nonce: '1' })),
      );
      const replies = await Promise.all(calls.flat());
      expect(replies.map((reply) => reply.json?.error)).toEqual(Array.from({ length: 1_000 }, () => []));
    }, 60_000);
    afterAll(async () => {
      for (const client of clients) client.close();
      await world.close();
    });

    it('get 1,000 unique nonces', () => {
      expect(new Set(noncesOf(world)).size).toBe(1_000);
    });

    it('arrive at Kraken with nonces that rise', () => {
      if (lanes === 'global') expectRising(noncesOf(world));
      for (const key of [MASTER, ALICE]) {
        const received = world.sandbox.received.filter((call) => call.key === key);
        expectRising(received.map(({ nonce }) => BigInt(nonce ?? 0)));
      }
    });

    it('are never more than one in flight', () => {
      expect(world.sandbox.maxInFlightOf(MASTER)).toBe(1);
      expect(world.sandbox.maxInFlightOf(ALICE)).toBe(1);
      if (lanes === 'global') expect(world.sandbox.maxInFlight).toBe(1);
      else expect(world.sandbox.maxInFlight).toBe(2);
    });
  },
);

describe('the startup window', () => {
  const startup = { windowMs: 60_000, maxPerSecond: 20, minIntervalMs: 100 };
  let world: ProxyWorld;
  let client: TestClient;
  beforeEach(async () => {
    world = await openProxyWorld({ config: { startup } });
    client = new TestClient(world.url);
  });
  afterEach(async () => {
    client.close();
    await world.close();
  });

  function mostInOneSecond(times: readonly number[]): number {
    return Math.max(...times.map((from) => times.filter((at) => at >= from && at < from + 1_000).length));
  }

  it('turns a burst into at most 20 calls in any second', async () => {
    await Promise.all(Array.from({ length: 45 }, () => client.private('Balance')));
    const times = world.sandbox.received.map(({ at }) => at);
    expect(times).toHaveLength(45);
    expect(mostInOneSecond(times)).toBeLessThanOrEqual(20);
  });

  it('lets a cancel and a call that asks to skip it pass at once', async () => {
    const burst = Promise.all(Array.from({ length: 25 }, () => client.private('Balance')));
    await until(() => world.sandbox.receivedCount === 20);
    await client.private('CancelAll');
    await client.raw('POST', '/0/private/TradeBalance', '', { 'x-proxy-startup': 'skip' });
    expect(world.sandbox.received.slice(20).map(({ endpoint }) => endpoint)).toEqual([
      'CancelAll',
      'TradeBalance',
    ]);
    await burst;
  });

  it('can be left early', async () => {
    const burst = Promise.all(Array.from({ length: 100 }, () => client.private('Balance')));
    await until(() => world.sandbox.receivedCount === 20);
    const started = performance.now();
    const ops = new TestClient(world.opsUrl);
    const act = JSON.stringify({ who: 'ana', why: 'a test' });
    const json = { 'content-type': 'application/json' };
    const closed = await ops.raw('POST', '/v1/startup-window/close', act, json);
    expect(closed.body.toString()).toBe('{"open":false}');
    await burst;
    ops.close();
    // At 20 a second the other 80 need four seconds.
    expect(performance.now() - started).toBeLessThan(2_500);
  });
});

it('a restart continues above every nonce used before it', async () => {
  const first = await openProxyWorld();
  const client = new TestClient(first.url);
  await client.private('Balance');
  client.close();
  const used = noncesOf(first);
  await first.server.close();
  const second = await openProxyWorld({ folder: first.folder });
  const again = new TestClient(second.url);
  await again.private('Balance');
  again.close();
  expect(noncesOf(second)[0]).toBeGreaterThan(used.at(-1) ?? 0n);
  await second.close();
  await first.close();
});
