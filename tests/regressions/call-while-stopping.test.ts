/*
 * A proxy was told to stop while a client was still sending its body, and no call had been made before. The
 * lanes are made with the first call of their key, so the stop had closed none; the late call got a fresh
 * lane, and was answered `not-owner` (EService:Unavailable) instead of `shutting-down` with its Retry-After.
 * Lanes are now refused once the stop has begun.
 */
import { openProxyWorld } from '../support/proxy-world.js';
import { RawConnection, requestText } from '../support/raw-socket.js';
import { TestClient } from '../support/http.js';
import { until } from '../support/until.js';

it('a call whose body comes while the proxy stops is answered shutting-down', async () => {
  const world = await openProxyWorld();
  const slow = await RawConnection.open(world.url);
  const text = requestText(world.url, 'POST', '/0/private/Balance', 'asset=XBT', {
    Expect: '100-continue',
  });
  slow.write(text.slice(0, -5));
  expect((await slow.reply())?.status).toBe(100); // its headers are in
  const closing = world.server.close();
  const client = new TestClient(world.url);
  // The stop has begun once nobody is let in any more.
  await until(async () => (await client.raw('GET', '/0/public/Time').catch(() => undefined)) === undefined);
  client.close();
  slow.write(text.slice(-5));
  const reply = await slow.reply();
  expect(reply?.body.toString()).toBe('{"error":["EService:Busy"]}');
  expect(reply?.headers).toMatchObject({ 'x-proxy-error': 'shutting-down', 'retry-after': '1' });
  await closing;
  expect(world.sandbox.received.filter(({ nonce }) => nonce !== undefined)).toEqual([]);
  slow.hangUp();
  await world.close();
});
