import { BigNumber } from 'bignumber.js';

/**
 * Exact decimal arithmetic: sums and products keep every digit. Made from decimal text only, by the functions
 * here: BigNumber itself also reads exponents, hex and `Infinity`, and JS numbers have lost digits before.
 */
export type Decimal = BigNumber;

/** Its own copy, so that nobody's settings change it. Only `quotientUp` and `roundedUp` ever round. */
const Exact = BigNumber.clone({
  DECIMAL_PLACES: 20,
  ROUNDING_MODE: BigNumber.ROUND_UP,
  EXPONENTIAL_AT: 1e9,
});

const PLAIN = /^\d{1,20}(?:\.\d{1,20})?$/;
const PLACES = 20;

export const ZERO: Decimal = new Exact('0');
const HUNDREDTH: Decimal = new Exact('0.01');

/** The value of plain decimal text (`12`, `0.5`); undefined for anything else: signs, exponents, blanks, `.5`. */
export function parseDecimal(text: string): Decimal | undefined {
  return PLAIN.test(text) ? new Exact(text) : undefined;
}

/** The value of an amount's own text, longer than what a client may send; undefined for any other text. */
export function parseAmount(text: string): Decimal | undefined {
  return /^\d{1,80}(?:\.\d{1,20})?$/.test(text) ? new Exact(text) : undefined;
}

/** With at most 20 decimals, the rest rounded up; undefined when `parseAmount` could not read its text again. */
export function amountOf(value: Decimal): Decimal | undefined {
  return parseAmount(roundedUp(value).toFixed());
}

export function largest(first: Decimal, ...others: readonly Decimal[]): Decimal {
  return others.reduce((most, one) => (one.isGreaterThan(most) ? one : most), first);
}

export function smallest(first: Decimal, ...others: readonly Decimal[]): Decimal {
  return others.reduce((least, one) => (one.isLessThan(least) ? one : least), first);
}

/** So many percent of a value, exactly. */
export function percentOf(value: Decimal, percent: Decimal): Decimal {
  return value.times(percent).times(HUNDREDTH);
}

/** The quotient with 20 decimals, the rest rounded up. The divisor is not zero. */
export function quotientUp(dividend: Decimal, divisor: Decimal): Decimal {
  return dividend.dividedBy(divisor);
}

/** With at most 20 decimals, the rest rounded up. */
export function roundedUp(value: Decimal): Decimal {
  return value.decimalPlaces(PLACES, BigNumber.ROUND_UP);
}
