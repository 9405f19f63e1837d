import { open, readdir, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** Resolves once the names in a folder are on disk: a rename is durable only then. */
export async function syncFolder(folder: string): Promise<void> {
  // Windows cannot open a folder; there a rename is durable without it.
  if (process.platform === 'win32') return;
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Removes the temp files (`<file>.tmp-…`) of processes that were killed in the middle of a write. */
export async function removeLeftovers(file: string): Promise<void> {
  const prefix = `${basename(file)}.tmp-`;
  for (const name of await readdir(dirname(file))) {
    if (name.startsWith(prefix)) await rm(join(dirname(file), name), { force: true });
  }
}
