import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** @typedef {import('./chance.mjs').Chance} Chance */
/** @typedef {Readonly<Record<string, any>>} LogLine */

const MAIN = fileURLToPath(new URL('../dist/main.js', import.meta.url));
const STOP_PATIENCE_MS = 15_000;

/** A proxy as an operator runs it, killed with kill -9 and started again on the same state and port. */
export class MortalProxy {
  /** Rises with each death: what a process has only in memory is gone then. */
  life = 1;
  kills = 0;
  /** @type {LogLine[]} */
  log = [];
  stderr = '';
  /** Told when it ends though nobody killed it. */
  onEnd = (/** @type {string} */ _how) => undefined;
  #config;
  #env;
  /** @type {import('node:child_process').ChildProcess | undefined} */
  #child;
  #isClosing = false;

  /**
   * @param {{ name: string, port: number, config: string, env?: Readonly<Record<string, string>> }} parts Where it serves,
   * its config's path, and what its environment holds besides PATH.
   */
  constructor({ name, port, config, env = {} }) {
    this.name = name;
    this.port = port;
    this.#config = config;
    this.#env = env;
  }

  start() {
    const child = spawn(process.execPath, [MAIN, 'serve', '--config', this.#config], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: process.env.PATH ?? '', ...this.#env },
    });
    this.#child = child;
    let rest = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) if (line.startsWith('{')) this.log.push(JSON.parse(line));
    });
    child.stderr.setEncoding('utf8').on('data', (text) => (this.stderr += text));
    child.once('exit', (code, signal) => {
      if (this.#isClosing) return;
      if (signal === 'SIGKILL') return this.start();
      const last = this.log.slice(-3).map((line) => JSON.stringify(line));
      this.onEnd(
        `${this.name}: exit code ${code}, signal ${signal}\n${last.join('\n')}\n${this.stderr.slice(-2_000)}`,
      );
    });
  }

  /** kill -9; the next life begins as soon as this one has ended. False while it is dying already. */
  kill() {
    const child = this.#child;
    if (child === undefined || child.killed || child.exitCode !== null || this.#isClosing) return false;
    if (!child.kill('SIGKILL')) return false;
    this.life += 1;
    this.kills += 1;
    return true;
  }

  /** Asks it to stop; its exit code. */
  async close() {
    this.#isClosing = true;
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return child?.exitCode;
    const gone = once(child, 'close');
    child.kill('SIGTERM');
    const late = setTimeout(() => child.kill('SIGKILL'), STOP_PATIENCE_MS);
    await gone;
    clearTimeout(late);
    return child.exitCode;
  }

  /** Ends it at once, for good. */
  end() {
    this.#isClosing = true;
    this.#child?.kill('SIGKILL');
  }
}

/** One proxy, or several that share their state. */
export class MortalProxies {
  /** @param {readonly MortalProxy[]} all */
  constructor(all) {
    this.all = all;
  }

  /** Rises with each death. */
  get life() {
    return this.all.reduce((sum, { life }) => sum + life, 0);
  }

  get kills() {
    return this.all.reduce((sum, { kills }) => sum + kills, 0);
  }

  get log() {
    return this.all.flatMap(({ log }) => log);
  }

  get stderr() {
    return this.all.map(({ stderr }) => stderr).join('');
  }

  /** @param {string | undefined} name */
  named(name) {
    return this.all.find((one) => one.name === name);
  }

  /** Any but this one, if there is another. @param {Chance} chance @param {MortalProxy} [than] @returns {MortalProxy} */
  other(chance, than) {
    const others = this.all.filter((one) => one !== than);
    return others.length > 0 ? chance.oneOf(others) : /** @type {MortalProxy} */ (this.all[0]);
  }

  /** Asks all to stop; those whose exit code is not 0. */
  async close() {
    const codes = await Promise.all(this.all.map(async (one) => ({ one, code: await one.close() })));
    return codes.filter(({ code }) => code !== 0).map(({ one, code }) => `${one.name} ended with ${code}`);
  }

  /** Ends all at once, for good. */
  end() {
    for (const one of this.all) one.end();
  }
}
