import type { Moment } from '../clocks.js';

/**
 * When a wait ends, by both clocks: a machine that sleeps stops the monotonic clock, but not the wait of the one who
 * called.
 */
export interface Deadline extends Moment {
  /** The whole wait that ends then, ms. */
  readonly maxWaitMs: number;
}

export function deadlineIn(maxWaitMs: number): Deadline {
  return { steady: performance.now() + maxWaitMs, wall: Date.now() + maxWaitMs, maxWaitMs };
}

export function isOver({ steady, wall }: Deadline): boolean {
  return performance.now() >= steady || Date.now() >= wall;
}

/** Something that waits until its deadline at the most. */
export interface Waiter {
  readonly deadline: Deadline;
  readonly waiting: boolean;
}

/** Tells whose deadline is the earliest: a binary heap, from which those who wait no longer are dropped on the way. */
export class Deadlines<T extends Waiter> {
  #heap: T[] = [];
  #dropAt = 64;

  add(waiter: T): void {
    if (this.#heap.length >= this.#dropAt) this.#dropGone();
    const heap = this.#heap;
    let index = heap.length;
    while (index > 0) {
      const above = (index - 1) >> 1;
      const parent = heap[above];
      if (parent === undefined || parent.deadline.steady <= waiter.deadline.steady) break;
      heap[index] = parent;
      index = above;
    }
    heap[index] = waiter;
  }

  /** The one that still waits and whose time is over first. */
  first(): T | undefined {
    while (this.#heap[0]?.waiting === false) this.#dropFirst();
    return this.#heap[0];
  }

  #dropFirst(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let index = 0;
    for (;;) {
      let below = 2 * index + 1;
      const [left, right] = [heap[below], heap[below + 1]];
      if (left === undefined) break;
      let child = left;
      if (right !== undefined && right.deadline.steady < left.deadline.steady) {
        child = right;
        below++;
      }
      if (last.deadline.steady <= child.deadline.steady) break;
      heap[index] = child;
      index = below;
    }
    heap[index] = last;
  }

  /** A long wait in front keeps all that came and went behind it: they go when they are more than those who wait. */
  #dropGone(): void {
    const waiting = this.#heap.filter((waiter) => waiter.waiting);
    this.#heap = waiting.sort((a, b) => a.deadline.steady - b.deadline.steady); // a sorted array is a heap
    this.#dropAt = Math.max(64, 2 * waiting.length);
  }
}
