// Decimals compared as text and integers: exact, and without a decimal library.

interface Scaled {
  readonly digits: bigint;
  readonly places: number;
}

const PLAIN = /^\d{1,40}(?:\.\d{1,40})?$/;

/** From here on a decimal is as fine as Kraken's lots, and what a client wrote beyond is cut off. */
const LOT_PLACES = 8;

/** `12`, `0.5`; no sign, no exponent, no blanks. */
export function isPlainDecimal(text: string): boolean {
  return PLAIN.test(text);
}

/**
 * Whether an amount that Kraken tells is the one that was asked for, `1.5` being `1.50000000`; undefined when one of
 * them is no plain decimal (a relative price, an exponent) and they cannot be compared.
 */
export function sameDecimal(asked: string, told: string): boolean | undefined {
  const a = scaled(asked.includes('.') ? asked.replace(/0+$/, '').replace(/\.$/, '') : asked);
  const b = scaled(told);
  if (a === undefined || b === undefined) return undefined;
  if (a.places <= b.places) return a.digits * 10n ** BigInt(b.places - a.places) === b.digits;
  if (b.places < LOT_PLACES) return false;
  // Whether Kraken cuts or rounds is not documented.
  const cut = a.digits / 10n ** BigInt(a.places - b.places);
  return b.digits === cut || b.digits === cut + 1n;
}

/** Whether two amounts add up to a third; undefined when one of them is no plain decimal. */
export function addsUp(first: string, second: string, sum: string): boolean | undefined {
  const all = [first, second, sum].map(scaled);
  const places = Math.max(...all.map((one) => one?.places ?? 0));
  const [a, b, c] = all.map((one) => one && one.digits * 10n ** BigInt(places - one.places));
  return a === undefined || b === undefined || c === undefined ? undefined : a + b === c;
}

function scaled(text: string): Scaled | undefined {
  if (!isPlainDecimal(text)) return undefined;
  const [whole = '', fraction = ''] = text.split('.');
  return { digits: BigInt(whole + fraction), places: fraction.length };
}
