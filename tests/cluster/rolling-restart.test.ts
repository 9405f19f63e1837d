import { expectEachOrderOnce, expectNoNonceError, listed, startClients } from '../support/cluster-clients.js';
import { closeClustersLeftOpen, eventually, figures, inCluster } from '../support/cluster-world.js';
import { withPostgres } from '../support/postgres.js';
import { MASTER } from '../support/process-world.js';

const ROUNDS = Number(process.env.CLUSTER_ROLLS ?? 1);

afterAll(closeClustersLeftOpen);

withPostgres('a rolling restart', () => {
  it(
    `of 3 nodes, ${ROUNDS} times, under load: not one call fails`,
    () =>
      inCluster({ nodes: 3, config: { listen: { drainMs: 1_000 } } }, async (world) => {
        const clients = startClients(world, { orders: 6, reads: 10, pauseMs: 200 });
        const tookMs: number[] = [];
        for (let round = 0; round < ROUNDS; round++)
          for (const node of world.nodes) {
            const { length } = clients.good;
            await eventually('a load', () => clients.good.length > length + 50);
            const started = Date.now();
            expect(await node.stop()).toEqual({ code: 0, signal: null });
            node.start();
            await node.ready();
            tookMs.push(Date.now() - started);
            await eventually('it serves again', () =>
              clients.good.some((good) => good.node === node && good.at > started + 1_500),
            );
          }
        await clients.stop();
        figures('rolling restart', {
          restarts: tookMs.length,
          'each took, ms': tookMs.join(' '),
          calls: clients.good.length,
          orders: clients.orders.length,
          failed: `${listed(clients.lost)} / ${listed(clients.errors)}`,
        });
        expect({ lost: [...clients.lost], errors: [...clients.errors] }).toEqual({ lost: [], errors: [] });
        expectEachOrderOnce(world, clients);
        expectNoNonceError(world);
        expect(world.sandbox.maxInFlightOf(MASTER)).toBe(1);
      }),
    60_000 + ROUNDS * 60_000,
  );
});
