import type { FieldValue, Fields } from '../kraken/fields.js';
import type { RecentOrders } from './recent-orders.js';

/** What one call adds to the counter of one pair. */
export interface EngineCharge {
  readonly account: string;
  /** Without a slash, so that `XBT/USD` and `XBTUSD` count together. */
  readonly pair: string;
  readonly points: number;
}

export interface EngineCounterOptions {
  /** Threshold and decay of an account's counters, by its tier (KRAKEN.md 3.2). */
  readonly limitsOf: (account: string) => { readonly max: number; readonly decayPerSecond: number };
  readonly orders: RecentOrders;
  /** Monotonic ms. */
  readonly now?: () => number;
}

/** Points for the age of an order in seconds: the first that is younger than its limit (KRAKEN.md 3.2). */
type AgeTable = readonly (readonly [below: number, points: number])[];

const AMEND: AgeTable = [
  [5, 3],
  [10, 2],
  [15, 1],
];
const EDIT: AgeTable = [
  [5, 6],
  [10, 5],
  [15, 4],
  [45, 2],
  [90, 1],
];
const CANCEL: AgeTable = [
  [5, 8],
  [10, 6],
  [15, 5],
  [45, 4],
  [90, 2],
  [300, 1],
];

interface Counter {
  level: number;
  at: number;
}

/**
 * The matching engine's counter of each account and pair, as far as it can be told from the calls that pass through here:
 * Kraken shows it over WebSocket only, and orders placed past the proxy count at Kraken as well. An order whose age
 * is not known counts as an old one.
 */
export class EngineCounter {
  readonly #limitsOf: EngineCounterOptions['limitsOf'];
  readonly #orders: RecentOrders;
  readonly #now: () => number;
  readonly #counters = new Map<string, Map<string, Counter>>();

  constructor({ limitsOf, orders, now = () => performance.now() }: EngineCounterOptions) {
    this.#limitsOf = limitsOf;
    this.#orders = orders;
    this.#now = now;
  }

  /** What a call would add now; undefined when that cannot be told, or is nothing. */
  chargeOf(account: string, endpoint: string, fields: Fields): EngineCharge | undefined {
    switch (endpoint) {
      case 'AddOrder':
        return charge(account, text(fields.get('pair')), 1);
      case 'AddOrderBatch': {
        const orders = fields.get('orders');
        return charge(account, text(fields.get('pair')), Array.isArray(orders) ? orders.length / 2 : 1);
      }
      case 'AmendOrder':
        return this.#ofOrder(account, [fields.get('txid'), fields.get('cl_ord_id')], 1, AMEND);
      case 'EditOrder':
        return this.#ofOrder(account, [fields.get('txid')], 1, EDIT);
      case 'CancelOrder':
        return this.#ofOrder(account, [fields.get('txid'), fields.get('cl_ord_id')], 0, CANCEL);
      default:
        return undefined;
    }
  }

  /** Ms until the charge fits, 0 when it does now. One that never fits may go once the counter is empty. */
  delayMs({ account, pair, points }: EngineCharge): number {
    const { max, decayPerSecond } = this.#limitsOf(account);
    const over = this.#level(account, pair) + points - Math.max(max - HEADROOM, points);
    return over <= 1e-9 ? 0 : Math.ceil((over / decayPerSecond) * 1_000);
  }

  /** The call is sent: it counts, whatever comes of it. */
  add({ account, pair, points }: EngineCharge): void {
    const counter = this.#counterOf(account, pair);
    counter.level = this.#level(account, pair) + points;
  }

  /** Kraken refused for its limit: somebody else spends too. */
  full(account: string, pair: string): void {
    this.#level(account, pair);
    this.#counterOf(account, pair).level = this.#limitsOf(account).max;
  }

  /** The highest counter among the account's pairs. */
  highest(account: string): number {
    let highest = 0;
    for (const pair of [...(this.#counters.get(account)?.keys() ?? [])]) {
      const level = this.#level(account, pair);
      highest = Math.max(highest, level);
      if (level === 0) this.#counters.get(account)?.delete(pair);
    }
    return highest;
  }

  #ofOrder(
    account: string,
    ids: readonly (FieldValue | undefined)[],
    fixed: number,
    ages: AgeTable,
  ): EngineCharge | undefined {
    const id = ids.find((one) => typeof one === 'string' && one !== '');
    const order = typeof id === 'string' ? this.#orders.find(account, id) : undefined;
    if (order === undefined || order.pair === '') return undefined;
    const age = (this.#now() - order.touchedAt) / 1_000;
    const points = fixed + (ages.find(([below]) => age < below)?.[1] ?? 0);
    return points === 0 ? undefined : charge(account, order.pair, points);
  }

  #level(account: string, pair: string): number {
    const counter = this.#counters.get(account)?.get(pair);
    if (counter === undefined) return 0;
    const now = this.#now();
    const lost = ((now - counter.at) / 1_000) * this.#limitsOf(account).decayPerSecond;
    counter.level = Math.max(0, counter.level - lost);
    counter.at = now;
    return counter.level;
  }

  #counterOf(account: string, pair: string): Counter {
    let pairs = this.#counters.get(account);
    if (pairs === undefined) this.#counters.set(account, (pairs = new Map<string, Counter>()));
    let counter = pairs.get(pair);
    if (counter === undefined) {
      // A pair's name is the client's text: no more of them than Kraken has pairs.
      const [oldest] = pairs.size >= MOST_PAIRS ? pairs.keys() : [];
      if (oldest !== undefined) pairs.delete(oldest);
      pairs.set(pair, (counter = { level: 0, at: this.#now() }));
    }
    return counter;
  }
}

const MOST_PAIRS = 2_000;
/** A call counts here when it leaves, at Kraken when it arrives: by then ours has lost a little more. */
const HEADROOM = 1;

function charge(account: string, pair: string | undefined, points: number): EngineCharge | undefined {
  return pair === undefined ? undefined : { account, pair: pair.replace('/', ''), points };
}

function text(value: FieldValue | undefined): string | undefined {
  return typeof value === 'string' && value !== '' && value.length <= 32 ? value : undefined;
}
