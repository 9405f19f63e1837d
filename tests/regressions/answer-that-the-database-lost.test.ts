/**
 * A market order was executed, and its client told. The database crashed, and came back with the record of the order but
 * not with its answer. The client asked again with the same cl_ord_id at the same node, which looked for the order, found
 * it, took it for another's since its own earlier reply had named it, and sent it a second time.
 */
import { PostgresServer, withPostgres } from '../support/postgres.js';
import { SharedWorld, txidOf, type SharedNode } from '../support/shared-world.js';

const ORDER = { pair: 'XBTUSD', type: 'buy', ordertype: 'market', volume: '0.001', cl_ord_id: 'bid' };

withPostgres('an answer that the database has lost', () => {
  let postgres: PostgresServer;
  let world: SharedWorld;
  let node: SharedNode;

  beforeAll(async () => {
    postgres = await PostgresServer.start();
  }, 60_000);
  afterAll(() => postgres.remove());
  beforeEach(async () => {
    world = await SharedWorld.open(postgres);
    node = await world.node();
  }, 30_000);
  afterEach(() => world.close());

  it('a crash of the database loses no answer that a client has had', async () => {
    const first = txidOf(await node.client.private('AddOrder', ORDER));
    await postgres.kill();
    await postgres.restart();
    expect(await world.query('SELECT state FROM kraken_proxy.answer')).toEqual([{ state: 'answered' }]);
    const again = await node.client.private('AddOrder', ORDER);
    expect([txidOf(again), again.headers['idempotent-replayed']]).toEqual([first, 'true']);
  }, 30_000);

  it.each(['the same node', 'the other node', 'the same node, after the other gave up'])(
    'a failover that loses it places nothing twice: the answer is told again at %s',
    async (where) => {
      const other = await world.node();
      await world.query(`
        CREATE TABLE public.former AS SELECT * FROM kraken_proxy.answer;
        CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS
          $$ BEGIN INSERT INTO public.former SELECT NEW.*; RETURN NEW; END $$;
        CREATE TRIGGER note AFTER INSERT ON kraken_proxy.answer FOR EACH ROW EXECUTE FUNCTION public.note()`);
      const first = txidOf(await node.client.private('AddOrder', ORDER));
      // As the replica has it: until is past, which lets a call that is not found be sent again.
      const past = `(json::jsonb || '{"until": 1}')::text`;
      await world.query(`
        DROP TRIGGER note ON kraken_proxy.answer; DELETE FROM kraken_proxy.answer;
        INSERT INTO kraken_proxy.answer SELECT * FROM public.former; UPDATE kraken_proxy.answer SET json = ${past}`);
      if (where.includes('gave up'))
        await world.query(
          `UPDATE kraken_proxy.answer SET state = 'in-doubt', node = NULL, record = 'the other one'`,
        );
      if (where === 'the other node')
        await world.query(`UPDATE kraken_proxy.answer SET state = 'in-doubt', node = NULL`);
      const { client } = where === 'the other node' ? other : node;
      expect(txidOf(await client.private('AddOrder', ORDER))).toBe(first);
      expect(world.orders).toEqual([[first, 'closed']]);
      expect(txidOf(await node.client.private('AddOrder', ORDER))).toBe(first);
    },
    30_000,
  );
});
