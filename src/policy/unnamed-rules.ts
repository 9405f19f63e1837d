import { MONEY_STAYS } from './endpoint-rules.js';
import type { Rules } from './policy.js';

/**
 * For callers that no client of the config names: programs on this machine where there are no clients, and holders
 * of an account's own secret where there are. What moves money, and what the endpoint table does not know, has to be
 * allowed to a client by name.
 */
export const UNNAMED_RULES: Rules = {
  allow: MONEY_STAYS,
  deny: [],
  orders: undefined,
  report: [],
};
