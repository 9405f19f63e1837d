import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { Kraken } from 'node-kraken-api';
import { assertNothingSent, assertOneSequence } from './assertions.js';
import { TestAuthority } from './certificates.js';
import { nodeKrakenApi } from './clients.js';
import { mapHttpsTo } from './name-service.js';
import { ACCOUNTS, DUMMY_SECRET, PATIENCE_MS, startProxy } from './proxy-process.js';

const LIMIT_BUY = { pair: 'XBTUSD', type: 'buy', ordertype: 'limit', volume: '0.01', price: '50000' };
const authority = new TestAuthority();
let proxy;
let kraken;
let unmap;

before(async () => {
  const { cert, key } = authority.server();
  proxy = await startProxy({
    clients: {
      'node-bot': { allow: ['read', 'trade', 'cancel', 'export'], orders: { maxVolume: '0.5' } },
    },
    listen: { tls: { certFile: 'cert.pem', keyFile: 'key.pem' }, hosts: ['api.kraken.com'] },
    files: { 'cert.pem': cert, 'key.pem': key },
  });
  unmap = mapHttpsTo(proxy.url, authority.cert);
  kraken = nodeKrakenApi(proxy.keys['node-bot']);
});

after(async () => {
  unmap?.();
  await proxy?.stop();
});

test('it believes to be at api.kraken.com: in SNI, in the certificate and in Host', async () => {
  const request = https.get('https://api.kraken.com/0/public/Time');
  const [response] = await once(request, 'response');
  const { servername, authorized } = request.socket;
  assert.deepEqual(
    [servername, authorized, request.getHeader('host'), response.statusCode],
    ['api.kraken.com', true, 'api.kraken.com', 200],
  );
  response.resume();
  await once(response, 'end');
});

test('a certificate that is not trusted, or not for the name asked for, is refused', async () => {
  const [error] = await once(https.get('https://kraken.example/0/public/Time'), 'error');
  assert.equal(error.code, 'ERR_TLS_CERT_ALTNAME_INVALID');
  const distrust = mapHttpsTo(proxy.url);
  try {
    const code = /^(SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_VERIFY_LEAF_SIGNATURE)$/;
    await assert.rejects(kraken.time(), { code });
  } finally {
    distrust();
  }
});

test('public calls, which it posts when they have options, reach Kraken as GET', async () => {
  const { unixtime } = await kraken.time();
  assert.ok(Math.abs(unixtime - Date.now() / 1000) < 5);
  const { XXBTZUSD } = await kraken.ticker({ pair: 'XBTUSD' });
  assert.equal(XXBTZUSD.a[0], '60000.1');
  const { method, path } = await proxy.sandbox.last('Ticker');
  assert.match(`${method} ${path}`, /^GET \/0\/public\/Ticker\?pair=XBTUSD\b/);
  await assert.rejects(kraken.ticker({ pair: 'NOSUCHPAIR' }), refusal('EQuery:Unknown asset pair'));
});

test('it trades with its client key: an order is placed, listed and cancelled', async () => {
  const balance = await kraken.balance();
  assert.ok(Number(balance.XXBT) > 0);
  const { txid } = await kraken.addOrder({
    ...LIMIT_BUY,
    'close[ordertype]': 'stop-loss',
    'close[price]': '-10%',
  });
  const placed = await proxy.sandbox.last('AddOrder');
  assert.equal(placed.headers['api-key'], ACCOUNTS.master.key);
  assert.equal(placed.headers.host, new URL(proxy.sandbox.url).host);
  assert.match(
    placed.rawBody,
    /&volume=0.01&price=50000&close%5Bordertype%5D=stop-loss&close%5Bprice%5D=-10%25$/,
  );
  const { open } = await kraken.openOrders();
  assert.equal(open[txid[0]].vol, '0.01000000');
  const { count } = await kraken.cancelOrder({ txid: txid[0] });
  assert.equal(count, 1);
});

test('an export comes down byte by byte', async () => {
  const { id } = await kraken.addExport({ report: 'trades', description: 'all' });
  const zip = await kraken.retrieveExport({ id });
  assert.equal(zip.subarray(0, 4).toString('latin1'), 'PK\x03\x04');
});

test('a withdrawal and a transfer are its RESTAPIError, and never leave', async () => {
  const withdrawal = { asset: 'XBT', key: 'my-wallet', amount: 0.1 };
  const transfer = { asset: 'XBT', from: 'Spot Wallet', to: 'Futures Wallet', amount: 0.1 };
  await assertNothingSent(proxy, async () => {
    await assert.rejects(kraken.withdraw(withdrawal), refusal('EGeneral:Permission denied'));
    await assert.rejects(kraken.walletTransfer(transfer), refusal('EGeneral:Permission denied'));
  });
});

test('an order over its largest volume is its RESTAPIError, and never leaves', async () => {
  await assertNothingSent(proxy, () =>
    assert.rejects(kraken.addOrder({ ...LIMIT_BUY, volume: '0.6' }), refusal('EGeneral:Permission denied')),
  );
});

test('orders at once, each on a connection of its own, keep one sequence', async () => {
  const before = (await proxy.sandbox.received()).filter(({ key }) => key !== undefined).length;
  const placed = await Promise.all(
    Array.from({ length: 30 }, (_, index) =>
      kraken.addOrder({ ...LIMIT_BUY, price: String(40_000 + index) }),
    ),
  );
  const txids = placed.map(({ txid }) => txid[0]);
  assert.equal(new Set(txids).size, 30);
  await Promise.all(txids.map((txid) => kraken.cancelOrder({ txid })));
  await assertOneSequence(proxy, before + 60);
});

test('a wrong secret and a key of nobody are its RESTAPIError', async () => {
  const { key, secret } = proxy.keys['node-bot'];
  await assertNothingSent(proxy, async () => {
    const forger = nodeKrakenApi({ key, secret: DUMMY_SECRET });
    await assert.rejects(forger.balance(), refusal('EAPI:Invalid signature'));
    const stranger = nodeKrakenApi({ key: 'a-key-of-nobody', secret });
    await assert.rejects(stranger.balance(), refusal('EAPI:Invalid key'));
  });
});

test('as the README says, NODE_EXTRA_CA_CERTS is all the trust it needs', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'kraken-clients-'));
  try {
    const ca = join(folder, 'ca.pem');
    writeFileSync(ca, authority.cert);
    const bot = `
      import { Kraken } from 'node-kraken-api';
      import { mapHttpsTo } from './name-service.js';
      mapHttpsTo(process.env.PROXY);
      const { KEY: key, SECRET: secret } = process.env;
      const balance = await new Kraken({ key, secret, timeout: ${PATIENCE_MS} }).balance();
      console.log(balance.XXBT);
      process.exit();`;
    const { key, secret } = proxy.keys['node-bot'];
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', bot], {
      cwd: import.meta.dirname,
      env: { ...process.env, NODE_EXTRA_CA_CERTS: ca, PROXY: proxy.url, KEY: key, SECRET: secret },
      timeout: PATIENCE_MS,
    });
    assert.equal(stdout.trim(), (await kraken.balance()).XXBT);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

/** RESTAPIError with these words, and nothing beside them. */
function refusal(text) {
  return (error) => {
    assert.ok(error instanceof Kraken.RESTAPIError, error.stack);
    assert.deepEqual(error.body, { error: [text] });
    return true;
  };
}
