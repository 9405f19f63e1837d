import fc from 'fast-check';

import { readFields, type Fields } from '../../src/kraken/fields.js';
import {
  clientDeadline,
  identifyOrder,
  parametersDigest,
  type IdentifiedCall,
} from '../../src/orders/order-identity.js';

const OURS = '6d1b345e-2821-40e2-ad83-4ecb18a06876';

const form = (text: string): Fields => readFields(Buffer.from(text), 'form');
const json = (text: string): Fields => readFields(Buffer.from(text), 'json');

function identified(endpoint: string, fields: Fields): IdentifiedCall | undefined {
  let ids = 0;
  return identifyOrder(endpoint, fields, () => (ids++ === 0 ? OURS : `${OURS}-${ids}`));
}

const TERMS = 'pair=XBTUSD&type=buy&ordertype=limit&price=%2B5%25&volume=1.25';

describe('AddOrder', () => {
  it('gets an id of ours where it has none', () => {
    expect(identified('AddOrder', form(`${TERMS}&oflags=post`))).toEqual({
      identity: {
        endpoint: 'AddOrder',
        isTest: false,
        order: {
          id: { name: 'cl_ord_id', value: OURS, isOurs: true },
          pair: 'XBTUSD',
          type: 'buy',
          ordertype: 'limit',
          price: '+5%',
          volume: '1.25',
          oflags: 'post',
        },
      },
      extra: [['cl_ord_id', OURS]],
      orderIds: [],
    });
  });

  it.each([
    ['cl_ord_id', 'cl_ord_id=my-order', 'my-order'],
    ['userref', 'userref=-42', '-42'],
    ['cl_ord_id', 'userref=42&cl_ord_id=a', 'a'],
  ])('keeps the client’s own %s: %s', (name, text, value) => {
    const call = identified('AddOrder', form(`${TERMS}&${text}`));
    expect(call?.identity).toMatchObject({ order: { id: { name, value, isOurs: false } } });
    expect(call?.extra).toEqual([]);
  });

  it('reads a numeric userref beside a null', () => {
    const call = identified(
      'AddOrder',
      json('{"pair":"X","type":"buy","ordertype":"market","volume":1.0,"userref":7,"cl_ord_id":null}'),
    );
    expect(call?.identity).toMatchObject({
      order: { id: { name: 'userref', value: '7', isOurs: false }, volume: '1.0' },
    });
  });

  it.each([
    'cl_ord_id=',
    'userref=',
    'userref=abc',
    'userref=1.5',
    'CL_ORD_ID=x',
    'cl_ord_id%20=x',
    'cl_ord_id[]=x',
    'cl_ord_id%00=x',
    'UserRef=1',
    '%20userref=1',
  ])('cannot be told, and gets nothing, with %s', (text) => {
    expect(identified('AddOrder', form(`${TERMS}&${text}`))).toBeUndefined();
  });

  it.each(['pair', 'type', 'ordertype'])('cannot be told without %s', (name) => {
    const text = TERMS.replace(new RegExp(`(^|&)${name}=[^&]*`), '');
    expect(identified('AddOrder', form(text))).toBeUndefined();
    expect(identified('AddOrder', form(`${text}&${name}=`))).toBeUndefined();
  });

  it.each([
    ['form', form(`${TERMS}&close[ordertype]=stop-loss&close[price]=100`)],
    [
      'JSON',
      json(
        '{"pair":"XBTUSD","type":"buy","ordertype":"limit","close":{"ordertype":"stop-loss","price":100}}',
      ),
    ],
  ])('tells a conditional close in %s', (_, fields) => {
    expect(identified('AddOrder', fields)?.identity).toMatchObject({
      order: { close: { ordertype: 'stop-loss', price: '100' } },
    });
  });

  it.each([
    ['true in a form', form(`${TERMS}&validate=true`), true],
    ['false in a form', form(`${TERMS}&validate=false`), false],
    ['1 in a form', form(`${TERMS}&validate=1`), false],
    ['true in JSON', json('{"pair":"X","type":"buy","ordertype":"market","validate":true}'), true],
    ['a text in JSON', json('{"pair":"X","type":"buy","ordertype":"market","validate":"true"}'), false],
  ])('is a test by validate, %s', (_, fields, isTest) => {
    expect(identified('AddOrder', fields)?.identity.isTest).toBe(isTest);
  });
});

describe('AddOrderBatch', () => {
  const order = '"type":"buy","ordertype":"market","volume":"1"';

  it('gets ids of ours where it has none, in order', () => {
    const call = identified(
      'AddOrderBatch',
      json(`{"pair":"X","orders":[{${order}},{${order},"userref":5},{${order}}]}`),
    );
    expect(call?.identity).toMatchObject({
      endpoint: 'AddOrderBatch',
      orders: [
        { id: { value: OURS, isOurs: true }, pair: 'X' },
        { id: { name: 'userref', value: '5', isOurs: false } },
        { id: { value: `${OURS}-2`, isOurs: true } },
      ],
    });
    expect(call?.extra).toEqual([]);
    expect(call?.orderIds).toEqual([OURS, undefined, `${OURS}-2`]);
  });

  it.each([
    ['in a form', form('pair=X&orders[0][type]=buy')],
    ['without a pair', json(`{"orders":[{${order}}]}`)],
    ['without orders', json('{"pair":"X"}')],
    ['of no orders', json('{"pair":"X","orders":[]}')],
    ['with something else in it', json(`{"pair":"X","orders":[{${order}},1]}`)],
    ['with an empty id in it', json(`{"pair":"X","orders":[{${order}},{${order},"cl_ord_id":""}]}`)],
    ['with an odd name in it', json(`{"pair":"X","orders":[{${order}},{${order},"Userref":"1"}]}`)],
  ])('cannot be told, and gets nothing, %s', (_, fields) => {
    expect(identified('AddOrderBatch', fields)).toBeUndefined();
  });
});

describe('the others get nothing added', () => {
  it.each([
    [
      'EditOrder',
      'txid=OA-B&pair=XBTUSD&price=1&userref=7&oflags=post',
      { isTest: false, txid: 'OA-B', pair: 'XBTUSD', price: '1', userref: '7' },
    ],
    ['EditOrder', 'txid=5&pair=X&validate=true', { isTest: true, txid: '5', pair: 'X' }],
    [
      'AmendOrder',
      'txid=OA-B&order_qty=1.5&limit_price=30000&post_only=true',
      {
        isTest: false,
        target: { name: 'txid', value: 'OA-B' },
        order_qty: '1.5',
        limit_price: '30000',
        post_only: 'true',
        isRelative: false,
      },
    ],
    [
      'Withdraw',
      'asset=XBT&key=cold&amount=0.5&address=bc1',
      { isTest: false, asset: 'XBT', key: 'cold', amount: '0.5' },
    ],
  ])('%s %s', (endpoint, text, identity) => {
    expect(identified(endpoint, form(text))).toEqual({
      identity: { endpoint, ...identity },
      extra: [],
      orderIds: [],
    });
  });

  it.each(['%2B5', '-5', '%235', '5%25', '1e3', '+5'])('an amend to %s is relative', (text) => {
    expect(identified('AmendOrder', form(`cl_ord_id=a&trigger_price=${text}`))?.identity).toMatchObject({
      target: { name: 'cl_ord_id', value: 'a' },
      isRelative: true,
    });
  });

  it.each([
    ['EditOrder', 'pair=X'],
    ['EditOrder', 'txid=OA-B'],
    ['AmendOrder', 'order_qty=1'],
    ['AmendOrder', 'txid=OA-B&cl_ord_id=a&order_qty=1'],
    ['AmendOrder', 'txid=OA-B&post_only=true'],
    ['Withdraw', 'asset=XBT&amount=1'],
    ['CancelOrder', 'txid=OA-B'],
    ['Balance', ''],
  ])('%s cannot be told from %s', (endpoint, text) => {
    expect(identified(endpoint, form(text))).toBeUndefined();
  });

  it('every identity survives JSON', () => {
    const calls = [
      identified('AddOrder', form(TERMS)),
      identified('EditOrder', form('txid=OA-B&pair=X')),
      identified('AmendOrder', form('txid=OA-B&order_qty=1')),
      identified('Withdraw', form('asset=XBT&key=cold&amount=0.5')),
    ];
    for (const call of calls) {
      expect(JSON.parse(JSON.stringify(call?.identity))).toStrictEqual(call?.identity);
    }
  });
});

describe('a client’s deadline', () => {
  it.each([
    ['2026-11-22T20:00:05Z', Date.UTC(2026, 10, 22, 20, 0, 5)],
    ['2026-11-22t20:00:05.123456789z', Date.UTC(2026, 10, 22, 20, 0, 5, 123)],
    ['2026-11-22T21:30:05.5+01:30', Date.UTC(2026, 10, 22, 20, 0, 5, 500)],
    ['2028-02-29 20:00:05-00:00', Date.UTC(2028, 1, 29, 20, 0, 5)],
    ['2026-02-29T20:00:05Z', 'unreadable'],
    ['2026-13-01T20:00:05Z', 'unreadable'],
    ['2026-11-22T25:00:05Z', 'unreadable'],
    ['2026-11-22T20:00:05', 'unreadable'],
    ['2026-11-22', 'unreadable'],
    ['1795000000', 'unreadable'],
    ['', 'unreadable'],
  ])('%s is %s', (text, expected) => {
    expect(clientDeadline(form(`deadline=${encodeURIComponent(text)}`))).toBe(expected);
  });

  it('is told apart from none, and from what may be one', () => {
    expect(clientDeadline(form('pair=X'))).toBeUndefined();
    expect(clientDeadline(form('Deadline=2026-11-22T20:00:05Z'))).toBe('unreadable');
    expect(clientDeadline(json('{"deadline":null}'))).toBe('unreadable');
  });
});

describe('the digest of the parameters', () => {
  it('is the same in any order and format, and whatever nonce, otp and deadline', () => {
    const digest = parametersDigest('AddOrder', form('nonce=1&pair=X&price=1.50&validate=true&otp=1'));
    expect(digest).toMatch(/^[0-9a-f]{64}$/);
    expect(
      parametersDigest('AddOrder', json('{"deadline":"x","validate":true,"price":1.50,"pair":"X"}')),
    ).toBe(digest);
  });

  it.each([
    ['another endpoint', 'EditOrder', form('pair=X&price=1.50')],
    ['another value', 'AddOrder', form('pair=X&price=1.5')],
    ['a field more', 'AddOrder', form('pair=X&price=1.50&a=')],
    ['a field less', 'AddOrder', form('pair=X')],
    ['another type', 'AddOrder', json('{"pair":"X","price":["1.50"]}')],
  ])('is another for %s', (_, endpoint, fields) => {
    expect(parametersDigest(endpoint, fields)).not.toBe(
      parametersDigest('AddOrder', form('pair=X&price=1.50')),
    );
  });

  it('is the same exactly for the same data, for any JSON', () => {
    const { value } = fc.letrec<{ value: unknown }>((tie) => ({
      value: fc.oneof(
        { depthSize: 'small' },
        fc.constantFrom('', 'a', 'list', 'object', true, false, null),
        fc.array(tie('value'), { maxLength: 3 }),
        fc.dictionary(fc.constantFrom('a', 'b', 'nonce'), tie('value'), { noNullPrototype: true }),
      ),
    }));
    const body = fc.record({ p: value }).map((data) => JSON.stringify(data));
    const sorted = (text: string): string =>
      JSON.stringify(JSON.parse(text), (_, one: unknown) =>
        typeof one === 'object' && one !== null && !Array.isArray(one)
          ? Object.fromEntries(Object.entries(one).sort(([a], [b]) => (a < b ? -1 : 1)))
          : one,
      );
    fc.assert(
      fc.property(body, body, (one, other) => {
        const isSame = parametersDigest('X', json(one)) === parametersDigest('X', json(other));
        expect(isSame).toBe(sorted(one) === sorted(other));
      }),
      { numRuns: 1000 },
    );
  });
});
