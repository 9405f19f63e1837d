import type { Accounts } from '../kraken/accounts.js';
import type { BreakerLeft, Breakers } from '../lane/breaker.js';
import type { CounterState, Pacer } from '../lane/pacer.js';
import type { StartupWindow, WindowLeft } from '../lane/startup.js';
import type { LaneState, SharedClock, SharedState } from '../lane/tenure.js';
import type { OrderLeft, RecentOrders } from '../orders/recent-orders.js';
import type { DeadManSwitch, SwitchLeft } from '../orders/dead-man-switch.js';

export interface SharedKeysParts {
  readonly accounts: Pick<Accounts, 'withKey' | 'named'>;
  readonly pacer: Pick<Pacer, 'leave' | 'takeUp'>;
  readonly breakers: Pick<Breakers, 'leave' | 'takeUp'>;
  readonly startup: Pick<StartupWindow, 'leave' | 'takeUp'>;
  readonly deadManSwitch: Pick<DeadManSwitch, 'leave' | 'takeUp'>;
  readonly orders: Pick<RecentOrders, 'leave' | 'takeUp'>;
  /** Another node has had a lane since we had it. */
  readonly onForeign: () => void;
}

/** What a lane's row says, as JSON. Counters and breakers by the key's fingerprint, switches by the account's name. */
interface Left {
  readonly counters?: Readonly<Record<string, CounterState>>;
  readonly breakers?: Readonly<Record<string, BreakerLeft>>;
  readonly startup?: WindowLeft;
  readonly switches?: Readonly<Record<string, SwitchLeft>>;
  readonly orders?: readonly OrderLeft[];
}

/** The lane of all keys; any other is of the key that it is named by. */
const ALL = 'global';

/**
 * What nodes that share keys know of them together: Kraken's call counters, the breakers, the startup window and the dead
 * man's switches. Each node takes up what the one before has left, when it gets the lane; nobody else uses the lane's
 * keys from then on until it leaves what it knows in turn.
 *
 * With a lane for each key the startup window is opened and closed together, but each node counts its own calls.
 */
export class SharedKeys implements SharedState {
  readonly #parts: SharedKeysParts;
  /** Of keys and accounts that only other nodes know. */
  readonly #foreign = new Map<string, Left>();

  constructor(parts: SharedKeysParts) {
    this.#parts = parts;
  }

  takeUp(lane: string, state: LaneState, clock: SharedClock): void {
    const { accounts, pacer, breakers, startup, deadManSwitch } = this.#parts;
    const left = state as Left;
    this.#foreign.set(lane, left);
    this.#parts.onForeign();
    if (Array.isArray(left.orders)) this.#parts.orders.takeUp(left.orders.filter(isOrder), clock);
    for (const [key, counter] of entriesOf(left.counters))
      if (accounts.withKey(key) !== undefined && areTimes(counter.level, counter.at))
        pacer.takeUp(key, counter, clock);
    for (const [key, breaker] of entriesOf(left.breakers))
      if (accounts.withKey(key) !== undefined && areTimes(breaker.since))
        breakers.takeUp(key, breaker, clock);
    const window = left.startup;
    if (window !== undefined && Array.isArray(window.ends) && areTimes(window.since, window.closesAt))
      startup.takeUp(window, lane === ALL, clock);
    for (const [account, one] of entriesOf(left.switches)) {
      const until = one.until as typeof one.until | undefined;
      if (accounts.named(account) !== undefined && until !== undefined && areTimes(...Object.values(until)))
        deadManSwitch.takeUp(account, one, clock);
    }
  }

  leave(lane: string, clock: SharedClock): LaneState {
    const { accounts, pacer, breakers, startup, deadManSwitch } = this.#parts;
    const foreign = this.#foreign.get(lane);
    const isOfLane = (key: string): boolean => lane === ALL || key === lane;
    const isOfAccount = (name: string): boolean => isOfLane(accounts.named(name)?.fingerprint ?? '');
    const window = startup.leave(clock) ?? foreign?.startup;
    const left: Left = {
      counters: { ...foreign?.counters, ...only(pacer.leave(clock), isOfLane) },
      breakers: { ...foreign?.breakers, ...only(breakers.leave(clock), isOfLane) },
      ...(window === undefined ? {} : { startup: window }),
      switches: { ...foreign?.switches, ...only(deadManSwitch.leave(clock), isOfAccount) },
    };
    const orders = this.#parts.orders.leave(clock).filter(([, account]) => isOfAccount(account));
    return orders.length === 0 ? { ...left } : { ...left, orders };
  }
}

function isOrder(one: OrderLeft): boolean {
  return Array.isArray(one) && typeof one[0] === 'string' && typeof one[1] === 'string' && areTimes(one[2]);
}

/** A node of another version may have left anything. */
function entriesOf<T>(all: Readonly<Record<string, T>> | undefined): [string, T][] {
  return Object.entries(all ?? {}).filter(([, one]) => typeof one === 'object' && one !== null);
}

function areTimes(...values: readonly unknown[]): boolean {
  return values.every(Number.isFinite);
}

function only<T>(all: Readonly<Record<string, T>>, isMeant: (name: string) => boolean): Record<string, T> {
  return Object.fromEntries(Object.entries(all).filter(([name]) => isMeant(name)));
}
