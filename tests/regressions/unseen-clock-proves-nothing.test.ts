/**
 * "Certainly not executed" was concluded from our own clock before Kraken had ever shown its own: with a clock that ran
 * ahead, an order that could still be executed was sent a second time.
 */
import { Settlement } from '../../src/calls/settlement.js';
import type { AddOrderIdentity } from '../../src/orders/order-identity.js';
import { RecentOrders } from '../../src/orders/recent-orders.js';

const IDENTITY: AddOrderIdentity = {
  endpoint: 'AddOrder',
  isTest: false,
  order: {
    id: { name: 'cl_ord_id', value: '0f2b1c5e-7a64-4c1a-9d55-000000000001', isOurs: true },
    ...{ pair: 'XBTUSD', type: 'buy', ordertype: 'market', volume: '0.01' },
  },
};
const NOWHERE: Readonly<Record<string, string>> = {
  OpenOrders: '{"error":[],"result":{"open":{}}}',
  ClosedOrders: '{"error":[],"result":{"closed":{},"count":0}}',
};

it.each([
  { isKnown: false, told: undefined },
  { isKnown: true, told: { kind: 'not-done' } },
])(
  'an order that is nowhere after its deadline: Kraken’s clock was seen: $isKnown',
  async ({ isKnown, told }) => {
    const clock = { isKnown, earliest: () => 100_000 };
    const settlement = new Settlement({ clock, orders: new RecentOrders(), onTold: () => undefined });
    const doubt = { account: 'master', identity: IDENTITY, sentAt: 80_000, until: 90_000 };
    const ask = (endpoint: string): Promise<Buffer> => Promise.resolve(Buffer.from(NOWHERE[endpoint] ?? ''));
    expect(await settlement.look(doubt, ask)).toEqual(told);
    settlement.close();
  },
);
