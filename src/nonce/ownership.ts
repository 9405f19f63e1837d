import fs from 'node:fs';
import { mkdir, rename, rm, rmdir, stat, utimes, writeFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import lockfile from 'proper-lockfile';
import { describeHolder, describeSelf, judge, readHolder, type Holder } from './holder.js';
import { StateLostError, StateOwnedElsewhereError } from './store.js';

/** The lock's mtime is renewed this often (proper-lockfile's shortest). */
const RENEW_MS = 1_000;
/** A lock whose mtime was *watched* standing still for so long is given up by its owner. */
const ABANDONED_MS = 5_000;
/** Taking the lock is a matter of milliseconds: a gate that was *watched* shut for so long is opened. */
const GATE_MS = 1_000;
/** How long a renewal proves ownership. Half of ABANDONED_MS: nobody can have taken the lock by then. */
const LEASE_MS = 2_500;
const POLL_MS = 200;
/**
 * proper-lockfile judges staleness by comparing the lock's mtime with the wall clock, which a clock step
 * of an hour fools. A bound no clock reaches turns that off; ours, which watches the mtime by the monotonic
 * clock, replaces it.
 */
const NEVER_MS = 100 * 365 * 86_400_000;

export interface OwnershipOptions {
  /** Wait for the lock as a hot standby instead of failing when somebody holds it. */
  readonly standby?: boolean;
  /** Called once when the ownership is lost against our will. */
  readonly onLost?: (error: StateLostError) => void;
  /** Called once when it has to wait, with a description of the holder. */
  readonly onWaiting?: (holder: string) => void;
  /** Ends the wait of a standby. */
  readonly signal?: AbortSignal;
}

/**
 * Sole ownership of a file among processes, hosts and containers that share its folder, for as long as the
 * process lives: a proper-lockfile lock, beside it a record of who holds it.
 */
export class Ownership {
  readonly #lockPath: string;
  readonly #recordPath: string;
  readonly #gatePath: string;
  readonly #self: Holder;
  readonly #onLost: (error: StateLostError) => void;
  #inode: bigint | undefined;
  #recorded = false;
  #provenMono = 0;
  #provenWall = 0;
  #checkedWall = 0;
  #lost: StateLostError | undefined;
  #release: (() => Promise<void>) | undefined;

  private constructor(file: string, onLost: (error: StateLostError) => void) {
    this.#lockPath = `${file}.lock`;
    this.#recordPath = `${file}.holder`;
    this.#gatePath = `${file}.gate`;
    this.#self = describeSelf();
    this.#onLost = onLost;
  }

  /**
   * Takes the lock. A holder proven dead is replaced at once; one whose lock is not renewed for 5 s is taken
   * to be frozen, gone or on a machine that died. Rejects with StateOwnedElsewhereError when a holder shows
   * life, unless `standby` asks to wait for it.
   */
  static async acquire(file: string, options: OwnershipOptions = {}): Promise<Ownership> {
    const ownership = new Ownership(file, options.onLost ?? (() => undefined));
    const watch = new LockWatch(ownership.#lockPath);
    const gate = new LockWatch(ownership.#gatePath);
    let announced = false;
    for (;;) {
      options.signal?.throwIfAborted();
      const holder = await ownership.#tryAcquire(file, watch, gate);
      if (holder === 'acquired') return ownership;
      if (options.standby !== true && watch.renewed) {
        throw new StateOwnedElsewhereError(
          `${file} is owned by ${describeHolder(holder)}. Stop that process, or run this one with nonce.standby.`,
        );
      }
      if (!announced) {
        announced = true;
        options.onWaiting?.(describeHolder(holder));
      }
      await delay(POLL_MS, undefined, options.signal === undefined ? {} : { signal: options.signal });
    }
  }

  /**
   * Throws StateLostError unless the lock is provably ours. A renewal within the last 2.5 s is proof; after a
   * longer gap (a blocked event loop, SIGSTOP, a suspended machine) lock and record are looked at again.
   */
  assertOwned(wallMs: number): void {
    if (this.#lost !== undefined) throw this.#lost;
    // Reading a clock is what costs here: once it held in this millisecond, it holds for all of it.
    if (wallMs === this.#checkedWall) return;
    const mono = performance.now() - this.#provenMono;
    const wall = wallMs - this.#provenWall;
    // The monotonic clock stands still while a machine sleeps; the wall clock does not, but it may be set.
    if (mono < LEASE_MS && wall < LEASE_MS && wall > -LEASE_MS) this.#checkedWall = wallMs;
    else this.verify();
  }

  /**
   * Looks at lock and record on disk; throws StateLostError when they are not ours any more, and the system's
   * own error when it cannot be told (too many open files, a disk that fails): that is no loss yet.
   */
  verify(): void {
    if (this.#lost !== undefined) throw this.#lost;
    // This look is good for now only: a renewal alone keeps others from taking the lock.
    if (this.#holdsLock()) return;
    const by = describeHolder(readHolder(this.#recordPath));
    const error = new StateLostError(`the lock on the nonce state was lost (its record now names ${by})`);
    this.#lose(error);
    throw error;
  }

  /** Gives the lock up, unless somebody else has it by now. May be called twice. */
  async release(): Promise<void> {
    const release = this.#release;
    this.#release = undefined;
    if (release === undefined) return;
    if (this.#lost === undefined && this.#surelyHoldsLock()) {
      this.#recorded = false; // from here on the inode alone says that the lock is ours
      await rm(this.#recordPath, { force: true });
    }
    this.#lost ??= new StateLostError('the nonce state was closed');
    await release().catch(() => undefined);
  }

  async #tryAcquire(
    file: string,
    watch: LockWatch,
    gate: LockWatch,
  ): Promise<'acquired' | Holder | undefined> {
    if (!(await this.#isFree(watch))) return readHolder(this.#recordPath);
    // All takers pass this gate one by one, so that two who both see a dead holder cannot break each
    // other's fresh lock.
    const leave = await enterGate(this.#gatePath, this.#self, gate);
    if (leave === undefined) return readHolder(this.#recordPath);
    try {
      if (!(await this.#isFree(watch))) return readHolder(this.#recordPath);
      if (watch.present) await rmdir(this.#lockPath).catch(ignoreMissing);
      await this.#lock(file);
      return 'acquired';
    } finally {
      await leave();
    }
  }

  /** Whether the lock may be taken: absent, or its holder proven dead, or not renewed for too long. */
  async #isFree(watch: LockWatch): Promise<boolean> {
    await watch.look();
    const holder = readHolder(this.#recordPath);
    if (judge(holder) === 'dead' || watch.unchangedMs >= ABANDONED_MS) return true;
    // A holder not proven dead without its lock: somebody removed it. It notices within a second and ends.
    return !watch.present && holder === undefined;
  }

  async #lock(file: string): Promise<void> {
    const asked = timesNow();
    this.#release = await lockfile.lock(file, {
      lockfilePath: this.#lockPath,
      realpath: false,
      stale: NEVER_MS,
      update: RENEW_MS,
      fs: this.#lockFs(),
      onCompromised: (cause) =>
        this.#lose(new StateLostError('the lock on the nonce state was removed or taken', { cause })),
    });
    const record = `${this.#recordPath}.tmp`;
    try {
      await writeFile(record, JSON.stringify(this.#self) + '\n', { mode: 0o644 });
      await rename(record, this.#recordPath);
    } catch (error) {
      await rm(record, { force: true }).catch(() => undefined);
      await this.#release();
      throw error;
    }
    this.#recorded = true;
    this.#prove(asked);
  }

  /**
   * The file operations proper-lockfile uses. Each renewal is noted as proof of ownership, and nothing is
   * removed that is not ours: its exit handler would otherwise remove the lock of a process that took over.
   */
  #lockFs(): object {
    type Done = (error: Error | null, value?: unknown) => void;
    return {
      mkdir: (path: string, done: Done) => {
        mkdir(path).then(() => {
          this.#inode = inodeOf(path);
          done(null);
        }, done);
      },
      stat: (path: string, done: Done) => void stat(path).then((value) => done(null, value), done),
      utimes: (path: string, atime: Date, mtime: Date, done: Done) => {
        const asked = timesNow();
        utimes(path, atime, mtime).then(() => {
          // By now it may be the lock of somebody who took over: that proves nothing.
          if (this.#surelyHoldsLock()) this.#prove(asked);
          done(null);
        }, done);
      },
      rmdir: (path: string, done: Done) => {
        if (!this.#surelyHoldsLock()) done(null);
        else rmdir(path).then(() => done(null), done);
      },
      rmdirSync: (path: string) => {
        if (this.#surelyHoldsLock()) fs.rmdirSync(path);
      },
    };
  }

  #holdsLock(): boolean {
    if (this.#inode === undefined || inodeOf(this.#lockPath) !== this.#inode) return false;
    // File systems reuse inodes: a lock made after ours was removed may have the same one.
    return !this.#recorded || readHolder(this.#recordPath)?.id === this.#self.id;
  }

  #surelyHoldsLock(): boolean {
    try {
      return this.#holdsLock();
    } catch {
      return false;
    }
  }

  /** Proven from the moment at which the renewal was asked for, not at which its end was seen. */
  #prove(asked: { readonly mono: number; readonly wall: number }): void {
    this.#provenMono = asked.mono;
    this.#provenWall = asked.wall;
  }

  #lose(error: StateLostError): void {
    if (this.#lost !== undefined) return;
    this.#lost = error;
    this.#onLost(error);
  }
}

/** Watches a lock's mtime by the monotonic clock, so that no step of the wall clock makes it look old. */
class LockWatch {
  readonly #path: string;
  #seen: string | undefined;
  #since = performance.now();
  #looked = false;
  /** The lock changed while we watched: its holder lives. */
  renewed = false;

  constructor(path: string) {
    this.#path = path;
  }

  async look(): Promise<void> {
    const now = await stat(this.#path, { bigint: true }).then(
      (value) => `${value.ino}:${value.mtimeNs}`,
      () => undefined,
    );
    if (this.#looked && now === this.#seen) return;
    if (this.#looked && now !== undefined) this.renewed = true;
    this.#looked = true;
    this.#seen = now;
    this.#since = performance.now();
  }

  get present(): boolean {
    return this.#seen !== undefined;
  }

  get unchangedMs(): number {
    return performance.now() - this.#since;
  }
}

/**
 * Enters the gate that all takers pass; undefined while another is inside. A crash inside must not hold the
 * next start up: a gate whose maker is proven dead is opened at once, any other once it has been watched
 * unchanged for GATE_MS.
 */
async function enterGate(
  path: string,
  self: Holder,
  watch: LockWatch,
): Promise<(() => Promise<void>) | undefined> {
  try {
    await writeFile(path, JSON.stringify(self), { flag: 'wx' });
    return async () => {
      // Whoever was frozen inside for too long finds another's gate. One that stays shut is opened by the next.
      if (readHolder(path)?.id === self.id) await rm(path, { force: true }).catch(() => undefined);
    };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
      await rm(path, { force: true }).catch(() => undefined); // a full disk leaves it empty
      throw error;
    }
  }
  await watch.look();
  if (judge(readHolder(path)) === 'dead' || watch.unchangedMs >= GATE_MS) {
    await rm(path, { force: true, recursive: true });
  }
  return undefined;
}

/** Undefined when there is nothing; throws when it cannot be told. */
function inodeOf(path: string): bigint | undefined {
  try {
    return fs.statSync(path, { bigint: true }).ino;
  } catch (error) {
    // ENOTDIR: its folder is gone and something else has the name.
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}

function timesNow(): { readonly mono: number; readonly wall: number } {
  return { mono: performance.now(), wall: Date.now() };
}

function ignoreMissing(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
}
