import { txidsOf } from '../named-orders.js';
import type { CanceledOrders } from '../orders/canceled-orders.js';
import type { StoredReply } from './stored-reply.js';

/** The orders that an answer names, by Kraken's ids and by the client's own. */
export interface Placed {
  readonly account: string;
  readonly orders: readonly string[];
}

/** Answers of a day and more; the oldest go. */
const MOST = 20_000;

const ORDER_ENDPOINT = /^(?:AddOrder|AddOrderBatch|AmendOrder|EditOrder)$/;

/**
 * What the answer to a call of that key (`identityOf`) names: it says "placed", which holds no longer once the order is
 * canceled, for its bot may want to place it anew under the same `cl_ord_id`. Undefined when no cancel makes it untrue: an
 * Idempotency-Key stands for its one call all the same.
 */
export function placedBy(key: string, reply: StoredReply): Placed | undefined {
  const [kind, , account = '', endpoint = '', id = ''] = JSON.parse(key) as readonly string[];
  if (kind === 'key' || !ORDER_ENDPOINT.test(endpoint)) return undefined;
  // A digest, in the place of ids that were too long, is nobody's id.
  const orders = [...txidsOf(reply.body), ...id.split('\n').filter((one) => one !== '')];
  return orders.length === 0 ? undefined : { account, orders };
}

/** Which of the answers that are kept in memory name which orders. */
export class PlacedAnswers {
  readonly #placed = new Map<string, Placed>();
  readonly #keys = new Map<string, Set<string>>();

  /** The answer under `key` has named these orders. */
  add(placed: Placed, key: string): void {
    this.#drop(key);
    this.#placed.set(key, placed);
    for (const name of namesOf(placed)) this.#keys.set(name, (this.#keys.get(name) ?? new Set()).add(key));
    const [oldest] = this.#placed.size > MOST ? this.#placed.keys() : [];
    if (oldest !== undefined) this.#drop(oldest);
  }

  /** The keys of the answers that a cancel makes untrue. */
  canceled(account: string, canceled: CanceledOrders): readonly string[] {
    const keys =
      canceled === 'all'
        ? [...this.#placed].filter(([, placed]) => placed.account === account).map(([key]) => key)
        : namesOf({ account, orders: canceled }).flatMap((name) => [...(this.#keys.get(name) ?? [])]);
    for (const key of keys) this.#drop(key);
    return [...new Set(keys)];
  }

  #drop(key: string): void {
    const placed = this.#placed.get(key);
    this.#placed.delete(key);
    for (const name of placed === undefined ? [] : namesOf(placed)) {
      const keys = this.#keys.get(name);
      keys?.delete(key);
      if (keys?.size === 0) this.#keys.delete(name);
    }
  }
}

function namesOf({ account, orders }: Placed): string[] {
  return orders.map((order) => `${account}\n${order}`);
}
