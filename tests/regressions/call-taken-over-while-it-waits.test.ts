/**
 * A call waited in the lane of a node that the others took for dead, and one of them took its record over and answered it.
 * When its turn came the node saw that, and asked for the answer: its own memory said that the call was still under way,
 * here, and so it waited for itself, and so did every later repeat at that node, for as long as it ran.
 */
import { lockOf } from '../../src/nonce/lane-row.js';
import { Database } from '../../src/postgres/database.js';
import { Secret } from '../../src/secret.js';
import { PostgresServer, withPostgres } from '../support/postgres.js';
import { SharedWorld, txidOf } from '../support/shared-world.js';
import { until } from '../support/until.js';

const ORDER = { pair: 'XBTUSD', type: 'buy', ordertype: 'market', volume: '0.001', cl_ord_id: 'bid' };
const ANSWER = JSON.stringify({
  status: 200,
  headers: {},
  text: '{"error":[],"result":{"txid":["OTHERS"]}}',
});

withPostgres('a call whose record another node has taken over', () => {
  let postgres: PostgresServer;
  let world: SharedWorld;
  let holder: Database;
  beforeAll(async () => {
    postgres = await PostgresServer.start();
  }, 60_000);
  afterAll(() => postgres.remove());
  beforeEach(async () => {
    world = await SharedWorld.open(postgres);
    holder = new Database({ url: new Secret(world.databaseUrl), lanes: 1 });
  }, 30_000);
  afterEach(async () => {
    await holder.close();
    await world.close();
  });

  const state = async (): Promise<string | undefined> =>
    (await world.query<{ state: string }>('SELECT state FROM kraken_proxy.answer'))[0]?.state;

  it.each(['answered', 'gone'])(
    'while it waits for its turn, and that is %s there: so it is here',
    async (end) => {
      const node = await world.node();
      const session = await holder.laneSession();
      await session.query(`BEGIN; SELECT pg_advisory_xact_lock(${lockOf('global')})`);
      const first = node.client.private('AddOrder', ORDER);
      await until(async () => (await state()) === 'under-way');
      await world.query(
        end === 'gone'
          ? 'DELETE FROM kraken_proxy.answer'
          : `UPDATE kraken_proxy.answer SET state = 'answered', node = NULL, json = '${ANSWER}'`,
      );
      const waiting = node.client.private('AddOrder', ORDER);
      await session.query('COMMIT');
      session.release();
      const txid = txidOf(await first);
      expect(world.orders).toEqual(end === 'gone' ? [[txid, 'closed']] : []);
      if (end === 'answered') expect(txid).toBe('OTHERS');
      expect(txidOf(await waiting)).toBe(txid);
      expect(txidOf(await node.client.private('AddOrder', ORDER))).toBe(txid);
    },
    30_000,
  );
});
