import type { Account } from './account.js';
import type { CallFields } from './call-fields.js';
import type { EngineCounters } from './engine-counter.js';
import type { Exchange } from './exchange.js';
import type { KeyState } from './request-checks.js';

/** What Kraken says of itself in SystemStatus (KRAKEN.md 2.3). */
export type SystemStatus = (typeof SYSTEM_STATUSES)[number];

export const SYSTEM_STATUSES = ['online', 'maintenance', 'cancel_only', 'post_only'] as const;

/** What an endpoint works on. */
export interface PrivateCall {
  readonly fields: CallFields;
  readonly account: Account;
  readonly key: KeyState;
  readonly exchange: Exchange;
  readonly engineCounters: EngineCounters;
  /** When it passed the checks, ms. */
  readonly arrivedAt: number;
  /** When the engine runs it, ms: the same, but for a slow engine. */
  readonly now: number;
  readonly systemStatus: SystemStatus;
}

/** A private endpoint of the sandbox. */
export interface PrivateEndpoint {
  /** What it adds to the REST call counter (KRAKEN.md 2.2). */
  readonly cost: number;
  /** The permissions it needs: all of one of these lists; none at all when there is no list. */
  readonly permissions: readonly (readonly string[])[];
  /** The result: plain data, JsonText or BinaryResult. Throws Refusal. */
  readonly run: (call: PrivateCall) => unknown;
}

export type PrivateEndpoints = Readonly<Record<string, PrivateEndpoint>>;

export const MAY_QUERY_FUNDS = [['query-funds']];
export const MAY_QUERY_OPEN = [['query-open-trades']];
export const MAY_QUERY_CLOSED = [['query-closed-trades']];
export const MAY_QUERY_ORDERS = [['query-open-trades'], ['query-closed-trades']];
export const MAY_QUERY_LEDGER = [['query-ledger']];
export const MAY_EXPORT = [['export-data']];
export const MAY_ADD = [['modify-trades']];
export const MAY_CANCEL = [['modify-trades'], ['close-trades']];
export const MAY_ADD_AND_CANCEL = [['modify-trades', 'close-trades']];
export const MAY_WITHDRAW = [['withdraw-funds']];
export const MAY_EARN = [['earn-funds']];
export const NO_PERMISSION_NEEDED: readonly (readonly string[])[] = [];

/** Whether a key that may do `granted` (undefined: everything) may call the endpoint. */
export function isPermitted(endpoint: PrivateEndpoint, granted: readonly string[] | undefined): boolean {
  if (granted === undefined || endpoint.permissions.length === 0) return true;
  return endpoint.permissions.some((all) => all.every((one) => granted.includes(one)));
}
