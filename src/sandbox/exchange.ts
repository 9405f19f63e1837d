import { Account, type Payment } from './account.js';
import { Refusal } from './answer.js';
import type { Tier } from './call-counter.js';
import { divide, multiply, ONE } from './decimal.js';
import { scaled, TAKER_FEE_PERCENT } from './market-data.js';
import { limitPriceOf, type Order, type OrderDraft } from './order.js';

const TAKER_FEE = divide(scaled(TAKER_FEE_PERCENT), 100n * ONE);

/** What an amend may change. */
export interface OrderChange {
  readonly volume?: bigint;
  readonly displayVolume?: bigint;
  readonly limitPrice?: bigint;
  readonly triggerPrice?: bigint;
  readonly postOnly?: boolean;
}

/**
 * Accounts, orders and balances. There is no book: prices stand still (market-data.ts), so a market order
 * and a limit order that crosses are filled at once and whole, at the touch; every other order rests.
 */
export class Exchange {
  readonly #now: () => number;
  readonly #accounts = new Map<string, Account>();
  readonly #cancelTimers = new Map<Account, NodeJS.Timeout>();
  #ids = 0;
  #amends = 0n;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** The account of that name, opened with its start balances when first named. */
  account(name: string, tier: Tier = 'intermediate'): Account {
    let account = this.#accounts.get(name);
    if (account === undefined) {
      account = new Account(name, tier);
      this.#accounts.set(name, account);
    }
    return account;
  }

  /** The account of that name as it is now, if there is one. */
  find(name: string): Account | undefined {
    const account = this.#accounts.get(name);
    if (account !== undefined) this.catchUp(account);
    return account;
  }

  /** Does what time has made due: the dead man's switch, orders that expire. Comes before every call. */
  catchUp(account: Account): void {
    const now = this.#now();
    if (account.cancelAllAt !== undefined && now >= account.cancelAllAt) {
      // It strikes once and then stays off (KRAKEN.md 5).
      this.disarmCancelAll(account);
      this.cancelAll(account, 'User requested');
    }
    for (const order of account.expiring) {
      if (order.expiresAt !== undefined && now >= order.expiresAt) {
        this.#close(account, order, 'expired', 'Order expired');
      }
    }
  }

  /** An id in Kraken's shape, `OAAAAA-BBBBB-CCCCCC`; unique in this sandbox. */
  newId(prefix: string): string {
    this.#ids += 1;
    const text =
      prefix +
      this.#ids
        .toString(36)
        .toUpperCase()
        .padStart(17 - prefix.length, '0');
    return `${text.slice(0, 6)}-${text.slice(6, 11)}-${text.slice(11)}`;
  }

  /**
   * Refuses what the engine would refuse of a sound order: a client id in use, and missing funds. With
   * `replaced` (EditOrder), cancels that one for it; a refusal leaves it standing.
   */
  place(account: Account, draft: OrderDraft, replaced?: Order): Order {
    const { cl_ord_id } = draft;
    if (cl_ord_id !== undefined && this.openByClientId(account, cl_ord_id) !== undefined) {
      throw new Refusal('EGeneral:Invalid arguments:cl_ord_id not unique');
    }
    const now = this.#now();
    const order: Order = {
      ...draft,
      txid: this.newId('O'),
      openedAt: now,
      status: 'open',
      reason: undefined,
      closedAt: undefined,
      filled: 0n,
      cost: 0n,
      fee: 0n,
      averagePrice: 0n,
      held: 0n,
      trades: [],
      amends: [],
    };
    this.#lock(account, order, replaced?.held ?? 0n);
    if (replaced !== undefined) {
      // What it locked has passed to the new order.
      replaced.held = 0n;
      this.cancel(account, replaced, 'Order replaced');
    }
    this.#remember(account, order);
    this.#recordAmend(order, 'original');
    this.#match(account, order);
    return order;
  }

  /** Changes an open order in place (AmendOrder); the amend's record. */
  amend(account: Account, order: Order, change: OrderChange): Order['amends'][number] {
    const changed: Order = { ...order };
    if (change.volume !== undefined) changed.volume = change.volume;
    if (change.displayVolume !== undefined) changed.displayVolume = change.displayVolume;
    if (change.triggerPrice !== undefined) changed.price = change.triggerPrice;
    if (change.limitPrice !== undefined) {
      if (changed.price2 === undefined) changed.price = change.limitPrice;
      else changed.price2 = change.limitPrice;
    }
    if (change.postOnly === true && !order.oflags.includes('post'))
      changed.oflags = [...order.oflags, 'post'];
    this.#lock(account, changed, order.held);
    Object.assign(order, changed);
    const amend = this.#recordAmend(order, 'user');
    this.#match(account, order);
    return amend;
  }

  cancel(account: Account, order: Order, reason = 'User requested'): void {
    this.#close(account, order, 'canceled', reason);
  }

  /** How many were cancelled. */
  cancelAll(account: Account, reason = 'User requested'): number {
    const open = [...account.open.values()];
    for (const order of open) this.cancel(account, order, reason);
    return open.length;
  }

  openByClientId(account: Account, clientId: string): Order | undefined {
    return account.byClientId.get(clientId)?.find((order) => order.status === 'open');
  }

  /** Arms CancelAllOrdersAfter; when it strikes (ms). */
  armCancelAll(account: Account, timeoutMs: number): number {
    this.disarmCancelAll(account);
    account.cancelAllAt = this.#now() + timeoutMs;
    this.#watch(account, timeoutMs);
    return account.cancelAllAt;
  }

  disarmCancelAll(account: Account): void {
    account.cancelAllAt = undefined;
    clearTimeout(this.#cancelTimers.get(account));
    this.#cancelTimers.delete(account);
  }

  /** Books a payment out of the account: a withdrawal or a transfer. Funds are checked by the caller. */
  pay(
    account: Account,
    type: 'withdrawal' | 'transfer',
    payment: Payment,
    amount: bigint,
    fee: bigint,
  ): void {
    (type === 'withdrawal' ? account.withdrawals : account.transfers).push(payment);
    this.#book(account, { refid: payment.refid, type, asset: payment.asset, amount: -amount, fee });
  }

  /** Stops the timers. */
  close(): void {
    for (const timer of this.#cancelTimers.values()) clearTimeout(timer);
    this.#cancelTimers.clear();
  }

  /** Lets the dead man's switch strike without a call; the injected clock decides whether it is due. */
  #watch(account: Account, delayMs: number): void {
    const timer = setTimeout(() => {
      this.catchUp(account);
      if (account.cancelAllAt !== undefined) {
        this.#watch(account, Math.max(1, account.cancelAllAt - this.#now()));
      }
    }, delayMs);
    timer.unref();
    this.#cancelTimers.set(account, timer);
  }

  #remember(account: Account, order: Order): void {
    account.orders.set(order.txid, order);
    account.open.set(order.txid, order);
    if (order.expiresAt !== undefined) account.expiring.add(order);
    if (order.cl_ord_id !== undefined) {
      const same = account.byClientId.get(order.cl_ord_id);
      if (same === undefined) account.byClientId.set(order.cl_ord_id, [order]);
      else same.push(order);
    }
  }

  /** Locks what the order may need in place of what it locked before, or refuses it for want of funds. */
  #lock(account: Account, order: Order, before: bigint): void {
    const asset = order.side === 'buy' ? order.pair.quote : order.pair.base;
    let needed = order.volume;
    if (order.side === 'buy') {
      // A market buy needs the ask; a triggered one is reckoned at its trigger.
      const price = limitPriceOf(order) ?? order.price ?? scaled(order.pair.ask);
      const cost = multiply(order.volume, price);
      needed = cost + multiply(cost, TAKER_FEE);
    }
    if (needed > account.available(asset) + before) throw new Refusal('EOrder:Insufficient funds');
    account.hold(asset, needed - before);
    order.held = needed;
  }

  #match(account: Account, order: Order): void {
    // A slow engine can come to an order when its time is over.
    if (order.expiresAt !== undefined && this.#now() >= order.expiresAt) {
      this.#close(account, order, 'expired', 'Order expired');
      return;
    }
    const touch = scaled(order.side === 'buy' ? order.pair.ask : order.pair.bid);
    if (order.ordertype === 'market') {
      this.#fill(account, order, touch);
      return;
    }
    // Triggers never fire: prices stand still.
    if (order.ordertype !== 'limit' && order.ordertype !== 'iceberg') return;
    const limit = limitPriceOf(order) ?? touch;
    const crosses = order.side === 'buy' ? limit >= touch : limit <= touch;
    if (crosses && order.oflags.includes('post')) {
      // Accepted with a txid and cancelled at once; that Kraken does not refuse it is not confirmed.
      this.cancel(account, order, 'Post only order');
    } else if (crosses) {
      this.#fill(account, order, touch);
    } else if (order.timeinforce === 'IOC') {
      this.cancel(account, order, 'Immediate or cancel order');
    }
  }

  #fill(account: Account, order: Order, price: bigint): void {
    const { pair, side, volume } = order;
    const cost = multiply(volume, price);
    const fee = multiply(cost, TAKER_FEE);
    const id = this.newId('T');
    Object.assign(order, { filled: volume, cost, fee, averagePrice: price });
    order.trades.push(id);
    this.#close(account, order, 'closed', undefined);
    const time = this.#now();
    const number = account.trades.length + 1;
    account.trades.push({ id, number, order, time, price, volume, cost, fee });
    const sign = side === 'buy' ? 1n : -1n;
    this.#book(account, { refid: id, type: 'trade', asset: pair.base, amount: sign * volume, fee: 0n });
    this.#book(account, { refid: id, type: 'trade', asset: pair.quote, amount: -sign * cost, fee });
  }

  #book(
    account: Account,
    line: Pick<Account['ledger'][number], 'refid' | 'type' | 'asset' | 'amount' | 'fee'>,
  ): void {
    const balance = account.book(line.asset, line.amount, line.fee);
    account.ledger.push({ ...line, id: this.newId('L'), time: this.#now(), balance });
  }

  #close(account: Account, order: Order, status: Order['status'], reason: string | undefined): void {
    order.status = status;
    order.reason = reason;
    order.closedAt = this.#now();
    account.hold(order.side === 'buy' ? order.pair.quote : order.pair.base, -order.held);
    order.held = 0n;
    account.open.delete(order.txid);
    account.expiring.delete(order);
    account.closed.push(order);
  }

  #recordAmend(order: Order, type: 'original' | 'user'): Order['amends'][number] {
    this.#amends += 1n;
    // Odd and far above 2^53: no double holds it, so whoever parses a reply on its way is found out.
    const timestampNs = BigInt(Math.trunc(this.#now())) * 1_000_000n + 2n * (this.#amends % 499_999n) + 1n;
    const amend = {
      id: this.newId('TA'),
      type,
      timestampNs,
      volume: order.volume,
      price: limitPriceOf(order),
    };
    order.amends.push(amend);
    return amend;
  }
}
