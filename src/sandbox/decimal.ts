/** Decimal text as BigInt in units of 1e-10, the finest step of any Kraken balance; never a float. */
export const ONE = 10_000_000_000n;
const PLACES = 10;

const DECIMAL = /^(?:\d{1,20}(?:\.\d*)?|\.\d+)$/;

/**
 * The value of plain decimal text, digits past 1e-10 cut off; undefined for anything else. Exponents,
 * signs and blanks are refused: whether Kraken reads `1e-5` is not confirmed, so nobody should send it.
 */
export function parseDecimal(text: string): bigint | undefined {
  if (!DECIMAL.test(text)) return undefined;
  const dot = text.indexOf('.');
  if (dot < 0) return BigInt(text) * ONE;
  const fraction = text.slice(dot + 1, dot + 1 + PLACES).padEnd(PLACES, '0');
  return BigInt(text.slice(0, dot) || '0') * ONE + BigInt(fraction);
}

/** How many digits stand behind the point. */
export function decimalsOf(text: string): number {
  const dot = text.indexOf('.');
  return dot < 0 ? 0 : text.length - dot - 1;
}

/** Decimal text with exactly so many places (0 to 10), the rest cut off. */
export function formatDecimal(value: bigint, places: number): string {
  const sign = value < 0n ? '-' : '';
  const digits = (value < 0n ? -value : value).toString().padStart(PLACES + 1, '0');
  const whole = digits.slice(0, -PLACES);
  return places === 0 ? sign + whole : `${sign}${whole}.${digits.slice(-PLACES).slice(0, places)}`;
}

/** The product of two scaled values, cut off at 1e-10. */
export function multiply(a: bigint, b: bigint): bigint {
  return (a * b) / ONE;
}

/** The quotient of two scaled values, cut off at 1e-10. */
export function divide(a: bigint, b: bigint): bigint {
  return (a * ONE) / b;
}
