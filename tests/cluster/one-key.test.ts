import { fileURLToPath } from 'node:url';
import { Balancer, type Answered } from '../support/balancer.js';
import { expectNoNonceError } from '../support/cluster-clients.js';
import {
  closeClustersLeftOpen,
  figures,
  inCluster,
  type ClusterNode,
  type ClusterWorld,
} from '../support/cluster-world.js';
import { withPostgres } from '../support/postgres.js';
import { MASTER, noncesAt } from '../support/process-world.js';

/** `CLUSTER_CALLS=50000` for a long one. */
const CALLS = Number(process.env.CLUSTER_CALLS ?? 3_000);
const CLIENTS_A_NODE = 50;
const CLOCK_AHEAD = fileURLToPath(new URL('../support/clock-ahead.cjs', import.meta.url));
const AHEAD_MS = 60_000;
/** On a slow machine 200 clients wait long for each other. */
const PATIENT = { queue: { maxWaitMs: 60_000 } };

afterAll(closeClustersLeftOpen);

/** Each client calls its own node, one call after the other, until all calls are made. Gives all answers. */
async function callFromAll(
  { nodes }: ClusterWorld,
  calls: number,
  clientsANode: number,
): Promise<Answered[]> {
  const balancer = Balancer.open(nodes);
  const answers: Answered[] = [];
  let left = calls;
  const client = async (node: ClusterNode): Promise<void> => {
    while (left-- > 0) answers.push(await balancer.callAt(node, 'Balance', {}, 60_000));
  };
  try {
    await Promise.all(nodes.flatMap((node) => Array.from({ length: clientsANode }, () => client(node))));
  } finally {
    await balancer.close();
  }
  return answers;
}

/** Every call was answered well and reached Kraken once; none met another one, and the nonces rose. */
function expectFlawless(world: ClusterWorld, answers: readonly Answered[]): void {
  const bad = answers.filter(({ error, status }) => error.length > 0 || status !== 200);
  expect(bad.map(({ node, code, error }) => `${node.name}: ${code} ${error.join()}`)).toEqual([]);
  // Beside them each node has asked for Kraken's time once, at its start.
  expect(world.sandbox.receivedCount).toBe(answers.length + world.nodes.length);
  expect(world.sandbox.maxInFlightOf(MASTER)).toBe(1);
  expectNoNonceError(world);
}

function perNode({ nodes }: ClusterWorld, answers: readonly Answered[]): string {
  return nodes.map((node) => answers.filter((one) => one.node === node).length).join(' / ');
}

withPostgres('a cluster on one key', () => {
  it(
    `4 nodes with ${CLIENTS_A_NODE} clients each: ${CALLS} calls are answered, one in flight at a time, with rising nonces`,
    () =>
      inCluster({ nodes: 4, config: PATIENT }, async (world) => {
        const started = Date.now();
        const answers = await callFromAll(world, CALLS, CLIENTS_A_NODE);
        const seconds = (Date.now() - started) / 1_000;
        figures('4 nodes x 50 clients', {
          calls: answers.length,
          'calls/s': (answers.length / seconds).toFixed(0),
          'by node': perNode(world, answers),
          'most in flight': world.sandbox.maxInFlightOf(MASTER),
          'invalid nonces': world.sandbox.invalidNonces,
        });
        expectFlawless(world, answers);
        const served = new Set(answers.map(({ node }) => node));
        expect(served.size).toBe(4);
      }),
    60_000 + CALLS * 40,
  );

  it(
    'a node whose clock is a minute ahead: the others go on above its nonces, and no call fails',
    () =>
      inCluster(
        {
          nodes: 3,
          setUp: () => ({
            optionsOf: (index) =>
              index === 1
                ? { env: { NODE_OPTIONS: `--require ${CLOCK_AHEAD}`, CLOCK_AHEAD_MS: String(AHEAD_MS) } }
                : {},
          }),
        },
        async (world) => {
          const started = Date.now();
          const answers = await callFromAll(world, 600, 5);
          const ahead = world.nodes[1]?.log.find(({ msg }) => msg === 'listening');
          expect(Date.parse(ahead?.time ?? '')).toBeGreaterThan(started + AHEAD_MS - 30_000);
          const nonces = noncesAt(world.sandbox).map((nonce) => Number(nonce / 1_000_000n) - started);
          figures('clocks a minute apart', {
            calls: answers.length,
            'by node': perNode(world, answers),
            'first and last nonce ahead of the clock, s': `${((nonces[0] ?? 0) / 1_000).toFixed(1)} / ${((nonces.at(-1) ?? 0) / 1_000).toFixed(1)}`,
            'invalid nonces': world.sandbox.invalidNonces,
          });
          expectFlawless(world, answers);
          expect(nonces.at(-1)).toBeGreaterThan(AHEAD_MS - 30_000);
        },
      ),
    90_000,
  );
});
