import type { OrderLimits } from '../policy.js';
import type { OrderRule } from './rule.js';

/** Only these sides; a conditional close takes the other one. */
export function sidesRule({ sides }: OrderLimits): OrderRule | undefined {
  if (sides === undefined) return undefined;
  return {
    name: 'orders.sides',
    check: (call) =>
      call.each(({ side, close }) => {
        if (!sides.includes(side)) return `${side} is not one of the sides`;
        if (close !== undefined && !sides.includes(close.side)) {
          return `its conditional close would ${close.side}, which is not one of the sides`;
        }
        return undefined;
      }),
  };
}
