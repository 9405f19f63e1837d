/**
 * A node that was killed in its first moment had written with its order that it might have been sent ten minutes before,
 * since two replies had not told Kraken's clock yet. The node that took the order over asked for all orders of those ten
 * minutes: on a busy account more than Kraken lists, so that nobody was ever told what became of it.
 */
import { PostgresServer, withPostgres } from '../support/postgres.js';
import { SharedWorld, txidOf } from '../support/shared-world.js';

const CLOSE_BELOW_MS = 10_000;

withPostgres('a node that has just started', () => {
  let postgres: PostgresServer;
  let world: SharedWorld;
  beforeAll(async () => {
    postgres = await PostgresServer.start();
    world = await SharedWorld.open(postgres);
  });
  afterAll(async () => {
    await world.close();
    await postgres.remove();
  });

  it('has asked for Kraken’s time before its first call, and writes with an order when it can have been sent', async () => {
    await world.query(`
      CREATE TABLE public.intent (json jsonb);
      CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO public.intent VALUES (NEW.json::jsonb); RETURN NEW; END $$;
      CREATE TRIGGER note AFTER INSERT ON kraken_proxy.answer
        FOR EACH ROW EXECUTE FUNCTION public.note()`);
    const started = Date.now();
    const { client } = await world.node();
    const order = { pair: 'XBTUSD', type: 'buy', ordertype: 'market', volume: '0.001', cl_ord_id: 'bid' };
    const txid = txidOf(await client.private('AddOrder', order));
    expect(world.orders).toEqual([[txid, 'closed']]);
    expect(world.sandbox.received.map(({ endpoint }) => endpoint).slice(0, 2)).toEqual(['Time', 'Balance']);
    const [intent] = await world.query<{ sentAt: number }>(
      `SELECT (json->>'sentAt')::float8 AS "sentAt" FROM public.intent`,
    );
    expect(intent?.sentAt).toBeGreaterThan(started - CLOSE_BELOW_MS);
    expect(intent?.sentAt).toBeLessThan(Date.now());
  });
});
