/**
 * A bot that names its orders by their level ("bid") placed one, cancelled it, and placed it again: it was told the txid
 * of the cancelled one, and nothing was placed.
 */
import { TestClient } from '../support/http.js';
import { openProxyWorld, type ProxyWorld } from '../support/proxy-world.js';

const ORDER = {
  ...{ pair: 'XBTUSD', type: 'buy', ordertype: 'limit', price: '10000', volume: '0.01', cl_ord_id: 'bid' },
};

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

async function place(): Promise<string> {
  const { json } = await client.private('AddOrder', ORDER);
  return String((json?.result as { txid?: readonly string[] } | undefined)?.txid?.[0]);
}

it.each([
  ['its cl_ord_id', 'CancelOrder', () => ({ cl_ord_id: 'bid' })],
  ['its txid', 'CancelOrder', (txid: string) => ({ txid })],
  ['CancelAll', 'CancelAll', () => ({})],
] as const)(
  'an order that was cancelled by %s is placed anew under the same cl_ord_id',
  async (_, endpoint, fields) => {
    const first = await place();
    expect(await place()).toBe(first);
    expect((await client.private(endpoint, fields(first))).json?.error).toEqual([]);
    const second = await place();
    expect(second).not.toBe(first);
    expect(world.sandbox.orders('master').map(({ txid, status }) => [txid, status])).toEqual([
      [first, 'canceled'],
      [second, 'open'],
    ]);
  },
);
