import { sameDecimal } from './decimal-text.js';
import type { AmendOrderIdentity } from './order-identity.js';
import type { AskKraken, LookupContext, LookupResult } from './order-lookup.js';
import { ambiguous, askClosed, askOpen, earliest, PAGE_FULL } from './order-questions.js';
import { readAmends, type ToldAmend } from './order-replies.js';

/** Among relative amends nothing tells ours from another, so any within so long before it was sent casts doubt. */
const RELATIVE_DOUBT_MS = 60_000;

/** Finds the amend of an order in its history. */
export async function lookUpAmend(
  identity: AmendOrderIdentity,
  context: LookupContext,
  ask: AskKraken,
): Promise<LookupResult> {
  const txid = await targetOf(identity, context, ask);
  if (typeof txid !== 'string') return txid;
  const all = readAmends(await ask('OrderAmends', `order_id=${encodeURIComponent(txid)}`));
  // "Ordered by ascending amend timestamp", but nothing rests on it.
  const amends = all.filter(({ isUsers }) => isUsers).sort((a, b) => (a.at > b.at ? -1 : 1));
  if (identity.isRelative) {
    return amends.some(({ at }) => at > nanoseconds(context.sentAt - RELATIVE_DOUBT_MS))
      ? ambiguous('the order was amended, and a relative amend cannot be told from another')
      : { found: 'absent' };
  }
  for (const [index, amend] of amends.entries()) {
    const isRecent = amend.at >= nanoseconds(earliest(context.sentAt));
    // An older amend counts only while it is the newest: then the order is as it was to become.
    if (!isRecent && index > 0) break;
    const likeness = likenessOf(identity, amend);
    if (likeness === 'same') {
      return { found: 'placed', result: JSON.stringify({ amend_id: amend.id }), txids: [] };
    }
    if (likeness === 'untold' && isRecent) {
      return ambiguous('the order was amended, and Kraken does not tell all that was changed');
    }
  }
  return { found: 'absent' };
}

/** The txid of the order to amend, by its client id the one that was open when the amend was sent. */
async function targetOf(
  { target }: AmendOrderIdentity,
  { sentAt }: LookupContext,
  ask: AskKraken,
): Promise<string | LookupResult> {
  if (target.name === 'txid') return target.value;
  const id = { name: target.name, value: target.value };
  const open = await askOpen(ask, id);
  if (open.orders.length > 1) return ambiguous('several open orders carry the client order id');
  if (open.orders[0] !== undefined) return open.orders[0].txid;
  const closed = await askClosed(ask, sentAt, id);
  const gone = closed.orders.filter((order) => (order.closedAt ?? Infinity) >= earliest(sentAt));
  if (gone.length > 1) return ambiguous('several orders could be the one to amend');
  if (gone[0] !== undefined) return gone[0].txid;
  return closed.isWhole ? { found: 'absent' } : ambiguous(PAGE_FULL);
}

/** Whether an amend has all the values that were asked for; 'untold' when it lacks some and the others agree. */
function likenessOf(identity: AmendOrderIdentity, amend: ToldAmend): 'same' | 'other' | 'untold' {
  const likeness = (['order_qty', 'display_qty', 'limit_price', 'trigger_price'] as const).flatMap((name) => {
    const asked = identity[name];
    if (asked === undefined) return [];
    const told = amend.value(name);
    return [told === undefined ? undefined : sameDecimal(asked, told)];
  });
  if (likeness.includes(false)) return 'other';
  return likeness.includes(undefined) ? 'untold' : 'same';
}

function nanoseconds(ms: number): bigint {
  return BigInt(Math.trunc(ms)) * 1_000_000n;
}
