import type { Account } from './account.js';
import { Refusal } from './answer.js';
import type { Order } from './order.js';
import type { PrivateCall } from './private-endpoint.js';

/** The order of that txid, open or not; one that never existed is `EOrder:Invalid order` (KRAKEN.md 5). */
export function existingOrder(call: PrivateCall, txid: string): Order {
  const order = call.account.orders.get(txid);
  if (order === undefined) throw new Refusal('EOrder:Invalid order');
  return order;
}

/**
 * The order of that txid, or else of that client id, open or not; one that never existed is
 * `EOrder:Invalid order` (KRAKEN.md 5, measured for txids, taken to hold for client ids).
 */
export function findOrder(call: PrivateCall, txid: string | undefined, clientId: string | undefined): Order {
  return txid === undefined ? latestOf(call.account, clientId ?? '') : existingOrder(call, txid);
}

/** One that is filled or cancelled is `EOrder:Unknown order` (KRAKEN.md 5). */
export function refuseUnlessOpen(order: Order): void {
  if (order.status !== 'open') throw new Refusal('EOrder:Unknown order');
}

/** The open order of a client id, or else the last that carried it. */
function latestOf(account: Account, clientId: string): Order {
  const same = account.byClientId.get(clientId);
  const order = same?.find((one) => one.status === 'open') ?? same?.at(-1);
  if (order === undefined) throw new Refusal('EOrder:Invalid order');
  return order;
}

/** The open orders of a userref group; the same refusals as for a txid when none is open. */
export function openGroup(account: Account, userref: number): readonly Order[] {
  const open = [...account.open.values()].filter((order) => order.userref === userref);
  if (open.length > 0) return open;
  const existed = account.closed.some((order) => order.userref === userref);
  throw new Refusal(existed ? 'EOrder:Unknown order' : 'EOrder:Invalid order');
}
