import type { KeyFinding } from '../doctor/findings.js';
import { CheckFailed, CheckUnfinished, type Terminal } from './terminal.js';

/** Of a line: a terminal's usual width is 80, most are wider. */
const WIDTH = 100;
/** Words are not broken up into less than this, however long the names are. */
const LEAST_WORDS = 40;
const GAP = '  ';

/**
 * `doctor`: what was found as a table, what to do under each; then the accounts whose keys are well. Throws CheckFailed
 * when there is an error among it, else CheckUnfinished when Kraken has not said how a key is.
 */
export function printFindings(
  findings: readonly KeyFinding[],
  accounts: readonly string[],
  terminal: Terminal,
): void {
  const well = accounts.filter((name) => !findings.some(({ account }) => account === name));
  const rows = [
    ...findings.map((one) => [one.account ?? '-', one.severity, one.code] as const),
    ...well.map((name) => [name, 'ok', ''] as const),
  ];
  const head = ['ACCOUNT', 'SEVERITY', 'CODE'] as const;
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? '').length)),
  );
  const line = (cells: readonly string[], words: string): string =>
    [...cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)), words].join(GAP).trimEnd();
  const left = widths.reduce((sum, width) => sum + width + GAP.length, 0);
  const room = Math.max(LEAST_WORDS, WIDTH - left);
  terminal.print(line(head, 'WHAT IS, AND WHAT TO DO'));
  for (const [index, { text, fix }] of findings.entries()) {
    const [first = '', ...rest] = [...wrap(text, room), ...wrap(`Fix: ${fix}`, room)];
    terminal.print(line(rows[index] ?? [], first));
    for (const more of rest) terminal.print(line(['', '', ''], more));
  }
  for (const row of rows.slice(findings.length)) terminal.print(line(row, ''));
  const errors = findings.filter(({ severity }) => severity === 'error').length;
  if (errors > 0)
    throw new CheckFailed(`the doctor has found ${errors === 1 ? 'an error' : `${errors} errors`}`);
  const unknown = findings.filter(({ code }) => code === 'not-examined').length;
  if (unknown > 0)
    throw new CheckUnfinished(`${unknown === 1 ? 'a key' : `${unknown} keys`} could not be examined`);
}

/** A word that is longer than the line stays whole. */
function wrap(text: string, room: number): string[] {
  const lines: string[] = [];
  let current = '';
  for (const word of text.split(' ')) {
    if (current !== '' && current.length + 1 + word.length > room) {
      lines.push(current);
      current = word;
    } else current = current === '' ? word : `${current} ${word}`;
  }
  return [...lines, current];
}
