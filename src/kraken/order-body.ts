import type { BodyFormat } from './body.js';
import { skipBlanks, skipObject } from './json.js';

/**
 * Puts client order ids into a batch that `parseBody` has found good: `ids[i]` becomes the `cl_ord_id` of the i-th
 * object of the top-level `orders`, right after its `{`; where it is undefined the order stays as it is. No other byte
 * changes. With no id to put, the bytes are given back as they are, whatever they hold.
 *
 * Throws Error where an id has no such place: a form (Kraken takes batches in JSON only, KRAKEN.md 2.2), no single
 * list of objects with so many orders, or an order that carries an id or userref already. An order must never be
 * looked for by an id that it was not sent with. Throws ProxyError `invalid-body` for what is not JSON.
 */
export function putOrderIds(bytes: Buffer, format: BodyFormat, ids: readonly (string | undefined)[]): Buffer {
  if (ids.every((id) => id === undefined)) return bytes;
  const orders = format === 'json' ? findOrders(bytes) : undefined;
  if (orders?.length !== ids.length) throw new Error('the ids do not fit the orders of the batch');
  const pieces: Buffer[] = [];
  let at = 0;
  orders.forEach((order, index) => {
    const id = ids[index];
    if (id === undefined) return;
    if (order.hasId) throw new Error(`order ${index + 1} of the batch carries an id or userref already`);
    const member = `"cl_ord_id":${JSON.stringify(id)}${order.isEmpty ? '' : ','}`;
    pieces.push(bytes.subarray(at, order.open + 1), Buffer.from(member));
    at = order.open + 1;
  });
  return Buffer.concat([...pieces, bytes.subarray(at)]);
}

/** An order of the batch: where its `{` is, and what matters of its members. */
interface OrderSpan {
  readonly open: number;
  readonly isEmpty: boolean;
  readonly hasId: boolean;
}

/** The objects of the one top-level `orders`; undefined when there is no such list, or anything else in it. */
function findOrders(bytes: Buffer): readonly OrderSpan[] | undefined {
  const lists: number[] = [];
  skipObject(bytes, skipBlanks(bytes, 0), 1, (_start, key, keyEnd, value) => {
    if (nameOf(bytes, key, keyEnd) === 'orders') lists.push(value);
  });
  const [list] = lists;
  if (list === undefined || lists.length > 1 || bytes[list] !== OPEN_ARRAY) return undefined;
  const orders: OrderSpan[] = [];
  let at = list;
  do {
    const open = skipBlanks(bytes, at + 1);
    if (bytes[open] !== OPEN_OBJECT) return undefined;
    let members = 0;
    let hasId = false;
    const end = skipObject(bytes, open, 3, (_start, key, keyEnd) => {
      members += 1;
      const name = nameOf(bytes, key, keyEnd);
      hasId ||= name === 'cl_ord_id' || name === 'userref';
    });
    orders.push({ open, isEmpty: members === 0, hasId });
    at = skipBlanks(bytes, end);
  } while (bytes[at] === COMMA);
  return orders;
}

/** A member's name, decoded; its key was found to be a JSON string. */
function nameOf(bytes: Buffer, key: number, keyEnd: number): string {
  const text = bytes.toString('utf8', key + 1, keyEnd - 1);
  return text.includes('\\') ? (JSON.parse(`"${text}"`) as string) : text;
}

const COMMA = 0x2c;
const OPEN_ARRAY = 0x5b;
const OPEN_OBJECT = 0x7b;
