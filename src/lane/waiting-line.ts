type RunFunction = () => Promise<unknown>;

/** A call's place in a waiting line. */
export interface Place {
  /** Not held back by the startup window. */
  readonly exempt: boolean;
  /** Monotonic ms after which it has waited too long. */
  readonly deadline: number;
  /** Told when it loses its place before its turn. */
  readonly onLeave: (error: Error) => void;
  run?: RunFunction;
  /** In the line now: neither started nor left. */
  waiting: boolean;
}

/**
 * The queue inside p-queue (its `queueClass` option): first come, first served among those that may go now.
 * p-queue 9.3 calls whatever `dequeue()` returns, so `size` says 0 while nobody may go; the lane's timer
 * looks again.
 */
export class WaitingLine {
  readonly #isHeldBack: () => boolean;
  // Arrival order. Left and started places stay until they reach the front, which keeps leaving cheap.
  #places: Place[] = [];
  #front = 0;
  #waiting = 0;

  constructor(isHeldBack: () => boolean) {
    this.#isHeldBack = isHeldBack;
  }

  /** Calls in the line. */
  get waiting(): number {
    return this.#waiting;
  }

  /** For p-queue: how many it may take; 0 while none may go. */
  get size(): number {
    return this.#nextIndex() === -1 ? 0 : this.#waiting;
  }

  enqueue(run: RunFunction, options?: { readonly place?: Place }): void {
    const place = options?.place;
    if (place === undefined) throw new TypeError('a waiting line takes places only');
    place.run = run;
    place.waiting = true;
    this.#places.push(place);
    this.#waiting++;
  }

  dequeue(): RunFunction | undefined {
    const place = this.#places[this.#nextIndex()];
    if (place === undefined) return undefined;
    this.#remove(place);
    return place.run;
  }

  /** Takes a call out of the line before its turn; false when it is not waiting (any more). */
  leave(place: Place, error: Error): boolean {
    if (!place.waiting) return false;
    this.#remove(place);
    place.onLeave(error);
    return true;
  }

  /** The one that has waited longest. */
  first(): Place | undefined {
    return this.#places[this.#front];
  }

  /** Not used: places are found by identity. */
  filter(): RunFunction[] {
    return [];
  }

  setPriority(): void {
    throw new TypeError('a waiting line keeps the order of arrival');
  }

  #remove(place: Place): void {
    place.waiting = false;
    this.#waiting--;
    while (this.#places[this.#front]?.waiting === false) this.#front++;
    if (this.#front > 1_000 || this.#front === this.#places.length) {
      this.#places = this.#places.slice(this.#front);
      this.#front = 0;
    }
  }

  #nextIndex(): number {
    if (this.#waiting === 0) return -1;
    if (!this.#isHeldBack()) return this.#front;
    return this.#places.findIndex((place, index) => index >= this.#front && place.waiting && place.exempt);
  }
}
