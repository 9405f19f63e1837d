import { parseDecimal, roundedUp, type Decimal } from '../decimal.js';
import { Doubt, printable } from '../verdict.js';

/** The value of a limit in the config. Throws an Error: the config should not have taken it. */
export function limitOf(name: string, text: string): Decimal {
  const value = parseDecimal(text);
  if (value === undefined)
    throw new Error(`orders.${name}: ${printable(text)} is not a plain decimal number`);
  return value;
}

/** Limits by quote currency. */
export type QuoteLimits = ReadonlyMap<string, Decimal>;

export function quoteLimitsOf(name: string, limits: Readonly<Record<string, string>>): QuoteLimits {
  return new Map(Object.entries(limits).map(([quote, text]) => [quote, limitOf(name, text)]));
}

/** The limit for a quote currency. Throws Doubt when there is none: the order is refused. */
export function limitFor(limits: QuoteLimits, quote: string): Decimal {
  const limit = limits.get(quote);
  if (limit === undefined) throw new Doubt(`there is no limit for the quote currency ${printable(quote)}`);
  return limit;
}

/** An amount for a reason: never shown as less than it is. */
export function shown(amount: Decimal): string {
  return printable(roundedUp(amount).toFixed(), 48);
}
