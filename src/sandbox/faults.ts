/** A way for the sandbox to misbehave, for the next matching calls. */
export interface Fault {
  /**
   * - `delay`: executed at once, answered `delayMs` later.
   * - `reset-before`, `reset-after`: the connection is reset without, or after, executing; no reply byte.
   * - `hang`, `hang-after`: never answered; without, or after, executing.
   * - `html`, `html-after`: Cloudflare's HTML page with `status`; without, or after, executing.
   * - `cut`: executed; Content-Length of the whole reply, but the connection ends after half of it.
   * - `error`: checked (key, signature, nonce), then answered `{"error":[error]}` without executing.
   * - `error-after`: executed, then answered `{"error":[error]}`.
   * - `late`: the connection is reset at once; the call reaches the checks only `delayMs` later, as if it
   *   had been stuck on its way.
   * - `slow-engine`, `slow-engine-hang`: the call passes the checks at once (its nonce is spent, its cost
   *   counted) and the connection is reset at once, or hangs; the engine executes it only when the
   *   sandbox's clock is `delayMs` further, and judges its `deadline` then. Until then no call shows it:
   *   not there yet is not the same as not there, and no later nonce stops it.
   *
   * "Without executing" also means that no nonce is spent, but for `error`.
   */
  readonly kind:
    | 'delay'
    | 'reset-before'
    | 'reset-after'
    | 'hang'
    | 'hang-after'
    | 'html'
    | 'html-after'
    | 'cut'
    | 'error'
    | 'error-after'
    | 'late'
    | 'slow-engine'
    | 'slow-engine-hang';
  /** Only calls of this endpoint (a public one too); any private call otherwise. */
  readonly endpoint?: string;
  /** Only calls with this API-Key. */
  readonly key?: string;
  /** How many calls it hits; default 1, Infinity for all. */
  readonly times?: number;
  /** How many matching calls pass first; default 0. */
  readonly skip?: number;
  /** For `delay` and `late`, in real time; for `slow-engine`, by the sandbox's clock. Default 0. */
  readonly delayMs?: number;
  /** For `html`; default 502. */
  readonly status?: number;
  /** For `error`; default `EService:Unavailable`. */
  readonly error?: string;
  /** The chance that a matching call is hit, 0 to 1; default 1. */
  readonly probability?: number;
}

/** Every kind of fault, for the control plane's check. */
export const FAULT_KINDS: readonly Fault['kind'][] = [
  'delay',
  'reset-before',
  'reset-after',
  'hang',
  'hang-after',
  'html',
  'html-after',
  'cut',
  'error',
  'error-after',
  'late',
  'slow-engine',
  'slow-engine-hang',
];

/** The faults in waiting, oldest first; a call gets the first that matches. */
export class FaultPlan {
  readonly #random: () => number;
  #armed: { readonly fault: Fault; skip: number; times: number }[] = [];

  constructor(random: () => number) {
    this.#random = random;
  }

  add(fault: Fault): void {
    this.#armed.push({ fault, skip: fault.skip ?? 0, times: fault.times ?? 1 });
  }

  clear(): void {
    this.#armed = [];
  }

  /** The fault that hits this call, used up by asking. */
  take(endpoint: string, isPrivate: boolean, key: string | undefined): Fault | undefined {
    for (const armed of this.#armed) {
      const { fault } = armed;
      if (fault.endpoint === undefined ? !isPrivate : fault.endpoint !== endpoint) continue;
      if (fault.key !== undefined && fault.key !== key) continue;
      if (armed.skip > 0) {
        armed.skip -= 1;
        continue;
      }
      if (fault.probability !== undefined && this.#random() >= fault.probability) continue;
      armed.times -= 1;
      if (armed.times <= 0) this.#armed = this.#armed.filter((other) => other !== armed);
      return fault;
    }
    return undefined;
  }
}
