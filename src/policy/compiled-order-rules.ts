import type { OrderLimits, RuleName, Rules } from './policy.js';
import { maxNotionalRule } from './rules/max-notional.js';
import { maxNotionalPerDay, type MaxNotionalPerDay } from './rules/max-notional-per-day.js';
import { maxVolumeRule } from './rules/max-volume.js';
import { pairsRule } from './rules/pairs.js';
import { postOnlyRule } from './rules/post-only.js';
import { reduceOnlyRule } from './rules/reduce-only.js';
import type { OrderRule } from './rules/rule.js';
import { sidesRule } from './rules/sides.js';
import { typesRule } from './rules/types.js';

export const DAY = 'orders.maxNotionalPerDay';
export const MAX_OPEN = 'orders.maxOpenOrders';

/** A client's order limits, ready to be applied. */
export interface CompiledOrderRules {
  /** Those that look at an order and the market, in the order of RULE_NAMES; the day's rule has its place among them. */
  readonly before: readonly OrderRule[];
  readonly day: MaxNotionalPerDay | undefined;
  readonly after: readonly OrderRule[];
  readonly maxOpenOrders: number | undefined;
  /** Everything that is set, in the order of RULE_NAMES. */
  readonly names: readonly RuleName[];
  readonly report: ReadonlySet<RuleName>;
}

/** Undefined when no limit is set. Throws an Error on amounts that are no decimal text. */
export function compileOrderRules({ orders, report }: Rules): CompiledOrderRules | undefined {
  if (orders === undefined) return undefined;
  const made = (makers: readonly ((limits: OrderLimits) => OrderRule | undefined)[]): OrderRule[] =>
    makers.map((make) => make(orders)).filter((rule) => rule !== undefined);
  const before = made([pairsRule, sidesRule, typesRule, maxVolumeRule, maxNotionalRule]);
  const after = made([reduceOnlyRule, postOnlyRule]);
  const day = maxNotionalPerDay(orders);
  const { maxOpenOrders } = orders;
  const names: RuleName[] = [
    ...before.map(({ name }) => name),
    ...(day === undefined ? [] : ([DAY] as const)),
    ...(maxOpenOrders === undefined ? [] : ([MAX_OPEN] as const)),
    ...after.map(({ name }) => name),
  ];
  if (names.length === 0) return undefined;
  return { before, day, after, maxOpenOrders, names, report: new Set(report) };
}
