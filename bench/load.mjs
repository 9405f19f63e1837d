/**
 * Child process: the clients. Takes one order at a time from its parent and answers with what it measured, or
 * with the first thing that went wrong. The clock of a call runs from before its signature until its reply is whole.
 */
import { Client } from 'undici';
import { createSigner } from '../dist/kraken/signature.js';
import { botKeys, CALL_PATH, MOST_CLIENTS } from './bots.mjs';
import { quantile } from './stats.mjs';

/**
 * @typedef {object} Order
 * @property {string} url
 * @property {boolean} signs Whether the clients sign like bots do, or leave it to a proxy.
 * @property {number} clients Each has one keep-alive connection and makes one call after the other.
 * @property {number} warmup Calls of each client before the clock runs.
 * @property {number} [calls] In all; or
 * @property {number} [ms] for so long.
 */
/**
 * @typedef {object} Measured
 * @property {number} calls
 * @property {number} perSecond
 * @property {number} p50 µs
 * @property {number} p99 µs
 */

class Bot {
  /** @type {Client | undefined} */
  #connection;
  #key;
  #signer;
  #lastNonce = 0n;

  /** @param {{ key: string, secret: string }} key */
  constructor({ key, secret }) {
    this.#key = key;
    this.#signer = createSigner(secret);
  }

  /** @param {string} url */
  connect(url) {
    this.#connection = new Client(url, { keepAliveTimeout: 60_000 });
  }

  async disconnect() {
    await this.#connection?.destroy();
  }

  /**
   * One call of Balance; rejects unless Kraken's answer is a result. A call that is not signed still brings its
   * nonce, as a bot does that was only pointed elsewhere.
   * @param {boolean} signs
   * @returns {Promise<void>}
   */
  call(signs) {
    const clock = BigInt(Date.now()) * 1_000_000n;
    this.#lastNonce = clock > this.#lastNonce ? clock : this.#lastNonce + 1n;
    const nonce = this.#lastNonce.toString();
    const body = Buffer.from(`nonce=${nonce}`);
    /** @type {Record<string, string>} */
    const headers = { 'content-type': 'application/x-www-form-urlencoded', 'user-agent': 'bench' };
    if (signs) {
      headers['api-key'] = this.#key;
      headers['api-sign'] = this.#signer.sign(CALL_PATH, nonce, body);
    }
    return new Promise((resolve, reject) => {
      const request = { method: /** @type {const} */ ('POST'), path: CALL_PATH, headers, body };
      this.#connection?.dispatch(request, new Reply(resolve, reject));
    });
  }
}

class Reply {
  #resolve;
  #reject;
  #status = 0;
  /** @type {Buffer[]} */
  #chunks = [];

  /**
   * @param {() => void} resolve
   * @param {(error: Error) => void} reject
   */
  constructor(resolve, reject) {
    this.#resolve = resolve;
    this.#reject = reject;
  }

  onRequestStart() {}

  /**
   * @param {unknown} _
   * @param {number} status
   */
  onResponseStart(_, status) {
    this.#status = status;
  }

  /**
   * @param {unknown} _
   * @param {Buffer} chunk
   */
  onResponseData(_, chunk) {
    this.#chunks.push(chunk);
  }

  onResponseEnd() {
    const [first] = this.#chunks;
    const body = this.#chunks.length === 1 && first !== undefined ? first : Buffer.concat(this.#chunks);
    const text = body.toString();
    if (this.#status === 200 && text.startsWith('{"error":[]')) this.#resolve();
    else this.#reject(new Error(`a call failed: HTTP ${this.#status} ${text.slice(0, 200)}`));
  }

  /**
   * @param {unknown} _
   * @param {Error} error
   */
  onResponseError(_, error) {
    this.#reject(error);
  }
}

const bots = botKeys(MOST_CLIENTS).map((key) => new Bot(key));

/**
 * @param {Order} order
 * @returns {Promise<Measured>}
 */
async function carryOut({ url, signs, clients, warmup, calls = Infinity, ms = Infinity }) {
  const working = bots.slice(0, clients);
  for (const bot of working) bot.connect(url);
  try {
    await Promise.all(
      working.map(async (bot) => {
        for (let count = 0; count < warmup; count++) await bot.call(signs);
      }),
    );
    /** @type {number[]} */
    const latencies = [];
    let begun = 0;
    const start = performance.now();
    await Promise.all(
      working.map(async (bot) => {
        for (;;) {
          const sent = performance.now();
          if (begun >= calls || sent - start >= ms) return;
          begun++;
          await bot.call(signs);
          latencies.push((performance.now() - sent) * 1_000);
        }
      }),
    );
    const seconds = (performance.now() - start) / 1_000;
    return {
      calls: latencies.length,
      perSecond: latencies.length / seconds,
      p50: quantile(latencies, 0.5),
      p99: quantile(latencies, 0.99),
    };
  } finally {
    await Promise.all(working.map((bot) => bot.disconnect()));
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
