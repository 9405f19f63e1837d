import { largest, roundedUp, ZERO, type Decimal } from '../decimal.js';
import { worthAhead, worthOf } from '../notional.js';
import type { OrderCall } from '../order-call.js';
import type { OrderLimits } from '../policy.js';
import type { Ledger } from '../spending.js';
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
  /** Looks whether it fits; counts nothing. */
  ruleWith(spending: Ledger): OrderRule;
}

export function maxNotionalPerDay({ maxNotionalPerDay: texts }: OrderLimits): MaxNotionalPerDay | undefined {
  if (texts === undefined) return undefined;
  const limits = quoteLimitsOf('maxNotionalPerDay', texts);
  const amountOf = async (call: OrderCall): Promise<DayAmount> => {
    const { quote } = await call.pair();
    return { quote, limit: limitFor(limits, quote), amount: roundedUp(await totalOf(call)) };
  };
  return {
    amountOf,
    ruleWith: (spending) => ({
      name: 'orders.maxNotionalPerDay',
      async check(call) {
        const { quote, limit, amount } = await amountOf(call);
        const spent = spending.spent(call.client, quote);
        return spent.plus(amount).isGreaterThan(limit)
          ? `${shown(amount)} ${quote} on top of ${shown(spent)} in 24 h is more than ${shown(limit)}`
          : undefined;
      },
    }),
  };
}

/** All orders of a call with their closes; of a changed order, what it is worth more than before. */
async function totalOf(call: OrderCall): Promise<Decimal> {
  let total = ZERO;
  await call.eachAsync(async (item) => {
    if (call.former !== undefined) {
      const before = await worthAhead(call.former, call.price);
      total = total.plus(largest(ZERO, (await worthAhead(item, call.price)).minus(before)));
    } else {
      const { order, close } = await worthOf(item, call.price);
      total = total.plus(order).plus(close);
    }
    return undefined;
  });
  return total;
}
