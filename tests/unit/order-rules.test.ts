import { endpointOf } from '../../src/kraken/endpoints.js';
import type { OrderLimits, Rules } from '../../src/policy/policy.js';
import { openOrder, PolicyWorld, rulesWith, TXID, type Body } from '../support/policy-world.js';

type Limits = Partial<OrderLimits>;

/** What a call is answered under these limits, the market at 99 / 101, last 100. */
const outcome = (limits: Limits, body: Body, name = 'AddOrder'): Promise<string> =>
  new PolicyWorld().outcome(rulesWith(limits), name, body);

const LIMIT_BUY = 'pair=XBTUSD&type=buy&ordertype=limit&price=100&volume=1';
const json = (more: Record<string, unknown> = {}): Record<string, unknown> => ({
  ...{ pair: 'XBTUSD', type: 'buy', ordertype: 'limit', price: '100', volume: '1' },
  ...more,
});

describe('an order within its limits is allowed', () => {
  it.each<[string, Limits, Body]>([
    ['pairs, by another name', { pairs: ['XBT/USD'] }, LIMIT_BUY],
    ['sides', { sides: ['buy'] }, LIMIT_BUY],
    ['types', { types: ['limit'] }, LIMIT_BUY],
    ['volume, exactly', { maxVolume: '1' }, 'pair=XBTUSD&type=buy&ordertype=limit&price=100&volume=1.000'],
    ['notional, exactly', { maxNotional: { USD: '100' } }, LIMIT_BUY],
    ['reduce only', { reduceOnly: true }, `${LIMIT_BUY}&reduce_only=true&leverage=2`],
    ['reduce only in JSON', { reduceOnly: true }, json({ reduce_only: true })],
    ['post only', { postOnly: true }, `${LIMIT_BUY}&oflags=fciq,post`],
    ['JSON numbers', { maxVolume: '1.25' }, json({ volume: 1.25, userref: -5, price: 37500.5 })],
    [
      'a conditional close',
      { types: ['limit', 'stop-loss'] },
      `${LIMIT_BUY}&close[ordertype]=stop-loss&close[price]=90`,
    ],
    [
      'all known fields',
      { sides: ['buy'] },
      `${LIMIT_BUY}&nonce=1&otp=2&userref=3&displayvol=1&trigger=last&leverage=none&margin=false&reduce_only=false&stptype=cancel-newest&oflags=&timeinforce=GTC&starttm=0&expiretm=%2B60&deadline=2026-01-01T00:00:00Z&validate=false&trading_agreement=agree&broker=x&cl_ord_id=a-1`,
    ],
  ])('%s', async (_, limits, body) => {
    expect(await outcome(limits, body)).toBe('allowed');
  });
});

describe('an order beyond a limit is refused under its rule', () => {
  it.each<[string, Limits, Body]>([
    [
      'orders.pairs: ETHEUR is not one of the pairs',
      { pairs: ['XBTUSD'] },
      LIMIT_BUY.replace('XBTUSD', 'ETHEUR'),
    ],
    ['orders.sides: buy is not one of the sides', { sides: ['sell'] }, LIMIT_BUY],
    ['orders.types: limit is not one of the types', { types: ['market'] }, LIMIT_BUY],
    ['orders.maxVolume: a volume of 1 is more than 0.99999999', { maxVolume: '0.99999999' }, LIMIT_BUY],
    [
      'orders.maxNotional: an order worth 100 USD is more than 99.9',
      { maxNotional: { USD: '99.9' } },
      LIMIT_BUY,
    ],
    [
      'orders.maxNotional: there is no limit for the quote currency EUR',
      { maxNotional: { USD: '1' } },
      LIMIT_BUY.replace('XBTUSD', 'ETHEUR'),
    ],
    ['orders.reduceOnly: the order is not reduce_only=true', { reduceOnly: true }, LIMIT_BUY],
    ['orders.postOnly: the order is not post-only', { postOnly: true }, LIMIT_BUY],
    [
      'orders.postOnly: market orders cannot be post-only',
      { postOnly: true },
      'pair=XBTUSD&type=buy&ordertype=market&volume=1&oflags=post',
    ],
  ])('%s', async (expected, limits, body) => {
    expect(await outcome(limits, body)).toBe(expected);
  });

  it('the first rule in their order gives the reason', async () => {
    const limits: Limits = { pairs: ['ETHEUR'], sides: ['sell'], maxVolume: '0.1', postOnly: true };
    expect(await outcome(limits, LIMIT_BUY)).toMatch(/^orders\.pairs/);
    expect(await outcome({ ...limits, pairs: ['XBTUSD'] }, LIMIT_BUY)).toMatch(/^orders\.sides/);
  });
});

describe('what somebody might try to get past the limits', () => {
  /** All of them set, wide open for an ordinary order. */
  const all: Limits = {
    ...{ pairs: ['XBTUSD'], sides: ['buy', 'sell'], types: ['limit', 'market'] },
    ...{ maxVolume: '10', maxNotional: { USD: '1000' } },
  };

  it('the ordinary order passes', async () => {
    expect(await outcome(all, LIMIT_BUY)).toBe('allowed');
    expect(await outcome(all, json())).toBe('allowed');
  });

  it.each<[string, Body]>([
    ['a volume twice', `${LIMIT_BUY}&volume=1000`],
    ['a volume twice, escaped', `${LIMIT_BUY}&v%6Flume=1000`],
    ['in capitals', `${LIMIT_BUY}&Volume=1000`],
    ['in capitals, JSON', json({ VOLUME: '1000' })],
    ['with brackets', `${LIMIT_BUY}&volume[]=1000`],
    ['with brackets and an index', `${LIMIT_BUY}&volume[0]=1000`],
    ['with a blank before it', `${LIMIT_BUY}&+volume=1000`],
    ['with a blank after it', `${LIMIT_BUY}&volume%20=1000`],
    ['with a NUL', `${LIMIT_BUY}&volume%00=1000`],
    ['behind a semicolon', `${LIMIT_BUY};volume=1000`],
    ['behind an escaped separator', `${LIMIT_BUY}&cl_ord_id=a%26volume%3D1000`],
    ['behind a semicolon in the otp', `${LIMIT_BUY}&otp=1;volume=1000`],
    ['behind an escaped separator in the otp', `${LIMIT_BUY}&otp=1%26volume%3D1000`],
    ['behind a separator in the otp, JSON', json({ otp: '1&volume=1000' })],
    ['in an otp that is no text', json({ otp: { volume: '1000' } })],
    ['after a BOM', `%EF%BB%BFvolume=1000&${LIMIT_BUY}`],
    ['a line break in another field', `${LIMIT_BUY}&cl_ord_id=a%0Ab`],
    ['other letters in another field', `${LIMIT_BUY}&cl_ord_id=%C3%A9`],
    ['a nested order', json({ order: { volume: '1000' } })],
    ['orders beside the order', json({ orders: [json({ volume: '1000' })] })],
    ['a volume as a list', json({ volume: ['1', '1000'] })],
    ['a volume as an object', json({ volume: { value: '1000' } })],
    ['an exponent', json({ volume: '1e3' })],
    [
      'an exponent as a number',
      '{"pair":"XBTUSD","type":"buy","ordertype":"limit","price":"100","volume":1e3}',
    ],
    ['a negative volume', json({ volume: '-1' })],
    ['a sign', json({ volume: '+1' })],
    ['hex', json({ volume: '0x1' })],
    ['infinity', json({ volume: 'Infinity' })],
    ['not a number', json({ volume: 'NaN' })],
    ['a comma', json({ volume: '1,000' })],
    ['an underscore', json({ volume: '1_000' })],
    ['a blank', json({ volume: ' 1' })],
    ['other digits', json({ volume: '１' })],
    ['too many digits', json({ volume: '1'.repeat(21) })],
    ['a percentage beyond any sense', json({ price: '+1000%', volume: '0.000001' })],
    ['volume 0: the whole position', json({ volume: '0' })],
    ['volume 0.0', json({ volume: '0.000' })],
    ['no volume', 'pair=XBTUSD&type=sell&ordertype=market'],
    ['volume null', json({ volume: null })],
    ['no pair', 'type=buy&ordertype=limit&price=100&volume=1'],
    ['a pair in other case', json({ pair: 'xbtusd' })],
    ['two pairs', json({ pair: 'XBTUSD,ETHEUR' })],
    ['a pair of another asset class', json({ asset_class: 'tokenized_asset' })],
    ['no side', 'pair=XBTUSD&ordertype=limit&price=100&volume=1'],
    ['a side in capitals', json({ type: 'BUY' })],
    ['no type', 'pair=XBTUSD&type=buy&price=100&volume=1'],
    ['a type nobody knows', json({ ordertype: 'stop-loss-profit' })],
    ['a type with a blank', json({ ordertype: 'limit ' })],
    ['a type that objects have', json({ ordertype: 'constructor' })],
    ['a limit order without a price', 'pair=XBTUSD&type=buy&ordertype=limit&volume=1'],
    ['a limit price of 0', json({ price: '0' })],
    ['a percentage without a sign', json({ price: '5%' })],
    ['two signs', json({ price: '+-5' })],
    ['viqc on a sale', 'pair=XBTUSD&type=sell&ordertype=market&volume=1&oflags=viqc'],
    ['viqc on a limit order', `${LIMIT_BUY}&oflags=viqc`],
    ['a flag nobody knows', `${LIMIT_BUY}&oflags=VIQC`],
    ['flags with a blank', `${LIMIT_BUY}&oflags=fciq,%20viqc`],
    ['a close of a type that is not listed', `${LIMIT_BUY}&close[ordertype]=stop-loss&close[price]=90`],
    ['a close without a type', `${LIMIT_BUY}&close[price]=90`],
    ['a close with more in it', json({ close: { ordertype: 'limit', price: '100', volume: '1000' } })],
    ['a close as text', `${LIMIT_BUY}&close=limit`],
    ['a close twice', json({ close: { ordertype: 'limit', price: '1' }, 'close[price]': '10000' })],
    ['a close beyond the limit', json({ close: { ordertype: 'limit', price: '1001' } })],
    ['a sale at 1: it trades at the market', json({ type: 'sell', price: '1', volume: '10.01' })],
    ['a sale far above the market', json({ type: 'sell', price: '1000.01' })],
    ['a distance upward', json({ price: '+900.01' })],
    ['a distance of unknown direction', json({ price: '#900.01' })],
    ['a distance downward counts upward', json({ price: '-900.01' })],
    ['a percentage', json({ price: '+891%' })],
    ['a market order', 'pair=XBTUSD&type=buy&ordertype=market&volume=9.901'],
    ['a market order with a low price', 'pair=XBTUSD&type=buy&ordertype=market&volume=9.901&price=1'],
    ['a volume in quote currency', 'pair=XBTUSD&type=buy&ordertype=market&volume=1000.01&oflags=viqc'],
    ['a batch in the wrong place', json({ orders: [] })],
  ])('%s', async (_, body) => {
    expect(await outcome(all, body)).toMatch(/^orders\.[A-Za-z]+: [\x20-\x7e]{1,200}$/);
  });

  it.each<[string, Body]>([
    ['close under reduceOnly', `${LIMIT_BUY}&reduce_only=true&close[ordertype]=limit&close[price]=1`],
    ['reduce_only=True', `${LIMIT_BUY}&reduce_only=True`],
    ['reduce_only=1', `${LIMIT_BUY}&reduce_only=1`],
    ['reduce_only as a JSON string', json({ reduce_only: 'true' })],
    ['reduce_only=null', json({ reduce_only: null })],
  ])('reduceOnly: %s', async (_, body) => {
    expect(await outcome({ reduceOnly: true }, body)).toMatch(/^orders\.reduceOnly: /);
  });

  it.each<[string, Body]>([
    ['a close', `${LIMIT_BUY}&oflags=post&close[ordertype]=limit&close[price]=1`],
    ['a triggered type', LIMIT_BUY.replace('=limit', '=stop-loss-limit').concat('&oflags=post&price2=1')],
    ['the flag in capitals', `${LIMIT_BUY}&oflags=POST`],
  ])('postOnly: %s', async (_, body) => {
    expect(await outcome({ postOnly: true }, body)).toMatch(/^orders\.postOnly: /);
  });

  it('a volume beyond any order is refused by whatever rule is set', async () => {
    expect(await outcome({ sides: ['buy'] }, json({ volume: '9'.repeat(15) }))).toBe('allowed');
    expect(await outcome({ sides: ['buy'] }, json({ volume: `1${'0'.repeat(15)}` }))).toBe(
      'orders.sides: the order rules cannot read volume 1000000000000000',
    );
    expect(await outcome({ sides: ['buy'] }, json({ volume: `${'0'.repeat(19)}1` }))).toBe('allowed');
  });

  it('a conditional close is on the other side', async () => {
    const body = `${LIMIT_BUY}&close[ordertype]=limit&close[price]=1`;
    expect(await outcome({ sides: ['buy'] }, body)).toMatch(
      /^orders\.sides: its conditional close would sell/,
    );
  });
});

describe('what an order may be worth at most', () => {
  /** Allowed with a limit of exactly this much, refused with a little less. */
  it.each<[worth: string, body: string]>([
    ['100', 'type=buy&ordertype=limit&price=100&volume=1'],
    ['100', 'type=buy&ordertype=iceberg&price=100&volume=1&displayvol=0.1'],
    ['101', 'type=buy&ordertype=market&volume=1'],
    ['100', 'type=sell&ordertype=market&volume=1'],
    ['100', 'type=sell&ordertype=limit&price=1&volume=1'],
    ['150', 'type=sell&ordertype=limit&price=150&volume=1'],
    ['111', 'type=buy&ordertype=limit&price=%2B10&volume=1'],
    ['111', 'type=buy&ordertype=limit&price=-10&volume=1'],
    ['110', 'type=sell&ordertype=limit&price=%2310%25&volume=1'],
    ['120', 'type=buy&ordertype=stop-loss&price=120&volume=1'],
    ['101', 'type=buy&ordertype=take-profit&price=90&volume=1'],
    ['100', 'type=sell&ordertype=stop-loss&price=90&volume=1'],
    ['125', 'type=buy&ordertype=stop-loss-limit&price=120&price2=125&volume=1'],
    ['130', 'type=buy&ordertype=stop-loss-limit&price=120&price2=%2B10&volume=1'],
    ['120', 'type=sell&ordertype=take-profit-limit&price=120&price2=110&volume=1'],
    ['106.05', 'type=buy&ordertype=trailing-stop&price=%2B5%25&volume=1'],
    ['105', 'type=sell&ordertype=trailing-stop&price=5&volume=1'],
    ['108', 'type=sell&ordertype=trailing-stop-limit&price=%2B5&price2=-3&volume=1'],
    ['108', 'type=buy&ordertype=trailing-stop-limit&price=%2B5&price2=2&volume=1'],
    ['50', 'type=buy&ordertype=market&volume=50&oflags=viqc'],
    ['300', 'type=buy&ordertype=limit&price=100&volume=1&close[ordertype]=limit&close[price]=300'],
    ['110', 'type=buy&ordertype=limit&price=100&volume=1&close[ordertype]=stop-loss&close[price]=-10%25'],
    ['220', 'type=buy&ordertype=limit&price=200&volume=1&close[ordertype]=stop-loss&close[price]=-10%25'],
    [
      '151.515151515151515153',
      'type=buy&ordertype=market&volume=50&oflags=viqc&close[ordertype]=limit&close[price]=300',
    ],
    ['0.00000000000000000001', 'type=buy&ordertype=limit&price=0.0000000001&volume=0.0000000001'],
  ])('%s USD: %s', async (worth, body) => {
    const limit = (text: string): Limits => ({ maxNotional: { USD: text } });
    const less = (BigInt(worth.replace('.', '').concat('0')) - 1n).toString();
    const places = (worth.split('.')[1] ?? '').length + 1;
    const padded = less.padStart(places + 1, '0');
    const below = `${padded.slice(0, -places)}.${padded.slice(-places)}`;
    expect(await outcome(limit(worth), `pair=XBTUSD&${body}`)).toBe('allowed');
    if (places <= 20)
      expect(await outcome(limit(below), `pair=XBTUSD&${body}`)).toMatch(/^orders\.maxNotional: /);
  });

  it('a volume in quote currency is as much base currency as the lowest price gives, rounded up', async () => {
    const body = 'pair=XBTUSD&type=buy&ordertype=market&volume=100&oflags=viqc';
    expect(await outcome({ maxVolume: '1.01010101010101010102' }, body)).toBe('allowed');
    expect(await outcome({ maxVolume: '1.01010101010101010101' }, body)).toMatch(/^orders\.maxVolume: /);
  });

  it('a purchase with a limit needs no price of the market', async () => {
    const world = new PolicyWorld();
    world.market.price = () => Promise.reject(new Error('too old'));
    expect(await world.outcome(rulesWith({ maxNotional: { USD: '100' } }), 'AddOrder', LIMIT_BUY)).toBe(
      'allowed',
    );
    expect(
      await world.outcome(rulesWith({ maxNotional: { USD: '100' } }), 'AddOrder', json({ type: 'sell' })),
    ).toMatch(/^orders\.maxNotional: no price of XXBTZUSD that is young enough: too old$/);
  });

  it('no list of pairs, no order', async () => {
    const world = new PolicyWorld();
    world.market.down = true;
    const limits = { pairs: ['XBTUSD'] };
    expect(await world.outcome(rulesWith(limits), 'AddOrder', LIMIT_BUY)).toMatch(
      /^orders\.pairs: Kraken's list/,
    );
    expect(await world.outcome(rulesWith({ sides: ['buy'] }), 'AddOrder', LIMIT_BUY)).toBe('allowed');
  });
});

describe('a batch', () => {
  const one = { type: 'buy', ordertype: 'limit', price: '100', volume: '1' };
  const batch = (...orders: unknown[]): Body => ({ pair: 'XBTUSD', orders });

  it('is allowed when each of its orders is', async () => {
    expect(await outcome({ maxNotional: { USD: '100' } }, batch(one, one), 'AddOrderBatch')).toBe('allowed');
  });

  it('is refused whole, and the reason says for which order', async () => {
    const limits = { maxNotional: { USD: '100' } };
    expect(await outcome(limits, batch(one, { ...one, volume: '2' }), 'AddOrderBatch')).toBe(
      'orders.maxNotional: order 2: an order worth 200 USD is more than 100',
    );
    expect(await outcome(limits, batch(one, { ...one, volume: 'x' }), 'AddOrderBatch')).toBe(
      'orders.maxNotional: order 2: the order rules cannot read volume x',
    );
    expect(
      await outcome({ sides: ['buy'] }, batch(one, one, { ...one, type: 'sell' }), 'AddOrderBatch'),
    ).toBe('orders.sides: order 3: sell is not one of the sides');
    expect(await outcome(limits, batch(one, { ...one, type: 'sell', price: '' }), 'AddOrderBatch')).toMatch(
      /^orders\.maxNotional: order 2: the order names no limit price/,
    );
  });

  it.each<[string, Body]>([
    ['as a form', 'pair=XBTUSD&orders[0][volume]=1'],
    ['as a form with JSON in it', `pair=XBTUSD&orders=${encodeURIComponent(JSON.stringify([one]))}`],
    ['of none', batch()],
    ['of sixteen', batch(...Array.from({ length: 16 }, () => one))],
    ['of no objects', batch('x')],
    ['of lists', batch([one])],
    ['with an object for a list', { pair: 'XBTUSD', orders: { 0: one } }],
    ['with a pair of an order’s own', batch(one, { ...one, pair: 'ETHEUR' })],
    ['with validate in an order', batch(one, { ...one, validate: true })],
    ['with an order of fields beside the list', { ...json(), orders: [one] }],
  ])('is refused %s', async (_, body) => {
    expect(await outcome({ sides: ['buy'] }, body, 'AddOrderBatch')).toMatch(/^orders\.sides: /);
  });
});

describe('a change of an order', () => {
  const limits: Limits = {
    ...{ pairs: ['XBTUSD'], sides: ['buy'], types: ['limit'] },
    ...{ maxVolume: '2', maxNotional: { USD: '200' } },
  };
  const amend = async (body: Body, order: unknown = openOrder(), more: Limits = limits): Promise<string> => {
    const world = new PolicyWorld();
    world.orders = { [TXID]: order };
    return await world.outcome(rulesWith(more), 'AmendOrder', body);
  };
  const edit = async (body: Body, order: unknown = openOrder(), more: Limits = limits): Promise<string> => {
    const world = new PolicyWorld();
    world.orders = { [TXID]: order };
    return await world.outcome(rulesWith(more), 'EditOrder', body);
  };

  it('is judged as the order would then be', async () => {
    expect(await amend(`txid=${TXID}&order_qty=2`)).toBe('allowed');
    expect(await amend(`txid=${TXID}&order_qty=2.1`)).toMatch(/^orders\.maxVolume: a volume of 2\.1 /);
    expect(await amend(`txid=${TXID}&order_qty=2&limit_price=100.01`)).toMatch(/^orders\.maxNotional: /);
    expect(await amend(`txid=${TXID}&limit_price=200`)).toBe('allowed');
    expect(await amend(`txid=${TXID}&limit_price=200.1`)).toMatch(/^orders\.maxNotional: /);
    expect(await edit(`txid=${TXID}&pair=XBTUSD&volume=2&price=100`)).toBe('allowed');
    expect(await edit(`txid=${TXID}&pair=XXBTZUSD&price=201`)).toMatch(/^orders\.maxNotional: /);
  });

  it('a new limit price is that of a triggered order as well, where it stands in price2', async () => {
    const triggered = openOrder({}, { ordertype: 'stop-loss-limit', price: '90.0', price2: '95.0' });
    const limit: Limits = { maxNotional: { USD: '200' } };
    expect(await amend(`txid=${TXID}&limit_price=200`, triggered, limit)).toBe('allowed');
    expect(await amend(`txid=${TXID}&limit_price=200.1`, triggered, limit)).toMatch(/^orders\.maxNotional: /);
  });

  it('asks Kraken for the order once, in its turn', async () => {
    const world = new PolicyWorld();
    world.orders = { [TXID]: openOrder() };
    const decision = await world.decide(rulesWith(limits), 'AmendOrder', `txid=${TXID}&order_qty=2`);
    expect(decision.denied).toBeUndefined();
    expect(world.asked).toEqual([]);
    await decision.inTurn?.(world.ask);
    expect(world.asked).toEqual([`QueryOrders txid=${TXID}`]);
  });

  it('finds the order by client id too, if it is the only one', async () => {
    const mine = openOrder({ cl_ord_id: 'my-1' });
    expect(await amend('cl_ord_id=my-1&order_qty=2', mine)).toBe('allowed');
    expect(await amend('cl_ord_id=my-1&order_qty=3', mine)).toMatch(/^orders\.maxVolume/);
    expect(await amend('cl_ord_id=other&order_qty=2', mine)).toMatch(/of no such order/);
    const world = new PolicyWorld();
    world.orders = { A: mine, B: mine };
    expect(await world.outcome(rulesWith(limits), 'AmendOrder', 'cl_ord_id=my-1&order_qty=2')).toMatch(
      /or of several/,
    );
  });

  it.each<[string, unknown]>([
    ['pairs', openOrder({}, { pair: 'ETHEUR' })],
    ['sides', openOrder({}, { type: 'sell' })],
    ['types', openOrder({}, { ordertype: 'stop-loss', price: '90' })],
    ['maxVolume', openOrder({ vol: '3' })],
    ['maxNotional', openOrder({}, { price: '201' })],
  ])('of an order that %s forbids is refused, whatever the change', async (rule, order) => {
    expect(await amend(`txid=${TXID}&deadline=2026-01-01T00:00:00Z`, order)).toMatch(
      new RegExp(`^orders\\.${rule}: `),
    );
  });

  it('a pair in the request proves nothing', async () => {
    const other = openOrder({}, { pair: 'ETHEUR' });
    expect(await amend(`txid=${TXID}&pair=XBTUSD&order_qty=1`, other)).toMatch(
      /the order is of another pair/,
    );
    expect(await edit(`txid=${TXID}&pair=ETHEUR&volume=1`, openOrder())).toMatch(
      /the order is of another pair/,
    );
  });

  it.each<[string, string, unknown]>([
    ['no such order', 'txid=OZZZZZ-ZZZZZ-ZZZZZZ&order_qty=1', openOrder()],
    ['no order named', 'order_qty=1', openOrder()],
    ['two names of orders', `txid=${TXID}&cl_ord_id=my-1&order_qty=1`, openOrder()],
    ['a userref for a txid', 'txid=12345&order_qty=1', openOrder()],
    ['a txid with more in it', `txid=${TXID}%26trades%3Dtrue&order_qty=1`, openOrder()],
    ['two txids', `txid=${TXID},${TXID}&order_qty=1`, openOrder()],
    ['a txid in small letters', `txid=${TXID.toLowerCase()}&order_qty=1`, openOrder()],
    ['a client id with more in it', 'cl_ord_id=a%26b&order_qty=1', openOrder()],
    ['a field of another endpoint', `txid=${TXID}&volume=1`, openOrder()],
    ['a volume of 0', `txid=${TXID}&order_qty=0`, openOrder()],
    ['a trigger on a limit order', `txid=${TXID}&trigger_price=1`, openOrder()],
    [
      'an order with a conditional close',
      `txid=${TXID}&order_qty=1`,
      openOrder({}, { close: 'close position @ limit 1' }),
    ],
    ['an order in quote currency', `txid=${TXID}&order_qty=1`, openOrder({ oflags: 'viqc' })],
    ['an order of a type nobody knows', `txid=${TXID}&order_qty=1`, openOrder({}, { ordertype: 'new' })],
    ['an order without a volume', `txid=${TXID}&order_qty=1`, openOrder({ vol: null })],
    ['an order with a number for a volume', `txid=${TXID}&order_qty=1`, openOrder({ vol: 1 })],
    ['an order without a description', `txid=${TXID}&order_qty=1`, { vol: '1', vol_exec: '0' }],
    ['no order at all', `txid=${TXID}&order_qty=1`, null],
  ])('is refused: %s', async (_, body, order) => {
    expect(await amend(body, order)).toMatch(/^orders\.[A-Za-z]+: [\x20-\x7e]{1,200}$/);
  });

  it.each([
    'O_12345',
    'OABCDE-FGHIJ-KLMNOP,OZZZZZ-ZZZZZ-ZZZZZZ',
    'OABCDE-FGHIJ-KLMNOP%20',
    'oabcde-fghij-klmnop x',
  ])('of a txid that cannot be one is refused at once, without a question: %s', async (txid) => {
    const rules = rulesWith({ maxVolume: '2' });
    const decision = await new PolicyWorld().decide(rules, 'AmendOrder', `txid=${txid}&order_qty=1`);
    expect(decision.denied?.reason).toMatch(/^the order rules cannot read txid /);
  });

  it('is judged by all limits where the number of open orders is one of them', async () => {
    const both: Limits = { ...limits, maxOpenOrders: 9 };
    expect(await amend(`txid=${TXID}&order_qty=2`, openOrder(), both)).toBe('allowed');
    expect(await amend(`txid=${TXID}&order_qty=2.1`, openOrder(), both)).toMatch(/^orders\.maxVolume: /);
  });

  it('a limit price for an order that has none is refused', async () => {
    const stop = openOrder({}, { ordertype: 'stop-loss', price: '90' });
    expect(await amend(`txid=${TXID}&limit_price=90`, stop, { maxVolume: '2' })).toBe(
      'orders.maxVolume: the order has no limit price',
    );
  });

  it.each([
    ['of another order', { error: [], result: { 'OZZZZZ-ZZZZZ-ZZZZZZ': openOrder() } }, 'another order'],
    [
      'of the order and of an error',
      { error: ['EGeneral:Odd'], result: { [TXID]: openOrder() } },
      'EGeneral:Odd',
    ],
  ])('is refused when Kraken tells %s', async (_, reply, reason) => {
    const { inTurn } = await new PolicyWorld().decide(
      rulesWith(limits),
      'AmendOrder',
      `txid=${TXID}&order_qty=1`,
    );
    const verdict = await inTurn?.(() => Promise.resolve(Buffer.from(JSON.stringify(reply))));
    expect(verdict?.denied?.reason).toContain(reason);
  });

  it('is refused when Kraken does not answer, or answers oddly', async () => {
    const world = new PolicyWorld();
    const rules = rulesWith(limits);
    const answers = [
      () => Promise.reject(new Error('timeout\r\n')),
      () => Promise.resolve(Buffer.from('<html>')),
    ];
    for (const answer of answers) {
      const { inTurn } = await world.decide(rules, 'AmendOrder', `txid=${TXID}&order_qty=1`);
      expect((await inTurn?.(answer))?.denied?.reason).toMatch(/^[\x20-\x7e]+$/);
    }
  });

  it('reduceOnly: only orders that Kraken calls reduce-only', async () => {
    const only = { reduceOnly: true };
    expect(await amend(`txid=${TXID}&order_qty=1`, openOrder({ reduce_only: true }), only)).toBe('allowed');
    expect(await amend(`txid=${TXID}&order_qty=1`, openOrder(), only)).toMatch(/^orders\.reduceOnly/);
    expect(await edit(`txid=${TXID}&pair=XBTUSD&reduce_only=true`, openOrder(), only)).toMatch(
      /do not know the field/,
    );
  });

  it('an edit with an order flag other than post is refused', async () => {
    const body = `txid=${TXID}&pair=XBTUSD&volume=1&otp=1`;
    for (const flags of ['', '&oflags=', '&oflags=post'])
      expect(await edit(`${body}${flags}`)).toBe('allowed');
    for (const flag of ['viqc', 'fciq', 'post,viqc', 'POST']) {
      expect(await edit(`${body}&oflags=${flag}`)).toMatch(/cannot read oflags/);
    }
  });

  it('postOnly: a new limit price must be post-only itself, other changes leave the flag', async () => {
    const only = { postOnly: true };
    const post = openOrder({ oflags: 'fciq,post' });
    expect(await amend(`txid=${TXID}&order_qty=1`, post, only)).toBe('allowed');
    expect(await amend(`txid=${TXID}&limit_price=99&post_only=true`, post, only)).toBe('allowed');
    expect(await amend(`txid=${TXID}&limit_price=99`, post, only)).toMatch(/^orders\.postOnly/);
    expect(await amend(`txid=${TXID}&order_qty=1`, openOrder(), only)).toMatch(/^orders\.postOnly/);
    expect(await edit(`txid=${TXID}&pair=XBTUSD&price=99`, post, only)).toMatch(/^orders\.postOnly/);
    expect(await edit(`txid=${TXID}&pair=XBTUSD&price=99&oflags=post`, post, only)).toBe('allowed');
  });

  it('needs no question when only the number of orders is limited', async () => {
    const decision = await new PolicyWorld().decide(
      rulesWith({ maxOpenOrders: 1 }),
      'AmendOrder',
      `txid=${TXID}`,
    );
    expect(decision).toMatchObject({ denied: undefined, inTurn: undefined });
  });
});

describe('maxOpenOrders', () => {
  const place = (
    world: PolicyWorld,
    most: number,
    body: Body = LIMIT_BUY,
    name = 'AddOrder',
  ): Promise<string> => world.outcome(rulesWith({ maxOpenOrders: most }), name, body);

  it('asks once and counts along until the most is reached, then asks again', async () => {
    const world = new PolicyWorld();
    world.orders = { A: openOrder(), B: openOrder() };
    for (let order = 0; order < 3; order++) expect(await place(world, 5)).toBe('allowed');
    expect(world.asked).toEqual(['OpenOrders ']);
    // Nothing was filled: Kraken now tells of five.
    world.orders = { A: 1, B: 1, C: 1, D: 1, E: 1 };
    expect(await place(world, 5)).toBe('orders.maxOpenOrders: 1 more on top of 5 open orders is more than 5');
    expect(world.asked).toHaveLength(2);
    world.orders = {};
    expect(await place(world, 5)).toBe('allowed');
  });

  it('does not trust a count older than 30 s', async () => {
    const world = new PolicyWorld();
    await place(world, 5);
    world.now += 29_999;
    await place(world, 5);
    expect(world.asked).toHaveLength(1);
    world.now += 1;
    await place(world, 5);
    expect(world.asked).toHaveLength(2);
  });

  it('does not trust a count from before the machine slept for 30 s', async () => {
    const world = new PolicyWorld();
    await place(world, 5);
    world.wallNow += 29_999;
    await place(world, 5);
    expect(world.asked).toHaveLength(1);
    world.wallNow += 1;
    await place(world, 5);
    expect(world.asked).toHaveLength(2);
    // A clock that was set back makes no count younger, and none older.
    world.wallNow -= 86_400_000;
    await place(world, 5);
    expect(world.asked).toHaveLength(2);
    world.now += 30_000;
    await place(world, 5);
    expect(world.asked).toHaveLength(3);
  });

  describe('counts what clients without that limit place on the account', () => {
    const one = { type: 'buy', ordertype: 'limit', price: '1', volume: '1' };
    const unlimited: Rules = { allow: undefined, deny: [], orders: undefined, report: [] };
    const sided = rulesWith({ sides: ['buy'] });
    const reported = rulesWith({ sides: ['buy'] }, { report: ['orders.sides'] });
    const trial = { ...unlimited, allow: ['read'], report: ['allow'] as const };

    it.each<[string, Rules, string, Body, asked: number]>([
      ['without any', unlimited, 'AddOrder', LIMIT_BUY, 1],
      ['with others', sided, 'AddOrder', LIMIT_BUY, 1],
      ['with allow in report mode', trial, 'AddOrder', LIMIT_BUY, 1],
      ['a batch', unlimited, 'AddOrderBatch', { pair: 'XBTUSD', orders: [one, one] }, 1],
      ['a body that cannot be read', unlimited, 'AddOrder', 'rubbish=1', 1],
      ['a body that cannot be read, in report mode', reported, 'AddOrder', 'rubbish=1', 1],
      ['a test', unlimited, 'AddOrder', `${LIMIT_BUY}&validate=true`, 0],
      ['a cancel', unlimited, 'CancelAll', '', 0],
      ['an order that is refused', sided, 'AddOrder', LIMIT_BUY.replace('buy', 'sell'), 0],
    ])('%s', async (_, rules, name, body, asked) => {
      const world = new PolicyWorld();
      world.orders = { A: openOrder() };
      expect(await place(world, 3)).toBe('allowed');
      expect(world.asked).toHaveLength(1);
      await world.outcome(rules, name, body, 'other');
      world.orders = { A: openOrder(), B: openOrder() };
      // The third order at most: Kraken has to be asked where the other client may have placed it.
      expect(await place(world, 3)).toBe('allowed');
      expect(world.asked).toHaveLength(1 + asked);
    });

    it('in the turn of its call: a count that Kraken tells while the call waits does not hold it', async () => {
      const world = new PolicyWorld();
      await place(world, 2);
      const waiting = await world.decide(unlimited, 'AddOrder', LIMIT_BUY, 'other');
      world.now += 30_000;
      await place(world, 2);
      expect(world.asked).toHaveLength(2);
      await waiting.inTurn?.(world.ask);
      await place(world, 2);
      expect(world.asked).toHaveLength(3);
    });

    it('and reads no body where nobody counts', async () => {
      const world = new PolicyWorld();
      const decision = await world.decide(unlimited, 'AddOrder', LIMIT_BUY);
      expect(decision.inTurn).toBeUndefined();
      await world.decide(rulesWith({ maxOpenOrders: 5 }), 'AddOrder', LIMIT_BUY);
      const endpoint = endpointOf('AddOrder');
      const fields = (): never => {
        throw new Error('the body was read');
      };
      const call = { client: 'other', rules: unlimited, account: 'master', endpoint, fields };
      expect((await (await world.policy.decide(call)).inTurn?.(world.ask))?.denied).toBeUndefined();
    });
  });

  it('lets the account reach the most exactly, by a fresh count too', async () => {
    const world = new PolicyWorld();
    world.orders = { A: 1, B: 1 };
    expect(await place(world, 3)).toBe('allowed');
    expect(world.asked).toHaveLength(1);
  });

  it('a count is as old as its question, however long the answer took', async () => {
    const world = new PolicyWorld();
    const { inTurn } = await world.decide(rulesWith({ maxOpenOrders: 9 }), 'AddOrder', LIMIT_BUY);
    await inTurn?.((...asked) => {
      world.now += 20_000;
      return world.ask(...asked);
    });
    world.now += 10_000;
    await place(world, 9);
    expect(world.asked).toHaveLength(2);
  });

  it('does not count what it has refused', async () => {
    const world = new PolicyWorld();
    const one = { type: 'buy', ordertype: 'limit', price: '1', volume: '1' };
    expect(await place(world, 2, { pair: 'XBTUSD', orders: [one, one, one] }, 'AddOrderBatch')).toMatch(
      /3 more/,
    );
    expect(await place(world, 2)).toBe('allowed');
    expect(world.asked).toHaveLength(1);
  });

  it('counts along every order of a batch it let through', async () => {
    const world = new PolicyWorld();
    const one = { type: 'buy', ordertype: 'limit', price: '1', volume: '1' };
    expect(await place(world, 3, { pair: 'XBTUSD', orders: [one, one, one] }, 'AddOrderBatch')).toBe(
      'allowed',
    );
    world.orders = { A: 1, B: 1, C: 1 };
    expect(await place(world, 3)).toMatch(/^orders\.maxOpenOrders: 1 more on top of 3 /);
  });

  it('counts each order of a batch, and a conditional close', async () => {
    const world = new PolicyWorld();
    const one = { type: 'buy', ordertype: 'limit', price: '1', volume: '1' };
    const orders = [one, { ...one, close: { ordertype: 'limit', price: '2' } }];
    expect(await place(world, 2, { pair: 'XBTUSD', orders }, 'AddOrderBatch')).toMatch(/3 more on top of 0/);
    expect(await place(world, 3, { pair: 'XBTUSD', orders }, 'AddOrderBatch')).toBe('allowed');
  });

  it('leaves a test order alone', async () => {
    const world = new PolicyWorld();
    world.orders = { A: 1 };
    expect(await place(world, 1, `${LIMIT_BUY}&validate=true`)).toBe('allowed');
    expect(await place(world, 1, `${LIMIT_BUY}&validate=True`)).not.toBe('allowed');
    expect(await place(world, 1, `${LIMIT_BUY}&validate=1`)).not.toBe('allowed');
    expect(await place(world, 1, json({ validate: true }))).toBe('allowed');
    // What Kraken makes of that is not known: it may place the order.
    expect(await place(world, 1, json({ validate: 'true' }))).not.toBe('allowed');
  });

  it('refuses when Kraken does not tell', async () => {
    const { inTurn } = await new PolicyWorld().decide(rulesWith({ maxOpenOrders: 1 }), 'AddOrder', LIMIT_BUY);
    const verdict = await inTurn?.(() => Promise.reject(new Error('timeout')));
    expect(verdict?.denied).toEqual({
      rule: 'orders.maxOpenOrders',
      reason: 'Kraken did not tell the open orders: timeout',
    });
  });
});

describe('in report mode', () => {
  it('every rule that would have refused is told, and none refuses', async () => {
    const rules = rulesWith(
      { sides: ['sell'], types: ['market'], maxNotional: { USD: '1' }, maxOpenOrders: 1 },
      { report: ['orders.sides', 'orders.types', 'orders.maxNotional', 'orders.maxOpenOrders'] },
    );
    const world = new PolicyWorld();
    world.orders = { A: 1 };
    const decision = await world.decide(rules, 'AddOrder', LIMIT_BUY);
    expect(decision.denied).toBeUndefined();
    expect(decision.reported.map(({ rule }) => rule)).toEqual([
      'orders.sides',
      'orders.types',
      'orders.maxNotional',
    ]);
    expect(await decision.inTurn?.(world.ask)).toMatchObject({
      denied: undefined,
      reported: [{ rule: 'orders.maxOpenOrders' }],
    });
  });

  it('what cannot be read is refused by the first rule that is enforced, and told by the others', async () => {
    const orders = { sides: ['buy'], maxVolume: '1', postOnly: true } as const;
    const report = ['orders.sides', 'orders.postOnly'] as const;
    const decision = await new PolicyWorld().decide(
      rulesWith(orders, { report }),
      'AddOrder',
      'volume=1&volume=2',
    );
    expect(decision).toMatchObject({
      denied: { rule: 'orders.maxVolume' },
      reported: [{ rule: 'orders.sides' }, { rule: 'orders.postOnly' }],
    });
    const all = { report: [...report, 'orders.maxVolume'] as const };
    expect(
      (await new PolicyWorld().decide(rulesWith(orders, all), 'AddOrder', 'x=1')).denied,
    ).toBeUndefined();
  });
});

it('an endpoint for trading that the rules do not know is refused where there are limits', async () => {
  const world = new PolicyWorld();
  const call = { client: 'bot', account: 'master', fields: () => new Map() };
  const endpoint = { ...endpointOf('AddOrder'), name: 'AddOrderOfTomorrow' };
  const decide = (limits: Limits): ReturnType<typeof world.policy.decide> =>
    world.policy.decide({ ...call, endpoint, rules: rulesWith(limits, { allow: ['trade'] }) });
  expect((await decide({ maxVolume: '1' })).denied?.reason).toBe(
    'the order rules do not know AddOrderOfTomorrow',
  );
  expect((await decide({})).denied).toBeUndefined();
});
