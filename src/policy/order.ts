import { ZERO, type Decimal } from './decimal.js';

export type Side = 'buy' | 'sell';

/** Kraken's `ordertype` values, and what each is made of. `trailing`: its prices are distances. */
const TYPES = {
  market: {},
  limit: { limit: 'price' },
  iceberg: { limit: 'price' },
  'stop-loss': { triggered: true },
  'take-profit': { triggered: true },
  'stop-loss-limit': { triggered: true, limit: 'price2' },
  'take-profit-limit': { triggered: true, limit: 'price2' },
  'trailing-stop': { triggered: true, trailing: true },
  'trailing-stop-limit': { triggered: true, trailing: true, limit: 'price2' },
  'settle-position': {},
} as const satisfies Record<string, OrderTypeParts>;

interface OrderTypeParts {
  /** `price` is what starts it. */
  readonly triggered?: true;
  readonly trailing?: true;
  /** Which field holds its limit price; none: it takes what the market gives. */
  readonly limit?: 'price' | 'price2';
}

export type OrderType = keyof typeof TYPES;

export const ORDER_TYPES = Object.keys(TYPES) as readonly OrderType[];

export function isOrderType(text: string): text is OrderType {
  return Object.hasOwn(TYPES, text);
}

export function partsOf(type: OrderType): OrderTypeParts {
  return TYPES[type];
}

/** A price as Kraken takes it: a value, or a distance (`+5`, `-5`, `#5`, `+5%`) to a price it refers to. */
export interface PriceTerm {
  readonly value: Decimal;
  readonly isDistance: boolean;
  readonly inPercent: boolean;
}

/** What trades by itself: an order, or the conditional close that its execution places. */
export interface Leg {
  readonly side: Side;
  readonly type: OrderType;
  readonly price: PriceTerm | undefined;
  readonly price2: PriceTerm | undefined;
}

/** An order as a client asks for it, or as it stands once it is changed. */
export interface Order extends Leg {
  /** Undefined: none is given, or 0, with which Kraken closes a whole position. */
  readonly volume: Decimal | undefined;
  /** What has traded already. */
  readonly executed: Decimal;
  /** The volume is in the quote currency (oflags `viqc`). */
  readonly volumeInQuote: boolean;
  readonly reduceOnly: boolean;
  /** It is asked for in a way that never takes from the book. */
  readonly postOnly: boolean;
  readonly close: Leg | undefined;
}

/** A volume, or undefined for none and for 0. */
export function volumeAbove0(volume: Decimal | undefined): Decimal | undefined {
  return volume?.isGreaterThan(ZERO) === true ? volume : undefined;
}
