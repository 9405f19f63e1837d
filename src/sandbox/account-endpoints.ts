import type { LedgerEntry, Trade } from './account.js';
import { invalidArguments, Refusal } from './answer.js';
import { formatDecimal, multiply } from './decimal.js';
import {
  allAssets,
  COST_DECIMALS,
  findAsset,
  findPair,
  LOT_DECIMALS,
  MAKER_FEE_PERCENT,
  scaled,
  TAKER_FEE_PERCENT,
} from './market-data.js';
import { orderReply, type Order } from './order.js';
import { readClientId } from './order-input.js';
import { existingOrder } from './order-lookup.js';
import {
  MAY_QUERY_CLOSED,
  MAY_QUERY_FUNDS,
  MAY_QUERY_LEDGER,
  MAY_QUERY_OPEN,
  MAY_QUERY_ORDERS,
  type PrivateCall,
  type PrivateEndpoints,
} from './private-endpoint.js';

// "Ledger and trade history calls" cost 2 or 4, by the copy of the page (KRAKEN.md 3.1): the strict one.
const HISTORY = 4;

/** What an account has and has done. */
export const ACCOUNT_ENDPOINTS: PrivateEndpoints = {
  Balance: { cost: 1, permissions: MAY_QUERY_FUNDS, run: (call) => call.account.balances() },
  BalanceEx: { cost: 1, permissions: MAY_QUERY_FUNDS, run: balanceEx },
  TradeBalance: { cost: 1, permissions: MAY_QUERY_OPEN, run: tradeBalance },
  OpenOrders: { cost: 1, permissions: MAY_QUERY_OPEN, run: openOrders },
  ClosedOrders: { cost: 1, permissions: MAY_QUERY_CLOSED, run: closedOrders },
  QueryOrders: { cost: 1, permissions: MAY_QUERY_ORDERS, run: queryOrders },
  TradesHistory: { cost: HISTORY, permissions: MAY_QUERY_CLOSED, run: tradesHistory },
  QueryTrades: { cost: 1, permissions: MAY_QUERY_CLOSED, run: queryTrades },
  OpenPositions: { cost: 1, permissions: MAY_QUERY_OPEN, run: () => ({}) },
  Ledgers: { cost: HISTORY, permissions: MAY_QUERY_LEDGER, run: ledgers },
  QueryLedgers: { cost: HISTORY, permissions: MAY_QUERY_LEDGER, run: queryLedgers },
  TradeVolume: { cost: 1, permissions: MAY_QUERY_FUNDS, run: tradeVolume },
};

const PAGE = 50;

function balanceEx(call: PrivateCall): unknown {
  const result: Record<string, unknown> = {};
  for (const { name, decimals } of allAssets()) {
    result[name] = {
      balance: formatDecimal(call.account.balance(name), decimals),
      hold_trade: formatDecimal(call.account.held(name), decimals),
    };
  }
  return result;
}

function tradeBalance(call: PrivateCall): unknown {
  let total = 0n;
  for (const one of allAssets()) total += multiply(call.account.balance(one.name), scaled(one.usdPrice));
  const equivalent = formatDecimal(total, 4);
  const none = '0.0000';
  return {
    eb: equivalent,
    tb: equivalent,
    m: none,
    n: none,
    c: none,
    v: none,
    e: equivalent,
    mf: equivalent,
  };
}

/** The filters that OpenOrders and ClosedOrders share (KRAKEN.md 2.2). */
function orderFilter(call: PrivateCall): (order: Order) => boolean {
  const userref = call.fields.integer('userref', -2_147_483_648, 2_147_483_647);
  const clientId = readClientId(call.fields);
  return (order) =>
    (userref === undefined || order.userref === userref) &&
    (clientId === undefined || order.cl_ord_id === clientId);
}

function openOrders(call: PrivateCall): unknown {
  const matches = orderFilter(call);
  const withTrades = call.fields.flag('trades');
  const open: Record<string, unknown> = {};
  for (const order of call.account.open.values()) {
    if (matches(order)) open[order.txid] = orderReply(order, withTrades);
  }
  return { open };
}

function closedOrders(call: PrivateCall): unknown {
  const matches = orderFilter(call);
  const inSpan = spanFilter(call);
  const byOpening = call.fields.text('closetime') === 'open';
  const found = call.account.closed.filter(
    (order) => matches(order) && inSpan(byOpening ? order.openedAt : (order.closedAt ?? 0)),
  );
  const withTrades = call.fields.flag('trades');
  const closed: Record<string, unknown> = {};
  for (const order of newestPage(call, found)) closed[order.txid] = orderReply(order, withTrades);
  return call.fields.flag('without_count') ? { closed } : { closed, count: found.length };
}

/** By txids, at most 50, or by cl_ord_id, which is honored though undocumented (KRAKEN.md 2.2). */
function queryOrders(call: PrivateCall): unknown {
  const txids = call.fields.text('txid');
  const clientId = readClientId(call.fields);
  if (txids === undefined && clientId === undefined) throw invalidArguments('txid');
  // A client id that nobody used finds nothing; a txid that never existed is refused.
  const found =
    txids === undefined
      ? (call.account.byClientId.get(clientId ?? '') ?? [])
      : idList(txids).map((txid) => existingOrder(call, txid));
  const userref = call.fields.integer('userref', -2_147_483_648, 2_147_483_647);
  const withTrades = call.fields.flag('trades');
  const result: Record<string, unknown> = {};
  for (const order of found) {
    if (userref === undefined || order.userref === userref)
      result[order.txid] = orderReply(order, withTrades);
  }
  return result;
}

function tradesHistory(call: PrivateCall): unknown {
  const inSpan = spanFilter(call);
  const found = call.account.trades.filter((trade) => inSpan(trade.time));
  const trades: Record<string, unknown> = {};
  for (const trade of newestPage(call, found)) trades[trade.id] = tradeReply(trade);
  return { trades, count: found.length };
}

function queryTrades(call: PrivateCall): unknown {
  const ids = idList(call.fields.needed('txid'));
  const result: Record<string, unknown> = {};
  for (const id of ids) {
    const trade = call.account.trades.find((one) => one.id === id);
    if (trade === undefined) throw new Refusal('EQuery:Unknown trade');
    result[id] = tradeReply(trade);
  }
  return result;
}

function tradeReply(trade: Trade): unknown {
  const { order } = trade;
  return {
    ordertxid: order.txid,
    postxid: trade.id,
    pair: order.pair.name,
    aclass: 'forex',
    time: trade.time / 1000,
    type: order.side,
    ordertype: order.ordertype,
    price: formatDecimal(trade.price, order.pair.pairDecimals),
    cost: formatDecimal(trade.cost, COST_DECIMALS),
    fee: formatDecimal(trade.fee, COST_DECIMALS),
    vol: formatDecimal(trade.volume, LOT_DECIMALS),
    margin: formatDecimal(0n, COST_DECIMALS),
    leverage: '0',
    misc: '',
    trade_id: trade.number,
    maker: false,
    ...(order.cl_ord_id === undefined ? {} : { cl_ord_id: order.cl_ord_id }),
  };
}

function ledgers(call: PrivateCall): unknown {
  const { fields, account } = call;
  const inSpan = spanFilter(call);
  const asset = fields.text('asset') ?? 'all';
  const names = asset === 'all' ? undefined : asset.split(',').map((one) => findAsset(one).name);
  const type = fields.text('type') ?? 'all';
  const found = account.ledger.filter(
    (entry) =>
      inSpan(entry.time) &&
      (names === undefined || names.includes(entry.asset)) &&
      (type === 'all' || entry.type === type),
  );
  const ledger: Record<string, unknown> = {};
  for (const entry of newestPage(call, found)) ledger[entry.id] = ledgerReply(entry);
  return fields.flag('without_count') ? { ledger } : { ledger, count: found.length };
}

function queryLedgers(call: PrivateCall): unknown {
  const result: Record<string, unknown> = {};
  for (const id of idList(call.fields.needed('id'))) {
    const entry = call.account.ledger.find((one) => one.id === id);
    if (entry === undefined) throw new Refusal('EQuery:Unknown ledger');
    result[id] = ledgerReply(entry);
  }
  return result;
}

function ledgerReply(entry: LedgerEntry): unknown {
  const { decimals } = findAsset(entry.asset);
  return {
    refid: entry.refid,
    time: entry.time / 1000,
    type: entry.type,
    subtype: '',
    aclass: 'currency',
    asset: entry.asset,
    amount: formatDecimal(entry.amount, decimals),
    fee: formatDecimal(entry.fee, decimals),
    balance: formatDecimal(entry.balance, decimals),
  };
}

function tradeVolume(call: PrivateCall): unknown {
  let volume = 0n;
  for (const trade of call.account.trades) volume += trade.cost;
  const pairs = call.fields.text('pair')?.split(',').map(findPair) ?? [];
  const fees = (percent: string): Record<string, unknown> =>
    Object.fromEntries(
      pairs.map(({ name }) => [
        name,
        {
          fee: percent,
          minfee: '0.0800',
          maxfee: percent,
          nextfee: null,
          tiervolume: '0.0000',
          nextvolume: null,
        },
      ]),
    );
  const known = { currency: 'ZUSD', volume: formatDecimal(volume, 4) };
  if (pairs.length === 0) return known;
  return { ...known, fees: fees(TAKER_FEE_PERCENT), fees_maker: fees(MAKER_FEE_PERCENT) };
}

function idList(text: string): readonly string[] {
  const ids = text.split(',').map((id) => id.trim());
  if (ids.length > PAGE) throw invalidArguments('txid');
  return ids;
}

/** `start` (exclusive) and `end` (inclusive), Unix seconds; txids in their place are not supported. */
function spanFilter(call: PrivateCall): (timeMs: number) => boolean {
  const start = unixSeconds(call, 'start') ?? 0;
  const end = unixSeconds(call, 'end') ?? Infinity;
  return (timeMs) => timeMs > start * 1000 && timeMs <= end * 1000;
}

function unixSeconds(call: PrivateCall, name: string): number | undefined {
  const text = call.fields.text(name);
  if (text === undefined) return undefined;
  if (!/^\d{1,12}(?:\.\d+)?$/.test(text)) throw invalidArguments(name);
  return Number(text);
}

/** Newest first, 50 from `ofs` on. */
function newestPage<T>(call: PrivateCall, oldestFirst: readonly T[]): readonly T[] {
  const end = oldestFirst.length - (call.fields.integer('ofs', 0, Number.MAX_SAFE_INTEGER) ?? 0);
  return end <= 0 ? [] : oldestFirst.slice(Math.max(0, end - PAGE), end).reverse();
}
