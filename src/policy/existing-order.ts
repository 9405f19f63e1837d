import { parseDecimal, ZERO, type Decimal } from './decimal.js';
import { isOrderType, partsOf, volumeAbove0, type Order, type PriceTerm } from './order.js';
import { readPrice, type Change } from './order-reader.js';
import type { Ask } from './policy.js';
import { Doubt, doubtOf, printable } from './verdict.js';

/** An order as Kraken tells it. */
export interface ExistingOrder {
  /** As in `descr.pair`: an altname. */
  readonly pair: string;
  readonly order: Order;
}

/** Asks Kraken for the order that a change is about. Rejects with Doubt when there is not exactly one. */
export async function findOrder(target: Change['order'], ask: Ask): Promise<ExistingOrder> {
  let result: Record<string, unknown>;
  try {
    result = resultOf(
      'txid' in target
        ? await ask('QueryOrders', `txid=${encodeURIComponent(target.txid)}`)
        : await ask('OpenOrders', `cl_ord_id=${encodeURIComponent(target.clientId)}`),
    );
  } catch (error) {
    throw doubtOf('Kraken did not tell the order', error);
  }
  if ('txid' in target) {
    return readExisting(onlyOne(result, (_, txid) => txid === target.txid));
  }
  if (!isRecord(result.open)) throw odd();
  return readExisting(onlyOne(result.open, ({ cl_ord_id }) => cl_ord_id === target.clientId));
}

/** How many orders an OpenOrders reply lists. Throws Doubt. */
export function countOpen(reply: Buffer): number {
  const { open } = resultOf(reply);
  if (!isRecord(open)) throw odd();
  return Object.keys(open).length;
}

/** The order as the change would leave it. Throws Doubt. */
export function changed(existing: Order, change: Change): Order {
  const { triggered, limit } = partsOf(existing.type);
  if (change.limit !== undefined && limit === undefined) throw new Doubt('the order has no limit price');
  if (change.trigger !== undefined && triggered !== true) throw new Doubt('the order has no trigger price');
  const limitOf = (field: 'price' | 'price2'): PriceTerm | undefined =>
    limit === field ? change.limit : undefined;
  const isEdit = change.endpoint === 'EditOrder';
  return {
    ...existing,
    // An explicit 0 is no volume; none given leaves the order's own.
    volume: volumeAbove0(change.volume ?? existing.volume),
    // An edit is a new order: whether what has traded counts toward its volume is not documented.
    executed: isEdit ? ZERO : existing.executed,
    price: change.price ?? change.trigger ?? limitOf('price') ?? existing.price,
    price2: change.price2 ?? limitOf('price2') ?? existing.price2,
    // An amend keeps the flag, but a new limit price may take from the book unless it is asked not to.
    postOnly: isEdit || change.limit !== undefined ? change.postOnly : existing.postOnly || change.postOnly,
  };
}

/** Whether the change may let more be traded, or at another price. An edit is a new order in any case. */
export function changesWorth({ endpoint, volume, limit, trigger, price, price2 }: Change): boolean {
  if (endpoint === 'EditOrder') return true;
  return [volume, limit, trigger, price, price2].some((term) => term !== undefined);
}

function readExisting(entry: Record<string, unknown>): ExistingOrder {
  const { descr, vol, vol_exec, oflags, reduce_only } = entry;
  if (!isRecord(descr)) throw odd();
  const { pair, type: side, ordertype, close } = descr;
  if (typeof pair !== 'string' || (side !== 'buy' && side !== 'sell')) throw odd();
  if (typeof ordertype !== 'string' || !isOrderType(ordertype)) throw odd();
  if (close !== undefined && close !== null && close !== '') {
    throw new Doubt('the order has a conditional close, which the rules cannot follow through a change');
  }
  if (oflags !== undefined && oflags !== null && typeof oflags !== 'string') throw odd();
  const flags = new Set((oflags ?? '').split(','));
  if (flags.has('viqc')) throw new Doubt('the volume of the order is in its quote currency');
  const order: Order = {
    side,
    type: ordertype,
    price: priceOf(descr.price),
    price2: priceOf(descr.price2),
    volume: volumeAbove0(decimalOf(vol)),
    executed: decimalOf(vol_exec),
    volumeInQuote: false,
    reduceOnly: reduce_only === true,
    postOnly: flags.has('post'),
    close: undefined,
  };
  return { pair, order };
}

function onlyOne(
  orders: Record<string, unknown>,
  isIt: (order: Record<string, unknown>, txid: string) => boolean,
): Record<string, unknown> {
  const entries = Object.entries(orders);
  const [first] = entries;
  if (first === undefined || entries.length > 1)
    throw new Doubt('Kraken tells of no such order, or of several');
  const [txid, order] = first;
  if (!isRecord(order) || !isIt(order, txid)) throw new Doubt('Kraken tells of another order');
  return order;
}

/** The result of a reply. Decimals are texts in it; none of its numbers is read. Throws Doubt. */
function resultOf(reply: Buffer): Record<string, unknown> {
  let envelope: unknown;
  try {
    envelope = JSON.parse(reply.toString());
  } catch {
    throw odd();
  }
  if (!isRecord(envelope) || !Array.isArray(envelope.error)) throw odd();
  if (envelope.error.length > 0) throw new Doubt(`Kraken: ${printable(String(envelope.error[0]), 100)}`);
  if (!isRecord(envelope.result)) throw odd();
  return envelope.result;
}

function decimalOf(text: unknown): Decimal {
  const value = typeof text === 'string' ? parseDecimal(text) : undefined;
  if (value === undefined) throw odd();
  return value;
}

/** Kraken writes 0 where an order has no such price. */
function priceOf(text: unknown): PriceTerm | undefined {
  if (typeof text !== 'string') throw odd();
  const term = readPrice(text, 'the price of the order');
  return term.value.isZero() && !term.isDistance ? undefined : term;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function odd(): Doubt {
  return new Doubt('what Kraken tells of the order is not as documented');
}
