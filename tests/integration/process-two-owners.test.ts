import { hostname } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from '../support/free-port.mjs';
import {
  closeWorldsLeftOpen,
  expectFlawless,
  expectNotOwner,
  expectServed,
  inWorld,
  noncesAt,
  until,
  type ProcessWorld,
  type ProxyProcess,
} from '../support/process-world.js';

const TAKES_OVER_WITHIN_MS = 2_000;

afterAll(closeWorldsLeftOpen);

it.concurrent(
  'a second process on one state exits 75 within 2 s of its start, names the holder, and disturbs nobody',
  () =>
    inWorld(async (world) => {
      const first = await world.ready();
      const bots = world.bots(first.url);
      const second = world.start();
      expect(await second.exit()).toEqual({ code: 75, signal: null });
      await world.expectWithin(2_000, performance.now() - second.spawnedAt);
      const { err } = await second.line('cannot go on');
      expect((err as Error).message).toContain(`process ${first.pid} on host ${hostname()}`);
      expect((err as Error).message).toContain('nonce.standby');
      const { served } = bots;
      await until('more calls served by the first', () => bots.served > served + 20);
      await bots.stop();
      expect({ errors: bots.errors.size, unreachable: bots.unreachable, running: first.running }).toEqual({
        errors: 0,
        unreachable: 0,
        running: true,
      });
      expectFlawless(world.sandbox);
    }),
);

it.concurrent('of many started at once exactly one serves and the others exit 75', () =>
  inWorld(async (world) => {
    const all = Array.from({ length: 3 }, () => world.start());
    await until('two have ended', () => all.filter(({ running }) => running).length === 1);
    const [winner] = all.filter(({ running }) => running);
    const losers = all.filter((each) => each !== winner);
    expect(await Promise.all(losers.map((each) => each.exit()))).toEqual(
      losers.map(() => ({ code: 75, signal: null })),
    );
    await winner?.ready();
    expectServed(await world.client(winner?.url ?? '').private('Balance'));
  }),
);

async function openStandby(world: ProcessWorld): Promise<ProxyProcess> {
  const standby = world.start({ config: { nonce: { standby: true } } });
  await Promise.all([standby.line('listening'), standby.line('standby')]);
  return standby;
}

describe.each(['SIGKILL', 'SIGTERM'] as const)(
  'a hot standby on ports of its own, owner ended by %s',
  (signal) => {
    it.concurrent(
      'refuses calls as not-owner while it waits, and serves within 2 s, above all nonces before',
      () =>
        inWorld(async (world) => {
          const owner = await world.ready();
          const standby = await openStandby(world);
          const bots = world.bots(owner.url);
          const client = world.client(standby.url, 'standby');
          await until('a load', () => bots.served > 50);
          expectNotOwner(await client.private('Balance'));
          const { status, reason, detail } = await world.readiness(standby);
          expect({ status, reason }).toEqual({ status: 503, reason: 'standby' });
          expect(detail).toContain(`process ${owner.pid} on host`);
          expect(noncesAt(world.sandbox, 'standby')).toEqual([]);

          owner.kill(signal);
          await owner.exit();
          const ended = performance.now();
          await until('the standby serves', async () => {
            const reply = await client.private('Balance');
            if (reply.json?.error.length !== 0) expectNotOwner(reply);
            return reply.json?.error.length === 0;
          });
          await world.expectWithin(TAKES_OVER_WITHIN_MS, performance.now() - ended);
          expect(await world.readiness(standby)).toMatchObject({ status: 200 });
          await bots.stop();
          expectFlawless(world.sandbox);
        }),
    );
  },
);

describe.each(['SIGKILL', 'SIGTERM'] as const)(
  'a hot standby on the same ports, owner ended by %s',
  (signal) => {
    it.concurrent('serves its clients at the same address within 2 s, above all nonces before', () =>
      inWorld(async (world) => {
        const [port, opsPort] = [await freePort(), await freePort()];
        const ports = { listen: { port }, ops: { port: opsPort } };
        const owner = await world.ready({ config: ports });
        const standby = world.start({ config: { ...ports, nonce: { standby: true } } });
        await standby.line('standby');
        const bots = world.bots(owner.url);
        await until('a load', () => bots.served > 50);
        owner.kill(signal);
        await owner.exit();
        const ended = performance.now();
        await standby.ready();
        await until('the standby serves', () => bots.servedAt > ended);
        await world.expectWithin(TAKES_OVER_WITHIN_MS, bots.servedAt - ended);
        await bots.stop();
        const clean = ['not-owner: EService:Unavailable', 'shutting-down: EService:Busy'];
        expect([...bots.errors.keys()].filter((error) => !clean.includes(error))).toEqual([]);
        expectFlawless(world.sandbox);
      }),
    );
  },
);

it.concurrent(
  'calls that reach the standby while the owner still finishes its last one are refused as not-owner',
  () =>
    inWorld(async (world) => {
      const [port, opsPort] = [await freePort(), await freePort()];
      const ports = { listen: { port }, ops: { port: opsPort } };
      const gate = await world.gate();
      const owner = await world.ready({ config: { ...ports, upstream: { url: gate.url } } });
      const standby = world.start({ config: { ...ports, nonce: { standby: true } } });
      await standby.line('standby');
      gate.shut();
      const last = world.client(owner.url).private('Balance');
      await until('the last call in flight', () => noncesAt(world.sandbox).length === 1);
      owner.kill('SIGTERM');
      await standby.line('listening');
      expectNotOwner(await world.client(standby.url).private('Balance'));
      expect(await world.readiness(standby)).toMatchObject({ status: 503, reason: 'standby' });
      gate.open();
      expectServed(await last);
      expect(await owner.exit()).toEqual({ code: 0, signal: null });
      await standby.line('ready');
      expectServed(await world.client(standby.url).private('Balance'));
      expectFlawless(world.sandbox);
    }),
);

it.concurrent('a standby that is stopped while it waits exits 0 and leaves the owner alone', () =>
  inWorld(async (world) => {
    const owner = await world.ready();
    const standby = await openStandby(world);
    standby.kill('SIGTERM');
    expect(await standby.exit()).toEqual({ code: 0, signal: null });
    await delay(1_500); // longer than the owner takes to notice a lost lock
    expectServed(await world.client(owner.url).private('Balance'));
    expect(owner.running).toBe(true);
  }),
);
