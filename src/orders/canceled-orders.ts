import type { Fields, FieldValue } from '../kraken/fields.js';

/** The orders of an account that a cancel names, by Kraken's ids or the client's; or all of them. */
export type CanceledOrders = readonly string[] | 'all';

/** What a cancel of this endpoint, with these fields, is about; empty for what cancels no single orders. */
export function canceledOrders(endpoint: string, fields: Fields | undefined): CanceledOrders {
  if (endpoint === 'CancelAll') return 'all';
  return ['txid', 'cl_ord_id', 'orders', 'cl_ord_ids'].flatMap((name) => textsOf(fields?.get(name)));
}

function textsOf(value: FieldValue | undefined): string[] {
  if (typeof value === 'string') return [value];
  return Array.isArray(value) ? value.filter((one) => typeof one === 'string') : [];
}
