import { open, type FileHandle } from 'node:fs/promises';
import { digest, MAX_LINE_BYTES, readLine, type Link } from './journal-line.js';

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
  /** Its first line, where that can be read. */
  readonly first: { readonly seq: number; /** Unix ms. */ readonly at: number } | undefined;
}

const NEWLINE = 0x0a;
/**
 * How much of the end is looked at. After a power cut any page of the last write may be missing, before others of it
 * that are there: the window is longer than any write and a line.
 */
const WINDOW_BYTES = 1024 * 1024;

/** Reads the end of a file, not the whole of it. Rejects when it cannot be read; `ENOENT` when there is none. */
export async function readEnd(path: string): Promise<FileEnd> {
  const handle = await open(path, 'r');
  try {
    const { size } = await handle.stat();
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
      return { size, goodSize, last: good.link, isTorn: goodSize === wholeEnd && goodSize < size, first };
    }
    return { size, goodSize: 0, last: undefined, isTorn: wholeEnd === 0 && size > 0, first };
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
