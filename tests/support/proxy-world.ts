import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseConfig, type Config } from '../../src/config.js';
import { SlowDown } from '../../src/http/slow-down.js';
import { ENDPOINT_GROUPS } from '../../src/kraken/endpoints.js';
import { createLog } from '../../src/log.js';
import type { Status } from '../../src/operator/views.js';
import { openSandbox, type Sandbox, type SandboxOptions } from '../../src/sandbox/sandbox.js';
import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';
import { openServer, type Server } from '../../src/server.js';
import { rawRequest } from './sign.js';

export interface ProxyWorld {
  /** The strict sandbox behind the proxy. */
  readonly sandbox: Sandbox;
  readonly server: Server;
  /** Base URL for clients. */
  readonly url: string;
  readonly opsUrl: string;
  readonly folder: string;
  readonly stateFile: string;
  /** Every line logged so far, parsed. */
  readonly log: readonly Record<string, unknown>[];
  /** What the server reported as fatal. */
  readonly fatal: readonly unknown[];
  /** How often an operator has stopped it. */
  readonly stops: { count: number };
  /** An operator's act. */
  act(name: string, fields?: Readonly<Record<string, unknown>>): Promise<{ status: number; body: ActAnswer }>;
  /** What the operator sees. */
  status(): Promise<Status>;
  /** What the config says from now on, once it is reloaded; text stands for the whole file. */
  rewrite(config: ConfigParts | string): void;
  close(): Promise<void>;
}

/** Whatever an act is answered with. */
export type ActAnswer = Readonly<Record<string, unknown>> & {
  readonly error?: { readonly code: string; readonly message: string };
};

/** Any part of proxy.config.json; merged over a config for tests: free ports, no startup window. */
export type ConfigParts = Readonly<Record<string, object | string>>;

export interface WorldOptions {
  readonly config?: ConfigParts;
  readonly sandbox?: Partial<SandboxOptions>;
  /** Hold back answers to bad credentials; otherwise to the slow-down each one is the first in an hour. */
  readonly slowsDown?: boolean;
  /** Use this folder (of an earlier world) instead of a new one; it is not removed at the end. */
  readonly folder?: string;
}

/** A client that may call everything, endpoints that move money and one that is in no table among it. */
export const ANYTHING = {
  config: {
    clients: {
      anything: {
        key: 'anything',
        accounts: ['master', 'alice'],
        allow: [...ENDPOINT_GROUPS, 'NotInTheTable'],
      },
    },
  },
  headers: { 'API-Key': 'anything' },
} as const;

/** A proxy in this process in front of a sandbox of its own: real sockets, real files, real signatures. */
export async function openProxyWorld(options: WorldOptions = {}): Promise<ProxyWorld> {
  const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'kraken-proxy-'));
  const sandbox = await openSandbox({ keys: DEMO_KEYS, callCounter: false, ...options.sandbox });
  const file = join(folder, 'proxy.config.json');
  let written = JSON.stringify(testConfig(sandbox.url, options.config));
  const readConfig = (): Config => parseConfig(written, { file, env: {} });
  const config = readConfig();
  const stops = { count: 0 };
  const lines: Record<string, unknown>[] = [];
  const fatal: unknown[] = [];
  const destination = { write: (line: string) => lines.push(JSON.parse(line) as Record<string, unknown>) };
  let hour = 0;
  const slowDown = options.slowsDown === true ? new SlowDown() : new SlowDown(() => ++hour * 3_600_000);
  try {
    const server = await openServer({
      config,
      slowDown,
      log: createLog({ level: 'trace', destination }),
      version: '0.0.0-test',
      onFatal: (error) => fatal.push(error),
      readConfig,
      onStop: () => stops.count++,
    });
    const close = async (): Promise<void> => {
      await server.close();
      await sandbox.close();
      if (options.folder === undefined) rmSync(folder, { recursive: true, force: true });
    };
    const { url, opsUrl } = server;
    const operator = new Operator(opsUrl);
    return {
      ...{
        sandbox,
        server,
        url,
        opsUrl,
        folder,
        stateFile: config.nonce.file,
        log: lines,
        fatal,
        stops,
        close,
      },
      act: (name, fields) => operator.act(name, fields),
      status: () => operator.status(),
      rewrite: (next) => {
        written = typeof next === 'string' ? next : JSON.stringify(testConfig(sandbox.url, next));
      },
    };
  } catch (error) {
    await sandbox.close();
    throw error;
  }
}

/** A person at the operator's listener. */
class Operator {
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  async act(
    name: string,
    fields: Readonly<Record<string, unknown>> = {},
  ): Promise<{ status: number; body: ActAnswer }> {
    const body = JSON.stringify({ who: 'a test', why: 'to see', ...fields });
    const headers = { 'content-type': 'application/json' };
    const reply = await rawRequest(this.#url, `/v1/${name}`, 'POST', body, headers);
    return { status: reply.status, body: JSON.parse(reply.body.toString()) as ActAnswer };
  }

  async status(): Promise<Status> {
    for (;;) {
      const { status, body } = await rawRequest(this.#url, '/v1/status', 'GET', '', {});
      if (status === 200) return JSON.parse(body.toString()) as Status;
      // A test that looks again and again may ask too often.
      if (status !== 429) throw new Error(`/v1/status: HTTP ${status}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

/** A config's object for tests, against an upstream on loopback. */
export function testConfig(upstream: string, parts: ConfigParts = {}): object {
  const base: Record<string, object | string> = {
    listen: { port: 0 },
    ops: { port: 0 },
    upstream: { url: upstream },
    nonce: { file: 'state.txt' },
    startup: { windowMs: 0 },
    // Each call goes to Kraken by itself, which does not count either, unless a test wants it to.
    pacing: { enabled: false, merge: false },
    publicCalls: { perSecond: 1000, burst: 1000 },
    // Its questions would be among the calls that tests count.
    doctor: { enabled: false },
    journal: { enabled: false },
    accounts: Object.fromEntries(DEMO_KEYS.map(({ account, key, secret }) => [account, { key, secret }])),
    defaultAccount: 'master',
  };
  for (const [name, part] of Object.entries(parts)) {
    const own = base[name];
    base[name] = typeof part === 'object' && typeof own === 'object' ? { ...own, ...part } : part;
  }
  return base;
}
