/*
 * A client pipelined three calls on one connection and hung up while the first was in flight. The other two
 * stayed in the lane and went to Kraken, an order among them, for nobody: node:http tells a response that it
 * closed only once it has a socket, and behind another response of the same connection it has none yet. The
 * app now also watches the connection itself for those.
 */
import { openGate } from '../support/gate.js';
import { TestClient } from '../support/http.js';
import { Scrape } from '../support/metrics.js';
import { openProxyWorld } from '../support/proxy-world.js';
import { RawConnection, requestText } from '../support/raw-socket.js';
import { until } from '../support/until.js';

it('a client that hangs up takes with it the calls it had pipelined', async () => {
  const gate = await openGate();
  const world = await openProxyWorld({ config: { upstream: { url: gate.url } } });
  gate.leadTo(world.sandbox.url);
  const waiting = (count: number): Promise<void> =>
    until(async () => (await Scrape.of(world.opsUrl)).value('lane_waiting') === count);
  gate.shut();
  const gone = await RawConnection.open(world.url);
  const names = ['Balance', ...Array.from({ length: 12 }, () => 'AddOrder'), 'CancelAll'];
  gone.write(names.map((name) => requestText(world.url, 'POST', `/0/private/${name}`)).join(''));
  await until(() => world.sandbox.receivedCount === 1);
  await waiting(names.length - 1);
  gone.hangUp();
  await waiting(0);
  gate.open();
  const client = new TestClient(world.url);
  expect((await client.private('OpenOrders')).json?.error).toEqual([]);
  expect(world.sandbox.received.map(({ endpoint }) => endpoint)).toEqual(['Balance', 'OpenOrders']);
  expect((await Scrape.of(world.opsUrl)).value('nonces_issued_total')).toBe(2);
  client.close();
  await world.close();
  await gate.close();
});

it('calls that were pipelined and answered do not count as hung up when the connection ends', async () => {
  const world = await openProxyWorld();
  const connection = await RawConnection.open(world.url);
  const text = requestText(world.url, 'POST', '/0/private/Balance');
  for (let round = 0; round < 10; round++) {
    connection.write(text.repeat(15));
    for (let answer = 0; answer < 15; answer++) expect((await connection.reply())?.status).toBe(200);
  }
  connection.hangUp();
  await world.close();
  expect(world.log.filter(({ msg }) => msg === 'call')).toHaveLength(150);
  expect(world.log.filter(({ hungUp }) => hungUp === true)).toEqual([]);
});
