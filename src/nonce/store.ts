/** What must survive a crash: no nonce at or below these may ever be used again. */
export interface NonceState {
  /** Highest nonce that may already have been used, on any key. */
  readonly floor: bigint;
  /** Key fingerprint → its own, higher floor; only for keys that needed one. */
  readonly keyFloors: ReadonlyMap<string, bigint>;
}

/**
 * The port behind which the floors are durable. One opened store owns its state alone until `close`.
 */
export interface NonceStore {
  /** The state found when the store was opened; undefined when there was none yet. */
  readonly initial: NonceState | undefined;
  /**
   * Resolves only when `state` is durable. Rejects when it may not be, in which case the former state
   * still stands. Never called twice at the same time.
   */
  write(state: NonceState): Promise<void>;
  /**
   * Throws `StateLostError` unless this process can prove that it still owns the state. Called for every
   * nonce with the wall clock's ms at that moment, so it must cost next to nothing while the proof is fresh.
   */
  assertOwned(wallMs: number): void;
  /** Gives the state up. May be called twice; afterwards `write` and `assertOwned` fail. */
  close(): Promise<void>;
}

/** The state is no longer ours: lock lost, stolen after a freeze, or removed. Final for this process. */
export class StateLostError extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'StateLostError';
  }
}

/** Another process owns the state; the message names it. Trying again later may help. */
export class StateOwnedElsewhereError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'StateOwnedElsewhereError';
  }
}

/** The state cannot be read as what it should be. It is never overwritten; the message names the repair. */
export class CorruptStateError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'CorruptStateError';
  }
}
