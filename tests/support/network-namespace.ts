import { spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const RELAY = fileURLToPath(new URL('./relay.mjs', import.meta.url));
let made = 0;

interface Address {
  readonly port?: number;
  readonly path?: string;
}

/** Why no network namespace can be made here; undefined when one can. */
export function whyNoNamespace(): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'needs root on Linux';
  try {
    NetworkNamespace.open().close();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/** A network namespace with loopback, and one cable to ours that can be cut. Gone with `close`. */
export class NetworkNamespace {
  /** Put in front of a command that is to run in it. */
  readonly wrapper: readonly string[];
  /** Our end of the cable. */
  readonly hostAddress: string;
  readonly #name: string;
  readonly #cable: string;
  readonly #relays: (() => void)[] = [];

  private constructor(name: string, hostAddress: string) {
    this.#name = name;
    this.#cable = `${name}h`;
    this.hostAddress = hostAddress;
    this.wrapper = ['ip', 'netns', 'exec', name];
  }

  static open(): NetworkNamespace {
    // A device's name has at most 15 letters.
    const number = made++;
    const name = `kp${process.pid}x${number}`;
    // Of the network for tests of benchmarks (RFC 2544): nobody's own.
    const network = `198.18.${process.pid % 256}.${(number * 4) % 256}`;
    const addressOf = (last: number): string =>
      network.replace(/\d+$/, (base) => String(Number(base) + last));
    const [hostAddress, address] = [addressOf(1), addressOf(2)];
    const namespace = new NetworkNamespace(name, hostAddress);
    try {
      ip('netns', 'add', name);
      ip('link', 'add', `${name}h`, 'type', 'veth', 'peer', 'name', `${name}n`, 'netns', name);
      ip('addr', 'add', `${hostAddress}/30`, 'dev', `${name}h`);
      ip('link', 'set', `${name}h`, 'up');
      ip('-n', name, 'addr', 'add', `${address}/30`, 'dev', `${name}n`);
      ip('-n', name, 'link', 'set', `${name}n`, 'up');
      ip('-n', name, 'link', 'set', 'lo', 'up');
      return namespace;
    } catch (error) {
      namespace.close();
      throw error;
    }
  }

  /** Nothing passes the cable, and nobody is told. */
  cut(): void {
    ip('link', 'set', this.#cable, 'down');
  }

  heal(): void {
    ip('link', 'set', this.#cable, 'up');
  }

  /** A port of our loopback that leads to one of its own, whether the cable is cut or not. */
  async into(port: number, folder: string): Promise<number> {
    const path = join(folder, `into-${port}.sock`);
    await this.#relay(this.wrapper, { path }, { port });
    return await this.#relay([], { port: 0 }, { path });
  }

  /** Makes a port of its loopback lead to one of ours, whether the cable is cut or not. */
  async outOf(port: number, to: number, folder: string): Promise<void> {
    const path = join(folder, `out-${port}.sock`);
    await this.#relay([], { path }, { port: to });
    await this.#relay(this.wrapper, { port }, { path });
  }

  /** May be called when it was never whole. */
  close(): void {
    for (const end of this.#relays) end();
    spawnSync('ip', ['netns', 'del', this.#name]);
    spawnSync('ip', ['link', 'del', this.#cable]);
  }

  /** The port it listens on; 0 for a Unix socket. */
  async #relay(wrapper: readonly string[], from: Address, to: Address): Promise<number> {
    const [command, ...args] = [...wrapper, process.execPath, RELAY, JSON.stringify([{ from, to }])] as const;
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#relays.push(() => child.kill('SIGKILL'));
    return await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`a relay ended with ${code}`)));
      child.stdout.setEncoding('utf8').once('data', (text: string) => {
        resolve((JSON.parse(text) as number[])[0] ?? 0);
      });
    });
  }
}

function ip(...args: string[]): void {
  const { status, stderr, error } = spawnSync('ip', args, { encoding: 'utf8' });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`ip ${args.join(' ')}: ${stderr.trim()}`);
}
