import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  actContent,
  callContent,
  contentOf,
  digest,
  formLine,
  noteContent,
  type ActRecord,
  type JournaledCall,
  type LineKind,
  type Link,
} from './journal-line.js';
import { LiveFile } from './live-file.js';
import { LeftAlone } from './stand-off.js';

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
  /**
   * Asked before each write; throws while it is not certain that no other process writes this journal by now. Default: it
   * is.
   */
  readonly assertOwned?: () => void;
  /** Told when lines cannot be written, why, and when they can be again (undefined). */
  readonly onProblem?: (problem: string | undefined) => void;
  /** Told the head of each file that is complete: noted elsewhere, it proves later that nothing was cut off. */
  readonly onSealed?: (file: string, head: Link) => void;
  /** How long lines gather for one write, ms. Default 100. */
  readonly flushMs?: number;
  /** How long a file is left alone that another process writes, or that is no journal, ms. Default 60,000. */
  readonly standOffMs?: number;
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
const STAND_OFF_MS = 60_000;
/** After so long without an answer from the disk it is said to hang; opening and closing wait no longer for it. */
const PATIENCE_MS = 2_000;
/** The bound of a write: the end that is looked at after a crash has to be longer. */
const MAX_BATCH_BYTES = 512 * 1024;
const MAX_BATCH_LINES = 2_000;
/** The bound of what waits for a disk that is full or hangs, in lines and in bytes. */
const MAX_WAITING_LINES = 20_000;
const MAX_WAITING_BYTES = 32 * 1024 * 1024;
/** What a line takes in memory beside its body, about. */
const LINE_BYTES = 1_024;
/** Making lines gives way to calls after so long, ms: with 2 it doubled the p99 of a call. */
const SLICE_MS = 0.2;
const LOOK_AT_CLOCK = 4;

/**
 * An append-only file of lines, each with the hash of the one before, over rotated files and restarts. Lines are
 * written and synced together, at most `flushMs` after they came, beside the path of calls: a kill or a power cut
 * loses at most what came in the last `flushMs` and the write under way (at most 2,000 lines or 512 KiB).
 *
 * Trouble with the disk never reaches the caller. Up to 20,000 lines (32 MiB) wait for its end, more are lost and
 * counted; it tries again every second. Only one process may have a journal open: of two that do, one stands back. A
 * file that is there and no journal is left alone; that and a file that another process writes is looked at each minute.
 */
export class Journal {
  readonly #options: JournalOptions;
  readonly #flushMs: number;
  readonly #standOffMs: number;
  readonly #now: () => number;
  #keys: JournalOptions['keys'];
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  /** The writing under way. */
  #writer: Promise<void> | undefined;
  #isClosed = false;
  readonly #file: LiveFile;
  /** Why the next line must be a `begin`. */
  #begin: Begin | undefined;
  /** The one that waits first of all. */
  #begun: (Begin & { readonly line: Prepared }) | undefined;
  /** The next line does not fit into the file. */
  #isFull = false;
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
    this.#standOffMs = options.standOffMs ?? STAND_OFF_MS;
    this.#now = options.now ?? Date.now;
    this.#keys = options.keys;
    this.#file = new LiveFile({
      ...options,
      standOffMs: this.#standOffMs,
      now: this.#now,
      onBegin: (why, more) => this.#mustBegin(why, more),
      onWritten: (lines) => this.#written(lines),
    });
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
      problem: this.#problem ?? this.#file.rotateProblem,
      head: this.#file.head.seq === 0 ? undefined : this.#file.head.hash,
      bytes: this.#file.size,
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

  /** Accounts have got other keys, by fingerprint; `draws`: how many nonces this run had drawn until then. */
  newKeys(keys: Readonly<Record<string, string>>, draws: number): void {
    this.#keys = keys;
    this.note('keys', { keys, draws });
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
      await this.#file.close();
      if (this.#waiting.length === 0) this.#options.onSealed?.(this.#options.file, this.#file.head);
    };
    await inTime(
      last().catch(() => undefined),
      PATIENCE_MS,
    );
    this.#lost += this.#waiting.length;
    this.#waiting = [];
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
    let again: number | undefined;
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
      if (!(error instanceof LeftAlone)) this.#file.failed();
      this.#says((error as Error).message);
      again = error instanceof LeftAlone ? this.#standOffMs : RETRY_MS;
    }
    this.#writer = undefined;
    if ((this.#waiting.length > 0 || again !== undefined) && !this.#isClosed)
      this.#timer = this.#writeIn(again ?? this.#flushMs);
  }

  async #writeBatch(): Promise<void> {
    this.#options.assertOwned?.();
    await this.#file.ready(this.#waiting.length === 0 ? 'as it is' : this.#isFull ? 'new' : 'fresh');
    this.#isFull = false;
    if (this.#untold > 0) this.#putFirst(this.#prepared('lost', contentOf({ lines: this.#untold })));
    this.#untold = 0;
    this.#putBegin();
    const { text, hashes } = await this.#makeBatch(this.#file.head, this.#file.size);
    if (hashes.length > 0) await this.#file.append(Buffer.from(text), hashes);
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
    const room = this.#file.mayRotate ? this.#options.maxBytes - size : Infinity;
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

  /** So many lines, the first of what waits, are on disk. */
  #written(lines: number): void {
    this.#lines += lines;
    this.#begun = undefined;
    for (const line of this.#waiting.splice(0, lines)) this.#waitingBytes -= sizeOf(line);
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

async function inTime(work: Promise<void> | undefined, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)));
  await Promise.race([work, late]);
  clearTimeout(timer);
}
