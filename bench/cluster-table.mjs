/**
 * Markdown; all columns but the first are numbers.
 * @param {readonly string[]} heads
 * @param {readonly (readonly string[])[]} rows
 */
export function table(heads, rows) {
  const line = (/** @type {readonly string[]} */ cells) => `| ${cells.join(' | ')} |`;
  const rule = heads.map((_, index) => (index === 0 ? '---' : '---:'));
  return [heads, rule, ...rows].map(line).join('\n');
}

/** @param {number} seconds */
export function us(seconds) {
  return (seconds * 1e6).toFixed(0);
}
