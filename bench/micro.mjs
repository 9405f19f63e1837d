/**
 * Child process: what the single steps of a call cost, without any network.
 * `node micro.mjs <folder> <rounds>`; tells its parent the medians of the rounds.
 */
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { parseBody } from '../dist/kraken/body.js';
import { createSigner } from '../dist/kraken/signature.js';
import { FileStore } from '../dist/nonce/file-store.js';
import { NonceSequence } from '../dist/nonce/sequence.js';
import { botKeys } from './bots.mjs';
import { median } from './stats.mjs';

const [folder = '', rounds = '1'] = process.argv.slice(2);
const DRAWS = 1_000_000;
const REPEATS = 20_000;
const NONCE = '1700000000000000000';
const FORM = 'application/x-www-form-urlencoded';
/** A limit order as bots send it, 160 bytes. */
const ORDER = Buffer.from(
  `nonce=${NONCE}&pair=XBTUSD&type=buy&ordertype=limit&price=27500.1&volume=0.01250000&oflags=post` +
    '&timeinforce=GTC&cl_ord_id=6d1b345e28214e2&userref=111',
);

/**
 * µs of one run of `step`, median of the rounds after one to warm up.
 * @param {() => unknown} step
 */
function microseconds(step) {
  const each = [];
  for (let round = 0; round <= Number(rounds); round++) {
    const start = performance.now();
    for (let count = 0; count < REPEATS; count++) step();
    each.push(((performance.now() - start) * 1_000) / REPEATS);
  }
  return median(each.slice(1));
}

/**
 * ns of one durable nonce: drawn in a tight loop from the real sequence over the real file. Between rounds the
 * event loop turns, so that reservations are renewed as in the proxy.
 */
async function nonces() {
  const store = await FileStore.open(join(folder, 'micro-nonce.txt'));
  let writes = 0;
  const sequence = await NonceSequence.open(store, { reserveMs: 10_000, onWrite: () => writes++ });
  const each = [];
  let waited = 0;
  for (let round = 0; round <= Number(rounds); round++) {
    const before = sequence.floor;
    const start = performance.now();
    for (let count = 0; count < DRAWS; count++) {
      const nonce = sequence.draw('bench');
      if (typeof nonce !== 'bigint') {
        await nonce;
        waited++;
      }
    }
    each.push(((performance.now() - start) * 1e6) / DRAWS);
    // Strictly rising: so many draws have lifted the floor by at least so much.
    if (sequence.floor - before < BigInt(DRAWS)) throw new Error('nonces were repeated');
    await setImmediate();
  }
  await sequence.close();
  return { nonceNs: median(each.slice(1)), waited, writes };
}

if (ORDER.length !== 160) throw new RangeError(`the order has ${ORDER.length} bytes`);
const signer = createSigner(botKeys(1)[0]?.secret ?? '');
process.on('disconnect', () => process.exit(0));
process.send?.({
  ...(await nonces()),
  signatureUs: microseconds(() => signer.sign('/0/private/AddOrder', NONCE, ORDER)),
  bodyUs: microseconds(() => parseBody(ORDER, FORM).complete(NONCE)),
});
