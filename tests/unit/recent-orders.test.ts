import type { Fields } from '../../src/kraken/fields.js';
import { RecentOrders } from '../../src/orders/recent-orders.js';

let orders: RecentOrders;
beforeEach(() => {
  orders = new RecentOrders();
});

function learn(
  endpoint: string,
  fields: Readonly<Record<string, string>> | undefined,
  result: unknown,
  now = 0,
  account = 'master',
): void {
  const read: Fields | undefined = fields && new Map(Object.entries(fields));
  orders.learn(account, endpoint, read, Buffer.from(JSON.stringify({ error: [], result })), now);
}

describe('an order is learned', () => {
  it('from an AddOrder, by its txid and the client’s id', () => {
    learn('AddOrder', { pair: 'XBTUSD', cl_ord_id: 'mine' }, { descr: {}, txid: ['OA'] }, 5);
    const expected = { account: 'master', pair: 'XBTUSD', touchedAt: 5 };
    expect(orders.has('OA')).toBe(true);
    expect(orders.find('master', 'OA')).toEqual(expected);
    expect(orders.find('master', 'mine')).toEqual(expected);
  });

  it('from an EditOrder, whose txid is no list', () => {
    learn('EditOrder', { pair: 'XBTUSD', txid: 'OLD' }, { status: 'ok', txid: 'NEW', originaltxid: 'OLD' });
    expect(orders.has('NEW')).toBe(true);
    expect(orders.has('OLD')).toBe(false);
  });

  it('from a batch, each that was placed', () => {
    learn(
      'AddOrderBatch',
      { pair: 'XBTUSD' },
      { orders: [{ txid: 'OA' }, { error: 'EOrder:No' }, { txid: 'OB' }] },
    );
    expect(['OA', 'OB'].map((txid) => orders.has(txid))).toEqual([true, true]);
  });

  it('though the fields cannot be read', () => {
    learn('AddOrder', undefined, { txid: ['OA'] });
    expect(orders.find('master', 'OA')?.pair).toBe('');
  });
});

it('an amend makes an order young again', () => {
  learn('AddOrder', { pair: 'XBTUSD', cl_ord_id: 'mine' }, { txid: ['OA'] }, 5);
  learn('AmendOrder', { txid: 'OA' }, { amend_id: 'TA' }, 60);
  expect(orders.find('master', 'OA')?.touchedAt).toBe(60);
  learn('AmendOrder', { cl_ord_id: 'mine' }, { amend_id: 'TB' }, 90);
  expect(orders.find('master', 'OA')?.touchedAt).toBe(90);
  expect(orders.has('TA')).toBe(false);
});

it('an order is another account’s neither by txid nor by client id', () => {
  learn('AddOrder', { pair: 'XBTUSD', cl_ord_id: 'mine' }, { txid: ['OA'] });
  expect(orders.find('alice', 'OA')).toBeUndefined();
  expect(orders.find('alice', 'mine')).toBeUndefined();
});

it('a client id names the order that carried it last', () => {
  learn('AddOrder', { pair: 'XBTUSD', cl_ord_id: 'mine' }, { txid: ['OA'] });
  learn('AddOrder', { pair: 'ETHUSD', cl_ord_id: 'mine' }, { txid: ['OB'] });
  expect(orders.find('master', 'mine')?.pair).toBe('ETHUSD');
});

it.each([
  '',
  'null',
  '[]',
  '{"error":["EOrder:Insufficient funds"]}',
  '{"result":null}',
  '{"result":{"txid":7}}',
  '<html>',
])('nothing is learned from %s', (reply) => {
  orders.learn('master', 'AddOrder', new Map([['pair', 'XBTUSD']]), Buffer.from(reply));
  expect(orders.has('7')).toBe(false);
});

it('the oldest go when there are many', () => {
  for (let n = 0; n <= 20_000; n++)
    orders.add(`O${n}`, { account: 'master', pair: 'XBTUSD', touchedAt: n }, `c${n}`);
  expect(orders.has('O0')).toBe(false);
  expect(orders.has('O1')).toBe(true);
  expect(orders.find('master', 'c0')).toBeUndefined();
  expect(orders.has('O20000')).toBe(true);
});
