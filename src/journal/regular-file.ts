import { constants } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { LeftAlone } from './stand-off.js';

/**
 * Opens a file that exists, and only a file: opening a FIFO waits for its other end in a thread that cannot be called
 * back, and opening a device may do things. Rejects with LeftAlone, or the system's own error.
 */
export async function openRegular(path: string, flags = constants.O_RDONLY): Promise<FileHandle> {
  if (!(await stat(path)).isFile()) throw notAFile(path);
  // It may be another thing by now.
  const handle = await open(path, flags | constants.O_NONBLOCK);
  if ((await handle.stat()).isFile()) return handle;
  await handle.close();
  throw notAFile(path);
}

function notAFile(path: string): LeftAlone {
  return new LeftAlone(`${path} is not a file: it cannot be a journal`);
}
