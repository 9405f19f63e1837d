import { KnownAnswers } from './answers/known-answers.js';
import { OwnedAnswers } from './answers/owned-answers.js';
import type { Config } from './config.js';
import { HoldsFile } from './holds/holds-file.js';
import { Holds } from './holds/holds.js';
import { Journal } from './journal/journal.js';
import type { Log } from './log.js';
import { FileStore } from './nonce/file-store.js';
import { OwnedNonces } from './nonce/owned-nonces.js';
import { NonceSequence } from './nonce/sequence.js';
import type { StateLostError } from './nonce/store.js';
import { OwnedLedger } from './policy/owned-ledger.js';
import { Spending } from './policy/spending.js';

export interface OwnedStateParts {
  readonly config: () => Config;
  readonly log: Log;
  readonly version: string;
  /** Names this run of the process. */
  readonly run: string;
  /** Fingerprints of the keys by account. */
  readonly keys: () => Readonly<Record<string, string>>;
  readonly onNonce: (fingerprint: string, nonce: bigint) => void;
  readonly onWrite: (seconds: number, error: unknown) => void;
}

export interface OwnOptions {
  /** Ends the wait of a standby. */
  readonly signal: AbortSignal;
  /** It has to wait for this holder. */
  readonly onWaiting: (holder: string) => void;
  readonly onLost: (error: StateLostError) => void;
}

/**
 * Everything on disk that one process at a time keeps, under the lock of the nonce state. The parts are there from the
 * start, and refuse what they cannot do yet; `own` opens the files behind them.
 */
export class OwnedState {
  readonly nonces: OwnedNonces;
  readonly answers = new OwnedAnswers();
  readonly ledger = new OwnedLedger();
  readonly holds = new Holds();
  readonly #parts: OwnedStateParts;
  #journal: Journal | undefined;
  #file: string | undefined;
  #assertOwned: () => void = () => undefined;
  #hasLedger = false;

  constructor(parts: OwnedStateParts) {
    this.#parts = parts;
    this.nonces = new OwnedNonces(parts.onNonce, parts.config().nonce.liftMs);
  }

  /** Undefined where none is kept, and before the state is owned. */
  get journal(): Journal | undefined {
    return this.#journal;
  }

  /** Resolves with the path of the state once all of it is ours. Rejects with the error of the part that is in the way. */
  async own({ signal, onWaiting, onLost }: OwnOptions): Promise<string> {
    const { config, log, onWrite } = this.#parts;
    const { nonce } = config();
    const store = await FileStore.open(nonce.file, { standby: nonce.standby, signal, onWaiting, onLost });
    const { file } = store;
    if (store.initial === undefined) log.warn({ file }, 'no nonce state yet: starting from the clock');
    try {
      this.#file = file;
      // A process that was frozen may wake up when another has taken over.
      this.#assertOwned = () => store.assertOwned(Date.now());
      const holds = await HoldsFile.open(`${file}.holds`, this.#assertOwned);
      this.holds.own(holds, holds.former);
      this.answers.own(await KnownAnswers.open(`${file}.answers`, { assertOwned: this.#assertOwned }));
      if (needsLedger(config())) await this.openLedger();
      await this.#openJournal();
      this.nonces.own(await NonceSequence.open(store, { reserveMs: nonce.reserveMs, onWrite }));
    } catch (error) {
      await Promise.allSettled([this.answers.close(), this.ledger.close(), this.#journal?.close()]);
      await store.close();
      throw error;
    }
    if (signal.aborted) await this.nonces.close(); // asked to stop in the meantime
    return file;
  }

  /** The ledger of the day, for whose limits it is needed. Nothing happens when it is open. */
  async openLedger(): Promise<void> {
    if (this.#hasLedger || this.#file === undefined) return;
    this.ledger.own(await Spending.open(`${this.#file}.spending`, { assertOwned: this.#assertOwned }));
    this.#hasLedger = true;
  }

  /** Writes what has to be kept, the exact floor last, and gives the state up. */
  async close(): Promise<void> {
    for (const [what, file] of [
      ['the day’s ledger', this.ledger],
      ['the known answers', this.answers],
    ] as const) {
      await file
        .close()
        .catch((error: unknown) => this.#parts.log.error({ err: error }, `${what}: not closed`));
    }
    await this.#journal?.close();
    await this.nonces.close();
  }

  async #openJournal(): Promise<void> {
    const { config, log, version, run, keys } = this.#parts;
    const { enabled, ...options } = config().journal;
    if (!enabled) return;
    this.#journal = await Journal.open({
      ...options,
      ...{ version, run, keys: keys(), assertOwned: this.#assertOwned },
      onProblem: (problem) => {
        if (problem === undefined) log.warn('the journal is written again');
        else log.error({ problem }, 'the journal cannot be written; trading goes on');
      },
      onSealed: (file, head) =>
        log.info({ file, ...head }, 'a file of the journal is complete: its head proves it later'),
    });
  }
}

/** Whether some client's orders are counted over the day. */
export function needsLedger({ clients = [] }: Config): boolean {
  return clients.some(({ rules }) => rules.orders?.maxNotionalPerDay !== undefined);
}
