/**
 * p-queue saw the startup window shut; a moment later, when the lane looked how long it would stay shut, it had just
 * opened. Nobody set a timer, nobody looked again, and a call that was free to go waited until its time was over.
 */
import { Lane } from '../../src/lane/lane.js';
import { StartupWindow } from '../../src/lane/startup.js';

it('a window that opens between two looks does not leave a call behind', async () => {
  let now = 0;
  let looks = 0;
  const startup = new StartupWindow({ windowMs: 10_000, maxPerSecond: 1, minIntervalMs: 0 }, () => {
    // Each look finds the clock a little further on, until the second is over right between two of them.
    if (armed && ++looks > 1) now = 1_000;
    return now;
  });
  let armed = false;
  startup.open();
  const lane = new Lane({ maxWaiting: 10, maxWaitMs: 1_500, startup });
  await lane.join(() => Promise.resolve()).result;
  await new Promise(setImmediate); // the first has left its slot
  armed = true;
  const second = lane.join(() => Promise.resolve('went'));
  await expect(second.result).resolves.toBe('went');
  await lane.close();
});
