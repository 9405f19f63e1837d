import type { Market, Pair, Price } from '../kraken/market.js';
import type { Order } from './order.js';
import { Doubt, doubtOf, printable } from './verdict.js';

export interface OrderCallParts {
  readonly client: string;
  readonly orders: readonly Order[];
  readonly isBatch: boolean;
  readonly pair: string | undefined;
  readonly assetClass: string | undefined;
  /** Undefined: the orders are new. `worth`: the call changes price or volume of one; `other`: neither of them. */
  readonly change: 'worth' | 'other' | undefined;
  readonly market: Market;
}

/** The orders of one call as the rules see them, with what the market says of their pair. */
export class OrderCall {
  readonly client: string;
  readonly orders: readonly Order[];
  readonly change: OrderCallParts['change'];
  readonly #parts: OrderCallParts;
  #pair: Promise<Pair> | undefined;
  #price: Promise<Price> | undefined;

  constructor(parts: OrderCallParts) {
    this.client = parts.client;
    this.orders = parts.orders;
    this.change = parts.change;
    this.#parts = parts;
  }

  /** The first complaint of any order; in a batch it says which. A doubt is passed on in the same way. */
  async eachAsync(check: (order: Order) => Promise<string | undefined>): Promise<string | undefined> {
    for (const [index, order] of this.orders.entries()) {
      let reason: string | undefined;
      try {
        reason = await check(order);
      } catch (error) {
        if (error instanceof Doubt) throw new Doubt(this.#placed(index, error.message), { cause: error });
        throw error;
      }
      if (reason !== undefined) return this.#placed(index, reason);
    }
    return undefined;
  }

  /** Likewise for a check that asks nobody. */
  each(check: (order: Order) => string | undefined): string | undefined {
    for (const [index, order] of this.orders.entries()) {
      const reason = check(order);
      if (reason !== undefined) return this.#placed(index, reason);
    }
    return undefined;
  }

  /** The pair as the client wrote it, for a reason. */
  get pairName(): string {
    return printable(this.#parts.pair ?? '');
  }

  /** The pair of all the call's orders. Rejects with Doubt. */
  readonly pair = (): Promise<Pair> => (this.#pair ??= this.#findPair());

  /** Its price now. Rejects with Doubt. */
  readonly price = (): Promise<Price> => (this.#price ??= this.#findPrice());

  /** A pair by any of its names, undefined when Kraken lists none. Rejects with Doubt. */
  async find(name: string): Promise<Pair | undefined> {
    try {
      return await this.#parts.market.pair(name);
    } catch (error) {
      throw doubtOf("Kraken's list of pairs cannot be had", error);
    }
  }

  async #findPair(): Promise<Pair> {
    const { pair: name, assetClass } = this.#parts;
    if (name === undefined) throw new Doubt('the order names no pair');
    // Another class of assets has names of its own; the list of currency pairs says nothing about them.
    if (assetClass !== undefined)
      throw new Doubt(`no pairs are known of asset class ${printable(assetClass)}`);
    const pair = await this.find(name);
    if (pair === undefined) throw new Doubt(`Kraken lists no pair ${printable(name)}`);
    return pair;
  }

  async #findPrice(): Promise<Price> {
    const pair = await this.pair();
    try {
      return await this.#parts.market.price(pair);
    } catch (error) {
      throw doubtOf(`no price of ${printable(pair.id)} that is young enough`, error);
    }
  }

  #placed(index: number, reason: string): string {
    return this.#parts.isBatch ? `order ${index + 1}: ${reason}` : reason;
  }
}
