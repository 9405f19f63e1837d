import { setTimeout as delay } from 'node:timers/promises';
import {
  expectEachOrderOnce,
  expectNoNonceError,
  listed,
  startClients,
  type PlacedOrder,
} from '../support/cluster-clients.js';
import { closeClustersLeftOpen, eventually, figures, inCluster } from '../support/cluster-world.js';
import { withPostgres } from '../support/postgres.js';

const ROUNDS = Number(process.env.CLUSTER_DATABASE_KILLS ?? 2);
/** The first time it is back before calls give up waiting for it, then only after all know that it is gone. */
const AWAY_MS = [1_500, 12_000];

/** Certainly not sent: the database is away, or the call has waited for it as long as calls wait. */
const CLEAN = new Set(['not-owner: EService:Unavailable', 'queue-timeout: EService:Busy']);
/** Longer than a statement is waited for. */
const FROZEN_MS = 8_000;

afterAll(closeClustersLeftOpen);

withPostgres('the database dies', () => {
  it(
    `${ROUNDS} times kill -9 and a restart under load: no order is lost or there twice, and all nodes serve again by themselves`,
    () =>
      inCluster({ nodes: 3 }, async (world) => {
        const { nodes, postgres } = world;
        const clients = startClients(world, { orders: 24, reads: 6 });
        const back: number[] = [];
        const said = new Set<string>();
        const changed: PlacedOrder[] = [];
        let repeated = 0;
        for (let round = 0; round < ROUNDS; round++) {
          await eventually('a load', () => clients.good.length > 100 * (round + 1));
          const awayMs = AWAY_MS[round % AWAY_MS.length] ?? 0;
          await postgres.kill();
          const killedAt = Date.now();
          const isLong = awayMs > 10_000;
          while (Date.now() < killedAt + awayMs) {
            for (const node of nodes) {
              const { status, reason } = await node.readiness();
              said.add(`${status} ${reason}`.trim());
            }
            await delay(50);
          }
          if (isLong)
            for (const node of nodes)
              expect(await node.readiness()).toMatchObject({ status: 503, reason: 'not-owner' });
          await postgres.restart();
          const restartedAt = Date.now();
          for (const node of nodes) {
            await node.ready();
            await eventually(`${node.name} serves again`, () =>
              clients.good.some((good) => good.node === node && good.at > restartedAt),
            );
          }
          back.push(Date.now() - restartedAt);
          const again = await clients.askAgain(killedAt - 1_500, killedAt);
          repeated += again.asked;
          changed.push(...again.changed);
        }
        await clients.stop();
        figures('kill -9 of the database', {
          kills: ROUNDS,
          'all nodes serve again after, ms': back.join(' '),
          'asked for again of the last moments before': repeated,
          '/readyz meanwhile': [...said].join(', '),
          orders: clients.orders.length,
          'lost connections': listed(clients.lost),
          errors: listed(clients.errors),
          'invalid nonces': world.sandbox.invalidNonces,
        });
        expect(changed).toEqual([]);
        expectEachOrderOnce(world, clients);
        expectNoNonceError(world);
        expect([...clients.lost.keys()].filter((code) => code !== 'TIMEOUT')).toEqual([]);
        expect([...clients.errors.keys()].filter((error) => !CLEAN.has(error))).toEqual([]);
        expect(nodes.map(({ starts, process }) => ({ starts, running: process.running }))).toEqual(
          nodes.map(() => ({ starts: 1, running: true })),
        );
        expect(said).toContain('503 not-owner');
      }),
    60_000 + ROUNDS * 60_000,
  );

  it(
    'it stands still for 8 s under load: what it does late does no harm, and no order is lost or there twice',
    () =>
      inCluster({ nodes: 3 }, async (world) => {
        const { nodes, postgres } = world;
        const clients = startClients(world, { orders: 24, reads: 6 });
        world.onClose(() => postgres.thaw());
        await eventually('a load', () => clients.good.length > 100);
        await postgres.freeze();
        await delay(FROZEN_MS);
        await postgres.thaw();
        const thawedAt = Date.now();
        for (const node of nodes)
          await eventually(`${node.name} serves again`, () =>
            clients.good.some((good) => good.node === node && good.at > thawedAt),
          );
        const backMs = Date.now() - thawedAt;
        await clients.stop();
        figures('a database that stands still', {
          'all nodes serve again after, ms': backMs,
          orders: clients.orders.length,
          'lost connections': listed(clients.lost),
          errors: listed(clients.errors),
          'invalid nonces': world.sandbox.invalidNonces,
        });
        expectEachOrderOnce(world, clients);
        expectNoNonceError(world);
        expect([...clients.lost.keys()].filter((code) => code !== 'TIMEOUT')).toEqual([]);
        expect([...clients.errors.keys()].filter((error) => !CLEAN.has(error))).toEqual([]);
      }),
    120_000,
  );
});
