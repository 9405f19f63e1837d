/*
 * Kraken answers an order with `{"error":[]}` and no result: nobody knows whether the order stands (KRAKEN.md
 * 4.2). The proxy counted and logged it as executed, because the error list was empty; and the one error after
 * which a part of an order may have been executed, `EOrder:Reduce only:Position is closed`, as refused. What
 * is decided by the outcome later (repeat or find out) would have been decided wrongly.
 */
import { callLines } from '../support/call-lines.js';
import { TestClient } from '../support/http.js';
import { openOddUpstream } from '../support/odd-upstream.js';
import { openProxyWorld } from '../support/proxy-world.js';

it.each([
  ['{"error":[]}', undefined],
  ['{"error":["EOrder:Reduce only:Position is closed"]}', 'Kraken: EOrder:Reduce only:Position is closed'],
])('after %s the outcome is unknown, and the order is not sent again', async (body, detail) => {
  const head = `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`;
  const upstream = await openOddUpstream(head + body);
  const world = await openProxyWorld({
    config: { upstream: { url: upstream.url }, orders: { settle: false } },
  });
  const client = new TestClient(world.url);
  const reply = await client.private('AddOrder', { pair: 'XBTUSD' });
  expect(reply.json).toEqual({ error: ['EProxy:Outcome unknown'] });
  expect(reply.headers['x-proxy-error']).toBe('outcome-unknown');
  expect(reply.headers['x-proxy-error-detail']).toBe(detail);
  expect(await callLines(world.log, {})).toMatchObject([
    { endpoint: 'AddOrder', outcome: 'unknown', status: 200 },
  ]);
  expect(upstream.requests.filter((text) => text.startsWith('POST'))).toHaveLength(1);
  client.close();
  await world.close();
  await upstream.close();
});
