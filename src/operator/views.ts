/** What the operator's API and page show of the running proxy. Times are ISO 8601 in UTC, nonces decimal text. */

/** What an operator, or the twin alarm, holds back: everything, one account, or one client. */
export interface HoldView {
  readonly account?: string;
  readonly client?: string;
  readonly mode: 'pause' | 'cancel-only' | 'freeze';
  readonly since: string;
  readonly who: string;
  readonly why: string;
}

/** What the key doctor found. */
export interface FindingView {
  /** null: about no account, such as the machine's clock. */
  readonly account: string | null;
  readonly code: string;
  readonly severity: 'error' | 'warning' | 'info';
  readonly text: string;
  /** What to do about it. */
  readonly fix: string;
  readonly since: string;
}

export interface LaneView {
  readonly name: string;
  readonly inFlight: number;
  readonly waiting: number;
  readonly byClass: Readonly<Record<string, number>>;
}

export interface AccountView {
  readonly name: string;
  readonly tier: string;
  readonly fingerprint: string;
  readonly waiting: number;
  readonly callCounter: { readonly level: number; readonly max: number; readonly decayPerSecond: number };
  readonly engineCounter: { readonly level: number; readonly max: number };
  readonly breaker: {
    readonly open: boolean;
    readonly why: 'key' | 'signature' | 'lockout' | null;
    /** Until the next probe. */
    readonly seconds: number;
  };
  readonly hold: HoldView | null;
  /** The key's own floor, where it needs one above the common floor. */
  readonly keyFloor: string | null;
}

export interface ClientView {
  readonly name: string;
  readonly waiting: number;
  readonly hold: HoldView | null;
}

/** Everything the operator sees at a glance. */
export interface Status {
  readonly version: string;
  readonly startedAt: string;
  readonly now: string;
  /** `sandbox`, or an origin. */
  readonly upstream: string;
  readonly mode: 'global' | 'key';
  readonly ready: boolean;
  readonly reasons: readonly { readonly reason: string; readonly detail: string }[];
  readonly findings: readonly FindingView[];
  /** Kraken's word about itself; null while it was not asked. */
  readonly krakenStatus: string | null;
  readonly startupWindow: { readonly open: boolean };
  readonly nonce: {
    readonly floor: string | null;
    /** Floor ahead of the clock. */
    readonly leadSeconds: number;
    readonly perSecond: number;
    /** Most in one second of the last minute. */
    readonly burst: number;
    /** Since the start. */
    readonly issued: number;
    /** Why none is issued. */
    readonly problem: string | null;
  };
  readonly lanes: readonly LaneView[];
  readonly accounts: readonly AccountView[];
  readonly clients: readonly ClientView[];
  /** On everything. */
  readonly hold: HoldView | null;
  readonly clockOffsetSeconds: number;
  /** Since the start, as in `calls_total`. */
  readonly calls: {
    readonly total: number;
    readonly executed: number;
    readonly refused: number;
    readonly unknown: number;
    readonly notSent: number;
  };
  readonly journal: {
    readonly file: string;
    readonly lines: number;
    readonly lost: number;
    readonly problem: string | null;
    /** Hash of the last line, hex. */
    readonly head: string | null;
    readonly bytes: number;
  } | null;
  readonly config: {
    readonly file: string;
    readonly loadedAt: string;
    readonly warnings: readonly string[];
  };
}

/** What a jump of the nonces would do; applied only by its id. */
export interface NonceJumpPlan {
  readonly plan: string;
  /** null: all keys. */
  readonly account: string | null;
  readonly cause: string;
  readonly from: string;
  readonly to: string;
  readonly distanceSeconds: number;
  /** Of the new floor over the clock. */
  readonly leadSeconds: number;
  /** What becomes of the key. */
  readonly meaning: string;
  readonly expiresAt: string;
}
