/** How long a count stands: others place orders on the account too, unseen by us. */
const GOOD_MS = 30_000;

interface Count {
  readonly countedAt: number;
  /** The count then, and what was let through since. */
  atMost: number;
}

/**
 * The most open orders that each account can have, by what Kraken last told and what was let through since. Orders
 * that have been filled or cancelled meanwhile are still in it, those that were not seen here are not.
 */
export class OpenOrders {
  readonly #now: () => number;
  readonly #counts = new Map<string, Count>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Whether so many more certainly keep the account at the most. No: Kraken has to be asked. */
  fits(account: string, adding: number, most: number): boolean {
    const count = this.#counts.get(account);
    if (count === undefined || this.#now() - count.countedAt >= GOOD_MS) return false;
    return count.atMost + adding <= most;
  }

  /** Kraken has counted. `askedAt`: when it was asked. */
  counted(account: string, count: number, askedAt: number): void {
    this.#counts.set(account, { countedAt: askedAt, atMost: count });
  }

  /** So many more were let through. */
  placed(account: string, adding: number): void {
    const count = this.#counts.get(account);
    if (count !== undefined) count.atMost += adding;
  }
}
