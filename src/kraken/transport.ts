import { Client, Pool, type Dispatcher } from 'undici';

/** One attempt at one call, exactly as it goes on the wire. */
export interface UpstreamRequest {
  readonly method: 'GET' | 'POST';
  /** Path with its query. */
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body: Buffer | null;
  /** Asked right before the first byte is written, which may be after a wait for a connection; throws to forbid it. */
  readonly mayLeave?: () => void;
  /** For this attempt, ms; never more than the Upstream's own. */
  readonly timeoutMs?: number;
}

/** Kraken's answer, whole. Header names are lower case. */
export interface UpstreamReply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[]>>;
  readonly body: Buffer;
  /** What the proxy itself has to say about it: header names in lower case. Never Kraken's. */
  readonly own?: Readonly<Record<string, string>>;
}

/**
 * No whole reply came. `sent: 'never'`: no byte of the request can have left (DNS, TCP or TLS failed).
 * `sent: 'maybe'`: it may have been executed (KRAKEN.md 4.2).
 */
export class UpstreamError extends Error {
  readonly sent: 'never' | 'maybe';

  constructor(sent: 'never' | 'maybe', message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'UpstreamError';
    this.sent = sent;
  }
}

export interface UpstreamOptions {
  /** Origin, such as https://api.kraken.com. */
  readonly url: string;
  /** From the start of an attempt to the last byte of its reply, ms. */
  readonly timeoutMs: number;
  /** Connections kept; private calls of one lane use one. */
  readonly connections: number;
}

/** An idle connection is dropped after this: a stale one may swallow an order. */
const IDLE_MS = 20_000;
const CONNECT_MS = 10_000;

/** The door to Kraken: sends a request once and gives the whole reply. Never repeats, never follows redirects. */
export class Upstream {
  readonly #dispatcher: Dispatcher;
  readonly #timeoutMs: number;

  constructor({ url, timeoutMs, connections }: UpstreamOptions) {
    const options = {
      pipelining: 1,
      // The attempt has one timer of its own: undici's run at a resolution of a second and start anew with each chunk.
      headersTimeout: 0,
      bodyTimeout: 0,
      keepAliveTimeout: IDLE_MS,
      keepAliveMaxTimeout: IDLE_MS,
      connect: { timeout: Math.min(timeoutMs, CONNECT_MS) },
    };
    this.#dispatcher =
      connections === 1 ? new Client(url, options) : new Pool(url, { ...options, connections });
    this.#timeoutMs = timeoutMs;
  }

  /** Resolves with the whole reply, whatever its status; rejects with UpstreamError, or with what `mayLeave` threw. */
  send(request: UpstreamRequest): Promise<UpstreamReply> {
    const timeoutMs = Math.min(this.#timeoutMs, request.timeoutMs ?? this.#timeoutMs);
    return new Promise((resolve, reject) => {
      this.#dispatcher.dispatch(request, new Attempt(timeoutMs, request.mayLeave, resolve, reject));
    });
  }

  /** Drops all connections. Calls in flight fail. */
  async close(): Promise<void> {
    await this.#dispatcher.destroy();
  }
}

class Attempt implements Dispatcher.DispatchHandler {
  readonly #mayLeave: (() => void) | undefined;
  readonly #resolve: (reply: UpstreamReply) => void;
  readonly #reject: (error: unknown) => void;
  readonly #timer: NodeJS.Timeout;
  #controller: Dispatcher.DispatchController | undefined;
  #status = 0;
  #headers: UpstreamReply['headers'] = {};
  #chunks: Buffer[] = [];
  #settled = false;

  constructor(
    timeoutMs: number,
    mayLeave: (() => void) | undefined,
    resolve: (reply: UpstreamReply) => void,
    reject: (error: unknown) => void,
  ) {
    this.#mayLeave = mayLeave;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#timer = setTimeout(() => {
      this.#fail(`no whole reply within ${timeoutMs} ms`, undefined);
      this.#controller?.abort(new Error('timeout'));
    }, timeoutMs);
  }

  /** Called right before the first byte is written. */
  onRequestStart(controller: Dispatcher.DispatchController): void {
    // Given up while it waited for a connection, or undici wants to write it a second time: it must not leave.
    if (this.#settled || this.#controller !== undefined) {
      controller.abort(new Error('a request is written once or not at all'));
      return;
    }
    try {
      this.#mayLeave?.();
    } catch (forbidden) {
      this.#settle(() => this.#reject(forbidden));
      controller.abort(new Error('forbidden to leave'));
      return;
    }
    this.#controller = controller;
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: UpstreamReply['headers']): void {
    this.#status = status;
    this.#headers = headers;
    this.#chunks = []; // an informational response came before
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#chunks.push(chunk);
  }

  onResponseEnd(): void {
    const [first] = this.#chunks;
    const body = this.#chunks.length === 1 && first !== undefined ? first : Buffer.concat(this.#chunks);
    this.#settle(() => this.#resolve({ status: this.#status, headers: this.#headers, body }));
  }

  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    const { code } = error as NodeJS.ErrnoException;
    this.#fail(code === undefined ? error.message : `${code}: ${error.message}`, error);
  }

  #fail(message: string, cause: unknown): void {
    const sent = this.#controller === undefined ? 'never' : 'maybe';
    this.#settle(() => this.#reject(new UpstreamError(sent, message, cause)));
  }

  #settle(how: () => void): void {
    if (this.#settled) return;
    this.#settled = true;
    clearTimeout(this.#timer);
    how();
  }
}
