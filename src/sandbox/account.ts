import type { Tier } from './call-counter.js';
import { allAssets, findAsset, scaled } from './market-data.js';
import { formatDecimal } from './decimal.js';
import type { Order } from './order.js';

/** One executed trade, amounts scaled (decimal.ts), time in ms. */
export interface Trade {
  readonly id: string;
  readonly number: number;
  readonly order: Order;
  readonly time: number;
  readonly price: bigint;
  readonly volume: bigint;
  readonly cost: bigint;
  readonly fee: bigint;
}

/** One line of the ledger, amounts scaled, time in ms. */
export interface LedgerEntry {
  readonly id: string;
  readonly refid: string;
  readonly time: number;
  readonly type: 'trade' | 'withdrawal' | 'transfer';
  readonly asset: string;
  readonly amount: bigint;
  readonly fee: bigint;
  readonly balance: bigint;
}

/** Money on its way out: a withdrawal or a transfer to the futures wallet. Amounts are decimal text. */
export interface Payment {
  readonly refid: string;
  readonly time: number;
  readonly asset: string;
  readonly amount: string;
  readonly fee: string;
  /** The withdrawal key's name, or the wallet it went to. */
  readonly to: string;
  status: 'Initial' | 'Canceled' | 'Success';
}

/** A report asked for with AddExport. */
export interface ExportReport {
  readonly id: string;
  readonly report: 'trades' | 'ledgers';
  readonly description: string;
  readonly format: 'CSV' | 'TSV';
  readonly createdAt: number;
  readonly zip: Buffer;
}

/** What one Kraken account owns and has done; its keys share it. */
export class Account {
  readonly name: string;
  readonly tier: Tier;
  readonly orders = new Map<string, Order>();
  readonly open = new Map<string, Order>();
  /** In the order of closing. */
  readonly closed: Order[] = [];
  readonly byClientId = new Map<string, Order[]>();
  readonly expiring = new Set<Order>();
  readonly trades: Trade[] = [];
  readonly ledger: LedgerEntry[] = [];
  readonly withdrawals: Payment[] = [];
  readonly transfers: Payment[] = [];
  readonly exports = new Map<string, ExportReport>();
  /** When CancelAllOrdersAfter strikes, ms; undefined when disarmed. */
  cancelAllAt: number | undefined;
  readonly #balances = new Map<string, bigint>();
  readonly #held = new Map<string, bigint>();

  constructor(name: string, tier: Tier) {
    this.name = name;
    this.tier = tier;
    for (const one of allAssets()) this.#balances.set(one.name, scaled(one.startBalance));
  }

  balance(asset: string): bigint {
    return this.#balances.get(asset) ?? 0n;
  }

  /** Locked by open orders. */
  held(asset: string): bigint {
    return this.#held.get(asset) ?? 0n;
  }

  available(asset: string): bigint {
    return this.balance(asset) - this.held(asset);
  }

  /** Adds to (or, below zero, takes from) what open orders lock. */
  hold(asset: string, amount: bigint): void {
    this.#held.set(asset, this.held(asset) + amount);
  }

  /** Books an amount less a fee; the balance after it. */
  book(asset: string, amount: bigint, fee: bigint): bigint {
    const balance = this.balance(asset) + amount - fee;
    this.#balances.set(asset, balance);
    return balance;
  }

  /** Every balance as decimal text with the asset's decimals. */
  balances(): Record<string, string> {
    const result: Record<string, string> = {};
    for (const [asset, balance] of this.#balances) {
      result[asset] = formatDecimal(balance, findAsset(asset).decimals);
    }
    return result;
  }
}
