/**
 * The client of an order without an id hung up, and repeated it at once through another node: that one had the lane next,
 * looked for a lost reply before the first node had written one, and placed the order a second time. And when it had been
 * written, the hang-up had been noticed at the first node a moment after the repeat had come to the second.
 */
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { PostgresServer, withPostgres } from '../support/postgres.js';
import { SharedWorld, txidOf } from '../support/shared-world.js';
import { until } from '../support/until.js';

const TIMES = 8;

withPostgres('an order without an id whose client hangs up at one node', () => {
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

  it.each(['before', 'after'])(
    'is placed once when it is repeated at another, a moment %s the end is seen',
    async (moment) => {
      const [one, other] = [await world.node(), await world.node()];
      world.sandbox.fault({ kind: 'delay', endpoint: 'AddOrder', delayMs: 100, times: Infinity });
      for (let time = 1; time <= TIMES; time++) {
        const body = `pair=XBTUSD&type=buy&ordertype=limit&price=${10_000 + time}&volume=0.01`;
        const socket = connect(Number(new URL(one.url).port), '127.0.0.1');
        socket.write(
          `POST /0/private/AddOrder HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n` +
            `Content-Type: application/x-www-form-urlencoded\r\n\r\n${body}`,
        );
        await until(() =>
          world.sandbox.received.some(({ rawBody }) => rawBody.includes(`price=${10_000 + time}&`)),
        );
        const repeat = (): ReturnType<typeof other.client.private> =>
          other.client.private('AddOrder', Object.fromEntries(new URLSearchParams(body)));
        const early = moment === 'before' ? repeat() : undefined;
        // The call comes to the other node; one that is slow there comes after the end, which is no failure.
        if (early !== undefined) await delay(20);
        socket.destroy();
        const reply = await (early ?? repeat());
        expect(world.orders.map(([txid]) => txid).slice(time - 1)).toEqual([txidOf(reply)]);
      }
    },
    30_000,
  );
});
