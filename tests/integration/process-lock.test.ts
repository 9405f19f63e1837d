import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { describeSelf, type Holder } from '../../src/nonce/holder.js';
import {
  closeWorldsLeftOpen,
  expectFlawless,
  expectServed,
  expectSilentOnceLost,
  inWorld,
  noncesAt,
  notHere,
  until,
  type ProcessOptions,
  type ProcessWorld,
} from '../support/process-world.js';

/** How long a lock that nobody renews is watched before it is taken. */
const ABANDONED_MS = 5_000;
/** A start that did not wait for that. */
const AT_ONCE_MS = 3_000;

afterAll(closeWorldsLeftOpen);

/** A lock as it was left behind, and the record beside it. */
function leaveLock(world: ProcessWorld, record: Holder | undefined): void {
  mkdirSync(world.lock);
  if (record !== undefined) writeFileSync(world.holder, JSON.stringify(record));
}

/** Starts a proxy; ms until it serves. */
async function msToServe(world: ProcessWorld, options?: ProcessOptions): Promise<number> {
  const proxy = world.start(options);
  await proxy.ready();
  const tookMs = performance.now() - proxy.spawnedAt;
  expectServed(await world.client(proxy.url).private('Balance'));
  return tookMs;
}

// Those that have to wait for a lock to be given up come first, so that they wait beside each other.
it.concurrent(
  'a process that slept through the loss of its lock sends nothing of what waited, and exits 75',
  () =>
    inWorld(async (world) => {
      const gate = await world.gate();
      const sleeper = await world.ready({
        config: { queue: { maxWaitMs: 60_000 }, upstream: { url: gate.url } },
      });
      const standby = world.start({ config: { nonce: { standby: true } } });
      await standby.line('standby');
      // Three calls at the moment it falls asleep: in flight, waiting in the lane, waiting in the socket.
      const client = world.client(sleeper.url, 'sleeper');
      expectServed(await client.private('Balance'));
      gate.shut();
      const inFlight = client.private('Balance');
      await until('a call in flight', () => noncesAt(world.sandbox, 'sleeper').length === 2);
      const inLane = client.private('AddOrder', {
        pair: 'XBTUSD',
        type: 'buy',
        ordertype: 'market',
        volume: '1',
      });
      await until('a call in the lane', async () => (await world.gauge(sleeper, 'lane_waiting')) === 1);
      sleeper.kill('SIGSTOP');
      const inSocket = client.private('Balance');
      inSocket.catch(() => undefined);

      await standby.line('ready');
      const other = world.client(standby.url, 'standby');
      expectServed(await other.private('Balance'));
      const sent = noncesAt(world.sandbox, 'sleeper').length;
      expect(sent).toBe(2);

      gate.open();
      sleeper.kill('SIGCONT');
      const wokeAt = performance.now();
      expectServed(await inFlight);
      // Noticed at the draw, or by the renewal, which then ends the process and cuts the last connection off.
      expect(['not-owner', 'shutting-down']).toContain((await inLane).headers['x-proxy-error']);
      const late = await inSocket.catch(() => undefined);
      expect(['not-owner', 'shutting-down', undefined]).toContain(late?.headers['x-proxy-error']);
      expect(await sleeper.exit()).toEqual({ code: 75, signal: null });
      expect(noncesAt(world.sandbox, 'sleeper')).toHaveLength(sent);
      expect(world.sandbox.orders('master')).toEqual([]);

      expect(JSON.parse(readFileSync(world.holder, 'utf8'))).toMatchObject({ pid: standby.pid });
      expect(existsSync(world.lock)).toBe(true);
      // Longer than the new owner would need to notice that its lock went with the old one.
      await until('a while has passed', () => performance.now() > wokeAt + 1_500);
      expectServed(await other.private('Balance'));
      expect(await world.readiness(standby)).toMatchObject({ status: 200 });
      expectFlawless(world.sandbox);
    }),
);

const CONTAINER = ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child'];
const canUnshare = spawnSync(CONTAINER[0] ?? '', [...CONTAINER.slice(1), 'true']).status === 0;
if (!canUnshare) notHere('processes in pid namespaces of their own: unshare is not allowed');

(canUnshare ? it.concurrent : it.skip)(
  'two containers on one volume, each with pid 1: the second exits 75, and takes over 5 s after the first was killed',
  () =>
    inWorld(async (world) => {
      const first = await world.ready({ wrapper: CONTAINER });
      expect(JSON.parse(readFileSync(world.holder, 'utf8'))).toMatchObject({ pid: 1 });
      expectServed(await world.client(first.url).private('Balance'));
      expect(await world.start({ wrapper: CONTAINER }).exit()).toEqual({ code: 75, signal: null });
      expectServed(await world.client(first.url).private('Balance'));
      await first.crash();
      await msToServe(world, { wrapper: CONTAINER });
      expectFlawless(world.sandbox);
    }),
);

const UNPROVEN: readonly [string, Holder | undefined][] = [
  ['of another boot or machine', { ...describeSelf(), bootId: 'another', host: 'another-host' }],
  ['of another container', { ...describeSelf(), pidNamespace: 'pid:[1]', pid: 1 }],
  ['that is missing', undefined],
];

it.concurrent.each(UNPROVEN)('a lock with a record %s is taken only after 5 s without renewal', (_, record) =>
  inWorld(async (world) => {
    leaveLock(world, record);
    expect(await msToServe(world)).toBeGreaterThan(ABANDONED_MS);
  }),
);

it.concurrent(
  'a lock that is removed under load ends the process with 75 within 3 s; nothing is sent after it noticed',
  () =>
    inWorld(async (world) => {
      const proxy = await world.ready();
      const bots = world.bots(proxy.url);
      await until('a load', () => bots.served > 20);
      rmdirSync(world.lock);
      const removed = performance.now();
      expect(await proxy.exit()).toEqual({ code: 75, signal: null });
      await world.expectWithin(3_000, performance.now() - removed);
      await bots.stop();
      await expectSilentOnceLost(proxy);
      const clean = ['not-owner: EService:Unavailable', 'shutting-down: EService:Busy'];
      expect([...bots.errors.keys()].filter((error) => !clean.includes(error))).toEqual([]);
      expectFlawless(world.sandbox);
    }),
);

it.concurrent('a process started right after the lock was removed waits until the old one has ended', () =>
  inWorld(async (world) => {
    const old = await world.ready();
    const bots = world.bots(old.url);
    await until('a load', () => bots.served > 20);
    rmdirSync(world.lock);
    const next = world.start();
    const client = world.client(await next.line('listening').then(() => next.url), 'next');
    expect(old.running).toBe(false);
    expect(await old.exit()).toEqual({ code: 75, signal: null });
    expectServed(await client.private('Balance'));
    expectFlawless(world.sandbox);
  }),
);

it.concurrent(
  'a holder record that names somebody else ends the process with 75; the lock is left to them',
  () =>
    inWorld(async (world) => {
      const proxy = await world.ready();
      const bots = world.bots(proxy.url);
      await until('a load', () => bots.served > 20);
      const other = JSON.stringify(describeSelf());
      writeFileSync(world.holder, other);
      expect(await proxy.exit()).toEqual({ code: 75, signal: null });
      await bots.stop();
      await expectSilentOnceLost(proxy);
      expect(existsSync(world.lock)).toBe(true);
      expect(readFileSync(world.holder, 'utf8')).toBe(other);
      expectFlawless(world.sandbox);
    }),
);

it.concurrent('a process that slept while nobody took its lock goes on', () =>
  inWorld(async (world) => {
    const proxy = await world.ready();
    const client = world.client(proxy.url);
    expectServed(await client.private('Balance'));
    proxy.kill('SIGSTOP');
    const asleep = performance.now();
    await until('a lease has run out', () => performance.now() - asleep > 3_000);
    const call = client.private('Balance');
    proxy.kill('SIGCONT');
    expectServed(await call);
    expect(proxy.running).toBe(true);
    expectFlawless(world.sandbox);
  }),
);

const linux = process.platform === 'linux' ? it.concurrent : it.skip;
if (process.platform !== 'linux') notHere('proofs of death out of /proc: this is not Linux');

linux('a record whose pid lives again as another process counts as dead: served at once', () =>
  inWorld(async (world) => {
    leaveLock(world, { ...describeSelf(), startTime: '1' });
    await world.expectWithin(AT_ONCE_MS, await msToServe(world));
  }),
);

linux('a record whose process is a zombie counts as dead: served at once', () =>
  inWorld(async (world) => {
    // The shell becomes a sleep that never reaps the child it has inherited, which ends only after that.
    const parent = spawn('sh', ['-c', 'sleep 0.5 & echo $!; exec sleep 20'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    world.onClose(() => parent.kill('SIGKILL'));
    let pid = '';
    parent.stdout.on('data', (text: Buffer) => (pid += text.toString()));
    const stat = (): string[] => {
      const text = readFileSync(`/proc/${pid.trim()}/stat`, 'utf8');
      return text.slice(text.lastIndexOf(')') + 2).split(' ');
    };
    await until('a zombie', () => pid.endsWith('\n') && stat()[0] === 'Z');
    leaveLock(world, { ...describeSelf(), pid: Number(pid), startTime: stat()[19] ?? '' });
    await world.expectWithin(AT_ONCE_MS, await msToServe(world));
  }),
);
