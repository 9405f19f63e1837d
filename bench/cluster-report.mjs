import { availableParallelism, cpus, loadavg, release, totalmem, type } from 'node:os';
import { format } from 'prettier';
import { clusterSizes } from './cluster-sizes.mjs';
import { table, us } from './cluster-table.mjs';

/** @typedef {import('./cluster.mjs').Measurements} Measurements */

const NAMES = {
  direct: 'one client, direct',
  file: 'one node, its state in a file',
  one: 'PostgreSQL, 1 node',
  two: 'PostgreSQL, 2 nodes',
  four: 'PostgreSQL, 4 nodes',
};
const SHARED = /** @type {const} */ (['one', 'two', 'four']);

/**
 * Everything the cluster bench found, as Markdown: what is printed and kept in CLUSTER.md.
 * @param {Measurements} measurements
 * @returns {Promise<string>}
 */
export function renderReport(measurements) {
  const { quick, plan, started, seconds, sizes, postgres, of, idle, trips, most } = measurements;
  const direct = of('direct', 'oneCalm');
  const directMany = of('direct', 'manyCalm');
  /** @typedef {ReturnType<typeof of>} Summary */
  const added = (/** @type {Summary} */ { p50, p99 }, /** @type {Summary} */ base = direct) => [
    ms(p50 - base.p50),
    ms(p99 - base.p99),
  ];
  const [file, one, two] = [of('file', 'oneBusy'), of('one', 'oneBusy'), of('two', 'oneCalm')];
  const guest = of('two', 'oneGuest');

  const figures = [
    [
      'one key: PostgreSQL’s lone node, of the file’s node (calls/s)',
      percent(one.perSecond / file.perSecond),
    ],
    [
      'one key: 4 nodes, of the file’s node (calls/s)',
      percent(of('four', 'oneBusy').perSecond / file.perSecond),
    ],
    ['the lane’s way from node to node (p50)', `${ms(two.p50 - of('one', 'oneCalm').p50)} ms`],
    [
      'a call through a node while another one is busy with its key waits (p50)',
      `${ms(guest.p50 - direct.p50)} ms`,
    ],
    ['a lone node, its lane busy: round trips to the database a call', trips.loneBusy.trips.toFixed(2)],
  ];

  const oneKey = [
    row(NAMES.direct, perSecond(direct.perSecond), '100 %', '', '', '', ''),
    .../** @type {const} */ (['file', ...SHARED]).map((route) => {
      const busy = of(route, 'oneBusy');
      const each = route === 'two' || route === 'four' ? added(of(route, 'oneEach')) : ['', ''];
      const share = percent(busy.perSecond / direct.perSecond);
      return row(NAMES[route], perSecond(busy.perSecond), share, ...added(of(route, 'oneCalm')), ...each);
    }),
  ];

  const manyKeys = [
    row(
      `${sizes.keys} clients, direct, a key each`,
      perSecond(of('direct', 'manyBusy').perSecond),
      '',
      '',
      '',
    ),
    .../** @type {const} */ (['file', ...SHARED]).map((route) => {
      const busy = of(route, 'manyBusy');
      const share = percent(busy.perSecond / of('file', 'manyBusy').perSecond);
      return row(NAMES[route], perSecond(busy.perSecond), share, ...added(of(route, 'manyCalm'), directMany));
    }),
  ];

  const counted = /** @type {const} */ ([
    ['lone node, its lane busy', trips.loneBusy],
    ['lone node, one call after the other', trips.loneCalm],
    [`lone node, ${sizes.apartMs} ms between calls`, trips.loneApart],
    ['2 nodes, the lane busy', trips.bothBusy],
    ['2 nodes in turn, one call after the other', trips.bothInTurn],
  ]).map(([name, { trips, writes }]) => row(name, trips.toFixed(2), writes.toFixed(2)));

  const spent = [
    row(`${NAMES.file}: 100 keys, calm`, '', us(of('file', 'manyCalm').proxySeconds)),
    row('lone node, one key, its lane busy', us(one.databaseSeconds), us(one.proxySeconds)),
    ...SHARED.map((route) => {
      const { databaseSeconds, proxySeconds } = of(route, 'manyCalm');
      return row(`${NAMES[route]}: 100 keys, calm`, us(databaseSeconds), us(proxySeconds));
    }),
    row(
      'an idle node, a second',
      us(idle.databaseSeconds / sizes.nodes),
      us(idle.proxySeconds / (sizes.nodes + 1)),
    ),
  ];

  const atMost = most.map(({ lanes, draw, tenure }) =>
    row(
      ...[lanes.toFixed(0), perSecond(draw.perSecond), ms(draw.p50), us(draw.databaseSeconds)],
      ...[perSecond(tenure.perSecond), ms(tenure.p50), us(tenure.databaseSeconds)],
    ),
  );

  const { model = 'unknown CPU' } = cpus()[0] ?? {};
  const text = `# What several proxies on one PostgreSQL can do

${started.toISOString().slice(0, 10)}: ${model}, ${availableParallelism()} cores, ${(totalmem() / 1e9).toFixed(0)} GB, ${type()} ${release()}, Node ${process.versions.node}, PostgreSQL ${postgres} with \`fsync\` on. One run of ${seconds.toFixed(0)} s; load average at its end ${loadavg()[0]?.toFixed(1)}. Database, nodes, clients and upstream share the same cores: what 100 keys reach is this machine’s limit.${quick ? ' A quick run: too short to judge by.' : ''}

${table(['figure', 'measured'], figures)}

One key, upstream after ${sizes.upstreamMs} ms, latencies in ms:

${table(['', 'calls/s', 'of one direct client', 'added p50', 'added p99', 'one client a node: p50', 'p99'], oneKey)}

${sizes.keys} keys with a lane each (\`lanes: "key"\`), upstream after ${sizes.upstreamMs} ms, latencies in ms:

${table(['', 'calls/s', 'of the file’s node', 'added p50', 'added p99'], manyKeys)}

What a call asks of the database, nobody else calling:

${table(['', 'round trips', 'transactions that write'], counted)}

Processor time, µs a call:

${table(['', 'database', 'proxies'], spent)}

What the database does at most, asked with the proxy’s own statements without any proxy; µs of its processors:

${table(['lanes at once', 'nonces/s', 'ms each', 'µs', 'tenures/s', 'ms each', 'µs'], atMost)}

${clusterSizes(measurements)}
## How it was measured

- Real processes on loopback: \`node dist/main.js serve\`, a PostgreSQL of the bench’s own in the system’s temporary folder, the strict sandbox, which checks nonce and signature of every call, and the clients. Every reply was checked, and one error, or two calls of one key in flight at once, would have failed the run. The call is \`Balance\`. The nodes have the default config but for \`startup.windowMs: 0\`, \`pacing\` (no call costs anything on the counter, equal reads are not merged), \`queue.maxWaitMs\`, \`nonce.connections: ${sizes.keys}\`, and no journal and no doctor.
- Each node by itself answered ${plan.warmCalls.toLocaleString('en-US')} calls (or as many as in ${plan.warmMs / 1_000} s) with the upstream at once, so that V8 has compiled its code. Then every load over every route in turn for ${plan.ms / 1_000} s, rounds of that: ${plan.rounds}; calls/s are the median of the rounds, latencies are of all calls of the rounds. Added is route minus direct, quantile by quantile: the whole call through a node less the whole call of a client that signs for itself.
- One key, calls/s: ${sizes.perNode} clients a node, each one call after the other. Added latency: one client in all, each call through the next node, so that nobody waits for another’s call. One client a node: they wait for each other; of added p50 about ${sizes.upstreamMs} ms for each other node is that wait.
- ${sizes.keys} keys, calls/s: ${sizes.crowd} clients, two to a key, at different nodes. Added latency: ${sizes.walkers} clients with ${sizes.keys / sizes.walkers} keys each, one call after the other, a key’s next call through the next node.
- The busy node’s guest: ${sizes.perNode} clients at one node, and through another one a call for the same key every ${sizes.guestMs} ms.
- Round trips: counted on the wire between nodes and database (one ReadyForQuery each), less what idle nodes ask (${trips.idlePerNode.toFixed(1)} a node and second). Transactions that write: by the database’s own numbers of them; processor time: of all its processes, by the kernel. Both less what goes on when nobody calls, and the median of the rounds.
- At most: a nonce is one durable commit (\`DRAW\`); a tenure takes the lane, draws one nonce and gives it back, on two connections as a node does. The program that asks runs on the same cores.
`;
  return format(text, { parser: 'markdown' });
}

/** @param {...string} cells */
function row(...cells) {
  return cells;
}

const ms = (/** @type {number} */ value) => value.toFixed(1);
const percent = (/** @type {number} */ share) => `${(100 * share).toFixed(1)} %`;
const perSecond = (/** @type {number} */ value) => (value < 100 ? value.toFixed(1) : value.toFixed(0));
