import type { OrderCall } from '../order-call.js';
import type { RuleName } from '../policy.js';

/** A limit on orders that is set for a client. */
export interface OrderRule {
  readonly name: RuleName;
  /**
   * Why the call breaks the rule; undefined: it does not. A promise where the market may have to be asked. Throws
   * or rejects with Doubt when the rule cannot tell.
   */
  check(call: OrderCall): string | undefined | Promise<string | undefined>;
}
