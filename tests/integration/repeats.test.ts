import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';
import { callLines } from '../support/call-lines.js';
import { TestClient } from '../support/http.js';
import { openProxyWorld, type ConfigParts, type ProxyWorld } from '../support/proxy-world.js';
import type { SandboxOptions } from '../../src/sandbox/sandbox.js';
import { until } from '../support/until.js';

const [MASTER = '', ALICE = ''] = DEMO_KEYS.map(({ key }) => key);
const LIFT_MS = 60_000;
const RESTING = { pair: 'XBTUSD', type: 'buy', ordertype: 'limit', price: '10000', volume: '0.01' };

let world: ProxyWorld;
let client: TestClient;
beforeEach(() => open({}));
afterEach(() => close());

async function open(config: ConfigParts, sandbox: Partial<SandboxOptions> = {}): Promise<void> {
  world = await openProxyWorld({
    config: { upstream: { timeoutMs: 400 }, nonce: { liftMs: LIFT_MS }, ...config },
    sandbox,
  });
  client = new TestClient(world.url);
}

async function close(): Promise<void> {
  client.close();
  await world.close();
}

async function reopen(config: ConfigParts, sandbox: Partial<SandboxOptions> = {}): Promise<void> {
  await close();
  await open(config, sandbox);
}

/** Private calls in order of arrival. */
function calls(): (string | undefined)[] {
  return world.sandbox.received.filter(({ key }) => key !== undefined).map(({ endpoint }) => endpoint);
}

function nonces(key: string): bigint[] {
  return world.sandbox.received.filter((call) => call.key === key).map(({ nonce }) => BigInt(nonce ?? 0));
}

/** As if another program had used a nonce so far ahead of the clock. */
function otherProgramUsed(aheadMs: number): bigint {
  const nonce = BigInt(Date.now() + aheadMs) * 1_000_000n;
  world.sandbox.raiseNonce(MASTER, nonce);
  return nonce;
}

describe('a nonce that Kraken calls invalid', () => {
  it('because another program was just ahead is replaced by a higher one, and the client sees nothing of it', async () => {
    await client.private('Balance');
    const used = otherProgramUsed(LIFT_MS / 2);
    const reply = await client.private('AddOrder', RESTING);
    expect(reply.json?.error).toEqual([]);
    expect(calls()).toEqual(['Balance', 'AddOrder', 'AddOrder', 'AddOrder']);
    const [, , , taken = 0n] = nonces(MASTER);
    expect(taken).toBeGreaterThan(used);
    expect(world.sandbox.orders('master')).toHaveLength(1);
    // From here on nothing is repeated.
    await client.private('Balance');
    expect(calls()).toHaveLength(5);
  });

  it('is replaced without a lift when a new one from the clock is enough', async () => {
    world.sandbox.fault({ kind: 'error', error: 'EAPI:Invalid nonce' });
    expect((await client.private('Balance')).json?.error).toEqual([]);
    const [first = 0n, second = 0n] = nonces(MASTER);
    expect(second).toBeGreaterThan(first);
    expect(second - first).toBeLessThan(BigInt(LIFT_MS) * 1_000_000n);
  });

  it('lifts the floor of its own key only', async () => {
    otherProgramUsed(LIFT_MS / 2);
    expect((await client.private('Balance')).json?.error).toEqual([]);
    expect((await client.private('Balance', {}, '/accounts/alice')).json?.error).toEqual([]);
    const ahead = (nonce = 0n): number => Number(nonce / 1_000_000n) - Date.now();
    expect(ahead(nonces(MASTER).at(-1))).toBeGreaterThan(LIFT_MS / 4);
    expect(ahead(nonces(ALICE).at(-1))).toBeLessThan(1_000);
  });

  it('because another program is far ahead is Kraken’s own error after three tries, and says what to do', async () => {
    const used = otherProgramUsed(100 * LIFT_MS);
    const reply = await client.private('AddOrder', RESTING);
    expect(reply.json).toEqual({ error: ['EAPI:Invalid nonce'] });
    expect(reply.headers['x-proxy-error-detail']).toMatch(
      /another program has used a higher nonce .* nonce jump/,
    );
    expect(reply.headers['x-proxy-error']).toBeUndefined();
    expect(calls()).toEqual(['AddOrder', 'AddOrder', 'AddOrder']);
    for (const nonce of nonces(MASTER)) expect(nonce).toBeLessThan(used);
    expect(world.sandbox.orders('master')).toEqual([]);
  });

  it('after three tries is an error in the log, with account and nonce and without a key', async () => {
    otherProgramUsed(100 * LIFT_MS);
    await client.private('Balance');
    const told = world.log.filter(({ level, msg }) => level === 50 && String(msg).includes('invalid'));
    expect(told).toMatchObject([{ account: 'master', nonce: nonces(MASTER).at(-1)?.toString() }]);
    expect(JSON.stringify(world.log)).not.toContain(DEMO_KEYS[0]?.secret);
  });

  it('does not keep the lane of another key', async () => {
    otherProgramUsed(100 * LIFT_MS);
    await client.private('Balance');
    expect((await client.private('Balance', {}, '/accounts/alice')).json?.error).toEqual([]);
    expect(nonces(ALICE)).toHaveLength(1);
  });
});

describe('a call that Kraken has no room for', () => {
  const PACED = { pacing: { enabled: true, merge: false } };

  it('and that names a moment waits until then, and no call of its key goes before', async () => {
    await reopen(PACED);
    const at = Math.floor(Date.now() / 1_000) + 2;
    world.sandbox.fault({ kind: 'error', error: `EService: Throttled: ${at}`, endpoint: 'Balance' });
    const throttled = client.private('Balance');
    await until(() => calls().length === 1);
    const other = client.private('TradeBalance');
    expect((await throttled).json?.error).toEqual([]);
    expect((await other).json?.error).toEqual([]);
    const later = world.sandbox.received.filter(({ key }) => key !== undefined).slice(1);
    // By our clock, which is Kraken's within the 2 s that cannot be told.
    for (const call of later) expect(call.at).toBeGreaterThanOrEqual(at * 1_000 - 50);
    expect(calls()).toHaveLength(3);
  });

  it('does not keep another key waiting', async () => {
    await reopen(PACED);
    const at = Math.floor(Date.now() / 1_000) + 2;
    world.sandbox.fault({
      kind: 'error',
      error: `EService:Throttled: ${at}`,
      endpoint: 'Balance',
      key: MASTER,
    });
    const throttled = client.private('Balance');
    await until(() => calls().length === 1);
    expect((await client.private('Balance', {}, '/accounts/alice')).json?.error).toEqual([]);
    expect(calls()).toHaveLength(2);
    expect((await throttled).json?.error).toEqual([]);
  });

  it('waits for room once and is sent again', async () => {
    await reopen({ pacing: { ...PACED.pacing, tiers: { intermediate: { max: 20, decayPerSecond: 20 } } } });
    world.sandbox.fault({ kind: 'error', error: 'EAPI:Rate limit exceeded' });
    const reply = await client.private('Balance');
    expect(reply.json?.error).toEqual([]);
    const [first, second] = world.sandbox.received;
    // Max, headroom and reserve leave 16 of 20 for a cost of 1: 4 points to wait for, 20 a second.
    expect((second?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThanOrEqual(180);
  });

  it('passes Kraken’s own text on when there is none the second time', async () => {
    await reopen({ pacing: { ...PACED.pacing, tiers: { intermediate: { max: 20, decayPerSecond: 100 } } } });
    world.sandbox.fault({ kind: 'error', error: 'EAPI:Rate limit exceeded', times: Infinity });
    const reply = await client.private('Balance');
    expect(reply.json).toEqual({ error: ['EAPI:Rate limit exceeded'] });
    expect(reply.headers['x-proxy-error']).toBeUndefined();
    expect(calls()).toEqual(['Balance', 'Balance']);
  });

  it('is not answered by the wait of an order that costs nothing', async () => {
    await reopen(PACED);
    world.sandbox.fault({ kind: 'error', error: 'EAPI:Rate limit exceeded', endpoint: 'Balance' });
    const waiting = client.private('Balance');
    await until(() => calls().length === 1);
    expect((await client.private('AddOrder', RESTING)).json?.error).toEqual([]);
    expect(calls().slice(0, 2)).toEqual(['Balance', 'AddOrder']);
    client.close();
    await waiting.catch(() => undefined);
    client = new TestClient(world.url);
  });
});

describe('a cancel', () => {
  it.each(['reset-before', 'hang', 'html', 'reset-after', 'cut', 'error-after'] as const)(
    'whose reply is lost (%s) is repeated in its turn, and says so',
    async (kind) => {
      await client.private('AddOrder', RESTING);
      world.sandbox.fault({ kind, endpoint: 'CancelAll' });
      const lost = client.private('CancelAll');
      await until(() => world.sandbox.receivedCount >= 2);
      const other = client.private('Balance');
      const reply = await lost;
      expect(reply.json?.error).toEqual([]);
      expect(reply.headers['x-proxy-outcome']).toBe('repeated');
      expect(world.sandbox.orders('master')[0]?.status).toBe('canceled');
      await other;
      expect(calls()).toEqual(['AddOrder', 'CancelAll', 'CancelAll', 'Balance']);
    },
  );

  it('of one order that had worked before its reply was lost has Kraken’s answer to the repeat', async () => {
    const placed = await client.private('AddOrder', RESTING);
    const [txid = ''] = (placed.json?.result as { txid: string[] }).txid;
    world.sandbox.fault({ kind: 'reset-after', endpoint: 'CancelOrder' });
    const reply = await client.private('CancelOrder', { txid });
    expect(reply.headers['x-proxy-outcome']).toBe('repeated');
    expect(reply.json).toEqual({ error: ['EOrder:Unknown order'] });
    expect(world.sandbox.orders('master')[0]?.status).toBe('canceled');
  });

  it('that finds Kraken silent is unknown in the end', async () => {
    world.sandbox.fault({ kind: 'reset-before', endpoint: 'CancelAll', times: Infinity });
    const reply = await client.private('CancelAll');
    expect(reply.json).toEqual({ error: ['EProxy:Outcome unknown'] });
    expect(calls()).toEqual(Array.from({ length: 4 }, () => 'CancelAll'));
  });
});

describe('a read', () => {
  it.each(['reset-before', 'reset-after', 'hang', 'html', 'cut'] as const)(
    'whose reply is lost (%s) is asked again until there is one, and others go in between',
    async (kind) => {
      world.sandbox.fault({ kind, endpoint: 'Balance', times: 3 });
      const lost = client.private('Balance');
      await until(() => world.sandbox.receivedCount >= 1);
      const cancel = client.private('CancelAll');
      const reply = await lost;
      await cancel;
      expect(reply.json?.error).toEqual([]);
      expect(reply.headers['x-proxy-outcome']).toBeUndefined();
      expect(calls().filter((name) => name === 'Balance')).toHaveLength(4);
      expect(calls().at(-1)).toBe('Balance');
      expect(world.sandbox.maxInFlight).toBe(1);
    },
  );

  it('leaves more and more time between its tries', async () => {
    world.sandbox.fault({ kind: 'reset-before', endpoint: 'Balance', times: 3 });
    expect((await client.private('Balance')).json?.error).toEqual([]);
    const at = world.sandbox.received.filter(({ key }) => key !== undefined).map((call) => call.at);
    const gaps = at.slice(1).map((time, index) => time - (at[index] ?? 0));
    for (const [index, least] of [100, 200, 400].entries())
      expect(gaps[index]).toBeGreaterThanOrEqual(least - 5);
  });

  it('is unreachable when its wait is over', async () => {
    await reopen({ queue: { maxWaitMs: 500 } });
    world.sandbox.fault({ kind: 'reset-before', endpoint: 'Balance', times: Infinity });
    const started = performance.now();
    const reply = await client.private('Balance');
    expect(reply.json).toEqual({ error: ['EService:Unavailable'] });
    expect(reply.headers['x-proxy-error']).toBe('upstream-unreachable');
    expect(reply.headers['retry-after']).toBe('1');
    expect(performance.now() - started).toBeGreaterThanOrEqual(490);
    expect(await callLines(world.log, { endpoint: 'Balance' })).toMatchObject([
      { error: 'upstream-unreachable' },
    ]);
  });

  it('is not repeated for a client that is gone', async () => {
    world.sandbox.fault({ kind: 'reset-before', endpoint: 'Balance', times: Infinity });
    const leaver = new TestClient(world.url);
    const gone = leaver.private('Balance').catch(() => undefined);
    await until(() => calls().length === 1);
    leaver.close();
    await gone;
    await callLines(world.log, { endpoint: 'Balance', hungUp: true });
    const before = calls().length;
    await new Promise((resolve) => setTimeout(resolve, 250));
    expect(calls()).toHaveLength(before);
  });

  it('that Kraken refuses is not repeated', async () => {
    world.sandbox.fault({ kind: 'error', error: 'EGeneral:Permission denied', endpoint: 'Balance' });
    expect((await client.private('Balance')).json).toEqual({ error: ['EGeneral:Permission denied'] });
    expect(calls()).toEqual(['Balance']);
  });
});

describe('while Kraken says that it is in maintenance', () => {
  it('calls are refused at once with that reason, and nothing is sent', async () => {
    world.sandbox.systemStatus = 'maintenance';
    expect((await client.private('AddOrder', { ...RESTING, validate: 'true' })).json?.error).toEqual([
      'EService:Unavailable',
    ]);
    await until(() => world.log.some(({ status }) => status === 'maintenance'));
    const before = calls().length;
    for (const endpoint of ['Balance', 'AddOrder', 'CancelAll']) {
      const started = performance.now();
      const reply = await client.private(endpoint, RESTING);
      expect(performance.now() - started).toBeLessThan(1_000);
      expect(reply.json).toEqual({ error: ['EService:Unavailable'] });
      expect(reply.headers['x-proxy-error']).toBe('upstream-unreachable');
      expect(reply.headers['x-proxy-error-detail']).toBe('Kraken is in maintenance');
      expect(Number(reply.headers['retry-after'])).toBeGreaterThan(0);
    }
    expect(calls()).toHaveLength(before);
  });

  it('an order that met it is not placed, and the client is told so; afterwards all goes on', async () => {
    await reopen({ queue: { maxWaitMs: 6_000 } });
    world.sandbox.systemStatus = 'maintenance';
    const lost = client.private('AddOrder', RESTING);
    await until(() => world.log.some(({ status }) => status === 'maintenance'));
    world.sandbox.systemStatus = 'online';
    await until(() => world.log.some(({ status }) => status === 'online'));
    const reply = await lost;
    const orders = world.sandbox.orders('master').length;
    expect(orders).toBe(reply.json?.error.length === 0 ? 1 : 0);
    // Whether its second turn came within its wait hangs on when Kraken was asked about itself.
    if (orders === 0) expect(reply.json?.error[0]).toMatch(/^EService:(?:Busy|Unavailable)$/);
    expect((await client.private('Balance')).json?.error).toEqual([]);
  });
});
