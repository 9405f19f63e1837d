import { errorOf, openWorld, TEST_KEY, type SandboxWorld } from '../support/sandbox-world.js';

const ORDER = { pair: 'XBTUSD', type: 'buy', ordertype: 'limit', price: '10000', volume: '1' };
const IN_BATCH = { type: 'buy', ordertype: 'limit', price: '10000', volume: '1' };
const OVER = 'EOrder:Rate limit exceeded';

let world: SandboxWorld;

beforeEach(async () => {
  world = await openWorld({ engineCounter: true });
});
afterEach(async () => {
  await world.close();
});

/** Places an order that must be taken; its txid. */
async function place(fields: Record<string, string> = {}): Promise<string> {
  const { txid } = (await world.result('AddOrder', { ...ORDER, ...fields })) as { txid: [string] };
  return txid[0];
}

function counter(pair = 'XBTUSD'): number {
  return world.sandbox.engineCounter('master', pair);
}

describe('the matching engine’s counter', () => {
  it.each([
    ['starter', 60, 1000],
    ['intermediate', 125, 428],
    ['pro', 180, 267],
  ] as const)('of tier %s holds %i orders and gains one in %i ms', async (tier, most, gainMs) => {
    await world.close();
    world = await openWorld({ keys: [{ ...TEST_KEY, tier }], engineCounter: true });
    for (let i = 0; i < most; i += 1) await place();
    expect(counter()).toBe(most);
    expect(errorOf(await world.call('AddOrder', ORDER))).toBe(OVER);
    // A call refused adds nothing.
    expect(counter()).toBe(most);
    expect(world.sandbox.orders('master')).toHaveLength(most);
    world.time += gainMs - 1;
    expect(errorOf(await world.call('AddOrder', ORDER))).toBe(OVER);
    world.time += 1;
    await place();
  });

  // Each boundary of the table; the add itself has decayed by then.
  it.each([
    ['amend', [4, 3, 2, 1, 1, 1, 1]],
    ['edit', [7, 6, 5, 3, 2, 1, 1]],
    ['cancel', [8, 6, 5, 4, 2, 1, 0]],
  ] as const)('rises by the age of the order that is to %s', async (action, points) => {
    const calls = {
      amend: (txid: string) => world.result('AmendOrder', { txid, order_qty: '2' }),
      edit: (txid: string) => world.result('EditOrder', { txid, pair: 'XBTUSD', volume: '2' }),
      cancel: (txid: string) => world.result('CancelOrder', { txid }),
    };
    const seen: number[] = [];
    for (const seconds of [4.999, 5, 10, 15, 45, 90, 300]) {
      const txid = await place();
      world.time += seconds * 1000;
      await calls[action](txid);
      seen.push(counter());
      world.time += 300_000;
    }
    expect(seen).toEqual(points);
  });

  it('takes an amend for a new beginning of an order’s age, and an edit for a new order', async () => {
    const txid = await place();
    world.time += 300_000;
    await world.result('AmendOrder', { txid, order_qty: '2' });
    world.time += 4999;
    await world.result('CancelOrder', { txid });
    expect(counter()).toBe(8);
    world.time += 300_000;
    const edit = { txid: await place(), pair: 'XBTUSD', volume: '2' };
    world.time += 300_000;
    const edited = (await world.result('EditOrder', edit)) as { txid: string };
    world.time += 4999;
    await world.result('CancelOrder', { txid: edited.txid });
    expect(counter()).toBe(8);
  });

  it('is one for an account and pair, whatever the key', async () => {
    await world.close();
    const second = { ...TEST_KEY, key: 'second-key' };
    const alice = { ...TEST_KEY, key: 'alice-key', account: 'alice' };
    world = await openWorld({ keys: [TEST_KEY, second, alice], engineCounter: true });
    await place();
    await world.call('AddOrder', ORDER, second);
    await world.call('AddOrder', ORDER, alice);
    await place({ pair: 'ETH/USD', price: '1000' });
    expect([counter(), counter('XBT/USD'), counter('ETHUSD'), counter('SOLUSD')]).toEqual([2, 2, 1, 0]);
    expect(world.sandbox.engineCounter('alice', 'XBTUSD')).toBe(1);
    expect(() => world.sandbox.engineCounter('nobody', 'XBTUSD')).toThrow('no account nobody');
  });

  it('takes the fixed part for calls that fail too, and nothing for those that only validate', async () => {
    const txid = await place();
    const fails = [
      ['AddOrder', { pair: 'XBTUSD' }, 1],
      ['AddOrder', { ...ORDER, volume: '1000000' }, 1],
      ['AmendOrder', { txid }, 1],
      ['AmendOrder', { txid, order_qty: '1000000' }, 1],
      ['EditOrder', { txid, pair: 'XBTUSD', volume: 'much' }, 1],
      ['CancelOrder', { txid: 'O0' }, 0],
      ['AddOrder', { ...ORDER, pair: 'DOGEMOON' }, 0],
    ] as const;
    for (const [endpoint, fields, points] of fails) {
      const before = counter();
      expect(errorOf(await world.call(endpoint, fields))).toBeDefined();
      expect([endpoint, counter() - before]).toEqual([endpoint, points]);
    }
    const before = counter();
    await world.result('AddOrder', { ...ORDER, validate: 'true' });
    await world.result('EditOrder', { txid, pair: 'XBTUSD', volume: '2', validate: 'true' });
    expect(counter()).toBe(before);
    // An amend of an order that is gone fails, so its age adds nothing.
    await world.result('CancelOrder', { txid });
    expect(errorOf(await world.call('AmendOrder', { txid, order_qty: '2' }))).toBe('EOrder:Unknown order');
    expect(counter()).toBe(before + 8 + 1);
  });

  it('takes half a point for each order in a batch, whole or refused', async () => {
    const batch = (orders: unknown[]): Promise<string | undefined> =>
      world.callJson('AddOrderBatch', { pair: 'XBTUSD', orders }).then(errorOf);
    expect(await batch([IN_BATCH, IN_BATCH, IN_BATCH])).toBeUndefined();
    expect(counter()).toBe(1.5);
    expect(await batch([IN_BATCH, {}])).toBe('EGeneral:Invalid arguments:ordertype');
    expect(counter()).toBe(2.5);
    for (let i = 0; i < 122; i += 1) await place();
    expect(await batch([IN_BATCH, IN_BATCH])).toBe(OVER);
    expect(counter()).toBe(124.5);
  });

  it('refuses amend, edit and cancel that do not fit whole, and a batch of cancels never', async () => {
    const txids = [await place(), await place({ userref: '7' }), await place({ userref: '7' })];
    const [txid = ''] = txids;
    for (let i = 3; i < 118; i += 1) await place();
    await world.result('AmendOrder', { txid, order_qty: '2' });
    expect(counter()).toBe(122);
    expect(errorOf(await world.call('AmendOrder', { txid, order_qty: '3' }))).toBe(OVER);
    const edit = { txid, pair: 'XBTUSD', volume: '3' };
    expect(errorOf(await world.call('EditOrder', edit))).toBe(OVER);
    expect(errorOf(await world.call('CancelOrder', { txid }))).toBe(OVER);
    expect(errorOf(await world.call('CancelOrder', { txid: '7' }))).toBe(OVER);
    expect(counter()).toBe(122);
    expect(world.sandbox.orders('master').every(({ status }) => status === 'open')).toBe(true);

    const { json } = await world.callJson('CancelOrderBatch', { orders: txids });
    expect(json?.result).toEqual({ count: 3 });
    expect(counter()).toBe(122 + 3 * 8);
    expect(errorOf(await world.call('AddOrder', ORDER))).toBe(OVER);
    expect(await world.result('CancelAll')).toEqual({ count: 115 });
    expect(counter()).toBe(146 + 115 * 8);
  });

  it('takes a userref’s group as so many cancels, each on its own pair', async () => {
    await place({ userref: '7' });
    await place({ userref: '7' });
    await place({ userref: '7', pair: 'ETHUSD', price: '1000' });
    await world.result('CancelOrder', { txid: '7' });
    expect([counter(), counter('ETHUSD')]).toEqual([2 + 16, 1 + 8]);
  });

  it('is off unless asked for, and counts nothing while off', async () => {
    await world.close();
    world = await openWorld();
    for (let i = 0; i < 130; i += 1) await place();
    expect(counter()).toBe(0);
    world.sandbox.setEngineCounter(true);
    await place();
    expect(counter()).toBe(1);
    world.sandbox.setEngineCounter(false);
    await place();
    expect(counter()).toBe(1);
  });
});
