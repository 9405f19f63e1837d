import type { Account } from './account.js';

/** The accounts in force. A reload may replace them; what is under way goes on with the one it began with. */
export class Accounts {
  #all: readonly Account[] = [];
  #byName: ReadonlyMap<string, Account> = new Map();
  #byFingerprint: ReadonlyMap<string, Account> = new Map();

  constructor(accounts: readonly Account[]) {
    this.replace(accounts);
  }

  get all(): readonly Account[] {
    return this.#all;
  }

  named(name: string): Account | undefined {
    return this.#byName.get(name);
  }

  /** Whose key this fingerprint names. */
  withKey(fingerprint: string): Account | undefined {
    return this.#byFingerprint.get(fingerprint);
  }

  replace(accounts: readonly Account[]): void {
    this.#all = accounts;
    this.#byName = new Map(accounts.map((account) => [account.name, account]));
    this.#byFingerprint = new Map(accounts.map((account) => [account.fingerprint, account]));
  }
}
