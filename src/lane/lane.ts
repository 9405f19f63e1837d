import PQueue, { type QueueAddOptions } from 'p-queue';
import { ProxyError } from '../errors.js';
import type { StartupWindow } from './startup.js';
import { WaitingLine, type Place } from './waiting-line.js';

export interface LaneOptions {
  /** Calls that may wait; one more is refused with `queue-full`. */
  readonly maxWaiting: number;
  /** The longest wait for a turn, ms; then `queue-timeout`. */
  readonly maxWaitMs: number;
  /** Shared by all lanes. */
  readonly startup: StartupWindow;
}

export interface JoinOptions {
  /** Not held back by the startup window: a cancel, or a call that asked to skip it. */
  readonly exempt?: boolean;
}

type LaneAddOptions = QueueAddOptions & { readonly place?: Place };

/** A call that has joined a lane. */
export interface Turn<T> {
  /** What the work returned; rejects with the work's error or, when it never ran, with a ProxyError. */
  readonly result: Promise<T>;
  /** Gives the place up. False when the turn has already come: then the work goes on to its end. */
  leave(error: Error): boolean;
}

/**
 * The concurrency-1 queue in which private calls wait. The slot follows the real work: it is free only when
 * the work's promise has settled. p-queue's `timeout` and `signal` are not used, because they free the slot
 * while the work goes on.
 */
export class Lane {
  readonly #options: LaneOptions;
  readonly #line: WaitingLine;
  readonly #queue: PQueue<WaitingLine, LaneAddOptions>;
  #expiry: NodeJS.Timeout | undefined;
  #wake: NodeJS.Timeout | undefined;
  #wakeAt = 0;
  #closed = false;

  constructor(options: LaneOptions) {
    this.#options = options;
    let line: WaitingLine | undefined;
    const keep = (made: WaitingLine): void => {
      line = made;
    };
    class Line extends WaitingLine {
      constructor() {
        super(() => options.startup.delayMs() !== 0);
        keep(this);
      }
    }
    this.#queue = new PQueue<WaitingLine, LaneAddOptions>({ concurrency: 1, queueClass: Line });
    // p-queue makes the instance itself, in its constructor.
    this.#line = line ?? new Line();
    options.startup.onChange(() => {
      if (this.#line.waiting > 0) this.#look();
    });
  }

  /** Calls that wait for their turn. */
  get waiting(): number {
    return this.#line.waiting;
  }

  /** 1 while a call has the slot. */
  get inFlight(): number {
    return this.#queue.pending;
  }

  /**
   * Joins the line; `work` runs alone when its turn comes. Throws ProxyError `queue-full` or
   * `shutting-down`; the result may reject with `queue-timeout` or `shutting-down`, in both cases certainly
   * before `work` began.
   */
  join<T>(work: () => Promise<T>, { exempt = false }: JoinOptions = {}): Turn<T> {
    if (this.#closed) throw shuttingDown();
    if (this.#line.waiting >= this.#options.maxWaiting) {
      throw new ProxyError('queue-full', `${this.#line.waiting} calls wait already`, {
        retryAfterSeconds: 1,
      });
    }
    let place!: Place;
    const result = new Promise<T>((resolve, reject) => {
      const deadline = performance.now() + this.#options.maxWaitMs;
      // A machine that sleeps stops the monotonic clock, but not the wait of the one who called.
      const wallDeadline = Date.now() + this.#options.maxWaitMs;
      place = { exempt, deadline, onLeave: reject, waiting: false };
      const counts = (): boolean => !exempt && this.#options.startup.isOpen;
      // Async, so that work which throws instead of rejecting frees the slot all the same.
      const start = async (): Promise<T> => await (counts() ? this.#count(work) : work());
      const run = async (): Promise<void> => {
        // After a freeze the turn may come before the timer that ends the wait.
        if (performance.now() >= deadline || Date.now() >= wallDeadline) {
          reject(this.#waitedTooLong());
          return;
        }
        await start().then(resolve, reject);
      };
      void this.#queue.add(run, { place });
    });
    if (place.waiting) this.#watch();
    return { result, leave: (error) => this.#line.leave(place, error) };
  }

  /** Fails all that waits with `shutting-down`; resolves when the call in flight, if any, has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    for (let place = this.#line.first(); place !== undefined; place = this.#line.first()) {
      this.#line.leave(place, shuttingDown());
    }
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

  /** Keeps one timer for the longest wait and one for the startup window. */
  #watch(): void {
    const first = this.#line.first();
    if (first === undefined || this.#closed) return;
    this.#expiry ??= setTimeout(
      () => {
        this.#expiry = undefined;
        this.#expire();
      },
      Math.max(1, Math.ceil(first.deadline - performance.now())),
    );
    // Free to go although nothing runs: the window has opened since p-queue looked. It has to look again.
    const delay = this.#options.startup.delayMs() || (this.#queue.pending === 0 ? 1 : 0);
    if (delay === 0) return;
    const wakeAt = performance.now() + delay;
    if (this.#wake !== undefined && this.#wakeAt <= wakeAt) return;
    clearTimeout(this.#wake);
    this.#wakeAt = wakeAt;
    this.#wake = setTimeout(() => {
      this.#wake = undefined;
      this.#look();
    }, Math.ceil(delay));
  }

  /** Lets p-queue look at the line again. */
  #look(): void {
    this.#queue.pause();
    this.#queue.start();
    this.#watch();
  }

  #expire(): void {
    const now = performance.now();
    for (let place = this.#line.first(); place !== undefined; place = this.#line.first()) {
      if (place.deadline > now) break;
      this.#line.leave(place, this.#waitedTooLong());
    }
    this.#watch();
  }

  #waitedTooLong(): ProxyError {
    const waited = `no turn within ${this.#options.maxWaitMs} ms, ${this.#line.waiting} calls wait`;
    return new ProxyError('queue-timeout', waited, { retryAfterSeconds: 1 });
  }
}

/** What is answered to calls that wait, or arrive, while the proxy stops. */
export function shuttingDown(): ProxyError {
  return new ProxyError('shutting-down', 'the proxy is stopping', { retryAfterSeconds: 1 });
}
