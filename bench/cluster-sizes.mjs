import { availableParallelism } from 'node:os';
import { table, us } from './cluster-table.mjs';

/** @typedef {import('./cluster.mjs').Measurements} Measurements */

const KEYS = [1_000, 10_000];
const NODES = [10, 100];
/** Kraken's own limits for what a key may call for ever, Starter and Pro (KRAKEN.md 3.1). */
const SUSTAINED = [0.33, 1];
/** Each node's connections for short statements. */
const STATEMENTS = 8;
/** More connections than this are better kept on several servers. */
const MOST_CONNECTIONS = 500;

/**
 * From what was measured, what greater clusters ask of their database: a section of Markdown, each formula with it.
 * @param {Measurements} measurements
 */
export function clusterSizes({ of, idle, trips, most, sizes }) {
  const apart = of('four', 'manyCalm');
  const draws = best(most.map(({ lanes, draw }) => ({ lanes, ...draw })));
  const tenures = best(most.map(({ lanes, tenure }) => ({ lanes, ...tenure })));
  // Too few calls to see their processor time in all that a database does beside them.
  const tookAndGave = (trips.loneBusy.trips - 1) / 2;
  const busySeconds = draws.databaseSeconds + tookAndGave * (tenures.databaseSeconds - draws.databaseSeconds);
  const busy = { ...of('one', 'oneBusy'), databaseSeconds: busySeconds };
  const beat = { writes: idle.writes / sizes.nodes, seconds: idle.databaseSeconds / sizes.nodes };
  /** How calls come: each finds the lane elsewhere, or a lane is never idle and stays where it is. */
  const ways = [
    ...SUSTAINED.map((rate) => ({ rate, spent: apart, capacity: tenures })),
    { rate: busy.perSecond, spent: busy, capacity: draws },
  ];
  const held = apart.p50 / 1_000;
  const rows = KEYS.flatMap((keys) =>
    ways.flatMap(({ rate, spent, capacity }) =>
      NODES.map((nodes) => {
        const calls = keys * rate;
        const lanes = spent === busy ? keys : calls * held;
        const connections = STATEMENTS * nodes + lanes;
        const servers = Math.max(calls / capacity.perSecond, connections / MOST_CONNECTIONS);
        return [
          ...[count(keys), rate < 10 ? String(rate) : `${rate.toFixed(0)} (at most)`, count(nodes)],
          ...[count(calls), count(calls / nodes), count(calls * spent.writes + nodes * beat.writes)],
          ...[count(connections), cores(calls * spent.databaseSeconds + nodes * beat.seconds)],
          ...[cores((calls / nodes) * spent.proxySeconds), count(Math.ceil(servers))],
        ];
      }),
    ),
  );
  const heads = ['keys', 'calls/s a key', 'nodes', 'calls/s', 'calls/s a node', 'commits/s', 'connections'];
  const most033 = tenures.perSecond / (SUSTAINED[0] ?? 1);
  const most1 = tenures.perSecond / (SUSTAINED[1] ?? 1);
  return `## Greater clusters, by arithmetic

${table([...heads, 'database cores', 'cores a node', 'databases'], rows)}

From the measured figures above:

- calls/s = keys × calls/s a key. 0.33 and 1 are what Kraken lets a key do for ever (Starter, Pro); at most: what one key’s busy lane reached here with an upstream of ${sizes.upstreamMs} ms, ${busy.perSecond.toFixed(1)}.
- At 0.33 and 1 each call finds its lane at another node: it takes it, draws and gives it back (4 nodes, 100 keys, calm): ${apart.writes.toFixed(2)} writing transactions, one of which waits for the disk, ${us(apart.databaseSeconds)} µs of the database and ${us(apart.proxySeconds)} µs of a node a call. At most: each key’s clients stay with one node (a lone node, its lane busy): ${busy.writes.toFixed(2)} transactions and ${us(busy.proxySeconds)} µs of the node a call; of the database ${us(busy.databaseSeconds)} µs: a nonce at most, and the rest of a tenure for every two round trips beyond the first.
- commits/s = calls/s × transactions a call + nodes × ${beat.writes.toFixed(1)} (each node says once a second that it is alive).
- connections = ${STATEMENTS} × nodes + one for each lane that is held: calls/s × ${(held * 1_000).toFixed(0)} ms (a whole call; a node that had the lane last as well keeps it up to 20 ms longer), one a key when lanes are always busy. A node that waits for a lane waits on a connection too; a node has \`nonce.connections\` of them (20 if not set otherwise), so calls/s a node ≤ nonce.connections / ${(held * 1_000).toFixed(0)} ms.
- database cores = calls/s × processor time a call + nodes × ${us(beat.seconds)} µs; cores a node = calls/s a node × processor time a call. A node uses one core: more than 1 in that column is more than it can do.
- databases = the greater of connections / ${MOST_CONNECTIONS} and calls/s / what the database did at most here: ${tenures.perSecond.toFixed(0)} tenures/s (${tenures.lanes} lanes at once), or, for lanes that are always busy, ${draws.perSecond.toFixed(0)} nonces/s (${draws.lanes} at once), on ${cores(tenures.perSecond * tenures.databaseSeconds)} and ${cores(draws.perSecond * draws.databaseSeconds)} cores of its own, the program that asked beside it.

Where the database becomes the limit: one like this carries ${count(most033)} keys at 0.33 calls/s or ${count(most1)} at 1, with each call at another node. At its most it used ${cores(tenures.perSecond * tenures.databaseSeconds)} of the machine’s ${availableParallelism()} cores, beside the program that asked. Commits that wait for the disk at the same moment share one flush, so more lanes at once make more of the same disk. One key never gets there: its lane has one call in flight, whatever the number of nodes.

What to do then: keys share nothing with each other, so partition them. Each group of keys gets nodes and a database of its own (another \`nonce.url\`), and a client is sent to the nodes of its key’s group. Before that: more cores for the database, and the clients of one key at one node (by the path \`/accounts/<name>\` in the load balancer), which spares taking and giving the lane. A pooler in front of the database spares only the ${STATEMENTS} connections of each node: a lane that is held is an open transaction.
`;
}

/**
 * @template {{ readonly perSecond: number }} Measured
 * @param {readonly Measured[]} all
 * @returns {Measured}
 */
function best(all) {
  return all.reduce((one, other) => (other.perSecond > one.perSecond ? other : one));
}

const cores = (/** @type {number} */ value) => (value < 10 ? value.toFixed(2) : value.toFixed(0));
const count = (/** @type {number} */ value) =>
  Number(value < 10 ? value.toFixed(1) : value.toFixed(0)).toLocaleString('en-US');
