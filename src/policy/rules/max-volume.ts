import { baseVolume } from '../notional.js';
import type { OrderLimits } from '../policy.js';
import { limitOf, shown } from './amounts.js';
import type { OrderRule } from './rule.js';

/** The volume of one order in the base currency; its conditional close has the same. */
export function maxVolumeRule({ maxVolume }: OrderLimits): OrderRule | undefined {
  if (maxVolume === undefined) return undefined;
  const most = limitOf('maxVolume', maxVolume);
  return {
    name: 'orders.maxVolume',
    check: (call) =>
      call.eachAsync(async (order) => {
        const volume = await baseVolume(order, call.price);
        return volume.isGreaterThan(most)
          ? `a volume of ${shown(volume)} is more than ${shown(most)}`
          : undefined;
      }),
  };
}
