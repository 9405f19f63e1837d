import { access, readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** A file that was rotated out; it is never written to again. */
export interface RotatedFile {
  readonly path: string;
  readonly name: string;
  /** The seq of its first line by its name. */
  readonly first: number;
}

/** The rotated files of a journal by their names, oldest first. None where there is no folder. */
export async function rotatedFiles(file: string): Promise<RotatedFile[]> {
  const stem = stemOf(file);
  const entries = await readdir(dirname(file), { withFileTypes: true }).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  });
  const found = entries.flatMap((entry) => {
    const { name } = entry;
    const mayBeFile = entry.isFile() || entry.isSymbolicLink();
    if (!mayBeFile || !name.startsWith(`${stem}.`)) return [];
    const [, first, copy] = /^(\d{12,16})(?:-(\d{1,6}))?\.jsonl$/.exec(name.slice(stem.length + 1)) ?? [];
    if (first === undefined) return [];
    const path = join(dirname(file), name);
    return [{ path, name, first: Number(first), copy: Number(copy ?? 1) }];
  });
  return found.sort((one, other) => one.first - other.first || one.copy - other.copy);
}

/** The path for a file that is rotated out and begins with line `first`; one that is not taken. */
export async function rotatedPath(file: string, first: number): Promise<string> {
  const start = join(dirname(file), `${stemOf(file)}.${String(first).padStart(12, '0')}`);
  for (let copy = 1; ; copy++) {
    const path = `${start}${copy === 1 ? '' : `-${copy}`}.jsonl`;
    if (!(await exists(path))) return path;
  }
}

/** `journal` for `journal.jsonl`. */
function stemOf(file: string): string {
  return basename(file).replace(/\.jsonl$/, '');
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}
