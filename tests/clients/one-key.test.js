import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import ccxt from 'ccxt';
import { assertOneSequence } from './assertions.js';
import { ccxtAt, krakenApiAt } from './clients.js';
import { ACCOUNTS, startProxy } from './proxy-process.js';

const INSTANCES = 3;
const EACH = 30;
let proxy;

before(async () => {
  proxy = await startProxy();
});

after(() => proxy?.stop());

// Placing and cancelling cost nothing on the REST call counter, which stays on; so many reads at once would
// be more than any tier has room for.
test('three ccxt and three kraken-api on one key, 30 calls each at once: no invalid nonce, all succeed', async () => {
  const bots = [
    ...(await ccxtBots(proxy.url)),
    ...Array.from({ length: INSTANCES }, () => krakenApiBot(krakenApiAt(proxy.url))),
  ];
  const txids = await Promise.all(bots.map((bot) => atOnce(bot.place)));
  assert.equal(new Set(txids.flat()).size, 2 * INSTANCES * EACH);
  await Promise.all(bots.map((bot, index) => Promise.all(txids[index].map(bot.cancel))));

  await assertOneSequence(proxy, 4 * INSTANCES * EACH);
  const orders = await proxy.sandbox.orders('master');
  assert.deepEqual(
    [orders.length, orders.every(({ status }) => status === 'canceled')],
    [txids.flat().length, true],
  );
});

test('without the proxy the same ccxt bots, with the true secret, lose calls to invalid nonces', async () => {
  const bots = await ccxtBots(proxy.sandbox.url, ACCOUNTS.alice);
  const outcomes = await Promise.all(
    bots.map((bot) => atOnce((index) => bot.place(index).catch((error) => error))),
  );
  const lost = outcomes.flat().filter((outcome) => outcome instanceof ccxt.InvalidNonce);
  assert.ok(lost.length > 0);
});

function ccxtBots(...where) {
  return Promise.all(
    Array.from({ length: INSTANCES }, async () => {
      const exchange = ccxtAt(...where);
      await exchange.loadMarkets();
      const place = async (index) =>
        (await exchange.createOrder('BTC/USD', 'limit', 'buy', 0.01, 40_000 + index)).id;
      return { place, cancel: (txid) => exchange.cancelOrder(txid) };
    }),
  );
}

function krakenApiBot(kraken) {
  const order = { pair: 'XBTUSD', type: 'sell', ordertype: 'limit', volume: '0.01' };
  const place = async (index) =>
    (await kraken.api('AddOrder', { ...order, price: String(70_000 + index) })).result.txid[0];
  return { place, cancel: (txid) => kraken.api('CancelOrder', { txid }) };
}

function atOnce(call) {
  return Promise.all(Array.from({ length: EACH }, (_, index) => call(index)));
}
