import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import ccxt from 'ccxt';
import { assertNothingSent, assertOneSequence, assertSameButNonce } from './assertions.js';
import { ccxtAt, krakenApiAt } from './clients.js';
import { ACCOUNTS, DUMMY_SECRET, startProxy } from './proxy-process.js';

const SYMBOL = 'BTC/USD';
const LIMIT_BUY = { pair: 'XBTUSD', type: 'buy', ordertype: 'limit', volume: '0.01', price: '50000' };
const ADDRESS = 'bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq';
let proxy;
let plain;
let grid;
let kraken;

before(async () => {
  proxy = await startProxy({
    clients: {
      'plain-bot': {}, // the lines as they are printed
      'grid-bot': {
        deny: ['CancelAll'],
        orders: { pairs: ['XBTUSD'], maxVolume: '0.5' },
      },
      'both-bot': { accounts: ['master', 'alice'] },
    },
  });
  plain = ccxtAt(proxy.url, proxy.keys['plain-bot']);
  grid = ccxtAt(proxy.url, proxy.keys['grid-bot']);
  kraken = krakenApiAt(proxy.url, proxy.keys['grid-bot']);
  await Promise.all([plain.loadMarkets(), grid.loadMarkets()]);
});

after(() => proxy?.stop());

test('ccxt trades with the key and secret that client new printed', async () => {
  assert.ok(plain.symbols.includes(SYMBOL));
  assert.ok((await plain.fetchBalance()).BTC.free > 0);
  const { id } = await plain.createOrder(SYMBOL, 'limit', 'buy', 0.01, 50_000);
  assert.ok((await plain.fetchOpenOrders(SYMBOL)).some((order) => order.id === id));
  await plain.cancelOrder(id);
  const { status } = await plain.fetchOrder(id);
  assert.equal(status, 'canceled');
});

test("Kraken sees the account's key and its signature, and nothing of the client's", async () => {
  const { id } = await plain.createOrder(SYMBOL, 'limit', 'buy', 0.01, 50_000, {
    close: { ordertype: 'stop-loss', price: '45000' },
  });
  const placed = await proxy.sandbox.last('AddOrder');
  assertSameButNonce(placed, sentBy(plain));
  assert.equal(placed.headers['api-key'], ACCOUNTS.master.key);
  const { key, secret } = proxy.keys['plain-bot'];
  const seen = JSON.stringify(await proxy.sandbox.received());
  for (const text of [key, secret, sentBy(plain).signature]) assert.ok(!seen.includes(text));
  await plain.cancelOrder(id);
});

test('a batch, which ccxt signs as JSON, is placed and cancelled', async () => {
  const orders = await grid.createOrders([batched(0.01), batched(0.02), batched(0.5)]);
  assertSameButNonce(await proxy.sandbox.last('AddOrderBatch'), sentBy(grid));
  const [answer] = await grid.cancelOrders(orders.map(({ id }) => id));
  assert.equal(answer.info.result.count, 3);
});

test('a withdrawal and a transfer are PermissionDenied of ccxt, and never leave', async () => {
  for (const bot of [plain, grid]) {
    await assertNothingSent(proxy, async () => {
      const withdrawal = bot.withdraw('BTC', 0.1, ADDRESS, undefined, { key: 'my-wallet' });
      await assert.rejects(withdrawal, denied);
      await assert.rejects(bot.transferOut('BTC', 0.1), denied);
    });
  }
});

test('an order over its largest volume is PermissionDenied of ccxt, and never leaves', async () => {
  await assertNothingSent(proxy, async () => {
    await assert.rejects(grid.createOrder(SYMBOL, 'limit', 'buy', 0.50000001, 30_000), denied);
    await assert.rejects(grid.createOrder(SYMBOL, 'market', 'sell', 0.6), denied);
    await assert.rejects(grid.createOrders([batched(0.01), batched(0.6)]), denied);
    await assert.rejects(grid.createOrder('ETH/USD', 'limit', 'buy', 0.01, 2_000), denied);
  });
  const { id } = await grid.createOrder(SYMBOL, 'limit', 'buy', 0.5, 30_000);
  await assert.rejects(grid.editOrder(id, SYMBOL, 'limit', 'buy', 0.6, 30_000), denied);
  assert.equal(await proxy.sandbox.last('AmendOrder'), undefined);
  await grid.editOrder(id, SYMBOL, 'limit', 'buy', 0.4, 30_000);
  await grid.cancelOrder(id);
});

test('what its deny names, and a token that leads past its limits, are PermissionDenied of ccxt', async () => {
  await assertNothingSent(proxy, async () => {
    await assert.rejects(grid.cancelAllOrders(), denied);
    await assert.rejects(grid.privatePostGetWebSocketsToken(), denied);
  });
  const { result } = await plain.privatePostGetWebSocketsToken();
  assert.ok(result.token.length > 0);
});

test('a wrong secret is refused as Kraken refuses it', async () => {
  const { key } = proxy.keys['grid-bot'];
  const forger = ccxtAt(proxy.url, { key, secret: proxy.keys['plain-bot'].secret });
  const atKraken = ccxtAt(proxy.sandbox.url, { key: ACCOUNTS.master.key, secret: DUMMY_SECRET });
  const expected = await atKraken.privatePostBalance().catch((error) => error);
  assert.match(expected.message, /EAPI:Invalid signature/);
  await assertNothingSent(proxy, () =>
    assert.rejects(forger.privatePostBalance(), { name: expected.name, message: expected.message }),
  );
});

test("a key of nobody is ccxt's AuthenticationError", async () => {
  const stranger = ccxtAt(proxy.url, { ...proxy.keys['grid-bot'], key: 'a-key-of-nobody' });
  await assertNothingSent(proxy, () =>
    assert.rejects(
      stranger.privatePostBalance(),
      ({ constructor }) => constructor === ccxt.AuthenticationError,
    ),
  );
});

test("the account's public key alone opens nothing any more", async () => {
  await assertNothingSent(proxy, async () => {
    await assert.rejects(ccxtAt(proxy.url).privatePostBalance(), /EAPI:Invalid signature/);
    await assert.rejects(krakenApiAt(proxy.url).api('Balance'), { message: 'API:Invalid signature' });
  });
});

test("who signs with the account's own secret may trade, and move no money", async () => {
  const owner = ccxtAt(proxy.url, ACCOUNTS.master);
  const { id } = await owner.createOrder(SYMBOL, 'limit', 'buy', 0.6, 50_000);
  await owner.cancelOrder(id);
  await assertNothingSent(proxy, () =>
    assert.rejects(owner.withdraw('BTC', 0.1, ADDRESS, undefined, { key: 'my-wallet' }), denied),
  );
});

test('an account in the path is served to its own clients only', async () => {
  const both = krakenApiAt(`${proxy.url}/accounts/alice`, proxy.keys['both-bot']);
  await both.api('Balance');
  assert.equal((await proxy.sandbox.last('Balance')).headers['api-key'], ACCOUNTS.alice.key);
  await assertNothingSent(proxy, async () => {
    const confused = ccxtAt(`${proxy.url}/accounts/alice`, proxy.keys['plain-bot']);
    await assert.rejects(confused.privatePostBalance(), denied);
  });
});

test('kraken-api trades with a client key and is refused the rest in its own error', async () => {
  const { result: balance } = await kraken.api('Balance');
  assert.ok(Number(balance.XXBT) > 0);
  const close = { ordertype: 'stop-loss', price: '-10%' };
  const { result: placed } = await kraken.api('AddOrder', { ...LIMIT_BUY, close });
  const { result: listed } = await kraken.api('OpenOrders');
  assert.equal(listed.open[placed.txid[0]].vol, '0.01000000');
  const { result: cancelled } = await kraken.api('CancelOrder', { txid: placed.txid[0] });
  assert.equal(cancelled.count, 1);

  const refusal = { name: 'Error', message: 'General:Permission denied' };
  const forger = krakenApiAt(proxy.url, { ...proxy.keys['grid-bot'], secret: DUMMY_SECRET });
  await assertNothingSent(proxy, async () => {
    const withdrawal = { asset: 'XBT', key: 'my-wallet', amount: '0.1' };
    await assert.rejects(kraken.api('Withdraw', withdrawal), refusal);
    await assert.rejects(kraken.privateMethod('WalletTransfer', { ...withdrawal }), refusal);
    await assert.rejects(kraken.api('AddOrder', { ...LIMIT_BUY, volume: '0.6' }), refusal);
    await assert.rejects(forger.api('Balance'), { name: 'Error', message: 'API:Invalid signature' });
  });
});

test('two bots with keys of their own share one account, 100 orders at once: no invalid nonce', async () => {
  const fresh = await startProxy({ clients: { 'first-bot': {}, 'second-bot': {} } });
  try {
    const first = ccxtAt(fresh.url, fresh.keys['first-bot']);
    const second = krakenApiAt(fresh.url, fresh.keys['second-bot']);
    await first.loadMarkets();
    const prices = Array.from({ length: 50 }, (_, index) => 40_000 + index);
    const placed = await Promise.all(
      prices.flatMap((price) => [
        first.createOrder(SYMBOL, 'limit', 'buy', 0.01, price).then(({ id }) => id),
        second.api('AddOrder', { ...LIMIT_BUY, price: String(price) }).then(({ result }) => result.txid[0]),
      ]),
    );
    assert.equal(new Set(placed).size, 100);
    // Each cancels what the other has placed: it is one account.
    await Promise.all(
      placed.map((txid, index) =>
        index % 2 === 0 ? second.api('CancelOrder', { txid }) : first.cancelOrder(txid),
      ),
    );
    await assertOneSequence(fresh, 200);
    const orders = await fresh.sandbox.orders('master');
    assert.deepEqual(
      [orders.length, orders.every(({ status }) => status === 'canceled')],
      [placed.length, true],
    );
  } finally {
    await fresh.stop();
  }
});

/** A PermissionDenied: neither another class of ccxt, nor a refusal of other words. */
function denied(error) {
  assert.ok(error instanceof ccxt.PermissionDenied, error.stack);
  assert.match(error.message, /"EGeneral:Permission denied"/);
  return true;
}

function batched(amount) {
  return { symbol: SYMBOL, type: 'limit', side: 'buy', amount, price: 40_000 };
}

/** What ccxt sent last, with the nonce it made: milliseconds. */
function sentBy({ last_request_body: body, last_request_headers: headers }) {
  const [, nonce] = /nonce"?[=:]"?(\d{13})\b/.exec(body);
  return { body, nonce, signature: headers['API-Sign'] };
}
