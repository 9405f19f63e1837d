import type { FileHandle } from 'node:fs/promises';
import { digest, MAX_LINE_BYTES, readLine, type Link } from './journal-line.js';
import { openRegular } from './regular-file.js';

/** How a file of the journal ends, and how it begins. */
export interface FileEnd {
  /** Bytes in the file. */
  readonly size: number;
  /** Bytes up to the end of its last good line. */
  readonly goodSize: number;
  /** Its last good line; undefined when it has none. */
  readonly last: Link | undefined;
  /** What follows the last good line is only a line that was being written: it holds no newline. */
  readonly isTorn: boolean;
  /** It holds a line of a journal, or is empty, or holds what a very first write that was cut off leaves. */
  readonly isJournal: boolean;
  /** Differs once anything was written to it, or another file is in its place. */
  readonly mark: string;
  /** Its first line, where that can be read. */
  readonly first: { readonly seq: number; /** Unix ms. */ readonly at: number } | undefined;
}

const NEWLINE = 0x0a;
/** How a file begins, with every number 0. */
const BEGIN_SHAPE = '{"seq":0,"at":"0-0-0T0:0:0.0Z","kind":"begin",';
/**
 * How much of the end is looked at. After a power cut any page of the last write may be missing, before others of it
 * that are there: the window is longer than any write and a line.
 */
const WINDOW_BYTES = 1024 * 1024;

/**
 * Reads the end of a file, not the whole of it unless it holds no line of a journal. Rejects when it cannot be read;
 * `ENOENT` when there is none, LeftAlone when it is no file.
 */
export async function readEnd(path: string): Promise<FileEnd> {
  const handle = await openRegular(path);
  try {
    const { size, ino, mtimeMs } = await handle.stat();
    const mark = `${ino} ${size} ${mtimeMs}`;
    const first = await readFirst(handle, size);
    const wholeEnd = (await lastNewline(handle, size)) + 1;
    // A window without one good line is no end that a power cut leaves; then the last good line is looked for above it.
    for (let end = wholeEnd; end > 0; end = Math.max(0, end - WINDOW_BYTES + MAX_LINE_BYTES)) {
      const start = Math.max(0, end - WINDOW_BYTES);
      const good = lastGood(await readAt(handle, start, end - start), start === 0);
      if (good === undefined) {
        if (start === 0) break;
        continue;
      }
      const goodSize = start + good.end;
      const isTorn = goodSize === wholeEnd && goodSize < size;
      return { size, goodSize, last: good.link, isTorn, isJournal: true, mark, first };
    }
    const isJournal = size === 0 || (size <= WINDOW_BYTES && isBegun(await readAt(handle, 0, size)));
    return { size, goodSize: 0, last: undefined, isTorn: wholeEnd === 0 && size > 0, isJournal, mark, first };
  } finally {
    await handle.close();
  }
}

/** The last line up to which every line of a window hangs on the one before. */
function lastGood(bytes: Buffer, isFromStart: boolean): { link: Link; end: number } | undefined {
  let from = isFromStart ? 0 : bytes.indexOf(NEWLINE) + 1;
  let good: { link: Link; end: number } | undefined;
  for (let end = bytes.indexOf(NEWLINE, from); end >= 0; end = bytes.indexOf(NEWLINE, from)) {
    const whole = bytes.subarray(from, end);
    from = end + 1;
    const line = readLine(whole.toString());
    if (line === undefined || (good !== undefined && line.prev !== good.link.hash)) {
      if (good !== undefined) break;
      continue;
    }
    good = { link: { seq: line.seq, hash: digest(whole) }, end: from };
  }
  return good;
}

/** Whether a file without a line is what a power cut leaves of the first write to it: its beginning, zeros, or both. */
function isBegun(bytes: Buffer): boolean {
  const zeros = bytes.indexOf(0);
  const text = bytes.toString('latin1', 0, zeros < 0 ? bytes.length : zeros);
  const shape = text.replace(/\d+/g, '0');
  const isOurs = (BEGIN_SHAPE.startsWith(shape) || shape.startsWith(BEGIN_SHAPE)) && !text.includes('\n');
  return isOurs && (zeros < 0 || bytes.subarray(zeros).every((byte) => byte === 0));
}

/** Whether the first line of a file is a journal's. Rejects when it cannot be read. */
export async function beginsAsJournal(path: string): Promise<boolean> {
  const handle = await openRegular(path);
  try {
    return (await readFirst(handle, (await handle.stat()).size)) !== undefined;
  } finally {
    await handle.close();
  }
}

async function readFirst(handle: FileHandle, size: number): Promise<FileEnd['first']> {
  const bytes = await readAt(handle, 0, Math.min(size, MAX_LINE_BYTES));
  const end = bytes.indexOf(NEWLINE);
  const line = end < 0 ? undefined : readLine(bytes.toString('utf8', 0, end));
  return line && { seq: line.seq, at: Date.parse(line.at) };
}

/** The offset of the last newline; -1 when there is none. */
async function lastNewline(handle: FileHandle, size: number): Promise<number> {
  for (let end = size; end > 0; end = Math.max(0, end - WINDOW_BYTES)) {
    const start = Math.max(0, end - WINDOW_BYTES);
    const at = (await readAt(handle, start, end - start)).lastIndexOf(NEWLINE);
    if (at >= 0) return start + at;
  }
  return -1;
}

/** So many bytes; fewer where the file ends before. */
async function readAt(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(bytes, filled, length - filled, position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}
