import { printFindings } from '../../src/cli/doctor.js';
import { CheckFailed, type Terminal } from '../../src/cli/terminal.js';
import type { KeyFinding } from '../../src/doctor/findings.js';

const WARNING: KeyFinding = {
  account: 'master',
  code: 'ip-open',
  severity: 'warning',
  text: 'the key has no IP allow-list: a stolen secret can be used from everywhere, by everybody who has it and wants to',
  fix: "put our address on the key's list",
  since: 0,
};
const ERROR: KeyFinding = {
  ...WARNING,
  code: 'key-unknown',
  severity: 'error',
  text: 'Kraken does not know this key',
};
const CLOCK: KeyFinding = { ...WARNING, account: undefined, code: 'clock-off', text: 'the clock is off' };

function print(
  findings: readonly KeyFinding[],
  accounts: readonly string[],
): { lines: string[]; failure: unknown } {
  const lines: string[] = [];
  const terminal: Terminal = {
    print: (line) => void lines.push(line),
    confirm: async () => await Promise.resolve(false),
    now: () => 0,
  };
  try {
    printFindings(findings, accounts, terminal);
  } catch (failure) {
    return { lines, failure };
  }
  return { lines, failure: undefined };
}

it('findings are a table, with what to do, and keys without any are ok', () => {
  const { lines, failure } = print([CLOCK, WARNING], ['master', 'alice']);
  expect(failure).toBeUndefined();
  expect(lines).toEqual([
    'ACCOUNT  SEVERITY  CODE       WHAT IS, AND WHAT TO DO',
    '-        warning   clock-off  the clock is off',
    "                              Fix: put our address on the key's list",
    'master   warning   ip-open    the key has no IP allow-list: a stolen secret can be used from',
    '                              everywhere, by everybody who has it and wants to',
    "                              Fix: put our address on the key's list",
    'alice    ok',
  ]);
});

it('an error fails the check, after everything was printed', () => {
  const { lines, failure } = print([ERROR, WARNING], ['master', 'alice']);
  expect(failure).toBeInstanceOf(CheckFailed);
  expect((failure as Error).message).toBe('the doctor has found an error');
  expect(lines.at(-1)).toMatch(/^alice +ok$/);
  expect((print([ERROR, ERROR], []).failure as Error).message).toBe('the doctor has found 2 errors');
});

it('nothing found is said of every account', () => {
  expect(print([], ['master', 'alice'])).toEqual({
    lines: ['ACCOUNT  SEVERITY  CODE  WHAT IS, AND WHAT TO DO', 'master   ok', 'alice    ok'],
    failure: undefined,
  });
});
