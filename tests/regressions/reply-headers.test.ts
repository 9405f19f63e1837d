/*
 * A reply's own X-Request-Id reached the client beside the proxy's, joined to one value that is in no log; its
 * X-Proxy-Error would have told the client of an error of the proxy's that never was; and a header that the
 * reply's Connection names, meant for one hop (RFC 9110 7.6.1), was passed on.
 */
import { headersForClient } from '../../src/http/headers.js';
import { callLines } from '../support/call-lines.js';
import { TestClient } from '../support/http.js';
import { openOddUpstream } from '../support/odd-upstream.js';
import { openProxyWorld } from '../support/proxy-world.js';

it("an upstream cannot speak for the proxy in the proxy's own headers", async () => {
  const body = '{"error":[],"result":{}}';
  const upstream = await openOddUpstream(
    `HTTP/1.1 200 OK\r\nX-Request-Id: theirs\r\nX-Proxy-Error: not-owner\r\nX-Proxy-Error-Detail: theirs\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
  const world = await openProxyWorld({ config: { upstream: { url: upstream.url } } });
  const client = new TestClient(world.url);
  const { headers } = await client.private('Balance');
  expect(await callLines(world.log, { requestId: headers['x-request-id'] })).toHaveLength(1);
  expect(headers).not.toHaveProperty('x-proxy-error');
  expect(headers).not.toHaveProperty('x-proxy-error-detail');
  client.close();
  await world.close();
  await upstream.close();
});

it('headers that Connection names stay with the proxy', () => {
  expect(headersForClient({ connection: 'keep-alive, X-Hop', 'x-hop': '1', server: 'x' })).toEqual([
    'server',
    'x',
  ]);
  expect(headersForClient({ connection: ['close', 'x-hop'], 'x-hop': '1', server: 'x' })).toEqual([
    'server',
    'x',
  ]);
});
