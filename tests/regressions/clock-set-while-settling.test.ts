/**
 * A lost order that Kraken's engine executed only later, but inside its deadline, was declared "certainly not executed"
 * when the machine's wall clock was set forward in between: it was sent again, and there were two.
 */
import { jest } from '@jest/globals';
import { TestClient } from '../support/http.js';
import { openProxyWorld } from '../support/proxy-world.js';
import { until } from '../support/until.js';

it('a wall clock that is set forward proves nothing about a lost order: it is found, and is the only one', async () => {
  const realNow = Date.now.bind(Date);
  // Kraken's clock goes on as it was.
  const world = await openProxyWorld({ sandbox: { now: realNow } });
  const client = new TestClient(world.url);
  try {
    world.sandbox.fault({ kind: 'slow-engine', endpoint: 'AddOrder', delayMs: 2_500 });
    const answer = client.private('AddOrder', {
      ...{ pair: 'XBTUSD', type: 'buy', ordertype: 'market', volume: '0.01' },
    });
    await until(() => world.sandbox.received.some(({ endpoint }) => endpoint === 'OpenOrders'));
    jest.spyOn(Date, 'now').mockImplementation(() => realNow() + 20_000);
    const reply = await answer;
    const orders = world.sandbox.orders('master');
    expect(orders).toHaveLength(1);
    expect(reply.json?.result).toMatchObject({ txid: [orders[0]?.txid] });
    expect(reply.headers['x-proxy-outcome']).toBe('settled');
  } finally {
    jest.restoreAllMocks();
    client.close();
    await world.close();
  }
});
