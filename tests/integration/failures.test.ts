import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';
import { openSandbox } from '../../src/sandbox/sandbox.js';
import { callLines } from '../support/call-lines.js';
import { TestClient } from '../support/http.js';
import { openOddUpstream } from '../support/odd-upstream.js';
import { ANYTHING, openProxyWorld, type ProxyWorld } from '../support/proxy-world.js';
import type { SignedReply } from '../support/sign.js';
import { until } from '../support/until.js';

const TIMEOUT_MS = 250;
const RESTING = { pair: 'XBTUSD', type: 'buy', ordertype: 'limit', price: '10000', volume: '1.25' };
const UNREACHABLE = { code: 'upstream-unreachable', envelope: 'EService:Unavailable' };
const UNKNOWN = { code: 'outcome-unknown', envelope: 'EProxy:Outcome unknown' };

let world: ProxyWorld;
let client: TestClient;
beforeEach(async () => {
  world = await openProxyWorld({ config: { ...ANYTHING.config, upstream: { timeoutMs: TIMEOUT_MS } } });
  client = new TestClient(world.url, ANYTHING.headers);
});
afterEach(async () => {
  client.close();
  await world.close();
});

function expectOwnError(reply: SignedReply, { code, envelope }: typeof UNREACHABLE): void {
  expect(reply.status).toBe(200);
  expect(reply.json).toEqual({ error: [envelope] });
  expect(reply.headers['x-proxy-error']).toBe(code);
  expect(reply.headers['x-request-id']).toBeDefined();
}

async function expectNextCallWorks(): Promise<void> {
  expect((await client.private('Balance')).json?.error).toEqual([]);
}

describe('an upstream that cannot be reached', () => {
  it.each(['Balance', 'AddOrder'])(
    'by TCP: %s certainly was not sent, and works once it is back',
    async (name) => {
      const { port } = world.sandbox;
      await world.sandbox.close();
      expectOwnError(await client.private(name, RESTING), UNREACHABLE);
      expect(await callLines(world.log, { endpoint: name })).toMatchObject([
        { outcome: 'not-sent', error: 'upstream-unreachable' },
      ]);
      const back = await openSandbox({ keys: DEMO_KEYS, port });
      expect((await client.private(name, RESTING)).json?.error).toEqual([]);
      expect(back.receivedCount).toBe(1);
      await back.close();
    },
  );

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

  it('answers a public call so as well', async () => {
    await world.sandbox.close();
    expectOwnError(await client.raw('GET', '/0/public/Time'), UNREACHABLE);
  });
});

describe.each(['reset-before', 'reset-after', 'hang', 'hang-after', 'cut'] as const)(
  'an upstream that answers with %s',
  (kind) => {
    it.each([
      ['Balance', UNREACHABLE],
      ['AddOrder', UNKNOWN],
      ['CancelOrder', UNKNOWN],
      ['NotInTheTable', UNKNOWN],
    ])('leaves %s as %j; it is never sent twice, and the next call works', async (endpoint, expected) => {
      world.sandbox.fault({ kind });
      const started = performance.now();
      expectOwnError(await client.private(endpoint, RESTING), expected);
      if (kind.startsWith('hang')) expect(performance.now() - started).toBeGreaterThan(TIMEOUT_MS - 5);
      await expectNextCallWorks();
      expect(world.sandbox.received.map((call) => call.endpoint)).toEqual([endpoint, 'Balance']);
      expect(world.sandbox.maxInFlight).toBe(1);
      expect((await callLines(world.log, {}, 2))[0]).toMatchObject({
        outcome: 'unknown',
        error: expected.code,
        nonce: expect.any(String) as string,
      });
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
  const odd = await openProxyWorld({ config: { upstream: { url: upstream.url, timeoutMs: TIMEOUT_MS } } });
  const own = new TestClient(odd.url);
  expectOwnError(await own.private('AddOrder', RESTING), UNKNOWN);
  expectOwnError(await own.private('Balance'), UNREACHABLE);
  expect(upstream.requests).toHaveLength(2);
  own.close();
  await odd.close();
  await upstream.close();
});

it('a call in flight when the proxy is told to stop gets its answer', async () => {
  world.sandbox.fault({ kind: 'delay', delayMs: 100 });
  const reply = client.private('AddOrder', RESTING);
  await until(() => world.sandbox.inFlight === 1);
  await world.server.close();
  expect((await reply).json?.error).toEqual([]);
});
