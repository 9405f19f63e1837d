/*
 * In the startup window a call over maxPerSecond has to keep minIntervalMs from the one before. It did when the
 * lane's timer woke it; but when another call arrived, or ended, between the moment the oldest call stopped
 * counting and that timer, the lane looked again, found room in the second, and let it go early. Bots that
 * all wake at once do arrive like that. The window now remembers that a call was held back.
 *
 * The same look into the future was "cannot be told" while every call that counts was under way, so that no
 * timer was set: with lanes "key" a call waited for a hanging call of another key even after the window had
 * closed by itself.
 */
import { Lane } from '../../src/lane/lane.js';
import { StartupWindow } from '../../src/lane/startup.js';

it('a call over maxPerSecond keeps its distance, though another one arrives before its time', async () => {
  let now = 10_000;
  const startup = new StartupWindow({ windowMs: 60_000, maxPerSecond: 2, minIntervalMs: 500 }, () => now);
  startup.open();
  const lane = new Lane({ maxWaiting: 10, maxWaitMs: 60_000, startup });
  const starts: number[] = [];
  const join = (): void => {
    lane.join(() => Promise.resolve(starts.push(now))).result.catch(() => undefined);
  };
  join();
  await settle();
  now = 10_900;
  join();
  await settle();
  now = 10_950;
  join(); // over: the first counts until 11000, and it has to keep 500 ms from 10900
  await settle();
  now = 11_001;
  join(); // makes the lane look: there is room in the second, but it is too early
  await settle();
  expect(starts).toEqual([10_000, 10_900]);
  now = 11_400;
  join();
  await settle();
  expect(starts.slice(0, 3)).toEqual([10_000, 10_900, 11_400]);
  await lane.close();
});

it('a call that waits for a hanging call of another key goes when the window closes', async () => {
  const startup = new StartupWindow({ windowMs: 100, maxPerSecond: 1, minIntervalMs: 0 });
  startup.open();
  const lanes = [0, 1].map(() => new Lane({ maxWaiting: 10, maxWaitMs: 60_000, startup }));
  let release = (): void => undefined;
  const hanging = lanes[0]?.join(() => new Promise<void>((resolve) => (release = resolve)));
  await expect(lanes[1]?.join(() => Promise.resolve('served')).result).resolves.toBe('served');
  release();
  await hanging?.result;
  await Promise.all(lanes.map((lane) => lane.close()));
});

async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}
