import type { Accounts } from '../kraken/accounts.js';
import type { BreakerLeft, Breakers } from '../lane/breaker.js';
import type { CounterState, Pacer } from '../lane/pacer.js';
import type { StartupWindow, WindowLeft } from '../lane/startup.js';
import type { LaneState, SharedClock, SharedState } from '../lane/tenure.js';
import type { DeadManSwitch, SwitchLeft } from '../orders/dead-man-switch.js';

export interface SharedKeysParts {
  readonly accounts: Pick<Accounts, 'withKey' | 'named'>;
  readonly pacer: Pick<Pacer, 'leave' | 'takeUp'>;
  readonly breakers: Pick<Breakers, 'leave' | 'takeUp'>;
  readonly startup: Pick<StartupWindow, 'leave' | 'takeUp'>;
  readonly deadManSwitch: Pick<DeadManSwitch, 'leave' | 'takeUp'>;
}

/** What a lane's row says, as JSON. Counters and breakers by the key's fingerprint, switches by the account's name. */
interface Left {
  readonly counters?: Readonly<Record<string, CounterState>>;
  readonly breakers?: Readonly<Record<string, BreakerLeft>>;
  readonly startup?: WindowLeft;
  readonly switches?: Readonly<Record<string, SwitchLeft>>;
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
    for (const [key, counter] of Object.entries(left.counters ?? {}))
      if (accounts.withKey(key) !== undefined && areTimes(counter.level, counter.at))
        pacer.takeUp(key, counter, clock);
    for (const [key, breaker] of Object.entries(left.breakers ?? {}))
      if (accounts.withKey(key) !== undefined && areTimes(breaker.since))
        breakers.takeUp(key, breaker, clock);
    if (left.startup !== undefined && areTimes(left.startup.since, left.startup.closesAt))
      startup.takeUp(left.startup, lane === ALL, clock);
    for (const [account, one] of Object.entries(left.switches ?? {}))
      if (accounts.named(account) !== undefined && areTimes(...Object.values(one.until)))
        deadManSwitch.takeUp(account, one, clock);
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
    return { ...left };
  }
}

/** Also a node of another version may have left them. */
function areTimes(...values: readonly unknown[]): boolean {
  return values.every(Number.isFinite);
}

function only<T>(all: Readonly<Record<string, T>>, isMeant: (name: string) => boolean): Record<string, T> {
  return Object.fromEntries(Object.entries(all).filter(([name]) => isMeant(name)));
}
