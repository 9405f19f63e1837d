import { invalidArguments, JsonText } from './answer.js';
import { formatDecimal, multiply, ONE } from './decimal.js';
import {
  allAssets,
  allPairs,
  COST_DECIMALS,
  findAsset,
  findPair,
  LOT_DECIMALS,
  MAKER_FEE_PERCENT,
  scaled,
  TAKER_FEE_PERCENT,
  type Asset,
  type Pair,
} from './market-data.js';
import type { SystemStatus } from './private-endpoint.js';

/** What a public endpoint works on: its query, the clock in ms, and the state of the whole. */
export interface PublicCall {
  readonly query: URLSearchParams;
  readonly now: number;
  readonly systemStatus: SystemStatus;
}

export type PublicEndpoint = (call: PublicCall) => unknown;

/** Every public endpoint by its name behind `/0/public/`. What never changes is put into text once. */
export function publicEndpoints(): ReadonlyMap<string, PublicEndpoint> {
  const assets = once(() => Object.fromEntries(allAssets().map((asset) => [asset.name, assetReply(asset)])));
  const pairs = once(() => Object.fromEntries(allPairs().map((pair) => [pair.name, pairReply(pair)])));
  const tickers = once(() => Object.fromEntries(allPairs().map((pair) => [pair.name, tickerReply(pair)])));
  return new Map<string, PublicEndpoint>([
    ['Time', ({ now }) => ({ unixtime: Math.floor(now / 1000), rfc1123: new Date(now).toUTCString() })],
    ['SystemStatus', systemStatus],
    ['Assets', ({ query }) => assetsReply(query, assets)],
    ['AssetPairs', ({ query }) => pairsReply(query, pairs)],
    ['Ticker', ({ query }) => listed(query, 'pair', tickers, findPair, tickerReply)],
    ['OHLC', candles],
    ['Depth', depth],
    ['Trades', trades],
    ['Spread', spread],
  ]);
}

function once(build: () => unknown): () => JsonText {
  let text: JsonText | undefined;
  return () => (text ??= new JsonText(JSON.stringify(build())));
}

function systemStatus(call: PublicCall): unknown {
  const timestamp = new Date(call.now).toISOString().replace(/\.\d+Z$/, 'Z');
  return { status: call.systemStatus, timestamp };
}

/** All, or those named in a comma list. */
function listed<T extends { readonly name: string }>(
  query: URLSearchParams,
  field: string,
  all: () => JsonText,
  find: (text: string) => T,
  reply: (one: T) => unknown,
): unknown {
  const names = query.get(field);
  if (names === null || names === 'all') return all();
  return Object.fromEntries(
    names.split(',').map((text) => {
      const found = find(text.trim());
      return [found.name, reply(found)];
    }),
  );
}

function assetsReply(query: URLSearchParams, all: () => JsonText): unknown {
  // ccxt asks for tokenized assets too; there are none here.
  const aclass = query.get('aclass') ?? 'currency';
  return aclass === 'currency' ? listed(query, 'asset', all, findAsset, assetReply) : {};
}

function pairsReply(query: URLSearchParams, all: () => JsonText): unknown {
  const aclass = query.get('aclass_base') ?? 'currency';
  return aclass === 'currency' ? listed(query, 'pair', all, findPair, pairReply) : {};
}

function assetReply(asset: Asset): unknown {
  return {
    aclass: 'currency',
    altname: asset.altname,
    decimals: asset.decimals,
    display_decimals: asset.displayDecimals,
    collateral_value: 1,
    status: 'enabled',
  };
}

function pairReply(pair: Pair): unknown {
  return {
    altname: pair.altname,
    wsname: pair.wsname,
    aclass_base: 'currency',
    base: pair.base,
    aclass_quote: 'currency',
    quote: pair.quote,
    lot: 'unit',
    cost_decimals: COST_DECIMALS,
    pair_decimals: pair.pairDecimals,
    lot_decimals: LOT_DECIMALS,
    lot_multiplier: 1,
    leverage_buy: [],
    leverage_sell: [],
    fees: [
      [0, Number(TAKER_FEE_PERCENT)],
      [10_000_000, 0.1],
    ],
    fees_maker: [
      [0, Number(MAKER_FEE_PERCENT)],
      [10_000_000, 0],
    ],
    fee_volume_currency: 'ZUSD',
    margin_call: 80,
    margin_stop: 40,
    ordermin: pair.orderMin,
    costmin: pair.costMin,
    tick_size: pair.tickSize,
    status: 'online',
    execution_venue: 'international',
  };
}

function tickerReply(pair: Pair): unknown {
  const { bid, ask, last } = pair;
  return {
    a: [ask, '10', '10.000'],
    b: [bid, '10', '10.000'],
    c: [last, '0.10000000'],
    v: ['100.00000000', '1000.00000000'],
    p: [last, last],
    t: [100, 1000],
    l: [bid, bid],
    h: [ask, ask],
    o: last,
  };
}

function neededPair(query: URLSearchParams): Pair {
  const text = query.get('pair');
  if (text === null) throw invalidArguments('pair');
  return findPair(text);
}

const INTERVALS = [1, 5, 15, 30, 60, 240, 1440, 10_080, 21_600];
const MOST_CANDLES = 720;

/** 720 candles up to now, the newest one not closed yet; every candle of a time is always the same. */
function candles({ query, now }: PublicCall): unknown {
  const pair = neededPair(query);
  const interval = Number(query.get('interval') ?? '1');
  if (!INTERVALS.includes(interval)) throw invalidArguments('interval');
  const since = Number(query.get('since') ?? '0');
  const step = interval * 60;
  const newest = Math.floor(now / 1000 / step);
  const rows: unknown[] = [];
  for (let index = newest - MOST_CANDLES + 1; index <= newest; index += 1) {
    if (index * step <= since) continue;
    const [open, close] = [ripple(pair, index), ripple(pair, index + 1)];
    const [low, high] = open < close ? [open, close] : [close, open];
    const shown = [open, high, low, close, scaled(pair.last)].map((price) =>
      formatDecimal(price, pair.pairDecimals),
    );
    rows.push([index * step, ...shown, '10.00000000', 10]);
  }
  return { [pair.name]: rows, last: (newest - 1) * step };
}

/** A price a few ticks around the last one, given by the index alone. */
function ripple(pair: Pair, index: number): bigint {
  return scaled(pair.last) + BigInt(((index * 37) % 21) - 10) * scaled(pair.tickSize);
}

const MOST_LEVELS = 500;

function depth({ query, now }: PublicCall): unknown {
  const pair = neededPair(query);
  const count = Number(query.get('count') ?? '100');
  if (!Number.isInteger(count) || count < 1 || count > MOST_LEVELS) throw invalidArguments('count');
  const time = Math.floor(now / 1000);
  const levels = (from: string, direction: bigint): unknown[] =>
    Array.from({ length: count }, (_, level) => {
      const price = scaled(from) + direction * BigInt(level) * scaled(pair.tickSize);
      const volume = formatDecimal(multiply(ONE, BigInt(level + 1) * ONE), 3);
      return [formatDecimal(price, pair.pairDecimals), volume, time];
    });
  return { [pair.name]: { asks: levels(pair.ask, 1n), bids: levels(pair.bid, -1n) } };
}

const TRADES_SHOWN = 100;

function trades({ query, now }: PublicCall): unknown {
  const pair = neededPair(query);
  const second = Math.floor(now / 1000);
  const rows = Array.from({ length: TRADES_SHOWN }, (_, index) => {
    const time = second - TRADES_SHOWN + index + 1;
    const [price, side] = time % 2 === 0 ? [pair.ask, 'b'] : [pair.bid, 's'];
    return [price, '0.10000000', time, side, 'l', '', time];
  });
  return { [pair.name]: rows, last: `${second}000000000` };
}

function spread({ query, now }: PublicCall): unknown {
  const pair = neededPair(query);
  const second = Math.floor(now / 1000);
  return { [pair.name]: [[second, pair.bid, pair.ask]], last: second };
}
