import { Clocks, type ClockOptions, type Moment } from '../clocks.js';

/** A currency pair as Kraken lists it. */
export interface Pair {
  /** The key in AssetPairs, `XXBTZUSD`. */
  readonly id: string;
  /** `XBT` of the wsname `XBT/USD`. */
  readonly base: string;
  /** `USD` of the wsname `XBT/USD`. */
  readonly quote: string;
}

/** Prices in decimal text, above zero. */
export interface Price {
  readonly ask: string;
  readonly bid: string;
  /** Of the last trade. */
  readonly last: string;
}

/** What the order rules ask about Kraken's market. */
export interface Market {
  /**
   * By id, altname or wsname, in exact case. Undefined: Kraken lists no such pair, or the name means more than
   * one. Rejects when Kraken's list cannot be had.
   */
  pair(name: string): Promise<Pair | undefined>;
  /** Rejects when there is none that is younger than a minute. */
  price(pair: Pair): Promise<Price>;
}

export interface KrakenMarketOptions extends ClockOptions {
  /** GETs a public path with its query; resolves with the whole reply's body. */
  readonly send: (path: string) => Promise<Buffer>;
}

const SECOND = 1000;
const MINUTE = 60 * SECOND;

/** Pairs do not change their currencies: when Kraken's list cannot be had again, the former stays good. */
const PAIRS_LIFE: Life = { freshMs: 60 * MINUTE, goodMs: Infinity, retryMs: SECOND };
const PRICE_LIFE: Life = { freshMs: 5 * SECOND, goodMs: MINUTE, retryMs: SECOND };
/** A name that is not in the list may be new at Kraken, or a client's mistake that comes again and again. */
const UNKNOWN_NAME_MS = MINUTE;
/** More pairs than Kraken lists. */
const MAX_PRICES = 5000;

/** Kraken's pairs and prices, asked for when needed and kept for a while. */
export class KrakenMarket implements Market {
  readonly #send: (path: string) => Promise<Buffer>;
  readonly #clocks: Clocks;
  readonly #pairs: Kept<ReadonlyMap<string, Pair>>;
  readonly #prices = new Map<string, Kept<Price>>();

  constructor({ send, ...clocks }: KrakenMarketOptions) {
    this.#send = send;
    this.#clocks = new Clocks(clocks);
    const pairs = async (): Promise<ReadonlyMap<string, Pair>> =>
      parsePairs(await send('/0/public/AssetPairs'));
    this.#pairs = new Kept(pairs, PAIRS_LIFE, this.#clocks);
  }

  async pair(name: string): Promise<Pair | undefined> {
    const found = (await this.#pairs.get()).get(name);
    return found ?? (await this.#pairs.get(UNKNOWN_NAME_MS)).get(name);
  }

  price(pair: Pair): Promise<Price> {
    let kept = this.#prices.get(pair.id);
    if (kept === undefined) {
      kept = new Kept(() => this.#ask(pair.id), PRICE_LIFE, this.#clocks);
      const oldest = this.#prices.size < MAX_PRICES ? undefined : this.#prices.keys().next().value;
      if (oldest !== undefined) this.#prices.delete(oldest);
      this.#prices.set(pair.id, kept);
    }
    return kept.get();
  }

  async #ask(id: string): Promise<Price> {
    return parsePrice(await this.#send(`/0/public/Ticker?pair=${encodeURIComponent(id)}`), id);
  }
}

/** How long an answer lives, in ms since it was asked for. */
interface Life {
  /** Not asked again before this age. */
  readonly freshMs: number;
  /** Still good up to this age when asking again fails. */
  readonly goodMs: number;
  /** After a failure the next try waits so long. */
  readonly retryMs: number;
}

/** An answer that is kept for a while; whoever asks meanwhile shares it, and shares the call that fetches it. */
class Kept<T> {
  readonly #fetch: () => Promise<T>;
  readonly #life: Life;
  readonly #clocks: Clocks;
  #answer: { readonly value: T; readonly askedAt: Moment } | undefined;
  #failure: { readonly error: unknown; readonly askedAt: Moment } | undefined;
  #underway: Promise<void> | undefined;

  constructor(fetch: () => Promise<T>, life: Life, clocks: Clocks) {
    this.#fetch = fetch;
    this.#life = life;
    this.#clocks = clocks;
  }

  /** Rejects when there is no good answer. */
  async get(freshMs = this.#life.freshMs): Promise<T> {
    if (this.#underway === undefined && this.#isDue(freshMs)) this.#underway = this.#refresh();
    if (this.#underway !== undefined && !this.#isYounger(freshMs)) await this.#underway;
    if (this.#answer !== undefined && this.#isYounger(this.#life.goodMs)) return this.#answer.value;
    throw new Error('no answer that is new enough', { cause: this.#failure?.error });
  }

  #isYounger(ms: number): boolean {
    return this.#answer !== undefined && this.#clocks.age(this.#answer.askedAt) < ms;
  }

  #isDue(freshMs: number): boolean {
    if (this.#isYounger(freshMs)) return false;
    return this.#failure === undefined || this.#clocks.age(this.#failure.askedAt) >= this.#life.retryMs;
  }

  /** Never rejects: what came of it stands in the fields. */
  async #refresh(): Promise<void> {
    const askedAt = this.#clocks.moment();
    try {
      this.#answer = { value: await this.#fetch(), askedAt };
      this.#failure = undefined;
    } catch (error) {
      this.#failure = { error, askedAt };
    } finally {
      this.#underway = undefined;
    }
  }
}

// ---- Kraken's replies; whatever is not as documented is refused

const NAME = /^[A-Za-z0-9./]{1,40}$/;
const WSNAME = /^([A-Za-z0-9.]{1,20})\/([A-Za-z0-9.]{1,20})$/;
const PRICE = /^\d{1,20}(?:\.\d{1,20})?$/;

/**
 * Every name of every pair. A pair that is listed in another way (Kraken's dark pools once had no wsname) stays
 * unknown, and so does a name that two pairs have.
 */
function parsePairs(reply: Buffer): ReadonlyMap<string, Pair> {
  const names = new Map<string, Pair>();
  const ambiguous = new Set<string>();
  for (const [id, listed] of Object.entries(resultOf(reply))) {
    if (!isRecord(listed)) throw odd('AssetPairs');
    const { altname, wsname } = listed;
    if (typeof altname !== 'string' || typeof wsname !== 'string') continue;
    const [, base, quote] = WSNAME.exec(wsname) ?? [];
    if (base === undefined || quote === undefined || !NAME.test(id) || !NAME.test(altname)) continue;
    const pair: Pair = { id, base, quote };
    for (const name of new Set([id, altname, wsname])) {
      if (names.has(name)) ambiguous.add(name);
      names.set(name, pair);
    }
  }
  for (const name of ambiguous) names.delete(name);
  if (names.size === 0) throw odd('AssetPairs');
  return names;
}

function parsePrice(reply: Buffer, id: string): Price {
  const result = resultOf(reply);
  const ticker = Object.hasOwn(result, id) ? result[id] : undefined;
  if (!isRecord(ticker) || Object.keys(result).length !== 1) throw odd('Ticker');
  const first = (field: unknown): string => {
    const text: unknown = Array.isArray(field) ? field[0] : undefined;
    if (typeof text !== 'string' || !PRICE.test(text) || !/[1-9]/.test(text)) throw odd('Ticker');
    return text;
  };
  return { ask: first(ticker.a), bid: first(ticker.b), last: first(ticker.c) };
}

/** The result of a reply without errors. Prices are texts in it; its numbers are not read. */
function resultOf(reply: Buffer): Record<string, unknown> {
  const envelope: unknown = JSON.parse(reply.toString());
  if (!isRecord(envelope)) throw odd('reply');
  const { error, result } = envelope;
  if (!Array.isArray(error) || !isRecord(result)) throw odd('reply');
  if (error.length > 0) throw new Error(`Kraken: ${String(error[0]).slice(0, 100)}`);
  return result;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function odd(what: string): Error {
  return new Error(`Kraken's ${what} is not as documented`);
}
