import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { assertNothingSent, withoutIds } from './assertions.js';
import { krakenApiAt } from './clients.js';
import { startProxy } from './proxy-process.js';

const PAIR = 'XBTUSD';
const NEVER_EXISTED = 'OAAAAA-AAAAA-AAAAAA';
const LIMIT_BUY = { pair: PAIR, type: 'buy', ordertype: 'limit', volume: '0.01', price: '50000' };
let proxy;
let kraken;

before(async () => {
  proxy = await startProxy();
  kraken = krakenApiAt(proxy.url);
});

after(() => proxy?.stop());

test('public calls, which it posts, reach Kraken as GET', async () => {
  const { result: pairs } = await kraken.api('AssetPairs');
  assert.equal(pairs.XXBTZUSD.wsname, 'XBT/USD');
  const { result: assets } = await kraken.api('Assets');
  assert.equal(assets.XXBT.altname, 'XBT');
  const { result: tickers } = await kraken.api('Ticker', { pair: 'XBTUSD,ETHUSD' });
  assert.deepEqual([tickers.XXBTZUSD.a[0], tickers.XETHZUSD.b[0]], ['60000.1', '2999.99']);
  const { result: books } = await kraken.api('Depth', { pair: PAIR, count: 2 });
  assert.deepEqual([books.XXBTZUSD.asks.length, books.XXBTZUSD.bids[0][0]], [2, '59999.9']);
  const { result: candles } = await kraken.api('OHLC', { pair: PAIR, interval: 60 });
  assert.equal(candles.XXBTZUSD.length, 720);
  const { result: time } = await kraken.api('Time');
  assert.ok(Math.abs(time.unixtime - Date.now() / 1000) < 5);
  const received = await proxy.sandbox.received();
  assert.deepEqual(
    received.map(({ method, path }) => `${method} ${path}`),
    [
      'GET /0/public/AssetPairs',
      'GET /0/public/Assets',
      'GET /0/public/Ticker?pair=XBTUSD%2CETHUSD',
      'GET /0/public/Depth?pair=XBTUSD&count=2',
      'GET /0/public/OHLC?pair=XBTUSD&interval=60',
      'GET /0/public/Time',
    ],
  );
});

test('balances are read with a dummy secret', async () => {
  const { result: balance } = await kraken.api('Balance');
  assert.ok(Number(balance.ZUSD) > 0);
  const { result: trade } = await kraken.api('TradeBalance', { asset: 'ZUSD' });
  assert.ok(Number(trade.eb) > 0);
});

test('the callback style of old bots works', async () => {
  const { result } = await new Promise((resolve, reject) => {
    kraken.api('OpenOrders', (error, data) => (error ? reject(error) : resolve(data)));
  });
  assert.deepEqual(result.open, {});
});

test('a limit order lives its whole life: placed, listed, read, amended, edited, cancelled', async () => {
  const txid = await place({ ...LIMIT_BUY, userref: 7 });
  const { result: listed } = await kraken.api('OpenOrders');
  assert.deepEqual([listed.open[txid].userref, listed.open[txid].descr.price], [7, '50000.0']);
  // Younger than the library: its list of names lacks them, its private method takes any.
  await kraken.privateMethod('AmendOrder', { txid, order_qty: '0.02', limit_price: '51000' });
  const { result: asked } = await kraken.api('QueryOrders', { txid });
  assert.deepEqual([asked[txid].vol, asked[txid].descr.price], ['0.02000000', '51000.0']);
  const { result: edited } = await kraken.privateMethod('EditOrder', { txid, pair: PAIR, price: '52000' });
  const { result: cancelled } = await kraken.api('CancelOrder', { txid: edited.txid });
  assert.equal(cancelled.count, 1);
  const { result: old } = await kraken.api('ClosedOrders');
  assert.deepEqual([old.closed[txid].status, old.closed[edited.txid].status], ['canceled', 'canceled']);
});

test('a conditional close and relative prices keep its percent encoding', async () => {
  const txid = await place({
    ...LIMIT_BUY,
    price: '-5%',
    expiretm: '+3600',
    close: { ordertype: 'stop-loss', price: '-10%' },
  });
  const { rawBody, headers, nonce } = await proxy.sandbox.last('AddOrder');
  assert.equal(
    withoutIds(rawBody).replace(nonce, 'N'),
    'nonce=N&pair=XBTUSD&type=buy&ordertype=limit&volume=0.01&price=-5%25&expiretm=%2B3600' +
      '&close%5Bordertype%5D=stop-loss&close%5Bprice%5D=-10%25',
  );
  assert.equal(headers['content-type'], 'application/x-www-form-urlencoded', 'the library sends none');
  await kraken.api('CancelOrder', { txid });
});

test('a batch, which its form cannot express, is refused by Kraken and not by the proxy', async () => {
  const orders = [LIMIT_BUY, LIMIT_BUY].map(({ type, ordertype, volume, price }) => ({
    type,
    ordertype,
    volume,
    price,
  }));
  assert.throws(() => kraken.api('AddOrderBatch', { pair: PAIR, orders }), /not a valid API method/);
  // qs writes orders[0][type]=buy; Kraken takes a batch as JSON only.
  const posted = kraken.privateMethod('AddOrderBatch', { pair: PAIR, orders });
  await assert.rejects(posted, { message: 'General:Invalid arguments:orders' });
  const { rawBody, executed } = await proxy.sandbox.last('AddOrderBatch');
  assert.equal(executed, true);
  assert.match(rawBody, /&orders%5B0%5D%5Btype%5D=buy&.*&orders%5B1%5D%5Bprice%5D=50000$/);
});

test('in place of a batch, its orders go out at once', async () => {
  const txids = await Promise.all(['40001', '40002', '40003'].map((price) => place({ ...LIMIT_BUY, price })));
  const answers = await Promise.all(txids.map((txid) => kraken.api('CancelOrder', { txid })));
  assert.deepEqual(
    answers.map(({ result }) => result.count),
    [1, 1, 1],
  );
});

test('a market order shows up in closed orders and trades', async () => {
  const txid = await place({ pair: PAIR, type: 'buy', ordertype: 'market', volume: '0.01' });
  const { result: orders } = await kraken.api('ClosedOrders', { trades: true });
  assert.deepEqual([orders.closed[txid].status, orders.closed[txid].vol_exec], ['closed', '0.01000000']);
  const { result: history } = await kraken.api('TradesHistory');
  const trade = history.trades[orders.closed[txid].trades[0]];
  assert.deepEqual([trade.ordertxid, trade.cost], [txid, '600.00100']);
});

test("refusals arrive as the library's own errors, in Kraken's words", async () => {
  await assert.rejects(place({ ...LIMIT_BUY, volume: '1000000' }), { message: 'Order:Insufficient funds' });
  await assert.rejects(kraken.api('CancelOrder', { txid: NEVER_EXISTED }), {
    message: 'Order:Invalid order',
  });
  const txid = await place(LIMIT_BUY);
  await kraken.api('CancelOrder', { txid });
  await assert.rejects(kraken.api('CancelOrder', { txid }), { message: 'Order:Unknown order' });
  await assert.rejects(kraken.api('Ticker', { pair: 'NOSUCHPAIR' }), { message: 'Query:Unknown asset pair' });
});

test('a key of nobody is refused and not served from the default account', async () => {
  const stranger = krakenApiAt(proxy.url);
  stranger.config.key = 'a-key-of-nobody';
  await assertNothingSent(proxy, () =>
    assert.rejects(stranger.api('Balance'), { message: 'API:Invalid key' }),
  );
});

test('the same client pointed past the proxy is refused: its secret is worth nothing', async () => {
  const direct = krakenApiAt(proxy.sandbox.url);
  await assert.rejects(direct.api('Balance'), { message: 'API:Invalid signature' });
});

async function place(order) {
  const { result } = await kraken.api('AddOrder', { ...order });
  return result.txid[0];
}
