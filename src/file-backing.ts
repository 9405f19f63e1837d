import { KnownAnswers } from './answers/known-answers.js';
import type { Backing, OpenBacking, OwnOptions } from './backing.js';
import type { Config } from './config.js';
import { HoldsFile } from './holds/holds-file.js';
import { SOLE_TENURES } from './lane/tenure.js';
import type { Log } from './log.js';
import { FileStore } from './nonce/file-store.js';
import { NonceSequence } from './nonce/sequence.js';
import { Spending } from './policy/spending.js';

export interface FileBackingParts {
  readonly config: () => Config;
  readonly log: Log;
  readonly onWrite: (seconds: number, error: unknown) => void;
}

/** Everything in files beside the nonce state, under its lock: one process at a time has them. */
export class FileBacking implements Backing {
  readonly tenures = SOLE_TENURES;
  readonly #parts: FileBackingParts;

  constructor(parts: FileBackingParts) {
    this.#parts = parts;
  }

  async open(options: OwnOptions): Promise<OpenBacking> {
    const { config, log, onWrite } = this.#parts;
    const { nonce } = config();
    const store = await FileStore.open(nonce.file, { ...options, standby: nonce.standby });
    const { file } = store;
    if (store.initial === undefined) log.warn({ file }, 'no nonce state yet: starting from the clock');
    // A process that was frozen may wake up when another has taken over.
    const assertOwned = (): void => store.assertOwned(Date.now());
    try {
      return {
        place: file,
        isShared: false,
        othersServe: Promise.resolve(false),
        holds: await HoldsFile.open(`${file}.holds`, assertOwned),
        answers: await KnownAnswers.open(`${file}.answers`, { assertOwned }),
        openNonces: () => NonceSequence.open(store, { reserveMs: nonce.reserveMs, onWrite }),
        openLedger: () => Spending.open(`${file}.spending`, { assertOwned }),
        problem: () => undefined,
        assertOwned,
        close: () => store.close(),
      };
    } catch (error) {
      await store.close();
      throw error;
    }
  }
}
