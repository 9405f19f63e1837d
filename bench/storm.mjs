/**
 * Ten bots that poll on one key, which together ask for forty times what Kraken's call counter gives back, and that
 * trade meanwhile: `npm run bench:storm` (about 2 minutes) or `npm run bench:storm -- --quick` (under a minute). Once
 * straight to the strict sandbox, once through the proxy, by the same seeded timetable. Prints what came of the calls.
 * Exit code 1 when a promise is broken: through the proxy Kraken never says "Rate limit exceeded", and no cancel waits
 * in the lane for longer than one call to Kraken takes, or one more for each cancel that came before it; or when a call
 * fails in any other way.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { format } from 'prettier';
import { Pool } from 'undici';
import { createSigner } from '../dist/kraken/signature.js';
import { DEMO_KEYS } from '../dist/sandbox/demo-keys.js';
import { openSandbox } from '../dist/sandbox/sandbox.js';
import { PROXY_ACCOUNT } from './bots.mjs';
import { quantile } from './stats.mjs';

/** @typedef {import('../dist/sandbox/sandbox.js').Sandbox} Sandbox */
/**
 * @typedef {object} Call One call of a bot and its end; times are those of performance.now().
 * @property {number} bot
 * @property {string} endpoint
 * @property {number} sentAt
 * @property {number} answeredAt
 * @property {string | undefined} error Kraken's E-string, whoever said it.
 * @property {string | undefined} ownError The proxy's code, when it was the proxy.
 */
/**
 * @typedef {object} LogLine The line of a call, as far as it is read here.
 * @property {string} time When the call had ended.
 * @property {string} endpoint
 * @property {number} totalMs
 * @property {number} [waitMs] Missing when its turn never came.
 * @property {number} [upstreamMs]
 * @property {boolean} [merged]
 */
/**
 * @typedef {object} Run What one storm brought.
 * @property {number} start
 * @property {number} end
 * @property {readonly Call[]} calls
 * @property {Sandbox} sandbox Closed, but it can still be asked.
 * @property {readonly LogLine[]} lines Of the proxy; none without one.
 */

const BOTS = 10;
const READS = ['Balance', 'OpenOrders'];
const READ_EVERY_MS = 1_000;
/** From one order of a bot to its next, on average. */
const TRADE_EVERY_MS = 5_000;
/** What the way to Kraken and back takes. */
const WAY_MS = 20;
/** After the last call is asked, for the last one to be answered. */
const DRAIN_MS = 20_000;
const START_PATIENCE_MS = 20_000;
const STOP_PATIENCE_MS = 20_000;
const SAMPLE_EVERY_MS = 100;
/** The log's times are whole ms, and a moment after the end of a call: what overlaps by less may not have met. */
const BLUR_MS = 3;
const MOST_COMPLAINTS = 20;

const RATE_LIMIT = 'EAPI:Rate limit exceeded';

const { values: options } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, seed: { type: 'string', default: '1' } },
});
const stormMs = options.quick ? 15_000 : 60_000;
const limitMs = 2 * (stormMs + DRAIN_MS) + START_PATIENCE_MS + STOP_PATIENCE_MS;
const folder = mkdtempSync(join(tmpdir(), 'kraken-signing-proxy-storm-'));
const account = DEMO_KEYS.find(({ account: name }) => name === PROXY_ACCOUNT);
if (account === undefined) throw new TypeError('the sandbox has no such account');

/** @type {import('node:child_process').ChildProcess | undefined} */
let proxyChild;

/** All bots draw from it, so that no nonce is used twice. */
let lastNonce = 0n;
function nextNonce() {
  const clock = BigInt(Date.now()) * 1_000_000n;
  lastNonce = clock > lastNonce ? clock : lastNonce + 1n;
  return lastNonce.toString();
}

/**
 * Numbers from 0 to 1, the same ones for the same seed (mulberry32).
 * @param {number} seed
 */
function randomFrom(seed) {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** @param {number} at By performance.now(). */
async function until(at) {
  const ms = at - performance.now();
  if (ms > 0) await delay(ms);
}

/** A program that polls by the clock, whether or not it was answered, and places an order now and then. */
class Bot {
  #index;
  #connections;
  #credentials;
  #calls;
  #random;

  /**
   * @param {number} index
   * @param {string} url
   * @param {(index: number, path: string, nonce: string, body: Buffer) => Record<string, string>} credentials
   * @param {Call[]} calls Where its calls are noted once they have ended.
   */
  constructor(index, url, credentials, calls) {
    this.#index = index;
    this.#connections = new Pool(url);
    this.#credentials = credentials;
    this.#calls = calls;
    this.#random = randomFrom(Number(options.seed) * 1_000 + index);
  }

  /**
   * Resolves when all that was asked until `end` is answered.
   * @param {number} start
   * @param {number} end
   */
  async run(start, end) {
    const phases = READS.map(() => this.#random() * READ_EVERY_MS);
    const polls = READS.map((endpoint, index) => this.#poll(endpoint, start + (phases[index] ?? 0), end));
    await Promise.all([...polls, this.#trade(start, end)]);
  }

  async close() {
    await this.#connections.destroy();
  }

  /**
   * @param {string} endpoint
   * @param {number} first
   * @param {number} end
   */
  async #poll(endpoint, first, end) {
    const asked = [];
    for (let at = first; at < end; at += READ_EVERY_MS) {
      await until(at);
      asked.push(this.#call(endpoint, ''));
    }
    await Promise.all(asked);
  }

  /**
   * Limit orders far below the market, each canceled 0.3 to 1.8 s later.
   * @param {number} start
   * @param {number} end
   */
  async #trade(start, end) {
    let at = start + this.#random() * TRADE_EVERY_MS;
    for (let count = 0; at < end; count++) {
      await until(at);
      const price = (20_000 + this.#index * 1_000 + count / 10).toFixed(1);
      const order = `&pair=XBTUSD&type=buy&ordertype=limit&price=${price}&volume=0.001`;
      const placed = await this.#call('AddOrder', order);
      const rest = 300 + this.#random() * 1_500;
      at += (0.7 + 0.6 * this.#random()) * TRADE_EVERY_MS;
      const txid = placed?.result?.txid?.[0];
      if (txid === undefined) continue;
      await delay(rest);
      await this.#call('CancelOrder', `&txid=${txid}`);
    }
  }

  /**
   * @param {string} endpoint
   * @param {string} form
   */
  async #call(endpoint, form) {
    const path = `/0/private/${endpoint}`;
    const nonce = nextNonce();
    const body = Buffer.from(`nonce=${nonce}${form}`);
    const sentAt = performance.now();
    const reply = await this.#connections.request({
      method: 'POST',
      path,
      headers: {
        'content-type': 'application/x-www-form-urlencoded',
        'user-agent': 'storm',
        ...this.#credentials(this.#index, path, nonce, body),
      },
      body,
    });
    const answer = /** @type {{ error: string[], result?: { txid?: string[] } }} */ (await reply.body.json());
    const ownError = reply.headers['x-proxy-error'];
    this.#calls.push({
      bot: this.#index,
      endpoint,
      sentAt,
      answeredAt: performance.now(),
      error: answer.error[0],
      ownError: ownError?.toString(),
    });
    return answer;
  }
}

/**
 * Lets the bots loose for a while.
 * @param {string} url
 * @param {ConstructorParameters<typeof Bot>[2]} credentials
 * @returns {Promise<Pick<Run, 'start' | 'end' | 'calls'>>}
 */
async function storm(url, credentials) {
  /** @type {Call[]} */
  const calls = [];
  const bots = Array.from({ length: BOTS }, (_, index) => new Bot(index, url, credentials, calls));
  const start = performance.now();
  const end = start + stormMs;
  const late = new AbortController();
  try {
    await Promise.race([
      Promise.all(bots.map((bot) => bot.run(start, end))),
      delay(stormMs + DRAIN_MS, undefined, { signal: late.signal }).then(() => {
        throw new Error(`calls were not answered ${DRAIN_MS} ms after the last one`);
      }),
    ]);
  } finally {
    late.abort();
    await Promise.all(bots.map((bot) => bot.close()));
  }
  return { start, end, calls };
}

/**
 * Every bot signs itself. The key has a nonce window of 10 s: what comes over several connections may overtake, and
 * only the rate limit is to be compared here.
 * @returns {Promise<Run>}
 */
async function straight() {
  const sandbox = await openSandbox({
    keys: [{ ...account, tier: 'intermediate', nonceWindow: 10_000_000_000n }],
    delayMs: WAY_MS,
  });
  const signer = createSigner(account.secret);
  try {
    const stormed = await storm(sandbox.url, (_, path, nonce, body) => ({
      'api-key': account.key,
      'api-sign': signer.sign(path, nonce, body),
    }));
    return { ...stormed, sandbox, lines: [] };
  } finally {
    await sandbox.close();
  }
}

/**
 * The bots are clients with names and without secrets; the proxy's key has no nonce window.
 * @returns {Promise<Run>}
 */
async function throughProxy() {
  const sandbox = await openSandbox({ keys: [{ ...account, tier: 'intermediate' }], delayMs: WAY_MS });
  const clientKey = (/** @type {number} */ index) => `storm-bot-${index}`;
  const names = Array.from({ length: BOTS }, (_, index) => clientKey(index));
  try {
    const proxy = await spawnProxy({
      listen: { port: 0 },
      ops: { port: 0 },
      upstream: { url: sandbox.url },
      nonce: { file: 'nonce.txt' },
      startup: { windowMs: 0 },
      doctor: { enabled: false },
      accounts: {
        [PROXY_ACCOUNT]: { key: account.key, secret: account.secret, tier: 'intermediate' },
      },
      clients: Object.fromEntries(names.map((key) => [key, { key, accounts: [PROXY_ACCOUNT] }])),
    });
    const stormed = await storm(proxy.url, (index) => ({ 'api-key': clientKey(index) }));
    const lines = await proxy.stop();
    return { ...stormed, sandbox, lines };
  } finally {
    await sandbox.close();
  }
}

/**
 * A proxy as an operator runs it, whose log is read.
 * @param {object} config
 * @returns {Promise<{ url: string, stop: () => Promise<LogLine[]> }>}
 */
async function spawnProxy(config) {
  const main = fileURLToPath(new URL('../dist/main.js', import.meta.url));
  const file = join(folder, 'proxy.config.json');
  writeFileSync(file, JSON.stringify(config));
  const child = spawn(process.execPath, [main, 'serve', '--config', file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  proxyChild = child;
  /** @type {LogLine[]} */
  const lines = [];
  const ended = once(child, 'close');
  /** @type {Promise<string>} */
  const listening = new Promise((resolve, reject) => {
    let url = '';
    let isReady = false;
    createInterface({ input: child.stdout }).on('line', (text) => {
      const line = JSON.parse(text);
      if (line.msg === 'call') lines.push(line);
      if (line.msg === 'listening') url = line.url;
      if (String(line.msg).startsWith('ready')) isReady = true;
      if (isReady && url !== '') resolve(url);
    });
    void ended.then(([code]) => reject(new Error(`the proxy ended with ${code}`)));
    setTimeout(() => reject(new Error('the proxy did not come up')), START_PATIENCE_MS).unref();
  });
  const stop = async () => {
    child.kill('SIGTERM');
    const late = setTimeout(() => child.kill('SIGKILL'), STOP_PATIENCE_MS);
    await ended;
    clearTimeout(late);
    proxyChild = undefined;
    return lines;
  };
  return { url: await listening, stop };
}

/** @param {Run} run */
function summaryOf({ start, end, calls, sandbox, lines }) {
  const reads = calls.filter(({ endpoint }) => READS.includes(endpoint));
  const answered = reads.filter(({ error }) => error === undefined);
  const cancels = calls.filter(({ endpoint }) => endpoint === 'CancelOrder');
  const sent = lines.filter(({ upstreamMs }) => upstreamMs !== undefined);
  const arrived = sandbox.received.filter(({ path }) => path.startsWith('/0/private/'));
  const arrivedAt = (/** @type {string[]} */ ...endpoints) =>
    arrived.filter(({ endpoint }) => endpoints.includes(endpoint ?? '')).length;
  return {
    reads: {
      asked: reads.length,
      answered: answered.length,
      merged: lines.filter(({ merged }) => merged === true).length,
      refusedByProxy: reads.filter(({ ownError }) => ownError === 'rate-limited').length,
      waits: answered.map(latency),
      ages: agesOf(answered, start, end),
    },
    orders: {
      asked: calls.filter(({ endpoint }) => endpoint === 'AddOrder').length,
      placed: sandbox.orders(PROXY_ACCOUNT).length,
      open: sandbox.orders(PROXY_ACCOUNT).filter(({ status }) => status === 'open').length,
    },
    cancels: {
      asked: cancels.length,
      answered: cancels.filter(({ error }) => error === undefined).length,
      latencies: cancels.map(latency),
      lines: lines.filter(({ endpoint }) => endpoint === 'CancelOrder'),
    },
    kraken: {
      rateLimited: sandbox.rateLimited,
      calls: arrived.length,
      reads: arrivedAt(...READS),
      orders: arrivedAt('AddOrder'),
      cancels: arrivedAt('CancelOrder'),
      tripsMs: sent.map(({ upstreamMs }) => upstreamMs ?? NaN),
    },
    sent,
    otherErrors: calls.flatMap(({ endpoint, error, ownError }) => {
      const isLimit = error === RATE_LIMIT && (ownError === undefined || ownError === 'rate-limited');
      if (error === undefined || (isLimit && READS.includes(endpoint))) return [];
      return [`${endpoint}: ${error} (${ownError ?? 'Kraken'})`];
    }),
  };
}

/** @typedef {ReturnType<typeof summaryOf>} Summary */

/** @param {Call} call */
function latency({ sentAt, answeredAt }) {
  return answeredAt - sentAt;
}

/**
 * How long ago the newest answer came that a bot holds, at regular moments, for each bot and endpoint; before the
 * first answer, how long it has been without one.
 * @param {readonly Call[]} answered
 * @param {number} start
 * @param {number} end
 */
function agesOf(answered, start, end) {
  const ages = [];
  for (let bot = 0; bot < BOTS; bot++) {
    for (const read of READS) {
      const own = answered.filter((call) => call.bot === bot && call.endpoint === read);
      const times = own.map(({ answeredAt }) => answeredAt).sort((a, b) => a - b);
      let newest = start;
      for (let at = start + SAMPLE_EVERY_MS; at <= end; at += SAMPLE_EVERY_MS) {
        while (times[0] !== undefined && times[0] <= at) newest = times.shift() ?? newest;
        ages.push(at - newest);
      }
    }
  }
  return ages;
}

/**
 * @param {Summary} direct
 * @param {Summary} proxied
 */
function render(direct, proxied) {
  const rows = [
    row('reads asked', ({ reads }) => count(reads.asked)),
    row('answered', ({ reads }) => count(reads.answered)),
    row('of these merged: answered together with an equal read', ({ reads }) => count(reads.merged), false),
    row('refused by Kraken: `EAPI:Rate limit exceeded`', ({ kraken }) => count(kraken.rateLimited)),
    row('refused by the proxy: `rate-limited`', ({ reads }) => count(reads.refusedByProxy), false),
    row('wait for an answer, p50 / p99', ({ reads }) => `${middleAndTail(reads.waits)}`),
    row('age of the newest answer a bot holds, p50 / p99', ({ reads }) => middleAndTail(reads.ages)),
    row('orders asked / placed', ({ orders }) => `${count(orders.asked)} / ${count(orders.placed)}`),
    row('cancels asked / answered', ({ cancels }) => `${count(cancels.asked)} / ${count(cancels.answered)}`),
    row('a cancel in all, p50 / p99', ({ cancels }) => middleAndTail(cancels.latencies)),
    row(
      'a cancel’s wait in the lane, p50 / p99 / max',
      ({ cancels }) => `${middleAndTail(waitsOf(cancels.lines))} / ${ms(longest(waitsOf(cancels.lines)))}`,
      false,
    ),
    row(
      'one call to Kraken, p50 / longest',
      ({ kraken }) => `${ms(quantile(kraken.tripsMs, 0.5))} / ${ms(longest(kraken.tripsMs))}`,
      false,
    ),
    row('calls that reached Kraken', ({ kraken }) => count(kraken.calls)),
    row(
      'of these reads / orders / cancels',
      ({ kraken }) => `${count(kraken.reads)} / ${count(kraken.orders)} / ${count(kraken.cancels)}`,
    ),
  ];
  /**
   * @param {string} name
   * @param {(summary: Summary) => string} cell
   * @param {boolean} isForBoth
   */
  function row(name, cell, isForBoth = true) {
    return `| ${name} | ${isForBoth ? cell(direct) : ''} | ${cell(proxied)} |`;
  }
  const text = `${BOTS} bots for ${stormMs / 1_000} s on one intermediate key (20 points, 0.5 back a second), each asking for ${READS.join(' and ')} every second and placing and canceling an order every ${TRADE_EVERY_MS / 1_000} s or so; Kraken is the strict sandbox, ${WAY_MS} ms away; seed ${options.seed}.

| | straight to Kraken | through the proxy |
| --- | ---: | ---: |
${rows.join('\n')}

Straight to Kraken, the bots share one source of nonces and the key has a nonce window, so that only the rate limit is compared: invalid nonces would come on top. The matching engine's counter is off on both sides.
`;
  return format(text, { parser: 'markdown' });
}

/**
 * What was promised and not kept, or went wrong otherwise.
 * @param {Summary} direct
 * @param {Summary} proxied
 */
function complaintsOf(direct, proxied) {
  const complaints = [];
  for (const [name, { otherErrors }] of /** @type {const} */ ([
    ['straight to Kraken', direct],
    ['through the proxy', proxied],
  ])) {
    const [first] = otherErrors;
    if (first !== undefined) complaints.push(`${name}: ${otherErrors.length} other errors, such as ${first}`);
  }
  const { kraken, cancels, orders, sent } = proxied;
  if (kraken.rateLimited > 0)
    complaints.push(`through the proxy Kraken said "Rate limit exceeded" ${kraken.rateLimited} times`);
  if (cancels.asked === 0 || cancels.lines.length !== cancels.asked)
    complaints.push(`the log tells of ${cancels.lines.length} cancels, asked were ${cancels.asked}`);
  if (orders.open > 0) complaints.push(`${orders.open} orders are still open`);
  return [
    ...complaints,
    ...cancels.lines.flatMap((cancel) => complaintsAbout(cancel, sent, longest(kraken.tripsMs))),
  ];
}

/**
 * A cancel waits for the call in flight, which may be any, and for the cancels before it.
 * @param {LogLine} cancel
 * @param {readonly LogLine[]} sent
 * @param {number} longestMs The longest call to Kraken.
 */
function complaintsAbout(cancel, sent, longestMs) {
  const waited = waitOf(cancel);
  const before = occupantsOf(cancel, sent);
  const cancelsBefore = before.filter(({ endpoint }) => endpoint === 'CancelOrder').length;
  const story =
    `a cancel waited ${ms(waited)} in the lane, which had ` +
    (before.map(({ endpoint, upstreamMs = NaN }) => `${endpoint} for ${ms(upstreamMs)}`).join(', ') ||
      'nothing');
  if (before.length - cancelsBefore > 1) return [`${story}: not only the call in flight and cancels`];
  if (waited <= longestMs * Math.max(1, before.length)) return [];
  return [`${story}: the longest call to Kraken took ${ms(longestMs)}`];
}

/**
 * Which calls had the slot while this one waited, the first first, as far as the log's times tell.
 * @param {LogLine} waiting
 * @param {readonly LogLine[]} sent
 */
function occupantsOf(waiting, sent) {
  const turn = (/** @type {LogLine} */ { time, upstreamMs = 0 }) => Date.parse(time) - upstreamMs;
  const until = turn(waiting);
  const since = until - waitOf(waiting);
  const overlap = (/** @type {LogLine} */ line) =>
    Math.min(Date.parse(line.time), until) - Math.max(turn(line), since);
  return sent.filter((line) => line !== waiting && overlap(line) > BLUR_MS).sort((a, b) => turn(a) - turn(b));
}

/** @param {readonly LogLine[]} lines */
function waitsOf(lines) {
  return lines.map(waitOf);
}

/** @param {LogLine} line */
function waitOf({ waitMs, totalMs }) {
  return waitMs ?? totalMs;
}

/** @param {readonly number[]} values */
function longest(values) {
  return values.reduce((most, value) => Math.max(most, value), 0);
}

/** @param {number} value */
function count(value) {
  return value.toLocaleString('en-US');
}

/** @param {number} value */
function ms(value) {
  return value < 100 ? `${value.toFixed(1)} ms` : `${count(Math.round(value))} ms`;
}

/** @param {readonly number[]} values */
function middleAndTail(values) {
  return `${ms(quantile(values, 0.5))} / ${ms(quantile(values, 0.99))}`;
}

async function main() {
  const step = (/** @type {string} */ text) => process.stderr.write(`storm: ${text}\n`);
  step(`${stormMs / 1_000} s straight to Kraken`);
  const direct = summaryOf(await straight());
  step(`${stormMs / 1_000} s through the proxy`);
  const proxied = summaryOf(await throughProxy());
  process.stdout.write(await render(direct, proxied));
  const complaints = complaintsOf(direct, proxied);
  for (const complaint of complaints.slice(0, MOST_COMPLAINTS)) step(`not kept: ${complaint}`);
  if (complaints.length > MOST_COMPLAINTS) step(`not kept: ${complaints.length - MOST_COMPLAINTS} more`);
  process.exit(complaints.length === 0 ? 0 : 1);
}

/** @param {string} why */
function giveUp(why) {
  process.stderr.write(`storm failed: ${why}\n`);
  process.exit(1);
}

process.on('exit', () => {
  proxyChild?.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => giveUp(signal));
setTimeout(() => giveUp(`not done within ${limitMs} ms`), limitMs).unref();
main().catch((error) => giveUp(error instanceof Error ? (error.stack ?? error.message) : String(error)));
