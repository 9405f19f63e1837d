/** The bench's child processes: started here, stopped here, and only these. */
import { fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { DEMO_KEYS } from '../dist/sandbox/demo-keys.js';
import { freePort } from '../tests/support/free-port.mjs';
import { CALL_PATH, PROXY_ACCOUNT } from './bots.mjs';

/** @typedef {import('node:child_process').ChildProcess} ChildProcess */

const POLL_MS = 2;
const START_PATIENCE_MS = 20_000;
const STOP_PATIENCE_MS = 5_000;

/** @type {Set<ChildProcess>} */
const running = new Set();

/**
 * @template {ChildProcess} Child
 * @param {Child} child
 */
function followed(child) {
  running.add(child);
  child.once('exit', () => running.delete(child));
  return child;
}

/** Ends whatever is still running, at once. */
export function killAll() {
  for (const child of running) child.kill('SIGKILL');
}

/**
 * One of the bench's own scripts.
 * @template Hello What it says when it is ready.
 * @param {string} script
 * @param {(string | number)[]} [args]
 * @returns {Promise<{ hello: Hello, ask: (order: object) => Promise<any>, stop: () => Promise<void> }>}
 */
export async function openChild(script, args = []) {
  const file = fileURLToPath(new URL(script, import.meta.url));
  const child = followed(fork(file, args.map(String), { execArgv: ['--no-deprecation'] }));
  const heard = () =>
    new Promise((resolve, reject) => {
      const gone = (/** @type {number | null} */ code) => reject(new Error(`${script} ended with ${code}`));
      child.once('exit', gone);
      child.once('message', (message) => {
        child.off('exit', gone);
        resolve(message);
      });
    });
  const hello = /** @type {Hello} */ (await heard());
  return {
    hello,
    ask: (order) => {
      const answer = heard();
      child.send(order);
      return answer;
    },
    stop: () => stop(child),
  };
}

/** @param {ChildProcess} child */
async function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  const late = setTimeout(() => child.kill('SIGKILL'), STOP_PATIENCE_MS);
  await gone;
  clearTimeout(late);
}

/** A proxy as an operator runs it: `node dist/main.js serve` with a config and a state of its own. */
export class RunningProxy {
  #child;
  #port;
  #opsPort;
  /** When it was spawned, on the clock of performance.now(). */
  started;

  /**
   * @param {ChildProcess} child
   * @param {number} port
   * @param {number} opsPort
   * @param {number} started
   */
  constructor(child, port, opsPort, started) {
    this.#child = child;
    this.#port = port;
    this.#opsPort = opsPort;
    this.started = started;
  }

  /**
   * Spawns it; does not wait until it is ready.
   * @param {string} upstream
   * @param {string} folder
   * @param {object} [more] Further parts of the config.
   */
  static async spawn(upstream, folder, more = {}) {
    const main = fileURLToPath(new URL('../dist/main.js', import.meta.url));
    const [port, opsPort] = [await freePort(), await freePort()];
    const config = join(mkdtempSync(join(folder, 'proxy-')), 'proxy.config.json');
    const account = DEMO_KEYS.find(({ account }) => account === PROXY_ACCOUNT);
    writeFileSync(
      config,
      JSON.stringify({
        listen: { port },
        ops: { port: opsPort },
        upstream: { url: upstream },
        nonce: { file: 'nonce.txt' },
        startup: { windowMs: 0 },
        // Each call goes to Kraken by itself and at once: measured is the path, not what it spares.
        pacing: { costs: { Balance: 0 }, merge: false },
        accounts: { [PROXY_ACCOUNT]: { key: account?.key, secret: account?.secret } },
        defaultAccount: PROXY_ACCOUNT,
        ...more,
      }),
    );
    // For a look inside, such as --cpu-prof.
    const nodeArgs = process.env['BENCH_PROXY_NODE_ARGS']?.split(' ') ?? [];
    const started = performance.now();
    const child = spawn(process.execPath, [...nodeArgs, main, 'serve', '--config', config], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    child.stdout.resume(); // a log line a call goes into a pipe that we read and drop
    return new RunningProxy(followed(child), port, opsPort, started);
  }

  get url() {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Resolves when /readyz says 200. */
  async ready() {
    const gone = performance.now() + START_PATIENCE_MS;
    for (;;) {
      const reply = await exchange(this.#opsPort, `GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n`);
      if (reply?.startsWith('HTTP/1.1 200') === true) return;
      this.#mayStillCome(gone);
      await delay(POLL_MS);
    }
  }

  /** Somebody looks at the operator's page from now on: its live news are read. */
  watch() {
    const socket = connect({ port: this.#opsPort, host: '127.0.0.1' }, () =>
      socket.write('GET /v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n'),
    );
    socket.on('error', () => undefined);
    socket.resume().unref();
  }

  /** One private call over a new connection, tried every 2 ms until it is answered with a result. */
  async firstAnswer() {
    const gone = performance.now() + START_PATIENCE_MS;
    for (;;) {
      const reply = await exchange(
        this.#port,
        `POST ${CALL_PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n`,
      );
      if (reply?.includes('{"error":[]') === true) return;
      this.#mayStillCome(gone);
      await delay(POLL_MS);
    }
  }

  /** Resident memory in MB (10^6 bytes): as the system sees it, or where it does not tell, as the proxy's metrics say. */
  async memory() {
    let bytes = NaN;
    if (process.platform === 'linux') {
      const status = readFileSync(`/proc/${this.#child.pid}/status`, 'latin1');
      bytes = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1_024;
    } else {
      const metrics =
        (await exchange(this.#opsPort, 'GET /metrics HTTP/1.0\r\nhost: localhost\r\n\r\n')) ?? '';
      bytes = Number(/^process_resident_memory_bytes (\S+)$/m.exec(metrics)?.[1]);
    }
    if (Number.isNaN(bytes)) throw new Error("the proxy's memory cannot be read");
    return bytes / 1e6;
  }

  stop() {
    return stop(this.#child);
  }

  /** @param {number} gone */
  #mayStillCome(gone) {
    if (this.#child.exitCode !== null) throw new Error(`the proxy ended with ${this.#child.exitCode}`);
    if (performance.now() > gone) throw new Error('the proxy did not come up');
  }
}

/**
 * Sends a request on a new connection and gives the whole reply; undefined when nobody answers. Plain sockets: a
 * client library's own first call would cost more than what is measured.
 * @param {number} port
 * @param {string} request
 * @returns {Promise<string | undefined>}
 */
function exchange(port, request) {
  return new Promise((resolve) => {
    let reply = '';
    const socket = connect({ port, host: '127.0.0.1', noDelay: true }, () => socket.write(request));
    socket.on('data', (chunk) => {
      reply += chunk.toString('latin1');
      if (isWhole(reply)) socket.destroy();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(reply === '' ? undefined : reply));
  });
}

/**
 * Whether a reply's body is all there by its Content-Length; without one it ends with the connection.
 * @param {string} reply
 */
function isWhole(reply) {
  const [head = '', body] = reply.split('\r\n\r\n', 2);
  const [, length] = /^content-length: (\d+)$/im.exec(head) ?? [];
  return length !== undefined && body !== undefined && body.length >= Number(length);
}
