import { ProxyError } from '../errors.js';
import type { Ledger, Spending } from './spending.js';

/** The ledger of the day from before this process owns the state on: until then all is refused with `not-owner`. */
export class OwnedLedger implements Ledger {
  #spending: Spending | undefined;

  /** From here on `spending` is the ledger; it is closed with this. */
  own(spending: Spending): void {
    this.#spending = spending;
  }

  spent(...asked: Parameters<Ledger['spent']>): ReturnType<Ledger['spent']> {
    return this.#owned().spent(...asked);
  }

  reserve(...wanted: Parameters<Ledger['reserve']>): ReturnType<Ledger['reserve']> {
    return this.#owned().reserve(...wanted);
  }

  async close(): Promise<void> {
    await this.#spending?.close();
  }

  #owned(): Spending {
    if (this.#spending !== undefined) return this.#spending;
    throw new ProxyError('not-owner', 'the ledger of the day is not ours (yet)', { retryAfterSeconds: 1 });
  }
}
