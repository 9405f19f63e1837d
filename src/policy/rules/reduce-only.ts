import type { OrderLimits } from '../policy.js';
import type { OrderRule } from './rule.js';

/** Only orders that can but reduce a position. A conditional close may also open one, says Kraken. */
export function reduceOnlyRule({ reduceOnly }: OrderLimits): OrderRule | undefined {
  if (!reduceOnly) return undefined;
  return {
    name: 'orders.reduceOnly',
    check: (call) =>
      call.each((order) => {
        if (!order.reduceOnly) return 'the order is not reduce_only=true';
        return order.close === undefined ? undefined : 'a conditional close is not reduce-only';
      }),
  };
}
