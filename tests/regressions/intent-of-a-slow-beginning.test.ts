/**
 * While the database restarted an order waited for its record. What was written with it then, until when the order could
 * be executed, was reckoned from before the wait: another node that took the order over could have looked for it too
 * early, and sent it again.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { PostgresServer, withPostgres } from '../support/postgres.js';
import { SharedWorld, txidOf } from '../support/shared-world.js';

const AWAY_MS = 2_200;

withPostgres('an order that waits for the database', () => {
  let postgres: PostgresServer;
  let world: SharedWorld;
  beforeAll(async () => {
    postgres = await PostgresServer.start();
    world = await SharedWorld.open(postgres);
  }, 60_000);
  afterAll(async () => {
    await world.close();
    await postgres.remove();
  });

  it('is looked for by what is reckoned after the wait', async () => {
    const { client } = await world.node();
    await world.query(`
      CREATE TABLE public.intent (json jsonb);
      CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO public.intent VALUES (NEW.json::jsonb); RETURN NEW; END $$;
      CREATE TRIGGER note AFTER INSERT OR UPDATE ON kraken_proxy.answer
        FOR EACH ROW WHEN (NEW.state = 'under-way') EXECUTE FUNCTION public.note()`);
    await postgres.kill();
    const order = { pair: 'XBTUSD', type: 'buy', ordertype: 'market', volume: '0.001', cl_ord_id: 'bid' };
    const placing = client.private('AddOrder', order);
    await delay(AWAY_MS);
    await postgres.restart();
    const txid = txidOf(await placing);
    expect(world.orders).toEqual([[txid, 'closed']]);
    const intents = await world.query<{ until: number }>(
      `SELECT (json->>'until')::float8 AS until FROM public.intent`,
    );
    const [first, last] = [intents[0]?.until ?? NaN, intents.at(-1)?.until ?? NaN];
    expect(last - first).toBeGreaterThan(AWAY_MS - 700);
  }, 30_000);
});
