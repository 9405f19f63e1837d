import { constants } from 'node:fs';
import { mkdir, open, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { syncFolder } from '../durable-file.js';
import { beginsAsJournal, readEnd, type FileEnd } from './journal-end.js';
import { rotatedFiles, rotatedPath } from './journal-files.js';
import { NOTHING, type Link } from './journal-line.js';
import { openRegular } from './regular-file.js';
import { LeftAlone, StandOff } from './stand-off.js';

export interface LiveFileOptions {
  readonly file: string;
  readonly maxAgeMs: number;
  readonly keep: number;
  /** How long a file that another process writes is left alone at least, ms. */
  readonly standOffMs: number;
  /** Unix ms. */
  readonly now: () => number;
  /** The next line has to be a `begin`, for this reason. */
  readonly onBegin: (why: string, more: Record<string, unknown>) => void;
  /** So many of the lines that were given are on disk. */
  readonly onWritten: (lines: number) => void;
  /** A file is complete; its last line. */
  readonly onSealed?: (file: string, head: Link) => void;
}

/** The file while it is open. */
interface Live {
  readonly handle: FileHandle;
  readonly inode: number;
  /** Seq of its first line; of the first one to come while it is empty. */
  readonly first: number;
  /** When its first line was written, unix ms. */
  readonly began: number;
  /** Bytes that are on disk for certain; whatever is behind them is ours to cut off. */
  size: number;
}

/** A folder in which nothing can be renamed: the file grows on, and this is the time to the next try, ms. */
const ROTATE_AGAIN_MS = 60_000;
const FOLDER_MODE = 0o700;
const FILE_MODE = 0o600;

/**
 * The file of a journal that is written to. Goes on behind the last good line there is, mends what a crash or a write
 * that failed has left, never changes or removes a good line, and rotates. One call at a time.
 */
export class LiveFile {
  readonly #options: LiveFileOptions;
  #live: Live | undefined;
  /** What the file holds behind its good size is not known. */
  #isTorn = false;
  /** It was put aside, and the new one is not made yet. */
  #isMissing = false;
  /** The last line on disk; undefined until the files were read. */
  #head: Link | undefined;
  /** The hashes of lines whose write failed: they may have got there all the same. */
  #attempted: readonly string[] = [];
  /** Monotonic ms of the next try to rotate, after one has failed. */
  #rotateAt = 0;
  #rotateProblem: string | undefined;
  readonly #standOff: StandOff;

  constructor(options: LiveFileOptions) {
    this.#options = options;
    this.#standOff = new StandOff(options.standOffMs);
  }

  /** The last line on disk. */
  get head(): Link {
    return this.#head ?? NOTHING;
  }

  /** Bytes on disk. */
  get size(): number {
    return this.#live?.size ?? 0;
  }

  /** Why it cannot be rotated, and grows on. */
  get rotateProblem(): string | undefined {
    return this.#rotateProblem;
  }

  /** False for a while after a rotation has failed. */
  get mayRotate(): boolean {
    return performance.now() >= this.#rotateAt;
  }

  /**
   * Makes the file as it has to be for the next write: `fresh` rotates one that is too old, `new` rotates it in any
   * case, as far as that is possible. Rejects while no file can be had; with LeftAlone where what is there is not to be
   * touched.
   */
  async ready(need: 'as it is' | 'fresh' | 'new'): Promise<void> {
    let live = this.#live;
    if (live !== undefined && this.#isTorn) live = await this.#mend(live);
    if (live !== undefined) live = await this.#ours(live);
    live ??= await this.#openLive();
    const isOld = this.#options.now() - live.began >= this.#options.maxAgeMs;
    const isDue = need === 'new' || (need === 'fresh' && isOld);
    if (isDue && live.size > 0 && this.mayRotate) await this.#rotate(live, need === 'new' ? 'size' : 'age');
  }

  /** Adds whole lines, whose hashes these are, and resolves once they are on disk. Only after `ready`. */
  async append(bytes: Buffer, hashes: readonly string[]): Promise<void> {
    const live = this.#live;
    if (live === undefined) throw new Error('the file is not ready');
    this.#attempted = hashes;
    await live.handle.appendFile(bytes);
    await live.handle.datasync();
    live.size += bytes.length;
    this.#written(hashes);
  }

  /** Something went wrong in `ready` or `append`: what the file holds at its end is not known. */
  failed(): void {
    this.#isTorn = true;
  }

  async close(): Promise<void> {
    if (this.#live !== undefined) await this.#letGo(this.#live);
  }

  /** Cuts off what a write that failed has left. Undefined when that fails too. */
  async #mend(live: Live): Promise<Live | undefined> {
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
  async #ours(live: Live): Promise<Live | undefined> {
    const { file } = this.#options;
    const found = await stat(file).catch((error: unknown) => {
      if (['ENOENT', 'ENOTDIR'].includes(String((error as NodeJS.ErrnoException).code))) return undefined;
      throw error;
    });
    if (found?.ino === live.inode && found.size === live.size) return live;
    await this.#letGo(live);
    return undefined;
  }

  async #letGo({ handle }: Live): Promise<void> {
    this.#live = undefined;
    await handle.close().catch(() => undefined);
  }

  /** Opens the live file, or makes one: at the start, and when the former was lost or cannot be mended. */
  async #openLive(): Promise<Live> {
    const { file } = this.#options;
    await mkdir(dirname(file), { recursive: true, mode: FOLDER_MODE });
    const end = await endOf(file);
    if (end === undefined) {
      const wasThere = this.#head !== undefined && !this.#isMissing;
      return await this.#make(wasThere ? 'the file was gone' : 'new');
    }
    // A secret, say, whose name was given by mistake.
    if (!end.isJournal)
      throw new LeftAlone(`${file} is not a journal: it is left alone; journal.file needs another name`);
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
    if (!isOurs && !this.#standOff.mayMove(end.mark))
      throw new LeftAlone(`another process writes ${file}: give each proxy a journal.file of its own`);
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
  async #goOn(end: FileEnd): Promise<Live> {
    const { file } = this.#options;
    const handle = await openRegular(file, constants.O_WRONLY | constants.O_APPEND);
    try {
      if (end.goodSize < end.size) {
        await handle.truncate(end.goodSize);
        this.#options.onBegin('cut', { cut: end.size - end.goodSize });
      }
      await handle.datasync();
      const { ino } = await handle.stat();
      if (end.goodSize === 0) this.#options.onBegin('new', {});
      return this.#own({
        handle,
        inode: ino,
        first: end.first?.seq ?? this.#next,
        began: end.first?.at ?? this.#options.now(),
        size: end.goodSize,
      });
    } catch (error) {
      await handle.close().catch(() => undefined);
      throw error;
    }
  }

  /** Puts a file that does not end as it should out of the way, untouched, and begins a new one that says so. */
  async #moveAside(end: FileEnd, isOurs: boolean): Promise<Live> {
    const { file } = this.#options;
    const path = await rotatedPath(file, end.first?.seq ?? this.#next);
    await rename(file, path);
    this.#isMissing = true;
    const damaged = { file: basename(path), from: end.goodSize, bytes: end.size - end.goodSize };
    return isOurs
      ? await this.#make('the file before ends damaged', { damaged })
      : await this.#make('another program has changed the file before', { changed: basename(path) });
  }

  /** Rotates, or leaves it for a while when that fails: a file that is too long is better than none. */
  async #rotate(live: Live, why: string): Promise<Live> {
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
    this.#isMissing = true;
    await this.#letGo(live);
    if (this.#head !== undefined) onSealed?.(path, this.#head);
    const next = await this.#make(why);
    await this.#removeOldest().catch(() => undefined); // with the next rotation
    return next;
  }

  async #make(why: string, more: Record<string, unknown> = {}): Promise<Live> {
    const { file } = this.#options;
    this.#options.onBegin(why, more);
    this.#head ??= await this.#lastOfRotated();
    const handle = await open(
      file,
      constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_EXCL,
      FILE_MODE,
    );
    try {
      await syncFolder(dirname(file));
      const { ino } = await handle.stat();
      return this.#own({ handle, inode: ino, first: this.#next, began: this.#options.now(), size: 0 });
    } catch (error) {
      await handle.close().catch(() => undefined);
      throw error;
    }
  }

  #own(live: Live): Live {
    this.#live = live;
    this.#isTorn = false;
    this.#isMissing = false;
    this.#standOff.isOver();
    return live;
  }

  async #removeOldest(): Promise<void> {
    const { file, keep } = this.#options;
    if (keep === 0) return;
    const files = await rotatedFiles(file);
    for (const { path } of files.slice(0, -keep)) {
      // Another file may have such a name, and one that cannot be read is not ours to judge.
      if (await beginsAsJournal(path).catch(() => false)) await rm(path, { force: true });
    }
  }

  /** The seq of the next line. */
  get #next(): number {
    return (this.#head?.seq ?? 0) + 1;
  }

  #written(hashes: readonly string[]): void {
    const hash = hashes.at(-1);
    if (hash === undefined) return;
    this.#head = { seq: this.head.seq + hashes.length, hash };
    this.#attempted = [];
    this.#options.onWritten(hashes.length);
  }
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
