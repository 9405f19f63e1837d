import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';
import { openSandbox, type Fault } from '../../src/sandbox/sandbox.js';
import { callLines } from '../support/call-lines.js';
import { TestClient } from '../support/http.js';
import { Scrape } from '../support/metrics.js';
import { openOddUpstream } from '../support/odd-upstream.js';
import { ANYTHING, openProxyWorld, type ConfigParts, type ProxyWorld } from '../support/proxy-world.js';
import type { SignedReply } from '../support/sign.js';
import { until } from '../support/until.js';

const TIMEOUT_MS = 250;
/** Time for a read to be sent more than once, and to give up in. */
const SHORT_WAIT_MS = 600;
const RESTING = { pair: 'XBTUSD', type: 'buy', ordertype: 'limit', price: '10000', volume: '1.25' };
const UNREACHABLE = { code: 'upstream-unreachable', envelope: 'EService:Unavailable' };
const UNKNOWN = { code: 'outcome-unknown', envelope: 'EProxy:Outcome unknown' };
const LOCKED_OUT = { code: 'locked-out', envelope: 'EGeneral:Temporary lockout' };
/** Orders go as they came, and nothing is known of one whose reply is lost. */
const UNSETTLED = { orders: { settle: false } };

/** Every way to lose a reply; whether the call was executed. */
const LOSSES: readonly (readonly [fault: Fault, executed: boolean])[] = [
  [{ kind: 'reset-before' }, false],
  [{ kind: 'reset-after' }, true],
  [{ kind: 'hang' }, false],
  [{ kind: 'hang-after' }, true],
  [{ kind: 'cut' }, true],
  [{ kind: 'html', status: 502 }, false],
  [{ kind: 'html-after', status: 520 }, true],
];

let world: ProxyWorld;
let client: TestClient;

async function start(config: ConfigParts): Promise<void> {
  world = await openProxyWorld({
    config: { ...ANYTHING.config, upstream: { timeoutMs: TIMEOUT_MS }, ...config },
  });
  client = new TestClient(world.url, ANYTHING.headers);
}
async function close(): Promise<void> {
  client.close();
  await world.close();
}
beforeEach(async () => {
  await start(UNSETTLED);
});
afterEach(close);

/** The world of the test, with another config. */
async function open(config: ConfigParts): Promise<void> {
  await close();
  await start(config);
}

function expectOwnError(reply: SignedReply, { code, envelope }: typeof UNREACHABLE): void {
  expect(reply.status).toBe(200);
  expect(reply.json).toEqual({ error: [envelope] });
  expect(reply.headers['x-proxy-error']).toBe(code);
  expect(reply.headers['x-request-id']).toBeDefined();
}

/** The private calls that Kraken got, in order; each with a nonce above the one before. */
function sent(): (string | undefined)[] {
  const calls = world.sandbox.received.filter(({ path }) => path.startsWith('/0/private/'));
  const nonces = calls.map(({ nonce }) => BigInt(nonce ?? 0));
  expect(nonces.filter((nonce, index) => index > 0 && nonce <= (nonces[index - 1] ?? 0n))).toEqual([]);
  return calls.map(({ endpoint }) => endpoint);
}

async function expectNextCallWorks(): Promise<void> {
  expect((await client.private('TradeBalance')).json?.error).toEqual([]);
}

async function noncesIssued(): Promise<number> {
  return (await Scrape.of(world.opsUrl)).value('nonces_issued_total');
}

describe('an upstream that cannot be reached', () => {
  it('by TCP: an order certainly was not sent, at once, and works once it is back', async () => {
    const { port } = world.sandbox;
    await world.sandbox.close();
    expectOwnError(await client.private('AddOrder', RESTING), UNREACHABLE);
    expect(await callLines(world.log, { endpoint: 'AddOrder' })).toMatchObject([
      { outcome: 'not-sent', error: 'upstream-unreachable' },
    ]);
    expect(world.log.filter(({ msg, nonce }) => msg === 'call' && nonce !== undefined)).toHaveLength(1);
    const back = await openSandbox({ keys: DEMO_KEYS, port });
    expect((await client.private('AddOrder', RESTING)).json?.error).toEqual([]);
    expect(back.receivedCount).toBe(1);
    await back.close();
  });

  it('by TCP: a cancel is tried four times, and certainly was not sent', async () => {
    await world.sandbox.close();
    const before = (await noncesIssued()) + 4;
    expectOwnError(await client.private('CancelAll'), UNREACHABLE);
    expect(await noncesIssued()).toBe(before);
    expect(await callLines(world.log, { endpoint: 'CancelAll' })).toMatchObject([{ outcome: 'not-sent' }]);
  });

  it('by TCP: a read is tried until its wait is over, and then certainly was not sent', async () => {
    await open({ queue: { maxWaitMs: SHORT_WAIT_MS } });
    await world.sandbox.close();
    expectOwnError(await client.private('Balance'), UNREACHABLE);
    expect(await noncesIssued()).toBeGreaterThan(1);
    expect(await callLines(world.log, { endpoint: 'Balance' })).toMatchObject([
      { outcome: 'not-sent', error: 'upstream-unreachable' },
    ]);
  });

  it('by TCP: a read is answered when it comes back in time', async () => {
    const { port } = world.sandbox;
    await world.sandbox.close();
    const reply = client.private('Balance');
    await until(async () => (await noncesIssued()) > 0);
    const back = await openSandbox({ keys: DEMO_KEYS, port });
    expect((await reply).json?.error).toEqual([]);
    expect(back.received.filter(({ endpoint }) => endpoint === 'Balance')).toHaveLength(1);
    await back.close();
  });

  it('by name: the order certainly was not sent', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'kraken-proxy-dns-'));
    // A live upstream takes no literals.
    const accounts: Record<string, object> = {};
    for (const { account, key, secret } of DEMO_KEYS) {
      writeFileSync(join(folder, `${account}.key`), key);
      writeFileSync(join(folder, `${account}.secret`), secret, { mode: 0o600 });
      accounts[account] = { key: { file: `${account}.key` }, secret: { file: `${account}.secret` } };
    }
    const upstream = { url: 'https://kraken.invalid', timeoutMs: 2_000 };
    const lost = await openProxyWorld({ folder, config: { upstream, accounts } });
    const own = new TestClient(lost.url);
    expectOwnError(await own.private('AddOrder', RESTING), UNREACHABLE);
    expectOwnError(await own.raw('GET', '/0/public/Time'), UNREACHABLE);
    expect(await callLines(lost.log, {}, 2)).toMatchObject([
      { endpoint: 'AddOrder', outcome: 'not-sent' },
      { endpoint: 'Time', outcome: 'not-sent' },
    ]);
    own.close();
    await lost.close();
    rmSync(folder, { recursive: true });
  });

  it.each([525, 526])(
    'by TLS, as Cloudflare says with a %i: the order certainly was not sent',
    async (status) => {
      world.sandbox.fault({ kind: 'html', status });
      expectOwnError(await client.private('AddOrder', RESTING), UNREACHABLE);
      await expectNextCallWorks();
      expect(sent()).toEqual(['AddOrder', 'TradeBalance']);
      expect((await callLines(world.log, { endpoint: 'AddOrder' }))[0]).toMatchObject({
        outcome: 'not-sent',
        error: 'upstream-unreachable',
      });
    },
  );

  it('answers a public call so as well', async () => {
    await world.sandbox.close();
    expectOwnError(await client.raw('GET', '/0/public/Time'), UNREACHABLE);
  });
});

describe.each(LOSSES)('a reply that is lost: %j', (fault, executed) => {
  const hangs = fault.kind.startsWith('hang');

  it.each(['AddOrder', 'AmendOrder', 'Withdraw', 'NotInTheTable'])(
    'leaves %s unknown; it is never sent twice, and the next call works',
    async (endpoint) => {
      world.sandbox.fault(fault);
      const started = performance.now();
      expectOwnError(await client.private(endpoint, RESTING), UNKNOWN);
      if (hangs) expect(performance.now() - started).toBeGreaterThan(TIMEOUT_MS - 5);
      await expectNextCallWorks();
      expect(sent()).toEqual([endpoint, 'TradeBalance']);
      expect(world.sandbox.maxInFlight).toBe(1);
      expect((await callLines(world.log, { msg: 'call' }, 2))[0]).toMatchObject({
        outcome: 'unknown',
        error: 'outcome-unknown',
        nonce: expect.any(String) as string,
      });
    },
  );

  it('is asked for again where it was that of a read', async () => {
    world.sandbox.fault(fault);
    const reply = await client.private('Balance');
    expect(reply.json?.error).toEqual([]);
    expect(reply.headers).not.toHaveProperty('x-proxy-outcome');
    expect(sent()).toEqual(['Balance', 'Balance']);
    expect(world.sandbox.maxInFlight).toBe(1);
    expect(await callLines(world.log, { endpoint: 'Balance' })).toMatchObject([{ outcome: 'executed' }]);
  });

  it('of a cancel is made up for by another cancel, in the same turn', async () => {
    const order = await client.private('AddOrder', RESTING);
    const [txid = ''] = (order.json?.result as { txid: string[] }).txid;
    world.sandbox.fault({ ...fault, endpoint: 'CancelOrder' });
    const canceling = client.private('CancelOrder', { txid });
    await until(() => world.sandbox.receivedCount === 2);
    const next = client.private('TradeBalance');
    const reply = await canceling;
    expect(reply.headers['x-proxy-outcome']).toBe('repeated');
    if (executed) expect(reply.json?.error).toEqual([expect.stringMatching(/^EOrder:/)]);
    else expect(reply.json).toEqual({ error: [], result: { count: 1 } });
    expect(world.sandbox.orders('master')).toMatchObject([{ status: 'canceled' }]);
    expect((await next).json?.error).toEqual([]);
    expect(sent()).toEqual(['AddOrder', 'CancelOrder', 'CancelOrder', 'TradeBalance']);
    expect(world.sandbox.maxInFlight).toBe(1);
  });

  if (executed)
    it('of an order is found out: the answer is the one that was lost, and the order stands once', async () => {
      await open({});
      world.sandbox.fault({ ...fault, endpoint: 'AddOrder' });
      const reply = await client.private('AddOrder', RESTING);
      expect(reply.headers['x-proxy-outcome']).toBe('settled');
      const [order, ...more] = world.sandbox.orders('master');
      expect(more).toEqual([]);
      expect(reply.json).toEqual({
        error: [],
        result: { descr: { order: 'buy 1.25000000 XBTUSD @ limit 10000.0' }, txid: [order?.txid] },
      });
      expect(sent().filter((name) => name === 'AddOrder')).toHaveLength(1);
      // The question has the turn of the order.
      expect(sent().slice(0, 2)).toEqual(['AddOrder', 'OpenOrders']);
      expect(await callLines(world.log, { endpoint: 'AddOrder' })).toMatchObject([
        { outcome: 'executed', settled: 'done' },
      ]);
    });
});

describe.each<Fault>([{ kind: 'reset-before' }, { kind: 'hang' }, { kind: 'html' }])(
  'replies that are lost each time: %j',
  (fault) => {
    beforeEach(async () => {
      await open({ ...UNSETTLED, queue: { maxWaitMs: SHORT_WAIT_MS, maxWaitMsOf: { cancel: 60_000 } } });
      world.sandbox.fault({ ...fault, times: Infinity });
    });

    it('a read is asked again until its wait is over; then Kraken is unreachable', async () => {
      expectOwnError(await client.private('Balance'), UNREACHABLE);
      // At once, and after 100, 200 and 400 ms.
      const count = sent().length;
      expect(count).toBeGreaterThanOrEqual(2);
      expect(count).toBeLessThanOrEqual(3);
      world.sandbox.clearFaults();
      await expectNextCallWorks();
      expect(sent()).toEqual([...Array.from({ length: count }, () => 'Balance'), 'TradeBalance']);
      expect(await callLines(world.log, { endpoint: 'Balance' })).toMatchObject([
        { outcome: 'unknown', error: 'upstream-unreachable' },
      ]);
    });

    it('a cancel is sent four times; then its outcome is unknown', async () => {
      expectOwnError(await client.private('CancelOrder', { txid: 'O00000-00000-000001' }), UNKNOWN);
      world.sandbox.clearFaults();
      await expectNextCallWorks();
      expect(sent()).toEqual([...Array.from({ length: 4 }, () => 'CancelOrder'), 'TradeBalance']);
      expect(await callLines(world.log, { endpoint: 'CancelOrder' })).toMatchObject([
        { outcome: 'unknown', error: 'outcome-unknown' },
      ]);
    });
  },
);

it.each(['CancelAll', 'CancelOrderBatch', 'CancelAllOrdersAfter', 'RemoveExport'])(
  '%s is harmless to repeat as well',
  async (endpoint) => {
    world.sandbox.fault({ kind: 'reset-after' });
    const reply = await client.private(endpoint, { timeout: '0', id: 'AAAA', type: 'delete' });
    expect(reply.headers['x-proxy-outcome']).toBe('repeated');
    expect(sent()).toEqual([endpoint, endpoint]);
  },
);

it('a cancel is not repeated once its wait is over', async () => {
  await open({ ...UNSETTLED, queue: { maxWaitMs: 100 } });
  world.sandbox.fault({ kind: 'hang', times: Infinity });
  expectOwnError(await client.private('CancelAll'), UNKNOWN);
  expect(sent()).toEqual(['CancelAll']);
});

it('a cancel that may have arrived is unknown, though its last try certainly did not', async () => {
  world.sandbox.fault({ kind: 'hang-after', endpoint: 'CancelAll' });
  const reply = client.private('CancelAll');
  await until(() => world.sandbox.receivedCount === 1);
  await world.sandbox.close();
  expectOwnError(await reply, UNKNOWN);
  expect(await callLines(world.log, { endpoint: 'CancelAll' })).toMatchObject([{ outcome: 'unknown' }]);
});

describe("Kraken's own word that does not tell what became of the call", () => {
  const AMBIGUOUS = [
    'EService:Unavailable',
    'EService:Busy',
    'EGeneral:Internal error',
    'EOrder:Never heard of',
  ];

  it.each(AMBIGUOUS)('leaves an order unknown, with what Kraken said; it is sent once: %s', async (error) => {
    world.sandbox.fault({ kind: 'error-after', error });
    const reply = await client.private('AddOrder', RESTING);
    expectOwnError(reply, UNKNOWN);
    expect(reply.headers['x-proxy-error-detail']).toBe(`Kraken: ${error}`);
    await expectNextCallWorks();
    expect(sent()).toEqual(['AddOrder', 'TradeBalance']);
  });

  it.each(AMBIGUOUS)('goes to the client of a read as it is: %s', async (error) => {
    world.sandbox.fault({ kind: 'error', error });
    const reply = await client.private('Balance');
    expect(reply.body.toString()).toBe(JSON.stringify({ error: [error] }));
    expect(reply.headers).not.toHaveProperty('x-proxy-error');
    expect(sent()).toEqual(['Balance']);
  });

  it.each(AMBIGUOUS)('makes a cancel be repeated: %s', async (error) => {
    world.sandbox.fault({ kind: 'error', error });
    const reply = await client.private('CancelAll');
    expect(reply.json).toEqual({ error: [], result: { count: 0 } });
    expect(reply.headers['x-proxy-outcome']).toBe('repeated');
    expect(sent()).toEqual(['CancelAll', 'CancelAll']);
  });
});

describe('a nonce that Kraken calls invalid', () => {
  const MINUTE_NS = 60_000_000_000n;
  const [MASTER = '', ALICE = ''] = DEMO_KEYS.map(({ key }) => key);
  const nowNs = (): bigint => BigInt(Date.now()) * 1_000_000n;

  it('is replaced by higher ones, the third above a lift of its key alone: nobody notices', async () => {
    world.sandbox.raiseNonce(MASTER, nowNs() + MINUTE_NS / 2n);
    expect((await client.private('AddOrder', RESTING)).json?.error).toEqual([]);
    await expectNextCallWorks();
    expect(sent()).toEqual(['AddOrder', 'AddOrder', 'AddOrder', 'TradeBalance']);
    expect(world.sandbox.orders('master')).toHaveLength(1);
    expect((await client.private('Balance', {}, '/accounts/alice')).json?.error).toEqual([]);
    const [first, second, third] = world.sandbox.received.map(({ nonce }) => BigInt(nonce ?? 0));
    expect((third ?? 0n) - (second ?? 0n)).toBeGreaterThanOrEqual(MINUTE_NS);
    expect((second ?? 0n) - (first ?? 0n)).toBeLessThan(MINUTE_NS);
    expect(world.sandbox.highestNonce(ALICE)).toBeLessThan(nowNs() + MINUTE_NS / 2n);
  });

  it("is Kraken's answer after three, with what to do about it; nothing was executed", async () => {
    world.sandbox.raiseNonce(MASTER, nowNs() + 48n * 60n * MINUTE_NS);
    const reply = await client.private('AddOrder', RESTING);
    expect(reply.json).toEqual({ error: ['EAPI:Invalid nonce'] });
    expect(sent()).toEqual(['AddOrder', 'AddOrder', 'AddOrder']);
    expect(world.sandbox.orders('master')).toEqual([]);
    expect(
      world.log.filter(({ msg }) => String(msg).startsWith('Kraken calls our nonces invalid')),
    ).toHaveLength(1);
    expect(reply.headers['x-proxy-error-detail']).toMatch(/^another program has used a higher nonce/);
  });
});

describe.each(['EAPI:Invalid key', 'EAPI:Invalid signature', 'EGeneral:Temporary lockout'])(
  'a key that Kraken turns away with %s',
  (error) => {
    it('is used no more: who waits and who comes is refused at once; other keys go on', async () => {
      await open({});
      world.sandbox.fault({ kind: 'delay', endpoint: 'Balance', delayMs: 100 });
      world.sandbox.fault({ kind: 'error', error, endpoint: 'CancelAll' });
      const first = client.private('Balance');
      await until(() => world.sandbox.receivedCount === 1);
      const waiting = ['TradeBalance', 'OpenOrders', 'AddOrder'].map((name) => client.private(name, RESTING));
      const turnedAway = await client.private('CancelAll');
      expect((await first).json?.error).toEqual([]);
      expect(turnedAway.json).toEqual({ error: [error] });
      expect(turnedAway.headers).not.toHaveProperty('x-proxy-error');
      for (const reply of await Promise.all(waiting)) expectOwnError(reply, LOCKED_OUT);
      const later = await client.private('CancelAll');
      expectOwnError(later, LOCKED_OUT);
      expect(Number(later.headers['retry-after'])).toBeGreaterThan(0);
      expect(sent()).toEqual(['Balance', 'CancelAll']);
      expect((await client.private('Balance', {}, '/accounts/alice')).json?.error).toEqual([]);
    });
  },
);

it('a call that hangs keeps its slot until the attempt has failed, and no longer', async () => {
  world.sandbox.fault({ kind: 'hang' });
  const first = client.private('AddOrder', RESTING);
  await until(() => world.sandbox.inFlight === 1);
  const second = await client.private('Balance');
  expect(second.json?.error).toEqual([]);
  const lost = await first;
  expectOwnError(lost, UNKNOWN);
  // By the proxy's own clock: when a busy machine notes an arrival says nothing about when it was sent.
  const [line] = await callLines(world.log, { requestId: lost.headers['x-request-id'] });
  expect(Number(line?.upstreamMs)).toBeGreaterThanOrEqual(TIMEOUT_MS - 5);
  expect(world.sandbox.maxInFlight).toBe(1);
});

it('a public call that hangs is answered when its time is over', async () => {
  world.sandbox.fault({ kind: 'hang', endpoint: 'Time' });
  expectOwnError(await client.raw('GET', '/0/public/Time'), UNREACHABLE);
});

it.each([
  ['stops in the middle of the headers', 'HTTP/1.1 200 OK\r\nContent-Le'],
  ['sends half of the body and stays', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"error":[]'],
  ['ends no chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"err\r\n'],
  ['speaks no HTTP', 'SSH-2.0-OpenSSH_9.2\r\n'],
  ['has two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 4\r\n\r\n{}{}'],
  ['switches protocols', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n'],
])('an upstream that %s leaves an order unknown', async (_, answer) => {
  const upstream = await openOddUpstream(answer);
  await open({
    ...UNSETTLED,
    upstream: { url: upstream.url, timeoutMs: TIMEOUT_MS },
    queue: { maxWaitMs: 100 },
  });
  const posted = (name: string): number =>
    upstream.requests.filter((text) => text.startsWith(`POST /0/private/${name} `)).length;
  expectOwnError(await client.private('AddOrder', RESTING), UNKNOWN);
  expect(posted('AddOrder')).toBe(1);
  expectOwnError(await client.private('Balance'), UNREACHABLE);
  expect(posted('Balance')).toBeGreaterThanOrEqual(1);
  expect(posted('AddOrder')).toBe(1);
  await upstream.close();
});

it('a call in flight when the proxy is told to stop gets its answer', async () => {
  world.sandbox.fault({ kind: 'delay', delayMs: 100 });
  const reply = client.private('AddOrder', RESTING);
  await until(() => world.sandbox.inFlight === 1);
  await world.server.close();
  expect((await reply).json?.error).toEqual([]);
});
