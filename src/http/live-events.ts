import type { NewCalls } from '../operator/recent-calls.js';
import type { SecondView } from '../operator/call-history.js';
import type { Status } from '../operator/views.js';

/** Where the news comes from. */
export interface NewsSource {
  status(): Status;
  /** What happened in one second, in unix seconds. */
  second(at: number): SecondView;
  /** The calls after the first `count` ever; none after Infinity. */
  callsSince(count: number): NewCalls;
}

export interface LiveEventsOptions {
  readonly source: NewsSource;
  /** Told when the news could not be gathered. */
  readonly failed: (error: unknown) => void;
  /** Unix ms. Default: the system's clock. */
  readonly now?: (() => number) | undefined;
  /** Calls `run` once after so many ms, and gives what cancels that. Default: the process's own timers. */
  readonly after?: ((ms: number, run: () => void) => () => void) | undefined;
}

/** Somebody who watches. */
export interface Watcher {
  /** Asked before each tick: a token that was changed lets nobody watch on. */
  readonly isAllowed: () => boolean;
  /** Cuts the connection. */
  readonly drop: () => void;
}

const MAX_WATCHERS = 16;
/** A watcher who has not read so much gets no more until it has. */
const MAX_UNREAD_BYTES = 256 * 1024;
/** So many ticks in a row without reading, and nobody is there any more. */
const DEAD_TICKS = 30;
/** After the second is over, so that a timer that fires early does not tell of the one before again. */
const AFTER_SECOND_MS = 20;
/** Tells an EventSource when to come back; and, as the first bytes, that it is served. */
const HELLO = 'retry: 2000\n\n';
const HEARTBEAT = ': no news can be had\n\n';

interface Subscriber extends Watcher {
  readonly controller: ReadableStreamDefaultController<Uint8Array>;
  ticksUnread: number;
}

/**
 * The operator's server-sent events: what is new, once a second, gathered and written down once for all who watch, and
 * not at all while nobody does. Who reads slowly misses ticks; nothing is kept for them.
 */
export class LiveEvents {
  readonly #options: LiveEventsOptions;
  readonly #now: () => number;
  readonly #after: (ms: number, run: () => void) => () => void;
  readonly #subscribers = new Set<Subscriber>();
  readonly #encoder = new TextEncoder();
  #seen = 0;
  #cancel: (() => void) | undefined;
  #closed = false;

  constructor(options: LiveEventsOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#after = options.after ?? after;
  }

  /** How many watch. */
  get watchers(): number {
    return this.#subscribers.size;
  }

  /** The events from now on; undefined when 16 watch already, or after `close`. */
  watch(watcher: Watcher): ReadableStream<Uint8Array> | undefined {
    if (this.#closed || this.#subscribers.size >= MAX_WATCHERS) return undefined;
    let subscriber: Subscriber | undefined;
    return new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          controller.enqueue(this.#encoder.encode(HELLO));
          subscriber = { ...watcher, controller, ticksUnread: 0 };
          this.#subscribers.add(subscriber);
          if (this.#subscribers.size === 1) this.#begin();
        },
        cancel: () => {
          if (subscriber !== undefined) this.#leave(subscriber);
        },
      },
      new ByteLengthQueuingStrategy({ highWaterMark: MAX_UNREAD_BYTES }),
    );
  }

  /** Ends all streams; nobody watches any more. */
  close(): void {
    this.#closed = true;
    for (const subscriber of this.#subscribers) {
      this.#leave(subscriber);
      subscriber.controller.close();
    }
  }

  #begin(): void {
    this.#seen = this.#options.source.callsSince(Infinity).count;
    this.#schedule();
  }

  #schedule(): void {
    const ms = 1_000 - (this.#now() % 1_000) + AFTER_SECOND_MS;
    this.#cancel = this.#after(ms, () => this.#tick());
  }

  #tick(): void {
    for (const subscriber of this.#subscribers) {
      if (!subscriber.isAllowed()) this.#drop(subscriber);
    }
    if (this.#subscribers.size === 0) return;
    this.#schedule();
    const news = this.#encoder.encode(this.#news());
    for (const subscriber of this.#subscribers) {
      if ((subscriber.controller.desiredSize ?? 0) > 0) {
        subscriber.ticksUnread = 0;
        subscriber.controller.enqueue(news);
      } else if (++subscriber.ticksUnread >= DEAD_TICKS) this.#drop(subscriber);
    }
  }

  #news(): string {
    try {
      const { source } = this.#options;
      const second = source.second(Math.floor(this.#now() / 1_000) - 1);
      const { count, calls, skipped } = source.callsSince(this.#seen);
      // JSON has no line ends, which would end the event's data.
      const data = JSON.stringify({ status: source.status(), second, calls, skipped });
      this.#seen = count;
      return `event: tick\ndata: ${data}\n\n`;
    } catch (error) {
      this.#options.failed(error);
      return HEARTBEAT;
    }
  }

  #drop(subscriber: Subscriber): void {
    this.#leave(subscriber);
    subscriber.drop();
  }

  #leave(subscriber: Subscriber): void {
    this.#subscribers.delete(subscriber);
    if (this.#subscribers.size > 0) return;
    this.#cancel?.();
    this.#cancel = undefined;
  }
}

function after(ms: number, run: () => void): () => void {
  const timer = setTimeout(run, ms).unref();
  return () => clearTimeout(timer);
}
