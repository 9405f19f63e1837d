import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import ts from 'typescript';
import { ServiceManager, type ServiceManagerOptions } from '../../src/service-manager.js';

const SOURCE = new URL('../../src/service-manager.ts', import.meta.url);
const SYSTEM_PATH = '/usr/bin:/bin';

/**
 * A folder with a systemd-notify of the test's own, which notes each message, the shell that sent it and all it was
 * given in its environment.
 */
class World {
  readonly folder = mkdtempSync(join(tmpdir(), 'kraken-notify-'));
  readonly bin = join(this.folder, 'bin');
  readonly problems: string[] = [];
  readonly #notes = join(this.folder, 'notes');
  #managers: ServiceManager[] = [];

  constructor() {
    mkdirSync(this.bin);
    this.install('');
  }

  install(more: string): void {
    const notify = join(this.bin, 'systemd-notify');
    const script = `#!/bin/sh
line=$PPID; for part in "$@"; do line="$line|$part"; done
printf '%s\\n' "$line" >> '${this.#notes}'
/usr/bin/env > '${this.folder}/env'
${more}`;
    // One that is running cannot be written over.
    rmSync(notify, { force: true });
    writeFileSync(notify, script);
    chmodSync(notify, 0o755);
  }

  get env(): Record<string, string> {
    return { NOTIFY_SOCKET: join(this.folder, 'socket'), PATH: `${this.bin}:${SYSTEM_PATH}` };
  }

  manager(options: Partial<ServiceManagerOptions> = {}): ServiceManager {
    const onTrouble = (problem: string): void => void this.problems.push(problem);
    const manager = new ServiceManager({ env: this.env, isWell: () => true, onTrouble, ...options });
    this.#managers.push(manager);
    return manager;
  }

  /** What systemd was told, in order: the parts of a message between bars. */
  get messages(): string[] {
    return this.#read().map((line) => line.slice(line.indexOf('|') + 1));
  }

  /** The shells that told it. */
  get relays(): number[] {
    return [...new Set(this.#read().map((line) => Number(line.split('|')[0])))];
  }

  /** The environment that systemd-notify had. */
  get passedOn(): string {
    return readFileSync(join(this.folder, 'env'), 'utf8');
  }

  async close(): Promise<void> {
    await Promise.all(this.#managers.map((manager) => manager.close()));
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  }

  #read(): string[] {
    if (!existsSync(this.#notes)) return [];
    return readFileSync(this.#notes, 'utf8').split('\n').slice(0, -1);
  }
}

const worlds: World[] = [];
const newWorld = (): World => {
  const world = new World();
  worlds.push(world);
  return world;
};
afterEach(async () => {
  await Promise.all(worlds.splice(0).map((world) => world.close()));
});

/** Looks every few ms: what is waited for happens in other processes. Jest's own timeout is the bound. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await delay(5);
}

/** State and process group (proc(5)); undefined once the process is gone. */
function statOf(pid: number): { state: string; group: number } | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [state = '', , group] = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { state, group: Number(group) };
  } catch {
    return undefined;
  }
}

/** An orphan that has ended stays a zombie until process 1 looks, which may take it seconds. */
function isRunning(pid: number): boolean {
  const stat = statOf(pid);
  return stat !== undefined && stat.state !== 'Z';
}

it('start, reload and stop are told in order, each as one message', async () => {
  const world = newWorld();
  const manager = world.manager();
  const before = process.hrtime.bigint() / 1_000n;
  manager.ready('serves 2 accounts');
  manager.status('breaker of master is open');
  manager.reloading();
  manager.ready('reloaded');
  manager.stopping();
  await manager.close();
  expect(world.messages).toEqual([
    'READY=1|STATUS=serves 2 accounts',
    'STATUS=breaker of master is open',
    expect.stringMatching(/^RELOADING=1\|MONOTONIC_USEC=\d+$/),
    'READY=1|STATUS=reloaded',
    'STOPPING=1|STATUS=stopping',
  ]);
  const reloadedAt = BigInt(world.messages[2]?.split('MONOTONIC_USEC=')[1] ?? 0);
  expect(reloadedAt).toBeGreaterThanOrEqual(before);
  expect(reloadedAt).toBeLessThanOrEqual(process.hrtime.bigint() / 1_000n);
  expect(world.problems).toEqual([]);
});

it('our process forks once, however much there is to tell', async () => {
  const world = newWorld();
  const manager = world.manager();
  for (let turn = 0; turn < 20; turn++) manager.status(`turn ${turn}`);
  await manager.close();
  expect(world.messages).toHaveLength(20);
  expect(world.relays).toHaveLength(1);
});

it('a text neither splits a message nor runs in the shell', async () => {
  const world = newWorld();
  const manager = world.manager();
  manager.status(`$(touch ${world.folder}/owned) \`id\` * 'a' "b" \\ -x`);
  manager.status('two\nlines\tREADY=1\u0000');
  manager.status('x'.repeat(10_000));
  await manager.close();
  expect(world.messages).toEqual([
    `STATUS=$(touch ${world.folder}/owned) \`id\` * 'a' "b" \\ -x`,
    'STATUS=two lines READY=1 ',
    `STATUS=${'x'.repeat(200)}`,
  ]);
  expect(existsSync(join(world.folder, 'owned'))).toBe(false);
});

it('without NOTIFY_SOCKET nothing is started', async () => {
  const world = newWorld();
  for (const NOTIFY_SOCKET of [undefined, '']) {
    const manager = world.manager({ env: { ...world.env, NOTIFY_SOCKET, WATCHDOG_USEC: '20000' } });
    manager.ready('ready');
    await delay(50);
    await manager.close();
  }
  expect({ messages: world.messages, problems: world.problems }).toEqual({ messages: [], problems: [] });
});

it('no secret of our environment reaches the relay', async () => {
  const world = newWorld();
  const manager = world.manager({
    env: { ...world.env, WATCHDOG_USEC: '30000000', KRAKEN_MASTER_SECRET: 'c2VjcmV0', HOME: '/root' },
  });
  manager.ready('ready');
  await manager.close();
  const names = world.passedOn
    .trim()
    .split('\n')
    .map((line) => line.split('=')[0]);
  // The shell adds PWD, OLDPWD, SHLVL and _.
  const known = ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'PATH', 'PWD', 'OLDPWD', 'SHLVL', '_'];
  expect(names).toContain('NOTIFY_SOCKET');
  expect(names.filter((name) => !known.includes(name ?? ''))).toEqual([]);
});

describe('the watchdog', () => {
  const fed = (world: World): number => world.messages.filter((message) => message === 'WATCHDOG=1').length;

  it('is fed while the proxy is well, and no longer', async () => {
    const world = newWorld();
    let isWell: () => boolean = () => true;
    world.manager({ env: { ...world.env, WATCHDOG_USEC: '40000' }, isWell: () => isWell() });
    await until(() => fed(world) >= 3);
    isWell = () => false;
    await delay(60); // what was under way
    const before = fed(world);
    await delay(100);
    expect(fed(world)).toBe(before);
    isWell = () => {
      throw new Error('a bug');
    };
    await delay(60);
    expect(fed(world)).toBe(before);
    isWell = () => true;
    await until(() => fed(world) > before);
  });

  it('is fed at half of its time', async () => {
    const world = newWorld();
    let asked = 0;
    const started = performance.now();
    world.manager({ env: { ...world.env, WATCHDOG_USEC: '200000' }, isWell: () => (asked++, true) });
    await until(() => asked >= 3);
    // Timers may be late, never early by more than their rounding.
    expect(performance.now() - started).toBeGreaterThanOrEqual(297);
  });

  it.each([
    ['there is none', {}],
    ['it waits for another process', { WATCHDOG_USEC: '20000', WATCHDOG_PID: '1' }],
    ['its time is no number', { WATCHDOG_USEC: '-5' }],
    ['its time is beyond all timers', { WATCHDOG_USEC: '9999999999999999' }],
  ])('is not fed when %s', async (_, env) => {
    const world = newWorld();
    let asked = 0;
    world.manager({ env: { ...world.env, ...env }, isWell: () => (asked++, true), pid: 4711 });
    await delay(80);
    expect(asked).toBe(0);
  });

  it('is fed when it waits for this very process', async () => {
    const world = newWorld();
    world.manager({ env: { ...world.env, WATCHDOG_USEC: '20000', WATCHDOG_PID: '4711' }, pid: 4711 });
    await until(() => fed(world) >= 1);
  });
});

describe('trouble', () => {
  it('a missing systemd-notify is told once, and nothing is tried again', async () => {
    const world = newWorld();
    const manager = world.manager({ env: { ...world.env, PATH: join(world.folder, 'nothing') } });
    manager.ready('ready');
    await until(() => world.problems.length > 0);
    await delay(50);
    for (let turn = 0; turn < 3; turn++) {
      manager.status('more');
      await delay(20);
    }
    expect(world.problems).toEqual(['the service manager was not told: systemd-notify is not on PATH']);
  });

  it('a systemd-notify that fails is told once, with its words, and the next message is tried all the same', async () => {
    const world = newWorld();
    world.install('echo "Failed to notify init system: Permission denied" >&2; exit 1');
    const manager = world.manager();
    manager.ready('ready');
    manager.status('more');
    await until(() => world.problems.length > 0);
    await manager.close();
    expect(world.messages).toHaveLength(2);
    expect(world.problems).toEqual([expect.stringContaining('Permission denied')]);
  });

  it('a relay that was killed is replaced by the next message', async () => {
    const world = newWorld();
    const manager = world.manager();
    manager.ready('ready');
    await until(() => world.relays.length === 1);
    const [first = 0] = world.relays;
    process.kill(first, 'SIGKILL');
    // Its end may not be known here yet: then that message is lost, as one to a socket nobody reads.
    while (world.relays.length < 2) {
      manager.status('still there');
      await delay(20);
    }
    expect(world.problems).toEqual([]);
  });

  it('a systemd-notify that hangs holds the end up for a second at most, and dies with it', async () => {
    const world = newWorld();
    world.install(`echo $$ > '${world.folder}/hangs'; exec sleep 600`);
    const manager = world.manager();
    manager.ready('ready');
    await until(
      () =>
        existsSync(join(world.folder, 'hangs')) && readFileSync(join(world.folder, 'hangs'), 'utf8') !== '',
    );
    const hanging = Number(readFileSync(join(world.folder, 'hangs'), 'utf8'));
    const from = performance.now();
    await manager.close();
    expect(performance.now() - from).toBeLessThan(5_000);
    await until(() => !isRunning(hanging));
  });
});

// systemd is Linux's, and so is /proc.
(process.platform === 'linux' ? describe : describe.skip)('beside the proxy', () => {
  /** A program for a process of its own, beside the service manager; gives its path. */
  function writeMain(world: World, text: string): string {
    const { outputText } = ts.transpileModule(readFileSync(SOURCE, 'utf8'), {
      compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 },
    });
    writeFileSync(join(world.folder, 'service-manager.mjs'), outputText);
    const main = join(world.folder, 'main.mjs');
    writeFileSync(main, text);
    return main;
  }

  /** A process of its own that has told systemd that it is ready. */
  async function inOwnProcess(
    world: World,
  ): Promise<{ pid: number; ended: Promise<unknown>; kill: (s: NodeJS.Signals) => void }> {
    const main = writeMain(
      world,
      `import { ServiceManager } from './service-manager.mjs';
       const manager = new ServiceManager({ env: process.env, isWell: () => true, onTrouble: () => process.exit(9) });
       manager.ready('ready');
       process.once('SIGTERM', async () => { manager.stopping(); await manager.close(); process.exit(0); });
       process.once('SIGUSR2', () => clearTimeout(life));
       const life = setTimeout(() => undefined, 30_000);`,
    );
    const child = spawn(process.execPath, [main], { env: world.env, stdio: 'ignore', detached: true });
    const ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve(signal ?? code)));
    await until(() => world.messages.length > 0);
    return { pid: child.pid ?? 0, ended, kill: (signal) => void child.kill(signal) };
  }

  it('the relay does not outlive a proxy that is killed', async () => {
    const world = newWorld();
    const { kill, ended } = await inOwnProcess(world);
    const [relay = 0] = world.relays;
    expect(isRunning(relay)).toBe(true);
    kill('SIGKILL');
    await ended;
    await until(() => !isRunning(relay));
  });

  it('the relay keeps no proxy alive', async () => {
    const world = newWorld();
    const { kill, ended } = await inOwnProcess(world);
    kill('SIGUSR2'); // ends its only other work
    expect(await ended).toBe(0);
    const [relay = 0] = world.relays;
    await until(() => !isRunning(relay));
  });

  it('a stop that reaches every process of the service still lets the last words out', async () => {
    const world = newWorld();
    const { kill, ended } = await inOwnProcess(world);
    const [relay = 0] = world.relays;
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.kill(relay, signal);
    kill('SIGTERM');
    expect(await ended).toBe(0);
    expect(world.messages.at(-1)).toBe('STOPPING=1|STATUS=stopping');
    expect(world.relays).toEqual([relay]);
  });

  it('without a free file descriptor it is told once, and told on when there is one again', async () => {
    const world = newWorld();
    const main = writeMain(
      world,
      `import { closeSync, openSync } from 'node:fs';
       import { setTimeout as delay } from 'node:timers/promises';
       import { ServiceManager } from './service-manager.mjs';
       const problems = [];
       const onTrouble = (problem) => problems.push(problem);
       const manager = new ServiceManager({ env: process.env, isWell: () => true, onTrouble });
       const taken = [];
       try { for (;;) taken.push(openSync('/dev/null')); } catch {}
       manager.ready('lost');
       await delay(50);
       manager.status('lost as well');
       await manager.close();
       const again = new ServiceManager({ env: process.env, isWell: () => true, onTrouble });
       again.status('lost too');
       await delay(50);
       for (const one of taken) closeSync(one);
       again.status('heard');
       await again.close();
       process.stdout.write(JSON.stringify(problems));`,
    );
    const child = spawn('/bin/sh', ['-c', 'ulimit -n 60 && exec "$0" "$1"', process.execPath, main], {
      env: world.env,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    let told = '';
    child.stdout.setEncoding('utf8').on('data', (piece: string) => (told += piece));
    expect(await new Promise((resolve) => child.once('close', resolve))).toBe(0);
    const problem = expect.stringMatching(/^the service manager was not told: .*EMFILE/) as unknown;
    expect(JSON.parse(told)).toEqual([problem, problem]); // one of each manager
    expect(world.messages).toEqual(['STATUS=heard']);
  });

  it('what is meant for the process group of the proxy does not reach the relay', async () => {
    const world = newWorld();
    const { pid, ended } = await inOwnProcess(world);
    const [relay = 0] = world.relays;
    expect(statOf(relay)?.group).toBe(relay);
    process.kill(-pid, 'SIGKILL');
    await ended;
    await until(() => !isRunning(relay));
  });
});
