/*
 * A change of an order counted toward the day only what the order was worth more than before. For a sale the worth is
 * the higher of its price and the market's: a sale that rested far above the market and was amended down to it counted
 * nothing, and whether its former worth had ever been counted for this client, on this day, nobody knew. A client
 * could sell any number of such orders past its limit. A change of price or volume now counts like a new order.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Spending } from '../../src/policy/spending.js';
import { openOrder, PolicyWorld, rulesWith, TXID } from '../support/policy-world.js';

let folder: string;
let spending: Spending;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ledger-'));
  spending = await Spending.open(join(folder, 'spending.jsonl'));
});
afterEach(async () => {
  await spending.close();
  rmSync(folder, { recursive: true });
});

it.each([
  ['AmendOrder', `txid=${TXID}&limit_price=99`],
  ['EditOrder', `txid=${TXID}&pair=XBTUSD&price=99`],
])('%s: resting sales that are moved down to the market use up the day like new ones', async (name, body) => {
  const world = new PolicyWorld(spending);
  const rules = rulesWith({ maxNotionalPerDay: { USD: '250' } });
  world.orders = { [TXID]: openOrder({}, { type: 'sell', price: '100000' }) };
  const outcomes = [];
  for (let sale = 0; sale < 3; sale++) outcomes.push(await world.outcome(rules, name, body));
  expect(outcomes).toEqual([
    'allowed',
    'allowed',
    'orders.maxNotionalPerDay: 100 USD on top of 200 in 24 h is more than 250',
  ]);
});
