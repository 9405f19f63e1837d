import { constants } from 'node:fs';
import { mkdir, open, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { syncFolder } from '../durable-file.js';
import { readEnd, type FileEnd } from './journal-end.js';
import { rotatedFiles, rotatedPath } from './journal-files.js';
import {
  actContent,
  callContent,
  contentOf,
  digest,
  formLine,
  NOTHING,
  noteContent,
  type ActRecord,
  type JournaledCall,
  type LineKind,
  type Link,
} from './journal-line.js';

export interface JournalOptions {
  /** The live file; rotated ones lie beside it as `<name>.<seq of its first line>.jsonl`. */
  readonly file: string;
  /** A file is rotated before it grows beyond this. */
  readonly maxBytes: number;
  /** A file is rotated when its first line is older than this, with the next line that is written, ms. */
  readonly maxAgeMs: number;
  /** Rotated files that are kept; 0: all. */
  readonly keep: number;
  readonly version: string;
  /** Names this run of the process: draws of nonces count within it. */
  readonly run: string;
  /** The keys' fingerprints by account: nonces rise for each key, and an account may get another one. */
  readonly keys?: Readonly<Record<string, string>>;
  /** Told when lines cannot be written, why, and when they can be again (undefined). */
  readonly onProblem?: (problem: string | undefined) => void;
  /** Told the head of each file that is complete: noted elsewhere, it proves later that nothing was cut off. */
  readonly onSealed?: (file: string, head: Link) => void;
  /** How long lines gather for one write, ms. Default 100. */
  readonly flushMs?: number;
  /** Unix ms. Default: the system's clock. */
  readonly now?: () => number;
}

export interface JournalState {
  readonly file: string;
  /** Lines on disk since this run began. */
  readonly lines: number;
  /** Lines lost since this run began. */
  readonly lost: number;
  /** Why lines cannot be written now. */
  readonly problem: string | undefined;
  /** Hash of the last line on disk, hex. */
  readonly head: string | undefined;
  /** Bytes in the live file. */
  readonly bytes: number;
}

/** The live file. */
interface LiveFile {
  readonly handle: FileHandle;
  readonly inode: number;
  /** Seq of its first line; of the first one to come while it is empty. */
  first: number;
  /** When its first line was written, unix ms. */
  began: number;
  /** Bytes that are on disk for certain; whatever is behind them is ours to cut off. */
  size: number;
}

/** A line that waits, other than a call's. */
class Prepared {
  readonly kind: LineKind;
  readonly at: number;
  readonly content: string;

  constructor(kind: LineKind, at: number, content: string) {
    this.kind = kind;
    this.at = at;
    this.content = content;
  }
}

type Waiting = JournaledCall | Prepared;

/** What a `begin` says. */
interface Begin {
  readonly why: string[];
  readonly more: Record<string, unknown>;
}

/** Lines of one write. */
interface Batch {
  readonly text: string;
  /** The hash of each, hex. */
  readonly hashes: readonly string[];
}

const FLUSH_MS = 100;
const RETRY_MS = 1_000;
/** After so long without an answer from the disk it is said to hang; opening and closing wait no longer for it. */
const PATIENCE_MS = 2_000;
/** A folder in which nothing can be renamed: the file grows on, and this is the time to the next try, ms. */
const ROTATE_AGAIN_MS = 60_000;
/** The bound of a write: the end that is looked at after a crash has to be longer. */
const MAX_BATCH_BYTES = 512 * 1024;
const MAX_BATCH_LINES = 2_000;
/** The bound of what waits for a disk that is full or hangs, in lines and in bytes. */
const MAX_WAITING_LINES = 20_000;
const MAX_WAITING_BYTES = 32 * 1024 * 1024;
/** What a line takes in memory beside its body, about. */
const LINE_BYTES = 1_024;
/** Making lines gives way to calls after so long, ms. */
const SLICE_MS = 2;
const LOOK_AT_CLOCK = 16;
const FOLDER_MODE = 0o700;
const FILE_MODE = 0o600;

/**
 * An append-only file of lines, each with the hash of the one before, over rotated files and restarts. Lines are
 * written and synced together, at most `flushMs` after they came, beside the path of calls: a kill or a power cut
 * loses at most what came in the last `flushMs` and the write under way (at most 2,000 lines or 512 KiB).
 *
 * Trouble with the disk never reaches the caller. Up to 20,000 lines (32 MiB) wait for its end, more are lost and
 * counted; it tries again every second. Only one process may have a journal open.
 */
export class Journal {
  readonly #options: JournalOptions;
  readonly #flushMs: number;
  readonly #now: () => number;
  #keys: JournalOptions['keys'];
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  /** The writing under way. */
  #writer: Promise<void> | undefined;
  #isClosed = false;
  #live: LiveFile | undefined;
  /** What the file holds behind its good size is not known. */
  #isTorn = false;
  /** The last line on disk; undefined until the files were read. */
  #head: Link | undefined;
  /** The hashes of lines whose write failed: they may have got there all the same. */
  #attempted: readonly string[] = [];
  /** Why the next line must be a `begin`. */
  #begin: Begin | undefined;
  /** The one that waits first of all. */
  #begun: (Begin & { readonly line: Prepared }) | undefined;
  #isFull = false;
  /** Monotonic ms of the next try to rotate, after one has failed. */
  #rotateAt = 0;
  #rotateProblem: string | undefined;
  #problem: string | undefined;
  #timeOf = NaN;
  #time = '';
  #lines = 0;
  #lost = 0;
  /** Lost lines that no `lost` line tells of yet. */
  #untold = 0;

  private constructor(options: JournalOptions) {
    this.#options = options;
    this.#flushMs = options.flushMs ?? FLUSH_MS;
    this.#now = options.now ?? Date.now;
    this.#keys = options.keys;
    this.#mustBegin('start');
  }

  /** Goes on behind the last good line there is. Never rejects: what is wrong with the disk is in `state.problem`. */
  static async open(options: JournalOptions): Promise<Journal> {
    const journal = new Journal(options);
    journal.#write();
    await inTime(journal.#writer, PATIENCE_MS);
    return journal;
  }

  get state(): JournalState {
    return {
      file: this.#options.file,
      lines: this.#lines,
      lost: this.#lost,
      problem: this.#problem ?? this.#rotateProblem,
      head: this.#head?.seq === 0 ? undefined : this.#head?.hash,
      bytes: this.#live?.size ?? 0,
    };
  }

  /** Journals a call that has ended, as it is now. */
  call(record: JournaledCall): void {
    // A disk that hangs must not keep bodies in memory.
    const isLong = this.#waiting.length > MAX_BATCH_LINES;
    this.#add(isLong ? this.#prepared('call', callContent(record), record.arrivedAt) : { ...record });
  }

  act(act: ActRecord): void {
    this.#add(this.#prepared('act', actContent(act)));
  }

  /** Something that was noticed: `what` in a word, such as `breaker`. */
  note(what: string, detail: Readonly<Record<string, unknown>>): void {
    this.#add(this.#prepared('note', noteContent(what, detail)));
  }

  /** Writes what waits and says that it was closed in order. Never rejects, and gives a disk that hangs up after 2 s. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#add(this.#prepared('end', ''));
    this.#isClosed = true;
    clearTimeout(this.#timer);
    const last = async (): Promise<void> => {
      await this.#writer;
      this.#write();
      await this.#writer;
      await this.#live?.handle.close();
      if (this.#head !== undefined && this.#waiting.length === 0)
        this.#options.onSealed?.(this.#options.file, this.#head);
    };
    await inTime(
      last().catch(() => undefined),
      PATIENCE_MS,
    );
    this.#live = undefined;
    this.#lost += this.#waiting.length;
    this.#waiting = [];
  }

  /** Accounts have got other keys, by fingerprint; `draws`: how many nonces this run had drawn until then. */
  newKeys(keys: Readonly<Record<string, string>>, draws: number): void {
    this.#keys = keys;
    this.note('keys', { keys, draws });
  }

  #prepared(kind: LineKind, content: string, at = this.#now()): Prepared {
    return new Prepared(kind, at, content);
  }

  #add(line: Waiting): void {
    if (
      this.#isClosed ||
      this.#waiting.length >= MAX_WAITING_LINES ||
      this.#waitingBytes >= MAX_WAITING_BYTES
    ) {
      this.#lost += 1;
      this.#untold += 1;
      return;
    }
    this.#waiting.push(line);
    this.#waitingBytes += sizeOf(line);
    if (this.#writer === undefined) this.#timer ??= this.#writeIn(this.#flushMs);
  }

  #writeIn(ms: number): NodeJS.Timeout {
    return setTimeout(() => this.#write(), ms).unref();
  }

  /** Begins to write, if that is not under way. */
  #write(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writer ??= this.#writeAll();
  }

  /** Writes what waits until there is less than a batch, or all of it when closed; never rejects. */
  async #writeAll(): Promise<void> {
    let again = this.#flushMs;
    try {
      do {
        const hanging = setTimeout(() => this.#says('the disk does not answer'), PATIENCE_MS).unref();
        try {
          await this.#writeBatch();
        } finally {
          clearTimeout(hanging);
        }
        this.#says(undefined);
      } while (this.#waiting.length >= (this.#isClosed || this.#isFull ? 1 : MAX_BATCH_LINES));
    } catch (error) {
      this.#isTorn = true;
      this.#says((error as Error).message);
      again = RETRY_MS;
    }
    this.#writer = undefined;
    if ((this.#waiting.length > 0 || again === RETRY_MS) && !this.#isClosed)
      this.#timer = this.#writeIn(again);
  }

  async #writeBatch(): Promise<void> {
    const live = await this.#ready();
    if (this.#untold > 0) this.#putFirst(this.#prepared('lost', contentOf({ lines: this.#untold })));
    this.#untold = 0;
    this.#putBegin();
    const { text, hashes } = await this.#makeBatch(this.#head ?? NOTHING, live.size);
    if (hashes.length === 0) return;
    const bytes = Buffer.from(text);
    this.#attempted = hashes;
    await live.handle.appendFile(bytes);
    await live.handle.datasync();
    live.size += bytes.length;
    this.#written(hashes);
  }

  /** A file begins with a `begin`, and nothing comes before that. */
  #putFirst(line: Prepared): void {
    this.#waiting.splice(this.#waiting[0] === this.#begun?.line ? 1 : 0, 0, line);
    this.#waitingBytes += sizeOf(line);
  }

  #putBegin(): void {
    if (this.#begin === undefined) return;
    const { version, run } = this.#options;
    const keys = this.#keys && { keys: this.#keys };
    const { why, more } = this.#begin;
    const line = this.#prepared('begin', contentOf({ version, run, why: why.join(', '), ...keys, ...more }));
    this.#begun = { line, ...this.#begin };
    this.#begin = undefined;
    this.#waiting.unshift(line);
    this.#waitingBytes += sizeOf(line);
  }

  /** The next lines for a file, in slices so short that no call waits for them. */
  async #makeBatch(head: Link, size: number): Promise<Batch> {
    const hashes: string[] = [];
    const room = this.#isRotatable ? this.#options.maxBytes - size : Infinity;
    let text = '';
    let length = 0;
    let prev = head.hash;
    let sliceEnd = performance.now() + SLICE_MS;
    for (let index = 0; index < this.#waiting.length && index < MAX_BATCH_LINES; index++) {
      const waiting = this.#waiting[index];
      if (waiting === undefined) break;
      const line = this.#formSafely(waiting, head.seq + index + 1, prev);
      const withIt = length + Buffer.byteLength(line) + 1;
      // A file holds more than its `begin`, however small it has to be.
      const isFull = withIt > room && (size > 0 || index > 1);
      if (isFull) this.#isFull = true;
      if (isFull || (index > 0 && withIt > MAX_BATCH_BYTES)) break;
      prev = digest(line);
      hashes.push(prev);
      text += `${line}\n`;
      length = withIt;
      if (index % LOOK_AT_CLOCK !== 0 || performance.now() < sliceEnd) continue;
      await nextTurn();
      sliceEnd = performance.now() + SLICE_MS;
    }
    return { text, hashes };
  }

  /** What cannot be told must not stand in the way of what comes after it. */
  #formSafely(waiting: Waiting, seq: number, prev: string): string {
    try {
      return this.#form(waiting, seq, prev);
    } catch {
      return formLine(seq, this.#isoTime(this.#now()), 'note', noteContent('unreadable', {}), prev);
    }
  }

  #form(waiting: Waiting, seq: number, prev: string): string {
    if (waiting instanceof Prepared)
      return formLine(seq, this.#isoTime(waiting.at), waiting.kind, waiting.content, prev);
    return formLine(seq, this.#isoTime(waiting.arrivedAt), 'call', callContent(waiting), prev);
  }

  /** Made once a millisecond: under load many lines share one. */
  #isoTime(at: number): string {
    if (at !== this.#timeOf) {
      this.#timeOf = at;
      this.#time = new Date(at).toISOString();
    }
    return this.#time;
  }

  /** The first of what waits is on disk. */
  #written(hashes: readonly string[]): void {
    const hash = hashes.at(-1);
    if (hash === undefined) return;
    this.#head = { seq: (this.#head?.seq ?? 0) + hashes.length, hash };
    this.#lines += hashes.length;
    this.#attempted = [];
    this.#begun = undefined;
    for (const line of this.#waiting.splice(0, hashes.length)) this.#waitingBytes -= sizeOf(line);
  }

  /** The live file, as it has to be for the next write. Rejects while that cannot be had. */
  async #ready(): Promise<LiveFile> {
    let live = this.#live;
    if (live !== undefined && this.#isTorn) live = await this.#mend(live);
    if (live !== undefined) live = await this.#ours(live);
    live ??= await this.#openLive();
    const isOld = this.#now() - live.began >= this.#options.maxAgeMs;
    if (live.size > 0 && (isOld || this.#isFull) && this.#waiting.length > 0 && this.#isRotatable)
      live = await this.#rotate(live, this.#isFull ? 'size' : 'age');
    return live;
  }

  /** Cuts off what a write that failed has left. Undefined when that fails too. */
  async #mend(live: LiveFile): Promise<LiveFile | undefined> {
    try {
      await live.handle.truncate(live.size);
      await live.handle.datasync();
      this.#isTorn = false;
      return live;
    } catch {
      await this.#letGo(live);
      return undefined;
    }
  }

  /** The file, if it is where and as long as it was left. */
  async #ours(live: LiveFile): Promise<LiveFile | undefined> {
    const { file } = this.#options;
    const found = await stat(file).catch((error: unknown) => {
      if (['ENOENT', 'ENOTDIR'].includes(String((error as NodeJS.ErrnoException).code))) return undefined;
      throw error;
    });
    if (found?.ino === live.inode && found.size === live.size) return live;
    await this.#letGo(live);
    return undefined;
  }

  async #letGo({ handle }: LiveFile): Promise<void> {
    this.#live = undefined;
    await handle.close().catch(() => undefined);
  }

  /** Opens the live file, or makes one: at the start, and when the former was lost or cannot be mended. */
  async #openLive(): Promise<LiveFile> {
    const { file } = this.#options;
    await mkdir(dirname(file), { recursive: true, mode: FOLDER_MODE });
    const end = await endOf(file);
    if (end === undefined)
      return await this.#make(this.#head === undefined ? undefined : 'the file was gone');
    const isOurs = await this.#goOnFrom(end);
    const isWhole = isOurs && (end.goodSize === end.size || end.isTorn);
    if (isWhole) {
      try {
        return await this.#goOn(end);
      } catch (error) {
        // One that can be neither mended nor moved is one that cannot be written.
        if (end.goodSize === end.size) throw error;
      }
    }
    return await this.#moveAside(end, isOurs);
  }

  /** Settles behind which line the chain goes on. False when the file does not end with what we wrote. */
  async #goOnFrom(end: FileEnd): Promise<boolean> {
    if (this.#head === undefined) {
      this.#head = end.last ?? (await this.#lastOfRotated());
      return true;
    }
    // Only a write of ours that failed leaves something behind the last good line.
    if (end.goodSize < end.size && !this.#isTorn) return false;
    if (end.last === undefined) return end.size === 0 || end.isTorn;
    const ahead = end.last.seq - this.#head.seq;
    if (ahead === 0) return end.last.hash === this.#head.hash;
    if (ahead < 0 || this.#attempted[ahead - 1] !== end.last.hash) return false;
    this.#written(this.#attempted.slice(0, ahead)); // the write that failed had got so far
    return true;
  }

  async #lastOfRotated(): Promise<Link> {
    const files = await rotatedFiles(this.#options.file);
    for (const { path } of files.reverse()) {
      const { last } = await readEnd(path);
      if (last !== undefined) return last;
    }
    const newest = files[0];
    return newest === undefined ? NOTHING : { ...NOTHING, seq: newest.first };
  }

  /** Opens a file that ends well, but for a line that was being written, which is cut off. */
  async #goOn(end: FileEnd): Promise<LiveFile> {
    const { file } = this.#options;
    const handle = await open(file, constants.O_WRONLY | constants.O_APPEND);
    try {
      if (end.goodSize < end.size) {
        await handle.truncate(end.goodSize);
        this.#mustBegin('cut', { cut: end.size - end.goodSize });
      }
      await handle.datasync();
      const { ino } = await handle.stat();
      if (end.goodSize === 0) this.#mustBegin('new');
      return this.#own({
        handle,
        inode: ino,
        first: end.first?.seq ?? this.#next,
        began: end.first?.at ?? this.#now(),
        size: end.goodSize,
      });
    } catch (error) {
      await handle.close().catch(() => undefined);
      throw error;
    }
  }

  /** Puts a file that does not end as it should out of the way, untouched, and begins a new one that says so. */
  async #moveAside(end: FileEnd, isOurs: boolean): Promise<LiveFile> {
    const { file } = this.#options;
    const path = await rotatedPath(file, end.first?.seq ?? this.#next);
    await rename(file, path);
    const damaged = { file: basename(path), from: end.goodSize, bytes: end.size - end.goodSize };
    return isOurs
      ? await this.#make('the file before ends damaged', { damaged })
      : await this.#make('another program has changed the file before', { changed: basename(path) });
  }

  /** Rotates, or leaves it for a while when that fails: a file that is too long is better than none. */
  async #rotate(live: LiveFile, why: string): Promise<LiveFile> {
    const { file, onSealed } = this.#options;
    let path: string;
    try {
      path = await rotatedPath(file, live.first);
      await rename(file, path);
    } catch (error) {
      this.#rotateAt = performance.now() + ROTATE_AGAIN_MS;
      this.#rotateProblem = `the file is not rotated: ${(error as Error).message}`;
      return live;
    }
    this.#rotateProblem = undefined;
    await this.#letGo(live);
    if (this.#head !== undefined) onSealed?.(path, this.#head);
    const next = await this.#make(why);
    await this.#removeOldest().catch(() => undefined); // with the next rotation
    return next;
  }

  async #make(why: string | undefined, more: Record<string, unknown> = {}): Promise<LiveFile> {
    const { file } = this.#options;
    this.#mustBegin(why ?? 'new', more);
    this.#head ??= await this.#lastOfRotated();
    const handle = await open(
      file,
      constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_EXCL,
      FILE_MODE,
    );
    try {
      await syncFolder(dirname(file));
      const { ino } = await handle.stat();
      return this.#own({ handle, inode: ino, first: this.#next, began: this.#now(), size: 0 });
    } catch (error) {
      await handle.close().catch(() => undefined);
      throw error;
    }
  }

  #own(live: LiveFile): LiveFile {
    this.#live = live;
    this.#isTorn = false;
    this.#isFull = false;
    return live;
  }

  async #removeOldest(): Promise<void> {
    const { file, keep } = this.#options;
    if (keep === 0) return;
    const files = await rotatedFiles(file);
    for (const { path } of files.slice(0, -keep)) await rm(path, { force: true });
  }

  get #isRotatable(): boolean {
    return performance.now() >= this.#rotateAt;
  }

  /** The seq of the next line. */
  get #next(): number {
    return (this.#head?.seq ?? 0) + 1;
  }

  #mustBegin(why: string, more: Record<string, unknown> = {}): void {
    if (this.#begun !== undefined) {
      // It was not written yet: one says it all.
      this.#waiting.splice(this.#waiting.indexOf(this.#begun.line), 1);
      this.#waitingBytes -= sizeOf(this.#begun.line);
      this.#begin = this.#begun;
      this.#begun = undefined;
    }
    this.#begin ??= { why: [], more: {} };
    if (!this.#begin.why.includes(why)) this.#begin.why.push(why);
    Object.assign(this.#begin.more, more);
  }

  #says(problem: string | undefined): void {
    if (problem === this.#problem) return;
    this.#problem = problem;
    this.#options.onProblem?.(problem);
  }
}

/** Memory that a line takes while it waits, bytes. */
function sizeOf(line: Waiting): number {
  return LINE_BYTES + (line instanceof Prepared ? line.content.length : (line.body?.length ?? 0));
}

/** How the file ends; undefined where there is none. */
async function endOf(file: string): Promise<FileEnd | undefined> {
  try {
    return await readEnd(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

async function inTime(work: Promise<void> | undefined, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)));
  await Promise.race([work, late]);
  clearTimeout(timer);
}
