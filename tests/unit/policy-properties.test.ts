import fc from 'fast-check';
import { endpointOf, PRIVATE_ENDPOINTS } from '../../src/kraken/endpoints.js';
import { DEFAULT_ALLOW } from '../../src/policy/endpoint-rules.js';
import { Policy, type Rules } from '../../src/policy/policy.js';
import { Spending } from '../../src/policy/spending.js';
import { rulesWith, TestMarket } from '../support/policy-world.js';

const groups = [...new Set(PRIVATE_ENDPOINTS.map(({ group }) => String(group)))];
const known = PRIVATE_ENDPOINTS.map(({ name }) => name);
const strange = ['NewThing', 'Withdraw/All', 'addorder', 'withdraw', 'undefined', 'other', '__proto__', ''];

const endpointName = fc.oneof(
  fc.constantFrom(...known),
  fc.constantFrom(...strange),
  fc.string({ maxLength: 12 }),
);
const listed = fc.array(fc.oneof(fc.constantFrom(...groups), fc.constantFrom(...known, ...strange)), {
  maxLength: 8,
});

const rules: fc.Arbitrary<Rules> = fc.record({
  allow: fc.option(listed, { nil: undefined }),
  deny: listed,
  orders: fc.constant(undefined),
  report: fc.constant([]),
});

/** A WebSocket token trades and cancels, so that where these are denied it is allowed by name only. */
function isWithheld({ allow, deny }: Rules, name: string): boolean {
  if (name !== 'GetWebSocketsToken' || isNamed(allow ?? [], name)) return false;
  return PRIVATE_ENDPOINTS.some(
    (endpoint) => (endpoint.group === 'trade' || endpoint.group === 'cancel') && isNamed(deny, endpoint.name),
  );
}

/** The rule in the words, on purpose with nothing of the policy's own. */
function isNamed(entries: readonly string[], name: string): boolean {
  const entry = PRIVATE_ENDPOINTS.find((endpoint) => endpoint.name === name);
  const isGroupWord = /^[a-z]+$/.test(name);
  return entries.some((one) => (one === name && !isGroupWord) || one === entry?.group);
}

it('no configuration of allow and deny lets a call through that its rules do not name', () => {
  const policy = new Policy({ market: new TestMarket(), spending: Spending.none() });
  fc.assert(
    fc.property(rules, endpointName, (given, name) => {
      const decision = policy.decide({
        ...{ client: 'bot', rules: given, account: 'master', endpoint: endpointOf(name) },
        fields: () => new Map(),
      });
      if (decision instanceof Promise) throw new Error('without order rules it is synchronous');
      const isGiven = isNamed(given.allow ?? DEFAULT_ALLOW, name);
      const isDenied = isNamed(given.deny, name) || (isGiven && isWithheld(given, name));
      const isAllowed = isGiven && !isDenied;
      expect(decision.denied === undefined).toBe(isAllowed);
      if (decision.denied !== undefined) {
        expect(decision.denied.rule).toBe(isDenied ? 'deny' : 'allow');
        expect(decision.denied.reason).toMatch(/^[\x20-\x7e]{1,200}$/);
      }
    }),
    { numRuns: 5000 },
  );
});

const MONEY = ['withdraw', 'transfer', 'subaccount', 'earn', 'otc', 'pay'];

it('no configuration of allow, deny and report lets a call through that moves money or is not in the table, and that allow does not name', () => {
  const policy = new Policy({ market: new TestMarket(), spending: Spending.none() });
  const report = fc.subarray(['allow', 'deny', 'orders.sides'] as const);
  let passed = 0;
  fc.assert(
    fc.property(rules, report, endpointName, fc.boolean(), (given, reported, name, isLimited) => {
      const { orders } = rulesWith(isLimited ? { sides: ['buy'] } : {});
      const decision = policy.decide({
        ...{ client: 'bot', account: 'master', endpoint: endpointOf(name), fields: () => new Map() },
        rules: { ...given, orders: isLimited ? orders : undefined, report: reported },
      });
      if (decision instanceof Promise || decision.denied !== undefined) return;
      passed += 1;
      const entry = PRIVATE_ENDPOINTS.find((endpoint) => endpoint.name === name);
      if (entry !== undefined && !MONEY.includes(String(entry.group))) return;
      expect(isNamed(given.allow ?? DEFAULT_ALLOW, name)).toBe(true);
    }),
    { numRuns: 5000 },
  );
  expect(passed).toBeGreaterThan(100);
});

it('a decision without order rules costs well under a microsecond', () => {
  const policy = new Policy({ market: new TestMarket(), spending: Spending.none() });
  const given: Rules = { allow: undefined, deny: ['CancelAll'], orders: undefined, report: [] };
  const call = {
    ...{ client: 'bot', rules: given, account: 'master', endpoint: endpointOf('AddOrder') },
    fields: () => new Map<string, string>(),
  };
  const first = policy.decide(call);
  for (let round = 0; round < 100_000; round++) void policy.decide(call);
  const started = performance.now();
  for (let round = 0; round < 100_000; round++) void policy.decide(call);
  // 0.1 us on a quiet machine; the bound leaves room for a busy one.
  expect((performance.now() - started) / 100_000).toBeLessThan(0.005);
  expect(policy.decide(call)).toBe(first);
});
