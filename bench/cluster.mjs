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
/** @typedef {Order['clients'][number]} Places */

const { values: options } = parseArgs({
  options: { quick: { type: 'boolean', default: false } },
});
const full = { rounds: 3, ms: 2_500, warmMs: 3_000, countMs: 3_000, mostMs: 2_500, limitMs: 420_000 };
const quick = { rounds: 1, ms: 800, warmMs: 600, countMs: 1_000, mostMs: 600, limitMs: 120_000 };
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
   * @param {string} name
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
   * @returns {Places}
   */
  stays(node, key) {
    return [[node % this.urls.length, this.first + (key % KEYS)]];
  }

  /**
   * A client that calls for each of these keys in turn, each time through another node than the time before.
   * @param {number} from
   * @param {number} keys
   * @returns {Places}
   */
  walks(from, keys) {
    return this.urls.flatMap((_, round) =>
      Array.from(
        { length: keys },
        (_, key) => /** @type {const} */ ([(key + round) % this.urls.length, this.first + from + key]),
      ),
    );
  }
}

/** The loads, by name: who calls what. */
const LOADS = {
  /** One key, whose lane is always wanted by all nodes. A client of Kraken's own sends one call at a time by itself. */
  oneBusy: (/** @type {Route} */ route) => {
    const clients = route.signs ? 1 : PER_NODE * route.urls.length;
    return Array.from({ length: clients }, (_, at) => route.stays(at, 0));
  },
  /** One key, nobody to wait for: what a call costs, and the lane's way from node to node. */
  oneCalm: (/** @type {Route} */ route) => [route.walks(0, 1)],
  /** One key, one client a node: the others' calls are waited for. */
  oneEach: (/** @type {Route} */ route) => route.urls.map((_, node) => route.stays(node, 0)),
  /** 100 keys, two clients each, at different nodes. */
  manyBusy: (/** @type {Route} */ route) => {
    const clients = route.signs ? KEYS : CROWD;
    return Array.from({ length: clients }, (_, at) => route.stays(at, Math.floor((at * KEYS) / clients)));
  },
  /** 100 keys, 10 clients, each with 10 keys of its own. */
  manyCalm: (/** @type {Route} */ route) =>
    Array.from({ length: WALKERS }, (_, at) => route.walks((at * KEYS) / WALKERS, KEYS / WALKERS)),
};

/** @typedef {keyof typeof LOADS} Load */

const LOAD_NAMES = /** @type {Load[]} */ (Object.keys(LOADS));

/**
 * @param {World} world
 * @param {Order} order
 */
async function load({ clients }, order) {
  const { measured, failed } = await clients.ask(order);
  if (failed !== undefined) throw new Error(`${order.urls.join()}: ${failed}`);
  return /** @type {import('./cluster-load.mjs').Measured} */ (measured);
}

/**
 * A load over a route, with what the database and the proxies spend on it.
 * @param {World} world
 * @param {Route} route
 * @param {Load} name
 * @param {number} ms
 */
async function spend(world, route, name, ms) {
  const { database } = world;
  const proxies = ownProxies();
  const before = { writes: await database.writes(), database: database.cpuSeconds(), proxies: cpuSeconds(proxies) };
  const order = { urls: [...route.urls], clients: LOADS[name](route), signs: route.signs, ms };
  const { perSecond, latencies } = await load(world, order);
  return {
    ...{ perSecond, latencies, calls: latencies.length },
    writes: (await database.writes()) - before.writes,
    databaseSeconds: database.cpuSeconds() - before.database,
    proxySeconds: cpuSeconds(proxies) - before.proxies,
  };
}

/** @typedef {Awaited<ReturnType<typeof spend>>} Spent */

/**
 * Every load over every route in turn, round after round, so that whatever else the machine does hits all alike.
 * @param {World} world
 * @param {readonly Route[]} routes
 */
async function measureLoads(world, routes) {
  /** @type {Map<string, Spent[]>} */
  const samples = new Map();
  for (let round = 0; round < plan.rounds; round++) {
    for (const name of LOAD_NAMES) {
      for (const route of routes) {
        const at = `${route.name} ${name}`;
        const all = samples.get(at) ?? [];
        samples.set(at, all);
        all.push(await spend(world, route, name, plan.ms));
      }
    }
  }
  return (/** @type {string} */ route, /** @type {Load} */ name) => summary(samples.get(`${route} ${name}`) ?? []);
}

/** @param {readonly Spent[]} rounds */
function summary(rounds) {
  const latencies = rounds.flatMap((one) => one.latencies);
  const calls = latencies.length;
  const perCall = (/** @type {(one: Spent) => number} */ of) =>
    rounds.reduce((sum, one) => sum + of(one), 0) / calls;
  return {
    perSecond: median(rounds.map((one) => one.perSecond)),
    p50: quantile(latencies, 0.5),
    p99: quantile(latencies, 0.99),
    writes: perCall((one) => one.writes),
    databaseSeconds: perCall((one) => one.databaseSeconds),
    proxySeconds: perCall((one) => one.proxySeconds),
  };
}

/** @typedef {ReturnType<typeof summary>} Summary */

/**
 * How many round trips to the database a call takes, counted on the wire.
 * @param {World} world
 */
async function countRoundTrips(world) {
  const { relay, upstream, database } = world;
  const nodes = await startNodes(2, upstream.hello.url, sharedConfig('RELAYED_DATABASE_URL'));
  const urls = nodes.map(({ url }) => url);
  const [lone, both] = [new Route('lone', urls.slice(0, 1), 0), new Route('both', urls, 0)];
  /** Each in its turn, so that none finds the lane still held, or as another's. */
  const count = async (/** @type {() => Promise<number>} */ use) => {
    await use();
    const [before, started] = [relay.roundTrips, performance.now()];
    const calls = await use();
    return { trips: relay.roundTrips - before, calls, seconds: (performance.now() - started) / 1_000 };
  };
  const calls = (/** @type {Route} */ route, /** @type {Places[]} */ clients, /** @type {number} */ pauseMs) => async () => {
    const order = { urls: [...route.urls], clients, signs: false, ms: plan.countMs };
    const { latencies } = await load(world, pauseMs > 0 ? { ...order, pauseMs } : order);
    return latencies.length;
  };
  const cpu = database.cpuSeconds();
  const idle = await count(async () => {
    await delay(plan.countMs);
    return 0;
  });
  const idleSeconds = (database.cpuSeconds() - cpu) / (2 * idle.seconds) / nodes.length;
  const idlePerSecond = idle.trips / idle.seconds;
  const perCall = async (/** @type {() => Promise<number>} */ use) => {
    const { trips, calls: made, seconds } = await count(use);
    return (trips - idlePerSecond * seconds) / made;
  };
  const counted = {
    idlePerNode: idlePerSecond / nodes.length,
    idleSeconds,
    loneBusy: await perCall(calls(lone, LOADS.oneBusy(lone), 0)),
    loneCalm: await perCall(calls(lone, LOADS.oneCalm(lone), 0)),
    loneApart: await perCall(calls(lone, LOADS.oneCalm(lone), APART_MS)),
    bothBusy: await perCall(calls(both, LOADS.oneBusy(both), 0)),
    bothInTurn: await perCall(calls(both, LOADS.oneCalm(both), 0)),
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
    const { perSecond, latencies } = /** @type {import('./cluster-load.mjs').Measured} */ (measured);
    return {
      lanes,
      perSecond,
      p50: quantile(latencies, 0.5),
      databaseSeconds: (database.cpuSeconds() - cpu) / latencies.length,
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
  step('one call in the open');
  const shared = await startNodes(NODES, upstream.hello.url, sharedConfig('DATABASE_URL'));
  const alone = await startNodes(1, upstream.hello.url, configOf(FIRST.file, { file: 'nonce.txt' }));
  const urls = shared.map(({ url }) => url);
  const routes = [
    new Route('direct', [upstream.hello.url], FIRST.direct),
    new Route('file', alone.map(({ url }) => url), FIRST.file),
    new Route('one', urls.slice(0, 1), FIRST.shared),
    new Route('two', urls.slice(0, 2), FIRST.shared),
    new Route('four', urls, FIRST.shared),
  ];
  step('V8 compiles everybody’s code');
  for (const route of [routes[0], routes[1], routes[4]])
    if (route !== undefined) await spend(world, route, 'manyBusy', plan.warmMs);
  await upstream.ask({ delayMs: UPSTREAM_MS });
  step('loads');
  const of = await measureLoads(world, routes);
  for (const node of [...shared, ...alone]) await node.stop();
  step('round trips');
  const trips = await countRoundTrips(world);
  step('what the database can do at most');
  const most = await measureMost(world);
  return { of, trips, most };
}

async function main() {
  const started = new Date();
  const world = await openWorld();
  try {
    const measured = await measure(world);
    const seconds = (Date.now() - started.getTime()) / 1_000;
    const sizes = { keys: KEYS, perNode: PER_NODE, crowd: CROWD, walkers: WALKERS, upstreamMs: UPSTREAM_MS, apartMs: APART_MS };
    const report = await renderReport({
      ...{ quick: options.quick, plan, started, seconds, sizes, postgres: world.database.version },
      ...measured,
    });
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
