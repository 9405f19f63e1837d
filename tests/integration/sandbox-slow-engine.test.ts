import type { ReceivedCall } from '../../src/sandbox/sandbox.js';
import { apiSign } from '../support/sign.js';
import { errorOf, openWorld, TEST_KEY, TEST_SECRET, type SandboxWorld } from '../support/sandbox-world.js';
import { until } from '../support/until.js';

const ORDER = { pair: 'XBTUSD', type: 'buy', ordertype: 'limit', price: '10000', volume: '1' };
const CLIENT_ID = { cl_ord_id: 'bot-1' };
const RESET = { code: 'ECONNRESET' };

let world: SandboxWorld;

beforeEach(async () => {
  world = await openWorld();
});
afterEach(async () => {
  await world.close();
});

/** Sends a call that the engine comes to `delayMs` later; as it was received. */
async function lose(
  delayMs: number,
  fields: Record<string, string> = {},
  endpoint = 'AddOrder',
): Promise<ReceivedCall> {
  world.sandbox.fault({ kind: 'slow-engine', delayMs });
  await expect(world.call(endpoint, { ...ORDER, ...fields })).rejects.toMatchObject(RESET);
  const lost = world.sandbox.received.at(-1);
  if (lost === undefined) throw new TypeError('nothing received');
  return lost;
}

/** `deadline` so many ms from now. */
function deadline(inMs: number): Record<string, string> {
  return { deadline: new Date(world.time + inMs).toISOString() };
}

/** How many orders of the client id each way to look finds. */
async function found(): Promise<readonly number[]> {
  const { open } = (await world.result('OpenOrders', CLIENT_ID)) as { open: object };
  const { closed } = (await world.result('ClosedOrders', CLIENT_ID)) as { closed: object };
  const queried = (await world.result('QueryOrders', CLIENT_ID)) as object;
  return [open, closed, queried].map((orders) => Object.keys(orders).length);
}

it('a call lost before a slow engine is nowhere to be seen until the engine comes to it', async () => {
  const at = world.time;
  const lost = await lose(5000, CLIENT_ID);
  expect(lost).toMatchObject({ executed: false, error: undefined });
  expect(await found()).toEqual([0, 0, 0]);
  world.time += 4999;
  expect(await found()).toEqual([0, 0, 0]);
  expect(world.sandbox.orders('master')).toHaveLength(0);
  world.time += 1;
  // Six later nonces did not stop it, as they would have stopped a call that was late.
  expect(await found()).toEqual([1, 0, 1]);
  expect(lost).toMatchObject({ executed: true, error: undefined });
  expect(world.sandbox.orders('master')).toMatchObject([{ cl_ord_id: 'bot-1', openedAt: at + 5000 }]);
});

it('its nonce is spent and its cost counted at once', async () => {
  await world.close();
  world = await openWorld({ callCounter: true });
  const lost = await lose(5000, {}, 'CancelAll');
  expect(world.sandbox.highestNonce(TEST_KEY.key)).toBe(BigInt(lost.nonce ?? ''));
  expect(world.sandbox.counter(TEST_KEY.key)).toBe(1);
  expect(errorOf(await world.call('Balance', { nonce: lost.nonce ?? '' }))).toBe('EAPI:Invalid nonce');
});

it('it runs without anybody looking', async () => {
  await world.close();
  world = await openWorld({ now: Date.now });
  const lost = await lose(5);
  await until(() => lost.executed);
  expect(world.sandbox.orders('master')).toHaveLength(1);
});

it('a deadline that has passed when the engine comes to the call ends it', async () => {
  const lost = await lose(5000, { ...CLIENT_ID, ...deadline(4999) });
  world.time += 5000;
  expect(await found()).toEqual([0, 0, 0]);
  expect(lost.error).toBe('EService:Deadline elapsed');
});

it.each([5000, 60_000])(
  'a deadline still ahead then does not, though nobody looks for %i ms',
  async (lookAfterMs) => {
    // A second ahead is too near for a call that arrives, and enough for one that has arrived.
    await lose(5000, { ...CLIENT_ID, ...deadline(6000) });
    world.time += lookAfterMs;
    expect(await found()).toEqual([1, 0, 1]);
  },
);

it('a call that the checks refuse never runs', async () => {
  await world.close();
  world = await openWorld({ keys: [{ ...TEST_KEY, permissions: ['close-trades'] }] });
  const refused = [
    await lose(1, { nonce: '0' }),
    await lose(1, {}),
    await lose(1, {}, 'NoSuchCall'),
    await lose(1, deadline(1000), 'AddOrder'),
  ];
  world.time += 60_000;
  expect(world.sandbox.orders('master')).toHaveLength(0);
  expect(refused.map((call) => [call.executed, call.error])).toEqual([
    [false, 'EAPI:Invalid nonce'],
    [false, 'EGeneral:Permission denied'],
    [false, 'EGeneral:Unknown method'],
    [false, 'EGeneral:Permission denied'],
  ]);
});

it('a repeat of an order that is not there yet stands, and the first is refused for its client id', async () => {
  const lost = await lose(5000, CLIENT_ID);
  await world.result('AddOrder', { ...ORDER, ...CLIENT_ID });
  world.time += 5000;
  expect(await found()).toEqual([1, 0, 1]);
  expect(lost.error).toBe('EGeneral:Invalid arguments:cl_ord_id not unique');
});

it('a repeat of an order that fills at once makes two of it, client id or not', async () => {
  const market = { ...CLIENT_ID, ordertype: 'market' };
  await lose(5000, market);
  await world.result('AddOrder', { ...ORDER, ...market });
  world.time += 5000;
  expect(await found()).toEqual([0, 2, 2]);
});

it('calls that wait run in the order that they are due, before any call that comes later', async () => {
  const { txid } = (await world.result('AddOrder', ORDER)) as { txid: [string] };
  await lose(3000, { price: '30000' });
  await lose(1000, { price: '10001' });
  await lose(2000, { txid: txid[0] }, 'CancelOrder');
  world.time += 10_000;
  expect(await world.result('CancelAll')).toEqual({ count: 2 });
  const start = world.time - 10_000;
  expect(world.sandbox.orders('master')).toMatchObject([
    { closedAt: start + 2000 },
    { price: '10001.0', openedAt: start + 1000 },
    { price: '30000.0', openedAt: start + 3000 },
  ]);
});

it.each([
  ['cancel_only', 'EService:Market in cancel_only mode'],
  ['maintenance', 'EService:Unavailable'],
] as const)('in %s by then, the engine refuses it', async (status, error) => {
  const lost = await lose(1000);
  world.sandbox.systemStatus = status;
  world.time += 1000;
  expect(world.sandbox.orders('master')).toHaveLength(0);
  expect(lost.error).toBe(error);
});

it('an order whose time is over by then is expired, not filled', async () => {
  await lose(6000, { price: '70000', timeinforce: 'GTD', expiretm: '+5' });
  world.time += 6000;
  expect(world.sandbox.orders('master')).toMatchObject([{ status: 'expired', filled: '0.00000000' }]);
});

it('slow-engine-hang: never answered, in flight until the client goes, executed all the same', async () => {
  world.sandbox.fault({ kind: 'slow-engine-hang', delayMs: 5000 });
  const abort = new AbortController();
  const nonce = world.nonce();
  const body = new URLSearchParams({ nonce, ...ORDER, ...CLIENT_ID }).toString();
  const answer = fetch(`${world.sandbox.url}/0/private/AddOrder`, {
    method: 'POST',
    body,
    signal: abort.signal,
    headers: {
      'API-Key': TEST_KEY.key,
      'API-Sign': apiSign('/0/private/AddOrder', nonce, body, TEST_SECRET),
      'Content-Type': 'application/x-www-form-urlencoded',
    },
  });
  await until(() => world.sandbox.receivedCount === 1);
  expect(world.sandbox.inFlight).toBe(1);
  expect(await found()).toEqual([0, 0, 0]);
  world.time += 5000;
  expect(await found()).toEqual([1, 0, 1]);
  expect(world.sandbox.inFlight).toBe(1);
  abort.abort();
  await expect(answer).rejects.toMatchObject({ name: 'AbortError' });
  await until(() => world.sandbox.inFlight === 0);
});
