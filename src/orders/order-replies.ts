/** An order as OpenOrders, ClosedOrders and QueryOrders tell it (krakenfx/api-specs, objects/user/orders). */
export interface ToldOrder {
  readonly txid: string;
  readonly cl_ord_id: string | undefined;
  readonly userref: string | undefined;
  /** The order that created this one, as a conditional close or, perhaps, an edit does. */
  readonly refid: string | undefined;
  readonly status: string;
  /** Why it was closed. */
  readonly reason: string | undefined;
  /** ms. */
  readonly openedAt: number;
  /** ms; undefined while open. */
  readonly closedAt: number | undefined;
  /** An altname. */
  readonly pair: string;
  readonly type: string;
  readonly ordertype: string;
  readonly price: string;
  readonly price2: string;
  /** Kraken's one-line texts; `close` is empty without a conditional close. */
  readonly order: string;
  readonly close: string;
  readonly volume: string;
  readonly oflags: readonly string[];
}

export interface ToldOrders {
  readonly orders: readonly ToldOrder[];
  /** Nothing that was asked for stands on a further page. */
  readonly isWhole: boolean;
}

/** An entry of OrderAmends. */
export interface ToldAmend {
  readonly id: string;
  readonly isUsers: boolean;
  /** ns. */
  readonly at: bigint;
  /** `limit_price`, `order_qty`, …, where told. */
  readonly value: (name: string) => string | undefined;
}

/** An entry of WithdrawStatus. */
export interface ToldWithdrawal {
  readonly refid: string;
  readonly amount: string;
  readonly fee: string | undefined;
  /** Unix seconds, whole. */
  readonly time: number;
  /** The name of the withdrawal key, where told. */
  readonly key: string | undefined;
}

/** ClosedOrders lists so many (KRAKEN.md 2.2). */
const PAGE = 50;

/** OpenOrders lists all of them. Throws Error for a reply that is not as documented, as all of these do. */
export function readOpenOrders(reply: Buffer): ToldOrders {
  return { orders: ordersOf(recordOf(recordOf(resultOf(reply)).open)), isWhole: true };
}

/** `listed`: how many stand on the pages before this one. */
export function readClosedOrders(reply: Buffer, listed = 0): ToldOrders {
  const result = recordOf(resultOf(reply));
  const orders = ordersOf(recordOf(result.closed));
  const count = result.count === undefined ? undefined : numberOf(result.count);
  return { orders, isWhole: count === undefined ? orders.length < PAGE : count <= listed + orders.length };
}

export function readQueriedOrders(reply: Buffer): readonly ToldOrder[] {
  return ordersOf(recordOf(resultOf(reply)));
}

export function readAmends(reply: Buffer): readonly ToldAmend[] {
  return listOf(recordOf(resultOf(reply)).amends).map((item) => {
    const amend = recordOf(item);
    const at = textOf(amend.timestamp);
    // 19 digits (KRAKEN.md 2.2); in another unit it would be compared wrongly.
    if (!/^\d{19}$/.test(at)) throw odd();
    return {
      id: textOf(amend.amend_id),
      isUsers: textOf(amend.amend_type) === 'user',
      at: BigInt(at),
      value: (name) => optionalText(amend[name]),
    };
  });
}

export function readWithdrawals(reply: Buffer): readonly ToldWithdrawal[] {
  return listOf(resultOf(reply)).map((item) => {
    const entry = recordOf(item);
    return {
      refid: textOf(entry.refid),
      amount: textOf(entry.amount),
      fee: optionalText(entry.fee),
      time: Math.floor(numberOf(entry.time)),
      key: optionalText(entry.key),
    };
  });
}

function ordersOf(entries: Readonly<Record<string, unknown>>): readonly ToldOrder[] {
  return Object.entries(entries).map(([txid, item]) => {
    const entry = recordOf(item);
    const descr = recordOf(entry.descr);
    return {
      txid,
      cl_ord_id: optionalText(entry.cl_ord_id),
      userref: optionalText(entry.userref),
      refid: optionalText(entry.refid),
      status: textOf(entry.status),
      reason: optionalText(entry.reason),
      openedAt: numberOf(entry.opentm) * 1000,
      closedAt: optionalText(entry.closetm) === undefined ? undefined : numberOf(entry.closetm) * 1000,
      pair: textOf(descr.pair),
      type: textOf(descr.type),
      ordertype: textOf(descr.ordertype),
      price: textOf(descr.price),
      price2: textOf(descr.price2),
      order: textOf(descr.order),
      close: optionalText(descr.close) ?? '',
      volume: textOf(entry.vol),
      oflags: optionalText(entry.oflags)?.split(',') ?? [],
    };
  });
}

/** The result of a reply, its numbers as the texts that they were written as: 19 digits do not fit a double. */
function resultOf(reply: Buffer): unknown {
  let envelope: unknown;
  try {
    envelope = JSON.parse(reply.toString().replace(STRING_OR_NUMBER, quoted));
  } catch {
    throw odd();
  }
  const { error, result } = recordOf(envelope);
  // A W… is a warning, and comes with a result (KRAKEN.md 4).
  const refusal = listOf(error)
    .map(textOf)
    .find((text) => !text.startsWith('W'));
  if (refusal !== undefined) throw new Error(`Kraken: ${refusal.slice(0, 100)}`);
  return result;
}

const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/gs;

function quoted(token: string): string {
  return token.startsWith('"') ? token : `"${token}"`;
}

function recordOf(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw odd();
  return value as Readonly<Record<string, unknown>>;
}

function listOf(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw odd();
  return value;
}

function textOf(value: unknown): string {
  if (typeof value !== 'string') throw odd();
  return value;
}

/** Missing, null and empty are the same: not told. */
function optionalText(value: unknown): string | undefined {
  return value === undefined || value === null || value === '' ? undefined : textOf(value);
}

function numberOf(value: unknown): number {
  const number = Number(textOf(value) || NaN);
  if (!Number.isFinite(number)) throw odd();
  return number;
}

function odd(): Error {
  return new Error('the reply to a look-up is not as documented');
}
