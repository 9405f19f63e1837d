import { ACCOUNT_ENDPOINTS } from './account-endpoints.js';
import { CANCEL_ENDPOINTS } from './cancel-endpoints.js';
import { EXPORT_ENDPOINTS } from './export-endpoints.js';
import { FUNDING_ENDPOINTS } from './funding-endpoints.js';
import { KEY_ENDPOINTS } from './key-endpoints.js';
import type { PrivateEndpoint } from './private-endpoint.js';
import { TRADING_ENDPOINTS } from './trading-endpoints.js';

/** Every private endpoint of the sandbox by its name behind `/0/private/`. */
export function privateEndpoints(): ReadonlyMap<string, PrivateEndpoint> {
  return new Map(
    Object.entries({
      ...ACCOUNT_ENDPOINTS,
      ...TRADING_ENDPOINTS,
      ...CANCEL_ENDPOINTS,
      ...FUNDING_ENDPOINTS,
      ...EXPORT_ENDPOINTS,
      ...KEY_ENDPOINTS,
    }),
  );
}
