import { sameDecimal } from './decimal-text.js';
import type { EditOrderIdentity } from './order-identity.js';
import type { AskKraken, LookupContext, LookupResult } from './order-lookup.js';
import {
  ambiguous,
  askClosed,
  askClosedNew,
  askOpen,
  earliest,
  isNew,
  merged,
  PAGE_FULL,
  sameUserref,
  type Filter,
} from './order-questions.js';
import { readQueriedOrders, type ToldOrder } from './order-replies.js';

const TXID = /^[A-Z0-9]{6}-[A-Z0-9]{5}-[A-Z0-9]{6}$/;

/** Finds the order that an EditOrder made in place of another. While that one is open, nothing has been edited. */
export async function lookUpEdit(
  identity: EditOrderIdentity,
  context: LookupContext,
  ask: AskKraken,
): Promise<LookupResult> {
  const original = TXID.test(identity.txid)
    ? await byTxid(identity.txid, ask)
    : await byId(identity, context, ask);
  if ('found' in original) return original;
  if (isOpen(original)) return { found: 'absent' };
  const open = await askOpen(ask);
  const closed = await askClosedNew(ask, context);
  const candidates = merged(open, closed).filter((order) =>
    isReplacement(order, original, identity, context),
  );
  const [first] = candidates;
  if (candidates.length > 1) return ambiguous('several orders could be the one that was made by the edit');
  if (!closed.isWhole) return ambiguous(PAGE_FULL);
  if (first === undefined) {
    return wasReplaced(original) === false
      ? { found: 'absent' }
      : ambiguous('the order to edit is gone, and which one took its place is not to be found');
  }
  if (original.status !== 'canceled') {
    return ambiguous('the order to edit was not canceled, and yet there is one as edited');
  }
  return edited(first, original);
}

async function byTxid(txid: string, ask: AskKraken): Promise<ToldOrder> {
  const orders = readQueriedOrders(await ask('QueryOrders', `txid=${encodeURIComponent(txid)}`));
  const [order] = orders;
  if (order?.txid !== txid || orders.length > 1) {
    throw new Error('the reply to a look-up does not tell of the order that was asked for');
  }
  return order;
}

/** The order that a userref or client order id named when the edit was sent; or what follows from its absence. */
async function byId(
  { txid }: EditOrderIdentity,
  context: LookupContext,
  ask: AskKraken,
): Promise<ToldOrder | LookupResult> {
  const id: Filter = { name: /^-?\d{1,10}$/.test(txid) ? 'userref' : 'cl_ord_id', value: txid };
  const open = await askOpen(ask, id);
  const closed = await askClosed(ask, context.sentAt, id);
  // The edit may have given its own order the same userref.
  const before = merged(open, closed).filter((order) => !isNew(order, context));
  // Of several open ones Kraken edits none (api-specs, edit.yaml); so one that still is was not edited.
  if (before.some(isOpen)) return { found: 'absent' };
  const gone = before.filter((order) => (order.closedAt ?? Infinity) >= earliest(context.sentAt));
  const [original] = gone;
  if (gone.length > 1) return ambiguous('several orders could be the one to edit');
  if (!closed.isWhole) return ambiguous(PAGE_FULL);
  if (original !== undefined) return original;
  // An order that is new could be the one to edit, placed a moment before, or the one that the edit made.
  return merged(open, closed).length > before.length
    ? ambiguous('the order to edit cannot be told from the one that the edit made')
    : { found: 'absent' };
}

function isOpen(order: ToldOrder): boolean {
  return order.status === 'open' || order.status === 'pending';
}

function isReplacement(
  order: ToldOrder,
  original: ToldOrder,
  { volume, price, price2, userref }: EditOrderIdentity,
  context: LookupContext,
): boolean {
  return (
    isNew(order, context) &&
    order.txid !== original.txid &&
    (order.refid === undefined || order.refid === original.txid) &&
    order.pair === original.pair &&
    order.type === original.type &&
    order.ordertype === original.ordertype &&
    (userref === undefined || sameUserref(userref, order.userref)) &&
    agrees(volume, order.volume) &&
    agrees(price, order.price) &&
    agrees(price2, order.price2)
  );
}

/** What was not changed, or cannot be compared, speaks against no order. */
function agrees(asked: string | undefined, told: string): boolean {
  return asked === undefined || sameDecimal(asked, told) !== false;
}

/** Whether a closed order made room for another; undefined when Kraken does not say. The text is not documented. */
function wasReplaced({ status, reason }: ToldOrder): boolean | undefined {
  if (status !== 'canceled') return false;
  return reason === undefined ? undefined : /replace/i.test(reason);
}

function edited(order: ToldOrder, original: ToldOrder): LookupResult {
  const result = JSON.stringify({
    status: 'ok',
    txid: order.txid,
    originaltxid: original.txid,
    volume: order.volume,
    price: order.price,
    price2: order.price2,
    orders_cancelled: 1,
    descr: { order: order.order },
  });
  return { found: 'placed', result, txids: [order.txid] };
}
