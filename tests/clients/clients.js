import ccxt from 'ccxt';
import Kraken from 'kraken-api';
import { ACCOUNTS, DUMMY_SECRET, PATIENCE_MS } from './proxy-process.js';

/**
 * ccxt as a bot makes it, with another base URL. Without its own rate limiter, which would spread calls by
 * the second: the proxy must do without its help.
 */
export function ccxtAt(url, account = 'master', secret = DUMMY_SECRET) {
  return new ccxt.kraken({
    apiKey: ACCOUNTS[account].key,
    secret,
    urls: { api: { public: url, private: url } },
    enableRateLimit: false,
    timeout: PATIENCE_MS,
  });
}

/** kraken-api as a bot makes it, with another base URL. */
export function krakenApiAt(url, account = 'master', secret = DUMMY_SECRET) {
  return new Kraken(ACCOUNTS[account].key, secret, { url, timeout: PATIENCE_MS });
}
