import type { Endpoint, EndpointGroup } from '../kraken/endpoints.js';
import type { Finding, RuleName, Rules, Verdict } from './policy.js';
import { finding, verdictOf } from './verdict.js';

/** What a client may call when nothing is listed. Money never leaves by default. */
export const DEFAULT_ALLOW: readonly string[] = ['read', 'trade', 'cancel', 'history', 'websocket'];

/** What moves no money out. All else, and what the endpoint table does not know, has to be allowed by name. */
export const MONEY_STAYS: readonly EndpointGroup[] = [
  ...(['read', 'trade', 'cancel', 'history', 'websocket', 'export', 'deposit'] as const),
];

/** Groups and endpoint names of a list. An endpoint called like a group is still no group. */
interface Listed {
  readonly groups: ReadonlySet<string>;
  readonly names: ReadonlySet<string>;
}

/** `allow` and `deny`, ready to be looked up. */
export interface EndpointRules {
  readonly allow: Listed;
  readonly deny: Listed;
  /** The rules that orders over a WebSocket would go past; none where its token is allowed by name. */
  readonly tokenEvades: readonly RuleName[];
  readonly report: ReadonlySet<RuleName>;
  /** `report` for what moves money or is not in the table: `allow` is always enforced. */
  readonly strictReport: ReadonlySet<RuleName>;
}

/** `orderRules`: the limits on orders that are set. */
export function compileEndpointRules(rules: Rules, orderRules: readonly RuleName[]): EndpointRules {
  const isNamed = rules.allow?.some((name) => name === 'websocket' || name === 'GetWebSocketsToken') === true;
  const evaded = [...(deniesTrading(rules.deny) ? (['deny'] as const) : []), ...orderRules];
  return {
    allow: listed(rules.allow ?? DEFAULT_ALLOW),
    deny: listed(rules.deny),
    tokenEvades: isNamed ? [] : evaded,
    report: new Set(rules.report),
    strictReport: new Set(rules.report.filter((rule) => rule !== 'allow')),
  };
}

/** The groups trade and cancel with their endpoints: what can be done over a WebSocket as well. */
const TRADING: ReadonlySet<string> = new Set([
  ...['trade', 'AddOrder', 'AddOrderBatch', 'AmendOrder', 'EditOrder'],
  ...['cancel', 'CancelOrder', 'CancelOrderBatch', 'CancelAll', 'CancelAllOrdersAfter'],
]);

/** Whether a list names anything that a WebSocket token lets its holder do all the same. */
export function deniesTrading(deny: readonly string[]): boolean {
  return deny.some((name) => TRADING.has(name));
}

/**
 * What `allow` and `deny` say, undefined when the endpoint is allowed. An endpoint that is not in the table has no
 * group: only its own name allows it.
 */
export function checkEndpoint(rules: EndpointRules, endpoint: Endpoint): Verdict | undefined {
  const { allow, deny, tokenEvades } = rules;
  const isDenied = names(deny, endpoint);
  const isAllowed = names(allow, endpoint);
  const evaded = endpoint.group === 'websocket' ? tokenEvades : [];
  if (!isDenied && isAllowed && evaded.length === 0) return undefined;
  // A name that is not in the table is the client's own text, and may be anything.
  const name = endpoint.group === undefined ? 'an endpoint the proxy does not know' : endpoint.name;
  const findings: Finding[] = [];
  // What deny refuses is refused by deny, whether allow names it or not.
  if (!isAllowed && (!isDenied || rules.report.has('deny')))
    findings.push(finding('allow', `${name} is not in allow`));
  if (isDenied) findings.push(finding('deny', `${name} is in deny`));
  for (const rule of evaded) if (!(isDenied && rule === 'deny')) findings.push(finding(rule, EVADED));
  const isMoney = !MONEY_STAYS.some((group) => group === endpoint.group);
  return verdictOf(findings, isMoney ? rules.strictReport : rules.report);
}

const EVADED = 'orders over a WebSocket go past this rule; a token for them must be named in allow';

function names({ groups, names }: Listed, { name, group }: Endpoint): boolean {
  return (group !== undefined && groups.has(group)) || names.has(name);
}

/** Groups are words in lower case; the names of Kraken's endpoints start with a capital. */
function isGroup(entry: string): boolean {
  return /^[a-z]+$/.test(entry);
}

function listed(entries: readonly string[]): Listed {
  return {
    groups: new Set(entries.filter(isGroup)),
    names: new Set(entries.filter((entry) => !isGroup(entry))),
  };
}
