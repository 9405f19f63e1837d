/**
 * An order's reply was lost, and before its fate was known a reload gave the account another key, of another account at
 * Kraken. The questions were asked with the new key: "no such order", so it was sent once more, and existed twice. What
 * was sent with a key is looked for with that key, and an intent of another key proves nothing.
 */
import { randomBytes } from 'node:crypto';
import { openGate } from '../support/gate.js';
import { TestClient } from '../support/http.js';
import { openProxyWorld, type ConfigParts, type ProxyWorld } from '../support/proxy-world.js';
import { until } from '../support/until.js';
import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';

const [master = { account: '', key: '', secret: '' }] = DEMO_KEYS;
/** A key of another account at Kraken. */
const other = { account: 'elsewhere', key: 'other-key', secret: randomBytes(64).toString('base64') };
const ORDER = 'pair=XBTUSD&type=buy&ordertype=market&volume=1';

const accounts = (one: { readonly key: string; readonly secret: string }): ConfigParts => ({
  accounts: { master: { key: one.key, secret: one.secret } },
});
let world: ProxyWorld;
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  await world.close();
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

function executed(key: string): number {
  return world.sandbox.received.filter(
    (call) => call.endpoint === 'AddOrder' && call.key === key && call.executed,
  ).length;
}

it('a lost order is found with the key it was sent with, and not sent with another', async () => {
  const gate = await openGate();
  cleanups.push(() => gate.close());
  const config = { upstream: { url: gate.url } };
  world = await openProxyWorld({
    config: { ...config, ...accounts(master) },
    sandbox: { keys: [...DEMO_KEYS, other] },
  });
  gate.leadTo(world.sandbox.url);
  const bot = new TestClient(world.url);
  cleanups.push(() => bot.close());
  gate.shut();
  world.sandbox.fault({ kind: 'reset-after', endpoint: 'AddOrder' });
  const order = bot.raw('POST', '/0/private/AddOrder', ORDER);
  await until(() => executed(master.key) === 1);
  world.rewrite({ ...config, ...accounts(other) });
  expect((await world.act('reload')).status).toBe(200);
  gate.open();
  const { json, headers } = await order;
  expect(json?.error).toEqual([]);
  expect(headers['x-proxy-outcome']).toBe('settled');
  expect([executed(master.key), executed(other.key)]).toEqual([1, 0]);
});

it('a repeat after the key has changed is told that nobody knows, and nothing is sent', async () => {
  world = await openProxyWorld({ config: accounts(master), sandbox: { keys: [...DEMO_KEYS, other] } });
  const bot = new TestClient(world.url);
  cleanups.push(() => bot.close());
  const once = { 'Idempotency-Key': 'once' };
  // Kraken executes the order and is silent from then on.
  world.sandbox.fault({ kind: 'reset-after', endpoint: 'AddOrder' });
  for (const endpoint of ['OpenOrders', 'ClosedOrders'])
    for (let asked = 0; asked < 50; asked++)
      world.sandbox.fault({ kind: 'error', error: 'EGeneral:Permission denied', endpoint });
  const first = await bot.raw('POST', '/0/private/AddOrder', ORDER, once);
  expect(first.json?.error).toEqual(['EProxy:Outcome unknown']);
  world.rewrite(accounts(other));
  expect((await world.act('reload')).status).toBe(200);
  const again = await bot.raw('POST', '/0/private/AddOrder', ORDER, once);
  expect(again.json?.error).toEqual(['EProxy:Outcome unknown']);
  expect([executed(master.key), executed(other.key)]).toEqual([1, 0]);
});
