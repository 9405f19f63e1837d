import { Refusal } from './answer.js';
import { parseDecimal } from './decimal.js';

/** An asset as Kraken names it, with the decimals of balances and of displays. */
export interface Asset {
  readonly name: string;
  readonly altname: string;
  readonly decimals: number;
  readonly displayDecimals: number;
  /** What an account starts with, so much that no load test runs dry. */
  readonly startBalance: string;
  /** In ZUSD, for TradeBalance. */
  readonly usdPrice: string;
}

/** A currency pair. Its price never moves, so that what an order does can be foretold. */
export interface Pair {
  readonly name: string;
  readonly altname: string;
  readonly wsname: string;
  readonly base: string;
  readonly quote: string;
  readonly pairDecimals: number;
  readonly orderMin: string;
  readonly costMin: string;
  readonly tickSize: string;
  readonly bid: string;
  readonly ask: string;
  readonly last: string;
}

export const LOT_DECIMALS = 8;
export const COST_DECIMALS = 5;

/** Percent, as AssetPairs lists them; taker fees are what the sandbox takes. */
export const TAKER_FEE_PERCENT = '0.4';
export const MAKER_FEE_PERCENT = '0.25';

const ASSET_LIST: readonly Asset[] = [
  asset('ZUSD', 'USD', 4, 2, '1000000000', '1'),
  asset('ZEUR', 'EUR', 4, 2, '1000000000', '1.08'),
  asset('XXBT', 'XBT', 10, 5, '100000', '60000'),
  asset('XETH', 'ETH', 10, 5, '1000000', '3000'),
  asset('SOL', 'SOL', 10, 5, '10000000', '150'),
];

const PAIR_LIST: readonly Pair[] = [
  {
    ...names('XXBTZUSD', 'XBT', 'USD', 'XXBT', 'ZUSD'),
    ...rules(1, '0.00005', '0.1'),
    ...prices('59999.9', '60000.1', '60000.0'),
  },
  {
    ...names('XXBTZEUR', 'XBT', 'EUR', 'XXBT', 'ZEUR'),
    ...rules(1, '0.00005', '0.1'),
    ...prices('55555.4', '55555.6', '55555.5'),
  },
  {
    ...names('XETHZUSD', 'ETH', 'USD', 'XETH', 'ZUSD'),
    ...rules(2, '0.001', '0.01'),
    ...prices('2999.99', '3000.01', '3000.00'),
  },
  {
    ...names('SOLUSD', 'SOL', 'USD', 'SOL', 'ZUSD'),
    ...rules(2, '0.02', '0.01'),
    ...prices('149.99', '150.01', '150.00'),
  },
];

/** Every asset, in the order of Assets. */
export function allAssets(): readonly Asset[] {
  return ASSET_LIST;
}

/** Every pair, in the order of AssetPairs. */
export function allPairs(): readonly Pair[] {
  return PAIR_LIST;
}

/** The asset by its name or altname. */
export function findAsset(text: string): Asset {
  const found = ASSET_LIST.find((one) => one.name === text || one.altname === text);
  if (found === undefined) throw new Refusal('EQuery:Unknown asset');
  return found;
}

/** The pair by its name, altname or wsname (XXBTZUSD, XBTUSD, XBT/USD). */
export function findPair(text: string): Pair {
  for (const pair of PAIR_LIST) {
    if (pair.altname === text || pair.name === text || pair.wsname === text) return pair;
  }
  throw new Refusal('EQuery:Unknown asset pair');
}

/** A price or amount from the tables here, scaled. */
export function scaled(text: string): bigint {
  return parseDecimal(text) ?? 0n;
}

function asset(
  name: string,
  altname: string,
  decimals: number,
  displayDecimals: number,
  startBalance: string,
  usdPrice: string,
): Asset {
  return { name, altname, decimals, displayDecimals, startBalance, usdPrice };
}

function names(
  name: string,
  left: string,
  right: string,
  base: string,
  quote: string,
): Pick<Pair, 'name' | 'altname' | 'wsname' | 'base' | 'quote'> {
  return { name, altname: left + right, wsname: `${left}/${right}`, base, quote };
}

function rules(
  pairDecimals: number,
  orderMin: string,
  tickSize: string,
): Pick<Pair, 'pairDecimals' | 'orderMin' | 'costMin' | 'tickSize'> {
  return { pairDecimals, orderMin, costMin: '0.5', tickSize };
}

function prices(bid: string, ask: string, last: string): Pick<Pair, 'bid' | 'ask' | 'last'> {
  return { bid, ask, last };
}
