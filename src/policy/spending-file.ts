import { randomUUID } from 'node:crypto';
import { mkdir, open, readFile, rename, rm, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { removeLeftovers, syncFolder } from '../durable-file.js';
import { parseAmount } from './decimal.js';
import type { Entry } from './spending.js';

/** Below this size the file is not worth being written anew. */
const COMPACT_BYTES = 1024 * 1024;

interface Line {
  readonly text: string;
  readonly done: () => void;
  readonly failed: (error: unknown) => void;
}

/** The ledger on disk is damaged; the message names file, line and repair. */
export class SpendingError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'SpendingError';
  }
}

/**
 * The day's ledger as a text file: a JSON line for each entry and for each entry that was given back. Lines are
 * only added, many at a time with one sync; what has been forgotten goes when the file is written anew, as temp
 * file, fsync, rename.
 */
export class SpendingFile {
  /** What the file held that is younger than a day. */
  readonly initial: readonly Entry[];
  readonly #path: string;
  readonly #live: Map<number, Entry>;
  #handle: FileHandle | undefined;
  #size = 0;
  #compactAt = COMPACT_BYTES;
  #oldest: number;
  /** A write broke off: its line must not be continued by the next. */
  #isTorn = false;
  #isClosed = false;
  #waiting: Line[] = [];
  #writer: Promise<void> | undefined;

  private constructor(path: string, entries: readonly Entry[], oldest: number) {
    this.#path = path;
    this.initial = entries;
    this.#live = new Map(entries.map((entry) => [entry.id, entry]));
    this.#oldest = oldest;
  }

  /** Entries of `oldest` or before are dropped. Rejects with SpendingError when the file is damaged. */
  static async open(path: string, oldest: number): Promise<SpendingFile> {
    await mkdir(dirname(path), { recursive: true });
    const entries = parseLedger(await readText(path), path).filter(({ at }) => at > oldest);
    await removeLeftovers(path);
    const file = new SpendingFile(path, entries, oldest);
    await file.#rewrite();
    return file;
  }

  /** Resolves once the entry is on disk. `oldest`: entries of that time or before need not be kept any more. */
  append(entry: Entry, oldest: number): Promise<void> {
    this.#oldest = oldest;
    this.#live.set(entry.id, entry);
    return new Promise((resolve, reject) => {
      const failed = (error: unknown): void => {
        this.#live.delete(entry.id);
        reject(error instanceof Error ? error : new Error(String(error)));
      };
      this.#add({ text: entryLine(entry), done: resolve, failed });
    });
  }

  /** The entry counts no more. A crash before that is on disk lets it count again. */
  giveBack(id: number): void {
    this.#live.delete(id);
    const ignore = (): void => undefined;
    if (!this.#isClosed) this.#add({ text: backLine(id), done: ignore, failed: ignore });
  }

  /** Writes what waits. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#writer;
    await this.#handle?.close();
    this.#handle = undefined;
  }

  #add(line: Line): void {
    if (this.#isClosed) {
      line.failed(new Error('the ledger of the day is closed'));
      return;
    }
    this.#waiting.push(line);
    this.#writer ??= this.#writeAll();
  }

  /** Writes until nothing waits; never rejects. */
  async #writeAll(): Promise<void> {
    // Whatever else is added in this turn of the event loop shares the first sync.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const lines = this.#waiting;
      this.#waiting = [];
      try {
        await this.#write(Buffer.from(lines.map(({ text }) => text).join('')));
        for (const { done } of lines) done();
      } catch (error) {
        this.#isTorn = true;
        for (const { failed } of lines) failed(error);
      }
    }
    this.#writer = undefined;
  }

  async #write(bytes: Buffer): Promise<void> {
    if (this.#isTorn || this.#handle === undefined) await this.#rewrite();
    else if (this.#size >= this.#compactAt) await this.#compact();
    await this.#handle?.appendFile(bytes);
    await this.#handle?.datasync();
    this.#size += bytes.length;
  }

  /** Makes the file small again. If that fails, the long one is as good. */
  async #compact(): Promise<void> {
    try {
      await this.#rewrite();
    } catch {
      this.#compactAt = 2 * this.#size;
    }
  }

  /** Writes what counts into a new file in the place of the former. An entry whose line still waits comes twice: it counts once. */
  async #rewrite(): Promise<void> {
    for (const { id, at } of this.#live.values()) if (at <= this.#oldest) this.#live.delete(id);
    const bytes = Buffer.from([...this.#live.values()].map(entryLine).join(''));
    const temporary = `${this.#path}.tmp-${randomUUID()}`;
    const next = await open(temporary, 'ax', 0o600);
    try {
      await next.appendFile(bytes);
      await next.sync();
      await rename(temporary, this.#path);
    } catch (error) {
      await next.close();
      await rm(temporary, { force: true });
      throw error;
    }
    await this.#handle?.close();
    this.#handle = next;
    await syncFolder(dirname(this.#path));
    this.#isTorn = false;
    this.#size = bytes.length;
    this.#compactAt = Math.max(COMPACT_BYTES, 2 * bytes.length);
  }
}

function entryLine({ id, at, client, quote, amount }: Entry): string {
  return `${JSON.stringify({ id, at, client, quote, amount: amount.toFixed() })}\n`;
}

function backLine(id: number): string {
  return `${JSON.stringify({ back: id })}\n`;
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

/** What a ledger's text counts. What follows the last newline was being written when the process ended. */
function parseLedger(text: string, path: string): Entry[] {
  const entries = new Map<number, Entry>();
  for (const [index, line] of text.split('\n').slice(0, -1).entries()) {
    const read = parseLine(line);
    if (read === undefined) throw damaged(path, index + 1);
    if (typeof read === 'number') entries.delete(read);
    else entries.set(read.id, read);
  }
  return [...entries.values()].sort((a, b) => a.at - b.at);
}

/** An entry, or the id of one that was given back; undefined for anything else. */
function parseLine(line: string): Entry | number | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { id, at, client, quote, amount, back } = value as Record<string, unknown>;
  if (isWhole(back)) return back;
  if (!isWhole(id) || !isTime(at) || typeof client !== 'string' || typeof quote !== 'string')
    return undefined;
  const decimal = typeof amount === 'string' ? parseAmount(amount) : undefined;
  return decimal === undefined ? undefined : { id, at, client, quote, amount: decimal };
}

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0;
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}

function damaged(path: string, line: number): SpendingError {
  return new SpendingError(
    `${path} is not a ledger of spending: line ${line} cannot be read. Nothing was changed. Repair: restore the ` +
      `file from a backup, or move the file away: the day then starts at zero.`,
  );
}
