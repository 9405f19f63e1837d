import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';
import { openSandbox, type Sandbox, type SandboxOptions } from '../../src/sandbox/sandbox.js';
import { openGate, type Gate } from './gate.js';
import { TestClient } from './http.js';
import { testConfig, type ConfigParts } from './proxy-world.js';
import type { SignedReply } from './sign.js';

const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
/** No child outlives this, not even one whose test runner was killed. */
const LIFETIME_MS = 60_000;
const LIFE_BOUND = `data:text/javascript,setTimeout(()=>process.kill(process.pid,'SIGKILL'),${LIFETIME_MS}).unref()`;
/** A wait that takes longer has failed. Far above what a loaded machine needs. */
const PATIENCE_MS = 15_000;

/** The public keys of the two accounts in every config. */
export const [MASTER = '', ALICE = ''] = DEMO_KEYS.map(({ key }) => key);

/** One line of the proxy's JSON log. */
export interface LogLine extends Readonly<Record<string, unknown>> {
  readonly time: string;
  readonly msg?: string;
}

/** How a process ended. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A child process of `dist/main.js`. */
export class ProxyProcess {
  /** Monotonic ms. */
  readonly spawnedAt = performance.now();
  readonly log: LogLine[] = [];
  stdout = '';
  stderr = '';
  readonly #child: ChildProcess;
  readonly #exit: Promise<Exit>;
  readonly #onNews = new Set<() => void>();
  #ended: Exit | undefined;
  #rest = '';

  constructor(command: string, args: readonly string[], env: Readonly<Record<string, string>>) {
    this.#child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env });
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => this.#read(text));
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
      this.#news();
    });
    this.#exit = new Promise((resolve, reject) => {
      this.#child.once('error', reject);
      this.#child.once('close', (code, signal) => {
        this.#ended = { code, signal };
        resolve(this.#ended);
        this.#news();
      });
    });
    this.#exit.catch(() => undefined);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** The client's address; after `listening`. */
  get url(): string {
    return String(this.log.find(({ msg }) => msg === 'listening')?.url);
  }

  /** The operator's address; after `listening`. */
  get opsUrl(): string {
    return String(this.log.find(({ msg }) => msg === 'listening')?.ops);
  }

  /** The first line with this message, logged already or still to come. Rejects when the process ends without. */
  async line(message: string): Promise<LogLine> {
    const find = (): LogLine | undefined => this.log.find(({ msg }) => msg?.startsWith(message) === true);
    await this.#until(() => find() !== undefined || this.#ended !== undefined, `log "${message}"`);
    const found = find();
    if (found === undefined) throw new Error(`ended without logging "${message}"\n${this.#story()}`);
    return found;
  }

  /** Waits until standard output, whole, is like this: for a log that is not JSON, and for commands. */
  async says(pattern: RegExp): Promise<void> {
    await this.#until(() => pattern.test(this.stdout) || this.#ended !== undefined, `output ${pattern}`);
    if (!pattern.test(this.stdout)) throw new Error(`ended without saying ${pattern}\n${this.#story()}`);
  }

  /** Serves calls and owns the state. */
  async ready(): Promise<void> {
    await Promise.all([this.line('ready'), this.line('listening')]);
  }

  async exit(): Promise<Exit> {
    await this.#until(() => this.#ended !== undefined, 'the end of the process');
    return await this.#exit;
  }

  get running(): boolean {
    return this.#ended === undefined;
  }

  kill(signal: NodeJS.Signals): void {
    // `kill` answers false for a child that has ended, and never hits another process with its pid.
    this.#child.kill(signal);
  }

  /** kill -9, and gone when this resolves. A stopped process dies of it too. */
  async crash(): Promise<void> {
    this.kill('SIGKILL');
    await this.#exit.catch(() => undefined);
  }

  async #until(condition: () => boolean, what: string): Promise<void> {
    if (condition()) return;
    await new Promise<void>((resolve, reject) => {
      const done = (error?: Error): void => {
        clearTimeout(timer);
        this.#onNews.delete(look);
        if (error === undefined) resolve();
        else reject(error);
      };
      const look = (): void => {
        if (condition()) done();
      };
      const timer = setTimeout(
        () => done(new Error(`no ${what} within ${PATIENCE_MS} ms\n${this.#story()}`)),
        PATIENCE_MS,
      );
      this.#onNews.add(look);
    });
  }

  #read(text: string): void {
    this.stdout += text;
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    // The journal of systemd takes the priority in front off again.
    for (const line of lines.map((text) => text.replace(/^<\d>/, '')))
      if (line.startsWith('{')) this.log.push(JSON.parse(line) as LogLine);
    this.#news();
  }

  #news(): void {
    for (const look of [...this.#onNews]) look();
  }

  #story(): string {
    const end = this.#ended === undefined ? 'running' : `ended with ${JSON.stringify(this.#ended)}`;
    return `pid ${this.pid}, ${end}\n${this.stdout.slice(-3_000)}\n${this.stderr.slice(-3_000)}`;
  }
}

export interface ProcessOptions {
  /** Merged over the config for tests. */
  readonly config?: ConfigParts;
  /** Put in front of the command, such as `unshare --pid`. */
  readonly wrapper?: readonly string[];
}

/** Proxies in processes of their own, on one state, in front of one strict sandbox in this process. */
export class ProcessWorld {
  readonly sandbox: Sandbox;
  readonly folder = mkdtempSync(join(tmpdir(), 'kraken-process-'));
  /** Holds the state and nothing else. */
  readonly stateFolder = join(this.folder, 'state');
  readonly stateFile = join(this.stateFolder, 'nonce.txt');
  readonly lock = `${this.stateFile}.lock`;
  readonly holder = `${this.stateFile}.holder`;
  readonly #processes: ProxyProcess[] = [];
  readonly #cleanups: (() => unknown)[] = [];
  readonly #scrapers = new Map<ProxyProcess, TestClient>();
  #configs = 0;
  #firstStartMs = 0;

  private constructor(sandbox: Sandbox) {
    this.sandbox = sandbox;
    mkdirSync(this.stateFolder);
  }

  static async open(options: Partial<SandboxOptions> = {}): Promise<ProcessWorld> {
    if (!existsSync(MAIN)) throw new Error(`${MAIN} is missing: npm run build`);
    // The delay keeps one call in flight and the others waiting at a rate that a small machine bears.
    const sandbox = { keys: DEMO_KEYS, callCounter: false, delayMs: 2, keepReceived: 100_000, ...options };
    return new ProcessWorld(await openSandbox(sandbox));
  }

  /** Starts a proxy; it may not be ready yet. */
  start({ config = {}, wrapper = [] }: ProcessOptions = {}): ProxyProcess {
    return this.spawn(['serve', '--config', this.writeConfig(config)], wrapper);
  }

  /** Starts a proxy and waits until it serves. */
  async ready(options: ProcessOptions = {}): Promise<ProxyProcess> {
    return await this.#isReady(this.start(options));
  }

  /** Starts a proxy by a config that is there already, and waits until it serves. */
  async serving(file: string, wrapper: readonly string[] = []): Promise<ProxyProcess> {
    return await this.#isReady(this.spawn(['serve', '--config', file], wrapper));
  }

  async #isReady(proxy: ProxyProcess): Promise<ProxyProcess> {
    await proxy.ready();
    if (this.#processes.length === 1) this.#firstStartMs = performance.now() - proxy.spawnedAt;
    return proxy;
  }

  /** Runs any command line. */
  spawn(args: readonly string[], wrapper: readonly string[] = []): ProxyProcess {
    const [command = '', ...rest] = [...wrapper, process.execPath, '--import', LIFE_BOUND, MAIN, ...args];
    const started = new ProxyProcess(command, rest, { PATH: process.env.PATH ?? '' });
    this.#processes.push(started);
    return started;
  }

  /** Runs a command to its end. */
  async run(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
    const command = this.spawn(args);
    const { code } = await command.exit();
    return { code, out: command.stdout, err: command.stderr };
  }

  /** Path of a config for tests with these parts, in the world's folder: a new one unless `file` names it. */
  writeConfig(
    parts: ConfigParts = {},
    file = join(this.folder, `proxy-${++this.#configs}.config.json`),
  ): string {
    const { nonce, ...others } = parts;
    // The shortest reservation allowed: renewed, and so tried, twice a second.
    const own = { file: 'state/nonce.txt', reserveMs: 1_000, ...(nonce as object | undefined) };
    // A process may read it meanwhile.
    writeFileSync(`${file}.new`, JSON.stringify(testConfig(this.sandbox.url, { ...others, nonce: own })));
    renameSync(`${file}.new`, file);
    return file;
  }

  /** A client, closed with the world. `through` marks its calls, so that the sandbox can tell whose they are. */
  client(url: string, through = '', headers: Readonly<Record<string, string>> = {}): TestClient {
    const client = new TestClient(url, { 'x-through': through, ...headers });
    this.onClose(() => client.close());
    return client;
  }

  /** A gate in front of the sandbox, closed with the world: for a call that stays in flight until the test says. */
  async gate(): Promise<Gate> {
    const gate = await openGate();
    gate.leadTo(this.sandbox.url);
    this.onClose(() => gate.close());
    return gate;
  }

  /** Bots that call until they are stopped. */
  bots(url: string, count = 6): Bots {
    const bots = new Bots(url, count);
    this.onClose(() => bots.stop());
    return bots;
  }

  /** What /readyz says. */
  async readiness(proxy: ProxyProcess): Promise<{ status: number; reason: string; detail: string }> {
    const { status, body } = await this.client(proxy.opsUrl).raw('GET', '/readyz');
    const [first] = (JSON.parse(body.toString()) as { reasons: { reason: string; detail: string }[] })
      .reasons;
    return { status, reason: first?.reason ?? '', detail: first?.detail ?? '' };
  }

  /** The value of a metric without labels; its name without the prefix. */
  async gauge(proxy: ProxyProcess, name: string): Promise<number> {
    // One connection for all looks: a thousand of them, and the listener takes no more.
    let client = this.#scrapers.get(proxy);
    if (client === undefined) this.#scrapers.set(proxy, (client = this.client(proxy.opsUrl)));
    const { body } = await client.raw('GET', '/metrics');
    return Number(new RegExp(`^kraken_proxy_${name} (.*)$`, 'm').exec(body.toString())?.[1]);
  }

  /**
   * Fails unless it took at most `ms`. On a machine that is too busy to tell, which a start with nothing to wait
   * for shows by taking over half a second, it may have taken that much longer.
   */
  async expectWithin(ms: number, tookMs: number): Promise<void> {
    if (tookMs <= ms) return;
    const control = this.start({ config: { nonce: { file: `control-${performance.now()}/nonce.txt` } } });
    await control.ready();
    const startMs = Math.max(this.#firstStartMs, performance.now() - control.spawnedAt);
    expect(tookMs).toBeLessThan(ms + 4 * Math.max(0, startMs - 500));
  }

  readState(): string {
    return readFileSync(this.stateFile, 'latin1');
  }

  /** Done at the end of the test, last one first, whatever happens before. */
  onClose(cleanup: () => unknown): void {
    this.#cleanups.push(cleanup);
  }

  async close(): Promise<void> {
    await Promise.all(this.#processes.map((each) => each.crash()));
    for (const cleanup of this.#cleanups.reverse()) await cleanup();
    await this.sandbox.close();
    while (spawnSync('umount', ['-l', this.stateFolder], { stdio: 'ignore' }).status === 0); // whatever a test left mounted
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}

const open = new Set<ProcessWorld>();

/** Gives a test a world of its own, gone at its end however it ends: tests may run beside each other. */
export async function inWorld(
  test: (world: ProcessWorld) => Promise<void>,
  sandbox: Partial<SandboxOptions> = {},
): Promise<void> {
  const world = await ProcessWorld.open(sandbox);
  open.add(world);
  try {
    await test(world);
  } finally {
    open.delete(world);
    await world.close();
  }
}

/** For `afterAll`: what a test that ran out of time has left behind. */
export async function closeWorldsLeftOpen(): Promise<void> {
  await Promise.all([...open].map((world) => world.close()));
}

/** A load, and no more: what bots burn in between is missing for the proxies that other tests wait for. */
const [SERVED_PAUSE_MS, FAILED_PAUSE_MS] = [3, 15];

/** Bots that call one after the other, each on its own connections, and never give up. */
export class Bots {
  readonly url: string;
  /** Calls that Kraken answered. */
  served = 0;
  /** Monotonic ms of the latest of them. */
  servedAt = 0;
  /** The proxy's own errors that came back, `code: envelope`, and how often. */
  readonly errors = new Map<string, number>();
  /** Calls whose connection failed. */
  unreachable = 0;
  readonly #running: Promise<void>[];
  #stopped = false;

  constructor(url: string, count: number) {
    this.url = url;
    this.#running = Array.from({ length: count }, (_, index) => this.#run(index % 2 === 0 ? MASTER : ALICE));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#running);
  }

  async #run(apiKey: string): Promise<void> {
    const client = new TestClient(this.url, { 'api-key': apiKey });
    while (!this.#stopped) {
      try {
        const reply = await client.private('Balance');
        if (reply.json?.error.length === 0) {
          this.served++;
          this.servedAt = performance.now();
          await delay(SERVED_PAUSE_MS);
          continue;
        }
        const error = `${String(reply.headers['x-proxy-error'])}: ${reply.json?.error[0] ?? reply.status}`;
        this.errors.set(error, (this.errors.get(error) ?? 0) + 1);
      } catch {
        this.unreachable++;
      }
      await delay(FAILED_PAUSE_MS);
    }
    client.close();
  }
}

/** Looks until it is so; rejects after a bound no healthy run comes near. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + PATIENCE_MS;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`never came to be: ${what}`);
    await delay(5);
  }
}

/** The nonces of the private calls in order of arrival; of one client only when `through` is given. */
export function noncesAt(sandbox: Sandbox, through?: string): bigint[] {
  return sandbox.received
    .filter(({ nonce }) => nonce !== undefined)
    .filter(({ headers }) => through === undefined || headers['x-through'] === through)
    .map(({ nonce }) => BigInt(nonce ?? 0));
}

/** The strict sandbox took every call, in one rising sequence, never two at a time. */
export function expectFlawless(sandbox: Sandbox): void {
  const errors = new Set(sandbox.received.map(({ error }) => error));
  expect([...errors]).toEqual([undefined]);
  const nonces = noncesAt(sandbox);
  const fallen = nonces.filter((nonce, index) => index > 0 && nonce <= (nonces[index - 1] ?? 0n));
  expect(fallen).toEqual([]);
  expect(sandbox.maxInFlight).toBe(1);
}

export function expectServed(reply: SignedReply): void {
  expect({ error: reply.json?.error, status: reply.status }).toEqual({ error: [], status: 200 });
}

/** Refused by the proxy as one that does not own the state: Kraken's envelope, HTTP 200, the code in the header. */
export function expectNotOwner(reply: SignedReply): void {
  const { status, headers, json } = reply;
  expect({ status, code: headers['x-proxy-error'], error: json?.error }).toEqual({
    status: 200,
    code: 'not-owner',
    error: ['EService:Unavailable'],
  });
}

/**
 * A process on fresh state drew no nonce after it knew that the state was lost: there a nonce is the clock at the
 * draw, exactly. After that line its log tells of at most two sent calls, the one in flight and one that was
 * answered just before; how late a line is written says nothing about when its call left.
 */
export async function expectSilentOnceLost(proxy: ProxyProcess): Promise<void> {
  const lost = await proxy.line('cannot go on');
  const sent = proxy.log.filter(({ msg, nonce }) => msg === 'call' && nonce !== undefined);
  const drawnAt = sent.map(({ nonce }) => Number(BigInt(String(nonce)) / 1_000_000n));
  expect(drawnAt.filter((at) => at > Date.parse(lost.time))).toEqual([]);
  const after = proxy.log.slice(proxy.log.indexOf(lost)).filter((line) => sent.includes(line));
  expect(after.length).toBeLessThanOrEqual(2);
}

/** Whether this process may mount file systems: root on Linux with the right to. */
export function canMount(): boolean {
  const folder = mkdtempSync(join(tmpdir(), 'kraken-mount-'));
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=16k', 'tmpfs', folder]).status === 0;
  if (mounted) spawnSync('umount', ['-l', folder]);
  rmSync(folder, { recursive: true, force: true });
  return mounted;
}

/** Says in the test's output what could not be tested here. */
export function notHere(why: string): void {
  process.stderr.write(`not tested here: ${why}\n`);
}
