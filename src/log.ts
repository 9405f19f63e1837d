import type { Writable } from 'node:stream';
import { pino, type DestinationStream, type Logger } from 'pino';
import type { ErrorCode } from './errors.js';

export type Log = Logger;

/** The outcome of a call as logs and metrics name it. */
export type CallOutcome = 'executed' | 'refused' | 'unknown' | 'not-sent';

/** Everything that is ever said about one call. No key, signature, otp, body or reply is among it. */
export interface CallRecord {
  readonly requestId: string;
  /** When it arrived, unix ms. */
  readonly arrivedAt: number;
  client: string;
  account: string;
  /** The endpoint's bounded label. */
  endpoint: string;
  /** The last one drawn for it, decimal text. */
  nonce: string | undefined;
  /** All that were drawn for it. */
  sends: Send[];
  /** Fingerprint of the key that signed it last. */
  key: string | undefined;
  /**
   * The bytes that left last, else those that came: for the journal's digest, and nothing else. Those that came also where
   * the proxy adds a one-time password: from the digest of a body that is known but for it, it could be guessed.
   */
  body: Buffer | undefined;
  /** The transactions that Kraken's answer names. */
  txids: readonly string[];
  /** Time in the lane, ms. */
  waitMs: number | undefined;
  /** From the first byte out to the last byte in, ms. */
  upstreamMs: number | undefined;
  /** Whole call inside the proxy, ms. */
  totalMs: number;
  outcome: CallOutcome;
  /** HTTP status of Kraken's reply. */
  status: number | undefined;
  /** Kraken's error text. */
  krakenError: string | undefined;
  /** The proxy's own error. */
  ownError: ErrorCode | undefined;
  reason: string | undefined;
  /** The rule of the client's policy that refused the call. */
  rule: string | undefined;
  /** What rules in report mode would have refused. */
  reported: readonly ReportedRule[];
  /** The client hung up before its answer. */
  hungUp: boolean;
  /** What became of a call whose reply was lost. */
  settled: 'done' | 'not-done' | 'untold' | undefined;
  /** Answered with the answer to an earlier call of the same id. */
  isReplayed: boolean;
  /** Answered together with an equal read. */
  isMerged: boolean;
}

/** A nonce drawn for a call. */
export interface Send {
  /** Rises by one with every nonce of this run of the process. */
  readonly draw: number;
  /** Decimal text. */
  readonly nonce: string;
}

export interface ReportedRule {
  readonly rule: string;
  readonly reason: string;
}

/** A call of which nothing is known yet but that it arrived. */
export function newCallRecord(requestId: string, endpoint: string): CallRecord {
  return {
    requestId,
    arrivedAt: Date.now(),
    client: 'unknown',
    account: 'unknown',
    endpoint,
    nonce: undefined,
    sends: [],
    key: undefined,
    body: undefined,
    txids: [],
    waitMs: undefined,
    upstreamMs: undefined,
    totalMs: 0,
    outcome: 'not-sent',
    status: undefined,
    krakenError: undefined,
    ownError: undefined,
    reason: undefined,
    rule: undefined,
    reported: [],
    hungUp: false,
    settled: undefined,
    isReplayed: false,
    isMerged: false,
  };
}

export interface LogOptions {
  readonly level: string;
  readonly destination: DestinationStream;
}

/** JSON lines with ISO times. */
export function createLog({ level, destination }: LogOptions): Log {
  return pino({ level, base: null, timestamp: createTimestamp() }, destination);
}

const FLUSH_MS = 100;
const FLUSH_LINES = 256;
/** A reader that stands still costs so much memory, then lines. */
const MAX_UNREAD_BYTES = 16 * 1024 * 1024;

/** Where log lines go. */
export interface LogOutput extends DestinationStream {
  /** Resolves when all lines are out, or after `patienceMs`: a reader that stands still must not hold up an exit. */
  flush(patienceMs: number): Promise<void>;
}

/**
 * Lines gathered for a stream (standard output), so that a line costs a call no system call of its own; at most
 * 100 ms late. When nobody reads them any more (a closed or a full pipe), lines are lost: trading does not stop
 * for its log. pino's own destination is not used, because its last flush blocks the exit on a full pipe.
 */
export function createLogOutput(stream: Writable, format: (line: string) => string = asItIs): LogOutput {
  stream.on('error', () => undefined);
  let lines: string[] = [];
  let timer: NodeJS.Timeout | undefined;
  const pass = (done?: () => void): void => {
    clearTimeout(timer);
    timer = undefined;
    const text = stream.writableLength > MAX_UNREAD_BYTES ? '' : lines.map(format).join('');
    lines = [];
    if (text !== '' || done !== undefined) stream.write(text, done);
  };
  return {
    write: (line) => {
      if (lines.push(line) >= FLUSH_LINES) pass();
      else timer ??= setTimeout(pass, FLUSH_MS);
    },
    flush: (patienceMs) =>
      new Promise((resolve) => {
        setTimeout(resolve, patienceMs).unref();
        pass(resolve);
      }),
  };
}

function asItIs(line: string): string {
  return line;
}

/** ISO times, made once a millisecond: under load many lines share one. */
function createTimestamp(): () => string {
  let made = 0;
  let text = '';
  return () => {
    const now = Date.now();
    if (now !== made) {
      made = now;
      text = `,"time":"${new Date(now).toISOString()}"`;
    }
    return text;
  };
}

/** The canonical line of a call: one line, every fact, whatever its end. */
export function logCall(log: Log, call: CallRecord): void {
  const line = {
    requestId: call.requestId,
    client: call.client,
    account: call.account,
    endpoint: call.endpoint,
    outcome: call.outcome,
    nonce: call.nonce,
    waitMs: rounded(call.waitMs),
    upstreamMs: rounded(call.upstreamMs),
    totalMs: rounded(call.totalMs),
    status: call.status,
    krakenError: call.krakenError,
    error: call.ownError,
    rule: call.rule,
    reason: call.reason,
    reported: call.reported.length === 0 ? undefined : call.reported,
    hungUp: call.hungUp || undefined,
    settled: call.settled,
    replayed: call.isReplayed || undefined,
    merged: call.isMerged || undefined,
  };
  if (call.ownError === undefined && call.outcome !== 'unknown' && call.reported.length === 0)
    log.info(line, 'call');
  else log.warn(line, 'call');
}

function rounded(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : Math.round(ms * 1_000) / 1_000;
}
