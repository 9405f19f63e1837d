import { digest, NOTHING, readLine, type JournalLine, type Link } from './journal-line.js';
import { journalFiles, type RawLine } from './journal-reader.js';
import { NonceOrder } from './nonce-order.js';

/** Something that was changed, removed or put in, or a nonce that did not rise. */
export interface Damage {
  /** `file:line`, from 1. */
  readonly place: string;
  readonly what: string;
}

/** What a check of the whole journal has found. */
export interface CheckReport {
  readonly files: readonly string[];
  /** Lines that have the form of one. */
  readonly lines: number;
  readonly first: JournalLine | undefined;
  readonly last: JournalLine | undefined;
  /** Hash of the last line, hex. */
  readonly head: string | undefined;
  /** Runs of the proxy. */
  readonly runs: number;
  /** The first of them; `damageCount` counts all. */
  readonly damages: readonly Damage[];
  readonly damageCount: number;
  /** What is no damage and good to know: lines lost to a full disk, a line that was being written. */
  readonly notices: readonly string[];
  readonly noticeCount: number;
  readonly nonces: number;
  readonly keys: number;
  /** Draws that no line tells of. */
  readonly missingDraws: number;
  /** Lines that the proxy itself says it has lost. */
  readonly lost: number;
  /** How many lines follow the line with the hash that was asked for; undefined when there is none. */
  readonly linesAfterHead: number | undefined;
}

/** A doubt about the end of a file; the next file may explain it. */
interface Doubt {
  /** Where the first of it begins, bytes. */
  readonly from: number;
  /** The last line before. */
  readonly before: Link | undefined;
  readonly damages: Damage[];
  /** How many there are; the first of them are told. */
  count: number;
  /** Lines that have the form of one are among it. */
  holdsLines: boolean;
}

const MOST_DAMAGES = 20;
const MOST_NOTICES = 50;

/**
 * Reads the whole journal, rotated files first, and checks the form of each line, that it hangs on the one before, and
 * that nonces only rose. A proxy may write meanwhile. The last line is vouched for by nothing but its hash: `head`, a
 * hash noted elsewhere earlier, proves that the journal up to there is the one it was. Rejects when a file cannot be
 * read. Takes little memory (20 bytes a nonce at most), however long the journal is.
 */
export async function checkJournal(file: string, head?: string): Promise<CheckReport> {
  const check = new Check(head?.toLowerCase());
  for await (const { name, isLive, followsRemoved, lines } of journalFiles(file)) {
    check.beginFile(name, isLive, followsRemoved);
    for await (const line of lines()) check.line(line);
    check.endFile();
  }
  return check.end();
}

class Check {
  readonly #head: string | undefined;
  readonly #nonces = new NonceOrder((problem, seq) => this.#damage(`seq ${seq}`, problem));
  readonly #files: string[] = [];
  readonly #damages: Damage[] = [];
  readonly #notices: string[] = [];
  #damageCount = 0;
  #noticeCount = 0;
  #lines = 0;
  #first: JournalLine | undefined;
  #last: JournalLine | undefined;
  /** The last line's place in the chain; undefined: the next line may hang on any. */
  #link: Link | undefined;
  #place = '';
  /** Lines since the last good one that could not be read. */
  #unread = 0;
  #runs = 0;
  #run: unknown;
  #lost = 0;
  #linesAfterHead: number | undefined;
  /** The keys of the accounts, and the draw from which on they are these: for lines that do not name their key. */
  #keys: { after: number; of: Readonly<Record<string, unknown>> }[] = [];

  #file = '';
  #isLive = false;
  #size = 0;
  #doubt: Doubt | undefined;
  /** What follows the last newline, as long as nothing else does. */
  #rest: RawLine | undefined;
  /** Of the file before, until this one has explained it or not. */
  #formerDoubt: { file: string; size: number; doubt: Doubt } | undefined;

  constructor(head: string | undefined) {
    this.#head = head;
  }

  beginFile(name: string, isLive: boolean, followsRemoved: boolean): void {
    this.#files.push(name);
    this.#file = name;
    this.#isLive = isLive;
    this.#size = 0;
    if (!followsRemoved || this.#link === undefined) return;
    this.#notice('files were rotated out while this was read: there is a gap that is none');
    this.#link = undefined;
  }

  line(raw: RawLine): void {
    const { number, offset, bytes, isWhole } = raw;
    this.#size = offset + bytes.length + (isWhole ? 1 : 0);
    if (!isWhole) {
      this.#rest ??= raw;
      return;
    }
    if (this.#rest !== undefined) this.#doubts(this.#rest, 'is not a line of the journal');
    this.#rest = undefined;
    const line = readLine(bytes.toString());
    if (line === undefined) {
      if (number === 1) this.#explain(undefined);
      this.#doubts(raw, 'is not a line of the journal');
      return;
    }
    if (number === 1) this.#explain(line);
    this.#chain(raw, line, digest(bytes));
    if (this.#doubt !== undefined) this.#doubt.holdsLines = true;
    this.#read(line);
  }

  endFile(): void {
    const rest = this.#rest;
    this.#rest = undefined;
    if (rest !== undefined) {
      // A line and one byte more was whole once, and its newline is another byte now.
      const wasWhole = readLine(rest.bytes.subarray(0, -1).toString()) !== undefined;
      if (wasWhole || !this.#isLive) this.#doubts(rest, 'has no end');
      else
        this.#notice(
          `${placeOf(rest)} was being written when it was read, or when the proxy was killed: its ${this.#size - rest.offset} bytes are no whole line`,
        );
    }
    this.#settleFormer();
    if (this.#doubt !== undefined)
      this.#formerDoubt = { file: this.#file, size: this.#size, doubt: this.#doubt };
    this.#doubt = undefined;
  }

  end(): CheckReport {
    this.#settleFormer();
    this.#nonces.endRun();
    return {
      files: this.#files,
      lines: this.#lines,
      first: this.#first,
      last: this.#last,
      head: this.#link?.hash,
      runs: this.#runs,
      damages: this.#damages,
      damageCount: this.#damageCount,
      notices: this.#notices,
      noticeCount: this.#noticeCount,
      nonces: this.#nonces.count,
      keys: this.#nonces.keys,
      missingDraws: this.#nonces.missing,
      lost: this.#lost,
      linesAfterHead: this.#linesAfterHead,
    };
  }

  /** The first line of a file may tell how the file before came to its end. */
  #explain(line: JournalLine | undefined): void {
    const former = this.#formerDoubt;
    if (former !== undefined) {
      const { file, size, doubt } = former;
      const told = line?.kind === 'begin' ? (line.damaged ?? line.changed) : undefined;
      // The chain goes on behind the last good line, whatever stands after it.
      if (told !== undefined && line?.prev === (doubt.before ?? NOTHING).hash) this.#link = doubt.before;
      const { file: name, from, bytes } = (line?.damaged ?? {}) as Record<string, unknown>;
      const isTold = name === file && from === doubt.from && bytes === size - doubt.from;
      if (isTold && !doubt.holdsLines) {
        this.#formerDoubt = undefined;
        this.#notice(
          `${file} ends with ${String(bytes)} bytes that cannot be read, as after a power cut; the proxy found them so at its start`,
        );
      }
    }
    this.#settleFormer();
  }

  #settleFormer(): void {
    const doubt = this.#formerDoubt?.doubt;
    this.#formerDoubt = undefined;
    if (doubt === undefined) return;
    for (const { place, what } of doubt.damages) this.#damage(place, what);
    this.#damageCount += doubt.count - doubt.damages.length;
  }

  #chain(raw: RawLine, line: JournalLine, hash: string): void {
    const before = this.#link;
    if (raw.number === 1 && line.kind !== 'begin')
      this.#doubts(raw, 'begins its file and is no begin: lines above it are missing');
    else if (before === undefined) this.#beginChain(line);
    else if (line.seq > before.seq + 1 + this.#unread)
      this.#doubts(raw, `${missing(before.seq + 1, line.seq - 1)} missing before it`);
    else if (line.seq <= before.seq)
      this.#doubts(raw, `has seq ${line.seq}, which does not follow ${before.seq}`);
    else if (line.prev !== before.hash && this.#unread === 0)
      this.#doubts(
        raw,
        `does not hang on the line before it: ${this.#place} was changed, or this line's prev`,
      );
    this.#unread = 0;
    if (line.prev === this.#head && this.#linesAfterHead === undefined) this.#linesAfterHead = 0;
    if (this.#linesAfterHead !== undefined) this.#linesAfterHead += 1;
    if (hash === this.#head) this.#linesAfterHead = 0;
    this.#link = { seq: line.seq, hash };
    this.#place = placeOf(raw);
    this.#first ??= line;
    this.#last = line;
    this.#lines += 1;
  }

  #beginChain({ seq, prev }: JournalLine): void {
    if (seq === 1 && prev === NOTHING.hash) return;
    if (this.#lines === 0)
      this.#notice(
        `begins with seq ${seq}: what was before has been rotated out, and nothing here can vouch for it`,
      );
  }

  #read(line: JournalLine): void {
    switch (line.kind) {
      case 'begin':
        this.#readBegin(line);
        return;
      case 'lost':
        this.#lost += typeof line.lines === 'number' ? line.lines : 0;
        this.#notice(
          `seq ${line.seq} (${line.at}): ${String(line.lines)} lines were lost before it: the disk was full or did not answer`,
        );
        return;
      case 'note':
        if (line.what === 'keys') this.#readKeys(line.detail);
        return;
      case 'call':
        for (const send of sendsOf(line)) this.#readNonce(line, send);
        return;
      case 'act':
      case 'end':
    }
  }

  #readBegin({ run, why, keys, cut, seq, at }: JournalLine): void {
    if (run !== this.#run) {
      this.#run = run;
      this.#runs += 1;
      if (String(why).startsWith('start')) this.#nonces.beginRun();
      else this.#nonces.endRun();
      this.#keys = [];
    }
    if (typeof keys === 'object' && keys !== null && this.#keys.length === 0)
      this.#keys = [{ after: 0, of: keys as Record<string, unknown> }];
    if (typeof cut === 'number')
      this.#notice(
        `seq ${seq} (${at}): ${cut} bytes of a line that was being written at a kill were cut off before it`,
      );
  }

  /** Accounts have got other keys while the proxy ran. */
  #readKeys(detail: unknown): void {
    const { keys, draws } = (detail ?? {}) as Record<string, unknown>;
    if (typeof keys !== 'object' || keys === null || typeof draws !== 'number') return;
    this.#keys.push({ after: draws, of: keys as Record<string, unknown> });
  }

  #readNonce(line: JournalLine, send: ReadSend): void {
    const { draw, nonce } = send;
    if (typeof draw !== 'number' || typeof nonce !== 'string' || !/^\d{1,20}$/.test(nonce)) {
      this.#damage(`seq ${line.seq}`, 'has a nonce or a draw that is none');
      return;
    }
    const key = String(send.key ?? line.key ?? this.#keyAt(line.account, draw));
    this.#nonces.add({ key, draw, nonce: BigInt(nonce), seq: line.seq });
  }

  /** The key that an account had when a nonce was drawn for it. */
  #keyAt(account: unknown, draw: number): unknown {
    const name = String(account);
    const keys = this.#keys.findLast(({ after }) => draw > after)?.of ?? {};
    return Object.hasOwn(keys, name) ? keys[name] : name;
  }

  /** Damage, unless the next file says that the proxy found it so at its start. */
  #doubts(raw: RawLine, what: string): void {
    this.#unread += 1;
    this.#doubt ??= { from: raw.offset, before: this.#link, damages: [], count: 0, holdsLines: false };
    this.#doubt.count += 1;
    const { damages } = this.#doubt;
    if (damages.length < MOST_DAMAGES) damages.push({ place: placeOf(raw), what });
  }

  #damage(place: string, what: string): void {
    this.#damageCount += 1;
    if (this.#damages.length < MOST_DAMAGES) this.#damages.push({ place, what });
  }

  #notice(text: string): void {
    this.#noticeCount += 1;
    if (this.#notices.length < MOST_NOTICES) this.#notices.push(text);
  }
}

function placeOf({ file, number }: Pick<RawLine, 'file' | 'number'>): string {
  return `${file}:${number}`;
}

function missing(from: number, to: number): string {
  return from === to ? `the line with seq ${from} is` : `the lines with seq ${from} to ${to} are`;
}

/** A nonce of a call as its line tells of it. */
interface ReadSend {
  readonly draw: unknown;
  readonly nonce: unknown;
  /** Where another key signed it than the one that signed the last. */
  readonly key?: unknown;
}

function sendsOf({ sends, draw, nonce }: JournalLine): readonly ReadSend[] {
  if (Array.isArray(sends)) return sends as ReadSend[];
  return nonce === undefined && draw === undefined ? [] : [{ draw, nonce }];
}
