import { isExcused, reasonOf, storyOf, unknownAnswers } from './verdict.mjs';

/** @typedef {import('./verdict.mjs').Evidence} Evidence */

const ORDER_CALLS = new Set(['AddOrder', 'AddOrderBatch', 'AmendOrder', 'EditOrder']);
/** Unknown outcomes that are told in full. */
const MOST_TOLD = 5;

/**
 * The table of figures.
 * @param {Evidence} evidence
 * @param {{ seconds: number, kills: number, violations: number }} run
 */
export function reportOf(evidence, { seconds, kills, violations }) {
  const { book, sandbox, trouble, log } = evidence;
  const attempts = book.calls.flatMap((call) => call.attempts);
  const answered = attempts.filter(({ answer }) => answer !== undefined);
  const latencies = answered.map(({ ms }) => ms).sort((a, b) => a - b);
  const quantile = (/** @type {number} */ share) => latencies[Math.ceil(latencies.length * share) - 1] ?? NaN;
  const told = tally(book.orders.map(({ told }) => told.kind));
  const orderCalls = book.calls.filter(({ endpoint }) => ORDER_CALLS.has(endpoint)).length;
  const arrived = sandbox.received.filter(({ endpoint }) => ORDER_CALLS.has(endpoint ?? '')).length;
  const unknown = unknownAnswers(book);
  const unexcused = unknown.filter(({ call, attempt }) => !isExcused(evidence, call, attempt));
  const failures = tally(attempts.map(({ failure }) => failure).filter((failure) => failure !== undefined));
  const errors = tally(answered.map(({ answer }) => answer?.code ?? '').filter((code) => code !== ''));
  const late = sandbox.received.filter(({ error }) => error === 'EAPI:Invalid nonce').length;
  /** @type {[string, string | number][]} */
  const rows = [
    ['orders', book.orders.length],
    [
      '… told placed / not placed / not told',
      `${told.done ?? 0} / ${told['not-done'] ?? 0} / ${told.unknown ?? 0}`,
    ],
    [
      'calls of the bots',
      `${book.calls.length}: ${listed(tally(book.calls.map(({ endpoint }) => endpoint)))}`,
    ],
    ['… by id', listed(tally(book.calls.map(({ id }) => id)))],
    ['private calls that reached Kraken', sandbox.received.length],
    [
      'faults',
      `${[...trouble.counts.values()].reduce((sum, one) => sum + one, 0)}: ${listed(Object.fromEntries(trouble.counts))}`,
    ],
    ['kills', kills],
    [
      'lost replies settled',
      listed(tally(log.map(({ settled }) => settled).filter((one) => one !== undefined))),
    ],
    ['answers replayed', answered.filter(({ answer }) => answer?.isReplayed).length],
    ['order calls sent to Kraken again', Math.max(0, arrived - orderCalls)],
    ['errors of the proxy', listed(errors)],
    ['outcome unknown', `${unknown.length}, ${unexcused.length} of them though Kraken could be asked`],
    [
      '… why',
      listed(tally(unknown.map(({ call, attempt }) => `"${call.endpoint}: ${reasonOf(evidence, attempt)}"`))),
    ],
    ['connections lost by bots', listed(failures)],
    ['late calls refused for their nonce', `${late} of ${trouble.counts.get('late') ?? 0}`],
    [
      'most in flight on a key',
      Math.max(...new Set(sandbox.received.map(({ key }) => sandbox.maxInFlightOf(key ?? '')))),
    ],
    ['… not orphaned by a fault', 1 + Math.min(1, trouble.overlaps.length)],
    ['duration', `${seconds.toFixed(1)} s`],
    ['answers after, p50 / p99', `${quantile(0.5).toFixed(1)} / ${quantile(0.99).toFixed(0)} ms`],
    ['violations', violations],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  const table = rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n');
  const stories = [...new Set(unknown.map(({ call }) => call))]
    .slice(0, MOST_TOLD)
    .map((call) => `\nits outcome was unknown for a while:\n${storyOf(evidence, call)}`);
  return `${table}\n${stories.join('\n')}\n`;
}

/** @param {readonly string[]} words @returns {Record<string, number>} */
function tally(words) {
  /** @type {Record<string, number>} */
  const counts = {};
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1;
  return counts;
}

/** @param {Record<string, number>} counts */
function listed(counts) {
  const entries = Object.entries(counts).sort(([, a], [, b]) => b - a);
  return entries.map(([name, count]) => `${name} ${count}`).join(', ') || 'none';
}
