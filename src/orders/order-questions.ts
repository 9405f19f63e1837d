import type { AskKraken, LookupContext, LookupResult } from './order-lookup.js';
import { readClosedOrders, readOpenOrders, type ToldOrder, type ToldOrders } from './order-replies.js';

/** How far Kraken's time of an order may lie before the time that we think it was sent at. */
const SKEW_MS = 5000;
/** ClosedOrders is asked for from so long before the call was sent. */
const LOOK_BACK_S = 60;
/** Of ClosedOrders, 50 orders each: a busy account closes so many in the time that a look goes back. */
const MOST_PAGES = 10;

/** An id by which Kraken's lists can be filtered. */
export interface Filter {
  readonly name: 'cl_ord_id' | 'userref';
  readonly value: string;
}

/** The open orders, all or those of an id. */
export async function askOpen(ask: AskKraken, filter?: Filter): Promise<ToldOrders> {
  return filtered(readOpenOrders(await ask('OpenOrders', filterForm(filter))), filter);
}

/**
 * The orders closed since the call was sent and shortly before, or, without `sentAt`, ever; all or those of an id. Not
 * whole when there are more than we ask for.
 */
export async function askClosed(
  ask: AskKraken,
  sentAt: number | undefined,
  filter?: Filter,
): Promise<ToldOrders> {
  return await askPages(ask, [filterForm(filter), closedSince(sentAt)], MOST_PAGES, filter);
}

/**
 * The closed orders that may be the call's. Where more were closed since than one page holds, those are asked for that
 * were opened while the call could be executed: however late the question comes, they do not become more.
 */
export async function askClosedNew(ask: AskKraken, { sentAt, until }: LookupContext): Promise<ToldOrders> {
  if (until === undefined) return await askClosed(ask, sentAt);
  const closed = await askPages(ask, [closedSince(sentAt)], 1);
  if (closed.isWhole) return closed;
  const [start, end] = [Math.floor(earliest(sentAt) / 1000) - 1, Math.ceil((until + SKEW_MS) / 1000) + 1];
  const opened = await askPages(ask, [`start=${start}&end=${end}&closetime=open`], MOST_PAGES);
  // A list by another time than that of opening may lack the one that is looked for.
  if (!opened.orders.every(({ openedAt }) => openedAt >= start * 1000 && openedAt <= end * 1000)) {
    throw new Error('the reply to a look-up is not by the time of opening');
  }
  return opened;
}

function closedSince(sentAt: number | undefined): string {
  return sentAt === undefined ? '' : `start=${Math.floor(sentAt / 1000) - LOOK_BACK_S}&closetime=close`;
}

/** The list is newest first: what is closed meanwhile makes some come twice, and none slips through. */
async function askPages(
  ask: AskKraken,
  parts: readonly string[],
  most: number,
  filter?: Filter,
): Promise<ToldOrders> {
  const orders = new Map<string, ToldOrder>();
  let listed = 0;
  for (let page = 0; page < most; page++) {
    const form = [...parts, page === 0 ? '' : `ofs=${listed}`].filter((part) => part !== '').join('&');
    const told = filtered(readClosedOrders(await ask('ClosedOrders', form), listed), filter);
    const before = orders.size;
    for (const order of told.orders) orders.set(order.txid, order);
    listed += told.orders.length;
    if (told.isWhole) return { orders: [...orders.values()], isWhole: true };
    if (orders.size === before) break; // it pages otherwise than documented
  }
  return { orders: [...orders.values()], isWhole: false };
}

/** Both lists as one. An order that was closed between the two questions counts as closed. */
export function merged(open: ToldOrders, closed: ToldOrders): readonly ToldOrder[] {
  return [...new Map([...open.orders, ...closed.orders].map((order) => [order.txid, order])).values()];
}

/** Whether an order may be of the call: opened since it was sent, and no earlier reply told of it. */
export function isNew(order: ToldOrder, { sentAt, isKnown }: LookupContext): boolean {
  return order.openedAt >= earliest(sentAt) && !isKnown(order.txid);
}

/** The earliest time, in ms, that Kraken may give to what a call sent at `sentAt` did. */
export function earliest(sentAt: number): number {
  return sentAt - SKEW_MS;
}

export function carries(order: ToldOrder, { name, value }: Filter): boolean {
  return name === 'userref' ? sameUserref(value, order.userref) : sameClientId(value, order.cl_ord_id);
}

/** Kraken tells 0 or null of an order without one. */
export function sameUserref(asked: string, told: string | undefined): boolean {
  return integer(asked) !== undefined && integer(asked) === integer(told ?? '0');
}

export function ambiguous(reason: string): LookupResult {
  return { found: 'ambiguous', reason };
}

export const PAGE_FULL = 'Kraken closed more orders in that time than it lists at once';

/** A UUID may be written with or without dashes (KRAKEN.md 5), and which way Kraken tells it is not documented. */
function sameClientId(asked: string, told: string | undefined): boolean {
  return told !== undefined && (asked === told || (isUuid(asked) && bare(asked) === bare(told)));
}

function isUuid(text: string): boolean {
  return /^[0-9a-f]{32}$/.test(bare(text));
}

function bare(text: string): string {
  return text.replaceAll('-', '').toLowerCase();
}

function integer(text: string): bigint | undefined {
  return /^-?\d{1,20}$/.test(text) ? BigInt(text) : undefined;
}

function filterForm(filter: Filter | undefined): string {
  return filter === undefined ? '' : `${filter.name}=${encodeURIComponent(filter.value)}`;
}

/** A list that shows others too was not filtered, and then what is not on it may still be there. */
function filtered(told: ToldOrders, filter: Filter | undefined): ToldOrders {
  if (filter !== undefined && !told.orders.every((order) => carries(order, filter))) {
    throw new Error('the reply to a look-up tells of orders that were not asked for');
  }
  return told;
}
