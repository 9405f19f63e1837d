import type { SharedClock } from '../lane/tenure.js';

export interface DeadManSwitchOptions {
  /** Monotonic ms. */
  readonly now?: () => number;
  /** Kraken's timer has struck for one client and is off now, while others of the account are armed still. */
  readonly onStruck: (account: string) => void;
}

/** What to send to Kraken in place of what one client asked for. */
export interface Arming {
  /** Seconds for Kraken's timer; 0 disarms it. */
  readonly seconds: number;
  /** To be called once Kraken took it, or may have. */
  readonly commit: () => void;
  /** To be called in any case, once that is known. */
  readonly end: () => void;
}

/** The switch of one account as one node leaves it to the next; times in ms. */
export interface SwitchLeft {
  readonly until: Readonly<Record<string, number>>;
  /** Undefined: it was never armed. */
  readonly strikesAt?: number;
}

/** The clients of one account that are armed, and Kraken's one timer. */
interface Switch {
  /** The monotonic ms at which each client's time is up. */
  readonly until: Map<string, number>;
  timer: NodeJS.Timeout | undefined;
  /** The monotonic ms at which the timer has struck for certain. */
  strikesAt: number;
}

/**
 * Kraken's CancelAllOrdersAfter is one timer for the whole account (KRAKEN.md 5): the latest call decides, and any bot's
 * `timeout=0` disarms it for all. Here each client has a time of its own; Kraken's timer runs for the shortest of them,
 * and a client takes back only its own.
 *
 * A client whose time is up counts, with the one second that is the least, until Kraken's timer has struck for certain:
 * it runs in whole seconds and started later than ours, and another client's call in between must not call it off.
 *
 * The times live in memory: after a restart a client is armed from its next call on; Kraken's own timer goes on. Nodes
 * that share a lane hand them on to each other with it.
 */
export class DeadManSwitch {
  readonly #now: () => number;
  readonly #onStruck: (account: string) => void;
  readonly #switches = new Map<string, Switch>();
  /** Armings under way, of which nobody knows yet whether Kraken takes them. */
  readonly #asked = new Map<
    string,
    { readonly client: string; readonly until: number; readonly strikesAt: number }
  >();

  constructor({ now = () => performance.now(), onStruck }: DeadManSwitchOptions) {
    this.#now = now;
    this.#onStruck = onStruck;
  }

  /** A client asks for so many seconds; 0 takes its own time back. To be asked in turn, right before the call is sent. */
  ask(account: string, client: string, seconds: number): Arming {
    const now = this.#now();
    const others = this.#shortest(account, client);
    const shortest = Math.min(seconds === 0 ? Infinity : seconds, others ?? Infinity);
    const sent = shortest === Infinity ? 0 : shortest;
    // If this node ends now, the next one has to take it for armed.
    const asked = { client, until: now + seconds * 1_000, strikesAt: now + sent * 1_000 + STRIKE_MARGIN_MS };
    if (seconds > 0) this.#asked.set(account, asked);
    return {
      seconds: sent,
      end: () => {
        if (this.#asked.get(account) === asked) this.#asked.delete(account);
      },
      commit: () => {
        const { until } = this.#open(account);
        if (seconds === 0) until.delete(client);
        else until.set(client, now + seconds * 1_000);
        this.armed(account, sent);
      },
    };
  }

  /**
   * Ms until Kraken's timer has struck for certain for another client whose time is up; 0 when there is none such. Calls
   * that set the timer wait for it: one a second would call the strike off for ever.
   */
  strikeMs(account: string, client: string): number {
    const one = this.#switches.get(account);
    const now = this.#now();
    const isDue = [...(one?.until ?? [])].some(([other, until]) => other !== client && until <= now);
    return isDue && one !== undefined ? Math.max(0, one.strikesAt - now) : 0;
  }

  /** The shortest time of those who are armed, in whole seconds, rounded up; undefined when nobody is. */
  remaining(account: string): number | undefined {
    return this.#shortest(account, undefined);
  }

  /** Kraken's timer was set just now, to so many seconds; 0 turned it off. */
  armed(account: string, seconds: number): void {
    const one = this.#open(account);
    clearTimeout(one.timer);
    if (seconds === 0) return;
    const strikesInMs = seconds * 1_000 + STRIKE_MARGIN_MS;
    one.strikesAt = this.#now() + strikesInMs;
    one.timer = setTimeout(() => this.#strike(account, one), strikesInMs);
    one.timer.unref();
  }

  /** Kraken's timer has struck, as far as we know, and nobody has armed it since. */
  hasStruck(account: string): boolean {
    return (this.#switches.get(account)?.strikesAt ?? -Infinity) <= this.#now();
  }

  /** What another node has to know, to which clients of the same accounts talk. */
  leave(clock: SharedClock): Record<string, SwitchLeft> {
    // What is over is over by every clock.
    const now = this.#now();
    const armed = [...this.#switches].filter(([, one]) => one.until.size > 0 || one.strikesAt > now);
    const left = armed.map(([account, { until, strikesAt }]): [string, SwitchLeft] => {
      const times = [...until].map(([client, at]) => [client, clock.toShared(at)] as const);
      const struck = strikesAt === -Infinity ? {} : { strikesAt: clock.toShared(strikesAt) };
      return [account, { until: Object.fromEntries(times), ...struck }];
    });
    const all = Object.fromEntries(left);
    for (const [account, { client, until, strikesAt }] of this.#asked) {
      const times = { ...all[account]?.until, [client]: clock.toShared(until) };
      all[account] = { until: times, strikesAt: clock.toShared(strikesAt) };
    }
    return all;
  }

  /** Another node leaves the account's switch so: it has spoken to Kraken last. */
  takeUp(account: string, { until, strikesAt }: SwitchLeft, clock: SharedClock): void {
    const one = this.#open(account);
    one.until.clear();
    for (const [client, at] of Object.entries(until)) one.until.set(client, clock.toLocal(at));
    clearTimeout(one.timer);
    one.strikesAt = strikesAt === undefined ? -Infinity : clock.toLocal(strikesAt);
    if (one.until.size === 0 || strikesAt === undefined) return;
    one.timer = setTimeout(() => this.#strike(account, one), Math.max(0, one.strikesAt - this.#now()));
    one.timer.unref();
  }

  close(): void {
    for (const { timer } of this.#switches.values()) clearTimeout(timer);
    this.#switches.clear();
  }

  #strike(account: string, one: Switch): void {
    const now = this.#now();
    for (const [client, until] of one.until) if (until <= now) one.until.delete(client);
    if (one.until.size > 0) this.#onStruck(account);
  }

  #shortest(account: string, except: string | undefined): number | undefined {
    const now = this.#now();
    let shortest: number | undefined;
    for (const [client, until] of this.#switches.get(account)?.until ?? []) {
      if (client === except) continue;
      const seconds = Math.max(1, Math.ceil((until - now) / 1_000));
      if (shortest === undefined || seconds < shortest) shortest = seconds;
    }
    return shortest;
  }

  #open(account: string): Switch {
    let one = this.#switches.get(account);
    if (one === undefined) {
      one = { until: new Map(), timer: undefined, strikesAt: -Infinity };
      this.#switches.set(account, one);
    }
    return one;
  }
}

/** For the two clocks to differ, and for Kraken to do it. */
const STRIKE_MARGIN_MS = 500;
