import { inflateRawSync } from 'node:zlib';

import type { SandboxOrder } from '../../src/sandbox/sandbox.js';
import { rawRequest } from '../support/sign.js';
import { errorOf, openWorld, type SandboxWorld } from '../support/sandbox-world.js';

const RESTING = { pair: 'XBTUSD', type: 'buy', ordertype: 'limit', price: '10000', volume: '1.25' };
const MARKET = { pair: 'XBTUSD', type: 'sell', ordertype: 'market', volume: '1' };

const SOME_TEXT: unknown = expect.any(String);
const SOME_NUMBER: unknown = expect.any(Number);
const SOME_LIST: unknown = expect.any(Array);
const SOMETHING: unknown = expect.any(Object);
const CLOSE_TEXT: unknown = expect.stringContaining('stop loss 5000');

let world: SandboxWorld;

beforeEach(async () => {
  world = await openWorld();
});
afterEach(async () => {
  await world.close();
});

/** Places an order that must be taken; its txid. */
async function place(fields: Record<string, string> = {}): Promise<string> {
  const { txid } = (await world.result('AddOrder', { ...RESTING, ...fields })) as { txid: [string] };
  return txid[0];
}

function order(txid: string): SandboxOrder | undefined {
  return world.sandbox.orders('master').find((one) => one.txid === txid);
}

/** The E-string of an order that must be refused. */
async function refusal(fields: Record<string, string>, endpoint = 'AddOrder'): Promise<string | undefined> {
  return errorOf(await world.call(endpoint, fields));
}

describe('AddOrder', () => {
  it('rests a limit order and locks its funds', async () => {
    expect(await world.result('AddOrder', RESTING)).toEqual({
      descr: { order: 'buy 1.25000000 XBTUSD @ limit 10000.0' },
      txid: [expect.stringMatching(/^O[0-9A-Z]{5}-[0-9A-Z]{5}-[0-9A-Z]{6}$/)],
    });
    expect(world.sandbox.orders('master')).toMatchObject([
      { status: 'open', pair: 'XBTUSD', side: 'buy', price: '10000.0', volume: '1.25000000' },
    ]);
    expect(await world.result('BalanceEx')).toMatchObject({ ZUSD: { hold_trade: '12550.0000' } });
  });

  it('with validate=true makes none', async () => {
    const result = await world.result('AddOrder', { ...RESTING, validate: 'true' });
    expect(result).toEqual({ descr: { order: 'buy 1.25000000 XBTUSD @ limit 10000.0' } });
    expect(world.sandbox.orders('master')).toHaveLength(0);
  });

  it('fills a market order at once: balances, trade and ledger move', async () => {
    const { txid } = (await world.result('AddOrder', MARKET)) as { txid: [string] };
    expect(order(txid[0])).toMatchObject({ status: 'closed', filled: '1.00000000' });
    // 59999.9 at the bid, less 0.4 %.
    expect(await world.result('Balance')).toMatchObject({
      XXBT: '99999.0000000000',
      ZUSD: '1000059759.9004',
    });
    expect(await world.result('TradesHistory')).toMatchObject({ count: 1 });
    const { ledger, count } = (await world.result('Ledgers')) as { ledger: object; count: number };
    expect(count).toBe(2);
    expect(Object.values(ledger)).toMatchObject([
      { asset: 'ZUSD' },
      { asset: 'XXBT', amount: '-1.0000000000' },
    ]);
  });

  it('fills a limit order that crosses at the better price; post-only and IOC do otherwise', async () => {
    expect(order(await place({ price: '70000' }))).toMatchObject({ status: 'closed' });
    const trades = (await world.result('TradesHistory')) as { trades: object };
    expect(Object.values(trades.trades)).toMatchObject([{ price: '60000.1' }]);
    expect(order(await place({ price: '70000', oflags: 'post' }))).toMatchObject({
      status: 'canceled',
      reason: 'Post only order',
    });
    expect(order(await place({ timeinforce: 'IOC' }))).toMatchObject({ status: 'canceled' });
  });

  it.each([
    ['no pair', { pair: '' }, 'EGeneral:Invalid arguments:pair'],
    ['an unknown pair', { pair: 'DOGEMOON' }, 'EQuery:Unknown asset pair'],
    ['an unknown order type', { ordertype: 'guess' }, 'EGeneral:Invalid arguments:ordertype'],
    ['an unknown side', { type: 'hold' }, 'EGeneral:Invalid arguments:type'],
    ['no volume', { volume: '' }, 'EGeneral:Invalid arguments:volume'],
    ['a volume of words', { volume: 'much' }, 'EGeneral:Invalid arguments:volume'],
    ['a volume below zero', { volume: '-1' }, 'EGeneral:Invalid arguments:volume'],
    ['no price', { price: '' }, 'EGeneral:Invalid arguments:price'],
    ['too fine a price', { price: '10000.15' }, /^EOrder:Invalid price:XBT\/USD price can only be/],
    ['too little', { volume: '0.00001' }, 'EOrder:Order minimum not met'],
    ['too cheap', { volume: '0.00005', price: '100' }, 'EOrder:Cost minimum not met'],
    ['more than there is', { volume: '1000000' }, 'EOrder:Insufficient funds'],
    ['an unknown flag', { oflags: 'magic' }, 'EGeneral:Invalid arguments:oflags'],
    ['viqc on a limit order', { oflags: 'viqc' }, 'EGeneral:Invalid arguments:viqc'],
    ['a userref above int32', { userref: '2147483648' }, 'EGeneral:Invalid arguments:userref'],
    ['a long cl_ord_id', { cl_ord_id: 'x'.repeat(19) }, 'EGeneral:Invalid arguments:cl_ord_id'],
    ['both ids', { cl_ord_id: 'a', userref: '1' }, 'EGeneral:Invalid arguments:cl_ord_id'],
    ['a broken deadline', { deadline: 'soon' }, 'EGeneral:Invalid arguments:deadline'],
    ['a deadline too near', { deadline: '2026-11-22T00:00:01Z' }, 'EGeneral:Invalid arguments:deadline'],
    ['a deadline too far', { deadline: '2026-11-22T00:01:01Z' }, 'EGeneral:Invalid arguments:deadline'],
    ['a deadline gone by', { deadline: '2026-11-21T23:59:59Z' }, 'EService:Deadline elapsed'],
  ])('refuses %s', async (_name, fields, error) => {
    const given = Object.entries({ ...RESTING, ...fields }).filter(([, value]) => value !== '');
    const answered = await refusal(Object.fromEntries(given));
    if (typeof error === 'string') expect(answered).toBe(error);
    else expect(answered).toMatch(error);
    expect(world.sandbox.orders('master')).toHaveLength(0);
  });

  it('takes a deadline in range, relative prices and every shape of cl_ord_id', async () => {
    await place({ deadline: '2026-11-22T00:00:30.5Z' });
    expect(order(await place({ price: '-50%' }))).toMatchObject({ price: '30000.0' });
    for (const id of ['bot-1', '6d1b345e-2821-40e2-ad83-4ecb18a06876', 'da8e4ad59b78481c93e589746b0cf91f']) {
      expect(order(await place({ cl_ord_id: id }))).toMatchObject({ cl_ord_id: id });
    }
  });

  it('takes a cl_ord_id once while its order is open, and again when it is not', async () => {
    await place({ cl_ord_id: 'bot-1' });
    const twice = { ...RESTING, cl_ord_id: 'bot-1' };
    expect(await refusal(twice)).toBe('EGeneral:Invalid arguments:cl_ord_id not unique');
    await world.result('CancelOrder', { cl_ord_id: 'bot-1' });
    await place({ cl_ord_id: 'bot-1' });
    // No protection for an order that is filled at once (KRAKEN.md 5).
    await place({ cl_ord_id: 'bot-2', price: '70000' });
    await place({ cl_ord_id: 'bot-2', price: '70000' });
    expect(Object.keys((await world.result('QueryOrders', { cl_ord_id: 'bot-2' })) as object)).toHaveLength(
      2,
    );
  });

  it('warns of oflags=nompp and executes', async () => {
    const { json } = await world.call('AddOrder', { ...RESTING, oflags: 'nompp' });
    expect(json).toMatchObject({
      error: ['WGeneral:Deprecated:nompp'],
      result: { txid: [SOME_TEXT] },
    });
    expect(world.sandbox.received.at(-1)).toMatchObject({ executed: true, error: undefined });
  });

  it('reads conditional closes and stop orders, and expires orders', async () => {
    await place({ 'close[ordertype]': 'stop-loss', 'close[price]': '5000' });
    const { open } = (await world.result('OpenOrders')) as { open: object };
    expect(Object.values(open)).toMatchObject([{ descr: { close: CLOSE_TEXT } }]);
    const stop = { ordertype: 'stop-loss-limit', price2: '9000', timeinforce: 'GTD', expiretm: '+60' };
    const txid = await place(stop);
    expect(order(txid)).toMatchObject({ price: '10000.0', price2: '9000.0', status: 'open' });
    world.time += 60_000;
    expect(order(txid)).toMatchObject({ status: 'expired' });
  });
});

describe('AddOrderBatch', () => {
  const limit = { type: 'buy', ordertype: 'limit', price: '10000', volume: '1' };

  it('places what it can; the engine’s refusals stand in their order’s place', async () => {
    const orders = [
      limit,
      { ...limit, volume: '1000000' },
      { ...limit, cl_ord_id: 'a' },
      { ...limit, cl_ord_id: 'a' },
    ];
    const { json } = await world.callJson('AddOrderBatch', { pair: 'XBTUSD', orders });
    expect(json).toMatchObject({
      error: [],
      result: {
        orders: [
          { txid: SOME_TEXT },
          { error: 'EOrder:Insufficient funds' },
          { txid: SOME_TEXT },
          { error: 'EGeneral:Invalid arguments:cl_ord_id not unique' },
        ],
      },
    });
    expect(world.sandbox.orders('master')).toHaveLength(2);
  });

  it('is refused whole for one bad order, for one or sixteen, and as a form', async () => {
    const refused = async (orders: unknown[]): Promise<string | undefined> =>
      errorOf(await world.callJson('AddOrderBatch', { pair: 'XBTUSD', orders }));
    expect(await refused([limit, { ...limit, type: 'hold' }])).toBe('EGeneral:Invalid arguments:type');
    expect(await refused([limit])).toBe('EGeneral:Invalid arguments:orders');
    expect(await refused(Array(16).fill(limit))).toBe('EGeneral:Invalid arguments:orders');
    const form = { pair: 'XBTUSD', orders: JSON.stringify([limit, limit]) };
    expect(await refusal(form, 'AddOrderBatch')).toBe('EGeneral:Invalid arguments:orders');
    expect(world.sandbox.orders('master')).toHaveLength(0);
  });

  it('reads nested closes and numbers', async () => {
    const orders = [limit, { ...limit, volume: 1.5, close: { ordertype: 'limit', price: 20000 } }];
    await world.callJson('AddOrderBatch', { pair: 'XBTUSD', orders });
    expect(world.sandbox.orders('master')).toMatchObject([{}, { volume: '1.50000000' }]);
  });
});

describe('AmendOrder and EditOrder', () => {
  it('amends in place; the reply has a 19-digit integer that no double holds', async () => {
    const txid = await place({ cl_ord_id: 'bot-1' });
    const reply = await world.call('AmendOrder', {
      cl_ord_id: 'bot-1',
      limit_price: '11000',
      order_qty: '2',
    });
    const digits = /"amend_timestamp":(\d{19})}/.exec(reply.body.toString())?.[1] ?? '';
    expect(BigInt(Number(digits)).toString()).not.toBe(digits);
    expect(order(txid)).toMatchObject({ price: '11000.0', volume: '2.00000000', amended: 1, status: 'open' });
    const amends = await world.call('OrderAmends', { order_id: txid });
    expect(amends.body.toString()).toMatch(/"count":2.*"timestamp":\d{19}}/);
  });

  it('refuses an amend of nothing, of what is gone and of what never was', async () => {
    const txid = await place();
    expect(await refusal({ txid }, 'AmendOrder')).toBe('EGeneral:Invalid arguments');
    expect(await refusal({ txid, order_qty: '1000000' }, 'AmendOrder')).toBe('EOrder:Insufficient funds');
    expect(order(txid)).toMatchObject({ volume: '1.25000000' });
    await world.result('CancelOrder', { txid });
    expect(await refusal({ txid, order_qty: '2' }, 'AmendOrder')).toBe('EOrder:Unknown order');
    expect(await refusal({ txid: 'O0', order_qty: '2' }, 'AmendOrder')).toBe('EOrder:Invalid order');
  });

  it('edits into a new order without userref; a refused edit leaves the old one', async () => {
    const txid = await place({ userref: '7' });
    const tooMuch = { txid, pair: 'XBTUSD', volume: '1000000' };
    expect(await refusal(tooMuch, 'EditOrder')).toBe('EOrder:Insufficient funds');
    expect(order(txid)).toMatchObject({ status: 'open' });
    const result = await world.result('EditOrder', { txid, pair: 'XBTUSD', price: '12000' });
    expect(result).toMatchObject({ status: 'ok', originaltxid: txid, price: '12000.0' });
    expect(world.sandbox.orders('master')).toMatchObject([
      { status: 'canceled', userref: 7 },
      { status: 'open', userref: undefined, price: '12000.0' },
    ]);
    // 1.25 x 12000 and 0.4 %: the old order locks nothing any more.
    expect(await world.result('BalanceEx')).toMatchObject({ ZUSD: { hold_trade: '15060.0000' } });
  });

  it('edits into a new order without cl_ord_id, which is free again', async () => {
    const txid = await place({ cl_ord_id: 'bot-1' });
    const edit = { txid, pair: 'XBTUSD', price: '12000' };
    const edited = (await world.result('EditOrder', edit)) as { txid: string };
    expect(order(edited.txid)).toMatchObject({ status: 'open', cl_ord_id: undefined });
    expect(Object.keys((await world.result('QueryOrders', { cl_ord_id: 'bot-1' })) as object)).toEqual([
      txid,
    ]);
    expect(order(await place({ cl_ord_id: 'bot-1' }))).toMatchObject({ status: 'open' });
  });
});

describe('cancelling', () => {
  it('by txid; a second time it is unknown, and what never was is invalid', async () => {
    const txid = await place();
    expect(await world.result('CancelOrder', { txid })).toEqual({ count: 1 });
    expect(await refusal({ txid }, 'CancelOrder')).toBe('EOrder:Unknown order');
    expect(await refusal({ txid: 'OAAAAA-BBBBB-CCCCCC' }, 'CancelOrder')).toBe('EOrder:Invalid order');
    expect(await world.result('BalanceEx')).toMatchObject({ ZUSD: { hold_trade: '0.0000' } });
  });

  it('by userref takes the whole group', async () => {
    await place({ userref: '-5' });
    await place({ userref: '-5' });
    await place({ userref: '6' });
    expect(await world.result('CancelOrder', { txid: '-5' })).toEqual({ count: 2 });
    expect(await refusal({ txid: '-5' }, 'CancelOrder')).toBe('EOrder:Unknown order');
    expect(await world.result('CancelAll')).toEqual({ count: 1 });
  });

  it('in a batch takes txids, userrefs and client ids, as JSON only', async () => {
    const txid = await place();
    await place({ userref: '5' });
    await place({ cl_ord_id: 'a' });
    const { json } = await world.callJson('CancelOrderBatch', { orders: [txid, 5, 'O0'], cl_ord_ids: ['a'] });
    expect(json?.result).toEqual({ count: 3 });
    expect(await refusal({ orders: txid }, 'CancelOrderBatch')).toBe('EGeneral:Invalid arguments:orders');
  });

  it('after a time strikes when it has come, once, and not when disarmed', async () => {
    await place();
    const armed = await world.result('CancelAllOrdersAfter', { timeout: '60' });
    expect(armed).toEqual({ currentTime: '2026-11-22T00:00:00Z', triggerTime: '2026-11-22T00:01:00Z' });
    world.time += 59_999;
    expect(world.sandbox.orders('master')).toMatchObject([{ status: 'open' }]);
    world.time += 1;
    expect(world.sandbox.orders('master')).toMatchObject([{ status: 'canceled' }]);
    const txid = await place();
    await world.result('CancelAllOrdersAfter', { timeout: '60' });
    await world.result('CancelAllOrdersAfter', { timeout: '0' });
    world.time += 120_000;
    expect(order(txid)).toMatchObject({ status: 'open' });
  });
});

describe('looking orders up', () => {
  it('OpenOrders and ClosedOrders filter; ClosedOrders pages by 50', async () => {
    for (let i = 0; i < 60; i += 1) await place({ userref: '1', timeinforce: 'IOC' });
    await place({ cl_ord_id: 'a' });
    await place({ userref: '2' });
    const open = (await world.result('OpenOrders', { cl_ord_id: 'a' })) as { open: object };
    expect(Object.values(open.open)).toMatchObject([{ cl_ord_id: 'a', status: 'open' }]);
    const first = (await world.result('ClosedOrders', { userref: '1' })) as { closed: object; count: number };
    expect(first.count).toBe(60);
    expect(Object.keys(first.closed)).toHaveLength(50);
    const rest = (await world.result('ClosedOrders', { userref: '1', ofs: '50' })) as { closed: object };
    expect(Object.keys(rest.closed)).toHaveLength(10);
    expect(await world.result('ClosedOrders', { cl_ord_id: 'a' })).toEqual({ closed: {}, count: 0 });
  });

  it('QueryOrders finds by txid and by cl_ord_id', async () => {
    const txid = await place({ cl_ord_id: 'a' });
    expect(await world.result('QueryOrders', { txid })).toMatchObject({ [txid]: { status: 'open' } });
    expect(await world.result('QueryOrders', { cl_ord_id: 'a' })).toMatchObject({ [txid]: {} });
    expect(await world.result('QueryOrders', { cl_ord_id: 'never' })).toEqual({});
    expect(await refusal({ txid: 'O0' }, 'QueryOrders')).toBe('EOrder:Invalid order');
  });
});

describe('money and the rest', () => {
  it('withdraws and transfers, and remembers it', async () => {
    const withdrawal = { asset: 'XBT', key: 'cold-wallet', amount: '1.5' };
    const { refid } = (await world.result('Withdraw', withdrawal)) as { refid: string };
    expect(world.sandbox.withdrawals('master')).toMatchObject([
      { refid, amount: '1.5000000000', to: 'cold-wallet' },
    ]);
    expect(await world.result('WithdrawStatus')).toMatchObject([{ refid, asset: 'XXBT' }]);
    const transfer = { asset: 'XBT', from: 'Spot Wallet', to: 'Futures Wallet', amount: '1' };
    await world.result('WalletTransfer', transfer);
    expect(world.sandbox.transfers('master')).toMatchObject([{ to: 'Futures Wallet' }]);
    expect(await world.result('Balance')).toMatchObject({ XXBT: '99997.4999000000' });
    expect(await refusal({ asset: 'XBT', amount: '1' }, 'Withdraw')).toBe('EGeneral:Invalid arguments:key');
    expect(await refusal({ ...withdrawal, amount: '1000000' }, 'Withdraw')).toBe('EFunding:Invalid amount');
    expect(await refusal({ ...withdrawal, max_fee: '0' }, 'Withdraw')).toBe('EFunding:Max fee exceeded');
  });

  it('exports a genuine zip, and errors as JSON', async () => {
    await world.result('AddOrder', MARKET);
    const { id } = (await world.result('AddExport', { report: 'trades', description: 'x' })) as {
      id: string;
    };
    expect(await world.result('ExportStatus', { report: 'trades' })).toMatchObject([
      { id, status: 'Processed' },
    ]);
    const { body, headers } = await world.call('RetrieveExport', { id });
    expect(headers['content-type']).toBe('application/octet-stream');
    expect(body.subarray(0, 4).toString('latin1')).toBe('PK\x03\x04');
    const start = 30 + body.readUInt16LE(26);
    const csv = inflateRawSync(body.subarray(start, start + body.readUInt32LE(18))).toString();
    expect(csv.split('\n')[1]).toContain('XXBTZUSD');
    expect(await world.result('RemoveExport', { id, type: 'delete' })).toEqual({ delete: true });
    expect(await refusal({ id }, 'RetrieveExport')).toBe('EGeneral:Invalid arguments:id');
  });

  it('answers the other account calls', async () => {
    expect(await world.result('GetApiKeyInfo')).toMatchObject({
      api_key: 'test-key',
      nonce: '1795000000000000001',
      nonce_window: '0',
    });
    expect(await world.result('GetWebSocketsToken')).toMatchObject({ expires: 900 });
    expect(await world.result('TradeBalance')).toMatchObject({ eb: '12580000000.0000' });
    expect(await world.result('OpenPositions')).toEqual({});
    expect(await world.result('TradeVolume', { pair: 'XBTUSD' })).toMatchObject({ fees: { XXBTZUSD: {} } });
    expect(await world.result('DepositMethods', { asset: 'XBT' })).toHaveLength(1);
    expect(await world.result('WithdrawInfo', { asset: 'XBT', key: 'k', amount: '1' })).toMatchObject({
      amount: '0.9999000000',
    });
  });

  it.each([
    ['maintenance', 'EService:Unavailable', 'EService:Unavailable'],
    ['cancel_only', 'EService:Market in cancel_only mode', undefined],
    ['post_only', 'EService:Market in post_only mode', undefined],
  ] as const)('in %s refuses orders as Kraken does', async (status, addOrder, balance) => {
    world.sandbox.systemStatus = status;
    expect(await refusal(RESTING)).toBe(addOrder);
    expect(errorOf(await world.call('Balance'))).toBe(balance);
  });
});

describe('public calls', () => {
  async function get(path: string): Promise<{ error: readonly string[]; result?: unknown } | undefined> {
    return (await rawRequest(world.sandbox.url, `/0/public/${path}`, 'GET', '', {})).json;
  }

  it('answer what clients load at start', async () => {
    expect(await get('Time')).toMatchObject({ result: { unixtime: Date.UTC(2026, 10, 22) / 1000 } });
    expect(await get('SystemStatus')).toMatchObject({ result: { status: 'online' } });
    expect(await get('Assets')).toMatchObject({ result: { XXBT: { altname: 'XBT' }, ZUSD: {} } });
    expect(await get('Assets?asset=XBT')).toEqual({ error: [], result: { XXBT: SOMETHING } });
    expect(await get('AssetPairs')).toMatchObject({
      result: { XXBTZUSD: { wsname: 'XBT/USD' }, SOLUSD: {} },
    });
    expect(await get('Ticker?pair=XBT/USD,ETHUSD')).toMatchObject({
      result: { XXBTZUSD: { a: ['60000.1', '10', '10.000'] }, XETHZUSD: {} },
    });
    const { result } = (await get('OHLC?pair=XBTUSD&interval=60')) as { result: { XXBTZUSD: unknown[] } };
    expect(result.XXBTZUSD).toHaveLength(720);
    expect(await get('Depth?pair=XBTUSD&count=2')).toMatchObject({
      result: {
        XXBTZUSD: {
          asks: [
            ['60000.1', '1.000', SOME_NUMBER],
            ['60000.2', SOME_TEXT, SOME_NUMBER],
          ],
        },
      },
    });
    expect(await get('Trades?pair=XBTUSD')).toMatchObject({ result: { XXBTZUSD: SOME_LIST } });
    expect(await get('Spread?pair=XBTUSD')).toMatchObject({ result: { XXBTZUSD: SOME_LIST } });
  });

  it('over the limit are refused, and private ones are not', async () => {
    await world.close();
    world = await openWorld({ publicLimit: { perSecond: 0.5, burst: 3 } });
    const time = async (): Promise<string | undefined> => (await get('Time'))?.error[0];
    for (let i = 0; i < 3; i += 1) expect(await time()).toBeUndefined();
    expect(await time()).toBe('EAPI:Rate limit exceeded');
    expect(world.sandbox.received.at(-1)).toMatchObject({ executed: false });
    await world.result('Balance');
    world.time += 1999;
    expect(await time()).toBe('EAPI:Rate limit exceeded');
    world.time += 1;
    expect(await time()).toBeUndefined();
    expect(await time()).toBe('EAPI:Rate limit exceeded');
    // That counts private calls.
    expect(world.sandbox.rateLimited).toBe(0);
  });

  it('have no limit unless asked for', async () => {
    for (let i = 0; i < 100; i += 1) expect(await get('SystemStatus')).toMatchObject({ error: [] });
  });

  it('refuse what they do not know, and POST', async () => {
    expect(await get('Ticker?pair=DOGEMOON')).toEqual({ error: ['EQuery:Unknown asset pair'] });
    expect(await get('Assets?asset=DOGE')).toEqual({ error: ['EQuery:Unknown asset'] });
    expect(await get('Depth')).toEqual({ error: ['EGeneral:Invalid arguments:pair'] });
    expect(await get('Nothing')).toEqual({ error: ['EGeneral:Unknown method'] });
    const post = await rawRequest(world.sandbox.url, '/0/public/Ticker', 'POST', 'pair=XBTUSD', {});
    expect(errorOf(post)).toBe('EGeneral:Unknown method');
  });
});
