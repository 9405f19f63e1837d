import PQueue, { type QueueAddOptions } from 'p-queue';
import { ProxyError } from '../errors.js';
import { deadlineIn, Deadlines, isOver, type Deadline } from './deadlines.js';
import type { LaneClass } from './lane-class.js';
import type { Pacer } from './pacer.js';
import type { StartupWindow } from './startup.js';
import { ALWAYS_OURS, type Tenure } from './tenure.js';
import { WaitingLine, type Place } from './waiting-line.js';

/** Whose calls an operator keeps waiting; the proxy's own go. */
export interface Pauses {
  /** Somebody is paused: only then is `pauseOf` asked. */
  readonly isPausing: boolean;
  /** Why a call has to wait; undefined when it need not. */
  pauseOf(client: string, account: string): string | undefined;
  /** Calls back when that may have changed. */
  onChange(listener: () => void): void;
}

export interface LaneOptions {
  /** Calls that may wait; one more is refused with `queue-full`. */
  readonly maxWaiting: number;
  /** The longest wait for a turn, ms; then `queue-timeout`, or `rate-limited` if the call counter has no room. */
  readonly maxWaitMs: number;
  /** The same for single classes. */
  readonly maxWaitMsOf?: Readonly<Partial<Record<LaneClass, number | undefined>>>;
  /** Shared by all lanes. */
  readonly startup: StartupWindow;
  /** Shared by all lanes. Without one nothing waits for the call counter. */
  readonly pacer?: Pick<Pacer, 'delayMs' | 'onChange'>;
  /** Shared by all lanes. */
  readonly pauses?: Pauses;
}

export interface JoinOptions {
  /** Higher classes go first, always. Default: `other`. */
  readonly class?: LaneClass;
  /** Whose share of the turns it takes; one and the same when not given. */
  readonly client?: string;
  /** Name of its account: whose calls an operator may pause. */
  readonly account?: string;
  /** Fingerprint of its API key: whose call counter must have room. */
  readonly key?: string;
  /** What it adds to that counter, points. Default: 0. */
  readonly cost?: number;
  /** Not held back by the startup window: a cancel, or a call that asked to skip it. */
  readonly exempt?: boolean;
  /** Calls of one client, class, key and group keep their order; those of different groups do not wait for each other. */
  readonly group?: string;
  /**
   * A gate of the call's own: ms it has to wait yet, 0 when it may go; Infinity: until `look()` is called. Asked each
   * time the lane looks for who is next. Must not throw.
   */
  readonly heldMs?: () => number;
  /** Instead of the limit of the lane, ms. */
  readonly maxWaitMs?: number;
  /** Of the turn that it had before: a call that is sent again does not wait longer for it. Goes before maxWaitMs. */
  readonly deadline?: Deadline;
}

type LaneAddOptions = QueueAddOptions & { readonly place?: Place };

/** A call that has joined a lane. */
export interface Turn<T> {
  /** What the work returned; rejects with the work's error or, when it never ran, with a ProxyError. */
  readonly result: Promise<T>;
  /** When its wait ends; for the next `join` of a call that is to be sent again. */
  readonly deadline: Deadline;
  /** Gives the place up. False when the turn has already come: then the work goes on to its end. */
  leave(error: Error): boolean;
}

/** The longest a timer can run, ms. */
const MAX_TIMER = 2 ** 31 - 1;

/**
 * The concurrency-1 queue in which private calls wait. The slot follows the real work: it is free only when
 * the work's promise has settled. p-queue's `timeout` and `signal` are not used, because they free the slot
 * while the work goes on. The slot is never free while a call waits that may go (see WaitingLine for who may).
 */
export class Lane {
  readonly #options: LaneOptions;
  readonly #tenure: Tenure;
  readonly #line: WaitingLine;
  readonly #queue: PQueue<WaitingLine, LaneAddOptions>;
  readonly #deadlines = new Deadlines<Place>();
  #expiry: NodeJS.Timeout | undefined;
  #expiryAt = 0;
  #wake: NodeJS.Timeout | undefined;
  #wakeAt = 0;
  #looksSoon = false;
  #closed = false;

  constructor(options: LaneOptions, tenure: Tenure = ALWAYS_OURS) {
    this.#options = options;
    this.#tenure = tenure;
    const { startup, pacer, pauses } = options;
    const surroundings = {
      isBusy: () => this.#queue.pending > 0,
      isOurs: (waitMs: number) => this.#isOurs(waitMs),
      isPaused: (place: Place) => this.#pauseOf(place) !== undefined,
      startupMs: () => startup.delayMs(),
      roomMs: (key: string, cost: number, urgent: boolean) => pacer?.delayMs(key, cost, urgent) ?? 0,
      onStall: (ms: number) => {
        tenure.rest();
        this.#wakeIn(ms);
      },
    };
    let line: WaitingLine | undefined;
    const keep = (made: WaitingLine): void => {
      line = made;
    };
    class Line extends WaitingLine {
      constructor() {
        super(surroundings);
        keep(this);
      }
    }
    this.#queue = new PQueue<WaitingLine, LaneAddOptions>({ concurrency: 1, queueClass: Line });
    // p-queue makes the instance itself, in its constructor.
    this.#line = line ?? new Line();
    startup.onChange(() => this.look());
    pacer?.onChange(() => this.look());
    pauses?.onChange(() => this.#lookSoon());
    tenure.onChange(() => this.#onTenure());
  }

  /** Calls that wait for their turn. */
  get waiting(): number {
    return this.#line.waiting;
  }

  waitingOf(laneClass: LaneClass): number {
    return this.#line.waitingOf(laneClass);
  }

  /** 1 while a call has the slot. */
  get inFlight(): number {
    return this.#queue.pending;
  }

  /**
   * Joins the line; `work` runs alone when its turn comes. Throws ProxyError `queue-full` (never for the proxy's `own`
   * calls) or `shutting-down`; the result may reject with `queue-timeout`, `rate-limited`, `shutting-down` or what
   * `dismiss` was given, or, where nodes share the lane, `not-owner`; in all these cases certainly before `work` began.
   */
  join<T>(work: () => Promise<T>, options: JoinOptions = {}): Turn<T> {
    const { class: laneClass = 'other', exempt = false } = options;
    if (this.#closed) throw shuttingDown();
    if (this.#tenure.problem !== undefined) throw this.#tenure.problem;
    if (this.#line.waiting >= this.#leastBound() && laneClass !== 'own') this.#assertRoom(options);
    const { maxWaitMs, maxWaitMsOf, startup } = this.#options;
    const deadline =
      options.deadline ?? deadlineIn(options.maxWaitMs ?? maxWaitMsOf?.[laneClass] ?? maxWaitMs);
    let place!: Place;
    const result = new Promise<T>((resolve, reject) => {
      place = placeOf(laneClass, options, deadline, reject);
      const counts = (): boolean => !exempt && startup.isOpen;
      // Async, so that work which throws instead of rejecting frees the slot all the same.
      const start = async (): Promise<T> => await (counts() ? this.#count(work) : work());
      const run = async (): Promise<void> => {
        this.#tenure.turnBegan();
        // After a freeze the turn may come before the timer that ends the wait.
        if (isOver(deadline)) reject(this.#noTurn(deadline));
        else await start().then(resolve, reject);
        this.#tenure.turnEnded();
        if (this.#line.waiting === 0) this.#tenure.rest();
      };
      void this.#queue.add(run, { place });
    });
    if (place.waiting && deadline.steady < Infinity) {
      this.#deadlines.add(place);
      this.#watchDeadlines();
    }
    return { result, deadline, leave: (error) => this.#leave(place, error) };
  }

  #isOurs(waitMs: number): boolean {
    if (!this.#tenure.isOurs) this.#tenure.want(waitMs);
    return this.#tenure.isOurs;
  }

  #onTenure(): void {
    const { problem } = this.#tenure;
    if (problem !== undefined) for (const place of this.#line.places()) this.#leave(place, problem);
    if (this.#line.waiting > 0) this.look();
    else if (this.#queue.pending === 0) this.#tenure.rest();
  }

  /** Makes the lane see now who may go: something that a `heldMs` tells of has changed. */
  look(): void {
    if (this.#closed || this.#line.waiting === 0) return;
    this.#queue.pause();
    this.#queue.start();
  }

  /** How many calls of each client wait, for one account or for all. */
  waitingByClient(account?: string): Map<string, number> {
    const waiting = new Map<string, number>();
    for (const place of this.#line.places()) {
      if (account !== undefined && place.account !== account) continue;
      waiting.set(place.client, (waiting.get(place.client) ?? 0) + 1);
    }
    return waiting;
  }

  /** The calls that wait and are meant lose their place with that error, but for the proxy's own. Gives their number. */
  dismiss(
    isMeant: (call: Pick<Place, 'key' | 'account' | 'client' | 'class'>) => boolean,
    error: Error,
  ): number {
    const meant = this.#line.places().filter((place) => place.class !== 'own' && isMeant(place));
    return meant.filter((place) => this.#leave(place, error)).length;
  }

  /** Fails all that waits with `shutting-down`; resolves when the call in flight, if any, has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const place of this.#line.places()) this.#line.leave(place, shuttingDown());
    clearTimeout(this.#expiry);
    clearTimeout(this.#wake);
    await this.#queue.onPendingZero();
  }

  async #count<T>(work: () => Promise<T>): Promise<T> {
    const slot = this.#options.startup.begin();
    try {
      return await work();
    } finally {
      this.#options.startup.end(slot);
    }
  }

  #pauseOf({
    class: laneClass,
    client,
    account,
  }: Pick<Place, 'class' | 'client' | 'account'>): string | undefined {
    const { pauses } = this.#options;
    return pauses?.isPausing !== true || laneClass === 'own' ? undefined : pauses.pauseOf(client, account);
  }

  /** So many calls may wait whoever they are. */
  #leastBound(): number {
    const { maxWaiting, pauses } = this.#options;
    return pauses?.isPausing === true ? mostPaused(maxWaiting) : maxWaiting;
  }

  /**
   * Those that are paused must not fill the line for all others: they have a tenth of it, and the others all of it.
   * Throws ProxyError `queue-full`.
   */
  #assertRoom({ class: laneClass = 'other', client = '', account = '' }: JoinOptions): void {
    const { maxWaiting } = this.#options;
    const paused = this.#line.places().filter((place) => this.#pauseOf(place) !== undefined).length;
    const isPaused = this.#pauseOf({ class: laneClass, client, account }) !== undefined;
    const [waiting, most] = isPaused
      ? [paused, mostPaused(maxWaiting)]
      : [this.#line.waiting - paused, maxWaiting];
    if (waiting < most) return;
    const full = `${waiting} ${isPaused ? 'paused ' : ''}calls wait already`;
    throw new ProxyError('queue-full', full, { retryAfterSeconds: 1 });
  }

  #leave(place: Place, error: Error): boolean {
    const left = this.#line.leave(place, error);
    // It may have been the one that others had to wait for.
    if (left && this.#queue.pending === 0) this.#lookSoon();
    return left;
  }

  /** Once for all that happens now. */
  #lookSoon(): void {
    if (this.#looksSoon) return;
    this.#looksSoon = true;
    queueMicrotask(() => {
      this.#looksSoon = false;
      this.look();
    });
  }

  /** Nobody may go for so long, or for as long as a timer can run: looks again then, or earlier if that was planned. */
  #wakeIn(ms: number): void {
    const delay = Math.min(MAX_TIMER, Math.ceil(ms));
    const wakeAt = performance.now() + delay;
    if (this.#wake !== undefined && this.#wakeAt <= wakeAt) return;
    clearTimeout(this.#wake);
    this.#wakeAt = wakeAt;
    this.#wake = setTimeout(() => {
      this.#wake = undefined;
      this.look();
    }, delay);
  }

  /** Keeps one timer for the earliest deadline. */
  #watchDeadlines(): void {
    const first = this.#deadlines.first();
    if (first === undefined || this.#closed) return;
    const { steady } = first.deadline;
    if (this.#expiry !== undefined && this.#expiryAt <= steady) return;
    clearTimeout(this.#expiry);
    this.#expiryAt = steady;
    const delay = Math.max(1, Math.ceil(steady - performance.now()));
    this.#expiry = setTimeout(
      () => {
        this.#expiry = undefined;
        this.#expire();
      },
      Math.min(MAX_TIMER, delay),
    );
  }

  #expire(): void {
    for (let place = this.#deadlines.first(); place !== undefined; place = this.#deadlines.first()) {
      if (!isOver(place.deadline)) break;
      const roomMs = this.#line.roomMs(place);
      const pause = this.#pauseOf(place);
      if (pause !== undefined) this.#leave(place, paused(pause));
      else this.#leave(place, roomMs > 0 ? this.#noRoom(place, roomMs) : this.#noTurn(place.deadline));
    }
    this.#watchDeadlines();
  }

  #noTurn({ maxWaitMs }: Deadline): ProxyError {
    const waited = `no turn within ${maxWaitMs} ms, ${this.#line.waiting} calls wait`;
    return new ProxyError('queue-timeout', waited, { retryAfterSeconds: 1 });
  }

  #noRoom({ cost, deadline }: Place, roomMs: number): ProxyError {
    const waited = `no room for a cost of ${cost} within ${deadline.maxWaitMs} ms, the next in ${roomMs} ms`;
    return new ProxyError('rate-limited', waited, { retryAfterSeconds: Math.ceil(roomMs / 1_000) });
  }
}

function mostPaused(maxWaiting: number): number {
  return Math.ceil(maxWaiting / 10);
}

function paused(reason: string): ProxyError {
  return new ProxyError('queue-timeout', reason, { retryAfterSeconds: 5, detail: reason });
}

/** What is answered to calls that wait, or arrive, while the proxy stops. */
export function shuttingDown(): ProxyError {
  return new ProxyError('shutting-down', 'the proxy is stopping', { retryAfterSeconds: 1 });
}

function placeOf(
  laneClass: LaneClass,
  { client = '', account = '', key = '', cost = 0, group = '', exempt = false, heldMs }: JoinOptions,
  deadline: Deadline,
  onLeave: (error: Error) => void,
): Place {
  return {
    class: laneClass,
    client,
    account,
    key,
    cost,
    group,
    exempt,
    heldMs,
    deadline,
    onLeave,
    sequence: 0,
    waiting: false,
  };
}
