import { JsonText } from './answer.js';
import { NO_PERMISSION_NEEDED, type PrivateCall, type PrivateEndpoints } from './private-endpoint.js';

/** About the key itself. */
export const KEY_ENDPOINTS: PrivateEndpoints = {
  GetApiKeyInfo: { cost: 1, permissions: NO_PERMISSION_NEEDED, run: apiKeyInfo },
  GetWebSocketsToken: { cost: 1, permissions: [['access-websockets']], run: webSocketsToken },
};

/** What a key without a list of its own may do: everything. */
export const ALL_PERMISSIONS: readonly string[] = [
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

/** KRAKEN.md 1.4. What it does not tell for certain, the key's settings do. */
function apiKeyInfo(call: PrivateCall): unknown {
  const { config, nonces, lastUsed, before } = call.key;
  const { info = {} } = config;
  const nonce = info.nonce === 'before' ? before.nonce : (nonces.highest ?? 0n);
  const usedAt = info.lastUsed === 'before' ? before.lastUsed : lastUsed;
  const numeric = (number: bigint | number): string =>
    info.numbers === 'number' ? String(number) : `"${number}"`;
  const fields = {
    api_key_name: JSON.stringify(`sandbox key of ${config.account}`),
    api_key: JSON.stringify(config.key),
    nonce: numeric(nonce),
    nonce_window: numeric(config.nonceWindow ?? 0n),
    permissions: JSON.stringify(config.permissions ?? ALL_PERMISSIONS),
    iban: '"AA00 N84G SAND BOXX"',
    valid_until: numeric(config.validUntil ?? 0),
    query_from: numeric(0),
    query_to: numeric(0),
    created_time: numeric(1_700_000_000),
    modified_time: numeric(1_700_000_000),
    ip_allowlist: JSON.stringify(config.ipAllowlist ?? []),
    last_used: numeric(Math.floor(usedAt / 1_000)),
  };
  const nameOf = (name: string): string =>
    info.names === 'camel' ? name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase()) : name;
  // By hand: 19 digits do not fit into a JavaScript number.
  const members = Object.entries(fields).map(([name, json]) => `"${nameOf(name)}":${json}`);
  return new JsonText(`{${members.join(',')}}`);
}

function webSocketsToken(call: PrivateCall): unknown {
  return { token: `sandbox/${call.exchange.newId('W')}`, expires: TOKEN_SECONDS };
}
