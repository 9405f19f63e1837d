/**
 * Which orders a reply of Kraken's names: `result.txid` (a list, or one), the txids of `result.orders`, or the `refid` of
 * money that moves.
 */
export function txidsOf(reply: Buffer): string[] {
  try {
    const { result } = JSON.parse(reply.toString()) as { result?: Named };
    const orders = Array.isArray(result?.orders) ? (result.orders as Named[]) : [result];
    return orders
      .flatMap((order) => [order?.txid, order?.refid].flat())
      .filter((txid) => typeof txid === 'string');
  } catch {
    return [];
  }
}

interface Named {
  readonly txid?: unknown;
  readonly refid?: unknown;
  readonly orders?: unknown;
}
