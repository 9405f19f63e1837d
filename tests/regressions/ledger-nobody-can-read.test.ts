/*
 * A client tried its day's limit out in report mode. One of its orders had a volume of twenty digits and prices of
 * so many percent above the market: it was worth an amount of more digits than the ledger of the day reads. In report
 * mode nothing refused it, it was written, and the next start of the proxy ended with SpendingError. Volumes and
 * percentages now have bounds, and an amount that could not be read back is never written.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Spending } from '../../src/policy/spending.js';
import { PolicyWorld, rulesWith, type Body } from '../support/policy-world.js';

const ABSURD = '99999999999999999999';
const rules = rulesWith({ maxNotionalPerDay: { USD: '250' } }, { report: ['orders.maxNotionalPerDay'] });
const order = (volume: string, percent: string): Record<string, unknown> => {
  const prices = { ordertype: 'stop-loss-limit', price: `+${percent}%`, price2: `+${percent}%` };
  return { type: 'buy', volume, ...prices, close: prices };
};

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ledger-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

it.each<[string, string, Body]>([
  ['an absurd order', 'AddOrder', { pair: 'XBTUSD', ...order(ABSURD, ABSURD) }],
  ['an absurd percentage', 'AddOrder', { pair: 'XBTUSD', ...order('1', ABSURD) }],
  [
    'a batch of the dearest orders',
    'AddOrderBatch',
    { pair: 'XBTUSD', orders: Array.from({ length: 15 }, () => order('9'.repeat(15), '999.99')) },
  ],
])('after %s in report mode the ledger of the day opens again', async (_, name, body) => {
  const file = join(folder, 'spending.jsonl');
  const spending = await Spending.open(file);
  const world = new PolicyWorld(spending);
  world.market.current = { ask: ABSURD, bid: ABSURD, last: ABSURD };
  const decision = await world.decide(rules, name, body);
  expect(decision).toMatchObject({ denied: undefined, reported: [{ rule: 'orders.maxNotionalPerDay' }] });
  const spent = spending.spent('bot', 'USD').toFixed();
  await spending.close();
  const next = await Spending.open(file);
  expect(next.spent('bot', 'USD').toFixed()).toBe(spent);
  await next.close();
});
