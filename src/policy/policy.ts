import type { Endpoint } from '../kraken/endpoints.js';
import type { Fields } from '../kraken/fields.js';
import type { Market } from '../kraken/market.js';
import { checkEndpoint, compileEndpointRules, type EndpointRules } from './endpoint-rules.js';
import { compileOrderRules, OrderPolicy, type CompiledOrderRules } from './order-policy.js';
import type { Ledger } from './spending.js';
import { verdictOf } from './verdict.js';

/** Every rule, in the order in which they are looked at: the first that refuses gives the reason. */
export const RULE_NAMES = [
  'allow',
  'deny',
  'orders.pairs',
  'orders.sides',
  'orders.types',
  'orders.maxVolume',
  'orders.maxNotional',
  'orders.maxNotionalPerDay',
  'orders.maxOpenOrders',
  'orders.reduceOnly',
  'orders.postOnly',
] as const;

export type RuleName = (typeof RULE_NAMES)[number];

/** What a client may do. */
export interface Rules {
  /** Endpoint groups (lower case) and endpoint names. Undefined: DEFAULT_ALLOW. */
  readonly allow: readonly string[] | undefined;
  /** Likewise; wins over `allow`. */
  readonly deny: readonly string[];
  readonly orders: OrderLimits | undefined;
  /** Rules that only count and log what they would have refused. */
  readonly report: readonly RuleName[];
}

/** Limits on the orders a client places or changes. Amounts are plain decimal text. */
export interface OrderLimits {
  /** As Kraken spells them: id, altname or wsname. */
  readonly pairs: readonly string[] | undefined;
  readonly sides: readonly ('buy' | 'sell')[] | undefined;
  /** Kraken's `ordertype` values. */
  readonly types: readonly string[] | undefined;
  /** In the base currency. */
  readonly maxVolume: string | undefined;
  /** By quote currency; an order in any other is refused. */
  readonly maxNotional: Readonly<Record<string, string>> | undefined;
  /** Likewise, over any 24 hours. */
  readonly maxNotionalPerDay: Readonly<Record<string, string>> | undefined;
  /** Of the whole account. */
  readonly maxOpenOrders: number | undefined;
  readonly reduceOnly: boolean;
  readonly postOnly: boolean;
}

/** A rule that a call breaks, and how: one line of printable ASCII, at most 200 characters, nothing secret. */
export interface Finding {
  readonly rule: RuleName;
  readonly reason: string;
}

/** What a stage of the policy says of a call. */
export interface Verdict {
  /** Set: refused. */
  readonly denied: Finding | undefined;
  /** What rules in report mode would have refused. */
  readonly reported: readonly Finding[];
}

export interface PolicyCall {
  readonly client: string;
  readonly rules: Rules;
  readonly account: string;
  readonly endpoint: Endpoint;
  /**
   * Only asked for where order rules have to read the body. Has to throw ProxyError `invalid-body` for a call with
   * a query: Kraken might read fields from there too.
   */
  readonly fields: () => Fields;
}

export interface Decision extends Verdict {
  /**
   * What has to be looked up at Kraken when the call's turn has come, before a nonce is drawn. To be called at
   * most once, and not on a refused call. Never rejects for want of an answer: that is a refusal.
   */
  readonly inTurn: ((ask: Ask) => Promise<Verdict>) | undefined;
  /**
   * Must be called once when the call has ended: `nothing` (it certainly placed nothing) gives back what a rolling
   * day has counted. Harmless on a refused call, and when called again.
   */
  settle(became: 'nothing' | 'maybe'): void;
}

/** The proxy's own private read on the same account, in the same turn. Rejects when there is no good answer. */
export type Ask = (
  endpoint: 'OpenOrders' | 'QueryOrders',
  /** A form without nonce. */
  body: string,
) => Promise<Buffer>;

export interface PolicyParts {
  readonly market: Market;
  readonly spending: Ledger;
  /** Milliseconds of a clock that never steps back. Default: the process's own. */
  readonly now?: () => number;
}

const noSettling = (): void => undefined;

const ALLOWED: Decision = Object.freeze({
  denied: undefined,
  reported: [],
  inTurn: undefined,
  settle: noSettling,
});

/** A client's rules in the form in which they are looked up. */
interface CompiledRules {
  readonly endpoints: EndpointRules;
  /** Undefined: no limit on orders is set. */
  readonly orders: CompiledOrderRules | undefined;
  readonly report: ReadonlySet<RuleName>;
}

/** Says which calls a client may make. Doubt means no. */
export class Policy {
  readonly #orders: OrderPolicy;
  /** Rules come from the config and never change, so they are compiled once, when a client first calls. */
  readonly #compiled = new WeakMap<Rules, CompiledRules>();

  constructor(parts: PolicyParts) {
    this.#orders = new OrderPolicy(parts);
  }

  /** Synchronous unless order rules need the market or the day's ledger. Throws on rules the config would not take. */
  decide(call: PolicyCall): Decision | Promise<Decision> {
    const rules = this.#compiled.get(call.rules) ?? this.#compile(call.rules);
    const findings = checkEndpoint(rules.endpoints, call.endpoint, rules.report);
    if (findings === undefined) {
      return rules.orders === undefined ? ALLOWED : this.#orders.decide(call, rules.orders, []);
    }
    const verdict = verdictOf(findings, rules.report);
    if (verdict.denied === undefined && rules.orders !== undefined) {
      return this.#orders.decide(call, rules.orders, verdict.reported);
    }
    return { ...verdict, inTurn: undefined, settle: noSettling };
  }

  #compile(rules: Rules): CompiledRules {
    const compiled = {
      endpoints: compileEndpointRules(rules),
      orders: compileOrderRules(rules),
      report: new Set(rules.report),
    };
    this.#compiled.set(rules, compiled);
    return compiled;
  }
}
