import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import ccxt from 'ccxt';
import { assertNothingSent, assertSameButNonce } from './assertions.js';
import { ccxtAt } from './clients.js';
import { DUMMY_SECRET, startProxy } from './proxy-process.js';

const SYMBOL = 'BTC/USD';
const NEVER_EXISTED = 'OAAAAA-AAAAA-AAAAAA';
let proxy;
let exchange;

before(async () => {
  proxy = await startProxy();
  exchange = ccxtAt(proxy.url);
  await exchange.loadMarkets();
});

after(() => proxy?.stop());

test('markets are loaded through the proxy', async () => {
  assert.deepEqual(exchange.symbols, ['BTC/EUR', 'BTC/USD', 'ETH/USD', 'SOL/USD']);
  const { id, active, precision, limits, taker } = exchange.market(SYMBOL);
  assert.deepEqual(
    { id, active, precision },
    { id: 'XXBTZUSD', active: true, precision: { amount: 1e-8, price: 0.1 } },
  );
  assert.equal(limits.amount.min, 0.00005);
  assert.equal(taker, 0.004);
  assert.equal(exchange.currency('BTC').id, 'XXBT');
});

test('ticker, order book, candles, trades, time and status come through', async () => {
  const ticker = await exchange.fetchTicker(SYMBOL);
  assert.deepEqual([ticker.bid, ticker.last, ticker.ask], [59999.9, 60000, 60000.1]);
  assert.deepEqual(Object.keys(await exchange.fetchTickers()).sort(), exchange.symbols);
  const book = await exchange.fetchOrderBook(SYMBOL, 2);
  assert.deepEqual(
    [book.bids[0][0], book.bids.length, book.asks[0][0], book.asks.length],
    [59999.9, 2, 60000.1, 2],
  );
  assert.equal((await exchange.fetchOHLCV(SYMBOL, '1m')).length, 720);
  assert.equal((await exchange.fetchTrades(SYMBOL)).length, 100);
  assert.ok(Math.abs((await exchange.fetchTime()) - Date.now()) < 5_000);
  assert.equal((await exchange.fetchStatus()).status, 'ok');
});

test('the balance is read with a dummy secret', async () => {
  const balance = await exchange.fetchBalance();
  assert.equal(balance.USD.free, balance.total.USD);
  assert.ok(balance.BTC.free > 0);
});

test('a limit order lives its whole life: placed, listed, read, amended, cancelled', async () => {
  const { id } = await exchange.createOrder(SYMBOL, 'limit', 'buy', 0.01, 50_000, {
    clientOrderId: 'grid-1',
  });
  const open = await exchange.fetchOpenOrders(SYMBOL);
  assert.deepEqual(
    open.map((order) => [order.id, order.clientOrderId, order.price, order.amount]),
    [[id, 'grid-1', 50_000, 0.01]],
  );
  await exchange.editOrder(id, SYMBOL, 'limit', 'buy', 0.02, 51_000);
  const amended = await exchange.fetchOrder(id);
  assert.deepEqual([amended.status, amended.price, amended.amount], ['open', 51_000, 0.02]);
  await exchange.cancelOrder(id);
  const [order] = (await proxy.sandbox.orders('master')).filter(({ txid }) => txid === id);
  assert.deepEqual([order.status, order.amended], ['canceled', 1]);
});

test('only the nonce of a form is exchanged, brackets stay as ccxt wrote them', async () => {
  const close = { ordertype: 'stop-loss', price: '45000' };
  const order = await exchange.createOrder(SYMBOL, 'limit', 'buy', 0.01, 50_000, { close });
  const placed = await proxy.sandbox.last('AddOrder');
  assertSameButNonce(placed, sentBy(exchange));
  assert.match(placed.rawBody, /&close\[ordertype\]=stop-loss&close\[price\]=45000$/);
  await exchange.cancelOrder(order.id);
});

test('only the nonce of a JSON order is exchanged', async () => {
  const order = await exchange.createOrder(SYMBOL, 'market', 'sell', 0.01, undefined, { trailingPercent: 5 });
  const placed = await proxy.sandbox.last('AddOrder');
  assert.equal(placed.headers['content-type'], 'application/json');
  assertSameButNonce(placed, sentBy(exchange));
  assert.match(placed.rawBody, /"price":"\+5%"/);
  await exchange.cancelOrder(order.id);
});

test('a batch of orders is placed as JSON and cancelled as JSON', async () => {
  const orders = await exchange.createOrders(batch(0.01));
  const placed = await proxy.sandbox.last('AddOrderBatch');
  assertSameButNonce(placed, sentBy(exchange));
  assert.equal(JSON.parse(placed.rawBody).nonce, placed.nonce, 'the nonce stays a string, as ccxt sends it');
  const ids = orders.map(({ id }) => id);
  assert.equal(new Set(ids).size, 3);
  const [answer] = await exchange.cancelOrders(ids);
  assert.equal(answer.info.result.count, 3);
});

test('a market order shows up in closed orders, trades and ledger', async () => {
  const { id } = await exchange.createOrder(SYMBOL, 'market', 'buy', 0.01);
  const closed = (await exchange.fetchClosedOrders(SYMBOL)).find((order) => order.id === id);
  assert.deepEqual([closed.status, closed.filled, closed.average], ['closed', 0.01, 60000.1]);
  const [trade] = (await exchange.fetchMyTrades(SYMBOL)).filter(({ order }) => order === id);
  assert.deepEqual([trade.amount, trade.cost, trade.fee.currency], [0.01, 600.001, 'USD']);
  const entries = await exchange.fetchLedger('BTC');
  assert.ok(entries.some(({ referenceId, amount }) => referenceId === trade.id && amount === 0.01));
});

test("Kraken's refusals become ccxt's own errors", async () => {
  const poor = exchange.createOrder(SYMBOL, 'limit', 'buy', 1_000_000, 50_000);
  await assert.rejects(poor, ccxt.InsufficientFunds);
  await assert.rejects(exchange.createOrders(batch(1_000_000)), ccxt.InsufficientFunds);
  const tiny = exchange.createOrder(SYMBOL, 'limit', 'buy', 0.00001, 50_000);
  await assert.rejects(tiny, ccxt.InvalidOrder);
  await assert.rejects(exchange.cancelOrder(NEVER_EXISTED), ccxt.InvalidOrder);
  const { id } = await exchange.createOrder(SYMBOL, 'limit', 'buy', 0.01, 50_000);
  await exchange.cancelOrder(id);
  await assert.rejects(exchange.cancelOrder(id), ccxt.OrderNotFound);
  await assert.rejects(exchange.publicGetTicker({ pair: 'NOSUCHPAIR' }), ccxt.ExchangeError);
});

test("a key of nobody is ccxt's AuthenticationError, not the default account's call", async () => {
  const stranger = ccxtAt(proxy.url);
  stranger.apiKey = 'a-key-of-nobody';
  await assertNothingSent(proxy, () =>
    assert.rejects(stranger.privatePostBalance(), ccxt.AuthenticationError),
  );
});

test('the same client pointed past the proxy is refused: its secret is worth nothing', async () => {
  const direct = ccxtAt(proxy.sandbox.url);
  assert.equal(direct.secret, DUMMY_SECRET);
  await assert.rejects(direct.fetchBalance(), /EAPI:Invalid signature/);
});

function batch(amount) {
  return [40_001, 40_002, 40_003].map((price) => ({
    symbol: SYMBOL,
    type: 'limit',
    side: 'buy',
    amount,
    price,
  }));
}

/** What ccxt sent last, with the nonce it made: milliseconds. */
function sentBy({ last_request_body: body }) {
  const [, nonce] = /nonce"?[=:]"?(\d{13})\b/.exec(body);
  return { body, nonce };
}
