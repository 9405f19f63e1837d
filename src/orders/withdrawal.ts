import { addsUp, sameDecimal } from './decimal-text.js';
import type { WithdrawIdentity } from './order-identity.js';
import type { AskKraken, LookupContext, LookupResult } from './order-lookup.js';
import { ambiguous, earliest } from './order-questions.js';
import { readWithdrawals, type ToldWithdrawal } from './order-replies.js';

/**
 * Finds a withdrawal by asset, time, amount and key: there is no id (KRAKEN.md 2.2). That none is found proves nothing;
 * it may not be listed yet.
 */
export async function lookUpWithdrawal(
  identity: WithdrawIdentity,
  { sentAt, isKnown }: LookupContext,
  ask: AskKraken,
): Promise<LookupResult> {
  const { asset, aclass, key } = identity;
  const form = `asset=${encodeURIComponent(asset)}`;
  const reply = await ask(
    'WithdrawStatus',
    aclass === undefined ? form : `${form}&aclass=${encodeURIComponent(aclass)}`,
  );
  const candidates = readWithdrawals(reply).filter(
    (one) =>
      // Kraken tells whole seconds.
      one.time >= Math.floor(earliest(sentAt) / 1000) &&
      !isKnown(one.refid) &&
      (one.key === undefined || one.key === key) &&
      isAmount(identity.amount, one) !== false,
  );
  const [first] = candidates;
  if (first === undefined) return { found: 'absent' };
  if (candidates.length > 1) return ambiguous('several withdrawals could be the one of this call');
  if (isAmount(identity.amount, first) === undefined) {
    return ambiguous('the amount of a withdrawal cannot be compared');
  }
  return { found: 'placed', result: JSON.stringify({ refid: first.refid }), txids: [first.refid] };
}

/** Whether Kraken tells the amount asked for, or that less the fee; which of them is not documented. */
function isAmount(asked: string, { amount, fee }: ToldWithdrawal): boolean | undefined {
  const isGross = sameDecimal(asked, amount);
  return isGross === false && fee !== undefined ? addsUp(amount, fee, asked) : isGross;
}
