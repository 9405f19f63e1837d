/**
 * `EGeneral:Temporary lockout` by key text (KRAKEN.md 3.3). Kraken says "too many sequential invalid
 * keys", "a few minutes", and that each further attempt starts the time anew. How many, how long and
 * whether by key, address or account is not confirmed: 5 bad keys or 30 bad signatures and nonces in a
 * row, 5 minutes, by key.
 */
export class Lockout {
  readonly #entries = new Map<string, Entry>();

  /** Whether the key is locked out; asking is an attempt, which starts the time anew. */
  refuses(key: string, now: number): boolean {
    if (this.#entries.size === 0) return false;
    const entry = this.#entries.get(key);
    if (entry?.until === undefined) return false;
    if (now >= entry.until) {
      this.#entries.delete(key);
      return false;
    }
    entry.until = now + LOCKOUT_MS;
    return true;
  }

  failed(key: string, why: 'key' | 'signature' | 'nonce', now: number): void {
    const entry = this.#entries.get(key) ?? { failures: 0, until: undefined };
    entry.failures += 1;
    if (entry.failures >= (why === 'key' ? BAD_KEYS : BAD_CALLS)) entry.until = now + LOCKOUT_MS;
    // Key texts come from outside: remember no more than a bounded number, the latest.
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    if (this.#entries.size > MAX_ENTRIES) {
      for (const oldest of this.#entries.keys()) {
        this.#entries.delete(oldest);
        break;
      }
    }
  }

  /** A call that passed every check ends the row. */
  passed(key: string): void {
    if (this.#entries.size > 0) this.#entries.delete(key);
  }
}

interface Entry {
  failures: number;
  until: number | undefined;
}

/** How long a lockout lasts after the last attempt. */
export const LOCKOUT_MS = 300_000;
/** Calls with an unknown key, in a row, until its text is locked out. */
export const BAD_KEYS = 5;
/** Calls with a bad signature or nonce, in a row, until the key is locked out. */
export const BAD_CALLS = 30;
const MAX_ENTRIES = 1000;
