/** Chance that a seed repeats: what a run draws, though not when it happens, is the same for the same seed. */
export class Chance {
  #state;

  /** @param {number} seed */
  constructor(seed) {
    this.#state = seed >>> 0;
  }

  /** 0 to 1, without 1 (mulberry32). */
  next() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** @param {number} from @param {number} to without it */
  between(from, to) {
    return from + (to - from) * this.next();
  }

  /** @template T @param {readonly T[]} list @returns {T} */
  oneOf(list) {
    return /** @type {T} */ (list[Math.floor(this.next() * list.length)]);
  }

  /** Whole numbers for others to begin with. */
  seed() {
    return Math.floor(this.next() * 2 ** 32);
  }
}
