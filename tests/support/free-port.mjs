import { randomInt } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';

/** No system hands these out below, whatever it is: Linux says its own bound, others begin higher. */
const USUAL_BOUND = 32_768;
const LOWEST = 10_000;

/** @type {Set<number>} */
const given = new Set();

/**
 * A port that nobody listens on, and that nobody gets while its own server is down or not up yet: below those which the
 * kernel hands out to outgoing connections and to servers that listen on port 0, never given twice by one process, and
 * of another slice in each of the test runner's processes.
 * @param {string} [host] An address of this machine.
 * @returns {Promise<number>}
 */
export async function freePort(host = '127.0.0.1') {
  const worker = Number(process.env['JEST_WORKER_ID'] ?? 0) % SLICES;
  const width = Math.floor(((await bound()) - LOWEST) / SLICES);
  for (;;) {
    const port = LOWEST + worker * width + randomInt(width);
    if (given.has(port) || !(await isFree(port, host))) continue;
    given.add(port);
    return port;
  }
}

const SLICES = 16;

async function bound() {
  const range = await readFile('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').catch(() => '');
  return Math.max(Number.parseInt(range, 10) || USUAL_BOUND, 2 * LOWEST);
}

/** @param {number} port @param {string} host @returns {Promise<boolean>} */
async function isFree(port, host) {
  const server = createServer();
  return await new Promise((resolve, reject) => {
    server.once('error', (/** @type {NodeJS.ErrnoException} */ error) => {
      if (error.code === 'EADDRINUSE') resolve(false);
      else reject(error);
    });
    server.listen(port, host, () => server.close(() => resolve(true)));
  });
}
