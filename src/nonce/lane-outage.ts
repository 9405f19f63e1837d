import { ProxyError } from '../errors.js';
import { LaneLost } from './nonces.js';

/** What a lane could not get of the database, and since when, monotonic ms. */
export interface Failure {
  readonly error: Error;
  readonly since: number;
}

/** A lane without nonces is tried again after this, ms, if no call has tried it before. */
const DRAW_AGAIN_MS = 2_000;

/** Whether a lane can be had of the database; while it cannot, calls wait for it so long, and no longer. */
export class LaneOutage {
  readonly #patienceMs: number;
  readonly #onChange: () => void;
  #failure: (Failure & { readonly timer: NodeJS.Timeout; readonly isOfDraw: boolean }) | undefined;

  constructor(patienceMs: number, onChange: () => void) {
    this.#patienceMs = patienceMs;
    this.#onChange = onChange;
  }

  /** Undefined while nothing fails. */
  get failure(): Failure | undefined {
    return this.#failure;
  }

  /** Why calls need not wait any more. */
  get problem(): ProxyError | undefined {
    if (this.#failure === undefined || performance.now() - this.#failure.since < this.#patienceMs)
      return undefined;
    const { error } = this.#failure;
    return error instanceof ProxyError ? error : new LaneLost(error.message, error);
  }

  /** The lock was had, or was another's: that a nonce can be had is another matter. */
  lockAnswered(): void {
    if (this.#failure?.isOfDraw !== true) this.end();
  }

  /** The lock can not be asked for. */
  lockFailed(error: Error): void {
    if (this.#failure !== undefined) {
      this.#failure = { ...this.#failure, error };
      return;
    }
    const timer = setTimeout(this.#onChange, this.#patienceMs + 1);
    timer.unref();
    this.#failure = { error, since: performance.now(), timer, isOfDraw: false };
    this.#onChange();
  }

  /** The lock can be had, and no nonce: a full disk, say. Only another try shows that it has passed. */
  drawFailed(error: Error): void {
    const since = this.#failure?.since ?? performance.now();
    this.end();
    const timer = setTimeout(() => {
      this.end();
      this.#onChange();
    }, DRAW_AGAIN_MS);
    timer.unref();
    this.#failure = { error, since, timer, isOfDraw: true };
    this.#onChange();
  }

  /** It works again, or nobody asks any more. */
  end(): void {
    clearTimeout(this.#failure?.timer);
    this.#failure = undefined;
  }
}
