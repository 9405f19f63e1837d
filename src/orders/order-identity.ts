import { createHash } from 'node:crypto';

import type { ExtraField } from '../kraken/body.js';
import type { Fields, FieldValue } from '../kraken/fields.js';
import { isPlainDecimal } from './decimal-text.js';

/**
 * What is needed to find out later whether a call did what it was to do: plain data that survives JSON, for it is
 * stored on disk. Texts are the client's own, as in `Fields`.
 */
export type OrderIdentity =
  AddOrderIdentity | AddOrderBatchIdentity | EditOrderIdentity | AmendOrderIdentity | WithdrawIdentity;

export interface AddOrderIdentity {
  readonly endpoint: 'AddOrder';
  /** `validate=true`: Kraken checks the order and places nothing; harmless to repeat. */
  readonly isTest: boolean;
  readonly order: PlacedOrder;
}

export interface AddOrderBatchIdentity {
  readonly endpoint: 'AddOrderBatch';
  readonly isTest: boolean;
  /** In the order of the call. */
  readonly orders: readonly PlacedOrder[];
}

/** An edit makes a new order, which carries nothing of the old one's ids over (KRAKEN.md 5). */
export interface EditOrderIdentity {
  readonly endpoint: 'EditOrder';
  readonly isTest: boolean;
  /** As the client wrote it: a txid, a userref or a client order id. */
  readonly txid: string;
  readonly pair: string;
  /** The new order's. */
  readonly userref?: string;
  readonly volume?: string;
  readonly price?: string;
  readonly price2?: string;
}

export interface AmendOrderIdentity {
  readonly endpoint: 'AmendOrder';
  readonly isTest: false;
  readonly target: { readonly name: 'txid' | 'cl_ord_id'; readonly value: string };
  readonly order_qty?: string;
  readonly display_qty?: string;
  readonly limit_price?: string;
  readonly trigger_price?: string;
  readonly post_only?: string;
  /** A value is relative to the market (`+`, `-`, `#`, `%`), or written so that it cannot be compared (`1e3`). */
  readonly isRelative: boolean;
}

export interface WithdrawIdentity {
  readonly endpoint: 'Withdraw';
  readonly isTest: false;
  readonly asset: string;
  readonly aclass?: string;
  readonly key: string;
  readonly amount: string;
}

/** An order of AddOrder or AddOrderBatch. */
export interface PlacedOrder {
  readonly id: OrderId;
  readonly pair: string;
  readonly type: string;
  readonly ordertype: string;
  readonly price?: string;
  readonly price2?: string;
  readonly volume?: string;
  readonly oflags?: string;
  readonly close?: CloseTerms;
}

export interface OrderId {
  readonly name: 'cl_ord_id' | 'userref';
  readonly value: string;
  /**
   * Made by us and so unique. A client's own is not: Kraken takes a `cl_ord_id` again once the order that carried it is
   * closed, and a `userref` is a group (KRAKEN.md 5).
   */
  readonly isOurs: boolean;
}

/** A conditional close. */
export interface CloseTerms {
  readonly ordertype?: string;
  readonly price?: string;
  readonly price2?: string;
}

export interface IdentifiedCall {
  readonly identity: OrderIdentity;
  /** Fields to put in front of the client's: the `cl_ord_id` of an AddOrder that came without an id. */
  readonly extra: readonly ExtraField[];
  /** For AddOrderBatch: the `cl_ord_id` to put into each order, undefined where it has an id of the client's. */
  readonly orderIds: readonly (string | undefined)[];
}

/**
 * The identity of a call by its endpoint and fields, and the ids that it needs for it; `newId` makes them (UUID v4 with
 * dashes, one of the documented formats). Undefined, and nothing is to be added, where it cannot be told: other
 * endpoints, missing fields that Kraken refuses a call without, and ids that are empty or spelled so that Kraken may
 * read them differently.
 */
export function identifyOrder(
  endpoint: string,
  fields: Fields,
  newId: () => string,
): IdentifiedCall | undefined {
  switch (endpoint) {
    case 'AddOrder':
      return identifyAdd(fields, newId);
    case 'AddOrderBatch':
      return identifyBatch(fields, newId);
    case 'EditOrder':
      return withoutIds(identifyEdit(fields));
    case 'AmendOrder':
      return withoutIds(identifyAmend(fields));
    case 'Withdraw':
      return withoutIds(identifyWithdraw(fields));
    default:
      return undefined;
  }
}

/**
 * The client's own `deadline` (RFC 3339, KRAKEN.md 5) in ms; undefined when it gave none, and 'unreadable' when there
 * is one to which none must be added: another format, or a name that Kraken may read as it.
 */
export function clientDeadline(fields: Fields): number | 'unreadable' | undefined {
  if (hasLookalike(fields, DEADLINE_NAMES)) return 'unreadable';
  const value = fields.get('deadline');
  if (value === undefined) return undefined;
  return (typeof value === 'string' ? rfc3339(value) : undefined) ?? 'unreadable';
}

/**
 * SHA-256, in hex, over a call's endpoint and fields but for `nonce`, `otp` and `deadline`: the same for the same
 * parameters, in whatever order and format they come. A `close[price]` and a nested `close` are not the same.
 */
export function parametersDigest(endpoint: string, fields: Fields): string {
  const parameters = new Map([...fields].filter(([name]) => !NOT_DIGESTED.has(name)));
  return createHash('sha256')
    .update(JSON.stringify([endpoint, canonical(parameters)]))
    .digest('hex');
}

const NOT_DIGESTED: ReadonlySet<string> = new Set(['nonce', 'otp', 'deadline']);

/** Told apart by their shape: texts, words and null stand for themselves, lists and objects are marked. */
function canonical(value: FieldValue): unknown {
  if (isFields(value)) {
    const members = [...value].sort(([a], [b]) => (a < b ? -1 : 1));
    return ['object', ...members.map(([name, member]) => [name, canonical(member)])];
  }
  return isList(value) ? ['list', ...value.map(canonical)] : value;
}

// ---- one endpoint each

function identifyAdd(fields: Fields, newId: () => string): IdentifiedCall | undefined {
  const order = readPlaced(fields, textOf(fields, 'pair'), newId);
  if (order === undefined) return undefined;
  const { id } = order;
  return {
    identity: { endpoint: 'AddOrder', isTest: isTest(fields), order },
    extra: id.isOurs ? [[id.name, id.value]] : [],
    orderIds: [],
  };
}

/** All of the orders or none: half a batch with ids of ours would be no better to find than one without. */
function identifyBatch(fields: Fields, newId: () => string): IdentifiedCall | undefined {
  const list = fields.get('orders');
  const pair = textOf(fields, 'pair');
  if (!isList(list) || list.length === 0) return undefined;
  const orders: PlacedOrder[] = [];
  for (const item of list) {
    const order = isFields(item) ? readPlaced(item, pair, newId) : undefined;
    if (order === undefined) return undefined;
    orders.push(order);
  }
  return {
    identity: { endpoint: 'AddOrderBatch', isTest: isTest(fields), orders },
    extra: [],
    orderIds: orders.map(({ id }) => (id.isOurs ? id.value : undefined)),
  };
}

function identifyEdit(fields: Fields): EditOrderIdentity | undefined {
  const { txid, pair, ...changes } = textsOf(fields, [
    'txid',
    'pair',
    'userref',
    'volume',
    'price',
    'price2',
  ]);
  if (txid === undefined || pair === undefined) return undefined;
  return { endpoint: 'EditOrder', isTest: isTest(fields), txid, pair, ...changes };
}

const AMENDED = ['order_qty', 'display_qty', 'limit_price', 'trigger_price'] as const;

function identifyAmend(fields: Fields): AmendOrderIdentity | undefined {
  const { txid, cl_ord_id } = textsOf(fields, ['txid', 'cl_ord_id']);
  const values = textsOf(fields, AMENDED);
  // Which of two ids Kraken would take is not known, and without a new value there is nothing to find.
  if ((txid === undefined) === (cl_ord_id === undefined) || Object.keys(values).length === 0)
    return undefined;
  const postOnly = fields.get('post_only');
  return {
    endpoint: 'AmendOrder',
    isTest: false,
    target:
      txid === undefined ? { name: 'cl_ord_id', value: cl_ord_id ?? '' } : { name: 'txid', value: txid },
    ...values,
    ...(typeof postOnly === 'boolean' || typeof postOnly === 'string' ? { post_only: String(postOnly) } : {}),
    isRelative: !Object.values(values).every(isPlainDecimal),
  };
}

function identifyWithdraw(fields: Fields): WithdrawIdentity | undefined {
  const { asset, key, amount, aclass } = textsOf(fields, ['asset', 'key', 'amount', 'aclass']);
  if (asset === undefined || key === undefined || amount === undefined) return undefined;
  return {
    endpoint: 'Withdraw',
    isTest: false,
    asset,
    key,
    amount,
    ...(aclass === undefined ? {} : { aclass }),
  };
}

function withoutIds(identity: OrderIdentity | undefined): IdentifiedCall | undefined {
  return identity === undefined ? undefined : { identity, extra: [], orderIds: [] };
}

/** One order's id and terms. `settle-position` may come without a volume; pair, type and ordertype must be there. */
function readPlaced(fields: Fields, pair: string | undefined, newId: () => string): PlacedOrder | undefined {
  const { type, ordertype, ...terms } = textsOf(fields, [
    'type',
    'ordertype',
    'price',
    'price2',
    'volume',
    'oflags',
  ]);
  if (pair === undefined || type === undefined || ordertype === undefined) return undefined;
  const id = readId(fields, newId);
  if (id === undefined) return undefined;
  const close = readClose(fields);
  return { id, pair, type, ordertype, ...terms, ...(close === undefined ? {} : { close }) };
}

function readId(fields: Fields, newId: () => string): OrderId | undefined {
  if (hasLookalike(fields, ID_NAMES)) return undefined;
  const { cl_ord_id, userref } = textsOf(fields, ['cl_ord_id', 'userref']);
  if (cl_ord_id !== undefined) return { name: 'cl_ord_id', value: cl_ord_id, isOurs: false };
  if (userref !== undefined) {
    return /^-?\d{1,10}$/.test(userref) ? { name: 'userref', value: userref, isOurs: false } : undefined;
  }
  // There, but empty or null: the client's own mistake, and what Kraken makes of it is not known.
  if (ID_NAMES.names.some((name) => fields.has(name))) return undefined;
  return { name: 'cl_ord_id', value: newId(), isOurs: true };
}

const CLOSE_FIELDS = ['ordertype', 'price', 'price2'] as const;

/** `close[price]` in a form, an object in JSON. */
function readClose(fields: Fields): CloseTerms | undefined {
  const nested = fields.get('close');
  const close = isFields(nested)
    ? textsOf(nested, CLOSE_FIELDS)
    : Object.fromEntries(
        CLOSE_FIELDS.flatMap((name) => {
          const text = textOf(fields, `close[${name}]`);
          return text === undefined ? [] : [[name, text]];
        }),
      );
  return Object.keys(close).length === 0 ? undefined : close;
}

// ---- fields

/** Only what is certain: what Kraken makes of `True`, 1 or the JSON string "true" is not known. */
function isTest(fields: Fields): boolean {
  return fields.get('validate') === true;
}

/** Missing, null and empty are the same: not given. */
function textOf(fields: Fields, name: string): string | undefined {
  const value = fields.get(name);
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** Those that are given; no member is undefined, which JSON would not keep. */
function textsOf<N extends string>(
  fields: Fields,
  names: readonly N[],
): Readonly<Partial<Record<N, string>>> {
  const texts: Partial<Record<N, string>> = {};
  for (const name of names) {
    const text = textOf(fields, name);
    if (text !== undefined) texts[name] = text;
  }
  return texts;
}

function isFields(value: FieldValue | undefined): value is Fields {
  return value instanceof Map;
}

function isList(value: FieldValue | undefined): value is readonly FieldValue[] {
  return Array.isArray(value);
}

interface OwnNames {
  readonly names: readonly string[];
  readonly lookalike: RegExp;
}

const ID_NAMES = ownNames('cl_ord_id', 'userref');
const DEADLINE_NAMES = ownNames('deadline');

/** Names, and how a lenient parser might still read one: in capitals, with blanks around it, cut at a NUL or bracket. */
function ownNames(...names: readonly string[]): OwnNames {
  return {
    names,
    lookalike: new RegExp(`^[\\s\\0-\\x1f]*(?:${names.join('|')})[\\s\\0-\\x1f]*(?:$|[[\\0])`, 'i'),
  };
}

/** Whether a field is spelled so that Kraken may, or may not, read it as one of the names. */
function hasLookalike(fields: Fields, { names, lookalike }: OwnNames): boolean {
  for (const name of fields.keys()) if (!names.includes(name) && lookalike.test(name)) return true;
  return false;
}

const RFC3339 = /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d:\d\d:\d\d(?:\.\d+)?)([Zz]|[+-]\d\d:\d\d)$/;

/** An RFC 3339 time (section 5.6) in ms; undefined for any other text, and for leap seconds. */
function rfc3339(text: string): number | undefined {
  const [, year = '', month = '', day = '', time = '', zone = ''] = RFC3339.exec(text) ?? [];
  // V8 takes February 30 for March 2.
  const date = new Date(Date.UTC(Number(year), Number(month) - 1, Number(day)));
  if (date.getUTCMonth() !== Number(month) - 1) return undefined;
  const ms = Date.parse(`${year}-${month}-${day}T${time}${zone.toUpperCase()}`);
  return Number.isNaN(ms) ? undefined : ms;
}
