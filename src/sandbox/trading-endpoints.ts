import { invalidArguments, JsonText, Refusal } from './answer.js';
import type { CallFields } from './call-fields.js';
import { formatDecimal } from './decimal.js';
import type { OrderChange } from './exchange.js';
import { findPair, LOT_DECIMALS, type Pair } from './market-data.js';
import { describeOrder, limitPriceOf, type Order, type OrderDraft } from './order.js';
import {
  checkDeadline,
  checkMinimum,
  readAmount,
  readClientId,
  readOflags,
  readOrderDraft,
  readPrice,
} from './order-input.js';
import { existingOrder, findOrder, refuseUnlessOpen } from './order-lookup.js';
import {
  MAY_ADD,
  MAY_ADD_AND_CANCEL,
  MAY_CANCEL,
  MAY_QUERY_ORDERS,
  type PrivateCall,
  type PrivateEndpoints,
} from './private-endpoint.js';

/**
 * Orders in: AddOrder, AddOrderBatch, AmendOrder, EditOrder, and OrderAmends. None costs anything on the
 * REST call counter, which is certain for AddOrder only (KRAKEN.md 2.2).
 */
export const TRADING_ENDPOINTS: PrivateEndpoints = {
  AddOrder: { cost: 0, permissions: MAY_ADD, run: addOrder },
  AddOrderBatch: { cost: 0, permissions: MAY_ADD_AND_CANCEL, run: addOrderBatch },
  AmendOrder: { cost: 0, permissions: MAY_CANCEL, run: amendOrder },
  EditOrder: { cost: 0, permissions: MAY_ADD_AND_CANCEL, run: editOrder },
  OrderAmends: { cost: 1, permissions: MAY_QUERY_ORDERS, run: orderAmends },
};

/** The warning that `oflags=nompp` brings; the text is the sandbox's own, to have one to pass through. */
export const NOMPP_WARNING = 'WGeneral:Deprecated:nompp';

const BATCH_LEAST = 2;
const BATCH_MOST = 15;

function addOrder(call: PrivateCall): JsonText {
  const { fields, arrivedAt, now } = call;
  const pair = findPair(fields.needed('pair'));
  // What only validates does not reach the engine (KRAKEN.md 5), and is not counted there.
  const validate = fields.flag('validate');
  if (!validate) call.engineCounters.takeAdd(call.account, pair);
  const draft = readOrderDraft(fields, pair, arrivedAt);
  checkDeadline(fields, arrivedAt, now);
  const descr = { order: describeOrder(draft), ...(draft.close === '' ? {} : { close: draft.close }) };
  const warnings = draft.oflags.includes('nompp') ? [NOMPP_WARNING] : [];
  // What needs the account (funds, a client id in use) is the engine's to refuse, and `validate` does
  // not go so far (KRAKEN.md 5, not confirmed).
  if (validate) return new JsonText(JSON.stringify({ descr }), warnings);
  const order = place(call, draft);
  return new JsonText(JSON.stringify({ descr, txid: [order.txid] }), warnings);
}

function place(call: PrivateCall, draft: OrderDraft): Order {
  checkMarketMode(call, draft.oflags.includes('post'));
  return call.exchange.place(call.account, draft);
}

/** What the market's mode lets in (KRAKEN.md 4.1); `maintenance` is refused before an endpoint runs. */
function checkMarketMode(call: PrivateCall, postOnly: boolean): void {
  if (call.systemStatus === 'cancel_only') throw new Refusal('EService:Market in cancel_only mode');
  if (call.systemStatus === 'post_only' && !postOnly) {
    throw new Refusal('EService:Market in post_only mode');
  }
}

/** The batch is judged whole first; what the engine then refuses stands in its own order's place. */
function addOrderBatch(call: PrivateCall): unknown {
  const { fields, arrivedAt, now } = call;
  const inputs = fields.objects('orders');
  const pair = findPair(fields.needed('pair'));
  const validate = fields.flag('validate');
  if (!validate) call.engineCounters.takeBatchAdd(call.account, pair, inputs.length);
  if (inputs.length < BATCH_LEAST || inputs.length > BATCH_MOST) throw invalidArguments('orders');
  const drafts = inputs.map((input) => readOrderDraft(input, pair, arrivedAt));
  checkDeadline(fields, arrivedAt, now);
  const orders = drafts.map((draft) => {
    const descr = { order: describeOrder(draft) };
    if (validate) return { descr };
    try {
      return { descr, txid: place(call, draft).txid };
    } catch (error) {
      if (error instanceof Refusal) return { descr, error: error.envelope };
      throw error;
    }
  });
  return { orders };
}

function amendOrder(call: PrivateCall): JsonText {
  const { fields, account, exchange, engineCounters, arrivedAt, now } = call;
  const order = amendedOrder(call);
  const byAge = engineCounters.takeChange(account, order, 'amend');
  refuseUnlessOpen(order);
  const pairText = fields.text('pair');
  if (pairText !== undefined && findPair(pairText) !== order.pair) throw invalidArguments('pair');
  const change = readChange(fields, order);
  checkDeadline(fields, arrivedAt, now);
  checkMarketMode(call, change.postOnly === true || order.oflags.includes('post'));
  const amend = exchange.amend(account, order, change);
  engineCounters.settle(account, order, byAge);
  // `amend_timestamp` is the sandbox's own addition: 19 digits, which a reply parsed on its way loses.
  return new JsonText(`{"amend_id":"${amend.id}","amend_timestamp":${amend.timestampNs}}`);
}

/** By txid or by cl_ord_id, one of the two. */
function amendedOrder(call: PrivateCall): Order {
  const txid = call.fields.text('txid');
  const clientId = readClientId(call.fields);
  if ((txid === undefined) === (clientId === undefined)) throw invalidArguments('txid');
  return findOrder(call, txid, clientId);
}

function readChange(fields: CallFields, order: Order): OrderChange {
  const volume = readAmount(fields, 'order_qty');
  const displayVolume = readAmount(fields, 'display_qty');
  const limitPrice = readPrice(fields, 'limit_price', order.pair, order.side);
  const triggerPrice = readPrice(fields, 'trigger_price', order.pair, order.side);
  const postOnly = fields.flag('post_only');
  if (limitPrice !== undefined && limitPriceOf(order) === undefined) throw invalidArguments('limit_price');
  if (triggerPrice !== undefined && (order.ordertype === 'limit' || order.ordertype === 'iceberg')) {
    throw invalidArguments('trigger_price');
  }
  const change: OrderChange = {
    ...(volume === undefined ? {} : { volume }),
    ...(displayVolume === undefined ? {} : { displayVolume }),
    ...(limitPrice === undefined ? {} : { limitPrice }),
    ...(triggerPrice === undefined ? {} : { triggerPrice }),
    ...(postOnly ? { postOnly } : {}),
  };
  if (Object.keys(change).length === 0) throw invalidArguments();
  checkMinimum(order.pair, volume ?? order.volume, limitPrice ?? order.price ?? 0n);
  return change;
}

/** Cancel and new order with a new txid; the new one carries neither userref nor cl_ord_id over. */
function editOrder(call: PrivateCall): unknown {
  const { fields, account, exchange, engineCounters, arrivedAt, now } = call;
  const pair = findPair(fields.needed('pair'));
  const original = existingOrder(call, fields.needed('txid'));
  const validate = fields.flag('validate');
  const byAge = validate ? 0 : engineCounters.takeChange(account, original, 'edit');
  refuseUnlessOpen(original);
  if (original.pair !== pair) throw invalidArguments('pair');
  // Not for orders with a conditional close (KRAKEN.md 5); the text is not confirmed.
  if (original.close !== '') throw new Refusal('EOrder:Invalid order');
  const draft = editedDraft(fields, original, pair);
  checkDeadline(fields, arrivedAt, now);
  const descr = { order: describeOrder(draft) };
  if (validate) return { descr };
  checkMarketMode(call, draft.oflags.includes('post'));
  const order = exchange.place(account, draft, original);
  engineCounters.settle(account, original, byAge);
  return {
    status: 'ok',
    txid: order.txid,
    originaltxid: original.txid,
    volume: formatDecimal(order.volume, LOT_DECIMALS),
    price: formatDecimal(order.price ?? 0n, pair.pairDecimals),
    price2: formatDecimal(order.price2 ?? 0n, pair.pairDecimals),
    orders_cancelled: 1,
    descr,
  };
}

function editedDraft(fields: CallFields, original: Order, pair: Pair): OrderDraft {
  const volume = readAmount(fields, 'volume') ?? original.volume;
  const price = readPrice(fields, 'price', pair, original.side) ?? original.price;
  const price2 = readPrice(fields, 'price2', pair, original.side) ?? original.price2;
  checkMinimum(pair, volume, price2 ?? price ?? 0n);
  return {
    pair,
    side: original.side,
    ordertype: original.ordertype,
    price,
    price2,
    volume,
    displayVolume: readAmount(fields, 'displayvol') ?? original.displayVolume,
    cl_ord_id: undefined,
    userref: fields.integer('userref', -2_147_483_648, 2_147_483_647),
    oflags: fields.has('oflags') ? readOflags(fields) : original.oflags,
    timeinforce: original.timeinforce,
    expiresAt: original.expiresAt,
    close: '',
  };
}

/** The history of one order's amends, timestamps in ns (19 digits). */
function orderAmends(call: PrivateCall): JsonText {
  const order = existingOrder(call, call.fields.needed('order_id'));
  const places = order.pair.pairDecimals;
  const amends = order.amends.map((amend) => {
    const volume = formatDecimal(amend.volume, LOT_DECIMALS);
    const known = JSON.stringify({
      amend_id: amend.id,
      amend_type: amend.type,
      order_qty: volume,
      remaining_qty: volume,
      ...(amend.price === undefined ? {} : { limit_price: formatDecimal(amend.price, places) }),
      post_only: order.oflags.includes('post'),
    });
    return `${known.slice(0, -1)},"timestamp":${amend.timestampNs}}`;
  });
  return new JsonText(`{"count":${amends.length},"amends":[${amends.join(',')}]}`);
}
