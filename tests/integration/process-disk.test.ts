import { spawnSync } from 'node:child_process';
import { chmodSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  canMount,
  closeWorldsLeftOpen,
  expectFlawless,
  expectNotOwner,
  expectServed,
  expectSilentOnceLost,
  inWorld,
  noncesAt,
  notHere,
  until,
  type ProcessWorld,
  type ProxyProcess,
} from '../support/process-world.js';

const MOUNTS = canMount();
if (!MOUNTS) notHere('a full disk: mounting a tmpfs is not allowed');
const onOwnDisk = MOUNTS ? it.concurrent : it.skip;

afterAll(closeWorldsLeftOpen);

/** Gives the state a small disk of its own. */
function mountState(world: ProcessWorld): void {
  run('mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', world.stateFolder);
  world.onClose(() => spawnSync('umount', ['-l', world.stateFolder]));
}

function run(command: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
}

/** Leaves no byte free; returns what frees the disk again. */
function fillDisk(folder: string): () => void {
  const file = join(folder, 'filler');
  try {
    for (;;) writeFileSync(file, Buffer.alloc(4_096), { flag: 'a' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
  return () => rmSync(file);
}

/** The lanes stand still for the reason given, nothing is sent, and all goes on once the fault is gone. */
async function expectStandsStill(
  world: ProcessWorld,
  proxy: ProxyProcess,
  code: RegExp,
  repair: () => void | Promise<void>,
): Promise<void> {
  const client = world.client(proxy.url);
  await proxy.line('the nonce state was not written: the lanes stand still');
  const sent = world.sandbox.receivedCount;
  const refused = await client.private('AddOrder', { pair: 'XBTUSD' });
  expectNotOwner(refused);
  expect(refused.headers['retry-after']).toBe('1');
  const { status, reason, detail } = await world.readiness(proxy);
  expect({ status, reason }).toEqual({ status: 503, reason: 'not-owner' });
  expect(detail).toMatch(code);
  expect(world.sandbox.receivedCount).toBe(sent);

  await repair();
  await until('ready again', async () => (await world.readiness(proxy)).status === 200);
  expectServed(await client.private('Balance'));
  expect(world.sandbox.receivedCount).toBe(sent + 1);
  proxy.kill('SIGTERM');
  expect(await proxy.exit()).toEqual({ code: 0, signal: null });
  expect(world.readState()).toBe(`${String(noncesAt(world.sandbox).at(-1))}\n`);
  expectFlawless(world.sandbox);
}

onOwnDisk(
  'a disk that fills up stops the lanes as not-owner; they go on by themselves when there is room',
  () =>
    inWorld(async (world) => {
      mountState(world);
      const proxy = await world.ready();
      expectServed(await world.client(proxy.url).private('Balance'));
      const free = fillDisk(world.stateFolder);
      await expectStandsStill(world, proxy, /cannot be written \(ENOSPC\)/, free);
    }),
);

onOwnDisk(
  'a disk that turns read-only stops the lanes as not-owner; they go on by themselves when it is writable',
  () =>
    inWorld(async (world) => {
      mountState(world);
      const proxy = await world.ready();
      expectServed(await world.client(proxy.url).private('Balance'));
      const mount = (...args: string[]): boolean => spawnSync('mount', args).status === 0;
      // The known answers stay open for writing, so the disk itself is busy: a read-only view of it goes in front.
      expect(mount('--bind', world.stateFolder, world.stateFolder)).toBe(true);
      expect(mount('-o', 'remount,bind,ro', world.stateFolder)).toBe(true);
      // Longer than a lease: an owner whose renewals fail looks at the lock instead.
      const turned = performance.now();
      await until('leases have run out', () => performance.now() - turned > 3_000);
      await expectStandsStill(world, proxy, /cannot be written \(EROFS\)/, () => {
        expect(spawnSync('umount', ['-l', world.stateFolder]).status).toBe(0);
      });
    }),
);

// Permissions do not bind root.
const asUser = process.getuid?.() !== 0 && process.platform !== 'win32';
if (!asUser && !MOUNTS) notHere('a folder without write permission: this is root');
(asUser ? it.concurrent : it.skip)(
  'a folder that loses its write permission stops the lanes until it has it back',
  () =>
    inWorld(async (world) => {
      const proxy = await world.ready();
      expectServed(await world.client(proxy.url).private('Balance'));
      world.onClose(() => chmodSync(world.stateFolder, 0o755));
      chmodSync(world.stateFolder, 0o555);
      await expectStandsStill(world, proxy, /cannot be written \(EACCES\)/, () =>
        chmodSync(world.stateFolder, 0o755),
      );
    }),
);

onOwnDisk('a disk that is full at the start ends it with 75, says so, and leaves no lock behind', () =>
  inWorld(async (world) => {
    mountState(world);
    const free = fillDisk(world.stateFolder);
    const proxy = world.start();
    expect(await proxy.exit()).toEqual({ code: 75, signal: null });
    const { err } = await proxy.line('cannot go on');
    expect((err as Error).message).toContain('ENOSPC');
    expect((err as Error).message).toContain(world.stateFile);
    expect(readdirSync(world.stateFolder)).toEqual(['filler']);
    free();
    const next = await world.ready();
    expectServed(await world.client(next.url).private('Balance'));
    expectFlawless(world.sandbox);
  }),
);

onOwnDisk(
  'a disk without room for the holder record ends the start with 75, keeps the floor, leaves nothing behind',
  () =>
    inWorld(async (world) => {
      mountState(world);
      const floor = `${Date.now()}000000\n`;
      writeFileSync(world.stateFile, floor);
      fillDisk(world.stateFolder);
      writeFileSync(join(world.stateFolder, 'filler'), Buffer.alloc(4_096 * 14));
      const proxy = world.start();
      expect(await proxy.exit()).toEqual({ code: 75, signal: null });
      expect((await proxy.line('cannot go on')).err).toMatchObject({ code: 'ENOSPC' });
      expect(world.readState()).toBe(floor);
      expect(readdirSync(world.stateFolder).sort()).toEqual(['filler', 'nonce.txt']);
    }),
);

it.concurrent.each([
  ['renamed away', (): void => undefined],
  ['replaced by a file', (folder: string): void => writeFileSync(folder, 'not a folder')],
])(
  'a state folder that is %s under load ends the process with 75; nothing is sent after it noticed',
  (_, replace) =>
    inWorld(async (world) => {
      const proxy = await world.ready();
      const bots = world.bots(proxy.url);
      await until('a load', () => bots.served > 20);
      const away = `${world.stateFolder}-away`;
      renameSync(world.stateFolder, away);
      replace(world.stateFolder);
      expect(await proxy.exit()).toEqual({ code: 75, signal: null });
      await bots.stop();
      await expectSilentOnceLost(proxy);
      expectFlawless(world.sandbox);
    }),
);
