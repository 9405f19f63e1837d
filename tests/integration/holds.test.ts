import { rmSync, writeFileSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openGate } from '../support/gate.js';
import { TestClient } from '../support/http.js';
import { openProxyWorld, type ConfigParts, type ProxyWorld } from '../support/proxy-world.js';
import { until } from '../support/until.js';

let world: ProxyWorld;
let bot: TestClient;
const cleanups: (() => unknown)[] = [];

const CLIENTS = {
  'grid-bot': { key: 'grid-bot', accounts: ['master', 'alice'] },
  'exit-bot': { key: 'exit-bot', accounts: ['master', 'alice'] },
};
const ORDER = { pair: 'XBTUSD', type: 'buy', ordertype: 'limit', price: '10000', volume: '1' };

async function open(config: ConfigParts = {}, folder?: string): Promise<void> {
  world = await openProxyWorld({ config, ...(folder === undefined ? {} : { folder }) });
  bot = client();
}
afterEach(async () => {
  await world.close();
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function client(key?: string): TestClient {
  const made = new TestClient(world.url, key === undefined ? {} : { 'API-Key': key });
  cleanups.push(() => made.close());
  return made;
}

async function waiting(count: number): Promise<void> {
  await until(
    async () => (await world.status()).lanes.reduce((sum, lane) => sum + lane.waiting, 0) === count,
  );
}

function received(): (string | undefined)[] {
  return world.sandbox.received.map(({ endpoint }) => endpoint);
}

describe('a pause', () => {
  it('keeps calls waiting, cancels as well, and a resume lets them go: none is lost', async () => {
    await open();
    expect(await world.act('pause')).toMatchObject({
      status: 200,
      body: { holds: [{ mode: 'pause', who: 'a test', why: 'to see' }] },
    });
    const replies = [bot.private('Balance'), bot.private('CancelAll'), bot.private('AddOrder', ORDER)];
    await waiting(3);
    expect(received()).toEqual([]);
    expect(await world.act('resume')).toEqual({ status: 200, body: { holds: [] } });
    for (const reply of await Promise.all(replies)) expect(reply.json?.error).toEqual([]);
    expect(received()).toEqual(['CancelAll', 'AddOrder', 'Balance']);
  });

  it('ends the wait of a call like any other wait, and says why: certainly not sent', async () => {
    await open({ queue: { maxWaitMs: 100 } });
    await world.act('pause');
    const { json, headers } = await bot.private('AddOrder', ORDER);
    expect(json).toEqual({ error: ['EService:Busy'] });
    expect(headers['x-proxy-error']).toBe('queue-timeout');
    expect(headers['x-proxy-error-detail']).toContain('an operator has paused');
    expect(received()).toEqual([]);
  });

  it('of an account lets the others go', async () => {
    await open();
    await world.act('pause', { account: 'master' });
    const held = bot.private('Balance');
    await waiting(1);
    expect((await bot.private('Balance', {}, '/accounts/alice')).json?.error).toEqual([]);
    expect((await world.status()).accounts.map(({ name, waiting: calls }) => [name, calls])).toEqual([
      ['master', 1],
      ['alice', 0],
    ]);
    await world.act('resume', { account: 'master' });
    expect((await held).json?.error).toEqual([]);
  });

  it('of a client lets the others go', async () => {
    await open({ clients: CLIENTS });
    await world.act('pause', { client: 'grid-bot' });
    const held = client('grid-bot').private('Balance', {}, '/accounts/master');
    await waiting(1);
    expect((await client('exit-bot').private('Balance', {}, '/accounts/master')).json?.error).toEqual([]);
    expect(
      (await world.status()).clients.map(({ name, waiting: calls, hold }) => [name, calls, hold?.mode]),
    ).toEqual([
      ['grid-bot', 1, 'pause'],
      ['exit-bot', 0, undefined],
    ]);
    await world.act('resume', { client: 'grid-bot' });
    expect((await held).json?.error).toEqual([]);
  });

  it('does not keep the proxy from finding out about an order whose reply was lost', async () => {
    const gate = await openGate();
    cleanups.push(() => gate.close());
    await open({ upstream: { url: gate.url } });
    gate.leadTo(world.sandbox.url);
    gate.shut();
    world.sandbox.fault({ kind: 'reset-after', endpoint: 'AddOrder' });
    const order = bot.private('AddOrder', ORDER);
    await until(() => world.sandbox.receivedCount === 1);
    await world.act('pause');
    gate.open();
    const { json, headers } = await order;
    expect(json?.error).toEqual([]);
    expect(headers['x-proxy-outcome']).toBe('settled');
  });

  it('outlives the process: a restart does not begin to trade by itself', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'kraken-holds-'));
    cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
    await open({ queue: { maxWaitMs: 100 } }, folder);
    await world.act('pause', { account: 'alice' });
    await world.act('cancel-only');
    await world.close();
    await open({ queue: { maxWaitMs: 100 } }, folder);
    expect((await world.status()).hold).toMatchObject({ mode: 'cancel-only', who: 'a test' });
    const operator = new TestClient(world.opsUrl);
    const ready = JSON.parse((await operator.raw('GET', '/readyz')).body.toString()) as object;
    operator.close();
    expect(ready).toMatchObject({
      status: 'ready',
      held: ['account alice: pause', 'everything: cancel-only'],
    });
    expect((await bot.private('Balance', {}, '/accounts/alice')).headers['x-proxy-error']).toBe(
      'queue-timeout',
    );
    expect((await bot.private('AddOrder', ORDER)).headers['x-proxy-error']).toBe('permission-denied');
    await world.act('resume');
    await world.act('resume', { account: 'alice' });
    await world.close();
    await open({}, folder);
    expect((await bot.private('AddOrder', ORDER)).json?.error).toEqual([]);
  });

  it('that cannot be read at the next start refuses it, and names the repair', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'kraken-holds-'));
    cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
    await open({}, folder);
    await world.close();
    writeFileSync(join(folder, 'state.txt.holds'), '{"mode":"pause"');
    await expect(open({}, folder)).rejects.toThrow(/state\.txt\.holds:1 is not a hold.*remove the file/s);
    rmSync(join(folder, 'state.txt.holds'));
    await open({}, folder);
  });
});

describe('paused calls', () => {
  it('do not fill the line for others, cancels among them, and a pause of a full line makes room', async () => {
    await open({ clients: CLIENTS, queue: { maxWaiting: 10 } });
    await world.act('pause', { client: 'grid-bot' });
    const [grid, exit] = [client('grid-bot'), client('exit-bot')];
    const flood = Array.from({ length: 5 }, () => grid.private('AddOrder', ORDER, '/accounts/master'));
    await waiting(1); // a tenth
    const refused = await Promise.race(flood);
    expect(refused.headers['x-proxy-error']).toBe('queue-full');
    expect((await exit.private('CancelAll', {}, '/accounts/master')).json?.error).toEqual([]);
    await world.act('resume', { client: 'grid-bot' });
    await Promise.all(flood);
    await world.act('pause');
    const full = Array.from({ length: 10 }, () => grid.private('Balance', {}, '/accounts/master'));
    await world.act('resume');
    await Promise.all(full);
  });
});

describe('cancel-only', () => {
  it('lets cancels and reads go and refuses all else at once', async () => {
    await open();
    await world.act('cancel-only');
    for (const [endpoint, fields] of [
      ['AddOrder', ORDER],
      ['AmendOrder', { txid: 'O1' }],
      ['GetWebSocketsToken', {}],
      ['AddExport', {}],
    ] as const) {
      const { json, headers } = await bot.private(endpoint, fields);
      expect([endpoint, json]).toEqual([endpoint, { error: ['EGeneral:Permission denied'] }]);
      expect(headers['x-proxy-error-detail']).toContain('only cancels and reads');
    }
    for (const endpoint of ['CancelAll', 'Balance', 'ClosedOrders'])
      expect((await bot.private(endpoint)).json?.error).toEqual([]);
    expect(received()).toEqual(['CancelAll', 'Balance', 'ClosedOrders']);
  });

  it('refuses an order that waited already when its turn comes', async () => {
    await open();
    await world.act('pause');
    const order = bot.private('AddOrder', ORDER);
    await waiting(1);
    await world.act('cancel-only'); // takes the place of the pause
    expect((await order).headers['x-proxy-error']).toBe('permission-denied');
    expect(received()).toEqual([]);
  });

  it('answers the repeat of an order that was placed before', async () => {
    await open();
    const id = { 'Idempotency-Key': 'once' };
    const body = new URLSearchParams(ORDER).toString();
    const first = await bot.raw('POST', '/0/private/AddOrder', body, id);
    await world.act('cancel-only');
    const again = await bot.raw('POST', '/0/private/AddOrder', body, id);
    expect(again.body.equals(first.body)).toBe(true);
    expect(again.headers['idempotent-replayed']).toBe('true');
  });

  it('of one account or client lets the others trade', async () => {
    await open({ clients: CLIENTS });
    await world.act('cancel-only', { account: 'alice' });
    const [grid, exit] = [client('grid-bot'), client('exit-bot')];
    const place = async (who: TestClient, account: string): Promise<unknown> =>
      (await who.private('AddOrder', ORDER, `/accounts/${account}`)).headers['x-proxy-error'];
    expect(await place(grid, 'master')).toBeUndefined();
    expect(await place(grid, 'alice')).toBe('permission-denied');
    await world.act('cancel-only', { client: 'grid-bot' });
    expect(await place(grid, 'master')).toBe('permission-denied');
    expect(await place(exit, 'master')).toBeUndefined();
  });
});

describe('dropping', () => {
  it('answers the calls of a client that wait, and nobody else’s', async () => {
    await open({ clients: CLIENTS });
    await world.act('pause');
    const grid = [1, 2].map(() => client('grid-bot').private('AddOrder', ORDER, '/accounts/master'));
    const other = client('exit-bot').private('CancelAll', {}, '/accounts/master');
    await waiting(3);
    expect(await world.act('drop', { client: 'grid-bot', account: 'alice' })).toMatchObject({
      body: { dropped: 0 },
    });
    expect(await world.act('drop', { client: 'grid-bot' })).toMatchObject({ body: { dropped: 2 } });
    for (const reply of await Promise.all(grid)) {
      expect(reply.json).toEqual({ error: ['EService:Busy'] });
      expect(reply.headers['x-proxy-error-detail']).toContain('dropped');
    }
    await world.act('resume');
    expect((await other).json?.error).toEqual([]);
    expect(received()).toEqual(['CancelAll']);
  });
});

describe('acts on what is not there', () => {
  it.each([
    ['pause', { account: 'bob' }, 404],
    ['pause', { client: 'bob' }, 404],
    ['cancel-only', { account: 'bob' }, 404],
    ['resume', {}, 404],
    ['resume', { account: 'master' }, 404],
    ['drop', { client: 'grid-bot', account: 'bob' }, 404],
    ['pause', { account: 'master', client: 'local' }, 400],
  ])('%s %j is refused', async (name, fields, status) => {
    await open();
    expect((await world.act(name, fields)).status).toBe(status);
    expect((await world.status()).hold).toBeNull();
  });
});
