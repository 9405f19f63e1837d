import fc from 'fast-check';
import { parseAmount, parseDecimal, ZERO, type Decimal } from '../../src/policy/decimal.js';
import type { Order, PriceTerm } from '../../src/policy/order.js';
import { OrderCall } from '../../src/policy/order-call.js';
import { maxNotionalPerDay } from '../../src/policy/rules/max-notional-per-day.js';
import { Doubt } from '../../src/policy/verdict.js';
import { rulesWith, TestMarket } from '../support/policy-world.js';

const digits = (most: number): fc.Arbitrary<string> =>
  fc.stringMatching(new RegExp(`^[1-9][0-9]{0,${most - 1}}$`));
const decimal: fc.Arbitrary<Decimal> = fc
  .oneof(
    digits(5),
    digits(20),
    fc.tuple(digits(20), digits(20)).map(([whole, rest]) => `${whole}.${rest}`),
  )
  .map((text) => parseDecimal(text) ?? ZERO);
const term: fc.Arbitrary<PriceTerm> = fc.record({
  value: decimal,
  isDistance: fc.boolean(),
  inPercent: fc.boolean(),
});
const type = fc.constantFrom('market', 'limit', 'stop-loss-limit', 'trailing-stop-limit');
const side = fc.constantFrom('buy', 'sell');
const leg = fc.record({ side, type, price: term, price2: term });
// Wider than any order that the reader lets through.
const anyOrder: fc.Arbitrary<Order> = fc.record({
  ...{ side, type, price: term, price2: term, volume: decimal, executed: fc.constant(ZERO) },
  ...{ volumeInQuote: fc.boolean(), reduceOnly: fc.boolean(), postOnly: fc.boolean() },
  close: fc.option(leg, { nil: undefined }),
});
/** Percent upon percent, which makes the longest amounts. */
const huge = fc.stringMatching(/^[1-9][0-9]{18,19}$/).map((text) => parseDecimal(text) ?? ZERO);
const steep = fc.tuple(anyOrder, huge, huge, huge).map(([order, volume, first, second]): Order => {
  const price: PriceTerm = { value: first, isDistance: true, inPercent: true };
  const prices = { type: 'stop-loss-limit' as const, price, price2: { ...price, value: second } };
  return { ...order, volume, ...prices, close: { side: 'sell', ...prices } };
});
const order = fc.oneof(anyOrder, steep);

it('whatever the orders of a call: what it counts toward the day can be read back from the ledger, or is refused', async () => {
  const limits = rulesWith({ maxNotionalPerDay: { USD: '1' } }).orders;
  const rule = limits === undefined ? undefined : maxNotionalPerDay(limits);
  const seen = { counted: 0, refused: 0 };
  const change = fc.constantFrom(undefined, 'worth' as const, 'other' as const);
  await fc.assert(
    fc.asyncProperty(fc.array(order, { minLength: 1, maxLength: 15 }), change, async (orders, changes) => {
      const call = new OrderCall({
        ...{ client: 'bot', orders, isBatch: true, pair: 'XBTUSD', assetClass: undefined, change: changes },
        market: new TestMarket(),
      });
      try {
        const amount = (await rule?.amountOf(call))?.amount;
        expect(parseAmount(amount?.toFixed() ?? '')?.toFixed()).toBe(amount?.toFixed());
        seen.counted += 1;
      } catch (error) {
        if (!(error instanceof Doubt)) throw error;
        seen.refused += 1;
      }
    }),
    { numRuns: 500 },
  );
  expect(Math.min(seen.counted, seen.refused)).toBeGreaterThan(10);
});
