import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';
import type { SandboxOptions } from '../../src/sandbox/sandbox.js';
import { callLines } from '../support/call-lines.js';
import { TestClient } from '../support/http.js';
import { Scrape } from '../support/metrics.js';
import { openProxyWorld, type ConfigParts, type ProxyWorld } from '../support/proxy-world.js';
import type { SignedReply } from '../support/sign.js';
import { until } from '../support/until.js';

const [MASTER = ''] = DEMO_KEYS.map(({ key }) => key);
const ORDER = { pair: 'XBTUSD', type: 'buy', ordertype: 'limit', price: '10000', volume: '0.001' };
/** Kraken's counters lose 0.5 and 2.34 points a second; here both sides live so much faster. */
const HASTE = 20;
const PACING = { enabled: true, merge: false };
const HASTY = { ...PACING, tiers: { intermediate: { max: 20, decayPerSecond: 0.5 * HASTE } } };

let world: ProxyWorld;
let client: TestClient;
afterEach(async () => {
  client.close();
  await world.close();
});

async function open(
  pacing: object,
  sandbox: Partial<SandboxOptions>,
  config: ConfigParts = {},
): Promise<void> {
  world = await openProxyWorld({ config: { pacing, ...config }, sandbox });
  client = new TestClient(world.url);
}

/** A clock for the sandbox on which so many times as much time passes. */
function hastyClock(haste = HASTE): () => number {
  const wall = Date.now();
  const steady = performance.now();
  return () => wall + (performance.now() - steady) * haste;
}

function endpoints(): (string | undefined)[] {
  return world.sandbox.received.map(({ endpoint }) => endpoint);
}

function times(count: number, call: () => Promise<SignedReply>): Promise<SignedReply>[] {
  return Array.from({ length: count }, call);
}

describe('a burst of 60 reads', () => {
  beforeEach(() => open(HASTY, { callCounter: true, now: hastyClock() }, { queue: { maxWaitMs: 30_000 } }));

  it('never meets the limit of a Kraken that counts', async () => {
    const replies = await Promise.all(times(60, () => client.private('Balance')));
    expect(new Set(replies.map(({ json }) => json?.error.length))).toEqual(new Set([0]));
    expect(world.sandbox.rateLimited).toBe(0);
    expect(world.sandbox.receivedCount).toBe(60);
    expect((await Scrape.of(world.opsUrl)).value('call_counter', { account: 'master' })).toBeGreaterThan(10);
  });

  it('does not keep a cancel or an order waiting, nor another key', async () => {
    const burst = Promise.all(times(60, () => client.private('Balance')));
    await until(() => world.sandbox.receivedCount >= 17);
    const before = world.sandbox.receivedCount;
    for (const endpoint of ['CancelAll', 'AddOrder', 'CancelAll'])
      expect((await client.private(endpoint, ORDER)).json).toBeDefined();
    expect((await client.private('Balance', {}, '/accounts/alice')).json?.error).toEqual([]);
    // At ten points a second the reads need four seconds more.
    expect(world.sandbox.receivedCount - before).toBeLessThan(30);
    await burst;
    expect(world.sandbox.rateLimited).toBe(0);
  });

  it('counts dear calls by what they cost', async () => {
    const dear = times(10, () => client.private('Ledgers'));
    const cheap = times(10, () => client.private('Balance'));
    for (const { json } of await Promise.all([...dear, ...cheap])) expect(json?.error).toEqual([]);
    expect(world.sandbox.rateLimited).toBe(0);
  });
});

it('without pacing the same burst meets it', async () => {
  await open({ enabled: false, merge: false }, { callCounter: true });
  await Promise.all(times(30, () => client.private('Balance', {})));
  expect(world.sandbox.rateLimited).toBeGreaterThan(0);
});

describe('a read that finds no room within its wait', () => {
  it('is rate-limited with the time to wait, and not sent', async () => {
    await open(PACING, { callCounter: true }, { queue: { maxWaitMs: 500 } });
    const replies = await Promise.all(times(25, () => client.private('Balance')));
    const limited = replies.filter(({ headers }) => headers['x-proxy-error'] !== undefined);
    expect(limited.length).toBeGreaterThan(0);
    for (const { json, headers } of limited) {
      expect(json).toEqual({ error: ['EAPI:Rate limit exceeded'] });
      expect(headers['x-proxy-error']).toBe('rate-limited');
      expect(Number(headers['retry-after'])).toBeGreaterThanOrEqual(1);
      expect(Number(headers['retry-after'])).toBeLessThanOrEqual(20);
    }
    expect(world.sandbox.receivedCount).toBe(25 - limited.length);
    expect(world.sandbox.rateLimited).toBe(0);
    const lines = await callLines(world.log, { error: 'rate-limited' }, limited.length);
    expect(lines.every(({ outcome, nonce }) => outcome === 'not-sent' && nonce === undefined)).toBe(true);
  });

  it('leaves the room that is kept for cancels', async () => {
    await open(PACING, { callCounter: true }, { queue: { maxWaitMs: 300 } });
    await Promise.all(times(25, () => client.private('Balance')));
    expect((await client.private('CancelAll')).json?.error).toEqual([]);
    expect(world.sandbox.rateLimited).toBe(0);
  });

  it('waits by the limit of its class', async () => {
    const queue = { maxWaitMs: 20_000, maxWaitMsOf: { read: 300 } };
    await open(PACING, { callCounter: true }, { queue });
    const started = performance.now();
    const replies = await Promise.all(times(25, () => client.private('Balance')));
    expect(replies.some(({ headers }) => headers['x-proxy-error'] === 'rate-limited')).toBe(true);
    expect(performance.now() - started).toBeLessThan(10_000);
  });
});

it('what another program spends on the key is learned from Kraken’s refusal', async () => {
  await open(HASTY, { callCounter: true, now: hastyClock() }, { queue: { maxWaitMs: 20_000 } });
  world.sandbox.fault({ kind: 'error', error: 'EAPI:Rate limit exceeded' });
  expect((await client.private('Balance')).json?.error).toEqual([]);
  const scrape = await Scrape.of(world.opsUrl);
  expect(scrape.value('call_counter', { account: 'master' })).toBeGreaterThan(10);
});

it('costs and tiers are those of the config', async () => {
  const pacing = {
    ...PACING,
    costs: { Balance: 10 },
    tiers: { intermediate: { max: 20, decayPerSecond: 0.5 } },
  };
  await open(pacing, { callCounter: false }, { queue: { maxWaitMs: 300 } });
  const replies = await Promise.all(times(2, () => client.private('Balance')));
  expect(replies.filter(({ headers }) => headers['x-proxy-error'] === 'rate-limited')).toHaveLength(1);
});

describe('the matching engine’s counter', () => {
  /** One point of it is never used: 30 orders go at once. */
  const ENGINE = { intermediate: { max: 31, decayPerSecond: 5 } };

  it('is told with an order that it may refuse, and lets it go, in report mode', async () => {
    await open(
      { ...PACING, engine: 'report', engineTiers: { intermediate: { max: 6, decayPerSecond: 0.01 } } },
      {},
    );
    for (const { json } of await Promise.all(times(7, () => client.private('AddOrder', ORDER))))
      expect(json?.error).toEqual([]);
    const lines = await callLines(world.log, { endpoint: 'AddOrder' }, 7);
    const reported = lines.filter((line) => line.reported !== undefined);
    expect(reported).toHaveLength(2);
    expect(reported[0]).toMatchObject({ level: 40, reported: [{ rule: 'engine' }] });
    expect((await Scrape.of(world.opsUrl)).value('engine_counter', { account: 'master' })).toBeGreaterThan(6);
  });

  it('holds an order until there is room, in enforce mode, and no cancel, read or other pair', async () => {
    await open({ ...PACING, engine: 'enforce', engineTiers: ENGINE }, {});
    await Promise.all(times(30, () => client.private('AddOrder', ORDER)));
    const held = Promise.all(times(10, () => client.private('AddOrder', ORDER)));
    await until(async () => (await Scrape.of(world.opsUrl)).value('lane_waiting') > 0);
    const before = world.sandbox.orders('master').length;
    for (const [endpoint, fields] of [
      ['CancelAll', {}],
      ['Balance', {}],
      ['AddOrder', { ...ORDER, pair: 'ETHUSD', price: '1000', volume: '0.1' }],
    ] as const)
      expect((await client.private(endpoint, fields)).json?.error).toEqual([]);
    expect(world.sandbox.orders('master').length - before).toBeLessThan(9);
    for (const { json } of await held) expect(json?.error).toEqual([]);
    // Ten points at five a second, less what was free in between.
    const at = world.sandbox
      .orders('master')
      .filter(({ pair }) => pair === 'XBTUSD')
      .map(({ openedAt }) => openedAt);
    expect((at.at(-1) ?? 0) - (at[0] ?? 0)).toBeGreaterThan(1_500);
  });

  it('holds nothing when it is off', async () => {
    await open(
      { ...PACING, engine: 'off', engineTiers: { intermediate: { max: 2, decayPerSecond: 0.01 } } },
      {},
    );
    for (const { json } of await Promise.all(times(4, () => client.private('AddOrder', ORDER))))
      expect(json?.error).toEqual([]);
    const lines = await callLines(world.log, { endpoint: 'AddOrder' }, 4);
    expect(lines.some((line) => line.reported !== undefined)).toBe(false);
  });

  it('keeps 150 orders within the limit of an engine that counts', async () => {
    const engineTiers = { intermediate: { max: 125, decayPerSecond: 2.34 * 5 } };
    const sandbox = { engineCounter: true, now: hastyClock(5) };
    // The hasty clock is no clock for deadlines.
    const config = { orders: { settle: false }, queue: { maxWaitMs: 20_000 } };
    await open({ ...PACING, engine: 'enforce', engineTiers }, sandbox, config);
    const replies = await Promise.all(times(150, () => client.private('AddOrder', ORDER)));
    expect(new Set(replies.map(({ json }) => json?.error[0]))).toEqual(new Set([undefined]));
  });

  it('takes Kraken’s refusal for a full counter: the next order waits', async () => {
    await open({ ...PACING, engine: 'enforce', engineTiers: ENGINE }, {});
    world.sandbox.fault({ kind: 'error', error: 'EOrder:Rate limit exceeded', endpoint: 'AddOrder' });
    expect((await client.private('AddOrder', ORDER)).json?.error).toEqual(['EOrder:Rate limit exceeded']);
    const started = performance.now();
    expect((await client.private('AddOrder', ORDER)).json?.error).toEqual([]);
    expect(performance.now() - started).toBeGreaterThan(150);
    expect(world.sandbox.received.filter(({ key }) => key === MASTER)).toHaveLength(2);
    expect(endpoints()).toEqual(['AddOrder', 'AddOrder']);
  });
});
