import { ProxyError } from '../errors.js';
import type { Ledger } from './spending.js';

/** A ledger that is open until it is closed. */
export interface OpenLedger extends Ledger {
  close(): Promise<void>;
}

/** The ledger of the day from before this process owns the state on: until then all is refused with `not-owner`. */
export class OwnedLedger implements Ledger {
  #ledger: OpenLedger | undefined;

  /** From here on `ledger` is the ledger; it is closed with this. */
  own(ledger: OpenLedger): void {
    this.#ledger = ledger;
  }

  spent(...asked: Parameters<Ledger['spent']>): ReturnType<Ledger['spent']> {
    return this.#owned().spent(...asked);
  }

  reserve(...wanted: Parameters<Ledger['reserve']>): ReturnType<Ledger['reserve']> {
    return this.#owned().reserve(...wanted);
  }

  async close(): Promise<void> {
    await this.#ledger?.close();
  }

  #owned(): OpenLedger {
    if (this.#ledger !== undefined) return this.#ledger;
    throw new ProxyError('not-owner', 'the ledger of the day is not ours (yet)', { retryAfterSeconds: 1 });
  }
}
