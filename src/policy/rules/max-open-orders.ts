import { countOpen } from '../existing-order.js';
import type { OpenOrders } from '../open-orders.js';
import type { Order } from '../order.js';
import type { Ask } from '../policy.js';
import { doubtOf } from '../verdict.js';

/** How many orders may be open once these are placed: a conditional close adds one later. */
export function openedBy(orders: readonly Order[]): number {
  return orders.reduce((sum, { close }) => sum + (close === undefined ? 1 : 2), 0);
}

export interface MaxOpenOrdersCheck {
  readonly account: string;
  readonly adding: number;
  readonly most: number;
  readonly openOrders: OpenOrders;
  readonly ask: Ask;
}

/**
 * Whether the account stays within its open orders; asks Kraken where that is not known. To be called when the
 * call's turn has come. Rejects with Doubt.
 */
export async function checkMaxOpenOrders(check: MaxOpenOrdersCheck): Promise<string | undefined> {
  const { account, adding, most, openOrders, ask } = check;
  if (openOrders.fits(account, adding, most)) return undefined;
  const askedAt = openOrders.moment();
  let count: number;
  try {
    count = countOpen(await ask('OpenOrders', ''));
  } catch (error) {
    throw doubtOf('Kraken did not tell the open orders', error);
  }
  openOrders.counted(account, count, askedAt);
  return count + adding > most
    ? `${adding} more on top of ${count} open orders is more than ${most}`
    : undefined;
}
