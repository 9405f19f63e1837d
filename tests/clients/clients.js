import ccxt from 'ccxt';
import Kraken from 'kraken-api';
import { Kraken as NodeKrakenApi } from 'node-kraken-api';
import { ACCOUNTS, DUMMY_SECRET, PATIENCE_MS } from './proxy-process.js';

/** Without `clients` in the config: the key says which account, the secret is of no use. */
const UNPROVEN = { key: ACCOUNTS.master.key, secret: DUMMY_SECRET };

/**
 * ccxt as a bot makes it, with another base URL. Without its own rate limiter, which would spread calls by
 * the second: the proxy must do without its help.
 */
export function ccxtAt(url, { key, secret } = UNPROVEN) {
  return new ccxt.kraken({
    apiKey: key,
    secret,
    urls: { api: { public: url, private: url } },
    enableRateLimit: false,
    timeout: PATIENCE_MS,
  });
}

/** kraken-api as a bot makes it, with another base URL. */
export function krakenApiAt(url, { key, secret } = UNPROVEN) {
  return new Kraken(key, secret, { url, timeout: PATIENCE_MS });
}

/** node-kraken-api as a bot makes it. It has no option for where Kraken is: see name-service.js. */
export function nodeKrakenApi({ key, secret }) {
  return new NodeKrakenApi({ key, secret, timeout: PATIENCE_MS });
}
