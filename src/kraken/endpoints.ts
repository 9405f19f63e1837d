/**
 * What a lost reply means (KRAKEN.md 2.1): `read` may be asked again freely, `idempotent` changes state
 * but a repeat soon after is harmless or nearly, `exclusive` must never be blindly repeated.
 */
export type EndpointClass = 'read' | 'idempotent' | 'exclusive';

/** What a call is for; permissions and priorities are given by these. */
export type EndpointGroup =
  | 'read'
  | 'trade'
  | 'cancel'
  | 'history'
  | 'websocket'
  | 'export'
  | 'earn'
  | 'deposit'
  | 'transfer'
  | 'withdraw'
  | 'subaccount'
  | 'otc'
  | 'pay';

/** Which calls go before others when they wait, the most urgent first (DESIGN 8). */
export type CallClass = 'cancel' | 'change' | 'order' | 'other' | 'read' | 'history';

export interface Endpoint {
  /** As in the path after `/0/private/`; may hold a slash. */
  readonly name: string;
  /** None for a name that is not in the table. */
  readonly group: EndpointGroup | undefined;
  readonly class: EndpointClass;
  readonly callClass: CallClass;
  /** What a call adds to its key's REST call counter (KRAKEN.md 2.2, 3.1). */
  readonly cost: number;
  /** It acts on every order of the account, whoever placed it. */
  readonly wholeAccount: boolean;
  /** The name, or `other` for one not in the table: bounded, for metrics. */
  readonly label: string;
}

/**
 * Kraken's private endpoints (KRAKEN.md 2.2). `history` is what lies behind: closed orders, past trades
 * and ledgers, in lists and by id. `QueryOrders` and `OrderAmends` tell how an order stands: `read`.
 * Where the body decides the class, the stricter one is given: `AmendOrder` with a relative price moves
 * again, `DepositAddresses` with `new=true` makes another address.
 */
const TABLE: readonly (readonly [name: string, group: EndpointGroup, endpointClass: EndpointClass])[] = [
  ['Balance', 'read', 'read'],
  ['BalanceEx', 'read', 'read'],
  ['CreditLines', 'read', 'read'],
  ['TradeBalance', 'read', 'read'],
  ['OpenOrders', 'read', 'read'],
  ['QueryOrders', 'read', 'read'],
  ['OrderAmends', 'read', 'read'],
  ['OpenPositions', 'read', 'read'],
  ['TradeVolume', 'read', 'read'],
  ['GetApiKeyInfo', 'read', 'read'],
  ['ListWalletAccounts', 'read', 'read'],
  ['Level3', 'read', 'read'],

  ['ClosedOrders', 'history', 'read'],
  ['TradesHistory', 'history', 'read'],
  ['QueryTrades', 'history', 'read'],
  ['Ledgers', 'history', 'read'],
  ['QueryLedgers', 'history', 'read'],

  ['AddExport', 'export', 'exclusive'],
  ['ExportStatus', 'export', 'read'],
  ['RetrieveExport', 'export', 'read'],
  ['RemoveExport', 'export', 'idempotent'],

  ['AddOrder', 'trade', 'exclusive'],
  ['AddOrderBatch', 'trade', 'exclusive'],
  ['AmendOrder', 'trade', 'exclusive'],
  ['EditOrder', 'trade', 'exclusive'],

  ['CancelOrder', 'cancel', 'idempotent'],
  ['CancelOrderBatch', 'cancel', 'idempotent'],
  ['CancelAll', 'cancel', 'idempotent'],
  ['CancelAllOrdersAfter', 'cancel', 'idempotent'],

  ['GetWebSocketsToken', 'websocket', 'idempotent'],

  ['DepositMethods', 'deposit', 'read'],
  ['DepositAddresses', 'deposit', 'exclusive'],
  ['DepositStatus', 'deposit', 'read'],

  ['WithdrawMethods', 'withdraw', 'read'],
  ['WithdrawAddresses', 'withdraw', 'read'],
  ['WithdrawInfo', 'withdraw', 'read'],
  ['WithdrawStatus', 'withdraw', 'read'],
  ['Withdraw', 'withdraw', 'exclusive'],
  ['WithdrawCancel', 'withdraw', 'idempotent'],

  ['WalletTransfer', 'transfer', 'exclusive'],

  ['CreateSubaccount', 'subaccount', 'exclusive'],
  ['AccountTransfer', 'subaccount', 'exclusive'],

  ['Earn/Allocate', 'earn', 'exclusive'],
  ['Earn/Deallocate', 'earn', 'exclusive'],
  ['Earn/AllocateStatus', 'earn', 'read'],
  ['Earn/DeallocateStatus', 'earn', 'read'],
  ['Earn/Strategies', 'earn', 'read'],
  ['Earn/Allocations', 'earn', 'read'],
  // Staking is the legacy form of Earn, dropped from Kraken's spec.
  ['Stake', 'earn', 'exclusive'],
  ['Unstake', 'earn', 'exclusive'],
  ['Staking/Assets', 'earn', 'read'],
  ['Staking/Pending', 'earn', 'read'],
  ['Staking/Transactions', 'earn', 'read'],

  ['CreateOtcQuoteRequest', 'otc', 'exclusive'],
  ['UpdateOtcQuote', 'otc', 'exclusive'],
  ['GetOtcPairs', 'otc', 'read'],
  ['CheckOtcClient', 'otc', 'read'],
  ['GetOtcActiveQuotes', 'otc', 'read'],
  ['GetOtcHistoricalQuotes', 'otc', 'read'],
  ['GetOtcExposures', 'otc', 'read'],

  ['Pay/request/create', 'pay', 'exclusive'],
  ['Pay/transfer/create', 'pay', 'exclusive'],
  ['Pay/paylink/create', 'pay', 'exclusive'],
  ['Pay/request/cancel', 'pay', 'idempotent'],
  ['Pay/transfer/cancel', 'pay', 'idempotent'],
  ['Pay/paylink/get', 'pay', 'read'],
  ['Pay/paylink/config', 'pay', 'read'],
];

/**
 * What does not cost 1. Kraken publishes one sentence, no table: orders and their cancelling are free, ledger and
 * trade history calls cost 2 or 4 by the copy of the page (KRAKEN.md 3.1). In doubt the dearer figure.
 */
const COSTS: Readonly<Record<string, number>> = {
  AddOrder: 0,
  AddOrderBatch: 0,
  AmendOrder: 0,
  CancelOrder: 0,
  CancelOrderBatch: 0,
  TradesHistory: 4,
  Ledgers: 4,
  QueryLedgers: 4,
};

const WHOLE_ACCOUNT: ReadonlySet<string> = new Set(['CancelAll', 'CancelAllOrdersAfter']);

function callClassOf(name: string, group: EndpointGroup, endpointClass: EndpointClass): CallClass {
  if (group === 'cancel') return 'cancel';
  if (group === 'trade') return name.startsWith('AddOrder') ? 'order' : 'change';
  if (endpointClass !== 'read') return 'other';
  return group === 'history' ? 'history' : 'read';
}

/** Every private endpoint the proxy knows by name. */
export const PRIVATE_ENDPOINTS: readonly Endpoint[] = TABLE.map(([name, group, endpointClass]) => ({
  name,
  group,
  class: endpointClass,
  callClass: callClassOf(name, group, endpointClass),
  cost: COSTS[name] ?? 1,
  wholeAccount: WHOLE_ACCOUNT.has(name),
  label: name,
}));

/** Their names. */
export const ENDPOINT_NAMES: readonly string[] = PRIVATE_ENDPOINTS.map(({ name }) => name);

/** Every group. */
export const ENDPOINT_GROUPS: readonly EndpointGroup[] = [...new Set(TABLE.map(([, group]) => group))];

const BY_NAME: ReadonlyMap<string, Endpoint> = new Map(
  PRIVATE_ENDPOINTS.map((endpoint) => [endpoint.name, endpoint]),
);

/** The endpoint of that name. New ones appear at Kraken: one not in the table counts as `exclusive`. */
export function endpointOf(name: string): Endpoint {
  return BY_NAME.get(name) ?? { ...UNLISTED, name };
}

const UNLISTED = {
  group: undefined,
  class: 'exclusive',
  callClass: 'other',
  cost: 1,
  wholeAccount: false,
  label: 'other',
} as const;

/** Kraken's public endpoints (KRAKEN.md 2.3). */
const PUBLIC_NAMES: ReadonlySet<string> = new Set([
  'Time',
  'SystemStatus',
  'Assets',
  'AssetPairs',
  'Ticker',
  'OHLC',
  'Depth',
  'GroupedBook',
  'Trades',
  'Spread',
  'PreTrade',
  'PostTrade',
  'MaintenanceSchedule',
]);

/** A public endpoint's name if it is a known one, else `other`: bounded, for metrics. */
export function publicLabel(name: string): string {
  return PUBLIC_NAMES.has(name) ? name : 'other';
}
