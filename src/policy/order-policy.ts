import { ProxyError } from '../errors.js';
import type { Fields } from '../kraken/fields.js';
import type { Market } from '../kraken/market.js';
import { ZERO } from './decimal.js';
import { changed, findOrder } from './existing-order.js';
import { OpenOrders } from './open-orders.js';
import { OrderCall } from './order-call.js';
import {
  readAddOrder,
  readAddOrderBatch,
  readAmendOrder,
  readEditOrder,
  type Change,
  type Placement,
} from './order-reader.js';
import type {
  Ask,
  Decision,
  Finding,
  OrderLimits,
  PolicyCall,
  PolicyParts,
  RuleName,
  Rules,
  Verdict,
} from './policy.js';
import { checkMaxOpenOrders, openedBy } from './rules/max-open-orders.js';
import { maxNotionalRule } from './rules/max-notional.js';
import { maxNotionalPerDay, type MaxNotionalPerDay } from './rules/max-notional-per-day.js';
import { maxVolumeRule } from './rules/max-volume.js';
import { pairsRule } from './rules/pairs.js';
import { postOnlyRule } from './rules/post-only.js';
import { reduceOnlyRule } from './rules/reduce-only.js';
import type { OrderRule } from './rules/rule.js';
import { sidesRule } from './rules/sides.js';
import { typesRule } from './rules/types.js';
import type { Reservation, Ledger } from './spending.js';
import { Doubt, doubtOf, finding, verdictOf } from './verdict.js';

/** A client's order limits, ready to be applied. */
export interface CompiledOrderRules {
  /** Those that look at an order and the market, in the order of RULE_NAMES; the day's rule has its place among them. */
  readonly before: readonly OrderRule[];
  readonly day: MaxNotionalPerDay | undefined;
  readonly after: readonly OrderRule[];
  readonly maxOpenOrders: number | undefined;
  /** Everything that is set, in the order of RULE_NAMES. */
  readonly names: readonly RuleName[];
  readonly report: ReadonlySet<RuleName>;
  /** A WebSocket token, with which orders go past the proxy, is allowed by name. */
  readonly mayUseWebSocket: boolean;
}

/** Undefined when no limit is set. Throws an Error on amounts that are no decimal text. */
export function compileOrderRules({ allow, orders, report }: Rules): CompiledOrderRules | undefined {
  if (orders === undefined) return undefined;
  const made = (makers: readonly ((limits: OrderLimits) => OrderRule | undefined)[]): OrderRule[] =>
    makers.map((make) => make(orders)).filter((rule) => rule !== undefined);
  const before = made([pairsRule, sidesRule, typesRule, maxVolumeRule, maxNotionalRule]);
  const after = made([reduceOnlyRule, postOnlyRule]);
  const day = maxNotionalPerDay(orders);
  const { maxOpenOrders } = orders;
  const names: RuleName[] = [
    ...before.map(({ name }) => name),
    ...(day === undefined ? [] : ([DAY] as const)),
    ...(maxOpenOrders === undefined ? [] : ([MAX_OPEN] as const)),
    ...after.map(({ name }) => name),
  ];
  if (names.length === 0) return undefined;
  const mayUseWebSocket = allow?.some((name) => name === 'websocket' || name === 'GetWebSocketsToken');
  return {
    ...{ before, day, after, maxOpenOrders, names },
    report: new Set(report),
    mayUseWebSocket: mayUseWebSocket === true,
  };
}

const DAY = 'orders.maxNotionalPerDay';
const MAX_OPEN = 'orders.maxOpenOrders';

const PLACING: ReadonlyMap<string, (fields: Fields) => Placement> = new Map([
  ['AddOrder', readAddOrder],
  ['AddOrderBatch', readAddOrderBatch],
]);
const CHANGING: ReadonlyMap<string, (fields: Fields) => Change> = new Map([
  ['EditOrder', readEditOrder],
  ['AmendOrder', readAmendOrder],
]);

/** Room that a call has taken in the day: given back as a whole, once. */
class Taken {
  #reservation: Reservation | undefined;

  take(reservation: Reservation): void {
    this.#reservation = reservation;
  }

  giveBack(): void {
    this.#reservation?.giveBack();
    this.#reservation = undefined;
  }
}

/** The limits on orders: what a call would place or change is read, judged rule by rule, and counted. */
export class OrderPolicy {
  readonly #market: Market;
  readonly #spending: Ledger;
  readonly #now: () => number;
  readonly #openOrders: OpenOrders;

  constructor({ market, spending, now = () => performance.now() }: PolicyParts) {
    this.#market = market;
    this.#spending = spending;
    this.#now = now;
    this.#openOrders = new OpenOrders(now);
  }

  /** `reported`: what other rules have reported of the call. */
  decide(
    call: PolicyCall,
    rules: CompiledOrderRules,
    reported: readonly Finding[],
  ): Decision | Promise<Decision> {
    const { name, group } = call.endpoint;
    try {
      const readPlacement = PLACING.get(name);
      if (readPlacement !== undefined) {
        return this.#decidePlacement(call, rules, readPlacement(fieldsOf(call)), reported);
      }
      const readChange = CHANGING.get(name);
      if (readChange !== undefined) {
        return this.#decideChange(call, rules, readChange(fieldsOf(call)), reported);
      }
      if (group === 'trade') throw new Doubt(`the order rules do not know ${name}`);
      if (group === 'websocket' && !rules.mayUseWebSocket) {
        throw new Doubt('orders over a WebSocket are not seen here; with limits it must be named in allow');
      }
    } catch (error) {
      if (!(error instanceof Doubt)) throw error;
      return decision(judgedAs(rules, error), reported);
    }
    return decision({ denied: undefined, reported: [] }, reported);
  }

  // ---- AddOrder, AddOrderBatch

  #decidePlacement(
    call: PolicyCall,
    rules: CompiledOrderRules,
    placement: Placement,
    reported: readonly Finding[],
  ): Decision | Promise<Decision> {
    const orders = new OrderCall({
      ...placement,
      client: call.client,
      former: undefined,
      market: this.#market,
    });
    const taken = new Taken();
    const inTurn = this.#openOrdersInTurn(call.account, rules, placement, taken);
    const verdict = this.#judge(orders, rules, placement.isTest, taken);
    return verdict instanceof Promise
      ? verdict.then((found) => decision(found, reported, inTurn, taken))
      : decision(verdict, reported, inTurn, taken);
  }

  #openOrdersInTurn(
    account: string,
    rules: CompiledOrderRules,
    { orders, isTest }: Placement,
    taken: Taken,
  ): Decision['inTurn'] {
    const most = rules.maxOpenOrders;
    if (most === undefined || isTest) return undefined;
    const adding = openedBy(orders);
    const openOrders = this.#openOrders;
    return async (ask) => {
      const check = checkMaxOpenOrders({ account, adding, most, openOrders, ask, now: this.#now });
      const verdict = verdictOf(found(MAX_OPEN, await settled(check)), rules.report);
      if (verdict.denied === undefined) openOrders.placed(account, adding);
      else taken.giveBack();
      return verdict;
    };
  }

  // ---- EditOrder, AmendOrder: side, pair and type are those of the order at Kraken, so it is asked in turn

  #decideChange(
    call: PolicyCall,
    rules: CompiledOrderRules,
    change: Change,
    reported: readonly Finding[],
  ): Decision {
    const nothing = { denied: undefined, reported: [] };
    // A changed order adds none to those that are open.
    if (rules.names.every((name) => name === MAX_OPEN)) return decision(nothing, reported);
    const taken = new Taken();
    const inTurn = async (ask: Ask): Promise<Verdict> => {
      try {
        const orders = await this.#changedOrders(call.client, change, ask);
        return await this.#judge(orders, rules, change.isTest, taken);
      } catch (error) {
        if (!(error instanceof Doubt)) throw error;
        return judgedAs(rules, error);
      }
    };
    return decision(nothing, reported, inTurn, taken);
  }

  async #changedOrders(client: string, change: Change, ask: Ask): Promise<OrderCall> {
    const { pair, order: former } = await findOrder(change.order, ask);
    const orders = new OrderCall({
      ...{ client, former, pair },
      orders: [changed(former, change)],
      isBatch: false,
      assetClass: undefined,
      market: this.#market,
    });
    if (change.pair !== undefined && change.pair !== pair) {
      const named = await orders.find(change.pair);
      if (named?.id !== (await orders.pair()).id) throw new Doubt('the order is of another pair');
    }
    return orders;
  }

  // ---- both

  /** All rules but those on open orders; then takes the room in the day, if nothing else refuses. */
  #judge(
    orders: OrderCall,
    rules: CompiledOrderRules,
    isTest: boolean,
    taken: Taken,
  ): Verdict | Promise<Verdict> {
    const { before, day, after, report } = rules;
    const dayRule = day === undefined ? [] : [day.ruleWith(this.#spending)];
    const findings = check([...before, ...dayRule, ...after], orders);
    if (!(findings instanceof Promise)) return verdictOf(findings, report);
    return findings.then(async (all) => {
      const verdict = verdictOf(all, report);
      if (day === undefined || isTest || verdict.denied !== undefined) return verdict;
      return verdictOf([...all, ...(await this.#take(orders, rules, day, taken))], report);
    });
  }

  /** Counts the call toward the day. In report mode it counts whether it fits or not. */
  async #take(
    orders: OrderCall,
    rules: CompiledOrderRules,
    day: MaxNotionalPerDay,
    taken: Taken,
  ): Promise<readonly Finding[]> {
    const isReported = rules.report.has(DAY);
    try {
      const { quote, amount, limit } = await day.amountOf(orders);
      if (amount.isEqualTo(ZERO)) return [];
      const reservation = this.#spending.reserve(
        orders.client,
        quote,
        amount,
        isReported ? undefined : limit,
      );
      // Another call took the room since it was looked at.
      if (reservation === undefined) return found(DAY, `no room is left in 24 h for this order in ${quote}`);
      taken.take(reservation);
      await reservation.written;
      return [];
    } catch (error) {
      if (error instanceof ProxyError) throw error; // not a matter of rules: the ledger is not ours (yet)
      // What it cannot tell has been reported by the rule's own check.
      if (isReported && error instanceof Doubt) return [];
      return found(DAY, doubtOf('the ledger of the day cannot be written', error).message);
    }
  }
}

function fieldsOf(call: PolicyCall): Fields {
  try {
    return call.fields();
  } catch (error) {
    if (error instanceof ProxyError) throw new Doubt(error.message, { cause: error });
    throw error;
  }
}

/** The findings of all rules, in their order; a promise if any of them has to ask. */
function check(rules: readonly OrderRule[], orders: OrderCall): Finding[] | Promise<Finding[]> {
  const reasons = rules.map((rule) => {
    try {
      const reason = rule.check(orders);
      return reason instanceof Promise ? settled(reason) : reason;
    } catch (error) {
      if (error instanceof Doubt) return error.message;
      throw error;
    }
  });
  const findings = (all: readonly (string | undefined)[]): Finding[] =>
    rules.flatMap(({ name }, index) => found(name, all[index]));
  const isKnown = (reason: (typeof reasons)[number]): reason is string | undefined =>
    !(reason instanceof Promise);
  if (reasons.every(isKnown)) return findings(reasons);
  return Promise.all(reasons.map(async (reason) => await reason)).then(findings);
}

/** The reason of a check, or of the doubt it ended with. */
async function settled(reason: Promise<string | undefined>): Promise<string | undefined> {
  try {
    return await reason;
  } catch (error) {
    if (error instanceof Doubt) return error.message;
    throw error;
  }
}

function found(name: RuleName, reason: string | undefined): Finding[] {
  return reason === undefined ? [] : [finding(name, reason)];
}

/** What cannot be judged breaks every rule that is set. */
function judgedAs(rules: CompiledOrderRules, doubt: Doubt): Verdict {
  return verdictOf(
    rules.names.map((name) => finding(name, doubt.message)),
    rules.report,
  );
}

function decision(
  verdict: Verdict,
  reported: readonly Finding[],
  inTurn?: Decision['inTurn'],
  taken?: Taken,
): Decision {
  const { denied } = verdict;
  if (denied !== undefined) taken?.giveBack();
  return {
    denied,
    reported: [...reported, ...verdict.reported],
    inTurn: denied === undefined ? inTurn : undefined,
    settle: (became) => {
      if (became === 'nothing') taken?.giveBack();
    },
  };
}
