import { z } from 'zod';

export interface Bounds {
  readonly unit: string;
  readonly min: number;
  readonly max: number;
  readonly otherwise: number;
}

/** A whole number within bounds, which its description names. */
export function whole(description: string, { unit, min, max, otherwise }: Bounds): z.ZodDefault<z.ZodInt> {
  return z
    .int({ error: `a whole number${unit === '' ? '' : ` of ${unit}`}, ${min} to ${max}` })
    .min(min)
    .max(max)
    .default(otherwise)
    .describe(`${description} ${min} to ${max}; default ${otherwise}.`);
}

/** A number within bounds that need not be whole. */
export function decimalNumber(
  description: string,
  { unit, min, max, otherwise }: Bounds,
): z.ZodDefault<z.ZodNumber> {
  return z
    .number({ error: `a number${unit === '' ? '' : ` of ${unit}`}, ${min} to ${max}` })
    .min(min)
    .max(max)
    .default(otherwise)
    .describe(`${description} ${min} to ${max}; default ${otherwise}.`);
}
