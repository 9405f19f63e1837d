import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:http2';
import { after, before, test } from 'node:test';
import { assertNothingSent, assertOneSequence, assertSameButNonce } from './assertions.js';
import { TestAuthority } from './certificates.js';
import { DUMMY_SECRET, PATIENCE_MS, startProxy } from './proxy-process.js';

const LIMIT_BUY = { ordertype: 'limit', pair: 'XBTUSD', price: '50000', type: 'buy', volume: '0.01' };
let proxy;
let session;
let counter = 0;

before(async () => {
  const authority = new TestAuthority();
  const { cert, key } = authority.server();
  proxy = await startProxy({
    clients: { 'go-bot': { orders: { maxVolume: '0.5' } } },
    listen: { tls: { certFile: 'cert.pem', keyFile: 'key.pem' } },
    files: { 'cert.pem': cert, 'key.pem': key },
  });
  session = connect(proxy.url, { ca: authority.cert, ALPNProtocols: ['h2'] });
  await once(session, 'connect');
});

after(async () => {
  session?.destroy();
  await proxy?.stop();
});

test('one session agrees on HTTP/2 with a certificate that is checked', () => {
  assert.deepEqual([session.alpnProtocol, session.socket.authorized], ['h2', true]);
});

test('a public call is answered', async () => {
  const { result } = await send({ ':path': '/0/public/Ticker?pair=XBTUSD' });
  assert.equal(result.XXBTZUSD.a[0], '60000.1');
});

test('an order, signed as JSON, is placed, listed and cancelled', async () => {
  const { result: balance } = await call('Balance');
  assert.ok(Number(balance.XXBT) > 0);
  const sent = {};
  const { result: placed } = await call('AddOrder', LIMIT_BUY, { sent });
  assertSameButNonce(await proxy.sandbox.last('AddOrder'), sent);
  const { result: listed } = await call('OpenOrders');
  assert.equal(listed.open[placed.txid[0]].vol, '0.01000000');
  const { result: cancelled } = await call('CancelOrder', { txid: placed.txid[0] });
  assert.equal(cancelled.count, 1);
});

test('a batch is placed and cancelled', async () => {
  const { pair, ...order } = LIMIT_BUY;
  const { result } = await call('AddOrderBatch', { orders: [order, order], pair });
  const orders = result.orders.map(({ txid }) => txid);
  const { result: cancelled } = await call('CancelOrderBatch', { orders });
  assert.equal(cancelled.count, 2);
});

test('a withdrawal, an order too large and a wrong signature are refused in the words of Kraken', async () => {
  await assertNothingSent(proxy, async () => {
    const withdrawal = { amount: '0.1', asset: 'XBT', key: 'my-wallet' };
    assert.deepEqual(await call('Withdraw', withdrawal), { error: ['EGeneral:Permission denied'] });
    const large = { ...LIMIT_BUY, volume: '0.6' };
    assert.deepEqual(await call('AddOrder', large), { error: ['EGeneral:Permission denied'] });
    const forged = await call('AddOrder', LIMIT_BUY, { secret: DUMMY_SECRET });
    assert.deepEqual(forged, { error: ['EAPI:Invalid signature'] });
  });
});

test('calls at once on one session keep one sequence', async () => {
  const before = (await proxy.sandbox.received()).filter(({ key }) => key !== undefined).length;
  const placed = await Promise.all(
    Array.from({ length: 50 }, (_, index) =>
      call('AddOrder', { ...LIMIT_BUY, price: String(40_000 + index) }),
    ),
  );
  const txids = placed.map(({ result }) => result.txid[0]);
  assert.equal(new Set(txids).size, 50);
  await Promise.all(txids.map((txid) => call('CancelOrder', { txid })));
  await assertOneSequence(proxy, before + 100);
});

/** As Kraken's own Go client: keys sorted, the nonce a text of seconds and a counter of three digits. */
async function call(endpoint, fields = {}, { secret = proxy.keys['go-bot'].secret, sent = {} } = {}) {
  const path = `/0/private/${endpoint}`;
  const nonce = `${Math.floor(Date.now() / 1000)}${String(counter++).padStart(3, '0')}`;
  const sorted = Object.entries({ ...fields, nonce }).sort(([one], [other]) => (one < other ? -1 : 1));
  const body = JSON.stringify(Object.fromEntries(sorted));
  Object.assign(sent, { nonce, body });
  const digest = createHash('sha256')
    .update(nonce + body)
    .digest();
  const signature = createHmac('sha512', Buffer.from(secret, 'base64')).update(path).update(digest);
  const headers = {
    ':method': 'POST',
    ':path': path,
    'api-key': proxy.keys['go-bot'].key,
    'api-sign': signature.digest('base64'),
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(body)),
    'accept-encoding': 'gzip',
    'user-agent': 'krakenfx/api-go',
  };
  return send(headers, body);
}

async function send(headers, body) {
  const stream = session.request(headers, { endStream: body === undefined });
  stream.setTimeout(PATIENCE_MS, () => stream.close());
  if (body !== undefined) stream.end(body);
  const [response] = await once(stream, 'response');
  assert.equal(response[':status'], 200);
  let text = '';
  for await (const chunk of stream.setEncoding('utf8')) text += chunk;
  return JSON.parse(text);
}
