import type { Price } from '../kraken/market.js';
import { largest, parseDecimal, percentOf, quotientUp, smallest, ZERO, type Decimal } from './decimal.js';
import { partsOf, type Leg, type Order, type PriceTerm } from './order.js';
import { Doubt } from './verdict.js';

/** Asks for the market's price; only called where an order's own terms do not bound its worth. Rejects with Doubt. */
export type AskPrice = () => Promise<Price>;

/** What an order may be worth at most, in the quote currency; its conditional close is an order of its own. */
export interface Worth {
  readonly order: Decimal;
  readonly close: Decimal;
}

/**
 * An upper bound of what an order trades for, as far as today's prices tell: a market that moves before a trigger
 * or a scheduled start is not foreseen. Rejects with Doubt.
 */
export async function worthOf(order: Order, ask: AskPrice): Promise<Worth> {
  const volume = neededVolume(order);
  const top = await highestPrice(order, ask, ZERO);
  const worth = order.volumeInQuote ? volume : volume.times(top);
  if (order.close === undefined) return { order: worth, close: ZERO };
  // The close trades the same quantity; its distances refer to a price that may be as high as the order's own.
  const quantity = await baseVolume(order, ask);
  return { order: worth, close: quantity.times(await highestPrice(order.close, ask, top)) };
}

/** Like `worthOf` for what has not traded yet, of an order without a conditional close. */
export async function worthAhead(order: Order, ask: AskPrice): Promise<Decimal> {
  const open = largest(ZERO, neededVolume(order).minus(order.executed));
  return open.times(await highestPrice(order, ask, ZERO));
}

/** The volume in the base currency, rounded up. Rejects with Doubt. */
export async function baseVolume(order: Order, ask: AskPrice): Promise<Decimal> {
  const volume = neededVolume(order);
  if (!order.volumeInQuote) return volume;
  const { bid, last } = await ask();
  return quotientUp(volume, smallest(priceOf(bid), priceOf(last)));
}

function neededVolume({ volume }: Order): Decimal {
  if (volume === undefined) throw new Doubt('the order names no volume above 0');
  return volume;
}

/** The highest price the leg may trade at; `floor` is one that the market may have by then. */
async function highestPrice(leg: Leg, ask: AskPrice, floor: Decimal): Promise<Decimal> {
  const { limit, triggered, trailing = false } = partsOf(leg.type);
  const limitTerm = limit === undefined ? undefined : neededPrice(leg[limit], 'limit');
  // A buyer never pays more than an absolute limit. For a seller a limit is only the least it takes.
  if (leg.side === 'buy' && limitTerm !== undefined && !limitTerm.isDistance && !trailing) {
    return limitTerm.value;
  }
  const { ask: offered, bid, last } = await ask();
  let top = largest(floor, priceOf(leg.side === 'buy' ? offered : bid), priceOf(last));
  if (triggered === true) top = largest(top, upward(neededPrice(leg.price, 'trigger'), top, trailing));
  if (limitTerm !== undefined) top = largest(top, upward(limitTerm, top, trailing));
  return top;
}

/** A distance is taken upward whatever its sign; a trailing order's prices are distances even without one. */
function upward({ value, isDistance, inPercent }: PriceTerm, from: Decimal, trailing: boolean): Decimal {
  if (!isDistance && !trailing) return value;
  return from.plus(inPercent ? percentOf(from, value) : value);
}

function neededPrice(term: PriceTerm | undefined, what: 'limit' | 'trigger'): PriceTerm {
  if (term === undefined || (!term.isDistance && term.value.isZero())) {
    throw new Doubt(`the order names no ${what} price`);
  }
  return term;
}

function priceOf(text: string): Decimal {
  const price = parseDecimal(text);
  if (price === undefined || price.isZero()) throw new Doubt('the market has no good price');
  return price;
}
