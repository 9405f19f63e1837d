import { lookUpAmend } from './amended-order.js';
import { lookUpEdit } from './edited-order.js';
import type { OrderIdentity } from './order-identity.js';
import { lookUpBatch, lookUpOrder } from './placed-orders.js';
import { lookUpWithdrawal } from './withdrawal.js';

/**
 * The proxy's own signed read: the whole reply, envelope and all. Rejects when there is no good answer. `form` is
 * percent-encoded and without a nonce.
 */
export type AskKraken = (
  endpoint: 'OpenOrders' | 'ClosedOrders' | 'QueryOrders' | 'OrderAmends' | 'WithdrawStatus',
  form: string,
) => Promise<Buffer>;

export interface LookupContext {
  /** When the lost call was sent: ms by Kraken's clock. */
  readonly sentAt: number;
  /** Kraken's engine refuses it after this, likewise; undefined: nothing says when. */
  readonly until?: number | undefined;
  /** Whether an earlier reply named this txid or refid: then it is not this call's. */
  readonly isKnown: (txid: string) => boolean;
}

export type LookupResult =
  /** The call was executed; `result` is the JSON text of the `result` that Kraken would have answered. */
  | { readonly found: 'placed'; readonly result: string; readonly txids: readonly string[] }
  /** Kraken knows nothing of it now. It may still arrive, until its nonce or deadline forbids it. */
  | { readonly found: 'absent' }
  /** Some orders of a batch are there. `result` is right once it is certain that no other follows. */
  | {
      readonly found: 'partly';
      readonly result: string;
      readonly txids: readonly string[];
      /** How many are not there. */
      readonly missing: number;
    }
  /** What there is could be this call's or another's. */
  | { readonly found: 'ambiguous'; readonly reason: string };

/**
 * Finds out at Kraken what became of a call whose reply was lost. OpenOrders is always asked before ClosedOrders: an
 * order moves from the first to the second and never back, so none slips through between two questions. A result's
 * texts are Kraken's own. Rejects when `ask` does, and with an Error for a reply that is not as documented.
 */
export async function lookUp(
  identity: OrderIdentity,
  context: LookupContext,
  ask: AskKraken,
): Promise<LookupResult> {
  if (identity.isTest) return { found: 'absent' };
  switch (identity.endpoint) {
    case 'AddOrder':
      return await lookUpOrder(identity.order, context, ask);
    case 'AddOrderBatch':
      return await lookUpBatch(identity.orders, context, ask);
    case 'EditOrder':
      return await lookUpEdit(identity, context, ask);
    case 'AmendOrder':
      return await lookUpAmend(identity, context, ask);
    case 'Withdraw':
      return await lookUpWithdrawal(identity, context, ask);
  }
}
