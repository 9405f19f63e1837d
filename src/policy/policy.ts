import type { ClockOptions } from '../clocks.js';
import type { Endpoint } from '../kraken/endpoints.js';
import type { Fields } from '../kraken/fields.js';
import type { Market } from '../kraken/market.js';
import { checkEndpoint, compileEndpointRules, type EndpointRules } from './endpoint-rules.js';
import { compileOrderRules, type CompiledOrderRules } from './compiled-order-rules.js';
import { OrderPolicy } from './order-policy.js';
import type { Ledger } from './spending.js';

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
   * What has to be looked up at Kraken, or counted, when the call's turn has come, before a nonce is drawn. To be
   * called at most once, and not on a refused call. Never rejects for want of an answer: that is a refusal. Rejects
   * with ProxyError `not-owner` when the ledger of the day is not ours or cannot be written.
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

export interface PolicyParts extends ClockOptions {
  readonly market: Market;
  readonly spending: Ledger;
}

/** Which endpoints the rules open, and which of them are set, as far as the rules alone tell. */
export interface RulesInForce {
  readonly opens: (endpoint: Endpoint) => boolean;
  readonly set: ReadonlySet<RuleName>;
  /** There are limits on orders. */
  readonly limitsOrders: boolean;
}

/** What rules come to when none of them is in report mode. Throws on rules the config would not take. */
export function rulesInForce(rules: Rules): RulesInForce {
  const limits = compileOrderRules(rules)?.names ?? [];
  const endpoints = compileEndpointRules({ ...rules, report: [] }, limits);
  return {
    opens: (endpoint) => checkEndpoint(endpoints, endpoint) === undefined,
    // There is always an allow.
    set: new Set(['allow', ...(rules.deny.length > 0 ? (['deny'] as const) : []), ...limits]),
    limitsOrders: limits.length > 0,
  };
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
}

/** Says which calls a client may make. Doubt means no. */
export class Policy {
  readonly #orders: OrderPolicy;
  /** Rules come from the config and never change, so they are compiled once, when a client first calls. */
  readonly #compiled = new WeakMap<Rules, CompiledRules>();

  constructor(parts: PolicyParts) {
    this.#orders = new OrderPolicy(parts);
  }

  /**
   * Synchronous unless order rules need the market or the day's ledger. Throws on rules the config would not take.
   * Rejects with ProxyError `not-owner` when that ledger is not ours or cannot be written.
   */
  decide(call: PolicyCall): Decision | Promise<Decision> {
    const rules = this.#compiled.get(call.rules) ?? this.#compile(call.rules);
    const verdict = checkEndpoint(rules.endpoints, call.endpoint);
    if (verdict?.denied !== undefined) return { ...verdict, inTurn: undefined, settle: noSettling };
    if (rules.orders !== undefined) return this.#orders.decide(call, rules.orders, verdict?.reported ?? []);
    const inTurn = this.#orders.countInTurn(call);
    if (verdict === undefined && inTurn === undefined) return ALLOWED;
    return { denied: undefined, reported: verdict?.reported ?? [], inTurn, settle: noSettling };
  }

  /** Another node has placed orders: what is known of their number holds no more. */
  forgetOpenOrders(): void {
    this.#orders.forgetOpenOrders();
  }

  #compile(rules: Rules): CompiledRules {
    const orders = this.#orders.compile(rules);
    const compiled = { endpoints: compileEndpointRules(rules, orders?.names ?? []), orders };
    this.#compiled.set(rules, compiled);
    return compiled;
  }
}
