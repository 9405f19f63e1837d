import type { DurableLinesOptions } from '../durable-lines.js';
import { ZERO, type Decimal } from './decimal.js';
import { SpendingFile } from './spending-file.js';

/** An amount that counts toward a client's day. */
export interface Entry {
  readonly id: number;
  /** Wall clock, ms. */
  readonly at: number;
  readonly client: string;
  readonly quote: string;
  readonly amount: Decimal;
}

/** Room that is taken in a day. */
export interface Reservation {
  /** Resolves once it is durable; rejects when it cannot be, and then it is given back already. */
  readonly written: Promise<void>;
  /** Makes room again: at once in memory, in the background where the ledger is stored. May be called again. */
  giveBack(): void;
}

/**
 * What each client's orders of the last 24 hours are worth, by quote currency. Both methods throw or reject with
 * ProxyError `not-owner` when the ledger is not ours or cannot be reached; then nothing counts.
 */
export interface Ledger {
  /** What counts at this moment. */
  spent(client: string, quote: string): Decimal | Promise<Decimal>;
  /**
   * Takes room in the day; undefined when that would pass the limit. Without a limit it always counts. No two that
   * are asked for at the same time, by whomever, share the same room.
   */
  reserve(
    client: string,
    quote: string,
    amount: Decimal,
    limit: Decimal | undefined,
  ): Reservation | undefined | Promise<Reservation | undefined>;
}

export interface SpendingOptions extends Pick<DurableLinesOptions, 'assertOwned'> {
  /** Wall clock, ms: a day has to survive restarts. Default: the system's. */
  readonly now?: () => number;
}

export const DAY_MS = 24 * 60 * 60 * 1000;

/** Entries of one client and quote currency, in the order of their times. */
interface Account {
  readonly entries: Map<number, Entry>;
  total: Decimal;
}

/**
 * The ledger of the day in a file of one process. Reservations are taken in memory at once, so that two calls never
 * share the same room, and are durable before their order goes on.
 *
 * A clock that steps back makes entries last longer, never shorter: a new one is never older than those before it.
 */
export class Spending implements Ledger {
  readonly #file: SpendingFile | undefined;
  readonly #now: () => number;
  readonly #accounts = new Map<string, Account>();
  #latest = 0;
  #lastId = 0;

  private constructor(file: SpendingFile | undefined, entries: readonly Entry[], now: () => number) {
    this.#file = file;
    this.#now = now;
    for (const entry of entries) this.#add(entry);
  }

  /**
   * Opens the ledger, made if there is none, and drops what is older than a day. Only one process may have it
   * open. Rejects with an Error that names file, line and repair when the file is damaged.
   */
  static async open(file: string, { now = Date.now, ...owner }: SpendingOptions = {}): Promise<Spending> {
    const ledger = await SpendingFile.open(file, now() - DAY_MS, owner);
    return new Spending(ledger, ledger.initial, now);
  }

  /** For when no client has such a limit: nothing can be reserved in it. */
  static none(): Spending {
    return new Spending(undefined, [], Date.now);
  }

  spent(client: string, quote: string): Decimal {
    return this.#accountOf(client, quote)?.total ?? ZERO;
  }

  reserve(
    client: string,
    quote: string,
    amount: Decimal,
    limit: Decimal | undefined,
  ): Reservation | undefined {
    const spent = this.spent(client, quote);
    if (limit !== undefined && spent.plus(amount).isGreaterThan(limit)) return undefined;
    const at = Math.max(this.#now(), this.#latest);
    const entry: Entry = { id: this.#lastId + 1, at, client, quote, amount };
    this.#add(entry);
    let held = true;
    const release = (): boolean => {
      if (!held) return false;
      held = false;
      this.#remove(entry);
      return true;
    };
    return {
      written: this.#write(entry).catch((error: unknown) => {
        release();
        throw error;
      }),
      giveBack: () => {
        if (release()) this.#file?.giveBack(entry.id);
      },
    };
  }

  /** Writes what is still to be written. Nothing can be reserved afterwards. */
  async close(): Promise<void> {
    await this.#file?.close();
  }

  async #write(entry: Entry): Promise<void> {
    if (this.#file === undefined) throw new Error('no ledger of the day is open');
    await this.#file.append(entry, this.#now() - DAY_MS);
  }

  #add(entry: Entry): void {
    const key = keyOf(entry.client, entry.quote);
    let account = this.#accounts.get(key);
    if (account === undefined) this.#accounts.set(key, (account = { entries: new Map(), total: ZERO }));
    account.entries.set(entry.id, entry);
    account.total = account.total.plus(entry.amount);
    this.#latest = Math.max(this.#latest, entry.at);
    this.#lastId = Math.max(this.#lastId, entry.id);
  }

  #remove(entry: Entry): void {
    const account = this.#accounts.get(keyOf(entry.client, entry.quote));
    if (account?.entries.delete(entry.id) === true) account.total = account.total.minus(entry.amount);
  }

  /** The account without what is older than a day. */
  #accountOf(client: string, quote: string): Account | undefined {
    const account = this.#accounts.get(keyOf(client, quote));
    if (account === undefined) return undefined;
    const oldest = this.#now() - DAY_MS;
    for (const entry of account.entries.values()) {
      if (entry.at > oldest) break;
      this.#remove(entry);
    }
    return account;
  }
}

function keyOf(client: string, quote: string): string {
  return JSON.stringify([client, quote]);
}
