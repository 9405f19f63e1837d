import type { FileHandle } from 'node:fs/promises';
import { basename } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { rotatedFiles } from './journal-files.js';
import { idOf, isAt, linesOf, openIfAny } from './journal-reader.js';

export interface TailOptions {
  /** How many lines there are to begin with. */
  readonly count: number;
  /** Goes on with what is written, looking every half second, until this is aborted. */
  readonly follow: AbortSignal | undefined;
}

const LOOK_MS = 500;
const FIRST_WINDOW = 64 * 1024;
const NEWLINE = 0x0a;

/** The last lines of the journal, over its files, in order; with `follow`, and those to come. */
export async function* tailLines(file: string, { count, follow }: TailOptions): AsyncGenerator<string> {
  let live = await openIfAny(file);
  try {
    const end = live === undefined ? { lines: [], size: 0 } : await lastOf(live, count);
    yield* [...(await rotatedLast(file, live, count - end.lines.length)), ...end.lines];
    let position = end.size;
    while (follow !== undefined && (await waited(follow))) {
      live ??= await openIfAny(file);
      if (live === undefined) continue;
      // In this order: once it was found to be rotated, what is read after that is all of it.
      const isStillLive = await isAt(file, live);
      for await (const { bytes, offset, isWhole } of linesOf(live, basename(file), position)) {
        if (!isWhole) continue;
        position = offset + bytes.length + 1;
        yield bytes.toString();
      }
      if (isStillLive) continue;
      await live.close();
      live = undefined;
      position = 0;
    }
  } finally {
    await live?.close();
  }
}

/** The last lines before the live file. */
async function rotatedLast(file: string, live: FileHandle | undefined, count: number): Promise<string[]> {
  const liveId = live && (await idOf(live));
  let lines: string[] = [];
  for (const { path } of (await rotatedFiles(file)).reverse()) {
    if (lines.length >= count) break;
    const handle = await openIfAny(path);
    if (handle === undefined) continue;
    try {
      if ((await idOf(handle)) === liveId) continue;
      lines = [...(await lastOf(handle, count - lines.length)).lines, ...lines];
    } finally {
      await handle.close();
    }
  }
  return lines;
}

/** The last whole lines of a file, and where the last of them ends. */
async function lastOf(handle: FileHandle, count: number): Promise<{ lines: string[]; size: number }> {
  const { size } = await handle.stat();
  for (let window = FIRST_WINDOW; ; window *= 4) {
    const start = Math.max(0, size - window);
    const bytes = Buffer.alloc(size - start);
    const { bytesRead } = await handle.read(bytes, 0, bytes.length, start);
    const end = bytes.subarray(0, bytesRead).lastIndexOf(NEWLINE) + 1;
    const first = start === 0 ? 0 : bytes.indexOf(NEWLINE) + 1;
    const lines = end > first ? bytes.toString('utf8', first, end - 1).split('\n') : [];
    if (lines.length < count && start > 0) continue;
    return { lines: count > 0 ? lines.slice(-count) : [], size: end === 0 ? 0 : start + end };
  }
}

/** False when there is nothing more to wait for. */
async function waited(signal: AbortSignal): Promise<boolean> {
  return await delay(LOOK_MS, true, { signal }).catch(() => false);
}
