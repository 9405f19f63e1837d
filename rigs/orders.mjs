/**
 * Whether what bots are told of their orders is true, whatever happens on the way: `npm run test:orders` (10,000 orders
 * from 10 bots; `ORDERS=600` for the short form, `SEED=…` to draw the same again). A strict stand-in for Kraken fails in
 * every way it knows, the proxy is killed with kill -9 every few seconds, and in the end every order is looked for.
 * Ends with 1, and the whole story of each order concerned, when a bot was told something that is not so.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { DEMO_KEYS } from '../dist/sandbox/demo-keys.js';
import { openSandbox } from '../dist/sandbox/sandbox.js';
import { Book, Bot } from './bots.mjs';
import { Chance } from './chance.mjs';
import { freePort, MortalProxy } from './mortal-proxy.mjs';
import { reportOf } from './report.mjs';
import { LONGEST_MS, Trouble } from './trouble.mjs';
import { judge, storyOf } from './verdict.mjs';

const ORDERS = Number(process.env.ORDERS ?? 10_000);
const SEED = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
const BOTS = 10;
/** Lives of the proxy, ms: most end within seconds, and now and then one is long enough for all that was begun. */
const LIFE_MS = /** @type {const} */ ([3_000, 7_000]);
const LONG_LIFE_MS = /** @type {const} */ ([15_000, 25_000]);
const LONG_LIFE_EVERY = 5;
const LIMIT_MS = 60_000 + ORDERS * 150;
/** Of the stories told; a bug that hits everything need not tell it ten thousand times. */
const MOST_STORIES = 8;

const folder = mkdtempSync(join(tmpdir(), 'kraken-signing-proxy-orders-'));
/** @type {MortalProxy | undefined} */
let proxy;

/** @param {string} upstream @param {number} port */
function writeConfig(upstream, port) {
  const accounts = DEMO_KEYS.map(({ account, key, secret }) => [account, { key, secret }]);
  const clients = botNames().map(({ name, account }) => [name, { key: name, accounts: [account] }]);
  const config = {
    listen: { port },
    ops: { port: 0 },
    upstream: { url: upstream, timeoutMs: 1_000 },
    nonce: { file: join(folder, 'nonce.txt') },
    startup: { windowMs: 0 },
    queue: { maxWaitMs: 8_000 },
    pacing: { enabled: false },
    lanes: 'key',
    accounts: Object.fromEntries(accounts),
    clients: Object.fromEntries(clients),
  };
  const file = join(folder, 'proxy.config.json');
  writeFileSync(file, JSON.stringify(config));
  return file;
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
 * is about to execute.
 * @param {MortalProxy} mortal @param {Trouble} trouble @param {Chance} chance @param {AbortSignal} signal
 */
async function killAgainAndAgain(mortal, trouble, chance, signal) {
  const wait = (/** @type {number} */ ms) => delay(ms, true, { signal }).catch(() => false);
  for (let life = 1; ; life++) {
    const [shortest, longest] = life % LONG_LIFE_EVERY === 0 ? LONG_LIFE_MS : LIFE_MS;
    if (!(await wait(chance.between(shortest, longest)))) break;
    const moment = chance.oneOf(['any', 'any', 'starting', 'arrival', 'arrival']);
    if (moment !== 'arrival') mortal.kill();
    else
      trouble.onArrival = () => {
        trouble.onArrival = () => undefined;
        mortal.kill();
      };
    if (moment === 'starting' && (await wait(chance.between(50, 600)))) mortal.kill();
  }
  trouble.onArrival = () => undefined;
}

async function main() {
  const chance = new Chance(SEED);
  const trouble = new Trouble(new Chance(chance.seed()));
  const sandbox = await openSandbox({
    keys: DEMO_KEYS,
    callCounter: false,
    keepReceived: 1_000_000,
    random: trouble.random,
  });
  const port = await freePort(new Chance(Date.now()));
  const mortal = (proxy = new MortalProxy(writeConfig(sandbox.url, port)));
  const book = new Book(ORDERS);
  const bots = botNames().map(
    (one) => new Bot({ ...one, port, chance: new Chance(chance.seed()), book, proxy: mortal }),
  );
  process.stdout.write(`orders: ${ORDERS} from ${BOTS} bots, seed ${SEED}\n`);
  const started = performance.now();
  mortal.onEnd = (how) => giveUp(`the proxy ended by itself: ${how}`);
  mortal.start();
  trouble.arm(sandbox);
  const stop = new AbortController();
  const killing = killAgainAndAgain(mortal, trouble, new Chance(chance.seed()), stop.signal);
  const told = setInterval(() => {
    const seconds = ((performance.now() - started) / 1_000).toFixed(0);
    process.stderr.write(`orders: ${book.orders.length} after ${seconds} s, ${mortal.kills} kills\n`);
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
  const exitCode = await mortal.close();
  const accounts = DEMO_KEYS.map(({ account }) => account);
  const evidence = { book, sandbox, trouble, log: mortal.log, accounts };
  const violations = judge(evidence);
  if (exitCode !== 0) violations.push({ what: `the proxy ended with ${exitCode}` });
  if (mortal.stderr !== '') violations.push({ what: `the proxy wrote: ${mortal.stderr.slice(-2_000)}` });
  process.stdout.write(reportOf(evidence, { seconds, kills: mortal.kills, violations: violations.length }));
  for (const { what, call } of violations.slice(0, MOST_STORIES))
    process.stdout.write(`\nVIOLATION: ${what}\n${call === undefined ? '' : storyOf(evidence, call)}\n`);
  if (violations.length > MOST_STORIES)
    for (const { what } of violations.slice(MOST_STORIES)) process.stdout.write(`VIOLATION: ${what}\n`);
  await sandbox.close();
  process.exit(violations.length === 0 ? 0 : 1);
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
  proxy?.end();
  rmSync(folder, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => giveUp(signal));
setTimeout(() => giveUp(`seed ${SEED}: not done within ${LIMIT_MS} ms`), LIMIT_MS).unref();
main().catch((error) => giveUp(error instanceof Error ? (error.stack ?? error.message) : String(error)));
