/**
 * What several proxies on one PostgreSQL can do, and how its cost grows: `npm run bench:cluster` (under 5 minutes, writes
 * bench/CLUSTER.md) or, for CI, `npm run bench:cluster -- --quick` (under 60 s, prints only). Everything runs on loopback,
 * each part in a process of its own. Any call that fails, ends the bench with exit code 1.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { botKeys } from './bots.mjs';
import { cpuSeconds, ownProxies } from './cluster-cpu.mjs';
import { BenchDatabase } from './cluster-database.mjs';
import { Relay } from './cluster-relay.mjs';
import { renderReport } from './cluster-report.mjs';
import { killAll, openChild, RunningProxy } from './processes.mjs';
import { median, quantile } from './stats.mjs';

/** @typedef {import('./cluster-load.mjs').Order} Order */
/** @typedef {import('./cluster-load.mjs').Caller} Caller */
/** @typedef {import('./cluster-load.mjs').Measured} Measured */

const { values: options } = parseArgs({
  options: { quick: { type: 'boolean', default: false } },
});
const full = {
  rounds: 3,
  ms: 2_200,
  warmCalls: 5_000,
  warmMs: 12_000,
  countMs: 2_500,
  mostMs: 2_500,
  limitMs: 600_000,
};
const quick = {
  rounds: 1,
  ms: 600,
  warmCalls: 300,
  warmMs: 700,
  countMs: 600,
  mostMs: 400,
  limitMs: 240_000,
};
const plan = options.quick ? quick : full;
const folder = mkdtempSync(join(tmpdir(), 'kraken-signing-proxy-cluster-'));

const UPSTREAM_MS = 20;
const KEYS = 100;
/** The nodes', the file node's and those of clients that go to Kraken themselves: each key is used by one of them only. */
const FIRST = { shared: 0, file: KEYS, direct: 2 * KEYS };
const ALL_KEYS = 3 * KEYS;
const NODES = 4;
const PER_NODE = 8;
const CROWD = 200;
/** So many walk over the 100 keys when nobody is to wait for anybody. */
const WALKERS = 10;
/** A call that comes so long after the one before finds the lane given back, ms. */
const APART_MS = 60;
/** A guest at a key that another node is busy with, ms. */
const GUEST_MS = 150;
const LANES_AT_ONCE = [1, 8, 32, 64];

/** A config with all keys. `connections`: one a lane, so that lanes wait for each other nowhere. */
function configOf(/** @type {number} */ first, /** @type {object} */ nonce) {
  const keys = botKeys(ALL_KEYS).slice(first, first + KEYS);
  return {
    nonce,
    lanes: 'key',
    accounts: Object.fromEntries(keys.map(({ account, key, secret }) => [account, { key, secret }])),
    defaultAccount: keys[0]?.account,
    pacing: { costs: { Balance: 0 }, merge: false },
    journal: { enabled: false },
    // It would ask about 100 keys, one after the other, while the bench measures.
    doctor: { enabled: false },
    // On a slow machine 200 clients wait long for each other.
    queue: { maxWaitMs: 60_000 },
  };
}

/** @param {string} variable The environment variable with the database's url. */
function sharedConfig(variable) {
  return configOf(FIRST.shared, { store: 'postgres', url: { env: variable }, connections: KEYS });
}

async function openWorld() {
  const database = await BenchDatabase.start();
  const relay = new Relay(database.url);
  const relayed = new URL(database.url);
  relayed.port = String(await relay.listen());
  process.env['DATABASE_URL'] = database.url;
  process.env['RELAYED_DATABASE_URL'] = relayed.href;
  /** @type {Awaited<ReturnType<typeof openChild<{ url: string }>>>} */
  const upstream = await openChild('cluster-upstream.mjs', [ALL_KEYS]);
  const clients = await openChild('cluster-load.mjs', [ALL_KEYS]);
  return { database, relay, upstream, clients };
}

/** @typedef {Awaited<ReturnType<typeof openWorld>>} World */

/** Whom clients call: the upstream itself, the one node with its state in a file, or so many nodes that share theirs. */
class Route {
  /**
   * @param {RouteName} name
   * @param {readonly string[]} urls
   * @param {number} first The first of its keys.
   */
  constructor(name, urls, first) {
    this.name = name;
    this.urls = urls;
    this.first = first;
  }

  get signs() {
    return this.first === FIRST.direct;
  }

  /**
   * A client that stays with a node and a key.
   * @param {number} node
   * @param {number} key
   * @returns {Caller}
   */
  stays(node, key) {
    return { places: [[node % this.urls.length, this.first + (key % KEYS)]] };
  }

  /**
   * A client that calls for each of these keys in turn, each time through another node than the time before.
   * @param {number} from
   * @param {number} keys
   * @returns {Caller}
   */
  walks(from, keys) {
    const round = (/** @type {number} */ at) =>
      Array.from({ length: keys }, (_, key) => this.#place(key + at, from + key));
    return { places: this.urls.flatMap((_, at) => round(at)) };
  }

  /**
   * @param {number} node
   * @param {number} key
   */
  #place(node, key) {
    return /** @type {const} */ ([node % this.urls.length, this.first + key]);
  }
}

/** The loads, by name: who calls what. */
const LOADS = {
  /** One key, whose lane is always wanted by all nodes. */
  oneBusy: (/** @type {Route} */ route) =>
    Array.from({ length: PER_NODE * route.urls.length }, (_, at) => route.stays(at, 0)),
  /** One key, nobody to wait for: what a call costs, and the lane's way from node to node. */
  oneCalm: (/** @type {Route} */ route) => [route.walks(0, 1)],
  /** One key, one client a node: the others' calls are waited for. */
  oneEach: (/** @type {Route} */ route) => route.urls.map((_, node) => route.stays(node, 0)),
  /** One key, with which one node is busy, and now and then a call through another. */
  oneGuest: (/** @type {Route} */ route) => [
    ...Array.from({ length: PER_NODE }, () => ({ ...route.stays(0, 0), isScenery: true })),
    { ...route.stays(1, 0), pauseMs: GUEST_MS },
  ],
  /** 100 keys, two clients each, at different nodes. Whoever signs for himself has a key for himself. */
  manyBusy: (/** @type {Route} */ route) => {
    const clients = route.signs ? KEYS : CROWD;
    return Array.from({ length: clients }, (_, at) => route.stays(at, Math.floor((at * KEYS) / clients)));
  },
  /** 100 keys, 10 clients, each with 10 keys of its own. */
  manyCalm: (/** @type {Route} */ route) =>
    Array.from({ length: WALKERS }, (_, at) => route.walks((at * KEYS) / WALKERS, KEYS / WALKERS)),
};

/** Which loads say something about a route. */
const LOADS_OF = {
  direct: /** @type {const} */ (['oneCalm', 'manyBusy', 'manyCalm']),
  file: /** @type {const} */ (['oneBusy', 'oneCalm', 'manyBusy', 'manyCalm']),
  one: /** @type {const} */ (['oneBusy', 'oneCalm', 'manyBusy', 'manyCalm']),
  two: /** @type {const} */ (['oneBusy', 'oneCalm', 'oneEach', 'oneGuest', 'manyBusy', 'manyCalm']),
  four: /** @type {const} */ (['oneBusy', 'oneCalm', 'oneEach', 'manyBusy', 'manyCalm']),
};

/** @typedef {keyof typeof LOADS} Load */
/** @typedef {keyof typeof LOADS_OF} RouteName */

const LOAD_NAMES = /** @type {Load[]} */ (Object.keys(LOADS));

/**
 * @param {World} world
 * @param {Order} order
 */
async function load({ clients }, order) {
  const { measured, failed } = await clients.ask(order);
  if (failed !== undefined) throw new Error(`${order.urls.join()}: ${failed}`);
  return /** @type {Measured} */ (measured);
}

/**
 * What the database and the proxies do meanwhile.
 * @template Result
 * @param {World} world
 * @param {() => Promise<Result>} use
 */
async function meanwhile({ database }, use) {
  const proxies = ownProxies();
  const look = async () => ({
    writes: await database.writes(),
    databaseSeconds: database.cpuSeconds(),
    proxySeconds: cpuSeconds(proxies),
  });
  const before = await look();
  const result = await use();
  const after = await look();
  return {
    ...{ result, writes: after.writes - before.writes },
    databaseSeconds: after.databaseSeconds - before.databaseSeconds,
    proxySeconds: after.proxySeconds - before.proxySeconds,
  };
}

/**
 * A load over a route, with what the database and the proxies spend on it.
 * @param {World} world
 * @param {Route} route
 * @param {Load} name
 * @param {number} ms
 */
async function spend(world, route, name, ms) {
  const order = { urls: [...route.urls], clients: LOADS[name](route), signs: route.signs, ms };
  const { result, ...spent } = await meanwhile(world, () => load(world, order));
  return { ...result, ...spent };
}

/** @typedef {Awaited<ReturnType<typeof spend>>} Spent */

/**
 * What is spent when nobody calls, in a second.
 * @param {World} world
 */
async function measureIdle(world) {
  const seconds = (2 * plan.countMs) / 1_000;
  const { writes, databaseSeconds, proxySeconds } = await meanwhile(world, () => delay(seconds * 1_000));
  return {
    writes: writes / seconds,
    databaseSeconds: databaseSeconds / seconds,
    proxySeconds: proxySeconds / seconds,
  };
}

/** @typedef {Awaited<ReturnType<typeof measureIdle>>} Idle */

/**
 * Every load over every route in turn, round after round, so that whatever else the machine does hits all alike.
 * @param {World} world
 * @param {readonly Route[]} routes
 * @param {Idle} idle
 */
async function measureLoads(world, routes, idle) {
  /** @type {Map<string, Spent[]>} */
  const samples = new Map();
  for (let round = 0; round < plan.rounds; round++) {
    for (const name of LOAD_NAMES) {
      for (const route of routes) {
        if (!(/** @type {readonly Load[]} */ (LOADS_OF[route.name]).includes(name))) continue;
        const at = `${route.name} ${name}`;
        const all = samples.get(at) ?? [];
        samples.set(at, all);
        all.push(await spend(world, route, name, plan.ms));
      }
    }
  }
  return (/** @type {RouteName} */ route, /** @type {Load} */ name) =>
    summary(samples.get(`${route} ${name}`) ?? [], idle);
}

/**
 * @param {readonly Spent[]} rounds
 * @param {Idle} idle
 */
function summary(rounds, idle) {
  const latencies = rounds.flatMap((one) => one.latencies);
  // The median: in some round the database cleans up behind all loads (autovacuum, a checkpoint, idle connections).
  const perCall = (/** @type {keyof Idle} */ what) =>
    median(rounds.map((one) => Math.max(0, one[what] - idle[what] * one.seconds) / one.calls));
  return {
    perSecond: median(rounds.map((one) => one.calls / one.seconds)),
    p50: quantile(latencies, 0.5),
    p99: quantile(latencies, 0.99),
    writes: perCall('writes'),
    databaseSeconds: perCall('databaseSeconds'),
    proxySeconds: perCall('proxySeconds'),
  };
}

/** @typedef {ReturnType<typeof summary>} Summary */

/**
 * How many round trips to the database a call takes, and how many transactions that write.
 * @param {World} world
 */
async function countRoundTrips(world) {
  const { relay, upstream } = world;
  const nodes = await startNodes(2, upstream.hello.url, sharedConfig('RELAYED_DATABASE_URL'));
  const urls = nodes.map(({ url }) => url);
  const [lone, both] = [
    new Route('one', urls.slice(0, 1), FIRST.shared),
    new Route('two', urls, FIRST.shared),
  ];
  const seconds = (2 * plan.countMs) / 1_000;
  const before = relay.roundTrips;
  const { writes: idleWrites } = await meanwhile(world, () => delay(seconds * 1_000));
  const idle = { trips: (relay.roundTrips - before) / seconds, writes: idleWrites / seconds };
  const perCall = async (/** @type {Route} */ route, /** @type {Caller[]} */ clients) => {
    const order = { urls: [...route.urls], clients, signs: false, ms: plan.countMs };
    await load(world, { ...order, ms: plan.countMs / 4 }); // so that all connections are made
    const before = relay.roundTrips;
    const { result, writes } = await meanwhile(world, () => load(world, order));
    const { calls, seconds } = result;
    const trips = relay.roundTrips - before;
    return {
      trips: (trips - idle.trips * seconds) / calls,
      writes: (writes - idle.writes * seconds) / calls,
    };
  };
  const counted = {
    idlePerNode: idle.trips / nodes.length,
    loneBusy: await perCall(lone, LOADS.oneBusy(lone)),
    loneCalm: await perCall(lone, LOADS.oneCalm(lone)),
    loneApart: await perCall(lone, [{ ...lone.stays(0, 0), pauseMs: APART_MS }]),
    bothBusy: await perCall(both, LOADS.oneBusy(both)),
    bothInTurn: await perCall(both, LOADS.oneCalm(both)),
  };
  for (const node of nodes) await node.stop();
  return counted;
}

/**
 * What one database can do at most, on this disk and these processors, which it shares with the program that asks it.
 * @param {World} world
 */
async function measureMost({ database }) {
  const asker = await openChild('cluster-lanes.mjs');
  const measure = async (/** @type {number} */ lanes, /** @type {boolean} */ whole) => {
    const cpu = database.cpuSeconds();
    const { measured, failed } = await asker.ask({ lanes, ms: plan.mostMs, whole });
    if (failed !== undefined) throw new Error(`the database: ${failed}`);
    const { calls, seconds, latencies } = /** @type {Measured} */ (measured);
    return {
      perSecond: calls / seconds,
      p50: quantile(latencies, 0.5),
      databaseSeconds: (database.cpuSeconds() - cpu) / calls,
    };
  };
  await measure(8, true); // V8 compiles the asker's code first
  const most = [];
  for (const lanes of LANES_AT_ONCE)
    most.push({ lanes, draw: await measure(lanes, false), tenure: await measure(lanes, true) });
  await asker.stop();
  return most;
}

/**
 * @param {number} count
 * @param {string} upstream
 * @param {object} config
 */
async function startNodes(count, upstream, config) {
  const starting = Array.from({ length: count }, () => RunningProxy.spawn(upstream, folder, config));
  const nodes = await Promise.all(starting);
  await Promise.all(nodes.map((node) => node.ready()));
  return nodes;
}

/** @param {World} world */
async function measure(world) {
  const { upstream } = world;
  step('a database, and the proxies');
  const shared = await startNodes(NODES, upstream.hello.url, sharedConfig('DATABASE_URL'));
  const alone = await startNodes(1, upstream.hello.url, configOf(FIRST.file, { file: 'nonce.txt' }));
  const urls = shared.map(({ url }) => url);
  const routes = [
    new Route('direct', [upstream.hello.url], FIRST.direct),
    new Route(
      'file',
      alone.map(({ url }) => url),
      FIRST.file,
    ),
    new Route('one', urls.slice(0, 1), FIRST.shared),
    new Route('two', urls.slice(0, 2), FIRST.shared),
    new Route('four', urls, FIRST.shared),
  ];
  // Before all calls: the database cleans up behind them (autovacuum), and that is part of their cost.
  const idle = await measureIdle(world);
  step('V8 compiles everybody’s code');
  // Each node by itself: of few calls among four nodes none would get there.
  const lone = shared.map(({ url }) => new Route('one', [url], FIRST.shared));
  for (const route of [...routes.slice(0, 2), ...lone]) {
    const order = { urls: [...route.urls], clients: LOADS.manyBusy(route), signs: route.signs };
    await load(world, { ...order, calls: plan.warmCalls, ms: plan.warmMs });
  }
  await upstream.ask({ delayMs: UPSTREAM_MS });
  step('loads');
  const of = await measureLoads(world, routes, idle);
  for (const node of [...shared, ...alone]) await node.stop();
  step('round trips');
  const trips = await countRoundTrips(world);
  const { mostInFlight } = await upstream.ask({});
  if (mostInFlight !== 1) throw new Error(`${mostInFlight} calls of one key were in flight at once`);
  step('what the database can do at most');
  const most = await measureMost(world);
  return { of, idle, trips, most };
}

/**
 * @typedef {Awaited<ReturnType<typeof measure>> & { quick: boolean, plan: typeof plan, started: Date, seconds: number,
 *   sizes: Record<'keys' | 'nodes' | 'perNode' | 'crowd' | 'walkers' | 'upstreamMs' | 'apartMs' | 'guestMs', number>,
 *   postgres: string }} Measurements
 */

async function main() {
  const started = new Date();
  const world = await openWorld();
  try {
    const found = await measure(world);
    const seconds = (Date.now() - started.getTime()) / 1_000;
    const sizes = {
      ...{ keys: KEYS, nodes: NODES, perNode: PER_NODE, crowd: CROWD, walkers: WALKERS },
      ...{ upstreamMs: UPSTREAM_MS, apartMs: APART_MS, guestMs: GUEST_MS },
    };
    const about = { quick: options.quick, plan, started, seconds, sizes, postgres: world.database.version };
    const report = await renderReport({ ...about, ...found });
    process.stdout.write(report);
    if (!options.quick) writeFileSync(new URL('CLUSTER.md', import.meta.url), report);
  } finally {
    await world.clients.stop();
    await world.upstream.stop();
    world.relay.close();
    await world.database.stop();
  }
}

/** @param {string} text */
function step(text) {
  process.stderr.write(`bench: ${text}\n`);
}

/** @param {string} why */
function giveUp(why) {
  process.stderr.write(`bench failed: ${why}\n`);
  process.exit(1);
}

process.on('exit', () => {
  killAll();
  rmSync(folder, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => giveUp(signal));
setTimeout(() => giveUp(`not done within ${plan.limitMs} ms`), plan.limitMs).unref();
main().catch((error) => giveUp(error instanceof Error ? (error.stack ?? error.message) : String(error)));
