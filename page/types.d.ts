/** What the admin API sends (`GET /v1/openapi.json` describes it). Times are ISO texts unless a name says otherwise. */

export interface Hold {
  account?: string;
  client?: string;
  mode: 'pause' | 'cancel-only' | 'freeze';
  since: string;
  who: string;
  why: string;
}

export type Severity = 'error' | 'warning' | 'info';

export interface Finding {
  account: string | null;
  code: string;
  severity: Severity;
  text: string;
  fix: string;
  since: string;
}

export interface Counter {
  level: number;
  max: number;
  decayPerSecond?: number;
}

export interface Breaker {
  open: boolean;
  why: 'key' | 'signature' | 'lockout' | null;
  /** Until the next probe. */
  seconds: number;
}

export interface Account {
  name: string;
  tier: string;
  fingerprint: string;
  waiting: number;
  callCounter: Counter;
  engineCounter: Counter;
  breaker: Breaker;
  hold: Hold | null;
  keyFloor: string | null;
}

export interface Lane {
  name: string;
  inFlight: number;
  waiting: number;
  byClass: Record<string, number>;
}

export interface Client {
  name: string;
  waiting: number;
  hold: Hold | null;
}

export interface Status {
  version: string;
  startedAt: string;
  now: string;
  upstream: string;
  mode: 'global' | 'key';
  ready: boolean;
  reasons: { reason: string; detail: string }[];
  findings: Finding[];
  krakenStatus: string | null;
  startupWindow: { open: boolean };
  nonce: {
    floor: string | null;
    leadSeconds: number;
    perSecond: number;
    burst: number;
    issued: number;
    problem: string | null;
  };
  lanes: Lane[];
  accounts: Account[];
  clients: Client[];
  hold: Hold | null;
  clockOffsetSeconds: number;
  calls: { total: number; executed: number; refused: number; unknown: number; notSent: number };
  journal: {
    file: string;
    lines: number;
    lost: number;
    problem: string | null;
    head: string | null;
    bytes: number;
  } | null;
  config: { file: string; loadedAt: string; warnings: string[] };
}

export interface Call {
  at: string;
  requestId: string;
  client: string;
  account: string;
  endpoint: string;
  outcome: 'executed' | 'refused' | 'unknown' | 'not-sent';
  nonce: string | null;
  waitMs: number | null;
  upstreamMs: number | null;
  totalMs: number;
  status: number | null;
  krakenError: string | null;
  error: string | null;
  reason: string | null;
  rule: string | null;
  txids: string[];
  settled: string | null;
  replayed: boolean;
  merged: boolean;
  hungUp: boolean;
}

/** The last hour, second by second, oldest first. */
export interface HistoryReply {
  /** Unix seconds of the first entry. */
  from: number;
  seconds: number;
  calls: number[];
  errors: number[];
  waitMs: (number | null)[];
  waitMaxMs: (number | null)[];
  upstreamMs: (number | null)[];
  upstreamMaxMs: (number | null)[];
}

export interface Second {
  /** Unix seconds. */
  at: number;
  calls: number;
  errors: number;
  waitMs: number | null;
  waitMaxMs: number | null;
  upstreamMs: number | null;
  upstreamMaxMs: number | null;
}

export interface Tick {
  status: Status;
  second: Second;
  calls: Call[];
  skipped: number;
}

export interface Plan {
  plan: string;
  account: string | null;
  cause: string;
  from: string;
  to: string;
  distanceSeconds: number;
  leadSeconds: number;
  meaning: string;
  expiresAt: string;
}

/** What the acts answer, all in one: each answers its own part. */
export interface ActReply extends Partial<Plan> {
  holds?: Hold[];
  dropped?: number;
  open?: boolean;
  floor?: string;
  changed?: string[];
  needsRestart?: string[];
  findings?: Finding[];
  stopping?: boolean;
}

/** Whether the page hears from the proxy. */
export interface Connection {
  state: 'connecting' | 'live' | 'lost';
  /** Unix ms from which it is so; while lost, of the last that was heard. */
  since: number;
  /** Why the proxy refuses the page, in its own words. */
  refusal?: string;
}
