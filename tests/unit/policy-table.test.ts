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
  ['defaults without trade', preset(undefined, ['trade']), ['read', 'cancel', 'history']],
  [
    'defaults without trade, the token by name',
    preset(['cancel', 'websocket'], ['trade']),
    ['cancel', 'websocket'],
  ],
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
    expect(await new PolicyWorld().decide(rules, 'CancelAll')).toMatchObject({
      denied: undefined,
      reported: [{ rule: 'allow', reason: 'CancelAll is not in allow' }],
    });
  });

  it.each(PRIVATE_ENDPOINTS)(
    'a missing allow is enforced for $name where it moves money',
    async (endpoint) => {
      const rules = { ...preset(['read']), report: ['allow', 'deny'] as const };
      const isMoney = endpoint.group !== undefined && MONEY.includes(endpoint.group);
      const { denied } = await new PolicyWorld().decide(rules, endpoint.name);
      expect(denied?.rule).toBe(isMoney ? 'allow' : undefined);
    },
  );

  it.each(UNKNOWN)('a missing allow is enforced for %s, which is not in the table', async (name) => {
    const rules = { ...preset(['read']), report: ['allow', 'deny'] as const };
    expect(await new PolicyWorld().decide(rules, name)).toMatchObject({
      denied: { rule: 'allow' },
      reported: [],
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

describe('a WebSocket token, with which orders go past the proxy,', () => {
  const token = 'GetWebSocketsToken';

  const trading = PRIVATE_ENDPOINTS.filter(({ group }) => group === 'trade' || group === 'cancel');

  it.each(['trade', 'cancel', ...trading.map(({ name }) => name)])(
    'is not given by default where deny names %s',
    async (denied) => {
      const world = new PolicyWorld();
      expect(await world.outcome(preset(undefined, [denied]), token)).toBe(
        'deny: orders over a WebSocket go past this rule; a token for them must be named in allow',
      );
      expect(await world.outcome(preset(['websocket'], [denied]), token)).toBe('allowed');
      expect(await world.outcome(preset([token], [denied]), token)).toBe('allowed');
    },
  );

  it.each(['history', 'Balance', 'NewThing'])('is given by default where deny names %s', async (denied) => {
    expect(await new PolicyWorld().outcome(preset(undefined, [denied]), token)).toBe('allowed');
  });

  it('is not given by a missing allow that is only told, as long as the rule it goes past is enforced', async () => {
    const world = new PolicyWorld();
    const limited = rulesWith({ sides: ['buy'] }, { allow: ['read'], report: ['allow'] });
    expect((await world.decide(limited, token)).denied?.rule).toBe('orders.sides');
    const denied = { ...preset(['read'], ['trade']), report: ['allow'] as const };
    expect((await world.decide(denied, token)).denied?.rule).toBe('deny');
  });

  it('is given, and told, where all that it goes past is in report mode', async () => {
    const report = ['orders.sides', 'deny'] as const;
    const rules = rulesWith({ sides: ['buy'] }, { deny: ['AddOrder'], report });
    expect(await new PolicyWorld().decide(rules, token)).toMatchObject({
      denied: undefined,
      reported: [{ rule: 'deny' }, { rule: 'orders.sides' }],
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
