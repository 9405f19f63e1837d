import type { Fields, FieldValue } from '../kraken/fields.js';
import type { SharedClock } from '../lane/tenure.js';
import { txidsOf } from '../named-orders.js';

/** An order that a reply of Kraken's has named. */
export interface RecentOrder {
  readonly account: string;
  /** As the client wrote it. */
  readonly pair: string;
  /** Monotonic ms of its creation or last amend. */
  touchedAt: number;
}

/** An order as one node leaves it to the next. */
export type OrderLeft = readonly [txid: string, account: string, touchedAt: number];

/** For so long, ms, a call of another node may look for its lost order among those that look like it. */
const SHARED_MS = 60_000;
const MOST_SHARED = 100;
/** Kraken's tiers allow 225 open orders a pair at most; older ones are of no use to anybody here. */
const MOST = 20_000;

/**
 * The orders that replies have named lately, by txid and by the account's cl_ord_id. They tell an order's age for the
 * matching engine's counter, and which orders cannot be those of a call whose reply was lost. Bounded: the oldest go.
 */
export class RecentOrders {
  readonly #byTxid = new Map<string, RecentOrder>();
  readonly #txidOf = new Map<string, string>();
  /** Those that their client's own id does not tell from others: the latest. */
  #alike: string[] = [];

  add(txid: string, order: RecentOrder, clientId: string | undefined): void {
    this.#byTxid.set(txid, order);
    if (clientId !== undefined) this.#txidOf.set(keyOf(order.account, clientId), txid);
    for (const map of [this.#byTxid, this.#txidOf]) {
      const [oldest] = map.size > MOST ? map.keys() : [];
      if (oldest !== undefined) map.delete(oldest);
    }
  }

  /** Reads the orders that the reply to an order call names. Whatever it does not understand it leaves out. */
  learn(
    account: string,
    endpoint: string,
    fields: Fields | undefined,
    reply: Buffer,
    now = performance.now(),
  ): void {
    const pair = textOf(fields?.get('pair'));
    const clientId = textOf(fields?.get('cl_ord_id'));
    if (endpoint === 'AmendOrder') {
      const order = this.find(account, textOf(fields?.get('txid')) ?? clientId ?? '');
      if (order !== undefined) order.touchedAt = now;
      return;
    }
    for (const txid of txidsOf(reply)) {
      this.add(txid, { account, pair: pair ?? '', touchedAt: now }, clientId);
      if (clientId === undefined && (endpoint !== 'AddOrder' || fields?.has('userref') === true))
        this.#alike = [...this.#alike, txid].slice(-MOST_SHARED);
    }
  }

  /** Which orders of the last minute a node that looks for a lost one must not take for it. */
  leave(clock: SharedClock, now = performance.now()): OrderLeft[] {
    const orders = this.#alike.map((txid) => [txid, this.#byTxid.get(txid)] as const);
    const known = orders.flatMap(([txid, order]) => (order === undefined ? [] : [[txid, order] as const]));
    const young = known.filter(([, { touchedAt }]) => now - touchedAt < SHARED_MS);
    this.#alike = young.map(([txid]) => txid);
    return young.map(([txid, { account, touchedAt }]) => [txid, account, clock.toShared(touchedAt)]);
  }

  takeUp(left: readonly OrderLeft[], clock: SharedClock): void {
    for (const [txid, account, touchedAt] of left) {
      if (this.has(txid)) continue;
      this.add(txid, { account, pair: '', touchedAt: clock.toLocal(touchedAt) }, undefined);
      this.#alike = [...this.#alike, txid].slice(-MOST_SHARED);
    }
  }

  has(txid: string): boolean {
    return this.#byTxid.has(txid);
  }

  /** By a txid or a cl_ord_id. */
  find(account: string, id: string): RecentOrder | undefined {
    const order = this.#byTxid.get(this.#txidOf.get(keyOf(account, id)) ?? id);
    return order?.account === account ? order : undefined;
  }
}

function keyOf(account: string, clientId: string): string {
  return `${account}\n${clientId}`;
}

function textOf(value: FieldValue | undefined): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}
