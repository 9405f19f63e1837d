import { partsOf } from '../order.js';
import type { OrderLimits } from '../policy.js';
import type { OrderRule } from './rule.js';

/** Only orders that rest in the book from the start: limit and iceberg orders with the flag post. */
export function postOnlyRule({ postOnly }: OrderLimits): OrderRule | undefined {
  if (!postOnly) return undefined;
  return {
    name: 'orders.postOnly',
    check: (call) =>
      call.each((order) => {
        if (partsOf(order.type).limit !== 'price') return `${order.type} orders cannot be post-only`;
        if (!order.postOnly) return 'the order is not post-only';
        return order.close === undefined ? undefined : 'a conditional close is not post-only';
      }),
  };
}
