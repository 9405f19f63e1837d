import { ProxyError } from '../errors.js';
import { Clocks } from '../clocks.js';
import type { Fields } from '../kraken/fields.js';
import type { Market } from '../kraken/market.js';
import { compileOrderRules, DAY, MAX_OPEN, type CompiledOrderRules } from './compiled-order-rules.js';
import { ZERO } from './decimal.js';
import { changed, changesWorth, findOrder } from './existing-order.js';
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
import type { Ask, Decision, Finding, PolicyCall, PolicyParts, RuleName, Rules, Verdict } from './policy.js';
import { checkMaxOpenOrders, openedBy } from './rules/max-open-orders.js';
import type { MaxNotionalPerDay } from './rules/max-notional-per-day.js';
import type { OrderRule } from './rules/rule.js';
import type { Reservation, Ledger } from './spending.js';
import { Doubt, finding, verdictOf } from './verdict.js';
import { writeFailure } from './write-failure.js';

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
  readonly #openOrders: OpenOrders;
  /** Some client has maxOpenOrders, so that everybody's orders count. */
  #isCounting = false;

  constructor({ market, spending, ...clocks }: PolicyParts) {
    this.#market = market;
    this.#spending = spending;
    this.#openOrders = new OpenOrders(new Clocks(clocks));
  }

  /** Another node has placed orders: what is known of their number holds no more. */
  forgetOpenOrders(): void {
    this.#openOrders.forgetAll();
  }

  /** Undefined when no limit is set. Throws an Error on rules that the config would not take. */
  compile(rules: Rules): CompiledOrderRules | undefined {
    const compiled = compileOrderRules(rules);
    if (compiled?.maxOpenOrders !== undefined) this.#isCounting = true;
    return compiled;
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
    } catch (error) {
      if (!(error instanceof Doubt)) throw error;
      return decision(judgedAs(rules, error), reported, this.countInTurn(call));
    }
    return decision(NOTHING_FOUND, reported);
  }

  /**
   * Adds what a call without a limit on open orders may place to what is known of its account, for others who have
   * one. In its turn: a count that Kraken tells before that does not hold it. Undefined where nobody counts.
   */
  countInTurn(call: PolicyCall): Decision['inTurn'] {
    const readPlacement = this.#isCounting ? PLACING.get(call.endpoint.name) : undefined;
    if (readPlacement === undefined) return undefined;
    const openOrders = this.#openOrders;
    const count = (): void => {
      try {
        const { orders, isTest } = readPlacement(fieldsOf(call));
        if (!isTest) openOrders.placed(call.account, openedBy(orders));
      } catch (error) {
        if (!(error instanceof Doubt)) throw error;
        openOrders.forget(call.account);
      }
    };
    return () => {
      if (openOrders.knows(call.account)) count();
      return Promise.resolve(NOTHING_FOUND);
    };
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
      change: undefined,
      market: this.#market,
    });
    const taken = new Taken();
    const inTurn = this.#openOrdersInTurn(call, rules, placement, taken);
    const verdict = this.#judge(orders, rules, placement.isTest, taken);
    return verdict instanceof Promise
      ? verdict.then((found) => decision(found, reported, inTurn, taken))
      : decision(verdict, reported, inTurn, taken);
  }

  #openOrdersInTurn(
    call: PolicyCall,
    rules: CompiledOrderRules,
    { orders, isTest }: Placement,
    taken: Taken,
  ): Decision['inTurn'] {
    const { account } = call;
    const most = rules.maxOpenOrders;
    if (isTest) return undefined;
    if (most === undefined) return this.countInTurn(call);
    const adding = openedBy(orders);
    const openOrders = this.#openOrders;
    return async (ask) => {
      const check = checkMaxOpenOrders({ account, adding, most, openOrders, ask });
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
    // A changed order adds none to those that are open.
    if (rules.names.every((name) => name === MAX_OPEN)) return decision(NOTHING_FOUND, reported);
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
    return decision(NOTHING_FOUND, reported, inTurn, taken);
  }

  async #changedOrders(client: string, change: Change, ask: Ask): Promise<OrderCall> {
    const { pair, order: former } = await findOrder(change.order, ask);
    const orders = new OrderCall({
      ...{ client, pair, change: changesWorth(change) ? 'worth' : 'other' },
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
    const findings = check([...before, ...dayRule, ...after], orders, report);
    if (!(findings instanceof Promise)) return verdictOf(findings, report);
    return findings.then(async (all) => {
      const verdict = verdictOf(all, report);
      if (day === undefined || isTest || verdict.denied !== undefined) return verdict;
      return verdictOf([...all, ...(await this.#take(orders, rules, day, taken))], report);
    });
  }

  /**
   * Counts the call toward the day. In report mode it counts whether it fits or not. Rejects with ProxyError
   * `not-owner` when the ledger is not ours or cannot be written, which is no matter of rules.
   */
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
      const asked = this.#spending.reserve(orders.client, quote, amount, isReported ? undefined : limit);
      const reservation = asked instanceof Promise ? await asked : asked;
      // Another call took the room since it was looked at.
      if (reservation === undefined) return found(DAY, `no room is left in 24 h for this order in ${quote}`);
      taken.take(reservation);
      const failure = await writeFailure(reservation);
      if (failure === undefined) return [];
      taken.giveBack();
      throw failure;
    } catch (error) {
      // What it cannot tell has been reported by the rule's own check.
      if (error instanceof Doubt) return isReported ? [] : found(DAY, error.message);
      // A rule that is only tried out stops no order.
      if (isReported && error instanceof ProxyError) return found(DAY, error.message);
      throw error;
    }
  }
}

const NOTHING_FOUND: Verdict = Object.freeze({ denied: undefined, reported: [] });

function fieldsOf(call: PolicyCall): Fields {
  try {
    return call.fields();
  } catch (error) {
    if (error instanceof ProxyError) throw new Doubt(error.message, { cause: error });
    throw error;
  }
}

/** The findings of all rules, in their order; a promise if any of them has to ask. */
function check(
  rules: readonly OrderRule[],
  orders: OrderCall,
  report: ReadonlySet<RuleName>,
): Finding[] | Promise<Finding[]> {
  const reasons = rules.map((rule) => {
    const isReported = report.has(rule.name);
    try {
      const reason = rule.check(orders);
      return reason instanceof Promise ? settled(reason, isReported) : reason;
    } catch (error) {
      return reasonOf(error, isReported);
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
async function settled(reason: Promise<string | undefined>, isReported = false): Promise<string | undefined> {
  try {
    return await reason;
  } catch (error) {
    return reasonOf(error, isReported);
  }
}

/** Why a check could not tell. Throws what is no matter of rules; a rule that is only tried out stops no order. */
function reasonOf(error: unknown, isReported: boolean): string {
  if (error instanceof Doubt || (isReported && error instanceof ProxyError)) return error.message;
  throw error;
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
