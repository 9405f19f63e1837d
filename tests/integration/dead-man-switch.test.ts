import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';
import { TestClient } from '../support/http.js';
import { openProxyWorld, type ProxyWorld } from '../support/proxy-world.js';
import type { SignedReply } from '../support/sign.js';
import { until } from '../support/until.js';

const ORDER = { pair: 'XBTUSD', type: 'buy', ordertype: 'limit', price: '10000', volume: '0.01' };
const [MASTER = ''] = DEMO_KEYS.map(({ key }) => key);

let world: ProxyWorld;
let one: TestClient;
let two: TestClient;
beforeEach(async () => {
  const bot = { accounts: ['master', 'alice'], allow: ['read', 'trade', 'cancel'] };
  world = await openProxyWorld({
    config: {
      clients: { one: { key: 'one', ...bot }, two: { key: 'two', ...bot } },
      upstream: { timeoutMs: 400 },
    },
  });
  one = new TestClient(world.url, { 'api-key': 'one' });
  two = new TestClient(world.url, { 'api-key': 'two' });
});
afterEach(async () => {
  one.close();
  two.close();
  await world.close();
});

async function arm(client: TestClient, seconds: number, prefix = ''): Promise<SignedReply> {
  const reply = await client.private('CancelAllOrdersAfter', { timeout: String(seconds) }, prefix);
  expect(reply.json?.error).toEqual([]);
  return reply;
}

/** What Kraken's timer was set to, in order. */
function timeouts(key = MASTER): string[] {
  return world.sandbox.received
    .filter((call) => call.endpoint === 'CancelAllOrdersAfter' && call.key === key)
    .map(({ rawBody }) => /timeout"?[=:]"?(\d+)/.exec(rawBody.toString())?.[1] ?? '');
}

describe('two bots with a dead man’s switch on one account', () => {
  it('share Kraken’s timer: it runs for the one whose time is up first', async () => {
    await arm(one, 60);
    await arm(two, 30);
    await arm(one, 60);
    const [first, second, third] = timeouts();
    expect([first, second]).toEqual(['60', '30']);
    expect(Number(third)).toBeLessThanOrEqual(30);
    expect(Number(third)).toBeGreaterThanOrEqual(29);
  });

  it('take back only their own time', async () => {
    await arm(one, 60);
    await arm(two, 30);
    await arm(two, 0);
    const rest = Number(timeouts()[2]);
    expect(rest).toBeLessThanOrEqual(60);
    expect(rest).toBeGreaterThanOrEqual(59);
  });

  it('disarm Kraken’s timer when the last one takes its time back', async () => {
    await arm(one, 60);
    await arm(two, 30);
    await arm(one, 0);
    await arm(two, 0);
    expect(timeouts().at(-1)).toBe('0');
    expect(timeouts()[2]).not.toBe('0');
  });

  it('may take back what they never had, without disarming the other', async () => {
    await arm(one, 60);
    await arm(two, 0);
    expect(Number(timeouts()[1])).toBeGreaterThanOrEqual(59);
  });

  it('keep their own accounts', async () => {
    await arm(one, 60);
    await arm(two, 30, '/accounts/alice');
    await arm(one, 0);
    expect(timeouts()).toEqual(['60', '0']);
  });

  it('may speak JSON as well', async () => {
    await arm(one, 10);
    const reply = await two.raw('POST', '/0/private/CancelAllOrdersAfter', '{"timeout": 60}', {
      'content-type': 'application/json',
    });
    expect(reply.json?.error).toEqual([]);
    expect(Number(timeouts()[1])).toBeLessThanOrEqual(10);
  });

  it('are answered with Kraken’s own times', async () => {
    const { json } = await arm(one, 60);
    const { currentTime, triggerTime } = json?.result as { currentTime: string; triggerTime: string };
    expect(Date.parse(triggerTime) - Date.parse(currentTime)).toBe(60_000);
  });

  it('have the timer armed again for the one that lives when it has struck for the other', async () => {
    await arm(two, 60);
    await arm(one, 1);
    await one.private('AddOrder', ORDER);
    await until(() => world.sandbox.orders('master')[0]?.status === 'canceled');
    await until(() => timeouts().length === 3);
    const rest = Number(timeouts()[2]);
    expect(rest).toBeLessThanOrEqual(59);
    expect(rest).toBeGreaterThanOrEqual(55);
  });

  it('cannot call off the strike of the one whose time is up', async () => {
    await one.private('AddOrder', ORDER);
    await arm(one, 1);
    const started = performance.now();
    // A live bot that renews its own time again and again.
    await until(async () => {
      if (world.sandbox.orders('master')[0]?.status !== 'canceled' && performance.now() - started < 5_000) {
        await arm(two, 60);
        await new Promise((resolve) => setTimeout(resolve, 300));
        return false;
      }
      return true;
    });
    expect(world.sandbox.orders('master')[0]?.status).toBe('canceled');
  });
});

it('the bytes of a single bot reach Kraken as they came', async () => {
  await one.raw('POST', '/0/private/CancelAllOrdersAfter', 'timeout=%36%30&x=1');
  const [call] = world.sandbox.received;
  expect(call?.rawBody.toString()).toMatch(/^nonce=\d{19}&timeout=%36%30&x=1$/);
});

it.each(['', 'timeout=', 'timeout=soon', 'timeout=-5', 'timeout=1e3'])(
  'a timeout that cannot be one (%s) is Kraken’s to refuse, and arms nobody',
  async (body) => {
    const reply = await one.raw('POST', '/0/private/CancelAllOrdersAfter', body);
    expect(reply.json?.error[0]).toMatch(/^EGeneral:Invalid arguments/);
    await arm(two, 60);
    expect(timeouts().at(-1)).toBe('60');
  },
);

it('a time that Kraken refuses counts for nobody', async () => {
  world.sandbox.fault({
    kind: 'error',
    error: 'EGeneral:Permission denied',
    endpoint: 'CancelAllOrdersAfter',
  });
  await one.private('CancelAllOrdersAfter', { timeout: '5' });
  await arm(two, 60);
  expect(timeouts()).toEqual(['5', '60']);
});

it('a time whose answer was lost counts', async () => {
  world.sandbox.fault({ kind: 'reset-after', endpoint: 'CancelAllOrdersAfter', times: Infinity });
  const lost = await one.private('CancelAllOrdersAfter', { timeout: '20' });
  expect(lost.json).toEqual({ error: ['EProxy:Outcome unknown'] });
  world.sandbox.clearFaults();
  await arm(two, 60);
  expect(Number(timeouts().at(-1))).toBeLessThanOrEqual(20);
});

it('CancelAll leaves the times as they are', async () => {
  await arm(one, 30);
  await two.private('CancelAll');
  await arm(two, 60);
  expect(Number(timeouts().at(-1))).toBeLessThanOrEqual(30);
});
