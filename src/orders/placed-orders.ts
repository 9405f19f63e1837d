import { sameDecimal } from './decimal-text.js';
import type { PlacedOrder } from './order-identity.js';
import type { AskKraken, LookupContext, LookupResult } from './order-lookup.js';
import {
  ambiguous,
  askClosed,
  askClosedNew,
  askOpen,
  carries,
  isNew,
  merged,
  PAGE_FULL,
} from './order-questions.js';
import type { ToldOrder } from './order-replies.js';

/** The error of a batch's order that is not there; a text of the proxy's own in the shape of Kraken's. */
export const NOT_PLACED = 'EOrder:Not placed';

const SEVERAL = 'several orders could be the one of this call';
const PERHAPS = 'an order could be the one of this call, or another';

/** Finds the order of an AddOrder: one that was canceled or filled at once was placed too. */
export async function lookUpOrder(
  order: PlacedOrder,
  context: LookupContext,
  ask: AskKraken,
): Promise<LookupResult> {
  const { id } = order;
  const open = await askOpen(ask, id);
  if (id.isOurs) {
    const [only] = candidatesOf(order, open.orders, context).certain;
    if (only !== undefined && open.orders.length === 1) return placed(only);
  }
  const closed = await askClosed(ask, id.isOurs ? undefined : context.sentAt, id);
  const { certain, isDoubtful } = candidatesOf(order, merged(open, closed), context);
  const [first] = certain;
  if (certain.length > 1) return ambiguous(SEVERAL);
  if (isDoubtful) return ambiguous(PERHAPS);
  if (!closed.isWhole) return ambiguous(PAGE_FULL);
  return first === undefined ? { found: 'absent' } : placed(first);
}

/** Finds the orders of a batch by the same two lists, however many they are. */
export async function lookUpBatch(
  orders: readonly PlacedOrder[],
  context: LookupContext,
  ask: AskKraken,
): Promise<LookupResult> {
  const open = await askOpen(ask);
  if (orders.every(({ id }) => id.isOurs)) {
    const found = assign(orders, open.orders, context);
    if (typeof found !== 'string' && !found.includes(undefined)) return batchResult(found);
  }
  const closed = await askClosedNew(ask, context);
  const found = assign(orders, merged(open, closed), context);
  if (typeof found === 'string') return ambiguous(found);
  if (found.includes(undefined) && !closed.isWhole) return ambiguous(PAGE_FULL);
  return batchResult(found);
}

function placed(order: ToldOrder): LookupResult {
  const descr = { order: order.order, ...(order.close === '' ? {} : { close: order.close }) };
  return { found: 'placed', result: JSON.stringify({ descr, txid: [order.txid] }), txids: [order.txid] };
}

function batchResult(found: readonly (ToldOrder | undefined)[]): LookupResult {
  const txids = found.flatMap((order) => (order === undefined ? [] : [order.txid]));
  if (txids.length === 0) return { found: 'absent' };
  const result = JSON.stringify({
    orders: found.map((order) =>
      order === undefined ? { error: NOT_PLACED } : { descr: { order: order.order }, txid: order.txid },
    ),
  });
  const missing = found.length - txids.length;
  return missing === 0 ? { found: 'placed', result, txids } : { found: 'partly', result, txids, missing };
}

/**
 * The order at Kraken for each order of a batch, or why it cannot be told. Orders of a batch that are alike in all that
 * we compare are as good as each other: the first placed is taken for the first of them.
 */
function assign(
  orders: readonly PlacedOrder[],
  told: readonly ToldOrder[],
  context: LookupContext,
): readonly (ToldOrder | undefined)[] | string {
  const alike = new Map<string, { readonly order: PlacedOrder; readonly places: number[] }>();
  orders.forEach((order, index) => {
    const key = JSON.stringify(order);
    const group = alike.get(key);
    if (group === undefined) alike.set(key, { order, places: [index] });
    else group.places.push(index);
  });
  const found = orders.map((): ToldOrder | undefined => undefined);
  const taken = new Set<string>();
  for (const { order, places } of alike.values()) {
    const { certain, isDoubtful } = candidatesOf(order, told, context);
    if (isDoubtful) return PERHAPS;
    if (certain.length > places.length) return SEVERAL;
    certain.forEach((candidate, index) => {
      found[places[index] ?? 0] = candidate;
      taken.add(candidate.txid);
    });
  }
  const claims = found.filter((order) => order !== undefined).length;
  return taken.size === claims ? found : 'an order could be any of several in the batch';
}

interface Candidates {
  /** Oldest first. */
  readonly certain: readonly ToldOrder[];
  /** There is one that may be the call's or not. */
  readonly isDoubtful: boolean;
}

/** Which of Kraken's orders are the call's. */
function candidatesOf(order: PlacedOrder, told: readonly ToldOrder[], context: LookupContext): Candidates {
  const certain: ToldOrder[] = [];
  let isDoubtful = false;
  for (const one of told) {
    if (!carries(one, order.id) || !(order.id.isOurs || isNew(one, context))) continue;
    const likeness = order.id.name === 'userref' ? likenessOf(order, one) : 'same';
    if (likeness === 'other') continue;
    if (one.refid !== undefined) {
      // Made by another order, as a conditional close is: that it carries the same id says something only of its parent.
      isDoubtful ||= !told.some(({ txid }) => txid === one.refid) && !context.isKnown(one.refid);
    } else if (likeness === 'same') {
      certain.push(one);
    } else {
      isDoubtful = true;
    }
  }
  certain.sort((a, b) => a.openedAt - b.openedAt);
  return { certain, isDoubtful };
}

/** Whether an order has the terms that were asked for. What cannot be compared (relative prices) is passed over. */
function likenessOf(asked: PlacedOrder, told: ToldOrder): 'same' | 'other' | 'doubtful' {
  if (asked.type !== told.type || asked.ordertype !== told.ordertype) return 'other';
  if ((asked.close === undefined) !== (told.close === '')) return 'other';
  // Market orders are sent with prices that mean nothing.
  const [price, price2] = /^(?:market|settle-position)$/.test(asked.ordertype)
    ? []
    : [asked.price, asked.ordertype.endsWith('-limit') ? asked.price2 : undefined];
  // In quote currency, or 0 for whatever closes a position: Kraken tells another.
  const isOtherVolume = asked.oflags?.includes('viqc') === true || /^[0.]*$/.test(asked.volume ?? '');
  const volume = isOtherVolume ? undefined : asked.volume;
  if (price !== undefined && sameDecimal(price, told.price) === false) return 'other';
  if (price2 !== undefined && sameDecimal(price2, told.price2) === false) return 'other';
  if (volume !== undefined && sameDecimal(volume, told.volume) === false) return 'other';
  // Kraken's names for a pair are many, and those it has made since are not in here: no proof.
  return pairCore(asked.pair) === pairCore(told.pair) ? 'same' : 'doubtful';
}

/** `XXBTZUSD`, `XBTUSD`, `XBT/USD` and `BTC/USD` as one: without the slash and the letters of the asset classes. */
function pairCore(pair: string): string {
  return pair
    .toUpperCase()
    .replaceAll('/', '')
    .replaceAll('BTC', 'XBT')
    .replaceAll('DOGE', 'XDG')
    .replaceAll(/[XZ]/g, '');
}
