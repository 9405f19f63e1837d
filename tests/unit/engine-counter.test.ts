import type { Fields } from '../../src/kraken/fields.js';
import { EngineCounter, type EngineCharge } from '../../src/orders/engine-counter.js';
import { RecentOrders } from '../../src/orders/recent-orders.js';

// The figures are those of KRAKEN.md 3.2.

const MAX = 125;
const DECAY = 2.5;
const TXID = 'OAAAAA-AAAAA-AAAAAA';

let now: number;
let orders: RecentOrders;
let counter: EngineCounter;
beforeEach(() => {
  now = 1_000_000;
  orders = new RecentOrders();
  counter = new EngineCounter({
    limitsOf: () => ({ max: MAX, decayPerSecond: DECAY }),
    orders,
    now: () => now,
  });
});

function fieldsOf(values: Readonly<Record<string, unknown>>): Fields {
  return new Map(Object.entries(values)) as unknown as Fields;
}

function chargeOf(endpoint: string, values: Readonly<Record<string, unknown>>): EngineCharge | undefined {
  return counter.chargeOf('master', endpoint, fieldsOf(values));
}

function spend(points: number, pair = 'XBTUSD', account = 'master'): void {
  counter.add({ account, pair, points });
}

describe('a charge', () => {
  it('is one point for an order, and half of one for each of a batch', () => {
    expect(chargeOf('AddOrder', { pair: 'XBTUSD' })).toEqual({
      account: 'master',
      pair: 'XBTUSD',
      points: 1,
    });
    expect(
      chargeOf('AddOrderBatch', { pair: 'XBTUSD', orders: [new Map(), new Map(), new Map()] })?.points,
    ).toBe(1.5);
  });

  it.each([
    [
      'AmendOrder',
      [
        [0, 4],
        [4.9, 4],
        [5, 3],
        [9.9, 3],
        [10, 2],
        [15, 1],
        [9_999, 1],
      ],
    ],
    [
      'EditOrder',
      [
        [0, 7],
        [5, 6],
        [10, 5],
        [15, 3],
        [44.9, 3],
        [45, 2],
        [90, 1],
      ],
    ],
    [
      'CancelOrder',
      [
        [0, 8],
        [5, 6],
        [10, 5],
        [15, 4],
        [45, 2],
        [90, 1],
        [299, 1],
        [300, undefined],
      ],
    ],
  ] as const)('for an %s goes by the age of the order', (endpoint, ages) => {
    orders.add(TXID, { account: 'master', pair: 'XBTUSD', touchedAt: now }, undefined);
    const start = now;
    for (const [seconds, points] of ages) {
      now = start + seconds * 1_000;
      expect([seconds, chargeOf(endpoint, { txid: TXID })?.points]).toEqual([seconds, points]);
    }
  });

  it('is found by the client order id as well', () => {
    orders.add(TXID, { account: 'master', pair: 'XBTUSD', touchedAt: now }, 'mine');
    expect(chargeOf('AmendOrder', { cl_ord_id: 'mine' })).toMatchObject({ pair: 'XBTUSD', points: 4 });
  });

  it.each([
    ['CancelAll', {}],
    ['Balance', {}],
    ['AddOrder', {}],
    ['AddOrder', { pair: '' }],
    ['AddOrder', { pair: 'X'.repeat(33) }],
    ['AmendOrder', { txid: TXID }],
    ['CancelOrder', { txid: '7' }],
    ['CancelOrder', {}],
  ])('of %s %j cannot be told', (endpoint, values) => {
    expect(chargeOf(endpoint, values)).toBeUndefined();
  });

  it('is not that of another account’s order', () => {
    orders.add(TXID, { account: 'alice', pair: 'XBTUSD', touchedAt: now }, undefined);
    expect(chargeOf('CancelOrder', { txid: TXID })).toBeUndefined();
  });
});

describe('the counter', () => {
  const ONE = { account: 'master', pair: 'XBTUSD', points: 1 };

  it('has room up to one point below its threshold', () => {
    for (let order = 0; order < MAX - 1; order++) {
      expect(counter.delayMs(ONE)).toBe(0);
      counter.add(ONE);
    }
    expect(counter.delayMs(ONE)).toBe(400);
  });

  it('tells a delay after which there is room', () => {
    spend(MAX + 10);
    const delay = counter.delayMs(ONE);
    now += delay - 1;
    expect(counter.delayMs(ONE)).toBeGreaterThan(0);
    now += 1;
    expect(counter.delayMs(ONE)).toBe(0);
  });

  it('loses points with time, and never falls below zero', () => {
    spend(10);
    now += 2_000;
    expect(counter.highest('master')).toBeCloseTo(5);
    now += 60_000;
    expect(counter.highest('master')).toBe(0);
    spend(1);
    expect(counter.highest('master')).toBe(1);
  });

  it('is one for each account and pair, with a slash or without', () => {
    spend(MAX);
    expect(counter.delayMs({ ...ONE, pair: 'ETHUSD' })).toBe(0);
    expect(counter.delayMs({ ...ONE, account: 'alice' })).toBe(0);
    expect(chargeOf('AddOrder', { pair: 'XBT/USD' })?.pair).toBe('XBTUSD');
  });

  it('is full when Kraken has said so', () => {
    counter.full('master', 'XBTUSD');
    expect(counter.highest('master')).toBe(MAX);
    expect(counter.delayMs(ONE)).toBe(800);
  });

  it('lets a call through that never fits, once it is empty', () => {
    const dear = { ...ONE, points: 2 * MAX };
    expect(counter.delayMs(dear)).toBe(0);
    spend(5);
    expect(counter.delayMs(dear)).toBe(2_000);
  });

  it('tells the highest of an account', () => {
    spend(3, 'XBTUSD');
    spend(7, 'ETHUSD');
    spend(9, 'ETHUSD', 'alice');
    expect(counter.highest('master')).toBe(7);
    expect(counter.highest('nobody')).toBe(0);
  });

  it('is kept for a bounded number of pairs, whatever clients call them', () => {
    spend(50, 'FIRST');
    for (let pair = 0; pair < 2_000; pair++) spend(1, `P${pair}`);
    expect(counter.highest('master')).toBe(1);
  });
});
