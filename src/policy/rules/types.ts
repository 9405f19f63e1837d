import type { OrderLimits } from '../policy.js';
import type { OrderRule } from './rule.js';

/** Only these order types, for a conditional close too. */
export function typesRule({ types }: OrderLimits): OrderRule | undefined {
  if (types === undefined) return undefined;
  return {
    name: 'orders.types',
    check: (call) =>
      call.each(({ type, close }) => {
        if (!types.includes(type)) return `${type} is not one of the types`;
        if (close !== undefined && !types.includes(close.type)) {
          return `its conditional close is of type ${close.type}, which is not one of the types`;
        }
        return undefined;
      }),
  };
}
