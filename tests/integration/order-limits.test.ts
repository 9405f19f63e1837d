import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Scrape } from '../support/metrics.js';
import { openOddUpstream } from '../support/odd-upstream.js';
import { openProxyWorld, type ConfigParts, type ProxyWorld } from '../support/proxy-world.js';
import { rawRequest, type SignedReply } from '../support/sign.js';
import { until } from '../support/until.js';

// The sandbox's prices never move: XBTUSD 60000.0, XBTEUR 55555.5, ETHUSD 3000.00.

let world: ProxyWorld | undefined;
afterEach(async () => {
  await world?.close();
  world = undefined;
});

interface Limits {
  readonly orders: object;
  readonly report?: readonly string[];
  readonly allow?: readonly string[];
}

/** A second client of the same account, without any limits. */
const other = { key: 'other', accounts: ['master'] };

/** A proxy whose one client, on loopback and without a secret, has these limits. */
async function open(limits: Limits, folder?: string, config: ConfigParts = {}): Promise<ProxyWorld> {
  const bot = { key: 'bot', accounts: ['master'], ...limits };
  world = await openProxyWorld({
    config: { clients: { bot, other }, ...config },
    ...(folder === undefined ? {} : { folder }),
  });
  return world;
}

function call(
  endpoint: string,
  fields: Readonly<Record<string, string>> | string,
  key = 'bot',
): Promise<SignedReply> {
  const body = typeof fields === 'string' ? fields : new URLSearchParams(fields).toString();
  return rawRequest(world?.url ?? '', `/0/private/${endpoint}`, 'POST', body, { 'API-Key': key });
}

const LIMIT = { pair: 'XBTUSD', type: 'buy', ordertype: 'limit', price: '100', volume: '1' };

function order(fields: Readonly<Record<string, string>> = {}): Promise<SignedReply> {
  return call('AddOrder', { ...LIMIT, ...fields });
}

const detail = ({ headers }: SignedReply): unknown => headers['x-proxy-error-detail'];
const sent = (): string[] =>
  (world?.sandbox.received ?? [])
    .filter(({ nonce }) => nonce !== undefined)
    .map(({ path }) => path.replace(/.*\//, ''));

function expectPlaced({ json }: SignedReply): string {
  expect(json?.error).toEqual([]);
  return (json?.result as { txid: string[] }).txid[0] ?? '';
}

function expectDenied(reply: SignedReply, rule: string): void {
  expect(reply.json?.error).toEqual(['EGeneral:Permission denied']);
  expect(reply.headers['x-proxy-error']).toBe('permission-denied');
  expect(detail(reply)).toMatch(new RegExp(`^${rule}: `));
}

it('an order within its limits is placed; one over them is refused before it is queued, with rule and reason', async () => {
  await open({ orders: { pairs: ['XBT/USD'], sides: ['buy'], types: ['limit'], maxVolume: '1.5' } });
  expectPlaced(await order({ volume: '1.5' }));
  expectPlaced(await order({ pair: 'XXBTZUSD' }));
  expectDenied(await order({ volume: '1.500000000000000001' }), 'orders.maxVolume');
  expectDenied(await order({ pair: 'ETHUSD' }), 'orders.pairs');
  expectDenied(await order({ pair: 'NOSUCH' }), 'orders.pairs');
  expectDenied(await order({ type: 'sell' }), 'orders.sides');
  expectDenied(await order({ ordertype: 'market' }), 'orders.types');
  expectDenied(await order({ 'close[ordertype]': 'market' }), 'orders.sides');
  expect(sent()).toEqual(['AddOrder', 'AddOrder']);
  const line = world?.log.findLast(({ msg }) => msg === 'call');
  expect(line).toMatchObject({
    client: 'bot',
    rule: 'orders.sides',
    error: 'permission-denied',
    outcome: 'not-sent',
  });
  expect(line).not.toHaveProperty('nonce');
  const decisions = (rule: string): Promise<number> =>
    Scrape.of(world?.opsUrl ?? '').then((scrape) =>
      scrape.value('decisions_total', { rule, decision: 'denied' }),
    );
  expect(await decisions('orders.maxVolume')).toBe(1);
  expect(await decisions('orders.pairs')).toBe(2);
});

it('the worth of a market order, and of any sale, is what the ticker says', async () => {
  await open({ orders: { maxNotional: { USD: '60000.1' } } });
  expectPlaced(await order({ ordertype: 'market', volume: '1' }));
  expectDenied(await order({ ordertype: 'market', volume: '1.00000001' }), 'orders.maxNotional');
  expectPlaced(await order({ price: '1000', volume: '60' }));
  // A sale at 1000 would be executed at 60000.
  expectDenied(await order({ type: 'sell', price: '1000', volume: '60' }), 'orders.maxNotional');
  expectDenied(await order({ pair: 'XBTEUR', volume: '0.001' }), 'orders.maxNotional');
});

it('a market order is refused when there is no ticker', async () => {
  await open({ orders: { maxNotional: { USD: '1000000' } } });
  world?.sandbox.fault({ kind: 'error', endpoint: 'Ticker', error: 'EService:Unavailable', times: 10 });
  expectDenied(await order({ ordertype: 'market' }), 'orders.maxNotional');
  expectPlaced(await order());
  expect(sent()).toEqual(['AddOrder']);
});

it('a batch is checked order by order and refused whole', async () => {
  await open({ orders: { maxVolume: '1' } });
  const batch = (...volumes: string[]): Promise<SignedReply> =>
    call(
      'AddOrderBatch',
      `{"pair":"XBTUSD","orders":[${volumes
        .map((volume) => `{"ordertype":"limit","type":"buy","price":"100","volume":${volume}}`)
        .join(',')}]}`,
    );
  expect((await batch('"1"', '0.5')).json?.error).toEqual([]);
  expectDenied(await batch('"1"', '1.1'), 'orders.maxVolume');
  expectDenied(await batch('1', '1e0'), 'orders.maxVolume');
  expect(sent()).toEqual(['AddOrderBatch']);
});

it('what could be read in two ways is refused', async () => {
  await open({ orders: { maxVolume: '1' } });
  const form = 'pair=XBTUSD&type=buy&ordertype=limit&price=100';
  for (const body of [
    `${form}&volume=1&volume=9`,
    `${form}&volume=9&volume=1`,
    `${form}&volume=1&Volume=9`,
    `${form}&volume=1&%76olume=9`,
    `${form}&volume=1&volume[]=9`,
    `${form}&volume=1&volume%00=9`,
    `${form}&volume=0x1`,
    `${form}&volume=-1`,
    `${form}&volume=`,
    form,
    '{"pair":"XBTUSD","type":"buy","ordertype":"limit","price":"100","volume":"1","volume":"9"}',
    '{"pair":"XBTUSD","type":"buy","ordertype":"limit","price":"100","volume":["9"]}',
  ]) {
    const reply = await call('AddOrder', body);
    expect([
      body,
      ['permission-denied', 'invalid-body'].includes(String(reply.headers['x-proxy-error'])),
    ]).toEqual([body, true]);
  }
  expect(sent()).toEqual([]);
});

it('a day’s worth survives a restart, and an order that was not placed does not count', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'day-'));
  const limits = { orders: { maxNotionalPerDay: { USD: '250' } } };
  try {
    await open(limits, folder);
    expectPlaced(await order());
    // Kraken refuses it: nothing was placed.
    world?.sandbox.fault({
      kind: 'error',
      endpoint: 'AddOrder',
      error: 'EOrder:Insufficient funds',
      times: 1,
    });
    expect((await order()).json?.error).toEqual(['EOrder:Insufficient funds']);
    expectPlaced(
      await order({ validate: 'true' }).then((reply) => (reply.json?.error.length === 0 ? order() : reply)),
    );
    expectDenied(await order({ volume: '0.51' }), 'orders.maxNotionalPerDay');
    await world?.close();
    expect(readFileSync(join(folder, 'state.txt.spending'), 'utf8')).toContain('"bot"');
    await open(limits, folder);
    expectDenied(await order({ volume: '0.51' }), 'orders.maxNotionalPerDay');
    expectPlaced(await order({ volume: '0.5' }));
    expectDenied(await order({ volume: '0.0001' }), 'orders.maxNotionalPerDay');
  } finally {
    await world?.close();
    world = undefined;
    rmSync(folder, { recursive: true, force: true });
  }
});

it('an order whose fate is open counts toward the day', async () => {
  await open({ orders: { maxNotionalPerDay: { USD: '150' } } }, undefined, { orders: { settle: false } });
  world?.sandbox.fault({ kind: 'reset-after', endpoint: 'AddOrder', times: 1 });
  expect((await order()).json?.error).toEqual(['EProxy:Outcome unknown']);
  expectDenied(await order(), 'orders.maxNotionalPerDay');
  expect(sent()).toEqual(['AddOrder']);
});

it('an order whose reply was lost and that turns out to be placed counts toward the day, once', async () => {
  await open({ orders: { maxNotionalPerDay: { USD: '250' } } });
  world?.sandbox.fault({ kind: 'reset-after', endpoint: 'AddOrder', times: 1 });
  const settled = await order();
  expectPlaced(settled);
  expect(settled.headers['x-proxy-outcome']).toBe('settled');
  expectPlaced(await order());
  expectDenied(await order(), 'orders.maxNotionalPerDay');
  expect(world?.sandbox.orders('master')).toHaveLength(2);
});

it('orders sent at the same time never share what is left of the day', async () => {
  await open({ orders: { maxNotionalPerDay: { USD: '1000' } } });
  const replies = await Promise.all(Array.from({ length: 30 }, () => order()));
  expect(replies.filter(({ json }) => json?.error.length === 0)).toHaveLength(10);
  expect(sent()).toHaveLength(10);
});

it('a standby, which has no ledger of the day, says that it does not own the state, not that the order is forbidden', async () => {
  const owner = await open({ orders: { maxNotionalPerDay: { USD: '1000' } } });
  const bot = { key: 'bot', accounts: ['master'], orders: { maxNotionalPerDay: { USD: '1000' } } };
  const standby = await openProxyWorld({
    folder: owner.folder,
    config: { clients: { bot }, nonce: { standby: true } },
  });
  try {
    await until(() => standby.server.url !== '');
    const body = new URLSearchParams(LIMIT).toString();
    const reply = await rawRequest(standby.server.url, '/0/private/AddOrder', 'POST', body, {
      'API-Key': 'bot',
    });
    expect(reply.json?.error).toEqual(['EService:Unavailable']);
    expect(reply.headers['x-proxy-error']).toBe('not-owner');
  } finally {
    await standby.close();
  }
});

it('a damaged ledger of the day refuses to start and says how to repair it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'day-'));
  try {
    writeFileSync(join(folder, 'state.txt.spending'), 'not a ledger\n{}\n');
    const started = open({ orders: { maxNotionalPerDay: { USD: '1' } } }, folder);
    await expect(started).rejects.toMatchObject({ name: 'SpendingError' });
    await expect(started).rejects.toThrow(/state\.txt\.spending.*line 1.*[Mm]ove/s);
    expect(readFileSync(join(folder, 'state.txt.spending'), 'utf8')).toBe('not a ledger\n{}\n');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

it('the account’s open orders are asked from Kraken in the order’s own turn, and only when it matters', async () => {
  await open({ orders: { maxOpenOrders: 3 } });
  for (let count = 0; count < 3; count++) expectPlaced(await order());
  expectDenied(await order(), 'orders.maxOpenOrders');
  expect(sent().filter((name) => name === 'AddOrder')).toHaveLength(3);
  const cancelled = await call('CancelAll', {});
  expect(cancelled.json?.error).toEqual([]);
  expectPlaced(await order());
  expect(sent().at(-2)).toBe('OpenOrders');
  expect(world?.sandbox.maxInFlight).toBe(1);
  const asked = world?.log.find(({ msg, endpoint }) => msg === 'call' && endpoint === 'OpenOrders');
  expect(asked).toMatchObject({ client: 'proxy', account: 'master', outcome: 'executed' });
});

it('orders of a client without limits count toward the open orders of the others', async () => {
  await open({ orders: { maxOpenOrders: 3 } });
  expectPlaced(await order());
  expectPlaced(await call('AddOrder', LIMIT, 'other'));
  expectPlaced(await call('AddOrder', LIMIT, 'other'));
  expectDenied(await order(), 'orders.maxOpenOrders');
  expect(sent().filter((name) => name === 'AddOrder')).toHaveLength(3);
});

it('a change of price or volume counts toward the day like a new order', async () => {
  await open({ orders: { maxNotionalPerDay: { USD: '250' } } });
  const txid = expectPlaced(await order());
  expect((await call('AmendOrder', { txid, limit_price: '90' })).json?.error).toEqual([]);
  expectDenied(await call('AmendOrder', { txid, limit_price: '80' }), 'orders.maxNotionalPerDay');
  // Without a change of either it counts nothing.
  expect((await call('AmendOrder', { txid, post_only: 'true' })).json?.error).toEqual([]);
});

it('changing an order is checked against what Kraken says it is', async () => {
  await open({ orders: { pairs: ['XBTUSD'], sides: ['buy'], maxVolume: '2' } });
  const txid = expectPlaced(await order());
  expect((await call('AmendOrder', { txid, order_qty: '2' })).json?.error).toEqual([]);
  expectDenied(await call('AmendOrder', { txid, order_qty: '2.1' }), 'orders.maxVolume');
  expectDenied(await call('AmendOrder', { txid: 'OAAAAA-BBBBB-CCCCCC', order_qty: '1' }), 'orders.pairs');
  expectDenied(await call('EditOrder', { txid, pair: 'XBTUSD', volume: '3' }), 'orders.maxVolume');
  expect((await call('EditOrder', { txid, pair: 'XBTUSD', volume: '1', price: '90' })).json?.error).toEqual(
    [],
  );
  expect(sent().filter((name) => name === 'AmendOrder' || name === 'EditOrder')).toEqual([
    'AmendOrder',
    'EditOrder',
  ]);
});

it('in report mode a rule counts and logs what it would refuse, and lets it pass', async () => {
  await open({ orders: { maxVolume: '1', sides: ['buy'] }, report: ['orders.maxVolume'] });
  expectPlaced(await order({ volume: '5' }));
  expectDenied(await order({ volume: '5', type: 'sell' }), 'orders.sides');
  const scrape = await Scrape.of(world?.opsUrl ?? '');
  expect(
    scrape.value('decisions_total', { client: 'bot', rule: 'orders.maxVolume', decision: 'reported' }),
  ).toBe(2);
  const line = world?.log.find(({ msg, endpoint }) => msg === 'call' && endpoint === 'AddOrder');
  expect(line).toMatchObject({ outcome: 'executed', reported: [{ rule: 'orders.maxVolume' }] });
});

it('a client with limits on its orders gets no WebSocket token, unless it is allowed by name', async () => {
  await open({ orders: { maxVolume: '1' } });
  expect((await call('GetWebSocketsToken', {})).json?.error).toEqual(['EGeneral:Permission denied']);
  expectPlaced(await order());
  await world?.close();
  await open({ orders: { maxVolume: '1' }, allow: ['trade', 'websocket'] });
  expect((await call('GetWebSocketsToken', {})).json?.error).toEqual([]);
});

it('with limits an order that has a query beside its body is refused: Kraken might read the volume there', async () => {
  await open({ orders: { maxVolume: '1' } });
  for (const query of ['?volume=9', '?']) {
    expectDenied(await call(`AddOrder${query}`, LIMIT), 'orders.maxVolume');
  }
  expect(sent()).toEqual([]);
});

it('when Kraken cannot be asked in the turn, the client is told that Kraken is away, not that it may not', async () => {
  await open({ orders: { maxOpenOrders: 3 } });
  world?.sandbox.fault({ kind: 'reset-before', endpoint: 'OpenOrders', times: 10 });
  const reply = await order();
  expect(reply.json?.error).toEqual(['EService:Unavailable']);
  expect(reply.headers['x-proxy-error']).toBe('upstream-unreachable');
  expect(sent()).not.toContain('AddOrder');
});

it('in report mode an order goes on when Kraken cannot be asked in its turn', async () => {
  await open({ orders: { maxOpenOrders: 3 }, report: ['orders.maxOpenOrders'] });
  world?.sandbox.fault({ kind: 'reset-before', endpoint: 'OpenOrders', times: 10 });
  expectPlaced(await order());
});

it('an answer to the proxy’s own question counts only with HTTP 200: else the order is refused', async () => {
  const body = '{"error":[],"result":{"open":{}}}';
  const odd = await openOddUpstream(`HTTP/1.1 503 Odd\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  try {
    const bot = { key: 'bot', accounts: ['master'], orders: { maxOpenOrders: 3 } };
    world = await openProxyWorld({ config: { clients: { bot }, upstream: { url: odd.url } } });
    const reply = await order();
    expectDenied(reply, 'orders.maxOpenOrders');
    expect(detail(reply)).toContain('with HTTP 503');
    expect(odd.requests.filter((text) => text.includes('AddOrder'))).toEqual([]);
  } finally {
    await odd.close();
  }
});

it('an order whose client hung up while the market was asked is not sent, and spends no nonce', async () => {
  await open({ orders: { pairs: ['XBTUSD'] } });
  world?.sandbox.fault({ kind: 'delay', endpoint: 'AssetPairs', delayMs: 300, times: 1 });
  const gone = request(`${world?.url}/0/private/AddOrder`, { method: 'POST', headers: { 'API-Key': 'bot' } });
  gone.on('error', () => undefined).end(new URLSearchParams(LIMIT).toString());
  await until(() => world?.sandbox.received.some(({ endpoint }) => endpoint === 'AssetPairs') === true);
  gone.destroy();
  await until(
    () => world?.log.some(({ msg, endpoint }) => msg === 'call' && endpoint === 'AddOrder') === true,
  );
  const line = world?.log.find(({ msg, endpoint }) => msg === 'call' && endpoint === 'AddOrder');
  expect(line).toMatchObject({ outcome: 'not-sent' });
  expect(line).not.toHaveProperty('nonce');
  expect(sent()).toEqual([]);
});
