import type {
  AmendOrderIdentity,
  EditOrderIdentity,
  OrderIdentity,
  PlacedOrder,
} from '../../src/orders/order-identity.js';
import { lookUp, type AskKraken, type LookupResult } from '../../src/orders/order-lookup.js';

const SENT = Date.UTC(2026, 10, 22, 20, 0, 0);
const SENT_S = SENT / 1000;
const SINCE = `start=${SENT_S - 60}&closetime=close`;
const UUID = '6d1b345e-2821-40e2-ad83-4ecb18a06876';

type Endpoint = Parameters<AskKraken>[0];
type Entry = Readonly<Record<string, unknown>>;

const open = (orders: Entry = {}): unknown => ({ open: orders });
const closed = (orders: Entry = {}, count = Object.keys(orders).length): unknown => ({
  closed: orders,
  count,
});

/** Answers each question with the next of its endpoint's replies: a result, or the whole text. */
async function look(
  identity: OrderIdentity,
  replies: Partial<Record<Endpoint, unknown>>,
  known: readonly string[] = [],
): Promise<LookupResult & { readonly asked: readonly string[] }> {
  const asked: string[] = [];
  const ask: AskKraken = (endpoint, form) => {
    asked.push(`${endpoint} ${form}`);
    const reply = replies[endpoint];
    if (reply === undefined) return Promise.reject(new Error(`no reply to ${endpoint}`));
    return Promise.resolve(
      Buffer.from(typeof reply === 'string' ? reply : JSON.stringify({ error: [], result: reply })),
    );
  };
  const found = await lookUp(identity, { sentAt: SENT, isKnown: (txid) => known.includes(txid) }, ask);
  return { ...found, asked };
}

/** An order as Kraken tells it; `at` is when it was opened, in seconds after the call was sent. */
function told(changes: Entry = {}, descr: Entry = {}, at = 0.1234): Entry {
  return {
    refid: null,
    userref: 0,
    status: 'open',
    opentm: SENT_S + at,
    starttm: 0,
    expiretm: 0,
    descr: {
      pair: 'XBTUSD',
      type: 'buy',
      ordertype: 'limit',
      price: '30000.0',
      price2: '0',
      leverage: 'none',
      order: 'buy 1.25000000 XBTUSD @ limit 30000.0',
      close: '',
      ...descr,
    },
    vol: '1.25000000',
    vol_exec: '0.00000000',
    oflags: 'fciq',
    ...changes,
  };
}

const gone = (changes: Entry = {}, at = 0.1234): Entry =>
  told({ status: 'canceled', reason: 'User requested', closetm: SENT_S + 1, ...changes }, {}, at);

const resultOf = (found: LookupResult): unknown =>
  'result' in found ? (JSON.parse(found.result) as unknown) : found;

const TERMS = { pair: 'XBT/USD', type: 'buy', ordertype: 'limit', price: '30000', volume: '1.25' };
const OURS: PlacedOrder = { ...TERMS, id: { name: 'cl_ord_id', value: UUID, isOurs: true } };
const CLIENTS: PlacedOrder = { ...TERMS, id: { name: 'cl_ord_id', value: 'a b', isOurs: false } };
const GROUP: PlacedOrder = { ...TERMS, id: { name: 'userref', value: '7', isOurs: false } };

const add = (order: PlacedOrder): OrderIdentity => ({ endpoint: 'AddOrder', isTest: false, order });
const batch = (...orders: PlacedOrder[]): OrderIdentity => ({
  endpoint: 'AddOrderBatch',
  isTest: false,
  orders,
});

it('a call that only tests is absent, without a question', async () => {
  const found = await look({ endpoint: 'AddOrder', isTest: true, order: OURS }, {});
  expect(found).toEqual({ found: 'absent', asked: [] });
});

describe('an order with an id of ours', () => {
  it('that is open is found by one question', async () => {
    const found = await look(add(OURS), { OpenOrders: open({ 'OA-1': told({ cl_ord_id: UUID }) }) });
    expect(found).toMatchObject({ found: 'placed', txids: ['OA-1'] });
    expect(resultOf(found)).toEqual({
      descr: { order: 'buy 1.25000000 XBTUSD @ limit 30000.0' },
      txid: ['OA-1'],
    });
    expect(found.asked).toEqual([`OpenOrders cl_ord_id=${UUID}`]);
  });

  it.each(['canceled', 'expired', 'closed'])('that is %s already was placed', async (status) => {
    const found = await look(add(OURS), {
      OpenOrders: open(),
      ClosedOrders: closed({ 'OA-1': gone({ cl_ord_id: UUID, status }) }),
    });
    expect(found).toMatchObject({ found: 'placed', txids: ['OA-1'] });
    expect(found.asked).toEqual([`OpenOrders cl_ord_id=${UUID}`, `ClosedOrders cl_ord_id=${UUID}`]);
  });

  it('is found whenever Kraken says it was opened, and known or not', async () => {
    const found = await look(add(OURS), { OpenOrders: open({ O: told({ cl_ord_id: UUID }, {}, -3600) }) }, [
      'O',
    ]);
    expect(found.found).toBe('placed');
  });

  it('is found by its id without dashes too', async () => {
    const cl_ord_id = UUID.replaceAll('-', '').toUpperCase();
    expect((await look(add(OURS), { OpenOrders: open({ O: told({ cl_ord_id }) }) })).found).toBe('placed');
  });

  it('that is written with other dashes is another, where it is no UUID', async () => {
    const identity = add({ ...CLIENTS, id: { ...CLIENTS.id, value: 'grid-1' } });
    const OpenOrders = open({ O: told({ cl_ord_id: 'grid1' }) });
    await expect(look(identity, { OpenOrders })).rejects.toThrow('not asked for');
  });

  it('that nobody knows is absent', async () => {
    const found = await look(add(OURS), { OpenOrders: open(), ClosedOrders: closed() });
    expect(found).toMatchObject({ found: 'absent' });
  });

  it('has its conditional close in the result, and every text as Kraken told it', async () => {
    const close = 'close position @ stop loss "1" \u2028 -> limit 2';
    const found = await look(add(OURS), {
      OpenOrders: open({ 'O"\\': told({ cl_ord_id: UUID }, { close }) }),
    });
    expect(resultOf(found)).toEqual({
      descr: { order: 'buy 1.25000000 XBTUSD @ limit 30000.0', close },
      txid: ['O"\\'],
    });
  });

  it('is told from the one that its conditional close made', async () => {
    const child = told({ cl_ord_id: UUID, refid: 'OA-1' });
    const parent = gone({ cl_ord_id: UUID, status: 'closed' });
    const replies = { OpenOrders: open({ 'OB-2': child }), ClosedOrders: closed({ 'OA-1': parent }) };
    expect(await look(add(OURS), replies)).toMatchObject({ found: 'placed', txids: ['OA-1'] });
    const alone = { OpenOrders: open({ 'OB-2': child }), ClosedOrders: closed() };
    expect((await look(add(OURS), alone)).found).toBe('ambiguous');
  });

  it('that stands there twice is ambiguous', async () => {
    const replies = { OpenOrders: open({ A: told({ cl_ord_id: UUID }), B: told({ cl_ord_id: UUID }) }) };
    expect((await look(add(OURS), { ...replies, ClosedOrders: closed() })).found).toBe('ambiguous');
  });

  it('that was closed between the two questions counts once', async () => {
    const replies = { OpenOrders: open({ A: told({ cl_ord_id: 'a b' }) }) };
    const found = await look(add(CLIENTS), {
      ...replies,
      ClosedOrders: closed({ A: gone({ cl_ord_id: 'a b' }) }),
    });
    expect(found).toMatchObject({ found: 'placed', txids: ['A'] });
  });
});

describe('an order with a client’s own id', () => {
  it('is looked for from a minute before on, in both lists', async () => {
    const found = await look(add(CLIENTS), {
      OpenOrders: open({ O: told({ cl_ord_id: 'a b' }) }),
      ClosedOrders: closed(),
    });
    expect(found).toMatchObject({ found: 'placed', txids: ['O'] });
    expect(found.asked).toEqual(['OpenOrders cl_ord_id=a%20b', `ClosedOrders cl_ord_id=a%20b&${SINCE}`]);
  });

  it.each([
    [-4.9, 'placed'],
    [-5.1, 'absent'],
  ])('that was opened %f s from when it was sent is %s', async (at, expected) => {
    const OpenOrders = open({ O: told({ cl_ord_id: 'a b' }, {}, at) });
    expect((await look(add(CLIENTS), { OpenOrders, ClosedOrders: closed() })).found).toBe(expected);
  });

  it('is not one that an earlier reply named', async () => {
    const OpenOrders = open({ O: told({ cl_ord_id: 'a b' }) });
    expect((await look(add(CLIENTS), { OpenOrders, ClosedOrders: closed() }, ['O'])).found).toBe('absent');
  });

  it('that may be either of two is ambiguous', async () => {
    const OpenOrders = open({ O: told({ cl_ord_id: 'a b' }) });
    const ClosedOrders = closed({ P: gone({ cl_ord_id: 'a b' }) });
    expect((await look(add(CLIENTS), { OpenOrders, ClosedOrders })).found).toBe('ambiguous');
    expect((await look(add(CLIENTS), { OpenOrders, ClosedOrders }, ['P'])).found).toBe('placed');
  });

  it('is ambiguous when Kraken has more than it lists', async () => {
    const replies = { OpenOrders: open(), ClosedOrders: closed({}, 1) };
    expect((await look(add(CLIENTS), replies)).found).toBe('ambiguous');
  });
});

describe('an order of a userref', () => {
  const found = async (
    entry: Entry,
    order: Partial<PlacedOrder> = {},
    known: readonly string[] = [],
  ): Promise<string> => {
    const replies = { OpenOrders: open({ O: entry }), ClosedOrders: closed() };
    return (await look(add({ ...GROUP, ...order }), replies, known)).found;
  };
  const like = (descr: Entry = {}, changes: Entry = {}): Entry => told({ userref: 7, ...changes }, descr);

  it.each([
    ['the same terms', like(), {}],
    ['its zero-padded userref', like(), { id: { name: 'userref', value: '007', isOurs: false } }],
    ['a volume finer than lots', like(), { volume: '1.2500000049' }],
    ['a volume that is rounded', like({}, { vol: '1.25000001' }), { volume: '1.2500000099' }],
    ['a relative price', like(), { price: '+5%' }],
    ['a price with an exponent', like(), { price: '3e4' }],
    ['a market price that means nothing', like({ ordertype: 'market', price: '0' }), { ordertype: 'market' }],
    ['a volume in quote currency', like(), { volume: '1000', oflags: 'viqc' }],
    ['all that is left for its volume', like(), { volume: '0' }],
    ['a close', like({ close: 'close position' }), { close: { ordertype: 'limit' } }],
    ['price2 of a limit', like({ price2: '0' }), { price2: '5' }],
    ['its pair’s id', like(), { pair: 'XXBTZUSD' }],
    ['its pair’s other name', like(), { pair: 'BTC/USD' }],
    ['its pair’s old name', like({ pair: 'XDGUSD' }), { pair: 'DOGE/USD' }],
  ] as [string, Entry, Partial<PlacedOrder>][])('is found with %s', async (_, entry, order) => {
    expect(await found(entry, order)).toBe('placed');
  });

  it.each([
    ['side', like({ type: 'sell' }), {}],
    ['type', like({ ordertype: 'iceberg' }), {}],
    ['price', like({ price: '30000.1' }), {}],
    ['volume', like({}, { vol: '1.25000001' }), {}],
    ['coarse volume', like({}, { vol: '1.2' }), {}],
    [
      'price2',
      like({ ordertype: 'stop-loss-limit', price2: '5.0' }),
      { ordertype: 'stop-loss-limit', price2: '6' },
    ],
    ['close', like({ close: 'close position' }), {}],
    ['time', told({ userref: 7 }, {}, -6), {}],
  ] as [string, Entry, Partial<PlacedOrder>][])('is not one with another %s', async (_, entry, order) => {
    expect(await found(entry, order)).toBe('absent');
  });

  it('is not one that is known', async () => {
    expect(await found(like(), {}, ['O'])).toBe('absent');
  });

  it('is in doubt for a pair whose name we may not know', async () => {
    expect(await found(like({ pair: 'ETHUSD' }))).toBe('ambiguous');
  });
});

describe('a batch', () => {
  const two = batch(OURS, { ...OURS, type: 'sell', id: { ...OURS.id, value: 'ours-2' } });

  it('that is open is found by one question', async () => {
    const found = await look(two, {
      OpenOrders: open({
        'OB-2': told({ cl_ord_id: 'ours-2' }, { order: 'sell' }),
        'OX-9': told({ cl_ord_id: 'another' }),
        'OA-1': told({ cl_ord_id: UUID }),
      }),
    });
    expect(found).toMatchObject({ found: 'placed', txids: ['OA-1', 'OB-2'] });
    expect(resultOf(found)).toEqual({
      orders: [
        { txid: 'OA-1', descr: { order: 'buy 1.25000000 XBTUSD @ limit 30000.0' } },
        { txid: 'OB-2', descr: { order: 'sell' } },
      ],
    });
    expect(found.asked).toEqual(['OpenOrders ']);
  });

  it('of which a part is there is found partly', async () => {
    const found = await look(two, {
      OpenOrders: open(),
      ClosedOrders: closed({ 'OB-2': gone({ cl_ord_id: 'ours-2' }) }),
    });
    expect(found).toMatchObject({ found: 'partly', txids: ['OB-2'], missing: 1 });
    expect(resultOf(found)).toMatchObject({
      orders: [{ error: 'EOrder:Not placed' }, { txid: 'OB-2' }],
    });
    expect(found.asked).toEqual(['OpenOrders ', `ClosedOrders ${SINCE}`]);
  });

  it('that nobody knows is absent, or in doubt when Kraken has more than it lists', async () => {
    const other = { X: told({ cl_ord_id: 'x' }) };
    expect((await look(two, { OpenOrders: open(other), ClosedOrders: closed() })).found).toBe('absent');
    expect((await look(two, { OpenOrders: open(), ClosedOrders: closed(other, 51) })).found).toBe(
      'ambiguous',
    );
  });

  it('of twins in one userref group is found, first come first', async () => {
    const OpenOrders = open({ B: told({ userref: 7 }, {}, 0.2), A: told({ userref: 7 }, {}, 0.1) });
    const twins = batch(GROUP, GROUP);
    expect(await look(twins, { OpenOrders, ClosedOrders: closed() })).toMatchObject({
      found: 'placed',
      txids: ['A', 'B'],
    });
    expect(await look(twins, { OpenOrders, ClosedOrders: closed() }, ['A'])).toMatchObject({
      found: 'partly',
      txids: ['B'],
    });
  });

  it('is ambiguous where an order could be either of two', async () => {
    const near = batch({ ...GROUP, price: '+1' }, { ...GROUP, price: '+2' });
    const one = { A: told({ userref: 7 }) };
    const ClosedOrders = closed();
    expect((await look(near, { OpenOrders: open(one), ClosedOrders })).found).toBe('ambiguous');
    const both = open({ ...one, B: told({ userref: 7 }) });
    expect((await look(near, { OpenOrders: both, ClosedOrders })).found).toBe('ambiguous');
  });
});

describe('an edit', () => {
  const TXID = 'OAAAAA-BBBBB-CCCCCC';
  const edit = (changes: Partial<EditOrderIdentity> = {}): OrderIdentity => ({
    endpoint: 'EditOrder',
    isTest: false,
    txid: TXID,
    pair: 'XBTUSD',
    price: '31000',
    ...changes,
  });
  const was = (changes: Entry = {}): Entry => gone({ reason: 'Order replaced', ...changes }, -100);
  const now = (changes: Entry = {}, descr: Entry = {}, at?: number): Entry =>
    told(changes, { price: '31000.0', ...descr }, at);
  const QueryOrders = { [TXID]: was() };

  it.each(['open', 'pending'])('is absent while the order is %s', async (status) => {
    const found = await look(edit(), { QueryOrders: { [TXID]: told({ status }, {}, -100) } });
    expect(found).toEqual({ found: 'absent', asked: [`QueryOrders txid=${TXID}`] });
  });

  it('is found by the new order', async () => {
    const found = await look(edit(), { QueryOrders, OpenOrders: open({ N: now() }), ClosedOrders: closed() });
    expect(found).toMatchObject({ found: 'placed', txids: ['N'] });
    expect(resultOf(found)).toEqual({
      status: 'ok',
      txid: 'N',
      originaltxid: TXID,
      volume: '1.25000000',
      price: '31000.0',
      price2: '0',
      orders_cancelled: 1,
      descr: { order: 'buy 1.25000000 XBTUSD @ limit 30000.0' },
    });
    expect(found.asked.slice(1)).toEqual(['OpenOrders ', `ClosedOrders ${SINCE}`]);
  });

  it('is found by a new order that is closed already', async () => {
    const ClosedOrders = closed({
      [TXID]: was(),
      N: now({ status: 'closed', closetm: SENT_S + 1, refid: TXID, userref: 7 }),
    });
    const found = await look(edit({ userref: '7' }), { QueryOrders, OpenOrders: open(), ClosedOrders });
    expect(found).toMatchObject({ found: 'placed', txids: ['N'] });
  });

  it.each([
    ['price', now({}, { price: '30000.0' })],
    ['volume', now({ vol: '1.30000000' })],
    ['pair', now({}, { pair: 'ETHUSD' })],
    ['side', now({}, { type: 'sell' })],
    ['type', now({}, { ordertype: 'iceberg' })],
    ['time', now({}, {}, -6)],
    ['userref', now({ userref: 8 })],
    ['parent', now({ refid: 'OTHER' })],
  ])('is not found by an order of another %s', async (_, entry) => {
    const identity = edit({ volume: '1.25', ...(entry.userref === 8 ? { userref: '7' } : {}) });
    const found = await look(identity, {
      QueryOrders,
      OpenOrders: open({ N: entry }),
      ClosedOrders: closed(),
    });
    expect(found.found).toBe('ambiguous');
  });

  it.each([
    ['Order replaced', 'canceled', 'ambiguous'],
    [undefined, 'canceled', 'ambiguous'],
    ['User requested', 'canceled', 'absent'],
    [undefined, 'closed', 'absent'],
    [undefined, 'expired', 'absent'],
  ])('without a new order, the old one gone by %s, %s, is %s', async (reason, status, expected) => {
    const replies = { QueryOrders: { [TXID]: was({ reason, status }) }, OpenOrders: open() };
    expect((await look(edit(), { ...replies, ClosedOrders: closed() })).found).toBe(expected);
    expect((await look(edit(), { ...replies, ClosedOrders: closed({}, 60) })).found).toBe('ambiguous');
  });

  it('is ambiguous with two new orders, or with one beside an old one that was filled', async () => {
    const both = open({ N: now(), M: now() });
    expect((await look(edit(), { QueryOrders, OpenOrders: both, ClosedOrders: closed() })).found).toBe(
      'ambiguous',
    );
    const filled = { [TXID]: was({ status: 'closed', reason: null }) };
    const replies = { QueryOrders: filled, OpenOrders: open({ N: now() }), ClosedOrders: closed() };
    expect((await look(edit(), replies)).found).toBe('ambiguous');
    expect((await look(edit(), { ...replies, QueryOrders }, ['N'])).found).toBe('ambiguous');
  });

  it('of a client’s id is absent while the order is open', async () => {
    const found = await look(edit({ txid: '7' }), {
      OpenOrders: open({ A: told({ userref: 7 }, {}, -100) }),
      ClosedOrders: closed(),
    });
    expect(found.found).toBe('absent');
    expect(found.asked).toEqual(['OpenOrders userref=7', `ClosedOrders userref=7&${SINCE}`]);
  });

  it('of a client’s id is absent while several orders are open: Kraken edits none of them', async () => {
    const [A, B] = [told({ userref: 7 }, {}, -100), told({ userref: 7 }, {}, -99)];
    const replies = { OpenOrders: open({ A, B }), ClosedOrders: closed({ C: was({ userref: 7 }) }) };
    expect((await look(edit({ txid: '7' }), replies)).found).toBe('absent');
  });

  it('of a client’s id is not absent when the order was closed between the questions', async () => {
    const OpenOrders = open({ A: told({ userref: 7 }, {}, -100) });
    const ask: AskKraken = (endpoint, form) => {
      const ofId = form.startsWith('userref=7');
      const result =
        endpoint === 'OpenOrders' ? (ofId ? OpenOrders : open()) : closed({ A: was({ userref: 7 }) });
      return Promise.resolve(Buffer.from(JSON.stringify({ error: [], result })));
    };
    const found = await lookUp(edit({ txid: '7' }), { sentAt: SENT, isKnown: () => false }, ask);
    expect(found.found).toBe('ambiguous');
  });

  it('is not found by the old order, however new that is', async () => {
    const old = { ...was(), opentm: SENT_S - 1 };
    const replies = {
      QueryOrders: { [TXID]: old },
      OpenOrders: open(),
      ClosedOrders: closed({ [TXID]: old }),
    };
    expect((await look(edit({ price: '30000' }), replies)).found).toBe('ambiguous');
  });

  it('of a client’s id finds the old order among the closed ones, and then the new', async () => {
    const asked: string[] = [];
    const old = was({ cl_ord_id: 'mine' });
    const earlier = gone({ cl_ord_id: 'mine', closetm: SENT_S - 30 }, -100);
    const ask: AskKraken = (endpoint, form) => {
      asked.push(`${endpoint} ${form}`);
      const ofId = form.startsWith('cl_ord_id=mine');
      const result = {
        OpenOrders: open(ofId ? {} : { N: now() }),
        ClosedOrders: closed(ofId ? { [TXID]: old, E: earlier } : { [TXID]: old, E: earlier, X: gone() }),
      }[endpoint as 'OpenOrders'];
      return Promise.resolve(Buffer.from(JSON.stringify({ error: [], result })));
    };
    const found = await lookUp(edit({ txid: 'mine' }), { sentAt: SENT, isKnown: () => false }, ask);
    expect(found).toMatchObject({ found: 'placed', txids: ['N'] });
    expect(resultOf(found)).toMatchObject({ originaltxid: TXID });
    expect(asked).toHaveLength(4);
  });

  it.each([
    ['nothing', {}, {}, 'absent'],
    ['an order just opened', { A: told({ userref: 7 }) }, {}, 'ambiguous'],
    ['two orders just closed', {}, { A: was({ userref: 7 }), B: was({ userref: 7 }) }, 'ambiguous'],
    ['one that was closed before', {}, { A: was({ userref: 7, closetm: SENT_S - 30 }) }, 'absent'],
  ])('of a client’s id with %s is %s', async (_, opened, ended, expected) => {
    const replies = { OpenOrders: open(opened), ClosedOrders: closed(ended) };
    expect((await look(edit({ txid: '7' }), replies)).found).toBe(expected);
  });
});

describe('an amend', () => {
  const amend = (changes: Partial<AmendOrderIdentity> = {}): OrderIdentity => ({
    endpoint: 'AmendOrder',
    isTest: false,
    target: { name: 'txid', value: 'OA-1' },
    order_qty: '1.5',
    limit_price: '31000',
    isRelative: false,
    ...changes,
  });
  /** Timestamps are written into the text: no number of JavaScript holds them. */
  const history = (...amends: readonly (Entry & { at?: number })[]): string =>
    `{"error":[],"result":{"count":${amends.length},"amends":[${amends
      .map(({ at = 1, ...entry }) => {
        const full = JSON.stringify({
          amend_id: 'TA-1',
          amend_type: 'user',
          order_qty: '1.50000000',
          remaining_qty: '1.50000000',
          limit_price: '31000.0',
          post_only: false,
          ...entry,
        });
        return `${full.slice(0, -1)},"timestamp":${SENT + at * 1000}000001}`;
      })
      .join(',')}]}}`;

  it('is found by its values', async () => {
    const found = await look(amend(), {
      OrderAmends: history({ amend_type: 'original', amend_id: 'TA-0' }, { amend_id: 'TA-2' }),
    });
    expect(found).toMatchObject({ found: 'placed', txids: [], asked: ['OrderAmends order_id=OA-1'] });
    expect(resultOf(found)).toEqual({ amend_id: 'TA-2' });
  });

  it.each([
    ['nothing but the original', history({ amend_type: 'original' })],
    ['a restatement', history({ amend_type: 'restated' })],
    ['another price', history({ limit_price: '30000.0' })],
    ['another volume', history({ order_qty: '1.25' })],
    ['an older amend that was undone', history({ at: -100 }, { at: -50, limit_price: '1.0' })],
  ])('is absent with %s', async (_, OrderAmends) => {
    expect((await look(amend(), { OrderAmends })).found).toBe('absent');
  });

  it('is found under a later one, and in whatever order Kraken lists them', async () => {
    const ours = { at: 1, amend_id: 'TA-2' };
    const later = { at: 2, limit_price: '1.0' };
    for (const OrderAmends of [history(ours, later), history(later, ours)]) {
      expect(resultOf(await look(amend(), { OrderAmends }))).toEqual({ amend_id: 'TA-2' });
    }
  });

  it('is ambiguous where Kraken does not tell a value', async () => {
    const trigger = amend({ trigger_price: '5' });
    expect((await look(trigger, { OrderAmends: history({}) })).found).toBe('ambiguous');
    expect((await look(trigger, { OrderAmends: history({ trigger_price: '5.0' }) })).found).toBe('placed');
    expect((await look(trigger, { OrderAmends: history({ limit_price: '1' }) })).found).toBe('absent');
    expect((await look(trigger, { OrderAmends: history({ at: -100 }) })).found).toBe('absent');
  });

  it.each([
    [-59, 'ambiguous'],
    [-61, 'absent'],
  ])('to a relative price, with one made %i s from it, is %s', async (at, expected) => {
    const relative = amend({ limit_price: '+5%', isRelative: true });
    expect((await look(relative, { OrderAmends: history({ at }) })).found).toBe(expected);
  });

  it.each([
    [open({ 'OB-2': told({ cl_ord_id: 'mine' }, {}, -999) }), undefined],
    [
      open(),
      closed({
        'OB-2': gone({ cl_ord_id: 'mine' }, -999),
        'OC-3': gone({ cl_ord_id: 'mine', closetm: SENT_S - 9 }),
      }),
    ],
  ])('of a client’s id is looked up at its order', async (OpenOrders, ClosedOrders) => {
    const identity = amend({ target: { name: 'cl_ord_id', value: 'mine' } });
    const found = await look(identity, { OpenOrders, ClosedOrders, OrderAmends: history({}) });
    expect(found.found).toBe('placed');
    expect(found.asked.at(-1)).toBe('OrderAmends order_id=OB-2');
  });

  it('of a client’s id that no order had then is absent', async () => {
    const identity = amend({ target: { name: 'cl_ord_id', value: 'mine' } });
    const found = await look(identity, { OpenOrders: open(), ClosedOrders: closed() });
    expect(found).toMatchObject({ found: 'absent' });
  });

  it('with a timestamp in another unit is no good answer', async () => {
    const OrderAmends = history({}).replace(/(\d{13})000001\}/, '$1}');
    await expect(look(amend(), { OrderAmends })).rejects.toThrow('not as documented');
  });
});

describe('a withdrawal', () => {
  const identity: OrderIdentity = {
    endpoint: 'Withdraw',
    isTest: false,
    asset: 'XBT',
    key: 'cold',
    amount: '0.50',
  };
  const entry = (changes: Entry = {}): Entry => ({
    method: 'Bitcoin',
    aclass: 'currency',
    asset: 'XXBT',
    refid: 'FT-1',
    txid: null,
    info: 'bc1q',
    amount: '0.50000000',
    fee: '0.00010000',
    time: SENT_S,
    status: 'Initial',
    key: 'cold',
    ...changes,
  });

  it.each([
    ['its amount', entry()],
    ['its amount less the fee', entry({ amount: '0.4999' })],
    ['no key told', entry({ key: undefined })],
    ['a second of five before', entry({ time: SENT_S - 5 })],
  ])('is found by %s', async (_, one) => {
    const found = await look(identity, { WithdrawStatus: [entry({ refid: 'X', amount: '0.6' }), one] });
    expect(found).toMatchObject({ found: 'placed', txids: ['FT-1'], asked: ['WithdrawStatus asset=XBT'] });
    expect(resultOf(found)).toEqual({ refid: 'FT-1' });
  });

  it.each([
    ['amount', entry({ amount: '0.50000001' })],
    ['amount, however it is near with the fee', entry({ amount: '0.5001' })],
    ['key', entry({ key: 'hot' })],
    ['time', entry({ time: SENT_S - 6 })],
  ])('is not one with another %s', async (_, one) => {
    expect((await look(identity, { WithdrawStatus: [one] })).found).toBe('absent');
  });

  it('is not one that is known, and ambiguous among several', async () => {
    const WithdrawStatus = [entry(), entry({ refid: 'FT-2' })];
    expect((await look(identity, { WithdrawStatus })).found).toBe('ambiguous');
    expect(await look(identity, { WithdrawStatus }, ['FT-1'])).toMatchObject({ txids: ['FT-2'] });
    expect((await look(identity, { WithdrawStatus: [] })).found).toBe('absent');
  });

  it('whose amount cannot be compared is ambiguous', async () => {
    expect((await look({ ...identity, amount: '5e-1' }, { WithdrawStatus: [entry()] })).found).toBe(
      'ambiguous',
    );
  });

  it('asks for its asset class', async () => {
    const { asked } = await look({ ...identity, aclass: 'tokenized_asset' }, { WithdrawStatus: [] });
    expect(asked).toEqual(['WithdrawStatus asset=XBT&aclass=tokenized_asset']);
  });
});

describe('a reply that is not as documented is no answer', () => {
  it.each([
    ['HTML', '<html>'],
    ['nothing', ''],
    ['a cut reply', '{"error":[],"result":{"open":{}}'],
    ['no result', '{"error":[]}'],
    ['no list', '{"error":[],"result":{}}'],
    ['a list', '{"error":[],"result":{"open":[]}}'],
    ['no error list', '{"result":{"open":{}}}'],
    ['an odd error', '{"error":[1],"result":{"open":{}}}'.replace('1', 'null')],
    ['an order that is none', '{"error":[],"result":{"open":{"O":1}}}'],
    ['a broken number', '{"error":[],"result":{"open":{},"n":01}}'],
    ['no time', { open: { O: told({ cl_ord_id: UUID, opentm: undefined }) } }],
    ['an odd time', { open: { O: told({ cl_ord_id: UUID, opentm: 'soon' }) } }],
    ['no description', { open: { O: told({ cl_ord_id: UUID }, { order: undefined }) } }],
    ['an order that was not asked for', { open: { O: told({ cl_ord_id: 'other' }) } }],
    ['an order without its id', { open: { O: told() } }],
  ])('%s', async (_, OpenOrders) => {
    await expect(look(add(OURS), { OpenOrders, ClosedOrders: closed() })).rejects.toThrow(/look-up/);
  });

  it('an error of Kraken’s is passed on, a warning is not one', async () => {
    const OpenOrders = '{"error":["EService:Busy"],"result":{"open":{}}}';
    await expect(look(add(OURS), { OpenOrders })).rejects.toThrow('Kraken: EService:Busy');
    const warned = '{"error":["WGeneral:x"],"result":{"open":{}}}';
    expect((await look(add(OURS), { OpenOrders: warned, ClosedOrders: closed() })).found).toBe('absent');
  });

  it('another order than the one to edit', async () => {
    const identity: OrderIdentity = {
      endpoint: 'EditOrder',
      isTest: false,
      txid: 'OAAAAA-BBBBB-CCCCCC',
      pair: 'X',
    };
    await expect(look(identity, { QueryOrders: {} })).rejects.toThrow(/asked for/);
    await expect(look(identity, { QueryOrders: { O: told() } })).rejects.toThrow(/asked for/);
  });

  it('a question that fails fails the look-up', async () => {
    await expect(look(add(OURS), { OpenOrders: open() })).rejects.toThrow('no reply to ClosedOrders');
  });
});
