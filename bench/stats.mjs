/**
 * The value that a share of all lies below; sorts a copy.
 * @param {ArrayLike<number>} values
 * @param {number} share 0 to 1
 */
export function quantile(values, share) {
  const sorted = Float64Array.from(values).sort();
  const rank = Math.max(0, Math.ceil(sorted.length * share) - 1);
  return sorted[rank] ?? NaN;
}

/** @param {ArrayLike<number>} values */
export function median(values) {
  return quantile(values, 0.5);
}
