import type { SharedClock } from './tenure.js';

export interface StartupWindowOptions {
  /** How long the window lasts from its opening, ms; 0 turns it off. */
  readonly windowMs: number;
  /** Calls that may be under way or done within any one second while the window is open. */
  readonly maxPerSecond: number;
  /** A call over that also keeps this distance from the end of the one before, ms. */
  readonly minIntervalMs: number;
}

/** The window as one node leaves it to the next; times in ms. */
export interface WindowLeft {
  /** When it was opened or closed last. */
  readonly since: number;
  /** 0: it is closed. */
  readonly closesAt: number;
  readonly isOver: boolean;
  /** The ends of the calls that still count. */
  readonly ends: readonly number[];
}

/** One call's place in the count of the startup window. */
export interface StartupSlot {
  at: number;
}

/**
 * Holds back the burst of calls that all bots make when they come back at once. A call counts from its start
 * until one second after its *end*: Kraken sees it somewhere in between, so that no second at Kraken's side
 * holds more than `maxPerSecond` of them, whatever the network does.
 */
export class StartupWindow {
  readonly #options: StartupWindowOptions;
  readonly #now: () => number;
  readonly #slots: StartupSlot[] = [];
  readonly #listeners: (() => void)[] = [];
  #closesAt = 0;
  #since = -Infinity;
  /** Opened, but others may have been serving all along: what they have left in the meantime. */
  #tentative:
    | { readonly openedAt: number; heard: { readonly since: number; readonly closesAt: number } | undefined }
    | undefined;
  /** A call has found the second full and has not started yet. */
  #over = false;
  #lastEnd = -Infinity;

  /** `now` is a monotonic clock in ms. */
  constructor(options: StartupWindowOptions, now: () => number = () => performance.now()) {
    this.#options = options;
    this.#now = now;
  }

  /**
   * Opens the window as this process starts. Until `settle` says whether the start is one for Kraken too, other nodes
   * are told nothing of it, and their word does not end it.
   */
  start(): void {
    const openedAt = this.#now();
    this.#tentative = { openedAt, heard: undefined };
    this.#closesAt = openedAt + this.#options.windowMs;
  }

  /** Others have been serving all along: their window counts, and not this one. Or nobody has: it counts for all. */
  settle(othersServe: boolean): void {
    const tentative = this.#tentative;
    if (tentative === undefined) return;
    this.#tentative = undefined;
    if (!othersServe) {
      this.#since = tentative.openedAt;
      return;
    }
    this.#since = tentative.heard?.since ?? -Infinity;
    this.#closesAt = tentative.heard?.closesAt ?? 0;
    this.#changed();
  }

  /** Opens the window, or opens it anew; calls of the second before still count. */
  open(): void {
    this.#tentative = undefined;
    this.#since = this.#now();
    this.#closesAt = this.#since + this.#options.windowMs;
  }

  /** Leaves the window early. */
  close(): void {
    this.#tentative = undefined;
    this.#since = this.#now();
    this.#closesAt = 0;
    this.#changed();
  }

  /** Calls back when a call that waits may have become free to go, or can be told how long it will take. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  get isOpen(): boolean {
    return this.#closesAt > 0 && this.#now() < this.#closesAt;
  }

  /** Ms until one more call may start, as far as can be told now; 0 when it may. An `end` may make it shorter. */
  delayMs(): number {
    if (this.#closesAt === 0) return 0;
    const now = this.#now();
    if (now >= this.#closesAt) {
      this.#closesAt = 0;
      return 0;
    }
    while (this.#slots[0] !== undefined && this.#slots[0].at + 1_000 <= now) this.#slots.shift();
    const oldest = this.#slots.length < this.#options.maxPerSecond ? undefined : this.#slots[0];
    // A call that has once found the second full keeps its distance, also when there is room again before.
    if (oldest !== undefined) this.#over = true;
    if (!this.#over) return 0;
    const free = Math.max(
      oldest === undefined ? 0 : oldest.at + 1_000,
      this.#lastEnd + this.#options.minIntervalMs,
    );
    return Math.max(0, Math.min(free, this.#closesAt) - now);
  }

  /** A call starts. It counts as under way until `end`. */
  begin(): StartupSlot {
    const slot = { at: Infinity };
    this.#over = false;
    if (this.isOpen) this.#slots.push(slot);
    return slot;
  }

  end(slot: StartupSlot): void {
    slot.at = this.#now();
    this.#lastEnd = slot.at;
    if (this.#slots.length === 0) return;
    // Lanes of several keys may end out of turn; the oldest end stays in front.
    this.#slots.sort((a, b) => a.at - b.at);
    this.#changed();
  }

  /** What another node has to know that sends for the same bots; undefined when it was never opened here. */
  leave(clock: SharedClock): WindowLeft | undefined {
    if (this.#since === -Infinity) return undefined;
    const ends = this.#slots.filter(({ at }) => at < Infinity).map(({ at }) => clock.toShared(at));
    const closesAt = this.isOpen ? clock.toShared(this.#closesAt) : 0;
    return { since: clock.toShared(this.#since), closesAt, isOver: this.#over, ends };
  }

  /**
   * Another node leaves its window so: whoever opened or closed it last decides. With `counts` its calls count here, in the
   * place of those known so far.
   */
  takeUp({ since, closesAt, isOver, ends }: WindowLeft, counts: boolean, clock: SharedClock): void {
    const heard = { since: clock.toLocal(since), closesAt: closesAt === 0 ? 0 : clock.toLocal(closesAt) };
    if (this.#tentative !== undefined) this.#tentative.heard = heard;
    else if (heard.since > this.#since) {
      this.#since = heard.since;
      this.#closesAt = heard.closesAt;
    }
    if (!counts) return;
    const known = ends.map((end) => ({ at: clock.toLocal(end) })).sort((a, b) => a.at - b.at);
    this.#slots.splice(0, Infinity, ...known);
    this.#over = isOver;
    this.#lastEnd = Math.max(this.#lastEnd, known.at(-1)?.at ?? -Infinity);
  }

  #changed(): void {
    // Not at once: the lane whose call has just ended still holds its slot.
    queueMicrotask(() => {
      for (const listener of this.#listeners) listener();
    });
  }
}
