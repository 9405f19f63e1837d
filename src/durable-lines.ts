import { isUtf8 } from 'node:buffer';
import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, rename, rm, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { removeLeftovers, syncFolder } from './durable-file.js';
import { ProxyError } from './errors.js';

/** What a file of lines needs of those whose lines it keeps. */
export interface DurableLinesOptions {
  /** What the file is, in messages: `the ledger of the day`. */
  readonly name: string;
  /** Takes a line of the file, in order, as the file is opened. False: it cannot be read. */
  readonly read: (line: string) => boolean;
  /**
   * The lines that count at the moment of the call, for when the file is written anew; their text may be made as they
   * are asked for, later. Lines that still wait to be written follow them in the file and may come twice: reading them
   * in order has to end in the same state.
   */
  readonly alive: () => Iterable<string>;
  /**
   * Throws when another process may have the file by now, as after a freeze: then it is not replaced. Default: nobody
   * else ever has it.
   */
  readonly assertOwned?: () => void;
  /** The error for a line that cannot be read; it names file, line (from 1) and repair. */
  readonly damaged: (line: number) => Error;
}

interface Line {
  readonly text: string;
  /** It is done when the operating system has it. */
  readonly isNote: boolean;
  readonly done: () => void;
  readonly failed: (error: Error) => void;
}

/** A file that is to take the place of the former. */
interface NewFile {
  readonly temporary: string;
  readonly handle: FileHandle;
  readonly size: number;
}

/** Below this size the file is not worth being written anew. */
const COMPACT_BYTES = 1024 * 1024;
/** The file is read and written anew in pieces of this size, so that calls go on in between. */
const PIECE_BYTES = 256 * 1024;
/** A note is on disk after this long, if nothing brings it there sooner. */
const SYNC_NOTES_MS = 1_000;
/** A disk that hangs must not fill the memory. */
const MAX_WAITING_BYTES = 64 * 1024 * 1024;
const NEWLINE = 0x0a;

/**
 * A text file to which lines are only added, many at a time with one sync; what counts no more goes when the file is
 * written anew, as temp file, fsync, rename, fsync of the folder. What follows the last newline was being written when
 * the process ended, and is left out. Only one process may have it open.
 */
export class DurableLines {
  readonly #path: string;
  readonly #options: DurableLinesOptions;
  #handle: FileHandle | undefined;
  #size = 0;
  #compactAt = COMPACT_BYTES;
  /** A write or a sync failed: nobody knows what the file holds, and it has to be written anew. */
  #isTorn = false;
  #isClosed = false;
  #waiting: Line[] = [];
  #waitingBytes = 0;
  #writer: Promise<void> | undefined;
  /** Written, and done with the next sync. */
  #unsynced: Line[] = [];
  #syncer: Promise<void> | undefined;
  /** There are notes that no sync has covered. */
  #hasNotes = false;
  #notesTimer: NodeJS.Timeout | undefined;
  #isSyncDue = false;
  #compaction: Promise<void> | undefined;
  #compacted: NewFile | undefined;
  /** What has been written since the compaction began; undefined while there is none. */
  #since: Buffer[] | undefined;

  private constructor(path: string, options: DurableLinesOptions) {
    this.#path = path;
    this.#options = options;
  }

  /** Opens the file, made if there is none, for its owner only. Rejects with `damaged` at a line that cannot be read. */
  static async open(path: string, options: DurableLinesOptions): Promise<DurableLines> {
    await mkdir(dirname(path), { recursive: true });
    let number = 0;
    for await (const line of linesOf(path)) {
      number += 1;
      if (!isUtf8(line) || !options.read(line.toString())) throw options.damaged(number);
    }
    await removeLeftovers(path);
    const file = new DurableLines(path, options);
    await file.#takeOver(await file.#writeAnew());
    return file;
  }

  /** Bytes in the file. */
  get size(): number {
    return this.#size;
  }

  /** Resolves once the line is on disk. Rejects when it cannot be; it may have got there all the same. */
  append(line: string): Promise<void> {
    if (this.#waitingBytes > MAX_WAITING_BYTES) {
      return Promise.reject(new Error(`too much of ${this.#options.name} waits for the disk`));
    }
    return this.#add(line, false);
  }

  /**
   * Resolves once the operating system has the line: it survives the end of the process, but not of the machine. It is
   * on disk with the next line that is appended, or about a second later.
   */
  note(line: string): Promise<void> {
    return this.#add(line, true);
  }

  /** Writes and syncs what waits. Nothing can be added from here on. */
  async close(): Promise<void> {
    this.#isClosed = true;
    while (this.#writer !== undefined || this.#compaction !== undefined) {
      await this.#writer;
      await this.#compaction;
    }
    await this.#syncer;
    clearTimeout(this.#notesTimer);
    const handle = this.#handle;
    this.#handle = undefined;
    try {
      if (this.#hasNotes) await handle?.datasync();
    } finally {
      await handle?.close();
    }
  }

  #add(line: string, isNote: boolean): Promise<void> {
    if (this.#isClosed) return Promise.reject(new Error(`${this.#options.name} is closed`));
    return new Promise((done, failed) => {
      const text = `${line}\n`;
      this.#waiting.push({ text, isNote, done, failed });
      this.#waitingBytes += text.length;
      this.#wake();
    });
  }

  #wake(): void {
    this.#writer ??= this.#writeAll();
  }

  /** Writes until nothing waits; never rejects. */
  async #writeAll(): Promise<void> {
    // Whatever else is added in this turn of the event loop shares the first write.
    await Promise.resolve();
    while (this.#waiting.length > 0 || this.#compacted !== undefined || this.#isSyncDue) {
      const lines = this.#waiting;
      this.#waiting = [];
      this.#waitingBytes = 0;
      const isSyncDue = this.#isSyncDue;
      this.#isSyncDue = false;
      try {
        await this.#write(lines, isSyncDue);
      } catch (error) {
        this.#isTorn = true;
        fail(lines, error);
      }
    }
    this.#writer = undefined;
  }

  async #write(lines: readonly Line[], isSyncDue: boolean): Promise<void> {
    if (this.#compacted !== undefined) await this.#syncer; // it may find the file torn
    if (this.#isTorn) await this.#repair();
    else if (this.#compacted !== undefined) await this.#endCompaction(this.#compacted);
    if (lines.length > 0) {
      const bytes = Buffer.from(lines.map(({ text }) => text).join(''));
      await this.#handle?.appendFile(bytes);
      this.#size += bytes.length;
      this.#since?.push(bytes);
      // What a sync that failed in the meantime has lost may be in front of these.
      this.#assertWhole();
    }
    for (const line of lines) {
      if (!line.isNote) this.#unsynced.push(line);
      else {
        this.#hasNotes = true;
        line.done();
      }
    }
    if (this.#unsynced.length > 0 || isSyncDue) this.#syncer ??= this.#syncAll();
    else this.#syncSoon();
    // One that has ended may still wait for its turn, and has its own list of what was written since.
    if (this.#size >= this.#compactAt && this.#since === undefined) this.#compaction = this.#compact();
  }

  #assertWhole(): void {
    if (this.#isTorn) throw new Error(`${this.#options.name} could not be synced`);
  }

  /** Syncs until all that is written is on disk, whatever is written meanwhile; never rejects. */
  async #syncAll(): Promise<void> {
    clearTimeout(this.#notesTimer);
    this.#notesTimer = undefined;
    do {
      const lines = this.#unsynced;
      this.#unsynced = [];
      this.#hasNotes = false;
      try {
        await this.#handle?.datasync();
        for (const { done } of lines) done();
      } catch (error) {
        // The next sync may well succeed without the bytes that this one has lost.
        this.#isTorn = true;
        fail(lines, error);
        fail(this.#unsynced.splice(0), error);
      }
    } while (this.#unsynced.length > 0);
    this.#syncer = undefined;
    this.#syncSoon();
  }

  /** Lets the writer sync the notes in a while: only the writer begins a sync, so that none meets a new file. */
  #syncSoon(): void {
    if (!this.#hasNotes || this.#syncer !== undefined || this.#isClosed) return;
    this.#notesTimer ??= setTimeout(() => {
      this.#notesTimer = undefined;
      this.#isSyncDue = true;
      this.#wake();
    }, SYNC_NOTES_MS).unref();
  }

  /** Makes the file small again, beside the writing; never rejects. The writer puts the new file in its place. */
  async #compact(): Promise<void> {
    this.#since = [];
    try {
      this.#compacted = await this.#writeAnew();
      this.#wake();
    } catch {
      this.#since = undefined;
      this.#compactAt = 2 * this.#size; // the long file is as good
    }
    this.#compaction = undefined;
  }

  /** Rejects only when nobody knows which of the two files is in place. */
  async #endCompaction(compacted: NewFile): Promise<void> {
    this.#compacted = undefined;
    try {
      await this.#takeOver(compacted);
    } catch (error) {
      if (this.#isTorn) throw error;
      this.#compactAt = 2 * this.#size;
    }
  }

  async #repair(): Promise<void> {
    await this.#compaction;
    // It may hold what has failed.
    if (this.#compacted !== undefined) await discard(this.#compacted);
    this.#compacted = undefined;
    this.#since = undefined;
    await this.#takeOver(await this.#writeAnew());
  }

  /** Writes what counts, and what is written meanwhile, into a new file. */
  async #writeAnew(): Promise<NewFile> {
    const alive = this.#options.alive();
    const since = this.#since;
    const temporary = `${this.#path}.tmp-${randomUUID()}`;
    const handle = await open(temporary, 'ax', 0o600);
    let size = 0;
    const write = async (bytes: Buffer): Promise<void> => {
      await handle.appendFile(bytes);
      size += bytes.length;
    };
    try {
      for (const piece of piecesOf(alive)) await write(piece);
      // All but a little is on disk before the writer's turn, in which calls wait.
      while (since !== undefined && lengthOf(since) > PIECE_BYTES)
        await write(Buffer.concat(since.splice(0)));
      await handle.sync();
      return { temporary, handle, size };
    } catch (error) {
      await discard({ temporary, handle });
      throw error;
    }
  }

  /** Puts a new file in the place of the former; in the writer's turn. */
  async #takeOver(next: NewFile): Promise<void> {
    await this.#syncer;
    const since = Buffer.concat(this.#since ?? []);
    this.#since = undefined;
    try {
      if (since.length > 0) {
        await next.handle.appendFile(since);
        await next.handle.datasync();
      }
      this.#options.assertOwned?.();
      await rename(next.temporary, this.#path);
    } catch (error) {
      await discard(next);
      throw error;
    }
    const former = this.#handle;
    this.#handle = next.handle;
    this.#isTorn = true; // until the name is durable too
    await former?.close().catch(() => undefined);
    await syncFolder(dirname(this.#path));
    this.#isTorn = false;
    this.#hasNotes = false;
    this.#size = next.size + since.length;
    this.#compactAt = Math.max(COMPACT_BYTES, 2 * this.#size);
  }
}

function fail(lines: readonly Line[], error: unknown): void {
  const reason = error instanceof Error ? error : new Error(String(error));
  for (const { failed } of lines) failed(reason);
}

async function discard({ temporary, handle }: Pick<NewFile, 'temporary' | 'handle'>): Promise<void> {
  await handle.close();
  await rm(temporary, { force: true });
}

function lengthOf(pieces: readonly Buffer[]): number {
  return pieces.reduce((length, piece) => length + piece.length, 0);
}

function* piecesOf(lines: Iterable<string>): Generator<Buffer> {
  let piece: string[] = [];
  let length = 0;
  for (const line of lines) {
    piece.push(line, '\n');
    length += line.length;
    if (length < PIECE_BYTES) continue;
    yield Buffer.from(piece.join(''));
    piece = [];
    length = 0;
  }
  if (piece.length > 0) yield Buffer.from(piece.join(''));
}

/** The lines of a file without their newlines; none where there is no file. */
async function* linesOf(path: string): AsyncGenerator<Buffer> {
  let rest: Buffer[] = [];
  try {
    for await (const piece of createReadStream(path, { highWaterMark: PIECE_BYTES })) {
      const bytes = piece as Buffer;
      let from = 0;
      for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, from)) {
        const line = bytes.subarray(from, end);
        yield rest.length === 0 ? line : Buffer.concat([...rest, line]);
        rest = [];
        from = end + 1;
      }
      rest.push(bytes.subarray(from));
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

/** How long a call waits for the disk, as it does for its nonce. */
const WRITE_PATIENCE_MS = 5_000;

/**
 * Resolves once it is written. Rejects with ProxyError `not-owner` when that fails or takes longer than a call's
 * patience: it may be written all the same, later. `name`: what is written, `the ledger of the day`.
 */
export async function writtenInTime(written: Promise<void>, name: string): Promise<void> {
  const retry = { retryAfterSeconds: 1 };
  let timer: NodeJS.Timeout | undefined;
  const patience = new Promise<never>((_, reject) => {
    const late = `${name} was not written within ${WRITE_PATIENCE_MS} ms`;
    timer = setTimeout(() => reject(new ProxyError('not-owner', late, retry)), WRITE_PATIENCE_MS);
  });
  try {
    await Promise.race([written, patience]);
  } catch (cause) {
    if (cause instanceof ProxyError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ProxyError('not-owner', `${name} cannot be written: ${reason}`, { ...retry, cause });
  } finally {
    clearTimeout(timer);
  }
}
