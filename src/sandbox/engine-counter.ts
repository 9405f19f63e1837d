import type { Account } from './account.js';
import { Refusal } from './answer.js';
import type { Tier } from './call-counter.js';
import { DecayingCounter } from './decaying-counter.js';
import type { Pair } from './market-data.js';
import { changedAt, type Order } from './order.js';

/** What is done to an order that exists. */
export type OrderAction = 'amend' | 'edit' | 'cancel';

// KRAKEN.md 3.2: the thresholds by tier.
const LIMITS: Readonly<Record<Tier, { readonly threshold: number; readonly decayPerSecond: number }>> = {
  starter: { threshold: 60, decayPerSecond: 1 },
  intermediate: { threshold: 125, decayPerSecond: 2.34 },
  pro: { threshold: 180, decayPerSecond: 3.75 },
};

/** What an add costs, an amend and an edit at any age, and a batch of adds for each order in it. */
const ADD = 1;
const CHANGE = 1;
const BATCH_ADD = 0.5;

// KRAKEN.md 3.2: below so many seconds of age, so many points; nothing for older orders.
const AGE_POINTS: Readonly<Record<OrderAction, readonly (readonly [seconds: number, points: number])[]>> = {
  amend: [
    [5, 3],
    [10, 2],
    [15, 1],
  ],
  edit: [
    [5, 6],
    [10, 5],
    [15, 4],
    [45, 2],
    [90, 1],
  ],
  cancel: [
    [5, 8],
    [10, 6],
    [15, 5],
    [45, 4],
    [90, 2],
    [300, 1],
  ],
};

/**
 * The matching engine's counters, one for each account and pair (KRAKEN.md 3.2). What would pass the
 * threshold is refused and adds nothing; whether Kraken refuses at the threshold or beyond it, and adds
 * for what it refuses, is not confirmed. While off, nothing is counted.
 */
export class EngineCounters {
  enabled: boolean;
  readonly #now: () => number;
  readonly #counters = new Map<Account, Map<Pair, DecayingCounter>>();

  constructor(enabled: boolean, now: () => number) {
    this.enabled = enabled;
    this.#now = now;
  }

  /** The counter as it stands now. */
  level(account: Account, pair: Pair): number {
    return this.#counters.get(account)?.get(pair)?.level(this.#now()) ?? 0;
  }

  /** Counts an AddOrder, before its arguments are judged: one that then fails has cost the same. */
  takeAdd(account: Account, pair: Pair): void {
    if (this.enabled) this.#take(account, pair, ADD);
  }

  /** Counts an AddOrderBatch of so many, likewise. */
  takeBatchAdd(account: Account, pair: Pair, orders: number): void {
    if (this.enabled) this.#take(account, pair, orders * BATCH_ADD);
  }

  /**
   * Counts the fixed part of an amend or edit, if the whole fits; what its age adds once it has worked,
   * to be given to `settle`.
   */
  takeChange(account: Account, order: Order, action: 'amend' | 'edit'): number {
    if (!this.enabled) return 0;
    const byAge = agePoints(order, action, this.#now());
    this.#refuseUnlessFits(account, order.pair, CHANGE + byAge);
    this.#add(account, order.pair, CHANGE);
    return byAge;
  }

  /** Counts what `takeChange` held back. */
  settle(account: Account, order: Order, byAge: number): void {
    if (byAge > 0) this.#add(account, order.pair, byAge);
  }

  /** Counts the cancels of these open orders, or refuses them all. */
  takeCancels(account: Account, orders: readonly Order[]): void {
    if (!this.enabled) return;
    const points = this.#cancelPoints(orders);
    for (const [pair, sum] of points) this.#refuseUnlessFits(account, pair, sum);
    for (const [pair, sum] of points) this.#add(account, pair, sum);
  }

  /** Counts cancels that are never refused: CancelOrderBatch, CancelAll. */
  addCancels(account: Account, orders: Iterable<Order>): void {
    if (!this.enabled) return;
    for (const [pair, sum] of this.#cancelPoints(orders)) this.#add(account, pair, sum);
  }

  #cancelPoints(orders: Iterable<Order>): Map<Pair, number> {
    const points = new Map<Pair, number>();
    for (const order of orders) {
      points.set(order.pair, (points.get(order.pair) ?? 0) + agePoints(order, 'cancel', this.#now()));
    }
    return points;
  }

  #take(account: Account, pair: Pair, points: number): void {
    this.#refuseUnlessFits(account, pair, points);
    this.#add(account, pair, points);
  }

  #refuseUnlessFits(account: Account, pair: Pair, points: number): void {
    if (!this.#counter(account, pair).fits(points, this.#now())) {
      throw new Refusal('EOrder:Rate limit exceeded');
    }
  }

  #add(account: Account, pair: Pair, points: number): void {
    this.#counter(account, pair).add(points, this.#now());
  }

  #counter(account: Account, pair: Pair): DecayingCounter {
    let ofAccount = this.#counters.get(account);
    if (ofAccount === undefined) {
      ofAccount = new Map();
      this.#counters.set(account, ofAccount);
    }
    let counter = ofAccount.get(pair);
    if (counter === undefined) {
      const { threshold, decayPerSecond } = LIMITS[account.tier];
      counter = new DecayingCounter(threshold, decayPerSecond);
      ofAccount.set(pair, counter);
    }
    return counter;
  }
}

/** What the order's age adds, counted from its creation or last amend. */
function agePoints(order: Order, action: OrderAction, now: number): number {
  const seconds = (now - changedAt(order)) / 1000;
  return AGE_POINTS[action].find(([below]) => seconds < below)?.[1] ?? 0;
}
