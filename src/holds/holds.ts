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

/** What becomes of holds together: first some are lifted, then some are set. */
export interface HoldChange {
  /** Exactly these. One that is not there (any more) is lifted already. */
  readonly lifted: readonly Hold[];
  /** An operator's takes the place of all of operators on the same target, a freeze that of freezes. */
  readonly set: readonly Hold[];
}

/** Where holds are kept. */
export interface HoldStore {
  /**
   * Resolves once the whole change is durable; rejects with NotDurableError when only a power cut can undo it. After any
   * other error nothing of it is stored, or, where the answer of a database was lost, perhaps all of it. May be repeated.
   * Never called twice at the same time.
   */
  change(change: HoldChange): Promise<void>;
  /**
   * Where others can change them too: calls back with all that are stored, again and again, and never with what was
   * read before the end of a `change` of our own.
   */
  follow?(onHolds: (holds: readonly Hold[]) => void): void;
}

/** It is stored, and a restart finds it; a power cut may undo it. */
export class NotDurableError extends Error {
  constructor(cause: unknown) {
    super(`a power cut may undo it: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    this.name = 'NotDurableError';
  }
}

/** What a change leaves of these holds. */
export function changedBy(holds: readonly Hold[], { lifted, set }: HoldChange): readonly Hold[] {
  const kept = holds.filter((hold) => !lifted.some((one) => isEqual(one, hold)));
  return [...kept.filter((hold) => !set.some((one) => replaces(one, hold))), ...set];
}

/**
 * The holds in force. They outlive the process: a restart in the night must not begin to trade again by itself. So a hold
 * is in force at once and then stored, and one that is lifted is gone from the store first.
 *
 * Where several nodes share a store, a hold that is set or lifted at one is so at the others as soon as they have read
 * it, about a second later. What could not be stored holds at this node alone, until it can: nothing is stored while the
 * database is away, but then no node sends anything.
 */
export class Holds {
  #holds: readonly Hold[] = [];
  /** Of them, those that were set here and may not be stored. */
  #unstored: readonly Hold[] = [];
  #store: HoldStore | undefined;
  #saving: Promise<void> = Promise.resolve();
  #waiting = 0;
  readonly #listeners: (() => void)[] = [];
  #isPausing = false;

  /** From here on they are kept in `store`, which held `former`. */
  own(store: HoldStore, former: readonly Hold[]): void {
    this.#store = store;
    this.#unstored = this.#unstored.filter((hold) => !former.some((one) => isSame(one, hold)));
    this.#replace(changedBy(former, { lifted: [], set: this.#unstored }));
    store.follow?.((stored) => this.#follow(stored));
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
   * returns, stored when it resolves. Rejects when it cannot be stored: then it holds here until the process ends, and is
   * stored as soon as that is possible: with the next change, or when a shared store is there again.
   */
  async set(hold: Hold): Promise<void> {
    const set = { lifted: [], set: [hold] };
    this.#unstored = changedBy(this.#unstored, set);
    this.#replace(changedBy(this.#holds, set));
    await this.#save([]);
  }

  /**
   * Lifts an operator's holds on a target or, when there are none, a freeze; false when there is neither. Whoever lifts
   * a pause may know nothing of the freeze behind it. Rejects, and lifts nothing, when that cannot be stored; where the
   * answer of a database was lost they may be lifted all the same, which the next reading tells.
   */
  async lift(target: HoldTarget): Promise<boolean> {
    const found = this.#holds.filter((hold) => isOn(hold, target));
    const byOperator = found.filter(({ mode }) => mode !== 'freeze');
    // Those that are there now: one that is set in the meantime stays.
    const lifted = byOperator.length > 0 ? byOperator : found;
    if (lifted.length === 0) return false;
    await this.#save(lifted).catch((error: unknown) => {
      // A hold that a power cut brings back is no harm, and a restart would not know it.
      if (!(error instanceof NotDurableError)) throw error;
    });
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

  /** One after another, each with what is to be stored when its turn comes. */
  #save(lifted: readonly Hold[]): Promise<void> {
    this.#waiting++;
    const saved = this.#saving
      .catch(() => undefined)
      .then(() => this.#change(lifted))
      .finally(() => this.#waiting--);
    this.#saving = saved;
    return saved;
  }

  async #change(lifted: readonly Hold[]): Promise<void> {
    if (this.#store === undefined) throw new ProxyError('not-owner', 'the state is not ours (yet)');
    const isKept = (hold: Hold): boolean => !lifted.includes(hold);
    const set = this.#unstored.filter(isKept);
    // Another's change has stored it, or one took its place.
    if (lifted.length === 0 && set.length === 0) return;
    let failure: NotDurableError | undefined;
    try {
      await this.#store.change({ lifted, set });
    } catch (error) {
      if (!(error instanceof NotDurableError)) throw error;
      failure = error;
    }
    this.#unstored = this.#unstored.filter(
      (hold) => isKept(hold) && (failure !== undefined || !set.includes(hold)),
    );
    if (lifted.length > 0) this.#replace(this.#holds.filter(isKept));
    if (failure !== undefined) throw failure;
  }

  /** What others have changed comes into force, beside what is on its way to them. */
  #follow(stored: readonly Hold[]): void {
    // Each stays the one that it is: what is being lifted is told by that.
    const known = stored.map((hold) => this.#holds.find((one) => isEqual(one, hold)) ?? hold);
    const holds = changedBy(known, { lifted: [], set: this.#unstored });
    const isKnown = holds.length === this.#holds.length && holds.every((hold) => this.#holds.includes(hold));
    if (!isKnown) this.#replace(holds);
    if (this.#unstored.length > 0 && this.#waiting === 0) this.#save([]).catch(() => undefined);
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

function isEqual(one: Hold, other: Hold): boolean {
  return isSame(one, other) && one.since === other.since && one.who === other.who && one.why === other.why;
}

/** Both are of operators, or freezes, on the same target. */
function replaces(one: Hold, other: Hold): boolean {
  return isOn(one, other) && (one.mode === 'freeze') === (other.mode === 'freeze');
}
