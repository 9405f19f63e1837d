/**
 * Whether what bots are told of their orders is true, whatever happens on the way: `npm run test:orders` (10,000 orders
 * from 10 bots; `ORDERS=600` for the short form, `SEED=…` to draw the same again). A strict stand-in for Kraken fails in
 * every way it knows, the proxy is killed with kill -9 every few seconds, and in the end every order is looked for.
 * Ends with 1, and the whole story of each order concerned, when a bot was told something that is not so.
 *
 * `NODES=4` with the url of a new, migrated database in `DATABASE_URL` does the same to four proxies that share their
 * state there: the bots go from one to the other, with a call that was not answered above all. `LOGS=<folder>` keeps
 * what the proxies have logged and what Kraken received.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { DEMO_KEYS } from '../dist/sandbox/demo-keys.js';
import { openSandbox } from '../dist/sandbox/sandbox.js';
import { freePort } from '../tests/support/free-port.mjs';
import { Book, Bot } from './bots.mjs';
import { Chance } from './chance.mjs';
import { MortalProxies, MortalProxy } from './mortal-proxy.mjs';
import { reportOf } from './report.mjs';
import { LONGEST_MS, Trouble } from './trouble.mjs';
import { judge, storyOf } from './verdict.mjs';

/** @typedef {import('../dist/sandbox/sandbox.js').Sandbox} Sandbox */

const ORDERS = Number(process.env.ORDERS ?? 10_000);
const SEED = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
const NODES = Number(process.env.NODES ?? 1);
const DATABASE_URL = process.env.DATABASE_URL ?? '';
const BOTS = 10;
/** Lives of the proxy, or from one node's death to the next one's, ms: most end within seconds, and now and then one is long enough for all that was begun. */
const LIFE_MS = /** @type {const} */ ([3_000, 7_000]);
const LONG_LIFE_MS = /** @type {const} */ ([15_000, 25_000]);
const LONG_LIFE_EVERY = 5;
const LIMIT_MS = 60_000 + ORDERS * 150;
/** Of the stories told; a bug that hits everything need not tell it ten thousand times. */
const MOST_STORIES = 8;

const folder = mkdtempSync(join(tmpdir(), 'kraken-signing-proxy-orders-'));
/** @type {MortalProxies | undefined} */
let proxies;

/** @param {string} name @param {string} upstream @param {number} port */
function writeConfig(name, upstream, port) {
  const accounts = DEMO_KEYS.map(({ account, key, secret }) => [account, { key, secret }]);
  const clients = botNames().map(({ name, account }) => [name, { key: name, accounts: [account] }]);
  const config = {
    listen: { port },
    ops: { port: 0 },
    upstream: { url: upstream, timeoutMs: 1_000 },
    nonce: NODES > 1 ? { store: 'postgres', url: { env: 'DATABASE_URL' } } : { file: 'nonce.txt' },
    startup: { windowMs: 0 },
    queue: { maxWaitMs: 8_000 },
    pacing: { enabled: false },
    lanes: 'key',
    accounts: Object.fromEntries(accounts),
    clients: Object.fromEntries(clients),
  };
  const own = join(folder, name);
  mkdirSync(own);
  const file = join(own, 'proxy.config.json');
  writeFileSync(file, JSON.stringify(config));
  return file;
}

/** @param {string} upstream */
async function openProxies(upstream) {
  const chance = new Chance(Date.now());
  const all = [];
  for (let number = 1; number <= NODES; number++) {
    const [name, port] = [`proxy-${number}`, await freePort()];
    const config = writeConfig(name, upstream, port);
    all.push(new MortalProxy({ name, port, config, env: NODES > 1 ? { DATABASE_URL } : {} }));
  }
  return new MortalProxies(all);
}

/** The bots take turns with the accounts. */
function botNames() {
  return Array.from({ length: BOTS }, (_, index) => ({
    name: `bot-${index}`,
    account: DEMO_KEYS[index % DEMO_KEYS.length]?.account ?? '',
  }));
}

/**
 * Kills the proxy again and again: at any moment, as it starts, and in the moment in which Kraken has an order that it
 * is about to execute. Of several, one at a time.
 * @param {MortalProxies} mortals @param {{ trouble: Trouble, sandbox: Sandbox }} world @param {Chance} chance
 * @param {AbortSignal} signal
 */
async function killAgainAndAgain(mortals, { trouble, sandbox }, chance, signal) {
  const kill = (/** @type {MortalProxy} */ mortal) => {
    if (mortal.kill()) trouble.orphaned();
  };
  const wait = (/** @type {number} */ ms) => delay(ms, true, { signal }).catch(() => false);
  for (let life = 1; ; life++) {
    const [shortest, longest] = life % LONG_LIFE_EVERY === 0 ? LONG_LIFE_MS : LIFE_MS;
    if (!(await wait(chance.between(shortest, longest)))) break;
    const moment = chance.oneOf(['any', 'any', 'starting', 'arrival', 'arrival']);
    const mortal = mortals.other(chance);
    if (moment !== 'arrival') kill(mortal);
    else
      trouble.onArrival = () => {
        trouble.onArrival = () => undefined;
        kill(mortals.named(throughOf(sandbox)) ?? mortal);
      };
    if (moment === 'starting' && (await wait(chance.between(50, 600)))) kill(mortal);
  }
  trouble.onArrival = () => undefined;
}

/** The proxy that the latest call came through; undefined when it is a proxy's own. @param {Sandbox} sandbox */
function throughOf(sandbox) {
  const through = sandbox.received.at(-1)?.headers['x-through'];
  return typeof through === 'string' ? through : undefined;
}

async function main() {
  if (NODES > 1 && DATABASE_URL === '') giveUp('several nodes need DATABASE_URL');
  const chance = new Chance(SEED);
  const trouble = new Trouble(new Chance(chance.seed()));
  const sandbox = await openSandbox({
    keys: DEMO_KEYS,
    callCounter: false,
    keepReceived: 1_000_000,
    random: trouble.random,
  });
  const mortals = (proxies = await openProxies(sandbox.url));
  const book = new Book(ORDERS);
  const bots = botNames().map(
    (one) => new Bot({ ...one, chance: new Chance(chance.seed()), book, proxies: mortals }),
  );
  process.stdout.write(`orders: ${ORDERS} from ${BOTS} bots by ${NODES} proxies, seed ${SEED}\n`);
  const started = performance.now();
  for (const mortal of mortals.all) {
    mortal.onEnd = (how) => giveUp(`a proxy ended by itself: ${how}`);
    mortal.start();
  }
  trouble.arm(sandbox);
  const stop = new AbortController();
  const world = { trouble, sandbox };
  const killing = killAgainAndAgain(mortals, world, new Chance(chance.seed()), stop.signal);
  const told = setInterval(() => {
    const seconds = ((performance.now() - started) / 1_000).toFixed(0);
    process.stderr.write(`orders: ${book.orders.length} after ${seconds} s, ${mortals.kills} kills\n`);
  }, 30_000).unref();
  const running = Promise.all(bots.map((bot) => bot.run()));
  await Promise.race([running, full(book)]);
  // The last calls come to their end in peace, or it would never come.
  stop.abort();
  await killing;
  sandbox.clearFaults();
  await running;
  clearInterval(told);
  const seconds = (performance.now() - started) / 1_000;
  await delay(LONGEST_MS); // what is still on its way arrives
  const ends = await mortals.close();
  const accounts = DEMO_KEYS.map(({ account }) => account);
  const evidence = { book, sandbox, trouble, log: mortals.log, accounts };
  const violations = judge(evidence);
  for (const what of ends) violations.push({ what });
  if (mortals.stderr !== '') violations.push({ what: `a proxy wrote: ${mortals.stderr.slice(-2_000)}` });
  process.stdout.write(reportOf(evidence, { seconds, kills: mortals.kills, violations: violations.length }));
  for (const { what, call } of violations.slice(0, MOST_STORIES))
    process.stdout.write(`\nVIOLATION: ${what}\n${call === undefined ? '' : storyOf(evidence, call)}\n`);
  if (violations.length > MOST_STORIES)
    for (const { what } of violations.slice(MOST_STORIES)) process.stdout.write(`VIOLATION: ${what}\n`);
  if (process.env.LOGS !== undefined) keepLogs(process.env.LOGS, mortals, sandbox);
  await sandbox.close();
  process.exit(violations.length === 0 ? 0 : 1);
}

/** What the proxies have logged and what Kraken received. @param {string} folder @param {MortalProxies} mortals @param {Sandbox} sandbox */
function keepLogs(folder, mortals, sandbox) {
  mkdirSync(folder, { recursive: true });
  const lines = (/** @type {readonly object[]} */ all) =>
    all.map((one) => `${JSON.stringify(one)}\n`).join('');
  for (const { name, log } of mortals.all) writeFileSync(join(folder, `${name}.log`), lines(log));
  const received = sandbox.received.map((call) => ({ ...call, rawBody: call.rawBody.toString() }));
  writeFileSync(join(folder, 'kraken.log'), lines(received));
}

/** A while after the last order was asked for. @param {Book} book */
async function full(book) {
  while (!book.isFull) await delay(100);
  await delay(2_000);
}

/** @param {string} why */
function giveUp(why) {
  process.stderr.write(`orders failed: ${why}\n`);
  process.exit(1);
}

process.on('exit', () => {
  proxies?.end();
  rmSync(folder, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => giveUp(signal));
setTimeout(() => giveUp(`seed ${SEED}: not done within ${LIMIT_MS} ms`), LIMIT_MS).unref();
main().catch((error) => giveUp(error instanceof Error ? (error.stack ?? error.message) : String(error)));
