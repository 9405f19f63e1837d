/**
 * What the proxy costs: `npm run bench` (under 6 minutes, writes bench/RESULTS.md) or, for CI,
 * `npm run bench -- --quick` (under 40 s, prints only). Everything runs on loopback, each part in a process of its
 * own. Any call that fails, ends the bench with exit code 1; an aim that is missed does not.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { botKeys, MOST_CLIENTS, PROXY_ACCOUNT } from './bots.mjs';
import { killAll, openChild, RunningProxy } from './processes.mjs';
import { renderReport } from './report.mjs';
import { median } from './stats.mjs';

/** @typedef {import('./load.mjs').Order} Order */
/** @typedef {import('./load.mjs').Measured} Measured */

const { values: options } = parseArgs({
  options: { quick: { type: 'boolean', default: false } },
});
const full = {
  latency: { rounds: 30, calls: 800, warmup: 100, first: 5_000 },
  atOnce: { rounds: 4, ms: 1_500, first: 5_000 },
  after20: { rounds: 4, ms: 3_000, first: 5_000 },
  micro: { rounds: 9 },
  starts: 9,
  memoryCalls: 100_000,
  limitMs: 480_000,
};
const quick = {
  latency: { rounds: 3, calls: 200, warmup: 30, first: 600 },
  atOnce: { rounds: 1, ms: 500, first: 600 },
  after20: { rounds: 1, ms: 600, first: 600 },
  micro: { rounds: 1 },
  starts: 1,
  memoryCalls: 2_000,
  limitMs: 120_000,
};
const plan = options.quick ? quick : full;
const folder = mkdtempSync(join(tmpdir(), 'kraken-signing-proxy-bench-'));

/**
 * An upstream, a proxy and a forward in front of it, and clients.
 * @template Result
 * @param {(world: { routes: Routes, load: (order: Order) => Promise<Measured>, proxy: RunningProxy, slowDown: (delayMs: number) => Promise<unknown> }) => Promise<Result>} use
 */
async function inWorld(use) {
  const upstream = await openUpstream();
  const proxy = await RunningProxy.spawn(upstream.hello.url, folder);
  const guarded = await RunningProxy.spawn(upstream.hello.url, folder, { clients: clientsOfBots() });
  const bare = await RunningProxy.spawn(upstream.hello.url, folder, { journal: { enabled: false } });
  const watched = await RunningProxy.spawn(upstream.hello.url, folder);
  /** @type {Awaited<ReturnType<typeof openChild<{ keepAlive: string, asItComes: string }>>>} */
  const forward = await openChild('forward.mjs', [upstream.hello.url]);
  const clients = await openChild('load.mjs');
  await Promise.all([proxy, guarded, bare, watched].map((one) => one.ready()));
  watched.watch();
  const routes = {
    direct: { url: upstream.hello.url, signs: true },
    proxy: { url: proxy.url, signs: false },
    proxyWithClients: { url: guarded.url, signs: true },
    proxyBare: { url: bare.url, signs: false },
    proxyWatched: { url: watched.url, signs: false },
    forward: { url: forward.hello.keepAlive, signs: true },
    forwardAsItComes: { url: forward.hello.asItComes, signs: true },
  };
  const load = async (/** @type {Order} */ order) => {
    const { measured, failed } = await clients.ask(order);
    if (failed !== undefined) throw new Error(`${order.url}: ${failed}`);
    return /** @type {Measured} */ (measured);
  };
  const slowDown = (/** @type {number} */ delayMs) => upstream.ask({ delayMs });
  const result = await use({ routes, load, proxy, slowDown });
  for (const part of [clients, forward, proxy, guarded, bare, watched, upstream]) await part.stop();
  return result;
}

/** Every bot of the load as a client of the proxy with its own key and secret. */
function clientsOfBots() {
  const clients = botKeys(MOST_CLIENTS).map(({ key, secret }) => [
    key,
    { key, secret, accounts: [PROXY_ACCOUNT] },
  ]);
  return Object.fromEntries(clients);
}

/** @typedef {{ [name in 'direct' | 'proxy' | 'proxyWithClients' | 'proxyBare' | 'proxyWatched' | 'forward' | 'forwardAsItComes']: { url: string, signs: boolean } }} Routes */

/** @returns {Promise<Awaited<ReturnType<typeof openChild<{ url: string }>>>>} */
function openUpstream() {
  return openChild('upstream.mjs');
}

/**
 * One sequential client over every route in turn, round after round, so that whatever else the machine does
 * hits all alike. What a route adds is taken within a round and the median over the rounds.
 */
function measureLatency() {
  const { rounds, calls, warmup, first } = plan.latency;
  return inWorld(async ({ routes, load }) => {
    const samples = {
      direct: newSamples(),
      forward: newSamples(),
      forwardAsItComes: newSamples(),
      proxy: newSamples(),
      proxyWithClients: newSamples(),
      proxyBare: newSamples(),
      proxyWatched: newSamples(),
    };
    for (let round = 0; round <= rounds; round++) {
      /** @type {Measured | undefined} */
      let direct;
      for (const name of /** @type {(keyof typeof samples)[]} */ (Object.keys(samples))) {
        // Two new connections a call: fewer calls, or the machine runs out of ports.
        const few = name === 'forwardAsItComes' ? 6 : 1;
        const count = round === 0 ? first : calls; // V8 has compiled everybody's code after the first
        const order = { ...routes[name], clients: 1, warmup: warmup / few, calls: Math.ceil(count / few) };
        const measured = await load(order);
        direct ??= measured;
        if (round === 0) continue;
        samples[name].p50.push(measured.p50);
        samples[name].p99.push(measured.p99);
        samples[name].addedP50.push(measured.p50 - direct.p50);
        samples[name].addedP99.push(measured.p99 - direct.p99);
      }
    }
    return {
      direct: medians(samples.direct),
      forward: medians(samples.forward),
      forwardAsItComes: medians(samples.forwardAsItComes),
      proxy: medians(samples.proxy),
      proxyWithClients: medians(samples.proxyWithClients),
      proxyBare: medians(samples.proxyBare),
      proxyWatched: medians(samples.proxyWatched),
      // Within a round, so that what the machine does meanwhile hits both.
      watchingP50: median(
        samples.proxyWatched.p50.map((p50, at) => p50 - (samples.proxyBare.p50[at] ?? NaN)),
      ),
    };
  });
}

function newSamples() {
  return {
    p50: /** @type {number[]} */ ([]),
    p99: /** @type {number[]} */ ([]),
    addedP50: /** @type {number[]} */ ([]),
    addedP99: /** @type {number[]} */ ([]),
  };
}

/** @param {ReturnType<typeof newSamples>} samples */
function medians({ p50, p99, addedP50, addedP99 }) {
  return { p50: median(p50), p99: median(p99), addedP50: median(addedP50), addedP99: median(addedP99) };
}

/**
 * Calls per second over every route in turn; the median of the rounds.
 * @param {number} delayMs
 * @param {{ rounds: number, ms: number, first: number }} plan
 */
function measureRates(delayMs, { rounds, ms, first }) {
  return inWorld(async ({ routes, load, slowDown }) => {
    const crowd = { clients: MOST_CLIENTS, warmup: 1, ms };
    const alone = { clients: 1, warmup: 10, ms };
    const orders = {
      directAlone: { ...routes.direct, ...alone },
      proxyCrowd: { ...routes.proxy, ...crowd },
      forwardAlone: { ...routes.forward, ...alone },
      forwardCrowd: { ...routes.forward, ...crowd },
    };
    const rates = { directAlone: NaN, proxyCrowd: NaN, forwardAlone: NaN, forwardCrowd: NaN };
    const names = /** @type {(keyof typeof orders)[]} */ (Object.keys(orders));
    const samples = new Map(names.map((name) => [name, /** @type {number[]} */ ([])]));
    // V8 compiles everybody's code first: 45 calls a second would not get it there.
    for (const name of names) await load({ ...orders[name], ms: undefined, calls: first });
    if (delayMs > 0) await slowDown(delayMs);
    for (let round = 0; round < rounds; round++) {
      for (const name of names) samples.get(name)?.push((await load(orders[name])).perSecond);
    }
    for (const name of names) rates[name] = median(samples.get(name) ?? []);
    return rates;
  });
}

async function measureSteps() {
  /** @type {Awaited<ReturnType<typeof openChild<{ nonceNs: number, waited: number, writes: number, signatureUs: number, bodyUs: number }>>>} */
  const micro = await openChild('micro.mjs', [folder, plan.micro.rounds]);
  await micro.stop();
  return micro.hello;
}

/** Starts proxies, one after the other. The first warms the disk's cache and our own code and is not counted. */
async function measureStarts() {
  const upstream = await openUpstream();
  const toAnswer = [];
  const firstCalls = [];
  for (let start = 0; start <= plan.starts; start++) {
    const answering = await RunningProxy.spawn(upstream.hello.url, folder);
    await answering.firstAnswer();
    toAnswer.push(performance.now() - answering.started);
    await answering.stop();

    const calm = await RunningProxy.spawn(upstream.hello.url, folder);
    await calm.ready();
    const sent = performance.now();
    await calm.firstAnswer();
    firstCalls.push(performance.now() - sent);
    await calm.stop();
  }
  await upstream.stop();
  return {
    starts: plan.starts,
    toAnswerMs: median(toAnswer.slice(1)),
    firstCallMs: median(firstCalls.slice(1)),
  };
}

/** A fresh proxy's memory before and after calls from 50 clients, read while the clients are still connected. */
function measureMemory() {
  const calls = plan.memoryCalls;
  return inWorld(async ({ routes, load, proxy }) => {
    await delay(1_000);
    const idle = await proxy.memory();
    const order = { ...routes.proxy, clients: MOST_CLIENTS, warmup: 0, calls };
    await load(order);
    const after = await proxy.memory();
    await load(order);
    return { calls, idle, after, afterTwice: await proxy.memory() };
  });
}

async function main() {
  const started = new Date();
  const step = (/** @type {string} */ text) => process.stderr.write(`bench: ${text}\n`);
  step('single steps of a call');
  const steps = await measureSteps();
  step('starts');
  const starts = await measureStarts();
  step('added latency');
  const latency = await measureLatency();
  step('calls per second, upstream at once');
  const atOnce = await measureRates(0, plan.atOnce);
  step('calls per second, upstream after 20 ms');
  const after20 = await measureRates(20, plan.after20);
  step('memory');
  const memory = await measureMemory();
  const seconds = (Date.now() - started.getTime()) / 1_000;
  const report = await renderReport({
    quick: options.quick,
    plan,
    started,
    seconds,
    latency,
    atOnce,
    after20,
    steps,
    starts,
    memory,
  });
  process.stdout.write(report);
  if (!options.quick) writeFileSync(new URL('RESULTS.md', import.meta.url), report);
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
