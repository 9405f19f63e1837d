import { setTimeout as delay } from 'node:timers/promises';
import { expectEachOrderOnce, expectNoNonceError, listed, startClients } from '../support/cluster-clients.js';
import {
  closeClustersLeftOpen,
  eventually,
  figures,
  inCluster,
  THROUGH,
  type ClusterWorld,
  type NodeOptions,
} from '../support/cluster-world.js';
import { NetworkNamespace, whyNoNamespace } from '../support/network-namespace.js';
import { withPostgres } from '../support/postgres.js';
import { notHere } from '../support/process-world.js';
import { TcpGate, type Cut } from '../support/tcp-gate.js';

const CUTS = Number(process.env.CLUSTER_CUTS ?? 1);
const CUT_MS = 12_000;
/** Of three. */
const LAST = 2;
/** Ports of its own loopback: nobody else is there. */
const [CALLS, OPS, UPSTREAM] = [8787, 8788, 9000];

afterAll(closeClustersLeftOpen);

/** What lies between one node and the database. */
interface Way {
  readonly options: NodeOptions;
  readonly cut: () => void;
  readonly heal: () => void;
}

/** The node lives in a network namespace, with a cable to the database alone. */
async function byCable(world: ClusterWorld): Promise<Way> {
  const namespace = NetworkNamespace.open();
  world.onClose(() => namespace.close());
  await namespace.outOf(UPSTREAM, world.sandbox.port, world.folder);
  const [calls, ops] = [await namespace.into(CALLS, world.folder), await namespace.into(OPS, world.folder)];
  const databaseUrl = new URL(world.databaseUrl);
  databaseUrl.hostname = namespace.hostAddress;
  const options = {
    config: { listen: { port: CALLS }, ops: { port: OPS } },
    wrapper: namespace.wrapper,
    upstream: `http://127.0.0.1:${UPSTREAM}`,
    databaseUrl: databaseUrl.href,
    reachedAt: (url: string) => url.replace(/\d+$/, (port) => String(Number(port) === OPS ? ops : calls)),
  };
  return { options, cut: () => namespace.cut(), heal: () => namespace.heal() };
}

/** A relay that goes silent, in one direction or both. */
async function byGate(world: ClusterWorld, what: Cut): Promise<Way> {
  const gate = await TcpGate.open(world.postgres.port);
  world.onClose(() => gate.close());
  const options = { databaseUrl: gate.through(world.databaseUrl) };
  return { options, cut: () => gate.cut(what), heal: () => gate.heal() };
}

async function cutAndHeal(open: (world: ClusterWorld) => Promise<Way>, run: string): Promise<void> {
  let way: Way | undefined;
  const setUp = async (world: ClusterWorld): Promise<{ optionsOf: (index: number) => NodeOptions }> => {
    const { options } = (way = await open(world));
    return { optionsOf: (index) => (index === LAST ? options : {}) };
  };
  await inCluster({ nodes: LAST + 1, postgres: { listen: '0.0.0.0' }, setUp }, async (world) => {
    const apart = world.nodes[LAST];
    if (apart === undefined || way === undefined) throw new Error('there are three nodes');
    const { cut, heal } = way;
    const clients = startClients(world, { orders: 24, reads: 6 });
    const gaps: number[] = [];
    const refusals: number[] = [];
    for (let times = 0; times < CUTS; times++) {
      await delay(1_000);
      let cutAt = 0;
      // With a call of its own in flight, so that it holds the lane.
      const onArrival = (): void => {
        cutAt = Date.now();
        cut();
      };
      await world.onHolder(onArrival, [apart]);
      gaps.push(await world.goesOnAfter(cutAt, apart));
      await eventually('it says that it cannot', async () => (await apart.readiness()).status === 503);
      refusals.push(Date.now() - cutAt);
      expect(await apart.readiness()).toMatchObject({ status: 503, reason: 'not-owner' });
      const { receivedCount } = world.sandbox;
      expect(await clients.balancer.callAt(apart, 'Balance', {}, 20_000)).toMatchObject({
        status: 200,
        code: 'not-owner',
        error: ['EService:Unavailable'],
      });
      await delay(Math.max(0, cutAt + CUT_MS - Date.now()));
      const sent = world.sandbox.received.slice(receivedCount);
      expect(sent.filter(({ headers }) => headers[THROUGH] === apart.name)).toEqual([]);
      expect(sent.length).toBeGreaterThan(0);
      heal();
      const healedAt = Date.now();
      await apart.ready();
      await eventually('it serves again', () =>
        clients.good.some(({ at, node }) => node === apart && at > healedAt),
      );
    }
    await clients.stop();
    figures(run, {
      cuts: CUTS,
      'others go on after, ms': gaps.join(' '),
      '/readyz says 503 after, ms': refusals.join(' '),
      orders: clients.orders.length,
      'lost connections': listed(clients.lost),
      errors: listed(clients.errors),
      'invalid nonces': world.sandbox.invalidNonces,
    });
    expectEachOrderOnce(world, clients);
    expectNoNonceError(world);
    expect(Math.max(...gaps)).toBeLessThan(CUT_MS);
    expect({ starts: apart.starts, running: apart.process.running }).toEqual({ starts: 1, running: true });
  });
}

withPostgres('one node and the database cannot hear each other', () => {
  const why = whyNoNamespace();
  if (why !== undefined) notHere(`a network cut between one node and the database: ${why}`);
  const here = why === undefined ? it : it.skip;
  const goesOn = 'the node refuses calls, the others go on, and once healed it serves again';

  here(
    `its network cable is cut for 12 s: ${goesOn}`,
    () => cutAndHeal(byCable, 'network cut'),
    60_000 + CUTS * 60_000,
  );

  it.each(['requests', 'answers'] as const)(
    `the %s alone do not pass for 12 s: ${goesOn}`,
    (what) => cutAndHeal((world) => byGate(world, what), `${what} of the database cut`),
    60_000 + CUTS * 60_000,
  );
});
