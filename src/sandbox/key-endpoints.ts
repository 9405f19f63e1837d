import { NO_PERMISSION_NEEDED, type PrivateCall, type PrivateEndpoints } from './private-endpoint.js';

/** About the key itself. */
export const KEY_ENDPOINTS: PrivateEndpoints = {
  GetApiKeyInfo: { cost: 1, permissions: NO_PERMISSION_NEEDED, run: apiKeyInfo },
  GetWebSocketsToken: { cost: 1, permissions: [['access-websockets']], run: webSocketsToken },
};

/** What a key without a list of its own may do: everything. */
const ALL_PERMISSIONS = [
  'query-funds',
  'add-funds',
  'withdraw-funds',
  'earn-funds',
  'query-open-trades',
  'query-closed-trades',
  'modify-trades',
  'close-trades',
  'query-ledger',
  'export-data',
  'access-websockets',
];

const TOKEN_SECONDS = 900;

/**
 * KRAKEN.md 1.4. `nonce` is the highest the key has seen, which is the one of this very call or higher;
 * as text, though whether Kraken sends text or a number is not confirmed.
 */
function apiKeyInfo(call: PrivateCall): unknown {
  const { config, nonces, lastUsed } = call.key;
  return {
    api_key_name: `sandbox key of ${config.account}`,
    api_key: config.key,
    nonce: String(nonces.highest ?? 0n),
    nonce_window: String(config.nonceWindow ?? 0n),
    permissions: config.permissions ?? ALL_PERMISSIONS,
    iban: 'AA00 N84G SAND BOXX',
    valid_until: '0',
    query_from: '0',
    query_to: '0',
    created_time: '1700000000',
    modified_time: '1700000000',
    ip_allowlist: [],
    last_used: Math.floor(lastUsed / 1000).toString(),
  };
}

function webSocketsToken(call: PrivateCall): unknown {
  return { token: `sandbox/${call.exchange.newId('W')}`, expires: TOKEN_SECONDS };
}
