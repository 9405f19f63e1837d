import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';
import { callLines } from '../support/call-lines.js';
import { openGate, type Gate } from '../support/gate.js';
import { TestClient } from '../support/http.js';
import { Scrape } from '../support/metrics.js';
import { openProxyWorld, type ConfigParts, type ProxyWorld } from '../support/proxy-world.js';
import type { SignedReply } from '../support/sign.js';
import { until } from '../support/until.js';

const [MASTER = '', ALICE = ''] = DEMO_KEYS.map(({ key }) => key);
const ORDER = { pair: 'XBTUSD', type: 'buy', ordertype: 'limit', price: '10000', volume: '0.01' };

let gate: Gate;
let world: ProxyWorld;
let clients: TestClient[];
beforeEach(() => open({ pacing: { merge: true } }));
afterEach(() => close());

async function open(config: ConfigParts): Promise<void> {
  gate = await openGate();
  world = await openProxyWorld({ config: { upstream: { url: gate.url }, ...config } });
  gate.leadTo(world.sandbox.url);
  clients = [];
}

async function close(): Promise<void> {
  for (const client of clients) client.close();
  await world.close();
  await gate.close();
}

async function reopen(config: ConfigParts): Promise<void> {
  await close();
  await open(config);
}

function clientOf(headers: Readonly<Record<string, string>> = {}): TestClient {
  const client = new TestClient(world.url, headers);
  clients.push(client);
  return client;
}

/**
 * Keeps the lane while `reads` are begun and `count` calls wait, and `then` happens; resolves with their replies when
 * the lane is free again.
 */
async function meanwhile<T>(
  reads: () => Promise<T>[],
  count: number,
  then: () => Promise<void> = () => Promise.resolve(),
): Promise<T[]> {
  gate.shut();
  const before = world.sandbox.receivedCount;
  const blocker = clientOf().private('CancelAll');
  await until(() => world.sandbox.receivedCount > before);
  const begun = reads();
  await until(async () => (await waiting()) >= count);
  await then();
  gate.open();
  await blocker;
  return await Promise.all(begun);
}

async function waiting(): Promise<number> {
  return (await Scrape.of(world.opsUrl)).value('lane_waiting');
}

/** The private calls that reached Kraken, without the one that kept the lane. */
function calls(): string[] {
  return world.sandbox.received
    .filter(({ key, endpoint }) => key !== undefined && endpoint !== 'CancelAll')
    .map(({ endpoint, path }) => `${endpoint}${path.includes('?') ? '?' : ''}`);
}

function expectGood(replies: readonly SignedReply[]): void {
  for (const { json } of replies) expect(json?.error).toEqual([]);
}

describe('equal reads that wait', () => {
  it('share one call to Kraken, whoever asks, and all get its bytes', async () => {
    const replies = await meanwhile(
      () =>
        Array.from({ length: 5 }, (_, index) => clientOf().private('OpenOrders', { nonce: String(index) })),
      5,
    );
    expectGood(replies);
    expect(calls()).toEqual(['OpenOrders']);
    expect(new Set(replies.map(({ body }) => body.toString())).size).toBe(1);
    expect(new Set(replies.map(({ headers }) => headers['x-request-id'])).size).toBe(5);
    const lines = await callLines(world.log, { endpoint: 'OpenOrders' }, 5);
    expect(lines.filter(({ merged }) => merged === true)).toHaveLength(4);
    expect(lines.filter(({ nonce }) => nonce !== undefined)).toHaveLength(1);
    expect((await Scrape.of(world.opsUrl)).value('merged_total')).toBe(4);
  });

  it('are each sent where merging is off', async () => {
    await reopen({ pacing: { merge: false } });
    expectGood(await meanwhile(() => [1, 2, 3].map(() => clientOf().private('Balance')), 3));
    expect(calls()).toEqual(['Balance', 'Balance', 'Balance']);
  });

  it('do not include one that asks for an answer of its own', async () => {
    const own = clientOf({ 'x-proxy-merge': 'no' });
    expectGood(
      await meanwhile(() => [own, clientOf(), clientOf()].map((each) => each.private('Balance')), 3),
    );
    expect(calls()).toEqual(['Balance', 'Balance']);
    expect(world.sandbox.received.some(({ headers }) => 'x-proxy-merge' in headers)).toBe(false);
  });

  it('do not include one with an Idempotency-Key', async () => {
    const own = clientOf({ 'idempotency-key': 'k' });
    expectGood(await meanwhile(() => [own, clientOf()].map((each) => each.private('Balance')), 2));
    expect(calls()).toEqual(['Balance', 'Balance']);
  });

  it('of other accounts, bodies and paths are sent each', async () => {
    const client = clientOf();
    const replies = await meanwhile(
      () => [
        client.private('OpenOrders'),
        client.private('OpenOrders', { trades: 'true' }),
        client.private('OpenOrders', {}, '/accounts/alice'),
        client.raw('POST', '/0/private/OpenOrders?x=1'),
        client.private('Balance'),
        client.private('BalanceEx'),
      ],
      6,
    );
    expectGood(replies);
    expect(calls()).toHaveLength(6);
    expect(world.sandbox.received.filter(({ key }) => key === ALICE)).toHaveLength(1);
  });

  it('are the same under an account’s key and under its path', async () => {
    await meanwhile(
      () => [
        clientOf({ 'api-key': MASTER }).private('Balance'),
        clientOf().private('Balance', {}, '/accounts/master'),
      ],
      2,
    );
    expect(calls()).toEqual(['Balance']);
  });

  it('are never orders, cancels or token calls', async () => {
    const client = clientOf();
    await meanwhile(() => [1, 2].map(() => client.private('AddOrder', ORDER)), 2);
    await meanwhile(() => [1, 2].map(() => client.private('GetWebSocketsToken')), 2);
    expect(calls()).toEqual(['AddOrder', 'AddOrder', 'GetWebSocketsToken', 'GetWebSocketsToken']);
  });
});

describe('an answer', () => {
  it('is never older than its question: a read that comes while an equal one is in flight is sent itself', async () => {
    world.sandbox.fault({ kind: 'delay', delayMs: 150, endpoint: 'OpenOrders' });
    const client = clientOf();
    const first = client.private('OpenOrders');
    await until(() => world.sandbox.inFlight === 1);
    const order = client.private('AddOrder', ORDER);
    const second = client.private('OpenOrders');
    await order;
    expect((await first).json?.result).toEqual({ open: {} });
    const { open: found } = (await second).json?.result as { open: object };
    expect(Object.keys(found)).toHaveLength(1);
    expect(calls()).toEqual(['OpenOrders', 'AddOrder', 'OpenOrders']);
  });

  it('that fails is nobody else’s: the others wait on, and one of them asks again', async () => {
    world.sandbox.fault({ kind: 'reset-before', endpoint: 'Balance' });
    const replies = await meanwhile(() => [1, 2, 3].map(() => clientOf().private('Balance')), 3);
    expectGood(replies);
    expect(calls()).toEqual(['Balance', 'Balance']);
  });

  it('that is Kraken’s no is everybody’s', async () => {
    world.sandbox.fault({ kind: 'error', error: 'EGeneral:Permission denied', endpoint: 'Balance' });
    const replies = await meanwhile(() => [1, 2].map(() => clientOf().private('Balance')), 2);
    expect(replies.map(({ json }) => json?.error)).toEqual([
      ['EGeneral:Permission denied'],
      ['EGeneral:Permission denied'],
    ]);
    expect(calls()).toEqual(['Balance']);
  });

  it('that a full call counter keeps back is asked for again by each for itself', async () => {
    world.sandbox.fault({ kind: 'error', error: 'EAPI:Rate limit exceeded', endpoint: 'Balance' });
    const replies = await meanwhile(() => [1, 2].map(() => clientOf().private('Balance')), 2);
    expectGood(replies);
    expect(calls()).toEqual(['Balance', 'Balance']);
  });
});

describe('when the one that was sent for all hangs up', () => {
  it('in flight, the others still get the answer', async () => {
    const leader = new TestClient(world.url);
    world.sandbox.fault({ kind: 'delay', delayMs: 300, endpoint: 'Balance' });
    const others = meanwhile(() => {
      const gone = leader.private('Balance').catch(() => undefined);
      return [gone, ...[1, 2].map(() => clientOf().private('Balance'))];
    }, 3);
    await until(() => calls().length === 1);
    leader.close();
    const [, ...replies] = await others;
    expectGood(replies as SignedReply[]);
    expect(calls()).toEqual(['Balance']);
  });

  it('while it waits, the next one is sent for the others', async () => {
    const leader = new TestClient(world.url);
    const replies = await meanwhile(
      () => {
        const gone = leader.private('Balance').catch(() => undefined);
        return [gone, ...[1, 2].map(() => clientOf().private('Balance'))];
      },
      3,
      async () => {
        leader.close();
        await until(async () => (await waiting()) === 2);
      },
    );
    expectGood(replies.slice(1) as SignedReply[]);
    expect(calls()).toEqual(['Balance']);
  });
});

describe('WebSocket tokens', () => {
  const SHARED = { pacing: { shareTokensMs: 60_000 } };
  const bots = {
    clients: {
      one: { key: 'one', accounts: ['master', 'alice'], allow: ['websocket'] },
      two: { key: 'two', accounts: ['master', 'alice'], allow: ['websocket'] },
      reader: { key: 'reader', accounts: ['master'], allow: ['read'] },
    },
  };

  async function tokenOf(key: string, prefix = '', headers = {}): Promise<unknown> {
    const { json } = await clientOf({ 'api-key': key, ...headers }).private('GetWebSocketsToken', {}, prefix);
    return (json?.result as { token?: string } | undefined)?.token ?? json?.error;
  }

  it('are asked for each time unless they are to be shared', async () => {
    await reopen(bots);
    await tokenOf('one');
    await tokenOf('two');
    expect(calls()).toHaveLength(2);
  });

  it('are shared by the clients of an account for a while', async () => {
    await reopen({ ...SHARED, ...bots });
    const token = await tokenOf('one');
    expect(token).toMatch(/\S{8,}/);
    expect(await tokenOf('two')).toBe(token);
    expect(await tokenOf('one')).toBe(token);
    expect(calls()).toHaveLength(1);
    expect(JSON.stringify(world.log)).not.toContain(token);
  });

  it('are not given to one that may not have one', async () => {
    await reopen({ ...SHARED, ...bots });
    await tokenOf('one');
    expect(await tokenOf('reader')).toEqual(['EGeneral:Permission denied']);
  });

  it('are those of the account', async () => {
    await reopen({ ...SHARED, ...bots });
    const token = await tokenOf('one');
    expect(await tokenOf('one', '/accounts/alice')).not.toBe(token);
    expect(calls()).toHaveLength(2);
  });

  it('are new for one that asks for an answer of its own', async () => {
    await reopen({ ...SHARED, ...bots });
    await tokenOf('one');
    await tokenOf('two', '', { 'x-proxy-merge': 'no' });
    expect(calls()).toHaveLength(2);
  });

  it('that Kraken refused are not shared', async () => {
    await reopen({ ...SHARED, ...bots });
    world.sandbox.fault({ kind: 'error', error: 'EGeneral:Permission denied' });
    expect(await tokenOf('one')).toEqual(['EGeneral:Permission denied']);
    expect(await tokenOf('two')).toMatch(/\S{8,}/);
  });
});
