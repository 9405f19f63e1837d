import { invalidArguments, Refusal } from './answer.js';
import type { CallFields } from './call-fields.js';
import { decimalsOf, divide, formatDecimal, multiply, ONE, parseDecimal } from './decimal.js';
import { LOT_DECIMALS, scaled, type Pair } from './market-data.js';
import { ORDER_TYPES, type OrderDraft, type OrderType } from './order.js';

const OFLAGS = new Set(['post', 'fcib', 'fciq', 'nompp', 'viqc']);
const UUID_OR_HEX = /^(?:[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]{32})$/;
// One client found capitals refused (KRAKEN.md 5); the spec does not say so, and they are taken here.
const FREE_TEXT = /^[\x21-\x7e]{1,18}$/;
const RFC3339 = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)$/;
const MIN_EXPIRY_MS = 5000;

/**
 * Checks the arguments of one order (AddOrder, one of AddOrderBatch), as far as they can be judged
 * without the account: what `validate=true` answers. Throws Refusal.
 */
export function readOrderDraft(fields: CallFields, pair: Pair, arrivedAt: number): OrderDraft {
  const ordertype = readOrderType(fields);
  const side = fields.needed('type');
  if (side !== 'buy' && side !== 'sell') throw invalidArguments('type');
  const cl_ord_id = readClientId(fields);
  const userref = fields.integer('userref', -2_147_483_648, 2_147_483_647);
  if (cl_ord_id !== undefined && userref !== undefined) throw invalidArguments('cl_ord_id');
  const { price, price2 } = readPrices(fields, ordertype, pair);
  const oflags = readOflags(fields);
  const volume = readVolume(fields, { ordertype, side, pair, oflags });
  checkMinimum(pair, volume, price2 ?? price ?? scaled(pair.last));
  const { timeinforce, expiresAt } = readLifetime(fields, arrivedAt);
  // Prevented by name only: no order here ever meets another of its own account.
  const stptype = fields.text('stptype') ?? 'cancel-newest';
  if (!/^cancel-(?:newest|oldest|both)$/.test(stptype)) throw invalidArguments('stptype');
  if (!/^(?:last|index)$/.test(fields.text('trigger') ?? 'last')) throw invalidArguments('trigger');
  // No margin and no positions here.
  if ((fields.text('leverage') ?? 'none') !== 'none') throw new Refusal('EOrder:Margin allowance exceeded');
  if (fields.flag('reduce_only')) throw new Refusal('EOrder:Reduce only:No position exists');
  return {
    pair,
    side,
    ordertype,
    price,
    price2,
    volume,
    displayVolume: readDisplayVolume(fields, volume),
    cl_ord_id,
    userref,
    oflags,
    timeinforce,
    expiresAt,
    close: readClose(fields, pair),
  };
}

/**
 * `deadline`, RFC 3339, 2 to 60 s ahead (KRAKEN.md 5). One that has passed by `now` is what the engine
 * refuses; one out of range when the call arrived is what the gateway refuses.
 */
export function checkDeadline(fields: CallFields, arrivedAt: number, now: number): void {
  const text = fields.text('deadline');
  if (text === undefined) return;
  const at = RFC3339.test(text) ? Date.parse(text) : NaN;
  if (Number.isNaN(at)) throw invalidArguments('deadline');
  if (at <= now) throw new Refusal('EService:Deadline elapsed');
  if (at < arrivedAt + 2000 || at > arrivedAt + 60_000) throw invalidArguments('deadline');
}

/** `cl_ord_id`: UUID, 32 hex digits or up to 18 ASCII characters (KRAKEN.md 5). */
export function readClientId(fields: CallFields): string | undefined {
  const id = fields.text('cl_ord_id');
  if (id !== undefined && !UUID_OR_HEX.test(id) && !FREE_TEXT.test(id)) throw invalidArguments('cl_ord_id');
  return id;
}

/** An amount above zero in lots, digits past the lot's cut off. */
export function readAmount(fields: CallFields, name: string): bigint | undefined {
  const text = fields.text(name);
  if (text === undefined) return undefined;
  const value = parseDecimal(text);
  if (value === undefined || value <= 0n) throw invalidArguments(name);
  const step = ONE / 10n ** BigInt(LOT_DECIMALS);
  return value - (value % step);
}

/** A price, absolute or relative to the last trade (`+10`, `-5%`, `#1%`: # picks the sign by the side). */
export function readPrice(
  fields: CallFields,
  name: string,
  pair: Pair,
  side: string | undefined,
): bigint | undefined {
  const text = fields.text(name);
  if (text === undefined) return undefined;
  const [, sign, digits = '', percent] = /^([+\-#]?)([\d.]+)(%?)$/.exec(text) ?? [];
  const value = parseDecimal(digits);
  if (value === undefined) throw invalidArguments(name);
  if (sign === '' && percent === '') {
    if (value === 0n) throw invalidArguments(name);
    if (decimalsOf(digits.replace(/0+$/, '')) > pair.pairDecimals) {
      throw new Refusal(
        `EOrder:Invalid price:${pair.wsname} price can only be specified up to ${pair.pairDecimals} decimals.`,
      );
    }
    return value;
  }
  const last = scaled(pair.last);
  const distance = percent === '%' ? divide(multiply(last, value), 100n * ONE) : value;
  const down = sign === '-' || (sign === '#' && side === 'sell');
  const price = scaled(formatDecimal(down ? last - distance : last + distance, pair.pairDecimals));
  if (price <= 0n) throw invalidArguments(name);
  return price;
}

/** Refuses what is below the pair's least volume or cost. */
export function checkMinimum(pair: Pair, volume: bigint, price: bigint): void {
  if (volume < scaled(pair.orderMin)) throw new Refusal('EOrder:Order minimum not met');
  if (multiply(volume, price) < scaled(pair.costMin)) throw new Refusal('EOrder:Cost minimum not met');
}

export function readOflags(fields: CallFields): readonly string[] {
  const flags = fields.text('oflags')?.split(',') ?? [];
  if (flags.some((flag) => !OFLAGS.has(flag))) throw invalidArguments('oflags');
  return flags;
}

function readOrderType(fields: CallFields): OrderType {
  const text = fields.needed('ordertype');
  if (text === 'settle-position') throw new Refusal('EOrder:Unknown position');
  const ordertype = ORDER_TYPES.find((one) => one === text);
  if (ordertype === undefined) throw invalidArguments('ordertype');
  return ordertype;
}

function readPrices(
  fields: CallFields,
  ordertype: OrderType,
  pair: Pair,
): { price: bigint | undefined; price2: bigint | undefined } {
  // A market order's price is ignored, as clients send 0.
  if (ordertype === 'market') return { price: undefined, price2: undefined };
  const side = fields.text('type');
  const price = readPrice(fields, 'price', pair, side);
  if (price === undefined) throw invalidArguments('price');
  if (!/^(?:stop-loss|take-profit|trailing-stop)-limit$/.test(ordertype)) return { price, price2: undefined };
  const price2 = readPrice(fields, 'price2', pair, side);
  if (price2 === undefined) throw invalidArguments('price2');
  return { price, price2 };
}

function readVolume(
  fields: CallFields,
  order: Pick<OrderDraft, 'ordertype' | 'side' | 'pair' | 'oflags'>,
): bigint {
  const volume = readAmount(fields, 'volume');
  if (volume === undefined) throw invalidArguments('volume');
  if (!order.oflags.includes('viqc')) return volume;
  // Volume in quote currency: for market buys only.
  if (order.ordertype !== 'market' || order.side !== 'buy') throw invalidArguments('viqc');
  return scaled(formatDecimal(divide(volume, scaled(order.pair.ask)), LOT_DECIMALS));
}

function readDisplayVolume(fields: CallFields, volume: bigint): bigint | undefined {
  const display = readAmount(fields, 'displayvol');
  if (display !== undefined && display > volume) throw invalidArguments('displayvol');
  return display;
}

function readLifetime(
  fields: CallFields,
  now: number,
): { timeinforce: OrderDraft['timeinforce']; expiresAt: number | undefined } {
  const timeinforce = fields.text('timeinforce') ?? 'GTC';
  if (timeinforce !== 'GTC' && timeinforce !== 'IOC' && timeinforce !== 'GTD') {
    throw invalidArguments('timeinforce');
  }
  const expiresAt = readTime(fields, 'expiretm', now);
  if (expiresAt !== undefined && expiresAt < now + MIN_EXPIRY_MS) throw invalidArguments('expiretm');
  if (timeinforce === 'GTD' && expiresAt === undefined) throw invalidArguments('expiretm');
  // A scheduled start is checked and otherwise ignored: every order here starts at once.
  readTime(fields, 'starttm', now);
  return { timeinforce, expiresAt };
}

/** 0 (none), `+<seconds>` from now, or a Unix time; `+` must come as %2B in a form. */
function readTime(fields: CallFields, name: string, now: number): number | undefined {
  const text = fields.text(name);
  if (text === undefined || text === '0') return undefined;
  const [, plus, seconds] = /^(\+?)(\d{1,10})$/.exec(text) ?? [];
  if (seconds === undefined) throw invalidArguments(name);
  return plus === '+' ? now + Number(seconds) * 1000 : Number(seconds) * 1000;
}

function readClose(fields: CallFields, pair: Pair): string {
  const ordertype = fields.nested('close', 'ordertype');
  if (ordertype === undefined) return '';
  if (ordertype === 'market' || !ORDER_TYPES.some((one) => one === ordertype)) {
    throw invalidArguments('close[ordertype]');
  }
  const price = fields.nested('close', 'price');
  if (price === undefined || !/^[+\-#]?[\d.]+%?$/.test(price)) throw invalidArguments('close[price]');
  const price2 = fields.nested('close', 'price2');
  const limit = price2 === undefined ? '' : ` -> limit ${price2}`;
  return `close position @ ${ordertype.replaceAll('-', ' ')} ${price}${limit} (${pair.altname})`;
}
