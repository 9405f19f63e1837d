import { setTimeout as delay } from 'node:timers/promises';
import { expectEachOrderOnce, expectNoNonceError, listed, startClients } from '../support/cluster-clients.js';
import { closeClustersLeftOpen, eventually, figures, inCluster } from '../support/cluster-world.js';
import { withPostgres, type PostgresServer } from '../support/postgres.js';
import { TcpGate } from '../support/tcp-gate.js';

/** So long before its end the primary sends its replica nothing more: what it tells meanwhile, the replica does not know. */
const BEHIND_MS = 600;

afterAll(closeClustersLeftOpen);

/** The process of the primary that sends to the replica stands still from now on. */
async function fallBehind(primary: PostgresServer): Promise<void> {
  const [sender] = await primary.query<{ pid: number }>(primary.url(), 'SELECT pid FROM pg_stat_replication');
  if (sender === undefined) throw new Error('nobody replicates');
  process.kill(sender.pid, 'SIGSTOP');
}

withPostgres('failover to a streaming replica while orders run', () => {
  it.each([
    { synchronous: true, loses: 'nothing' },
    { synchronous: false, loses: 'only what the replica had not heard of' },
  ])(
    'synchronous $synchronous: loses $loses',
    ({ synchronous }) => {
      let gate: TcpGate | undefined;
      return inCluster(
        {
          nodes: 3,
          setUp: async (world) => {
            const opened = (gate = await TcpGate.open(world.postgres.port));
            world.onClose(() => opened.close());
            return { databaseUrl: opened.through(world.databaseUrl) };
          },
        },
        async (world) => {
          const { postgres: primary, nodes } = world;
          const replica = await primary.replica({ synchronous });
          world.onClose(() => replica.remove());
          const clients = startClients(world, { orders: 24, reads: 6 });
          await eventually('a load', () => clients.orders.length > 200);
          await fallBehind(primary);
          const behindAt = Date.now();
          await delay(BEHIND_MS);
          await primary.kill();
          const killedAt = Date.now();
          await replica.promote();
          if (gate !== undefined) gate.target = replica.port;
          const promotedAt = Date.now();
          await eventually('all serve again', () =>
            nodes.every((node) => clients.good.some((good) => good.node === node && good.at > promotedAt)),
          );
          const backMs = Date.now() - promotedAt;
          const { asked, changed } = await clients.askAgain(behindAt - 1_000, killedAt);
          const repeatedMs = Date.now() - promotedAt - backMs;
          await clients.stop();
          const executed = world.sandbox.orders('master');
          const behind = new Set(
            executed
              .filter(({ openedAt }) => openedAt >= behindAt - 100 && openedAt <= killedAt + 100)
              .map(({ cl_ord_id = '' }) => cl_ord_id),
          );
          figures(`failover, ${synchronous ? 'synchronous' : 'asynchronous'}`, {
            'promoted after, ms': promotedAt - killedAt,
            'all nodes serve after another, ms': backMs,
            orders: clients.orders.length,
            'executed while the replica was behind': behind.size,
            'asked for again': asked,
            'told again after, ms': repeatedMs,
            'of these not known any more': changed.length,
            'orders executed twice':
              executed.length - new Set(executed.map(({ cl_ord_id }) => cl_ord_id)).size,
            'lost connections': listed(clients.lost),
            errors: listed(clients.errors),
            'invalid nonces': world.sandbox.invalidNonces,
          });
          expect(asked).toBeGreaterThan(0);
          expectNoNonceError(world);
          if (synchronous) {
            expect(changed).toEqual([]);
            expectEachOrderOnce(world, clients);
          } else {
            expect(changed.filter(({ id }) => !behind.has(id))).toEqual([]);
            expectEachOrderOnce(world, clients, behind);
          }
          expect(nodes.map(({ starts, process }) => ({ starts, running: process.running }))).toEqual(
            nodes.map(() => ({ starts: 1, running: true })),
          );
        },
      );
    },
    240_000,
  );
});
