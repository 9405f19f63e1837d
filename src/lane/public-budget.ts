import { ProxyError } from '../errors.js';
import type { UpstreamReply } from '../kraken/transport.js';
import { shuttingDown } from './lane.js';

export interface PublicBudgetOptions {
  /** Public calls that Kraken takes from one address, on average. Default 1 (KRAKEN.md 2.3). */
  readonly perSecond?: number;
  /** Calls that may go at once after a silence. Default 5. */
  readonly burst?: number;
  /** Calls that may wait, those that share one among them; one more is refused with `queue-full`. Default 256. */
  readonly maxWaiting?: number;
  /** The longest wait for a turn, ms; then `rate-limited`. */
  readonly maxWaitMs: number;
  /** A monotonic clock, ms. Default: the process's own. */
  readonly now?: () => number;
}

/** How a call waits. */
export interface PublicWait {
  /** Calls with the same one that wait share one turn and its reply; undefined: this one shares with nobody. */
  readonly sameAs: string | undefined;
  /** Sends it, in its turn. Of calls that share a turn, the one sends that came first. */
  readonly send: () => Promise<UpstreamReply>;
  /** Its turn has come. */
  readonly onTurn: () => void;
}

/** A call that waits, or waited. */
export interface PublicTurn {
  /** The reply, or what `send` rejected with, or a ProxyError when its turn did not come. */
  readonly reply: Promise<UpstreamReply>;
  /** Gives the place up, for free. Nothing happens when the turn has already come. */
  leave(error: Error): void;
}

interface Waiting {
  readonly onTurn: () => void;
  readonly resolve: (reply: Promise<UpstreamReply>) => void;
  readonly reject: (error: Error) => void;
}

interface Place {
  readonly sameAs: string | undefined;
  readonly send: () => Promise<UpstreamReply>;
  /** Monotonic ms. */
  readonly deadline: number;
  readonly waiting: Set<Waiting>;
}

const PER_SECOND = 1;
const BURST = 5;
const MAX_WAITING = 256;

/**
 * How often Kraken is asked for public data: it counts by address, so that one client's flood is everybody's. A bucket
 * of tokens, told by the moment at which it will be full again (GCRA), which needs no timer to fill. Calls that find
 * none wait in the order of their arrival.
 */
export class PublicBudget {
  readonly #options: PublicBudgetOptions;
  readonly #now: () => number;
  #fullAt = -Infinity;
  #line: Place[] = [];
  readonly #shared = new Map<string, Place>();
  #waiting = 0;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: PublicBudgetOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /** From one token to the next, ms. */
  get #tokenMs(): number {
    return 1_000 / (this.#options.perSecond ?? PER_SECOND);
  }

  get #burst(): number {
    return this.#options.burst ?? BURST;
  }

  /** Calls that wait, each of those that share a turn counted. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Takes a token if there is one and nobody waits for it. */
  tryTake(): boolean {
    if (this.#line.length > 0 || this.#untilTokenMs(1) > 0) return false;
    this.#spend();
    return true;
  }

  /**
   * For the proxy's own reads, which do not wait: an order may wait for them. They count, but however many there are,
   * clients wait for no more than another burst of them.
   */
  takeNow(): void {
    this.#spend();
    this.#fullAt = Math.min(this.#fullAt, this.#now() + 2 * this.#burst * this.#tokenMs);
  }

  /** Kraken says that there were too many: what was left of the burst is gone. */
  empty(): void {
    this.#fullAt = Math.max(this.#fullAt, this.#now() + this.#burst * this.#tokenMs);
  }

  /**
   * Waits for a token. Throws ProxyError `queue-full`, `shutting-down`, or `rate-limited`: so many wait that the turn
   * could not come in time. The reply may reject with the latter two, in each case before `send` began.
   */
  wait({ sameAs, send, onTurn }: PublicWait): PublicTurn {
    if (this.#closed) throw shuttingDown();
    if (this.#waiting >= (this.#options.maxWaiting ?? MAX_WAITING)) {
      const full = `${this.#waiting} public calls wait already`;
      throw new ProxyError('queue-full', full, { retryAfterSeconds: 1 });
    }
    const shared = sameAs === undefined ? undefined : this.#shared.get(sameAs);
    const place = shared ?? this.#join(sameAs, send);
    let waiting!: Waiting;
    const reply = new Promise<UpstreamReply>((resolve, reject) => {
      waiting = { onTurn, resolve, reject };
    });
    place.waiting.add(waiting);
    this.#waiting++;
    return { reply, leave: (error) => this.#leave(place, waiting, error) };
  }

  /** Fails all that waits with `shutting-down`. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const place of this.#line) this.#refuse(place, shuttingDown());
    this.#line = [];
  }

  #join(sameAs: string | undefined, send: () => Promise<UpstreamReply>): Place {
    const { maxWaitMs } = this.#options;
    const waitMs = this.#untilTokenMs(this.#line.length + 1);
    if (waitMs > maxWaitMs) throw this.#noRoom(waitMs);
    const place = { sameAs, send, deadline: this.#now() + maxWaitMs, waiting: new Set<Waiting>() };
    this.#line.push(place);
    if (sameAs !== undefined) this.#shared.set(sameAs, place);
    this.#watch();
    return place;
  }

  #leave(place: Place, waiting: Waiting, error: Error): void {
    if (!place.waiting.delete(waiting)) return;
    this.#waiting--;
    waiting.reject(error);
    if (place.waiting.size > 0) return;
    this.#line.splice(this.#line.indexOf(place), 1);
    this.#forget(place);
    if (this.#line.length > 0) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** One timer: for the first token or the first one who has waited too long. It may come too early. */
  #watch(): void {
    const [first] = this.#line;
    if (first === undefined || this.#timer !== undefined || this.#closed) return;
    const ms = Math.min(this.#untilTokenMs(1), first.deadline - this.#now());
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        this.#advance();
        this.#watch();
      },
      Math.max(1, Math.ceil(ms)),
    ).unref();
  }

  #advance(): void {
    for (let [first] = this.#line; first !== undefined; [first] = this.#line) {
      if (this.#untilTokenMs(1) <= 0) {
        this.#line.shift();
        this.#spend();
        this.#go(first);
      } else if (this.#now() >= first.deadline) {
        this.#line.shift();
        this.#refuse(first, this.#noRoom(this.#untilTokenMs(this.#line.length + 1)));
      } else return;
    }
  }

  #go(place: Place): void {
    this.#forget(place);
    const waiting = this.#release(place);
    for (const each of waiting) each.onTurn();
    const reply = place.send();
    for (const { resolve } of waiting) resolve(reply);
  }

  #refuse(place: Place, error: ProxyError): void {
    this.#forget(place);
    for (const { reject } of this.#release(place)) reject(error);
  }

  /** Nobody waits in this place any more. */
  #release(place: Place): Waiting[] {
    const waiting = [...place.waiting];
    place.waiting.clear();
    this.#waiting -= waiting.length;
    return waiting;
  }

  #forget({ sameAs }: Place): void {
    if (sameAs !== undefined) this.#shared.delete(sameAs);
  }

  #spend(): void {
    this.#fullAt = Math.max(this.#fullAt, this.#now()) + this.#tokenMs;
  }

  /** Until there are so many tokens, ms; 0 or less when there are. */
  #untilTokenMs(count: number): number {
    const full = Math.max(this.#fullAt, this.#now());
    return full - this.#now() - (this.#burst - count) * this.#tokenMs;
  }

  #noRoom(waitMs: number): ProxyError {
    const reason = `no room for a public call within ${this.#options.maxWaitMs} ms, ${this.#waiting} wait`;
    return new ProxyError('rate-limited', reason, { retryAfterSeconds: waitMs / 1_000 });
  }
}
