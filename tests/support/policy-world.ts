import { endpointOf } from '../../src/kraken/endpoints.js';
import { readFields } from '../../src/kraken/fields.js';
import type { Market, Pair, Price } from '../../src/kraken/market.js';
import { Policy, type Ask, type Decision, type OrderLimits, type Rules } from '../../src/policy/policy.js';
import { Spending, type Ledger } from '../../src/policy/spending.js';

const PAIRS: readonly (Pair & { readonly names: readonly string[] })[] = [
  { id: 'XXBTZUSD', base: 'XBT', quote: 'USD', names: ['XXBTZUSD', 'XBTUSD', 'XBT/USD'] },
  { id: 'XETHZEUR', base: 'ETH', quote: 'EUR', names: ['XETHZEUR', 'ETHEUR', 'ETH/EUR'] },
];

/** A market of two pairs whose price the test sets; `down`: Kraken does not answer. */
export class TestMarket implements Market {
  current: Price = { ask: '101', bid: '99', last: '100' };
  down = false;
  asked = 0;

  async pair(name: string): Promise<Pair | undefined> {
    await this.#turn();
    const found = PAIRS.find(({ names }) => names.includes(name));
    return found === undefined ? undefined : { id: found.id, base: found.base, quote: found.quote };
  }

  async price(): Promise<Price> {
    await this.#turn();
    return this.current;
  }

  async #turn(): Promise<void> {
    this.asked += 1;
    await Promise.resolve();
    if (this.down) throw new Error('connection refused');
  }
}

/** Rules with only what the test names. */
export function rulesWith(orders: Partial<OrderLimits>, more: Partial<Rules> = {}): Rules {
  return {
    ...{ allow: undefined, deny: [], report: [] },
    orders: {
      ...{ pairs: undefined, sides: undefined, types: undefined, maxVolume: undefined },
      ...{ maxNotional: undefined, maxNotionalPerDay: undefined, maxOpenOrders: undefined },
      ...{ reduceOnly: false, postOnly: false },
      ...orders,
    },
    ...more,
  };
}

export type Body = string | Record<string, unknown>;

/** An order as Kraken tells it, `vol` 1 at a limit of 100 unless told otherwise. */
export function openOrder(entry: Record<string, unknown> = {}, descr: Record<string, unknown> = {}): unknown {
  return {
    ...{ status: 'open', vol: '1.00000000', vol_exec: '0.00000000', oflags: 'fciq', userref: 0, opentm: 1.5 },
    ...entry,
    descr: {
      ...{ pair: 'XBTUSD', type: 'buy', ordertype: 'limit', price: '100.0', price2: '0', leverage: 'none' },
      ...{ order: '', close: '' },
      ...descr,
    },
  };
}

export const TXID = 'OABCDE-FGHIJ-KLMNOP';

/** A policy with a market, a ledger and a Kraken that answers what the test says. */
export class PolicyWorld {
  readonly market = new TestMarket();
  readonly asked: string[] = [];
  readonly policy: Policy;
  now = 0;
  wallNow = 0;
  /** The orders at Kraken, by txid. */
  orders: Record<string, unknown> = {};

  readonly #clocks = { now: (): number => this.now, wallNow: (): number => this.wallNow };

  constructor(spending: Ledger = Spending.none()) {
    this.policy = new Policy({ market: this.market, spending, ...this.#clocks });
  }

  /** Kraken's answers to the policy's own questions. */
  readonly ask: Ask = async (endpoint, body) => {
    this.asked.push(`${endpoint} ${body}`);
    await Promise.resolve();
    if (endpoint === 'QueryOrders') {
      const txid = new URLSearchParams(body).get('txid') ?? '';
      const found = Object.entries(this.orders).filter(([one]) => one === txid);
      return Buffer.from(JSON.stringify({ error: [], result: Object.fromEntries(found) }));
    }
    const clientId = new URLSearchParams(body).get('cl_ord_id');
    const open = Object.entries(this.orders).filter(
      ([, order]) => clientId === null || (order as { cl_ord_id?: string }).cl_ord_id === clientId,
    );
    return Buffer.from(JSON.stringify({ error: [], result: { open: Object.fromEntries(open) } }));
  };

  /** Decides on a call with a form (text) or JSON (object) as its body. */
  async decide(rules: Rules, name: string, body: Body = '', client = 'bot'): Promise<Decision> {
    const bytes = Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
    return await this.policy.decide({
      ...{ client, rules, account: 'master', endpoint: endpointOf(name) },
      fields: () => readFields(bytes, typeof body === 'string' ? 'form' : 'json'),
    });
  }

  /** The rule and reason that refuse a call, at once or in its turn; `allowed` when none does. */
  async outcome(rules: Rules, name: string, body: Body = '', client = 'bot'): Promise<string> {
    const decision = await this.decide(rules, name, body, client);
    const denied = decision.denied ?? (await decision.inTurn?.(this.ask))?.denied;
    return denied === undefined ? 'allowed' : `${denied.rule}: ${denied.reason}`;
  }
}
