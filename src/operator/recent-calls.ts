import type { CallRecord } from '../log.js';

/** What the operator sees of one call. */
export interface CallView {
  /** When it arrived, ISO 8601. */
  readonly at: string;
  readonly requestId: string;
  readonly client: string;
  readonly account: string;
  readonly endpoint: string;
  readonly outcome: CallRecord['outcome'];
  readonly nonce: string | null;
  readonly waitMs: number | null;
  readonly upstreamMs: number | null;
  readonly totalMs: number;
  readonly status: number | null;
  readonly krakenError: string | null;
  /** The proxy's own error. */
  readonly error: string | null;
  readonly reason: string | null;
  readonly rule: string | null;
  readonly txids: readonly string[];
  readonly settled: 'done' | 'not-done' | 'untold' | null;
  readonly replayed: boolean;
  readonly merged: boolean;
  readonly hungUp: boolean;
}

/** The calls that ended since somebody looked last. */
export interface NewCalls {
  /** Calls ever told of, to ask with the next time. */
  readonly count: number;
  /** Newest first. */
  readonly calls: readonly CallView[];
  /** New ones that are no longer kept. */
  readonly skipped: number;
}

type Kept = Pick<
  CallRecord,
  | 'client'
  | 'account'
  | 'endpoint'
  | 'outcome'
  | 'nonce'
  | 'waitMs'
  | 'upstreamMs'
  | 'totalMs'
  | 'status'
  | 'krakenError'
  | 'ownError'
  | 'reason'
  | 'rule'
  | 'txids'
  | 'settled'
  | 'isReplayed'
  | 'isMerged'
  | 'hungUp'
> & { requestId: string; arrivedAt: number };

const KEPT_CALLS = 200;

/**
 * The calls that ended last, as many as a screen shows. It is told of every call: their facts are written over those
 * of the call before in the same place, and nothing of a call's body is kept.
 */
export class RecentCalls {
  readonly #ring: Kept[] = Array.from({ length: KEPT_CALLS }, nothing);
  #count = 0;

  /** A call has ended. */
  add(call: Readonly<Kept>): void {
    const kept = this.#ring[this.#count % KEPT_CALLS];
    this.#count++;
    if (kept === undefined) return; // the ring is full of places from the start
    kept.requestId = call.requestId;
    kept.arrivedAt = call.arrivedAt;
    kept.client = call.client;
    kept.account = call.account;
    kept.endpoint = call.endpoint;
    kept.outcome = call.outcome;
    kept.nonce = call.nonce;
    kept.waitMs = call.waitMs;
    kept.upstreamMs = call.upstreamMs;
    kept.totalMs = call.totalMs;
    kept.status = call.status;
    kept.krakenError = call.krakenError;
    kept.ownError = call.ownError;
    kept.reason = call.reason;
    kept.rule = call.rule;
    kept.txids = call.txids;
    kept.settled = call.settled;
    kept.isReplayed = call.isReplayed;
    kept.isMerged = call.isMerged;
    kept.hungUp = call.hungUp;
  }

  /** Newest first, 200 at most. */
  view(limit = KEPT_CALLS): CallView[] {
    const length = Math.min(limit, this.#count, KEPT_CALLS);
    return Array.from({ length }, (_, back) =>
      viewOf(this.#ring[(this.#count - 1 - back) % KEPT_CALLS] ?? nothing()),
    );
  }

  /** The calls after the first `count` ever; of more than 200 the newest. From Infinity on there are none. */
  since(count: number): NewCalls {
    const fresh = Math.max(0, this.#count - count);
    const calls = this.view(fresh);
    return { count: this.#count, calls, skipped: fresh - calls.length };
  }
}

function viewOf(call: Kept): CallView {
  return {
    at: new Date(call.arrivedAt).toISOString(),
    requestId: call.requestId,
    client: call.client,
    account: call.account,
    endpoint: call.endpoint,
    outcome: call.outcome,
    nonce: call.nonce ?? null,
    waitMs: rounded(call.waitMs),
    upstreamMs: rounded(call.upstreamMs),
    totalMs: rounded(call.totalMs) ?? 0,
    status: call.status ?? null,
    krakenError: call.krakenError ?? null,
    error: call.ownError ?? null,
    reason: call.reason ?? null,
    rule: call.rule ?? null,
    txids: call.txids,
    settled: call.settled ?? null,
    replayed: call.isReplayed,
    merged: call.isMerged,
    hungUp: call.hungUp,
  };
}

function nothing(): Kept {
  return {
    requestId: '',
    arrivedAt: 0,
    client: '',
    account: '',
    endpoint: '',
    outcome: 'not-sent',
    nonce: undefined,
    waitMs: undefined,
    upstreamMs: undefined,
    totalMs: 0,
    status: undefined,
    krakenError: undefined,
    ownError: undefined,
    reason: undefined,
    rule: undefined,
    txids: [],
    settled: undefined,
    isReplayed: false,
    isMerged: false,
    hungUp: false,
  };
}

/** To the microsecond. */
function rounded(ms: number | undefined): number | null {
  return ms === undefined ? null : Math.round(ms * 1_000) / 1_000;
}
