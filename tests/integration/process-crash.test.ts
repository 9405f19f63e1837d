import { copyFileSync, readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from '../support/free-port.mjs';
import { closeWorldsLeftOpen, inWorld, until } from '../support/process-world.js';

/** `CRASH_ROUNDS=200` for the long form. */
const ROUNDS = Number(process.env.CRASH_ROUNDS ?? 6);
const SERVES_WITHIN_MS = 2_000;

afterAll(closeWorldsLeftOpen);

/** Spreads 0…1 evenly however many rounds there are. */
function spread(round: number): number {
  return (round * 0.618_034) % 1;
}

it.concurrent(
  `${ROUNDS} times kill -9 in the middle of load: Kraken never sees a nonce twice, and each start serves within 2 s`,
  () =>
    inWorld(async (world) => {
      const port = await freePort();
      const bots = world.bots(`http://127.0.0.1:${port}`, 8);
      await (await world.ready({ config: { listen: { port } } })).crash();
      for (let round = 0; round < ROUNDS; round++) {
        const proxy = world.start({
          config: { listen: { port }, lanes: round % 2 === 0 ? 'global' : 'key' },
        });
        const { served } = bots;
        const received = world.sandbox.receivedCount;
        const moment = (['load', 'starting', 'first call'] as const)[round % 3];
        if (moment === 'starting') {
          await delay(500 * spread(round));
        } else {
          await until('a call served', () => world.sandbox.receivedCount > received);
          if (moment === 'load') {
            await until('a call answered', () => bots.served > served);
            const tookMs = bots.servedAt - proxy.spawnedAt;
            await world.expectWithin(SERVES_WITHIN_MS, tookMs);
            const calls = 1 + Math.floor(100 * spread(round));
            await until('a load', () => bots.served > served + calls);
          }
        }
        await proxy.crash();
      }
      const { served } = bots;
      const last = world.start({ config: { listen: { port } } });
      await until('a call served after the last crash', () => bots.served > served);
      await world.expectWithin(SERVES_WITHIN_MS, bots.servedAt - last.spawnedAt);
      await bots.stop();
      expect([...bots.errors.keys()]).toEqual([]);
      const errors = new Set(world.sandbox.received.map(({ error }) => error));
      expect([...errors]).toEqual([undefined]);
    }),
  20_000 + ROUNDS * 3_000,
);

it.concurrent('what crashes leave behind is cleared away by the next start', () =>
  inWorld(async (world) => {
    const first = await world.ready();
    await first.crash();
    // A temp file as a crash in the middle of a write leaves it.
    copyFileSync(world.stateFile, `${world.stateFile}.tmp-0`);
    const second = await world.ready();
    second.kill('SIGTERM');
    expect(await second.exit()).toEqual({ code: 0, signal: null });
    expect(readdirSync(world.stateFolder)).toEqual(['nonce.txt', 'nonce.txt.answers']);
  }),
);
