import type { Endpoint } from '../kraken/endpoints.js';
import type { Finding, RuleName, Rules } from './policy.js';
import { finding } from './verdict.js';

/** What a client may call when nothing is listed. Money never leaves by default. */
export const DEFAULT_ALLOW: readonly string[] = ['read', 'trade', 'cancel', 'history', 'websocket'];

/** Groups and endpoint names of a list. An endpoint called like a group is still no group. */
interface Listed {
  readonly groups: ReadonlySet<string>;
  readonly names: ReadonlySet<string>;
}

/** `allow` and `deny`, ready to be looked up. */
export interface EndpointRules {
  readonly allow: Listed;
  readonly deny: Listed;
}

export function compileEndpointRules(rules: Rules): EndpointRules {
  return { allow: listed(rules.allow ?? DEFAULT_ALLOW), deny: listed(rules.deny) };
}

/**
 * The findings of `deny` and `allow`, undefined when the endpoint is allowed. An endpoint that is not in the
 * table has no group: only its own name allows it.
 */
export function checkEndpoint(
  { allow, deny }: EndpointRules,
  endpoint: Endpoint,
  report: ReadonlySet<RuleName>,
): readonly Finding[] | undefined {
  const isDenied = names(deny, endpoint);
  const isAllowed = names(allow, endpoint);
  if (!isDenied && isAllowed) return undefined;
  // A name that is not in the table is the client's own text, and may be anything.
  const name = endpoint.group === undefined ? 'an endpoint the proxy does not know' : endpoint.name;
  if (!isDenied) return [finding('allow', `${name} is not in allow`)];
  const denied = finding('deny', `${name} is in deny`);
  return isAllowed || !report.has('deny') ? [denied] : [finding('allow', `${name} is not in allow`), denied];
}

function names({ groups, names }: Listed, { name, group }: Endpoint): boolean {
  return (group !== undefined && groups.has(group)) || names.has(name);
}

/** Groups are words in lower case; the names of Kraken's endpoints start with a capital. */
function listed(entries: readonly string[]): Listed {
  const isGroup = (entry: string): boolean => /^[a-z]+$/.test(entry);
  return {
    groups: new Set(entries.filter(isGroup)),
    names: new Set(entries.filter((entry) => !isGroup(entry))),
  };
}
