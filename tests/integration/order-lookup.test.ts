import { randomUUID } from 'node:crypto';

import { parseBody } from '../../src/kraken/body.js';
import { readFields } from '../../src/kraken/fields.js';
import { putOrderIds } from '../../src/kraken/order-body.js';
import { clientDeadline, identifyOrder, type OrderIdentity } from '../../src/orders/order-identity.js';
import { lookUp, type LookupResult } from '../../src/orders/order-lookup.js';
import type { Fault } from '../../src/sandbox/faults.js';
import { openWorld, TEST_KEY, TEST_SECRET, type SandboxWorld } from '../support/sandbox-world.js';
import { signedRequest } from '../support/sign.js';

/** As it stands in a batch, where the pair is given once. */
const BATCH_ORDER = { type: 'buy', ordertype: 'limit', price: '10000', volume: '1.5' };
const LIMIT = { pair: 'XBTUSD', ...BATCH_ORDER };
const TXID = /[A-Z0-9]{6}-[A-Z0-9]{5}-[A-Z0-9]{6}/g;

let world: SandboxWorld;

beforeEach(async () => {
  world = await openWorld();
});
afterEach(async () => {
  await world.close();
});

const form = (fields: Readonly<Record<string, string>>): string => new URLSearchParams(fields).toString();

interface Sent {
  readonly identity: OrderIdentity;
  readonly sentAt: number;
  /** The result that came, if one did. */
  readonly result: unknown;
}

/** Sends a client's call as the proxy does: with ids and deadline put in, and signed. */
async function send(endpoint: string, text: string, to = world): Promise<Sent> {
  const { format } = parseBody(Buffer.from(text), undefined);
  const fields = readFields(Buffer.from(text), format);
  const call = identifyOrder(endpoint, fields, randomUUID);
  if (call === undefined) throw new Error('the call cannot be identified');
  const deadline = new Date(to.time + 10_000).toISOString();
  const hasDeadline = endpoint !== 'Withdraw' && clientDeadline(fields) === undefined;
  const body = parseBody(putOrderIds(Buffer.from(text), format, call.orderIds), undefined)
    .complete(to.nonce(), undefined, [
      ...call.extra,
      ...(hasDeadline ? ([['deadline', deadline]] as const) : []),
    ])
    .toString();
  const path = `/0/private/${endpoint}`;
  const reply = await signedRequest(to.sandbox.url, path, TEST_KEY.key, TEST_SECRET, body, null).catch(
    () => undefined,
  );
  // What is stored on disk meanwhile is JSON.
  const identity = JSON.parse(JSON.stringify(call.identity)) as OrderIdentity;
  return { identity, sentAt: to.time, result: reply?.json?.result };
}

async function look({ identity, sentAt }: Sent, known: readonly string[] = []): Promise<LookupResult> {
  return await lookUp(
    identity,
    { sentAt, isKnown: (txid) => known.includes(txid) },
    async (endpoint, text) => {
      const reply = await world.call(endpoint, Object.fromEntries(new URLSearchParams(text)));
      if (reply.status !== 200 || reply.json === undefined) throw new Error('no good answer');
      return reply.body;
    },
  );
}

/** A result with every txid, refid and amend id made the same. */
function withoutIds(result: unknown): unknown {
  return JSON.parse(JSON.stringify(result).replace(TXID, '*'));
}

/** What the call would have been answered in a world of its own, after the same calls before. */
async function undisturbed(
  endpoint: string,
  text: (before: unknown) => string,
  before: (on: SandboxWorld) => Promise<unknown>,
): Promise<unknown> {
  const other = await openWorld();
  try {
    const { result } = await send(endpoint, text(await before(other)), other);
    expect(result).toBeDefined();
    return result;
  } finally {
    await other.close();
  }
}

const nothing = (): Promise<unknown> => Promise.resolve(undefined);
const anOrder = (fields: Readonly<Record<string, string>>) => async (on: SandboxWorld) =>
  ((await on.result('AddOrder', fields)) as { txid: string[] }).txid[0];

const json = (orders: readonly object[]): string => JSON.stringify({ pair: 'XBTUSD', orders }, null, 1);

type Case = readonly [
  name: string,
  endpoint: string,
  text: (before: unknown) => string,
  before?: (on: SandboxWorld) => Promise<unknown>,
];

const CASES: readonly Case[] = [
  ['a resting order', 'AddOrder', () => form(LIMIT)],
  ['a resting order in JSON', 'AddOrder', () => JSON.stringify({ ...LIMIT, volume: 1.5 })],
  [
    'an order that fills at once',
    'AddOrder',
    () => form({ pair: 'XBT/USD', type: 'buy', ordertype: 'market', volume: '0.1' }),
  ],
  ['an order that is canceled at once', 'AddOrder', () => form({ ...LIMIT, timeinforce: 'IOC' })],
  [
    'a post-only order that crosses',
    'AddOrder',
    () => form({ ...LIMIT, price: '90000', volume: '0.1', oflags: 'post' }),
  ],
  [
    'an order with a conditional close',
    'AddOrder',
    () => form({ ...LIMIT, 'close[ordertype]': 'stop-loss', 'close[price]': '9000' }),
  ],
  ['an order with the client’s own id', 'AddOrder', () => form({ ...LIMIT, cl_ord_id: 'mine' })],
  [
    'an order with an id used before',
    'AddOrder',
    () => form({ ...LIMIT, cl_ord_id: 'again' }),
    async (on) => {
      await on.result('AddOrder', { ...LIMIT, cl_ord_id: 'again', timeinforce: 'IOC' });
      on.time += 60_000;
    },
  ],
  ['an order of a userref', 'AddOrder', () => form({ ...LIMIT, userref: '42', pair: 'XXBTZUSD' })],
  [
    'an order of a userref with others',
    'AddOrder',
    () => form({ ...LIMIT, userref: '42' }),
    anOrder({ ...LIMIT, userref: '42', price: '10001' }),
  ],
  ['a relative order of a userref', 'AddOrder', () => form({ ...LIMIT, userref: '-1', price: '-5%' })],
  [
    'a batch',
    'AddOrderBatch',
    () =>
      json([BATCH_ORDER, { ...BATCH_ORDER, userref: 7, price: '10001' }, { ...BATCH_ORDER, cl_ord_id: 'b' }]),
  ],
  [
    'a batch that fills in part',
    'AddOrderBatch',
    () => json([{ type: 'sell', ordertype: 'market', volume: '0.1' }, BATCH_ORDER]),
  ],
  [
    'an edit',
    'EditOrder',
    (txid) => form({ pair: 'XBTUSD', txid: String(txid), price: '10500', volume: '1' }),
    anOrder(LIMIT),
  ],
  [
    'an edit that fills at once',
    'EditOrder',
    (txid) => form({ pair: 'XBTUSD', txid: String(txid), price: '90000', volume: '0.1', userref: '3' }),
    anOrder(LIMIT),
  ],
  [
    'an amend',
    'AmendOrder',
    (txid) => form({ txid: String(txid), limit_price: '10500', order_qty: '1.25' }),
    anOrder(LIMIT),
  ],
  [
    'an amend by the client’s own id, which fills at once',
    'AmendOrder',
    () => form({ cl_ord_id: 'mine', limit_price: '90000' }),
    anOrder({ ...LIMIT, volume: '0.1', cl_ord_id: 'mine' }),
  ],
  ['a withdrawal', 'Withdraw', () => form({ asset: 'XBT', key: 'cold', amount: '0.25' })],
];

const LOST: readonly Fault['kind'][] = ['reset-after', 'html-after', 'cut'];
const NEVER_CAME: readonly Fault['kind'][] = ['reset-before', 'html', 'error'];

const placedOrders = (): string[] => world.sandbox.orders('master').map(({ txid }) => txid);

describe.each(CASES.map(([name, ...rest]) => ({ name, rest })))('$name', ({ rest }) => {
  const [endpoint, text, before = nothing] = rest;

  it.each(LOST)('whose reply is lost by %s is found with the result that Kraken gave', async (kind) => {
    const body = text(await before(world));
    const earlier = placedOrders();
    world.sandbox.fault({ kind, endpoint });
    const sent = await send(endpoint, body);
    expect(sent.result).toBeUndefined();
    const found = await look(sent);
    const expected = await undisturbed(endpoint, text, before);
    if (found.found !== 'placed') throw new Error(JSON.stringify(found));
    const result = withoutIds(JSON.parse(found.result));
    // The sandbox's amends tell a timestamp too, which Kraken's do not.
    if (endpoint === 'AmendOrder') expect(withoutIds(expected)).toMatchObject(result as object);
    else expect(result).toEqual(withoutIds(expected));
    const placed = placedOrders().filter((txid) => !earlier.includes(txid));
    if (endpoint !== 'Withdraw') expect([...found.txids].sort()).toEqual(placed.sort());
  });

  it.each(NEVER_CAME)('that %s kept away is absent', async (kind) => {
    const body = text(await before(world));
    const earlier = placedOrders();
    world.sandbox.fault({ kind, endpoint });
    expect(await look(await send(endpoint, body), earlier)).toEqual({ found: 'absent' });
  });
});

it('an order that Kraken refused is absent', async () => {
  world.sandbox.fault({ kind: 'reset-after', endpoint: 'AddOrder' });
  expect(await look(await send('AddOrder', form({ ...LIMIT, volume: '100000' })))).toEqual({
    found: 'absent',
  });
});

it('a batch that Kraken refused in part is found partly', async () => {
  const text = json([{ ...BATCH_ORDER, volume: '100000' }, BATCH_ORDER]);
  world.sandbox.fault({ kind: 'reset-after', endpoint: 'AddOrderBatch' });
  const found = await look(await send('AddOrderBatch', text));
  expect(found).toMatchObject({ found: 'partly', missing: 1, txids: placedOrders() });
  if (found.found !== 'partly') throw new Error(found.found);
  const { result } = await send('AddOrderBatch', text);
  const [, placed] = (result as { orders: unknown[] }).orders;
  expect(withoutIds(JSON.parse(found.result))).toEqual({
    orders: [{ error: 'EOrder:Not placed' }, withoutIds(placed)],
  });
});

it('a client id that is still in use is refused, and the earlier order not taken for the refused one', async () => {
  const text = form({ ...LIMIT, cl_ord_id: 'mine' });
  await send('AddOrder', text);
  world.time += 1000;
  world.sandbox.fault({ kind: 'reset-after', endpoint: 'AddOrder' });
  expect(await look(await send('AddOrder', text), placedOrders())).toEqual({ found: 'absent' });
});

it('a relative amend is in doubt once it is there, and absent before', async () => {
  const txid = String(await anOrder(LIMIT)(world));
  const text = form({ txid, limit_price: '-50%' });
  world.sandbox.fault({ kind: 'reset-before', endpoint: 'AmendOrder' });
  expect(await look(await send('AmendOrder', text))).toEqual({ found: 'absent' });
  world.sandbox.fault({ kind: 'reset-after', endpoint: 'AmendOrder' });
  expect(await look(await send('AmendOrder', text))).toMatchObject({ found: 'ambiguous' });
});

it('a look-up that gets a Cloudflare page rejects', async () => {
  const sent = await send('AddOrder', form(LIMIT));
  world.sandbox.fault({ kind: 'html', endpoint: 'OpenOrders' });
  await expect(look(sent)).rejects.toThrow('no good answer');
  world.sandbox.fault({ kind: 'error', endpoint: 'OpenOrders', error: 'EService:Busy' });
  await expect(look(sent)).rejects.toThrow('EService:Busy');
});
