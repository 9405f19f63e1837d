import type { Answers } from './answers/known-answers.js';
import type { Hold, HoldStore } from './holds/holds.js';
import type { Tenures } from './lane/tenure.js';
import type { Nonces } from './nonce/nonces.js';
import type { StateLostError } from './nonce/store.js';
import type { Ledger } from './policy/spending.js';

/** Where all is kept that has to be durable: in files of one process, or in a database that several nodes share. */
export interface Backing {
  /** Who may send in each lane; there from the start. */
  readonly tenures: Tenures;
  /**
   * Resolves once this process may use it. Rejects with the error of what is in the way; then nothing is left open.
   */
  open(options: OwnOptions): Promise<OpenBacking>;
}

export interface OwnOptions {
  /** Ends the wait of a standby. */
  readonly signal: AbortSignal;
  /** It has to wait for this holder. */
  readonly onWaiting: (holder: string) => void;
  /** This process must not go on. */
  readonly onLost: (error: StateLostError) => void;
}

type Closable<T> = T & { close(): Promise<void> };

export interface OpenBacking {
  /** For people: the state's file, or the database. */
  readonly place: string;
  /** Other processes may use it at the same time. */
  readonly isShared: boolean;
  /** Whether others have been serving the same keys all along: this start is none for Kraken then. Never rejects. */
  readonly othersServe: Promise<boolean>;
  readonly holds: HoldStore & { readonly former: readonly Hold[] };
  /** Where they were closed or lost, they are closed all the same. */
  readonly answers: Closable<Answers>;
  openNonces(): Promise<Nonces>;
  openLedger(): Promise<Closable<Ledger>>;
  /** Why calls that change something cannot be made, beside what the nonces say; undefined when they can. */
  readonly problem: () => string | undefined;
  /** Throws when this process's files may be another's by now, as after a freeze. */
  readonly assertOwned: () => void;
  /** Gives up what nonces, answers and ledger do not give up with their own end. May be called in any case. */
  close(): Promise<void>;
}
