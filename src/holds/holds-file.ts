import { randomUUID } from 'node:crypto';
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { removeLeftovers, syncFolder } from '../durable-file.js';
import {
  changedBy,
  NotDurableError,
  type Hold,
  type HoldChange,
  type HoldMode,
  type HoldStore,
} from './holds.js';

/** The file of holds cannot be read as what it should be; the message names the repair. */
export class HoldsError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'HoldsError';
  }
}

const MODES: ReadonlySet<unknown> = new Set<HoldMode>(['pause', 'cancel-only', 'freeze']);

/** The holds on disk, one JSON line each. Beside the nonce state and under its lock, so that one process keeps it. */
export class HoldsFile implements HoldStore {
  /** As they were found. */
  readonly former: readonly Hold[];
  /** As they are in the file. */
  #holds: readonly Hold[];
  readonly #path: string;
  readonly #assertOwned: () => void;

  private constructor(path: string, assertOwned: () => void, former: readonly Hold[]) {
    this.#path = path;
    this.#assertOwned = assertOwned;
    this.former = former;
    this.#holds = former;
  }

  /**
   * Rejects with HoldsError for a file that cannot be read: what was stopped must not start by mistake. `assertOwned`
   * throws when another process may have the file by now.
   */
  static async open(path: string, assertOwned: () => void): Promise<HoldsFile> {
    await mkdir(dirname(path), { recursive: true });
    await removeLeftovers(path);
    const text = await readFile(path, 'utf8').catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
      throw error;
    });
    const lines = text.split('\n').filter((line) => line !== '');
    return new HoldsFile(
      path,
      assertOwned,
      lines.map((line, index) => readHold(line, `${path}:${index + 1}`)),
    );
  }

  /** Before the file is renamed it is the former one, and nothing has changed. */
  async change(change: HoldChange): Promise<void> {
    const holds = changedBy(this.#holds, change);
    const temporary = `${this.#path}.tmp-${randomUUID()}`;
    const handle = await open(temporary, 'w', 0o600);
    try {
      await handle.writeFile(holds.map((hold) => `${JSON.stringify(hold)}\n`).join(''));
      await handle.sync();
    } finally {
      await handle.close();
    }
    this.#assertOwned();
    await rename(temporary, this.#path);
    this.#holds = holds;
    await syncFolder(dirname(this.#path)).catch((error: unknown) => {
      throw new NotDurableError(error);
    });
  }
}

function readHold(line: string, place: string): Hold {
  let hold: Partial<Record<keyof Hold, unknown>>;
  try {
    hold = JSON.parse(line) as typeof hold;
  } catch {
    throw damaged(place);
  }
  const { mode, since, who, why, account, client } = hold;
  const isTarget = [account, client].every((name) => name === undefined || typeof name === 'string');
  if (!MODES.has(mode) || typeof since !== 'number' || typeof who !== 'string' || typeof why !== 'string')
    throw damaged(place);
  if (!isTarget || (account !== undefined && client !== undefined)) throw damaged(place);
  return hold as Hold;
}

function damaged(place: string): HoldsError {
  return new HoldsError(
    `${place} is not a hold: what an operator has paused cannot be told. Nothing was changed. Repair: remove the file, ` +
      'which lifts all pauses, and start again.',
  );
}
