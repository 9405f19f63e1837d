import type { Deadline } from './deadlines.js';
import { FairShare, type Flow } from './fair-share.js';
import { isUrgent, LANE_CLASSES, type LaneClass } from './lane-class.js';

type RunFunction = () => Promise<unknown>;

/** A call's place in a waiting line. */
export interface Place {
  readonly class: LaneClass;
  readonly client: string;
  /** Name of the account; `key` may become another's. */
  readonly account: string;
  readonly key: string;
  readonly cost: number;
  readonly group: string;
  /** Not held back by the startup window. */
  readonly exempt: boolean;
  readonly heldMs: (() => number) | undefined;
  readonly deadline: Deadline;
  /** Told when it loses its place before its turn. */
  readonly onLeave: (error: Error) => void;
  run?: RunFunction;
  /** Rises with every arrival. */
  sequence: number;
  flow?: Flow;
  /** In the line now: neither started nor left. */
  waiting: boolean;
}

/** What the line asks and tells while it chooses. None of these may come back to the line. */
export interface LineSurroundings {
  /** A call has the slot, so that nobody needs to be chosen. */
  readonly isBusy: () => boolean;
  /** Another node may have the lane: then this one is asked for, for a call that may wait for so many ms more. */
  readonly isOurs: (waitMs: number) => boolean;
  /** An operator has stopped such calls; the lane is told to look when that ends. */
  readonly isPaused: (place: Place) => boolean;
  /** Ms until one more call that is not exempt may start; 0 when it may. */
  readonly startupMs: () => number;
  /** Ms until there is room in the counter of the key; 0 when there is. */
  readonly roomMs: (key: string, cost: number, urgent: boolean) => number;
  /** The slot is free and calls wait, but none may go for so many ms, as far as can be told; Infinity: no telling. */
  readonly onStall: (ms: number) => void;
}

/**
 * The queue inside p-queue (its `queueClass` option): classes strictly in order, fair between the clients of a class
 * (FairShare), and of all those only who may go now. A call that costs and finds no room in its key's counter keeps
 * those that come later in order from the room of that key: a dear call would starve behind cheap ones. Calls that
 * cost nothing, or are of other keys, pass it.
 *
 * p-queue 9.3 asks for `size` and then calls whatever `dequeue()` returns, so `size` chooses, and says 0 while nobody
 * may go; the lane looks again when `onStall` has told it to.
 */
export class WaitingLine {
  readonly #surroundings: LineSurroundings;
  readonly #shares = LANE_CLASSES.map(() => new FairShare());
  readonly #shareOf = Object.fromEntries(
    LANE_CLASSES.map((laneClass, index) => [laneClass, this.#shares[index]]),
  ) as Record<LaneClass, FairShare>;
  #waiting = 0;
  #sequence = 0;
  #chosen: Place | undefined;

  // What the last look found.
  /** Keys whose counter had no room for a call, and for how many ms. */
  readonly #full = new Map<string, number>();
  #startupMs: number | undefined;
  #shortestMs = Infinity;

  constructor(surroundings: LineSurroundings) {
    this.#surroundings = surroundings;
  }

  /** Calls in the line. */
  get waiting(): number {
    return this.#waiting;
  }

  waitingOf(laneClass: LaneClass): number {
    return this.#shareOf[laneClass].waiting;
  }

  /** For p-queue: how many it may take; 0 while none may go. */
  get size(): number {
    if (this.#waiting === 0) return 0;
    if (this.#surroundings.isBusy()) return this.#waiting;
    const chosen = this.#choose();
    // Once the lane is ours more is known, and it may be another's turn.
    const isOurs = chosen === undefined || this.#surroundings.isOurs(waitOf(chosen));
    this.#chosen = isOurs ? chosen : undefined;
    if (this.#chosen !== undefined) return this.#waiting;
    if (chosen === undefined) this.#surroundings.onStall(this.#shortestMs);
    return 0;
  }

  enqueue(run: RunFunction, options?: { readonly place?: Place }): void {
    const place = options?.place;
    if (place === undefined) throw new TypeError('a waiting line takes places only');
    if (this.#waiting === 0 && !this.#surroundings.isBusy()) {
      for (const share of this.#shares) share.settle();
    }
    place.run = run;
    place.sequence = ++this.#sequence;
    place.waiting = true;
    this.#waiting++;
    this.#shareOf[place.class].add(place);
  }

  /** The one that `size` has chosen just before. */
  dequeue(): RunFunction | undefined {
    const place = this.#chosen;
    if (place === undefined) return undefined;
    this.#remove(place);
    this.#shareOf[place.class].charge(place);
    return place.run;
  }

  /** Takes a call out of the line before its turn; false when it is not waiting (any more). */
  leave(place: Place, error: Error): boolean {
    if (!place.waiting) return false;
    this.#remove(place);
    place.onLeave(error);
    return true;
  }

  /** All that wait, by class. */
  places(): Place[] {
    return this.#shares.flatMap(({ flows }) => flows.flatMap((flow) => flow.places()));
  }

  /** Ms until the counter has room for this call; 0 when it is not the counter that keeps it back. */
  roomMs({ key, cost, class: laneClass }: Place): number {
    const own = this.#surroundings.roomMs(key, cost, isUrgent(laneClass));
    if (own > 0 || cost === 0 || this.#surroundings.isBusy()) return own;
    return this.#full.get(key) ?? 0; // there is room, but for one before it
  }

  /** Not used: places are found by identity. */
  filter(): RunFunction[] {
    return [];
  }

  setPriority(): void {
    throw new TypeError('a waiting line keeps its own order');
  }

  #remove(place: Place): void {
    place.waiting = false;
    this.#waiting--;
    if (this.#chosen === place) this.#chosen = undefined;
    this.#shareOf[place.class].remove(place);
  }

  #choose(): Place | undefined {
    if (this.#full.size > 0) this.#full.clear();
    this.#startupMs = undefined;
    this.#shortestMs = Infinity;
    for (const share of this.#shares) {
      if (share.waiting === 0) continue;
      const place = this.#chooseFrom(share);
      if (place !== undefined) return place;
    }
    return undefined;
  }

  #chooseFrom(share: FairShare): Place | undefined {
    const first = share.first();
    if (first === undefined || this.#mayGo(first.head)) return first?.head;
    if (share.flows.length === 1) return undefined;
    return share
      .inOrder()
      .slice(1)
      .find(({ head }) => this.#mayGo(head))?.head;
  }

  #mayGo(place: Place): boolean {
    const { class: laneClass, key, cost, exempt, heldMs } = place;
    const { startupMs, roomMs, isPaused } = this.#surroundings;
    if (isPaused(place)) return false;
    if (heldMs !== undefined && this.#isHeld(heldMs())) return false;
    // The window notes that a call was over its limit, so it is asked only for one that could go.
    if (!exempt && this.#isHeld((this.#startupMs ??= startupMs()))) return false;
    if (cost > 0 && this.#full.has(key)) return false; // whoever has found it full tells when to look again
    const room = roomMs(key, cost, isUrgent(laneClass));
    if (!this.#isHeld(room)) return true;
    this.#full.set(key, room);
    return false;
  }

  #isHeld(ms: number): boolean {
    if (!(ms > 0)) return false;
    if (ms < this.#shortestMs) this.#shortestMs = ms;
    return true;
  }
}

function waitOf({ deadline }: Place): number {
  return deadline.steady - performance.now();
}
