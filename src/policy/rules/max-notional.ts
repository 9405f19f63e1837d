import { worthOf } from '../notional.js';
import type { OrderLimits } from '../policy.js';
import { limitFor, quoteLimitsOf, shown } from './amounts.js';
import type { OrderRule } from './rule.js';

/** What one order may be worth at most; its conditional close is an order of its own. */
export function maxNotionalRule({ maxNotional }: OrderLimits): OrderRule | undefined {
  if (maxNotional === undefined) return undefined;
  const limits = quoteLimitsOf('maxNotional', maxNotional);
  return {
    name: 'orders.maxNotional',
    async check(call) {
      const { quote } = await call.pair();
      const most = limitFor(limits, quote);
      return await call.eachAsync(async (item) => {
        const { order, close } = await worthOf(item, call.price);
        const isAbove = `${quote} is more than ${shown(most)}`;
        if (order.isGreaterThan(most)) return `an order worth ${shown(order)} ${isAbove}`;
        if (close.isGreaterThan(most)) return `a conditional close worth ${shown(close)} ${isAbove}`;
        return undefined;
      });
    },
  };
}
