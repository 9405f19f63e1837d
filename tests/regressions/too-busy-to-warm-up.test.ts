/*
 * A machine was so busy at the start that one of the warm-up's own calls over loopback took longer than the
 * second it had. The proxy, which held the nonce state by then, ended with exit code 1, "a bug", and so did a
 * hot standby. The warm-up only makes the first call faster: a failed one now costs no more than that.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { TestClient } from '../support/http.js';
import { openProxyWorld } from '../support/proxy-world.js';

const SENT = 'undici:client:sendHeaders';

it('a start on a machine too busy to warm up serves all the same', async () => {
  let stalled = 0;
  const stallOnce = (): void => {
    const end = performance.now() + 1_100;
    while (stalled === 0 && performance.now() < end);
    stalled++;
  };
  subscribe(SENT, stallOnce);
  const world = await openProxyWorld().finally(() => unsubscribe(SENT, stallOnce));
  expect(stalled).toBeGreaterThan(0);
  expect(world.log.filter(({ msg }) => msg === 'not warmed up: the first calls take longer')).toHaveLength(1);
  const client = new TestClient(world.url);
  expect((await client.private('Balance')).json?.error).toEqual([]);
  client.close();
  await world.close();
});
