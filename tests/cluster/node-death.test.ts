import { setTimeout as delay } from 'node:timers/promises';
import { expectEachOrderOnce, expectRisingNonces, listed, startClients } from '../support/cluster-clients.js';
import {
  closeClustersLeftOpen,
  eventually,
  figures,
  inCluster,
  THROUGH,
  type ClusterNode,
} from '../support/cluster-world.js';
import { withPostgres } from '../support/postgres.js';

/** `CLUSTER_KILLS=100` for a long run. */
const KILLS = Number(process.env.CLUSTER_KILLS ?? 8);
/** `CLUSTER_FREEZES=20` likewise. */
const FREEZES = Number(process.env.CLUSTER_FREEZES ?? 2);
const GOES_ON_WITHIN_MS = 5_000;
/** Longer than every timeout: of the call at Kraken, of the client, of the lock and of the node's own row. */
const FROZEN_MS = 12_000;

afterAll(closeClustersLeftOpen);

withPostgres('the node that holds the lane dies', () => {
  it(
    `${KILLS} times kill -9 under load: the others go on within 5 s, and each order is there once, as its client was told`,
    () =>
      inCluster({ nodes: 3, config: { upstream: { timeoutMs: 3_000 } } }, async (world) => {
        const clients = startClients(world, { orders: 24, reads: 6 });
        const gaps: number[] = [];
        for (let kill = 0; kill < KILLS; kill++) {
          let killedAt = 0;
          // In the moment in which Kraken has its call, or a little later: with an answer, or the next call, under way.
          const laterMs = kill % 2 === 0 ? 0 : kill * 1.5;
          const end = (holder: ClusterNode): void => {
            killedAt = Date.now();
            holder.process.kill('SIGKILL');
          };
          const victim = await world.onHolder((holder) => {
            if (laterMs === 0) end(holder);
          });
          if (laterMs > 0) {
            await delay(laterMs);
            end(victim);
          }
          gaps.push(await world.goesOnAfter(killedAt, victim));
          await victim.crash();
          victim.start();
          await victim.ready();
          await eventually('it serves again', () =>
            clients.good.some(({ at, node }) => node === victim && at > killedAt + 1_000),
          );
        }
        await clients.stop();
        const repeated = clients.orders.filter(({ attempts }) => attempts.length > 1).length;
        figures('kill -9 of the holder', {
          kills: KILLS,
          'others go on after, ms': gaps.join(' '),
          orders: clients.orders.length,
          repeated,
          'lost connections': listed(clients.lost),
          errors: listed(clients.errors),
          'late calls refused for their nonce': world.sandbox.invalidNonces,
        });
        expectEachOrderOnce(world, clients);
        expectRisingNonces(world);
        expect([...clients.errors.keys()].filter((error) => error.includes('Invalid nonce'))).toEqual([]);
        expect(Math.max(...gaps)).toBeLessThan(GOES_ON_WITHIN_MS);
        expect(repeated).toBeGreaterThan(0);
      }),
    60_000 + KILLS * 20_000,
  );

  it(
    `${FREEZES} times frozen for 12 s with a call in flight: the others go on, and once awake it sends nothing that Kraken takes late`,
    () =>
      inCluster({ nodes: 3, config: { upstream: { timeoutMs: 3_000 } } }, async (world) => {
        const clients = startClients(world, { orders: 24, reads: 6 });
        const gaps: number[] = [];
        const noticed: string[] = [];
        for (let freeze = 0; freeze < FREEZES; freeze++) {
          await delay(1_000);
          let frozenAt = 0;
          const victim = await world.onHolder((holder) => {
            frozenAt = Date.now();
            holder.process.kill('SIGSTOP');
          });
          const { process: frozen } = victim;
          const lines = frozen.log.length;
          await delay(FROZEN_MS);
          gaps.push(await world.goesOnAfter(frozenAt, victim));
          const receivedBefore = world.sandbox.receivedCount;
          frozen.kill('SIGCONT');
          const awakeAt = Date.now();
          await eventually('it serves again', () =>
            clients.good.some(({ at, node }) => node === victim && at > awakeAt + 500),
          );
          const late = world.sandbox.received
            .slice(receivedBefore)
            .filter(({ headers, error }) => headers[THROUGH] === victim.name && error !== undefined);
          const lost = frozen.log
            .slice(lines)
            .find(({ msg }) => msg?.includes('lane') === true && /lost|taken/.test(msg));
          noticed.push(`"${lost?.msg ?? 'nothing'}", ${late.length} calls refused by Kraken`);
          expect(lost).toBeDefined();
          expect(frozen.running).toBe(true);
        }
        await clients.stop();
        figures('frozen for 12 s', {
          freezes: FREEZES,
          'others go on after, ms': gaps.join(' '),
          'it noticed': noticed.join('; '),
          orders: clients.orders.length,
          'lost connections': listed(clients.lost),
          errors: listed(clients.errors),
          'invalid nonces': world.sandbox.invalidNonces,
        });
        expectEachOrderOnce(world, clients);
        expectRisingNonces(world);
        expect([...clients.errors.keys()].filter((error) => error.includes('Invalid nonce'))).toEqual([]);
        expect(Math.max(...gaps)).toBeLessThan(FROZEN_MS);
      }),
    60_000 + FREEZES * 60_000,
  );
});
