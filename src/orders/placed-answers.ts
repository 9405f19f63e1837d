import type { CallId } from '../answers/call-id.js';
import type { Fields, FieldValue } from '../kraken/fields.js';

/** Orders of a day and more; the oldest go. */
const MOST = 20_000;

/**
 * Which orders the remembered answers name: an answer that says "placed" holds no longer once its order was canceled
 * here, for its bot may want to place it anew under the same `cl_ord_id`. In memory: what was placed before a restart is
 * answered for its 24 hours.
 */
export class PlacedAnswers {
  readonly #ids = new Map<string, { readonly account: string; readonly id: CallId }>();

  /** An answer that is remembered under `id` has named these orders. */
  add(account: string, orders: readonly string[], id: CallId): void {
    for (const order of orders) {
      this.#ids.set(keyOf(account, order), { account, id });
      const [oldest] = this.#ids.size > MOST ? this.#ids.keys() : [];
      if (oldest !== undefined) this.#ids.delete(oldest);
    }
  }

  /** The ids of the answers that a cancel of this endpoint, with these fields, makes untrue. */
  canceledBy(account: string, endpoint: string, fields: Fields | undefined): CallId[] {
    if (this.#ids.size === 0) return [];
    const keys =
      endpoint === 'CancelAll'
        ? [...this.#ids].filter(([, entry]) => entry.account === account).map(([key]) => key)
        : namedBy(fields).map((order) => keyOf(account, order));
    return keys.flatMap((key) => {
      const entry = this.#ids.get(key);
      this.#ids.delete(key);
      return entry === undefined ? [] : [entry.id];
    });
  }
}

/** The txids and client order ids of CancelOrder and CancelOrderBatch. */
function namedBy(fields: Fields | undefined): string[] {
  return ['txid', 'cl_ord_id', 'orders', 'cl_ord_ids'].flatMap((name) => textsOf(fields?.get(name)));
}

function textsOf(value: FieldValue | undefined): string[] {
  if (typeof value === 'string') return [value];
  return Array.isArray(value) ? value.filter((one) => typeof one === 'string') : [];
}

function keyOf(account: string, order: string): string {
  return `${account}\n${order}`;
}
