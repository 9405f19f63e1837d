import type { CallPathEvents } from './call-path.js';
import type { Journal } from './journal/journal.js';
import { errorClass } from './kraken/outcome.js';
import { logCall, type CallRecord, type Log } from './log.js';
import type { Metrics } from './metrics.js';
import type { CallHistory } from './operator/call-history.js';
import type { RecentCalls } from './operator/recent-calls.js';

/** All who are told what happens. */
export interface Listeners {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly history: CallHistory;
  readonly recent: RecentCalls;
  /** Undefined while none is kept. */
  readonly journal: () => Journal | undefined;
  /** Kraken has called every nonce of a call invalid. */
  readonly onInvalidNonce: (account: string, nonce: string) => void;
}

/** Tells log, metrics, page and journal what happens on the path of calls. */
export function createEvents(parts: Listeners): CallPathEvents {
  const { log, metrics, history, recent, journal } = parts;
  return {
    record: (call) => {
      metrics.call(call, upstreamErrorOf(call));
      history.add(call);
      recent.add(call);
      journal()?.call(call);
      logCall(log, call);
    },
    breaker: (account, state) => {
      journal()?.note('breaker', { account, state });
      if (state === 'closed') log.info({ account }, 'Kraken takes this key again');
      else log.error({ account, why: state }, 'the key is not used for a while: Kraken turns it away');
    },
    settled: (account, { kind, ...told }) => {
      const reason = 'reason' in told ? told.reason : undefined;
      metrics.settled(account, kind);
      journal()?.note('settled', { account, settled: kind, ...(reason === undefined ? {} : { reason }) });
      log.warn({ account, settled: kind, reason }, 'a call whose reply was lost');
    },
    skew: (offsetMs) =>
      log.error(
        { offsetMs },
        "this machine's clock and Kraken's differ: set it (NTP), deadlines depend on it",
      ),
    invalidNonce: (account, nonce) => {
      parts.onInvalidNonce(account, nonce);
      journal()?.note('invalid-nonce', { account, nonce });
      log.error(
        { account, nonce },
        'Kraken calls our nonces invalid: another program has used a higher one on this key. Look for a bot that has ' +
          'this key still, with a clock that is ahead or a larger unit; then nonce jump raises ours above it',
      );
    },
    trouble: (what, error) => log.error({ err: error }, `not kept, or not done: ${what}`),
  };
}

/** Kraken's class of the error a call ended with; undefined when it ended well or never left. */
function upstreamErrorOf(call: CallRecord): string | undefined {
  if (call.krakenError?.startsWith('E') === true) return errorClass(call.krakenError);
  if (call.upstreamMs === undefined) return undefined;
  return call.ownError !== undefined || call.outcome === 'unknown' ? 'transport' : undefined;
}
