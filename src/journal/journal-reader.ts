import { stat, type FileHandle } from 'node:fs/promises';
import { basename } from 'node:path';
import { rotatedFiles } from './journal-files.js';
import { MAX_LINE_BYTES } from './journal-line.js';
import { openRegular } from './regular-file.js';

/** A whole line of a file, or what stands in its place. */
export interface RawLine {
  readonly file: string;
  /** From 1. */
  readonly number: number;
  /** Where it begins in its file, bytes. */
  readonly offset: number;
  /** Without its newline. */
  readonly bytes: Buffer;
  /** False for what follows the last newline of a file. */
  readonly isWhole: boolean;
}

/** A file of the journal, while it is read. */
export interface JournalFile {
  readonly name: string;
  readonly isLive: boolean;
  /** A file before it was removed by rotation, after the reading had begun. */
  readonly followsRemoved: boolean;
  /** Its lines in order, up to where it ended when its end was met. */
  readonly lines: () => AsyncGenerator<RawLine>;
}

const PIECE_BYTES = 256 * 1024;
const NEWLINE = 0x0a;

/**
 * The files of a journal in order, oldest first, the live one last. May be read while a proxy writes: then it ends with
 * the file that was the live one at the beginning. A rotated file that is removed before its turn does not come.
 */
export async function* journalFiles(file: string): AsyncGenerator<JournalFile> {
  // Opened before the others are listed: a file that is rotated meanwhile is this one, or is listed, or is newer.
  const live = await openIfAny(file);
  try {
    let liveId = live && (await idOf(live));
    let followsRemoved = false;
    for (const { path, name } of await rotatedFiles(file)) {
      const handle = await openIfAny(path);
      if (handle === undefined) {
        followsRemoved = true;
        continue;
      }
      try {
        if ((await idOf(handle)) === liveId) liveId = undefined;
        yield { name, isLive: false, followsRemoved, lines: () => linesOf(handle, name) };
        followsRemoved = false;
      } finally {
        await handle.close();
      }
    }
    const name = basename(file);
    if (live !== undefined && liveId !== undefined)
      yield { name, isLive: true, followsRemoved, lines: () => linesOf(live, name) };
  } finally {
    await live?.close();
  }
}

/**
 * The lines from the start of a file that is open. What is longer than any line comes in pieces of that size, so that
 * a file that is not a journal does not fill the memory.
 */
export async function* linesOf(handle: FileHandle, file: string, from = 0): AsyncGenerator<RawLine> {
  const piece = Buffer.allocUnsafe(PIECE_BYTES);
  let rest = Buffer.alloc(0);
  let position = from;
  let number = 1;
  for (;;) {
    const { bytesRead } = await handle.read(piece, 0, PIECE_BYTES, position);
    const offset = position - rest.length;
    position += bytesRead;
    // A copy: the next read writes over the piece.
    const bytes = Buffer.concat([rest, piece.subarray(0, bytesRead)]);
    let start = 0;
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, start)) {
      yield { file, number, offset: offset + start, bytes: bytes.subarray(start, end), isWhole: true };
      number += 1;
      start = end + 1;
    }
    rest = bytes.subarray(start);
    if (bytesRead === 0 || rest.length > MAX_LINE_BYTES) {
      if (rest.length > 0) yield { file, number, offset: offset + start, bytes: rest, isWhole: false };
      if (bytesRead === 0) return;
      rest = Buffer.alloc(0);
    }
  }
}

/** Undefined where there is none. */
export async function openIfAny(path: string): Promise<FileHandle | undefined> {
  try {
    return await openRegular(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Tells files apart. */
export async function idOf(handle: FileHandle): Promise<string> {
  const { dev, ino } = await handle.stat();
  return `${dev}:${ino}`;
}

/** Whether the path still leads to this file. */
export async function isAt(path: string, handle: FileHandle): Promise<boolean> {
  const { dev, ino } = await handle.stat();
  const found = await stat(path).catch(() => undefined);
  return found?.dev === dev && found.ino === ino;
}
