/**
 * Child process: the clients. Takes one order at a time from its parent and answers with what it measured, or with the
 * first thing that went wrong. The clock of a call runs from before its signature until its reply is whole.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'undici';
import { createSigner } from '../dist/kraken/signature.js';
import { botKeys, CALL_PATH } from './bots.mjs';

/**
 * @typedef {object} Order
 * @property {string[]} urls
 * @property {Caller[]} clients
 * @property {boolean} signs Whether the clients sign like bots do, or leave it to a proxy.
 * @property {number} ms
 * @property {number} [calls] No more than so many in all.
 */
/**
 * Makes one call after the other, each at the next of its places; it has a connection to each url.
 * @typedef {object} Caller
 * @property {(readonly [url: number, key: number])[]} places Which url, and for which key.
 * @property {number} [pauseMs] After each call.
 * @property {boolean} [isScenery] It keeps others waiting; how long it waits itself is not of interest.
 */
/**
 * @typedef {object} Measured
 * @property {number} calls Of all clients.
 * @property {number} seconds
 * @property {number[]} latencies ms
 */

const [count] = process.argv.slice(2);
const keys = botKeys(Number(count)).map(({ account, key, secret }) => ({
  account,
  key,
  signer: createSigner(secret),
}));
let lastNonce = 0n;

/**
 * One call of Balance; rejects unless Kraken's answer is a result.
 * @param {Client} connection
 * @param {number} at
 * @param {boolean} signs
 */
async function call(connection, at, signs) {
  const key = keys[at];
  if (key === undefined) throw new Error(`no key ${at}`);
  const clock = BigInt(Date.now()) * 1_000_000n;
  lastNonce = clock > lastNonce ? clock : lastNonce + 1n;
  const nonce = lastNonce.toString();
  const body = Buffer.from(`nonce=${nonce}`);
  /** @type {Record<string, string>} */
  const headers = { 'content-type': 'application/x-www-form-urlencoded', 'user-agent': 'bench' };
  if (signs) {
    headers['api-key'] = key.key;
    headers['api-sign'] = key.signer.sign(CALL_PATH, nonce, body);
  }
  const path = signs ? CALL_PATH : `/accounts/${key.account}${CALL_PATH}`;
  const reply = await connection.request({ method: 'POST', path, headers, body });
  const text = await reply.body.text();
  if (reply.statusCode !== 200 || !text.startsWith('{"error":[]'))
    throw new Error(`a call failed: HTTP ${reply.statusCode} ${text.slice(0, 200)}`);
}

/**
 * @param {Order} order
 * @returns {Promise<Measured>}
 */
async function carryOut({ urls, clients, signs, ms, calls: most = Infinity }) {
  const connections = clients.map(() => urls.map((url) => new Client(url, { keepAliveTimeout: 60_000 })));
  /** @type {number[]} */
  const latencies = [];
  let calls = 0;
  const start = performance.now();
  try {
    await Promise.all(
      clients.map(async ({ places, pauseMs, isScenery }, client) => {
        for (let at = 0; ; at++) {
          const [url, key] = places[at % places.length] ?? [0, 0];
          const connection = connections[client]?.[url];
          const sent = performance.now();
          if (sent - start >= ms || calls >= most || connection === undefined) return;
          await call(connection, key, signs);
          calls++;
          if (isScenery !== true) latencies.push(performance.now() - sent);
          if (pauseMs !== undefined) await delay(pauseMs);
        }
      }),
    );
    return { calls, seconds: (performance.now() - start) / 1_000, latencies };
  } finally {
    await Promise.all(connections.flat().map((connection) => connection.destroy()));
  }
}

process.on('disconnect', () => process.exit(0));
process.on('message', (/** @type {Order} */ order) => {
  carryOut(order).then(
    (measured) => process.send?.({ measured }),
    (/** @type {Error} */ error) => process.send?.({ failed: error.message }),
  );
});
process.send?.({});
