import { amountOf, ZERO, type Decimal } from '../decimal.js';
import { worthAhead, worthOf } from '../notional.js';
import type { OrderCall } from '../order-call.js';
import type { OrderLimits } from '../policy.js';
import type { Ledger } from '../spending.js';
import { Doubt } from '../verdict.js';
import { limitFor, quoteLimitsOf, shown } from './amounts.js';
import type { OrderRule } from './rule.js';

/** What a call counts toward the day. */
export interface DayAmount {
  readonly quote: string;
  readonly amount: Decimal;
  /** The most that the day may hold in that currency. */
  readonly limit: Decimal;
}

/** What a client's orders of any 24 hours may be worth together. */
export interface MaxNotionalPerDay {
  /** What the call would count. Rejects with Doubt. */
  amountOf(call: OrderCall): Promise<DayAmount>;
  /** Looks whether it fits; counts nothing. Rejects as the ledger does. */
  ruleWith(spending: Ledger): OrderRule;
}

export function maxNotionalPerDay({ maxNotionalPerDay: texts }: OrderLimits): MaxNotionalPerDay | undefined {
  if (texts === undefined) return undefined;
  const limits = quoteLimitsOf('maxNotionalPerDay', texts);
  const dayAmountOf = async (call: OrderCall): Promise<DayAmount> => {
    const { quote } = await call.pair();
    const amount = amountOf(await totalOf(call));
    // In report mode it would be written all the same, and no later start could read the ledger.
    if (amount === undefined) throw new Doubt('the order is worth more than the ledger of the day can hold');
    return { quote, limit: limitFor(limits, quote), amount };
  };
  return {
    amountOf: dayAmountOf,
    ruleWith: (spending) => ({
      name: 'orders.maxNotionalPerDay',
      async check(call) {
        const { quote, limit, amount } = await dayAmountOf(call);
        if (amount.isEqualTo(ZERO)) return undefined;
        const asked = spending.spent(call.client, quote);
        const spent = asked instanceof Promise ? await asked : asked;
        return spent.plus(amount).isGreaterThan(limit)
          ? `${shown(amount)} ${quote} on top of ${shown(spent)} in 24 h is more than ${shown(limit)}`
          : undefined;
      },
    }),
  };
}

/**
 * All orders of a call with their closes; of a changed one all that is still open. Nothing is taken off for what it
 * was before: nobody knows whether that was counted for this client today.
 */
async function totalOf(call: OrderCall): Promise<Decimal> {
  let total = ZERO;
  if (call.change === 'other') return total;
  await call.eachAsync(async (item) => {
    if (call.change === 'worth') {
      total = total.plus(await worthAhead(item, call.price));
    } else {
      const { order, close } = await worthOf(item, call.price);
      total = total.plus(order).plus(close);
    }
    return undefined;
  });
  return total;
}
