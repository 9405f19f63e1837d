/**
 * Only a timer ended the wait for a turn. When the process had been frozen (SIGSTOP, a paused machine), the turn
 * could come first: an order left long after its client had been promised that it would not.
 */
import { Lane } from '../../src/lane/lane.js';
import { StartupWindow } from '../../src/lane/startup.js';

const startup = new StartupWindow({ windowMs: 0, maxPerSecond: 1, minIntervalMs: 0 });

it('a turn that comes after the wait has ended is not taken, even before the timer says so', async () => {
  const lane = new Lane({ maxWaiting: 10, maxWaitMs: 50, startup });
  let free = (): void => undefined;
  const first = lane.join(() => new Promise<void>((resolve) => (free = resolve)));
  let started = false;
  const second = lane.join(() => {
    started = true;
    return Promise.resolve();
  });
  // The event loop stands still past the deadline; then the slot becomes free before any timer runs.
  const thawed = performance.now() + 80;
  while (performance.now() < thawed);
  free();
  await expect(second.result).rejects.toMatchObject({ code: 'queue-timeout' });
  expect(started).toBe(false);
  await first.result;
  await lane.close();
});
