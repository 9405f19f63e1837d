import { formatDecimal } from './decimal.js';
import { COST_DECIMALS, LOT_DECIMALS, type Pair } from './market-data.js';

export const ORDER_TYPES = [
  'market',
  'limit',
  'iceberg',
  'stop-loss',
  'take-profit',
  'stop-loss-limit',
  'take-profit-limit',
  'trailing-stop',
  'trailing-stop-limit',
] as const;

export type OrderType = (typeof ORDER_TYPES)[number];

/** An order as asked for, its arguments found good; amounts scaled (decimal.ts), times in ms. */
export interface OrderDraft {
  readonly pair: Pair;
  readonly side: 'buy' | 'sell';
  readonly ordertype: OrderType;
  /** Limit or trigger price, by type. */
  readonly price: bigint | undefined;
  /** Limit price of the stop-limit and take-profit-limit types. */
  readonly price2: bigint | undefined;
  readonly volume: bigint;
  readonly displayVolume: bigint | undefined;
  readonly cl_ord_id: string | undefined;
  readonly userref: number | undefined;
  readonly oflags: readonly string[];
  readonly timeinforce: 'GTC' | 'IOC' | 'GTD';
  readonly expiresAt: number | undefined;
  /** Kraken's text for a conditional close, empty without one. */
  readonly close: string;
}

export interface Amend {
  readonly id: string;
  readonly type: 'original' | 'user';
  readonly timestampNs: bigint;
  readonly volume: bigint;
  readonly price: bigint | undefined;
}

/** An order that exists. */
export interface Order extends Omit<OrderDraft, 'price' | 'price2' | 'volume' | 'displayVolume' | 'oflags'> {
  readonly txid: string;
  readonly openedAt: number;
  price: bigint | undefined;
  price2: bigint | undefined;
  volume: bigint;
  displayVolume: bigint | undefined;
  oflags: readonly string[];
  status: 'open' | 'closed' | 'canceled' | 'expired';
  reason: string | undefined;
  closedAt: number | undefined;
  filled: bigint;
  cost: bigint;
  fee: bigint;
  averagePrice: bigint;
  /** What it locks while open. */
  held: bigint;
  readonly trades: string[];
  readonly amends: Amend[];
}

/** An order as the sandbox shows it to tests: prices and volumes are decimal text. */
export interface SandboxOrder {
  readonly txid: string;
  readonly cl_ord_id: string | undefined;
  readonly userref: number | undefined;
  readonly status: Order['status'];
  readonly reason: string | undefined;
  /** The pair's altname, `XBTUSD`. */
  readonly pair: string;
  readonly side: 'buy' | 'sell';
  readonly ordertype: OrderType;
  readonly price: string | undefined;
  readonly price2: string | undefined;
  readonly volume: string;
  readonly filled: string;
  readonly oflags: readonly string[];
  readonly timeinforce: Order['timeinforce'];
  /** ms. */
  readonly openedAt: number;
  readonly closedAt: number | undefined;
  readonly amended: number;
}

/** The limit price that an order would trade at or better; undefined for those that take any price. */
export function limitPriceOf(order: Pick<OrderDraft, 'ordertype' | 'price' | 'price2'>): bigint | undefined {
  switch (order.ordertype) {
    case 'limit':
    case 'iceberg':
      return order.price;
    case 'stop-loss-limit':
    case 'take-profit-limit':
    case 'trailing-stop-limit':
      return order.price2;
    case 'market':
    case 'stop-loss':
    case 'take-profit':
    case 'trailing-stop':
      return undefined;
  }
}

/** When the order was made or last amended, ms. */
export function changedAt(order: Order): number {
  const last = order.amends.at(-1);
  return last === undefined ? order.openedAt : Number(last.timestampNs / 1_000_000n);
}

/** Kraken's one-line text of an order: `buy 1.25000000 XBTUSD @ limit 37500.0`. */
export function describeOrder(
  order: Pick<OrderDraft, 'side' | 'volume' | 'pair' | 'ordertype' | 'price' | 'price2'>,
): string {
  const places = order.pair.pairDecimals;
  const parts = [order.side, formatDecimal(order.volume, LOT_DECIMALS), order.pair.altname, '@'];
  parts.push(order.ordertype.replace('-', ' ').replace('-limit', ''));
  if (order.price !== undefined) parts.push(formatDecimal(order.price, places));
  if (order.price2 !== undefined) parts.push('-> limit', formatDecimal(order.price2, places));
  return parts.join(' ');
}

/** An order in the fields of OpenOrders, ClosedOrders and QueryOrders. */
export function orderReply(order: Order, withTrades: boolean): Record<string, unknown> {
  const places = order.pair.pairDecimals;
  return {
    refid: null,
    userref: order.userref ?? 0,
    ...(order.cl_ord_id === undefined ? {} : { cl_ord_id: order.cl_ord_id }),
    status: order.status,
    ...(order.reason === undefined ? {} : { reason: order.reason }),
    opentm: order.openedAt / 1000,
    ...(order.closedAt === undefined ? {} : { closetm: order.closedAt / 1000 }),
    starttm: 0,
    expiretm: order.expiresAt === undefined ? 0 : Math.floor(order.expiresAt / 1000),
    descr: {
      pair: order.pair.altname,
      type: order.side,
      ordertype: order.ordertype,
      price: formatDecimal(order.price ?? 0n, places),
      price2: formatDecimal(order.price2 ?? 0n, places),
      leverage: 'none',
      order: describeOrder(order),
      close: order.close,
    },
    vol: formatDecimal(order.volume, LOT_DECIMALS),
    vol_exec: formatDecimal(order.filled, LOT_DECIMALS),
    cost: formatDecimal(order.cost, COST_DECIMALS),
    fee: formatDecimal(order.fee, COST_DECIMALS),
    price: formatDecimal(order.averagePrice, places),
    stopprice: formatDecimal(0n, places),
    limitprice: formatDecimal(0n, places),
    misc: '',
    oflags: order.oflags.join(','),
    ...(withTrades && order.trades.length > 0 ? { trades: order.trades } : {}),
  };
}

/** An order as tests see it. */
export function orderView(order: Order): SandboxOrder {
  const places = order.pair.pairDecimals;
  return {
    txid: order.txid,
    cl_ord_id: order.cl_ord_id,
    userref: order.userref,
    status: order.status,
    reason: order.reason,
    pair: order.pair.altname,
    side: order.side,
    ordertype: order.ordertype,
    price: order.price === undefined ? undefined : formatDecimal(order.price, places),
    price2: order.price2 === undefined ? undefined : formatDecimal(order.price2, places),
    volume: formatDecimal(order.volume, LOT_DECIMALS),
    filled: formatDecimal(order.filled, LOT_DECIMALS),
    oflags: order.oflags,
    timeinforce: order.timeinforce,
    openedAt: order.openedAt,
    closedAt: order.closedAt,
    amended: order.amends.length - 1,
  };
}
