import { endpointOf, PRIVATE_ENDPOINTS, publicLabel } from '../../src/kraken/endpoints.js';

describe('the table of private endpoints', () => {
  it('names each endpoint once, with itself as label', () => {
    const names = PRIVATE_ENDPOINTS.map((endpoint) => endpoint.name);
    expect(new Set(names).size).toBe(names.length);
    expect(names).toHaveLength(67);
    for (const endpoint of PRIVATE_ENDPOINTS) {
      expect(endpoint.label).toBe(endpoint.name);
      expect(endpointOf(endpoint.name)).toBe(endpoint);
    }
  });

  it.each([
    'AddOrder',
    'AddOrderBatch',
    'AmendOrder',
    'EditOrder',
    'Withdraw',
    'WalletTransfer',
    'CreateSubaccount',
    'AccountTransfer',
    'AddExport',
    'DepositAddresses',
    'Earn/Allocate',
    'Earn/Deallocate',
    'Stake',
    'Unstake',
    'CreateOtcQuoteRequest',
    'UpdateOtcQuote',
    'Pay/request/create',
    'Pay/transfer/create',
    'Pay/paylink/create',
  ])('never lets %s be blindly repeated', (name) => {
    expect(endpointOf(name).class).toBe('exclusive');
  });

  it.each([
    'CancelOrder',
    'CancelOrderBatch',
    'CancelAll',
    'CancelAllOrdersAfter',
    'GetWebSocketsToken',
    'WithdrawCancel',
    'RemoveExport',
    'Pay/request/cancel',
    'Pay/transfer/cancel',
  ])('knows %s as a change that may be repeated', (name) => {
    expect(endpointOf(name).class).toBe('idempotent');
  });

  it('books 1 on the call counter but for orders, cancels by id and the dear histories', () => {
    const not1 = PRIVATE_ENDPOINTS.filter(({ cost }) => cost !== 1).map(
      ({ name, cost }) => `${name} ${cost}`,
    );
    expect(not1.sort()).toEqual([
      'AddOrder 0',
      'AddOrderBatch 0',
      'AmendOrder 0',
      'CancelOrder 0',
      'CancelOrderBatch 0',
      'Ledgers 4',
      'QueryLedgers 4',
      'TradesHistory 4',
    ]);
    expect(endpointOf('NotYetKnown')).toMatchObject({ cost: 1, wholeAccount: false });
  });

  it('knows which ones act on orders of everybody on the account', () => {
    const whole = PRIVATE_ENDPOINTS.filter(({ wholeAccount }) => wholeAccount).map(({ name }) => name);
    expect(whole).toEqual(['CancelAll', 'CancelAllOrdersAfter']);
  });

  it('counts every other one as a read', () => {
    const reads = PRIVATE_ENDPOINTS.filter((endpoint) => endpoint.class === 'read');
    expect(reads).toHaveLength(67 - 19 - 9);
    const doers =
      /^(Add|Amend|Edit|Cancel|Remove|Create|Update|Withdraw$|Stake|Unstake)|create|cancel|locate$/;
    expect(reads.filter((endpoint) => doers.test(endpoint.name))).toEqual([]);
  });

  it.each([
    ['BalanceEx', 'read'],
    ['QueryOrders', 'read'],
    ['ClosedOrders', 'history'],
    ['QueryLedgers', 'history'],
    ['AmendOrder', 'trade'],
    ['CancelAllOrdersAfter', 'cancel'],
    ['RetrieveExport', 'export'],
    ['GetWebSocketsToken', 'websocket'],
    ['DepositStatus', 'deposit'],
    ['WithdrawInfo', 'withdraw'],
    ['WalletTransfer', 'transfer'],
    ['AccountTransfer', 'subaccount'],
    ['Staking/Pending', 'earn'],
    ['GetOtcPairs', 'otc'],
    ['Pay/paylink/config', 'pay'],
  ])('puts %s into the group %s', (name, group) => {
    expect(endpointOf(name).group).toBe(group);
  });

  it.each(['NewThing', 'addorder', 'AddOrder/', '', '__proto__', 'constructor', 'toString'])(
    'treats a name that it does not know (%j) as never to be repeated, and labels it other',
    (name) => {
      expect(endpointOf(name)).toMatchObject({ name, group: undefined, class: 'exclusive', label: 'other' });
    },
  );
});

describe('a public endpoint’s label', () => {
  it.each(['Time', 'AssetPairs', 'OHLC', 'MaintenanceSchedule'])('is its name: %s', (name) => {
    expect(publicLabel(name)).toBe(name);
  });

  it.each(['', 'time', '__proto__', 'constructor', 'Balance'])('is other for %j', (name) => {
    expect(publicLabel(name)).toBe('other');
  });
});
