const Sequencer = require('@jest/test-sequencer').default;

/** Files that wait for clocks and processes far longer than their size lets jest guess. */
const WAITING = [
  'integration/failures',
  'integration/repeats',
  'integration/pacing',
  'integration/process-two-owners',
  'integration/process-operator',
  'integration/page',
  'integration/page-proxy',
  'integration/doctor',
  'integration/process-lock',
  'integration/tls-abuse',
  'integration/breaker',
  'regressions/hanging-disk-at-a-stop',
  'integration/process-crash',
  'regressions/clock-set-while-settling',
  'integration/dead-man-switch',
  'integration/process-cli',
  'unit/known-answers-properties',
  'unit/durable-lines-properties',
  'integration/process-disk',
  'integration/process-state-file',
  'integration/process-stop',
  'integration/shared-lane',
  'integration/postgres-answers',
  'integration/postgres-nodes',
  'integration/postgres-ledger',
  'integration/postgres-holds',
  'contract/nonces',
];

/**
 * The order of the test files. Where jest has no times of an earlier run, as in a fresh clone, it goes by size, and
 * small files that wait long would come last, one after the other. Here every other file is one of those: what waits
 * runs beside what computes, and what is left for the end is short.
 */
module.exports = class WaitingFirst extends Sequencer {
  sort(tests) {
    const usual = super.sort(tests);
    const rank = ({ path }) => WAITING.findIndex((name) => path.endsWith(`/${name}.test.ts`));
    const waiting = usual.filter((test) => rank(test) >= 0).sort((a, b) => rank(a) - rank(b));
    const others = usual.filter((test) => rank(test) < 0);
    return [
      ...waiting.flatMap((test, index) => [test, ...others.slice(index, index + 1)]),
      ...others.slice(waiting.length),
    ];
  }
};
