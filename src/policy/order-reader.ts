import type { Fields, FieldValue } from '../kraken/fields.js';
import { parseDecimal, ZERO, type Decimal } from './decimal.js';
import { isOrderType, volumeAbove0, type Leg, type Order, type PriceTerm, type Side } from './order.js';
import { Doubt, printable } from './verdict.js';

// The parameters of krakenfx/api-specs, spot-rest/schemas/requests/trading/orders, with `margin`, `broker`,
// `trading_agreement` and `otp`, which clients send. A name that is not listed is refused: a parser that ignores case or
// cuts brackets off may read it as the volume or the pair.

const CLOSE_FIELDS = ['ordertype', 'price', 'price2'];

const ORDER_FIELDS = [
  ...['userref', 'cl_ord_id', 'ordertype', 'type', 'volume', 'displayvol', 'price', 'price2', 'trigger'],
  ...[
    'leverage',
    'margin',
    'reduce_only',
    'stptype',
    'oflags',
    'timeinforce',
    'starttm',
    'expiretm',
    'close',
  ],
  ...CLOSE_FIELDS.map((name) => `close[${name}]`),
];

const ADD_FIELDS: ReadonlySet<string> = new Set([
  ...ORDER_FIELDS,
  ...['pair', 'asset_class', 'deadline', 'validate', 'trading_agreement', 'broker', 'otp'],
]);

const BATCH_FIELDS: ReadonlySet<string> = new Set([
  ...['orders', 'pair', 'asset_class', 'deadline', 'validate', 'broker', 'otp'],
]);

const BATCH_ORDER_FIELDS: ReadonlySet<string> = new Set(ORDER_FIELDS);

const EDIT_FIELDS: ReadonlySet<string> = new Set([
  ...['txid', 'userref', 'volume', 'displayvol', 'pair', 'asset_class', 'price', 'price2', 'oflags'],
  ...['deadline', 'cancel_response', 'validate', 'otp'],
]);

const AMEND_FIELDS: ReadonlySet<string> = new Set([
  ...['txid', 'cl_ord_id', 'order_qty', 'display_qty', 'limit_price', 'trigger_price', 'pair', 'asset_class'],
  ...['post_only', 'deadline', 'otp'],
]);

/** Kraken takes batches of 2 to 15. */
const MAX_BATCH = 15;
/** Far beyond any order, and amounts stay short enough for the ledger of the day. */
const MAX_VOLUME_DIGITS = 15;
const MAX_PERCENT_DIGITS = 3;

/** What a call would place. */
export interface Placement {
  readonly orders: readonly Order[];
  readonly isBatch: boolean;
  /** The pair as the client wrote it. */
  readonly pair: string | undefined;
  /** The pair is of an asset class that is not in Kraken's list of currency pairs. */
  readonly assetClass: string | undefined;
  /** `validate=true`: Kraken checks the order and places nothing. */
  readonly isTest: boolean;
}

/** What a call would change of an order that exists; what is undefined stays as it is. */
export interface Change {
  readonly endpoint: 'EditOrder' | 'AmendOrder';
  readonly order: { readonly txid: string } | { readonly clientId: string };
  readonly pair: string | undefined;
  readonly volume: Decimal | undefined;
  /** AmendOrder names them by what they are, EditOrder by the field they stood in. */
  readonly limit: PriceTerm | undefined;
  readonly trigger: PriceTerm | undefined;
  readonly price: PriceTerm | undefined;
  readonly price2: PriceTerm | undefined;
  readonly postOnly: boolean;
  readonly isTest: boolean;
}

/** Reads AddOrder. Throws Doubt for whatever it does not know. */
export function readAddOrder(fields: Fields): Placement {
  const reader = new Reader(fields, ADD_FIELDS);
  return { orders: [readOrder(reader)], isBatch: false, ...readCall(reader) };
}

/** Reads AddOrderBatch, which only JSON can carry (KRAKEN.md 2.2). Throws Doubt. */
export function readAddOrderBatch(fields: Fields): Placement {
  const list = fields.get('orders');
  if (!isList(list)) throw new Doubt('the batch has no list of orders');
  if (list.length === 0 || list.length > MAX_BATCH) {
    throw new Doubt(`a batch has 1 to ${MAX_BATCH} orders, this one ${list.length}`);
  }
  const reader = new Reader(fields, BATCH_FIELDS, 'orders');
  const orders = list.map((item, index) => {
    if (!isFields(item)) throw new Doubt(`order ${index + 1} is not an object`);
    return inOrder(index, () => readOrder(new Reader(item, BATCH_ORDER_FIELDS)));
  });
  return { orders, isBatch: true, ...readCall(reader) };
}

/** Reads EditOrder. Throws Doubt. */
export function readEditOrder(fields: Fields): Change {
  const reader = new Reader(fields, EDIT_FIELDS);
  const flags = reader.flags();
  for (const flag of flags) if (flag !== 'post') throw unreadable('oflags', reader.text('oflags'));
  return {
    endpoint: 'EditOrder',
    order: readTarget(reader),
    pair: reader.text('pair'),
    volume: reader.volume('volume'),
    limit: undefined,
    trigger: undefined,
    price: reader.price('price'),
    price2: reader.price('price2'),
    // "post-only needs to be explicitly mentioned on edit request" (api-specs, edit.yaml).
    postOnly: flags.has('post'),
    isTest: reader.isTrue('validate'),
  };
}

/** Reads AmendOrder. Throws Doubt. */
export function readAmendOrder(fields: Fields): Change {
  const reader = new Reader(fields, AMEND_FIELDS);
  return {
    endpoint: 'AmendOrder',
    order: readTarget(reader),
    pair: reader.text('pair'),
    volume: reader.volume('order_qty'),
    limit: reader.price('limit_price'),
    trigger: reader.price('trigger_price'),
    price: undefined,
    price2: undefined,
    postOnly: reader.isTrue('post_only'),
    isTest: false,
  };
}

/** A price in a field or in one of Kraken's replies. Throws Doubt. */
export function readPrice(text: string, name: string): PriceTerm {
  const [, sign, digits = '', percent] = /^([+\-#]?)([\d.]+)(%?)$/.exec(text) ?? [];
  const value = parseDecimal(digits);
  // "5%" without a sign is no price that Kraken documents: 5 percent of what, and which way?
  if (value === undefined || (sign === '' && percent === '%')) throw unreadable(name, text);
  if (percent === '%' && wholeDigits(value) > MAX_PERCENT_DIGITS) throw unreadable(name, text);
  return { value, isDistance: sign !== '', inPercent: percent === '%' };
}

/** Runs a reading or a check of one order of a batch; its doubts say which order. */
function inOrder<T>(index: number, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof Doubt) throw new Doubt(`order ${index + 1}: ${error.message}`);
    throw error;
  }
}

function readCall(reader: Reader): Omit<Placement, 'orders' | 'isBatch'> {
  return {
    pair: reader.text('pair'),
    assetClass: reader.text('asset_class'),
    isTest: reader.isTrue('validate'),
  };
}

function readOrder(reader: Reader): Order {
  const side = reader.text('type');
  if (side !== 'buy' && side !== 'sell') throw unreadable('type', side);
  const type = reader.text('ordertype');
  if (type === undefined || !isOrderType(type)) throw unreadable('ordertype', type);
  const flags = reader.flags();
  const volumeInQuote = flags.has('viqc');
  if (volumeInQuote && (side !== 'buy' || type !== 'market')) {
    throw new Doubt('viqc is for buying at the market only');
  }
  return {
    side,
    type,
    // A market order has no price, though clients send 0.
    price: reader.price('price'),
    price2: reader.price('price2'),
    volume: volumeAbove0(reader.volume('volume')),
    executed: ZERO,
    volumeInQuote,
    reduceOnly: reader.isTrue('reduce_only'),
    postOnly: flags.has('post'),
    close: readClose(reader, side === 'buy' ? 'sell' : 'buy'),
  };
}

/** The conditional close: `close[price]` in a form, an object in JSON; not both. */
function readClose(reader: Reader, side: Side): Leg | undefined {
  const nested = reader.fields.get('close') ?? undefined;
  if (nested !== undefined && !isFields(nested)) throw unreadable('close', undefined);
  const flat = new Map<string, FieldValue>();
  for (const name of CLOSE_FIELDS) {
    const value = reader.fields.get(`close[${name}]`);
    if (value !== undefined) flat.set(name, value);
  }
  if (nested !== undefined && flat.size > 0) throw new Doubt('the conditional close comes twice');
  const close = new Reader(nested ?? flat, new Set(CLOSE_FIELDS));
  const type = close.text('ordertype');
  const price = close.price('price');
  const price2 = close.price('price2');
  if (type === undefined && price === undefined && price2 === undefined) return undefined;
  if (type === undefined || !isOrderType(type)) throw unreadable('close[ordertype]', type);
  return { side, type, price, price2 };
}

const TXID = /^[A-Z0-9-]{1,40}$/;
const CLIENT_ID = /^[A-Za-z0-9-]{1,40}$/;

/** Which order is to be changed. It is asked for at Kraken, so it must look like what it is. */
function readTarget(reader: Reader): Change['order'] {
  const txid = reader.text('txid');
  const clientId = reader.text('cl_ord_id');
  // Which of two Kraken would take is not known.
  if (txid !== undefined && clientId !== undefined) throw new Doubt('both txid and cl_ord_id name an order');
  if (txid !== undefined) {
    if (!TXID.test(txid)) throw unreadable('txid', txid);
    return { txid };
  }
  if (clientId === undefined || !CLIENT_ID.test(clientId)) throw unreadable('the order to change', clientId);
  return { clientId };
}

const FLAGS: ReadonlySet<string> = new Set(['post', 'fcib', 'fciq', 'nompp', 'viqc']);
/** No field of an order needs anything else. Some form parsers also split at a semicolon. */
const PLAIN_TEXT = /^[\x20-\x7e]*$/;
const SEPARATORS = /[&;=]/;

/** The fields of one object, all of them known by name and plain in text. */
class Reader {
  readonly fields: Fields;

  /** Throws Doubt. `list`: the one field that is not plain text and is read elsewhere. */
  constructor(fields: Fields, known: ReadonlySet<string>, list?: string) {
    this.fields = fields;
    for (const [name, value] of fields) {
      if (!known.has(name)) throw new Doubt(`the order rules do not know the field ${printable(name)}`);
      if (name !== list && name !== 'close') checkText(name, value);
    }
  }

  /** Missing, null and empty are the same: not given. */
  text(name: string): string | undefined {
    const value = this.fields.get(name);
    if (typeof value === 'boolean') return String(value);
    return typeof value === 'string' && value !== '' ? value : undefined;
  }

  /** Only `true`: what Kraken makes of `True`, 1 or the JSON string "true" is not known, and nothing may rest on it. */
  isTrue(name: string): boolean {
    return this.fields.get(name) === true;
  }

  volume(name: string): Decimal | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = parseDecimal(text);
    if (value === undefined || wholeDigits(value) > MAX_VOLUME_DIGITS) throw unreadable(name, text);
    return value;
  }

  price(name: string): PriceTerm | undefined {
    const text = this.text(name);
    return text === undefined ? undefined : readPrice(text, name);
  }

  flags(): ReadonlySet<string> {
    const text = this.text('oflags');
    const flags = new Set(text === undefined ? [] : text.split(','));
    for (const flag of flags) if (!FLAGS.has(flag)) throw unreadable('oflags', text);
    return flags;
  }
}

function wholeDigits(value: Decimal): number {
  return value.toFixed().split('.')[0]?.length ?? 0;
}

function checkText(name: string, value: FieldValue): void {
  if (value === null || typeof value === 'boolean') return;
  if (typeof value !== 'string') throw unreadable(name, undefined);
  if (!PLAIN_TEXT.test(value) || SEPARATORS.test(value)) throw unreadable(name, value);
}

function unreadable(name: string, text: string | undefined): Doubt {
  if (text === undefined) return new Doubt(`the order rules cannot read ${name}`);
  return new Doubt(`the order rules cannot read ${name} ${printable(text)}`);
}

function isFields(value: FieldValue | undefined): value is Fields {
  return value instanceof Map;
}

function isList(value: FieldValue | undefined): value is readonly FieldValue[] {
  return Array.isArray(value);
}
