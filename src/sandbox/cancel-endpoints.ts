import { invalidArguments } from './answer.js';
import type { Order } from './order.js';
import { readClientId } from './order-input.js';
import { findOrder, openGroup, refuseUnlessOpen } from './order-lookup.js';
import { MAY_CANCEL, type PrivateCall, type PrivateEndpoints } from './private-endpoint.js';

/** Orders out: CancelOrder, CancelOrderBatch, CancelAll, CancelAllOrdersAfter. */
export const CANCEL_ENDPOINTS: PrivateEndpoints = {
  CancelOrder: { cost: 0, permissions: MAY_CANCEL, run: cancelOrder },
  CancelOrderBatch: { cost: 0, permissions: MAY_CANCEL, run: cancelOrderBatch },
  CancelAll: { cost: 1, permissions: MAY_CANCEL, run: cancelAll },
  CancelAllOrdersAfter: { cost: 1, permissions: MAY_CANCEL, run: cancelAllOrdersAfter },
};

const BATCH_MOST = 50;
const MOST_SECONDS = 86_399;
const USERREF = /^-?\d{1,10}$/;

/** `txid` holds a txid or a userref, which takes its whole group; or `cl_ord_id`. */
function cancelOrder(call: PrivateCall): unknown {
  const txid = call.fields.text('txid');
  const clientId = readClientId(call.fields);
  if ((txid === undefined) === (clientId === undefined)) throw invalidArguments('txid');
  const orders =
    txid !== undefined && USERREF.test(txid)
      ? openGroup(call.account, Number(txid))
      : [findOrder(call, txid, clientId)];
  for (const order of orders) refuseUnlessOpen(order);
  call.engineCounters.takeCancels(call.account, orders);
  for (const order of orders) call.exchange.cancel(call.account, order);
  return { count: orders.length };
}

/**
 * Those that are not open are passed over without an error; not confirmed. Over the engine's limit it is
 * accepted all the same (KRAKEN.md 3.2).
 */
function cancelOrderBatch(call: PrivateCall): unknown {
  const { fields, account, exchange } = call;
  const ids = fields.texts('orders');
  const clientIds = fields.texts('cl_ord_ids');
  const asked = ids.length + clientIds.length;
  if (asked === 0 || asked > BATCH_MOST) throw invalidArguments('orders');
  const found = new Set<Order>();
  for (const id of ids) {
    const byTxid = account.open.get(id);
    if (byTxid !== undefined) found.add(byTxid);
    if (!USERREF.test(id)) continue;
    for (const order of account.open.values()) if (order.userref === Number(id)) found.add(order);
  }
  for (const id of clientIds) {
    const order = exchange.openByClientId(account, id);
    if (order !== undefined) found.add(order);
  }
  call.engineCounters.addCancels(account, found);
  for (const order of found) exchange.cancel(account, order);
  return { count: found.size };
}

/** In none of the engine's tables (KRAKEN.md 3.2): counted and accepted like a batch. */
function cancelAll(call: PrivateCall): unknown {
  call.engineCounters.addCancels(call.account, call.account.open.values());
  return { count: call.exchange.cancelAll(call.account) };
}

/** The dead man's switch, one for the account: 0 disarms it for every caller (KRAKEN.md 5). */
function cancelAllOrdersAfter(call: PrivateCall): unknown {
  const seconds = call.fields.integer('timeout', 0, MOST_SECONDS);
  if (seconds === undefined) throw invalidArguments('timeout');
  const currentTime = rfc3339(call.now);
  if (seconds === 0) {
    call.exchange.disarmCancelAll(call.account);
    return { currentTime, triggerTime: '0' };
  }
  return { currentTime, triggerTime: rfc3339(call.exchange.armCancelAll(call.account, seconds * 1000)) };
}

function rfc3339(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
}
