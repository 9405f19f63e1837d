import type { Clocks, Moment } from '../clocks.js';

/** How long a count stands: orders are placed elsewhere too, unseen by us. */
const GOOD_MS = 30_000;

interface Count {
  readonly askedAt: Moment;
  /** The count then, and what was let through since. */
  atMost: number;
}

/**
 * The most open orders that each account can have, by what Kraken last told and what was let through since. Orders
 * that have been filled or cancelled meanwhile are still in it, those that were not seen here are not.
 */
export class OpenOrders {
  readonly #clocks: Clocks;
  readonly #counts = new Map<string, Count>();

  constructor(clocks: Clocks) {
    this.#clocks = clocks;
  }

  /** Whether so many more certainly keep the account at the most. No: Kraken has to be asked. */
  fits(account: string, adding: number, most: number): boolean {
    const count = this.#counts.get(account);
    if (count === undefined || this.#clocks.age(count.askedAt) >= GOOD_MS) return false;
    return count.atMost + adding <= most;
  }

  /** Whether there is a count that what is let through has to be added to. */
  knows(account: string): boolean {
    return this.#counts.has(account);
  }

  /** When Kraken is asked, for `counted`. */
  moment(): Moment {
    return this.#clocks.moment();
  }

  /** Kraken has counted. */
  counted(account: string, count: number, askedAt: Moment): void {
    this.#counts.set(account, { askedAt, atMost: count });
  }

  /** So many more were let through. */
  placed(account: string, adding: number): void {
    const count = this.#counts.get(account);
    if (count !== undefined) count.atMost += adding;
  }

  /** Other nodes may have let orders through: likewise, for every account. */
  forgetAll(): void {
    this.#counts.clear();
  }

  /** Nobody knows how many were let through: the next who wants to know asks Kraken. */
  forget(account: string): void {
    this.#counts.delete(account);
  }
}
