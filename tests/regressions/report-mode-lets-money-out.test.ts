/*
 * A client was put into report mode to see what its list of endpoints would refuse: `report: ["allow"]`. That let
 * everything through, Withdraw and WalletTransfer too, although what moves money has to be allowed by name. In report
 * mode `allow` now lets pass only what moves no money out; all else, and what the endpoint table does not know, stays
 * refused. Nor does it hand out a WebSocket token with which orders go past a rule that is enforced.
 */
import { PolicyWorld, rulesWith } from '../support/policy-world.js';

const rules = {
  ...{ allow: ['read'], deny: [], orders: undefined },
  report: ['allow', 'deny'] as const,
};

it.each([
  'Withdraw',
  'WalletTransfer',
  'AccountTransfer',
  'Earn/Allocate',
  'Pay/transfer/create',
  'NewThing',
])('%s is refused although allow is in report mode', async (name) => {
  const world = new PolicyWorld();
  expect((await world.decide(rules, name)).denied?.rule).toBe('allow');
  expect((await world.decide({ ...rules, deny: [name] }, name)).denied?.rule).toBe('allow');
  expect(await world.outcome({ ...rules, allow: [name] }, name)).toBe('allowed');
});

it.each(['AddOrder', 'CancelAll', 'Ledgers', 'AddExport', 'DepositAddresses', 'GetWebSocketsToken'])(
  '%s, which allow does not name, is told and passes',
  async (name) => {
    expect(await new PolicyWorld().decide(rules, name)).toMatchObject({
      denied: undefined,
      reported: [{ rule: 'allow' }],
    });
  },
);

it('a token is refused where it goes past limits that are enforced', async () => {
  const limited = rulesWith({ sides: ['buy'] }, { allow: ['read'], report: ['allow'] });
  expect((await new PolicyWorld().decide(limited, 'GetWebSocketsToken')).denied?.rule).toBe('orders.sides');
});
