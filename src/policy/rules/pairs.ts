import type { OrderLimits } from '../policy.js';
import type { OrderRule } from './rule.js';

/** Only the pairs that are listed, by whichever of their names. */
export function pairsRule({ pairs }: OrderLimits): OrderRule | undefined {
  if (pairs === undefined) return undefined;
  return {
    name: 'orders.pairs',
    async check(call) {
      const { id } = await call.pair();
      for (const name of pairs) if ((await call.find(name))?.id === id) return undefined;
      return `${call.pairName} is not one of the pairs`;
    },
  };
}
