/**
 * Node's own `fetch` marks its requests with `Sec-Fetch-Mode: cors`, and with nothing else. The guard that keeps web
 * pages out took every bot written with it for one, and refused it.
 */
import { TestClient } from '../support/http.js';
import { openProxyWorld, type ProxyWorld } from '../support/proxy-world.js';

let world: ProxyWorld;
let client: TestClient;
beforeAll(async () => {
  world = await openProxyWorld();
  client = new TestClient(world.url);
});
afterAll(async () => {
  client.close();
  await world.close();
});

it('a bot that calls with Node’s own fetch is served', async () => {
  const reply = await fetch(`${world.url}/0/private/Balance`, {
    method: 'POST',
    headers: { connection: 'close' },
  });
  expect(((await reply.json()) as { error: unknown }).error).toEqual([]);
});

it.each([
  [{ 'sec-fetch-mode': 'cors', 'sec-fetch-site': 'cross-site' }],
  [{ 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty' }],
  [{ 'sec-fetch-mode': 'no-cors' }],
  [{ 'sec-fetch-mode': 'navigate' }],
])('a request with %j is refused', async (headers) => {
  const reply = await client.raw('POST', '/0/private/Balance', '', headers);
  expect(reply.json?.error).toEqual(['EGeneral:Permission denied']);
});
