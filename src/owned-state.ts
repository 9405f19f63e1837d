import { OwnedAnswers } from './answers/owned-answers.js';
import type { Backing, OpenBacking, OwnOptions } from './backing.js';
import type { Config } from './config.js';
import { FileBacking } from './file-backing.js';
import { Holds } from './holds/holds.js';
import { Journal } from './journal/journal.js';
import type { Tenures } from './lane/tenure.js';
import type { Log } from './log.js';
import { OwnedNonces } from './nonce/owned-nonces.js';
import { OwnedLedger } from './policy/owned-ledger.js';
import { PostgresBacking } from './postgres-backing.js';

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

/**
 * Everything that has to be durable. The parts are there from the start, and refuse what they cannot do yet; `own` opens
 * what is behind them.
 */
export class OwnedState {
  readonly nonces: OwnedNonces;
  readonly answers = new OwnedAnswers();
  readonly ledger = new OwnedLedger();
  readonly holds = new Holds();
  readonly #parts: OwnedStateParts;
  readonly #backing: Backing;
  #journal: Journal | undefined;
  #opened: OpenBacking | undefined;
  #hasLedger = false;

  constructor(parts: OwnedStateParts) {
    this.#parts = parts;
    const { nonce } = parts.config();
    this.nonces = new OwnedNonces(parts.onNonce, nonce.liftMs);
    this.#backing = nonce.store === 'file' ? new FileBacking(parts) : new PostgresBacking(parts);
  }

  get tenures(): Tenures {
    return this.#backing.tenures;
  }

  /** Undefined where none is kept, and before the state is owned. */
  get journal(): Journal | undefined {
    return this.#journal;
  }

  /** Why calls cannot be made now; undefined when they can. */
  get problem(): string | undefined {
    return this.nonces.problem ?? this.#opened?.problem();
  }

  /** Resolves once all of it may be used. Rejects with the error of the part that is in the way. */
  async own(options: OwnOptions): Promise<Pick<OpenBacking, 'place' | 'isShared' | 'othersServe'>> {
    const opened = await this.#backing.open(options);
    this.#opened = opened;
    try {
      this.holds.own(opened.holds, opened.holds.former);
      this.answers.own(opened.answers);
      if (needsLedger(this.#parts.config())) await this.openLedger();
      await this.#openJournal(opened.assertOwned);
      this.nonces.own(await opened.openNonces());
    } catch (error) {
      await Promise.allSettled([this.answers.close(), this.ledger.close(), this.#journal?.close()]);
      await opened.close();
      throw error;
    }
    if (options.signal.aborted) await this.nonces.close(); // asked to stop in the meantime
    return opened;
  }

  /** The ledger of the day, for whose limits it is needed. Nothing happens when it is open. */
  async openLedger(): Promise<void> {
    if (this.#hasLedger || this.#opened === undefined) return;
    this.ledger.own(await this.#opened.openLedger());
    this.#hasLedger = true;
  }

  /** Writes what has to be kept, the exact floor last, and gives the state up. */
  async close(): Promise<void> {
    for (const [what, part] of [
      ['the day’s ledger', this.ledger],
      ['the known answers', this.answers],
    ] as const) {
      await part
        .close()
        .catch((error: unknown) => this.#parts.log.error({ err: error }, `${what}: not closed`));
    }
    await this.#journal?.close();
    try {
      await this.nonces.close();
    } finally {
      await this.#opened?.close();
    }
  }

  async #openJournal(assertOwned: () => void): Promise<void> {
    const { config, log, version, run, keys } = this.#parts;
    const { enabled, ...options } = config().journal;
    if (!enabled) return;
    this.#journal = await Journal.open({
      ...options,
      ...{ version, run, keys: keys(), assertOwned },
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
