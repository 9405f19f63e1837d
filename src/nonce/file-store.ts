import { randomUUID } from 'node:crypto';
import { lstatSync, readFileSync, realpathSync } from 'node:fs';
import { mkdir, open, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { removeLeftovers, syncFolder } from '../durable-file.js';
import { Ownership, type OwnershipOptions } from './ownership.js';
import { CorruptStateError, type NonceState, type NonceStore } from './store.js';

/** Kraken documents nonces as unsigned 64-bit but types them int64; this is the last one that fits both. */
export const MAX_NONCE = 2n ** 63n - 1n;

/** Nanoseconds since 1970 have 19 digits from 2001 to 2286; anything else in a state file is damage. */
const FLOOR = /^[1-9]\d{18}$/;
const KEY_LINE = /^([0-9a-f]{16}) ([1-9]\d{18})$/;

/** Reads the text of a state file. Throws CorruptStateError with the file's name and the repair. */
export function parseState(text: string, file: string): NonceState {
  const lines = text.replace(/\r?\n$/, '').split(/\r?\n/);
  const floor = lines[0] ?? '';
  if (!FLOOR.test(floor) || BigInt(floor) >= MAX_NONCE) {
    throw corrupt(file, text === '' ? 'the file is empty' : 'line 1 is not a 19-digit nonce below 2^63');
  }
  // The seed system writes one line and no newline; with more lines a missing end means a cut-off file.
  if (lines.length > 1 && !text.endsWith('\n')) throw corrupt(file, 'the last line is cut off');
  const keyFloors = new Map<string, bigint>();
  for (const [index, line] of lines.slice(1).entries()) {
    const [, fingerprint, keyFloor] = KEY_LINE.exec(line) ?? [];
    if (fingerprint === undefined || keyFloor === undefined || BigInt(keyFloor) >= MAX_NONCE) {
      throw corrupt(file, `line ${index + 2} is not "<key fingerprint> <floor>"`);
    }
    keyFloors.set(fingerprint, BigInt(keyFloor));
  }
  return { floor: BigInt(floor), keyFloors };
}

/** The text of a state file: the global floor, then one line for each key that needed its own. */
export function formatState(state: NonceState): string {
  const lines = [state.floor.toString()];
  for (const [fingerprint, floor] of state.keyFloors) lines.push(`${fingerprint} ${floor}`);
  return lines.join('\n') + '\n';
}

/** Reads a state file; undefined when there is none. Throws CorruptStateError. */
export function readState(file: string): NonceState | undefined {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  return parseState(bytes.toString('latin1'), file);
}

/**
 * The state in a text file, written as temp file, fsync, rename, fsync of the folder. A crash leaves the
 * former or the new text, never a mixture.
 */
export class FileStore implements NonceStore {
  readonly file: string;
  readonly initial: NonceState | undefined;
  readonly #ownership: Ownership;
  /**
   * Our own name for the temp file: a frozen former owner that wakes up in the middle of a write must not
   * find its bytes in a file that we rename.
   */
  readonly #temporary: string;

  private constructor(file: string, ownership: Ownership, initial: NonceState | undefined) {
    this.file = file;
    this.#ownership = ownership;
    this.#temporary = `${file}.tmp-${randomUUID()}`;
    this.initial = initial;
  }

  /**
   * Takes the lock, then reads the state. Rejects with StateOwnedElsewhereError, CorruptStateError, or the
   * file system's own error.
   */
  static async open(path: string, options: OwnershipOptions = {}): Promise<FileStore> {
    try {
      await mkdir(dirname(path), { recursive: true });
      const file = resolveLinks(path);
      const ownership = await Ownership.acquire(file, options);
      try {
        await removeLeftovers(file);
        return new FileStore(file, ownership, readState(file));
      } catch (error) {
        await ownership.release();
        throw error;
      }
    } catch (error) {
      throw named(error, `the nonce state ${path} cannot be opened`);
    }
  }

  assertOwned(wallMs: number): void {
    this.#ownership.assertOwned(wallMs);
  }

  async write(state: NonceState): Promise<void> {
    this.#ownership.assertOwned(Date.now());
    try {
      await this.#replace(formatState(state));
    } catch (error) {
      throw named(error, `the nonce state ${this.file} cannot be written`);
    }
  }

  async close(): Promise<void> {
    await this.#ownership.release();
  }

  async #replace(text: string): Promise<void> {
    const handle = await open(this.#temporary, 'w', 0o600);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    // Another owner's newer state must not be replaced by ours: look at the disk, not at the lease.
    this.#ownership.verify();
    await rename(this.#temporary, this.file);
    await syncFolder(dirname(this.file));
  }
}

/**
 * The file that a path leads to. Two names of one file must lead to one lock, and a rename must not replace a link
 * by a file. Throws ENOENT for a link to nothing, or when the folder is not there.
 */
export function resolveLinks(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true) {
      // A volume that is not mounted yet, say. A new file in the link's place would start a second life.
      throw Object.assign(new Error(`${path} is a link to nothing`, { cause: error }), { code: 'ENOENT' });
    }
    return join(realpathSync(dirname(path)), basename(path));
  }
}

/** The system's own errors, code kept, with the file they are about: ENOSPC alone does not say which disk is full. */
function named(error: unknown, what: string): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === undefined || !/^E[A-Z0-9]+$/.test(code)) return error;
  return Object.assign(new Error(`${what}: ${message}`, { cause: error }), { code });
}

function corrupt(file: string, why: string): CorruptStateError {
  return new CorruptStateError(
    `${file} is not a nonce state: ${why}. Nothing was changed. Repair: restore the file from a backup, or ` +
      `move it away and start again; the proxy then starts from the clock, which is safe unless nonces ran ` +
      `ahead of it (then add: kraken-signing-proxy nonce jump --by 1h).`,
  );
}
