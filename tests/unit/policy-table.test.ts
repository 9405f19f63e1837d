import { endpointOf, PRIVATE_ENDPOINTS, type Endpoint } from '../../src/kraken/endpoints.js';
import type { Rules } from '../../src/policy/policy.js';
import { PolicyWorld, rulesWith } from '../support/policy-world.js';

const MONEY = ['withdraw', 'transfer', 'subaccount', 'earn', 'otc', 'pay'];

const preset = (allow: readonly string[] | undefined, deny: readonly string[] = []): Rules => ({
  ...{ allow, deny, orders: undefined, report: [] },
});

/** Each preset with the groups it opens; everything else must be refused. */
const PRESETS: readonly (readonly [name: string, rules: Rules, groups: readonly string[]])[] = [
  ['nothing listed', preset(undefined), ['read', 'trade', 'cancel', 'history', 'websocket']],
  ['read only', preset(['read']), ['read']],
  ['read and history', preset(['read', 'history']), ['read', 'history']],
  ['trade only', preset(['trade']), ['trade']],
  ['trade and cancel', preset(['trade', 'cancel']), ['trade', 'cancel']],
  ['all money groups', preset(MONEY), MONEY],
  ['money allowed and denied', preset(['read', ...MONEY], MONEY), ['read']],
  ['defaults without trade', preset(undefined, ['trade']), ['read', 'cancel', 'history', 'websocket']],
  ['nothing at all', preset([]), []],
];

const UNKNOWN = [
  'Withdraw2',
  'withdraw',
  'addorder',
  'AddOrder/',
  'AddOrder ',
  'read',
  'trade',
  'Pay/x',
  '__proto__',
];

describe.each(PRESETS)('with %s', (_, rules, groups) => {
  const isOpen = ({ group }: Endpoint): boolean => group !== undefined && groups.includes(group);

  it.each(PRIVATE_ENDPOINTS.map((endpoint) => [endpoint.name, isOpen(endpoint)] as const))(
    '%s is allowed: %s',
    async (name, open) => {
      const { denied } = await new PolicyWorld().decide(rules, name);
      expect(denied === undefined).toBe(open);
    },
  );

  it.each(UNKNOWN)('%s, which is not in the table, is refused', async (name) => {
    expect(endpointOf(name).group).toBeUndefined();
    expect((await new PolicyWorld().decide(rules, name)).denied).toBeDefined();
  });
});

describe('names', () => {
  it('allow one endpoint of a group, or an endpoint that is not in the table', async () => {
    const world = new PolicyWorld();
    const rules = preset(['WithdrawStatus', 'NewThing', 'Earn/Strategies']);
    expect(await world.outcome(rules, 'WithdrawStatus')).toBe('allowed');
    expect(await world.outcome(rules, 'NewThing')).toBe('allowed');
    expect(await world.outcome(rules, 'Earn/Strategies')).toBe('allowed');
    expect(await world.outcome(rules, 'Withdraw')).toBe('allow: Withdraw is not in allow');
    expect(await world.outcome(rules, 'newthing')).toBe(
      'allow: an endpoint the proxy does not know is not in allow',
    );
  });

  it('deny one endpoint of an allowed group, and win over allow', async () => {
    const world = new PolicyWorld();
    const rules = preset(['cancel', 'CancelAll', 'NewThing'], ['CancelAll', 'NewThing']);
    expect(await world.outcome(rules, 'CancelOrder')).toBe('allowed');
    expect(await world.outcome(rules, 'CancelAll')).toBe('deny: CancelAll is in deny');
    expect(await world.outcome(rules, 'NewThing')).toBe(
      'deny: an endpoint the proxy does not know is in deny',
    );
  });

  it('a reason quotes nothing the client made up', async () => {
    const { denied } = await new PolicyWorld().decide(preset(undefined), `\r\nX-Evil: ü${'a'.repeat(500)}`);
    expect(denied?.reason).toBe('an endpoint the proxy does not know is not in allow');
  });
});

describe('in report mode', () => {
  it('a missing allow is told and not enforced', async () => {
    const rules = { ...preset(['read']), report: ['allow'] as const };
    expect(await new PolicyWorld().decide(rules, 'Withdraw')).toMatchObject({
      denied: undefined,
      reported: [{ rule: 'allow', reason: 'Withdraw is not in allow' }],
    });
  });

  it('deny alone opens nothing that allow does not name', async () => {
    const rules = { ...preset(['read'], ['withdraw']), report: ['deny'] as const };
    expect(await new PolicyWorld().decide(rules, 'Withdraw')).toMatchObject({
      denied: { rule: 'allow' },
      reported: [{ rule: 'deny' }],
    });
  });

  it('order rules still bind a call that allow only reports', async () => {
    const rules = rulesWith({ sides: ['buy'] }, { allow: ['read'], report: ['allow'] });
    const body = 'pair=XBTUSD&type=sell&ordertype=market&volume=1';
    expect(await new PolicyWorld().decide(rules, 'AddOrder', body)).toMatchObject({
      denied: { rule: 'orders.sides' },
      reported: [{ rule: 'allow' }],
    });
  });
});

describe('a client with limits on orders', () => {
  const limited = (allow: readonly string[] | undefined): Rules => rulesWith({ sides: ['buy'] }, { allow });

  it('gets a WebSocket token, with which it trades unseen, only where that is named', async () => {
    const world = new PolicyWorld();
    expect(await world.outcome(limited(undefined), 'GetWebSocketsToken')).toMatch(
      /^orders\.sides: orders over/,
    );
    expect(await world.outcome(limited(['websocket']), 'GetWebSocketsToken')).toBe('allowed');
    expect(await world.outcome(limited(['GetWebSocketsToken']), 'GetWebSocketsToken')).toBe('allowed');
  });

  it.each(
    PRIVATE_ENDPOINTS.filter(({ group }) => group === 'read' || group === 'cancel' || group === 'history'),
  )('may $name without its body being read', async ({ name }) => {
    const world = new PolicyWorld();
    const fields = (): never => {
      throw new Error('the body was read');
    };
    const call = {
      client: 'bot',
      rules: limited(undefined),
      account: 'master',
      endpoint: endpointOf(name),
      fields,
    };
    expect((await world.policy.decide(call)).denied).toBeUndefined();
  });

  it('limits that limit nothing are none', async () => {
    expect(await new PolicyWorld().outcome(rulesWith({}), 'GetWebSocketsToken')).toBe('allowed');
    expect(await new PolicyWorld().outcome(rulesWith({}), 'AddOrder', 'rubbish=1')).toBe('allowed');
  });
});
