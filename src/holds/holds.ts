import { ProxyError } from '../errors.js';
import type { Endpoint } from '../kraken/endpoints.js';

/**
 * What an operator, or the twin alarm, has stopped. `pause`: nothing of clients goes, calls wait in the lane up to their
 * limit. `cancel-only` and `freeze`: cancels and reads go, the rest is refused at once. They differ in who set them.
 */
export type HoldMode = 'pause' | 'cancel-only' | 'freeze';

/** Whose calls a hold is about: an account's, a client's, or, with neither, everybody's. Never both. */
export interface HoldTarget {
  readonly account?: string;
  readonly client?: string;
}

export interface Hold extends HoldTarget {
  readonly mode: HoldMode;
  /** Unix ms. */
  readonly since: number;
  readonly who: string;
  readonly why: string;
}

/** Where holds are kept. */
export interface HoldStore {
  /** Resolves once they are on disk. Never called twice at the same time. */
  write(holds: readonly Hold[]): Promise<void>;
}

/**
 * The holds in force. They outlive the process: a restart in the night must not begin to trade again by itself. So a hold
 * is in force at once and then on disk, and one that is lifted is gone from disk first.
 */
export class Holds {
  #holds: readonly Hold[] = [];
  #store: HoldStore | undefined;
  #saving: Promise<void> = Promise.resolve();
  readonly #listeners: (() => void)[] = [];
  #isPausing = false;

  /** From here on they are kept in `store`, which held `former`. */
  own(store: HoldStore, former: readonly Hold[]): void {
    this.#store = store;
    this.#replace([...former, ...this.#holds.filter((hold) => !former.some((one) => isSame(one, hold)))]);
  }

  get all(): readonly Hold[] {
    return this.#holds;
  }

  /** The strictest hold on exactly this target. */
  of(target: HoldTarget): Hold | undefined {
    const found = this.#holds.filter((hold) => isOn(hold, target));
    return found.find(({ mode }) => mode === 'pause') ?? found[0];
  }

  /**
   * Sets a hold; an operator's takes the place of the operator's former one on the same target. In force when this
   * returns, on disk when it resolves. Rejects when it cannot be written: then it holds until the process ends.
   */
  async set(hold: Hold): Promise<void> {
    const isByOperator = hold.mode !== 'freeze';
    const others = this.#holds.filter((one) => !isOn(one, hold) || (one.mode !== 'freeze') !== isByOperator);
    this.#replace([...others, hold]);
    await this.#save();
  }

  /**
   * Lifts an operator's holds on a target or, when there are none, a freeze; false when there is neither. Whoever lifts
   * a pause may know nothing of the freeze behind it. Rejects, and lifts nothing, when that cannot be written.
   */
  async lift(target: HoldTarget): Promise<boolean> {
    const found = this.#holds.filter((hold) => isOn(hold, target));
    const byOperator = found.filter(({ mode }) => mode !== 'freeze');
    // Those that are there now: one that is set in the meantime stays.
    const lifted = byOperator.length > 0 ? byOperator : found;
    if (lifted.length === 0) return false;
    const isKept = (hold: Hold): boolean => !lifted.includes(hold);
    await this.#save(() => this.#holds.filter(isKept));
    this.#replace(this.#holds.filter(isKept));
    return true;
  }

  /** Somebody is paused. */
  get isPausing(): boolean {
    return this.#isPausing;
  }

  /** The pause that keeps a call of this client for this account waiting. */
  pauseOf(client: string, account: string): Hold | undefined {
    if (!this.#isPausing) return undefined;
    return this.#holds.find((hold) => hold.mode === 'pause' && concerns(hold, client, account));
  }

  /** Throws ProxyError `permission-denied` for a call that a hold lets not through: neither a cancel nor a read. */
  assertAllowed(client: string, account: string, { callClass }: Pick<Endpoint, 'callClass'>): void {
    if (this.#holds.length === 0) return;
    if (callClass === 'cancel' || callClass === 'read' || callClass === 'history') return;
    const hold = this.#holds.find((one) => one.mode !== 'pause' && concerns(one, client, account));
    if (hold === undefined) return;
    const on = describeTarget(hold);
    const detail =
      hold.mode === 'freeze'
        ? `${on} is frozen, another program uses its key: only cancels and reads go`
        : `an operator lets only cancels and reads through for ${on}`;
    throw new ProxyError('permission-denied', `${detail} (${hold.who}: ${hold.why})`, { detail });
  }

  /** Calls back when holds have changed. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  #replace(holds: readonly Hold[]): void {
    this.#holds = holds;
    this.#isPausing = holds.some(({ mode }) => mode === 'pause');
    for (const listener of this.#listeners) listener();
  }

  /** One after another, each with what holds when its turn comes. */
  #save(what = (): readonly Hold[] => this.#holds): Promise<void> {
    const saved = this.#saving
      .catch(() => undefined)
      .then(async () => {
        if (this.#store === undefined) throw new ProxyError('not-owner', 'the state is not ours (yet)');
        await this.#store.write(what());
      });
    this.#saving = saved;
    return saved;
  }
}

/** For people: `everything`, `account alice`, `client grid-bot`. */
export function describeTarget({ account, client }: HoldTarget): string {
  if (account !== undefined) return `account ${account}`;
  return client === undefined ? 'everything' : `client ${client}`;
}

function concerns(hold: HoldTarget, client: string, account: string): boolean {
  return (
    (hold.account === undefined || hold.account === account) &&
    (hold.client === undefined || hold.client === client)
  );
}

function isOn(hold: HoldTarget, { account, client }: HoldTarget): boolean {
  return hold.account === account && hold.client === client;
}

function isSame(one: Hold, other: Hold): boolean {
  return isOn(one, other) && one.mode === other.mode;
}
