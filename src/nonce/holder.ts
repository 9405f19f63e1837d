import { randomUUID } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/**
 * Who holds the lock, in terms that another process on the same machine can check at once. A pid alone
 * proves nothing: it is reused after a crash and means something else in another container.
 */
export interface Holder {
  /** Unique for each time the state was opened. */
  readonly id: string;
  readonly host: string;
  readonly pid: number;
  /** Kernel boot; two machines or two boots never share it. Absent where there is no /proc. */
  readonly bootId?: string;
  /** The pid's namespace, so that containers on one kernel are told apart. */
  readonly pidNamespace?: string;
  /** Clock ticks from boot to the start of the process (field 22 of /proc/pid/stat). */
  readonly startTime?: string;
  /** ISO time at which the state was opened. */
  readonly since: string;
}

/** What a holder record proves about its process, seen from here. */
export type Verdict = 'alive' | 'dead' | 'unproven';

/** The record of this very process. */
export function describeSelf(): Holder {
  return {
    id: randomUUID(),
    host: hostname(),
    pid: process.pid,
    ...optional('bootId', bootId()),
    ...optional('pidNamespace', pidNamespace()),
    ...optional('startTime', startTimeOf(process.pid)),
    since: new Date().toISOString(),
  };
}

/**
 * Is the holder's process still there? `dead` and `alive` are said only on proof: same boot, same pid
 * namespace, and a process with that pid and that start time which is not a zombie. Elsewhere the lock's
 * age has to decide.
 */
export function judge(holder: Holder | undefined): Verdict {
  if (holder === undefined) return 'unproven';
  const here = bootId();
  if (here !== undefined) {
    if (holder.bootId !== here || holder.pidNamespace !== pidNamespace()) return 'unproven';
    const found = processOf(holder.pid);
    if (found === 'hidden') return 'unproven';
    if (found === undefined || found.startTime !== holder.startTime) return 'dead';
    return found.ended ? 'dead' : 'alive';
  }
  // Without /proc only absence can be proven, and only for this host's own pids.
  if (holder.bootId !== undefined || holder.host !== hostname()) return 'unproven';
  return exists(holder.pid) ? 'unproven' : 'dead';
}

/** Reads a holder record; undefined when there is none or it is not one. Throws when it cannot be read. */
export function readHolder(file: string): Holder | undefined {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
  try {
    const value = JSON.parse(text) as Partial<Holder> | null;
    return typeof value?.id === 'string' && typeof value.pid === 'number' ? (value as Holder) : undefined;
  } catch {
    return undefined;
  }
}

/** One line for a person: which process, where, since when. */
export function describeHolder(holder: Holder | undefined): string {
  if (holder === undefined) return 'an unknown process';
  return `process ${holder.pid} on host ${holder.host}, since ${holder.since}`;
}

function optional<K extends string>(key: K, value: string | undefined): Partial<Record<K, string>> {
  return value === undefined ? {} : ({ [key]: value } as Record<K, string>);
}

function bootId(): string | undefined {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return undefined;
  }
}

function pidNamespace(): string | undefined {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return undefined;
  }
}

function startTimeOf(pid: number): string | undefined {
  const found = processOf(pid);
  return found === 'hidden' ? undefined : found?.startTime;
}

function processOf(pid: number): { startTime: string; ended: boolean } | 'hidden' | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command name in field 2 may hold spaces and brackets: count from its last closing one.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const state = fields[0];
    return { startTime: fields[19] ?? '', ended: state === 'Z' || state === 'X' };
  } catch (error) {
    // /proc may hide other users' processes (hidepid): only the kernel's "no such process" is proof.
    return (isMissing(error) || codeOf(error) === 'ESRCH') && !exists(pid) ? undefined : 'hidden';
  }
}

/** False only when there certainly is no process with this pid. */
function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) !== 'ESRCH';
  }
}

function isMissing(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR'].includes(codeOf(error) ?? '');
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}
