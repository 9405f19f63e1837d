import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { keyFingerprint } from '../../src/kraken/account.js';
import {
  ALICE,
  closeWorldsLeftOpen,
  expectFlawless,
  expectServed,
  inWorld,
  MASTER,
  noncesAt,
} from '../support/process-world.js';

const HOUR_NS = 3_600_000_000_000n;

afterAll(closeWorldsLeftOpen);

function clockNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}

it.concurrent.each([
  ['empty', ''],
  ['truncated', '17953528620000'],
  ['full of garbage', '{"nonce": 1795352862000000000}\n'],
])('a state file that is %s ends the start with 78, named, with the repair, and is not touched', (_, text) =>
  inWorld(async (world) => {
    writeFileSync(world.stateFile, text);
    const proxy = world.start();
    expect(await proxy.exit()).toEqual({ code: 78, signal: null });
    const { err } = await proxy.line('cannot go on');
    expect((err as Error).message).toContain(`${world.stateFile} is not a nonce state`);
    expect((err as Error).message).toContain('Repair: restore the file from a backup');
    expect(readFileSync(world.stateFile, 'latin1')).toBe(text);
    expect(readdirSync(world.stateFolder)).toEqual(['nonce.txt']);
    expect(world.sandbox.receivedCount).toBe(0);
  }),
);

it.concurrent(
  'known answers that are damaged end the start with 78, named, with the repair, and are not touched',
  () =>
    inWorld(async (world) => {
      const file = `${world.stateFile}.answers`;
      writeFileSync(file, '["00000000",{"call":[]}]\n');
      const proxy = world.start();
      expect(await proxy.exit()).toEqual({ code: 78, signal: null });
      const { err } = await proxy.line('cannot go on');
      expect((err as Error).message).toContain(file);
      expect(readFileSync(file, 'latin1')).toBe('["00000000",{"call":[]}]\n');
      expect(world.sandbox.receivedCount).toBe(0);
    }),
);

it.concurrent('a missing state file lets nonces start from the clock, and the log says so', () =>
  inWorld(async (world) => {
    const before = clockNs();
    const proxy = await world.ready();
    const { file } = await proxy.line('no nonce state yet: starting from the clock');
    expect(file).toBe(world.stateFile);
    expectServed(await world.client(proxy.url).private('Balance'));
    const [first = 0n] = noncesAt(world.sandbox);
    expect(first >= before && first <= clockNs()).toBe(true);
  }),
);

it.concurrent(
  "the seed system's file, copied, is taken over: nonces go on above it though it is an hour ahead",
  () =>
    inWorld(async (world) => {
      const floor = clockNs() + HOUR_NS;
      writeFileSync(world.stateFile, String(floor)); // one integer, no newline
      const proxy = await world.ready();
      expectServed(await world.client(proxy.url).private('Balance'));
      expect(noncesAt(world.sandbox)).toEqual([floor + 1n]);
      expect(await world.gauge(proxy, 'nonce_lead_seconds')).toBeGreaterThan(3_500);
      // Also through a crash: above what was reserved, not only above what the file began with.
      await proxy.crash();
      const next = await world.ready();
      expectServed(await world.client(next.url).private('Balance'));
      expectFlawless(world.sandbox);
    }),
);

it.concurrent("a key's own floor lifts that key alone, and outlives a crash", () =>
  inWorld(async (world) => {
    const floor = clockNs() + HOUR_NS;
    writeFileSync(world.stateFile, `${clockNs()}\n${keyFingerprint(ALICE)} ${floor}\n`);
    for (const crash of [true, false]) {
      const proxy = await world.ready();
      for (const key of [MASTER, ALICE]) {
        expectServed(await world.client(proxy.url, '', { 'api-key': key }).private('Balance'));
      }
      if (crash) {
        await proxy.crash();
      } else {
        proxy.kill('SIGTERM');
        await proxy.exit();
      }
    }
    const noncesOf = (key: string): bigint[] =>
      world.sandbox.received.filter((call) => call.key === key).map(({ nonce }) => BigInt(nonce ?? 0));
    for (const nonce of noncesOf(MASTER)) expect(nonce < floor).toBe(true);
    const [first = 0n, second = 0n] = noncesOf(ALICE);
    expect(first).toBe(floor + 1n);
    expect(second).toBeGreaterThan(first);
    expect(world.readState()).toBe(
      `${String(noncesOf(MASTER).at(-1))}\n${keyFingerprint(ALICE)} ${second}\n`,
    );
    expect(new Set(world.sandbox.received.map(({ error }) => error))).toEqual(new Set([undefined]));
  }),
);
