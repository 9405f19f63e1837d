import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';
import {
  openSandbox,
  type ReceivedCall,
  type Sandbox,
  type SandboxOptions,
} from '../../src/sandbox/sandbox.js';
import { PostgresServer } from './postgres.js';
import { ProxyProcess, type Exit, type LogLine } from './process-world.js';
import { testConfig, type ConfigParts } from './proxy-world.js';
import { rawRequest } from './sign.js';

const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
/** No child outlives this, not even one whose test runner was killed. */
const LIFETIME_MS = 600_000;
const LIFE_BOUND = `data:text/javascript,setTimeout(()=>process.kill(process.pid,'SIGKILL'),${LIFETIME_MS}).unref()`;
/** A wait that takes longer has failed. Far above what a loaded machine needs. */
const PATIENCE_MS = 30_000;
/** A node is asked whether it is ready this often, as a load balancer does. */
export const POLL_MS = 100;

/** Marks a call of a client, so that the sandbox can tell through which node it came. */
export const THROUGH = 'x-through';

export interface NodeOptions {
  /** Merged over the cluster's config. */
  readonly config?: ConfigParts;
  readonly env?: Readonly<Record<string, string>>;
  /** Put in front of the command, such as `ip netns exec`. */
  readonly wrapper?: readonly string[];
  /** Where the node's own address is reached from here. Default: at itself. */
  readonly reachedAt?: (url: string) => string;
  /** Instead of the sandbox's own address. */
  readonly upstream?: string;
  /** Instead of the cluster's. */
  readonly databaseUrl?: string;
}

/** One proxy of a cluster, in a process and a folder of its own, started as often as a test wants. */
export class ClusterNode {
  readonly name: string;
  /** How often it was started. */
  starts = 0;
  readonly #config: string;
  readonly #options: NodeOptions;
  readonly #env: Readonly<Record<string, string>>;
  readonly #past: ProxyProcess[] = [];
  #process: ProxyProcess | undefined;

  constructor(name: string, config: string, options: NodeOptions, env: Readonly<Record<string, string>>) {
    this.name = name;
    this.#config = config;
    this.#options = options;
    this.#env = env;
  }

  get process(): ProxyProcess {
    if (this.#process === undefined) throw new Error(`${this.name} was never started`);
    return this.#process;
  }

  /** What the processes of this node have logged, the earliest first. */
  get log(): readonly LogLine[] {
    return [...this.#past, this.process].flatMap(({ log }) => log);
  }

  /** What they wrote to standard error. */
  get stderr(): string {
    return [...this.#past, this.process].map(({ stderr }) => stderr).join('');
  }

  /** Where clients call; undefined while nobody listens there. */
  get url(): string | undefined {
    return this.#address(({ url }) => url);
  }

  get opsUrl(): string | undefined {
    return this.#address(({ opsUrl }) => opsUrl);
  }

  start(): void {
    const { wrapper = [], env = {} } = this.#options;
    const args = ['--import', LIFE_BOUND, MAIN, 'serve', '--config', this.#config];
    const [command = '', ...rest] = [...wrapper, process.execPath, ...args];
    if (this.#process !== undefined) this.#past.push(this.#process);
    this.#process = new ProxyProcess(command, rest, { PATH: process.env.PATH ?? '', ...this.#env, ...env });
    this.starts++;
  }

  /** Resolves when it says of itself that it is ready. */
  async ready(): Promise<void> {
    const { process } = this;
    await eventually(`${this.name} is ready`, async () => {
      if (!process.running) await process.line('listening'); // which says how it ended
      return (await this.readiness()).status === 200;
    });
  }

  /** What /readyz says; status 0 when it says nothing. */
  async readiness(): Promise<{ status: number; reason: string; detail: string }> {
    const none = { status: 0, reason: '', detail: '' };
    const url = this.opsUrl;
    if (url === undefined) return none;
    const reply = await Promise.race([
      rawRequest(url, '/readyz', 'GET', '', {}).catch(() => undefined),
      delay(1_000, undefined, { ref: false }),
    ]);
    if (reply === undefined) return none;
    const { reasons } = JSON.parse(reply.body.toString()) as {
      reasons?: { reason: string; detail: string }[];
    };
    return { ...none, ...reasons?.[0], status: reply.status };
  }

  /** kill -9, and gone when this resolves. */
  async crash(): Promise<void> {
    await this.#process?.crash();
  }

  /** Asks it to stop, and waits for its end. */
  async stop(): Promise<Exit> {
    this.process.kill('SIGTERM');
    return await this.process.exit();
  }

  #address(part: (process: ProxyProcess) => string): string | undefined {
    const { reachedAt = (url: string) => url } = this.#options;
    const process = this.#process;
    const listens = process?.running === true && process.log.some(({ msg }) => msg === 'listening');
    return listens ? reachedAt(part(process)) : undefined;
  }
}

export interface ClusterOptions {
  /** How many nodes. Default 3. */
  readonly nodes?: number;
  /** Merged over the config of each node. */
  readonly config?: ConfigParts;
  readonly sandbox?: Partial<SandboxOptions>;
  readonly postgres?: Parameters<typeof PostgresServer.start>[0];
  /** Done before the first node starts, such as to put something between the nodes and the database. */
  readonly setUp?: (world: ClusterWorld) => Promise<SetUp> | SetUp;
}

export interface SetUp {
  /** Where the nodes find the database. Default: at itself. */
  readonly databaseUrl?: string;
  /** Options of single nodes, by their index. */
  readonly optionsOf?: (index: number) => NodeOptions;
}

/** Several proxies in processes of their own, on one PostgreSQL, in front of one strict sandbox in this process. */
export class ClusterWorld {
  readonly sandbox: Sandbox;
  readonly postgres: PostgresServer;
  /** Of the database itself, whatever lies in front of it. */
  readonly databaseUrl: string;
  readonly folder = mkdtempSync(join(tmpdir(), 'kraken-cluster-'));
  readonly nodes: ClusterNode[] = [];
  /** Told of each private call as it arrives at the sandbox, before it is executed. */
  onArrival: (call: ReceivedCall) => void = () => undefined;
  readonly #cleanups: (() => unknown)[] = [];

  private constructor(sandbox: Sandbox, postgres: PostgresServer, databaseUrl: string) {
    this.sandbox = sandbox;
    this.postgres = postgres;
    this.databaseUrl = databaseUrl;
  }

  /** Opens everything; all nodes are ready. */
  static async open(options: ClusterOptions = {}): Promise<ClusterWorld> {
    if (!existsSync(MAIN)) throw new Error(`${MAIN} is missing: npm run build`);
    const { nodes = 3, setUp } = options;
    const postgres = await PostgresServer.start(options.postgres);
    let world: ClusterWorld | undefined;
    try {
      const databaseUrl = await postgres.freshDatabase();
      // The sandbox draws a number for each private call as it arrives; the fault itself never hits.
      const random = (): number => {
        const call = sandbox.received.at(-1);
        if (call !== undefined) world?.onArrival(call);
        return 1;
      };
      const base = { keys: DEMO_KEYS, callCounter: false, delayMs: 2, keepReceived: 1_000_000, random };
      const sandbox = await openSandbox({ ...base, ...options.sandbox });
      sandbox.fault({ kind: 'delay', times: Infinity, probability: 0.5 });
      world = new ClusterWorld(sandbox, postgres, databaseUrl);
      const { databaseUrl: url = databaseUrl, optionsOf = () => ({}) } = (await setUp?.(world)) ?? {};
      for (let index = 0; index < nodes; index++) world.#add(index, options.config, optionsOf(index), url);
      for (const node of world.nodes) node.start();
      await Promise.all(world.nodes.map((node) => node.ready()));
      return world;
    } catch (error) {
      await (world?.close() ?? postgres.remove());
      throw error;
    }
  }

  /** The node that a call at the sandbox came through; undefined for a node's own questions. */
  nodeOf({ headers }: ReceivedCall): ClusterNode | undefined {
    return this.nodes.find(({ name }) => name === headers[THROUGH]);
  }

  /** Acts on the node whose call arrives next at the sandbox, while that call is in flight: it holds the lane. */
  async onHolder(act: (holder: ClusterNode) => void, among = this.nodes): Promise<ClusterNode> {
    return await new Promise((resolve, reject) => {
      const done = (): void => {
        clearTimeout(timer);
        this.onArrival = () => undefined;
      };
      const timer = setTimeout(() => {
        done();
        reject(new Error(`no call of a client came within ${PATIENCE_MS} ms`));
      }, PATIENCE_MS);
      this.onArrival = (call) => {
        const holder = this.nodeOf(call);
        if (holder === undefined || !among.includes(holder)) return;
        done();
        act(holder);
        resolve(holder);
      };
    });
  }

  /**
   * How long after a moment, unix ms, the first call of a client came to Kraken through another node than this one, ms.
   * Rejects when none comes.
   */
  async goesOnAfter(moment: number, without: ClusterNode): Promise<number> {
    const isOther = (call: ReceivedCall): boolean => {
      const node = this.nodeOf(call);
      return call.at >= moment && node !== undefined && node !== without;
    };
    await eventually('a call through another node', () => this.sandbox.received.some(isOther));
    return (this.sandbox.received.find(isOther)?.at ?? Infinity) - moment;
  }

  /** Done at the end of the test, last one first, whatever happens before. */
  onClose(cleanup: () => unknown): void {
    this.#cleanups.push(cleanup);
  }

  async close(): Promise<void> {
    this.#keepLogs();
    const failed: unknown[] = [];
    for (const cleanup of [
      ...this.#cleanups.reverse(),
      ...this.nodes.map((node) => () => node.crash()),
      () => this.sandbox.close(),
      () => this.postgres.remove(),
      () => rmSync(this.folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 }),
    ])
      await Promise.resolve(cleanup()).catch((error: unknown) => failed.push(error));
    if (failed.length > 0) throw failed[0];
  }

  /** `CLUSTER_LOGS=<folder>` keeps what the nodes have logged and what Kraken received. */
  #keepLogs(): void {
    const folder = process.env.CLUSTER_LOGS;
    if (folder === undefined) return;
    mkdirSync(folder, { recursive: true });
    const lines = (all: readonly object[]): string => all.map((one) => `${JSON.stringify(one)}\n`).join('');
    for (const { name, log } of this.nodes) writeFileSync(join(folder, `${name}.log`), lines(log));
    const received = this.sandbox.received.map((call) => ({ ...call, rawBody: call.rawBody.toString() }));
    writeFileSync(join(folder, 'kraken.log'), lines(received));
  }

  #add(index: number, shared: ConfigParts | undefined, options: NodeOptions, databaseUrl: string): void {
    const name = `node-${index + 1}`;
    const folder = join(this.folder, name);
    mkdirSync(folder);
    const parts = { ...shared, ...options.config };
    const config = {
      ...testConfig(options.upstream ?? this.sandbox.url, parts),
      nonce: { store: 'postgres', url: { env: 'DATABASE_URL' } },
    };
    const file = join(folder, 'proxy.config.json');
    writeFileSync(file, JSON.stringify(config));
    const env = { DATABASE_URL: options.databaseUrl ?? databaseUrl };
    this.nodes.push(new ClusterNode(name, file, options, env));
  }
}

/** Gives a test a cluster of its own, gone at its end however it ends. */
export async function inCluster(
  options: ClusterOptions,
  test: (world: ClusterWorld) => Promise<void>,
): Promise<void> {
  const world = await ClusterWorld.open(options);
  open.add(world);
  try {
    await test(world);
  } finally {
    open.delete(world);
    await world.close();
  }
}

const open = new Set<ClusterWorld>();

/** For `afterAll`: what a test that ran out of time has left behind. */
export async function closeClustersLeftOpen(): Promise<void> {
  await Promise.all([...open].map((world) => world.close()));
}

/** Looks until it is so; rejects after a bound no healthy run comes near. */
export async function eventually(
  what: string,
  condition: () => boolean | Promise<boolean>,
  patienceMs = PATIENCE_MS,
): Promise<void> {
  const end = performance.now() + patienceMs;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`never came to be: ${what}`);
    await delay(10);
  }
}

/** One line of figures in the test's output. */
export function figures(run: string, values: Readonly<Record<string, number | string>>): void {
  const told = Object.entries(values).map(([name, value]) => `${name} ${value}`);
  process.stderr.write(`cluster, ${run}: ${told.join(', ')}\n`);
}
