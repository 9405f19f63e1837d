/** What the journal cannot take for its own, or must not: left as it is. Looked at again after a while. */
export class LeftAlone extends Error {}

const DAY_MS = 86_400_000;

/**
 * Whether a live file that another program has changed may be moved aside. The first time it may. When that happens
 * again soon, another process writes there and would find our file changed in turn: then only once nobody has written
 * for a while, which is twice as long each time. So two that fight make a dozen files a day at most.
 */
export class StandOff {
  readonly #shortestMs: number;
  #quietMs: number;
  /** Monotonic ms of the last time it was moved aside. */
  #movedAt = -Infinity;
  /** What was seen of the file, and since when, while we stand back. */
  #seen: { readonly mark: string; readonly since: number } | undefined;

  constructor(shortestMs: number) {
    this.#shortestMs = shortestMs;
    this.#quietMs = shortestMs;
  }

  /** `mark` differs once anything was written to the file. */
  mayMove(mark: string): boolean {
    const now = performance.now();
    if (this.#seen === undefined && now - this.#movedAt >= this.#quietMs) return this.#moves(now);
    if (this.#seen?.mark !== mark) this.#seen = { mark, since: now };
    return now - this.#seen.since >= this.#quietMs && this.#moves(now);
  }

  /** The file is ours again. */
  isOver(): void {
    this.#seen = undefined;
  }

  #moves(now: number): true {
    this.#quietMs = now - this.#movedAt > DAY_MS ? this.#shortestMs : this.#quietMs * 2;
    this.#movedAt = now;
    this.#seen = undefined;
    return true;
  }
}
