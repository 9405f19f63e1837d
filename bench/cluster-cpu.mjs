/** What processes have used of the processors, as Linux tells it. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

const TICKS_PER_SECOND = 100; // as Linux gives them to all programs

/**
 * The process ids of those that work in this folder.
 * @param {string} folder
 */
export function processesIn(folder) {
  return processes().filter((pid) => unlessGone(() => readlinkSync(`/proc/${pid}/cwd`)) === folder);
}

/** The process ids of the proxies that this process has started. */
export function ownProxies() {
  return processes().filter((pid) => {
    if (Number(statOf(pid)?.[PARENT]) !== process.pid) return false;
    return (
      unlessGone(() => readFileSync(`/proc/${pid}/cmdline`, 'latin1'))?.includes('main.js\0serve') === true
    );
  });
}

/**
 * Of these processes and of all that they have made and that have ended.
 * @param {readonly number[]} pids
 */
export function cpuSeconds(pids) {
  let ticks = 0;
  for (const pid of pids) for (const at of TIMES) ticks += Number(statOf(pid)?.[at] ?? 0);
  return ticks / TICKS_PER_SECOND;
}

// Of the fields behind the name: ppid; utime, stime, cutime, cstime.
const PARENT = 1;
const TIMES = [11, 12, 13, 14];

/** @param {number} pid */
function statOf(pid) {
  const stat = unlessGone(() => readFileSync(`/proc/${pid}/stat`, 'latin1'));
  // The name may hold anything, in parentheses.
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ');
}

function processes() {
  return readdirSync('/proc').map(Number).filter(Number.isInteger);
}

/**
 * @template T
 * @param {() => T} read
 * @returns {T | undefined}
 */
function unlessGone(read) {
  try {
    return read();
  } catch {
    return undefined;
  }
}
