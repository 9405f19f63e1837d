/**
 * An order with a cl_ord_id was placed through one node, cancelled through another, and placed anew: the first answer was
 * replayed, with the txid of the cancelled order, and nothing was placed. Likewise after a restart of the node, which had
 * kept in memory what its answers named.
 */
import { TestClient } from '../support/http.js';
import { PostgresServer, withPostgres } from '../support/postgres.js';
import { openProxyWorld } from '../support/proxy-world.js';
import { SharedWorld, txidOf } from '../support/shared-world.js';

const ORDER = {
  ...{ pair: 'XBTUSD', type: 'buy', ordertype: 'limit', price: '10000', volume: '0.01', cl_ord_id: 'bid' },
};

const cancels = [
  ['its cl_ord_id', 'CancelOrder', () => ({ cl_ord_id: 'bid' })],
  ['its txid', 'CancelOrder', (txid: string) => ({ txid })],
  ['CancelAll', 'CancelAll', () => ({})],
] as const;

withPostgres('two nodes', () => {
  let postgres: PostgresServer;
  let world: SharedWorld;
  beforeAll(async () => {
    postgres = await PostgresServer.start();
  }, 60_000);
  afterAll(() => postgres.remove());
  beforeEach(async () => {
    world = await SharedWorld.open(postgres);
  }, 30_000);
  afterEach(() => world.close());

  it.each(cancels)(
    'an order that was cancelled at the other node by %s is placed anew at either',
    async (_, endpoint, fields) => {
      const [one, other] = [await world.node(), await world.node()];
      const placed: string[] = [];
      for (const { client } of [one, other, one]) {
        const txid = txidOf(await client.private('AddOrder', ORDER));
        expect(txidOf(await one.client.private('AddOrder', ORDER))).toBe(txid);
        placed.push(txid);
        expect((await other.client.private(endpoint, fields(txid))).json?.error).toEqual([]);
      }
      expect(world.orders).toEqual(placed.map((txid) => [txid, 'canceled']));
      expect(new Set(placed).size).toBe(3);
    },
    30_000,
  );
});

it.each(cancels)(
  'after a restart an order that is cancelled by %s is placed anew',
  async (_, endpoint, fields) => {
    const before = await openProxyWorld();
    let client = new TestClient(before.url);
    const first = txidOf(await client.private('AddOrder', ORDER));
    client.close();
    await before.server.close();
    const after = await openProxyWorld({
      folder: before.folder,
      config: { upstream: { url: before.sandbox.url } },
    });
    client = new TestClient(after.url);
    expect(txidOf(await client.private('AddOrder', ORDER))).toBe(first);
    expect((await client.private(endpoint, fields(first))).json?.error).toEqual([]);
    expect(txidOf(await client.private('AddOrder', ORDER))).not.toBe(first);
    client.close();
    await after.close();
    await before.close();
  },
);
