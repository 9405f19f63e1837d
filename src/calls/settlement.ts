import { setMaxListeners } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import type { KrakenClock } from '../kraken/kraken-clock.js';
import type { UpstreamReply } from '../kraken/transport.js';
import type { OrderIdentity } from '../orders/order-identity.js';
import { lookUp, type AskKraken } from '../orders/order-lookup.js';
import type { RecentOrders } from '../orders/recent-orders.js';

/** A call that changes something and whose reply was lost. */
export interface Doubt {
  /** The account's name. */
  readonly account: string;
  readonly identity: OrderIdentity;
  /** When it was sent, ms by Kraken's clock. */
  readonly sentAt: number;
  /** Kraken's engine refuses it after this, ms by Kraken's clock; undefined: nothing says when. */
  readonly until: number | undefined;
}

/** What became of it: done, with the answer Kraken would have given; certainly not done; or not to be told. */
export type Resolution =
  | { readonly kind: 'done'; readonly reply: UpstreamReply }
  | { readonly kind: 'not-done' }
  | { readonly kind: 'untold'; readonly reason: string };

export interface SettlementParts {
  readonly clock: Pick<KrakenClock, 'earliest' | 'isKnown'>;
  /** Orders that earlier replies have named: they are not those of a call whose reply was lost. */
  readonly orders: Pick<RecentOrders, 'has' | 'add'>;
  readonly onTold: (resolution: Resolution, account: string) => void;
}

/** The engine may need a moment to show an order that came just in time. */
const MARGIN_MS = 500;
/** A second look before the deadline: most orders that were accepted show by then. */
const SECOND_LOOK_MS = 1_000;
const RETRY_MS = 200;
/** Kraken's no to the question itself: asking on would tell no more. */
const REFUSED =
  /was answered E(?:General: ?(?:Permission denied|Invalid arguments|Unknown method)|Order|Query|Funding)/;
const MOST_REFUSALS = 3;
const LONGEST_RETRY_MS = 30_000;
/** What no deadline bounds (a withdrawal) is looked for this long; that it does not show proves nothing. */
const UNBOUNDED_MS = 10_000;
/** A background search ends after this; the answer to a repeat is looked up then. */
const GIVE_UP_MS = 24 * 60 * 60 * 1_000;

/**
 * Finds out what became of calls whose reply was lost. A question carries a higher nonce than the call, so once Kraken
 * has answered it the lost call cannot be accepted any more (KRAKEN.md 1.4, with a nonce window of 0); what it had
 * accepted before shows, or is refused by the engine once its deadline has passed (KRAKEN.md 5). So a call is done
 * when it is found, and certainly not done when it is not found after its deadline.
 */
export class Settlement {
  readonly #parts: SettlementParts;
  readonly #stop = new AbortController();

  constructor(parts: SettlementParts) {
    this.#parts = parts;
    setMaxListeners(0, this.#stop.signal); // one for each search, and no limit to how many there are
  }

  /** One look. Undefined when it does not tell yet; rejects when Kraken gave no good answer. */
  async look(doubt: Doubt, ask: AskKraken): Promise<Resolution | undefined> {
    const { clock, orders, onTold } = this.#parts;
    const isKnown = (txid: string): boolean => orders.has(txid);
    const asked = performance.now();
    const found = await lookUp(doubt.identity, { sentAt: doubt.sentAt, until: doubt.until, isKnown }, ask);
    // As of the question: what shows only afterwards may still be executed after the answer. By what is known of
    // Kraken's clock after it, for its replies tell the time as well; and by nothing that is only assumed.
    const then = clock.earliest() - (performance.now() - asked);
    const isPast = doubt.until !== undefined && clock.isKnown && then > doubt.until + MARGIN_MS;
    let resolution: Resolution | undefined;
    if (found.found === 'placed' || (found.found === 'partly' && isPast)) {
      // From here on they are this call's, and no other's.
      const order = { account: doubt.account, pair: '', touchedAt: performance.now() };
      for (const txid of found.txids) orders.add(txid, order, undefined);
      resolution = { kind: 'done', reply: settledReply(found.result) };
    } else if (found.found === 'ambiguous' && (isPast || doubt.until === undefined)) {
      // Before the deadline it may become clear yet.
      resolution = { kind: 'untold', reason: found.reason };
    } else if (found.found === 'absent' && isPast) {
      resolution = { kind: 'not-done' };
    }
    if (resolution !== undefined) onTold(resolution, doubt.account);
    return resolution;
  }

  /** Looks until it can be told. Never rejects; ends as untold when the proxy stops. */
  async follow(doubt: Doubt, ask: AskKraken): Promise<Resolution> {
    const { clock } = this.#parts;
    const started = performance.now();
    const spent = (): number => performance.now() - started;
    let failures = 0;
    let refusals = 0;
    let looks = 0;
    let waitMs = SECOND_LOOK_MS;
    for (;;) {
      if (!(await this.#wait(waitMs))) return { kind: 'untold', reason: 'the proxy is stopping' };
      const asked = performance.now();
      try {
        const told = await this.look(doubt, ask);
        if (told !== undefined) return told;
        failures = refusals = 0;
        if (doubt.until === undefined && spent() > UNBOUNDED_MS)
          return { kind: 'untold', reason: 'Kraken does not list it, which proves nothing' };
        const left = (doubt.until ?? Infinity) + MARGIN_MS + 1 - clock.earliest();
        waitMs = looks++ === 0 ? Math.min(left, SECOND_LOOK_MS) : Math.min(left, 5 * SECOND_LOOK_MS);
        waitMs = Math.max(waitMs, RETRY_MS);
      } catch (error) {
        waitMs = Math.min(RETRY_MS * 2 ** Math.min(failures++, 10), LONGEST_RETRY_MS);
        // A question that held the lane for long leaves it to others for as long.
        waitMs = Math.max(waitMs, performance.now() - asked);
        const { message } = error as Error;
        if (REFUSED.test(message) && ++refusals >= MOST_REFUSALS)
          return { kind: 'untold', reason: `Kraken does not answer the question about it: ${message}` };
        if (spent() > GIVE_UP_MS)
          return { kind: 'untold', reason: `Kraken gave no good answer: ${(error as Error).message}` };
      }
    }
  }

  /** Ends every search. */
  close(): void {
    this.#stop.abort();
  }

  /** False when the proxy stops. */
  async #wait(ms: number): Promise<boolean> {
    return await delay(ms, true, { signal: this.#stop.signal, ref: false }).catch(() => false);
  }
}

/** The answer Kraken would have given. */
function settledReply(result: string): UpstreamReply {
  return {
    status: 200,
    headers: { 'content-type': 'application/json' },
    own: { 'x-proxy-outcome': 'settled' },
    body: Buffer.from(`{"error":[],"result":${result}}`),
  };
}
