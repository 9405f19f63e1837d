/**
 * A bot was gone when its order's reply was lost. Two further equal orders, both meant, were answered with the txid of
 * that one: one order stood at Kraken where there should have been two or three.
 */
import { request } from 'node:http';
import { TestClient } from '../support/http.js';
import { openProxyWorld, type ProxyWorld } from '../support/proxy-world.js';
import { until } from '../support/until.js';

const ORDER = 'pair=XBTUSD&type=buy&ordertype=limit&price=10000&volume=0.01';

let world: ProxyWorld;
let client: TestClient;
beforeEach(async () => {
  world = await openProxyWorld();
  client = new TestClient(world.url);
});
afterEach(async () => {
  client.close();
  await world.close();
});

/** Sends an order and is gone before its answer. */
async function sendAndLeave(): Promise<void> {
  const post = request(`${world.url}/0/private/AddOrder`, { method: 'POST', agent: false });
  post.on('error', () => undefined).end(ORDER);
  await until(() => world.sandbox.received.some(({ endpoint }) => endpoint === 'AddOrder'));
  post.destroy();
}

async function place(): Promise<unknown> {
  const { json } = await client.raw('POST', '/0/private/AddOrder', ORDER);
  return (json?.result as { txid?: readonly string[] } | undefined)?.txid?.[0];
}

it('of two that come after one whose bot was gone, one gets its answer and the other is placed', async () => {
  world.sandbox.fault({ kind: 'delay', delayMs: 300, endpoint: 'AddOrder' });
  await sendAndLeave();
  const told = await Promise.all([place(), place()]);
  const placed = world.sandbox.orders('master').map(({ txid }) => txid);
  expect(placed).toHaveLength(2);
  expect(told.toSorted()).toEqual(placed.toSorted());
});

it('one that came before the bot of an equal one was gone is no repeat: both are placed', async () => {
  world.sandbox.fault({ kind: 'delay', delayMs: 500, endpoint: 'AddOrder' });
  const post = request(`${world.url}/0/private/AddOrder`, { method: 'POST', agent: false });
  post.on('error', () => undefined).end(ORDER);
  await until(() => world.sandbox.received.length === 1);
  const second = place();
  // By the time that a call made after it is answered, the second has arrived and waits.
  await client.raw('GET', '/0/public/Time');
  post.destroy();
  const told = await second;
  const placed = world.sandbox.orders('master').map(({ txid }) => txid);
  expect(placed).toHaveLength(2);
  expect(placed).toContain(told);
});
