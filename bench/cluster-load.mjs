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
 * @property {(readonly [url: number, key: number])[][]} clients Each makes one call after the other, each at the next of
 *   its places: which url, and for which key. It has a connection to each url.
 * @property {boolean} signs Whether the clients sign like bots do, or leave it to a proxy.
 * @property {number} [pauseMs] After each call.
 * @property {number} ms
 */
/**
 * @typedef {object} Measured
 * @property {number} perSecond
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
async function carryOut({ urls, clients, signs, pauseMs, ms }) {
  const connections = clients.map(() => urls.map((url) => new Client(url, { keepAliveTimeout: 60_000 })));
  /** @type {number[]} */
  const latencies = [];
  const start = performance.now();
  try {
    await Promise.all(
      clients.map(async (places, client) => {
        for (let at = 0; ; at++) {
          const [url, key] = places[at % places.length] ?? [0, 0];
          const connection = connections[client]?.[url];
          const sent = performance.now();
          if (sent - start >= ms || connection === undefined) return;
          await call(connection, key, signs);
          latencies.push(performance.now() - sent);
          if (pauseMs !== undefined) await delay(pauseMs);
        }
      }),
    );
    return { perSecond: latencies.length / ((performance.now() - start) / 1_000), latencies };
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
