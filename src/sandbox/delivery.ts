import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';

import { refusalReply, type Reply } from './answer.js';
import { cloudflarePage } from './cloudflare-page.js';
import type { Fault } from './faults.js';

export const DEFAULT_FAULT_ERROR = 'EService:Unavailable';

/** A call in the hands of a fault. One of the two happens to it, once at most. */
export interface SpoiledCall {
  /** Checks and executes it; its true reply. With an E-string, checks it only and answers so. */
  readonly run: (instead?: string) => Reply;
  /** Checks it now; what passes is executed when the sandbox's clock is so much further. */
  readonly runSlowly: (delayMs: number) => void;
}

/** Sends replies, whole or as a fault has them. */
export class Delivery {
  readonly #delayMs: number;
  readonly #timers = new Set<NodeJS.Timeout>();

  constructor(delayMs: number) {
    this.#delayMs = delayMs;
  }

  /** The reply after the sandbox's delay, and so much more. */
  send(res: ServerResponse, reply: Reply, extraMs = 0): void {
    const delayMs = this.#delayMs + extraMs;
    if (delayMs > 0) this.later(delayMs, () => write(res, reply));
    else write(res, reply);
  }

  /** Carries out a fault. */
  spoil(fault: Fault, req: IncomingMessage, res: ServerResponse, call: SpoiledCall): void {
    const { run } = call;
    switch (fault.kind) {
      case 'delay':
        this.send(res, run(), fault.delayMs ?? 0);
        return;
      case 'reset-before':
        req.socket.resetAndDestroy();
        return;
      case 'reset-after':
        run();
        this.#after(() => req.socket.resetAndDestroy());
        return;
      case 'hang':
        return;
      case 'hang-after':
        run();
        return;
      case 'html':
        this.send(res, htmlReply(fault));
        return;
      case 'html-after':
        run();
        this.send(res, htmlReply(fault));
        return;
      case 'cut': {
        const reply = run();
        this.#after(() => writeHalf(res, reply));
        return;
      }
      case 'error':
        this.send(res, run(fault.error ?? DEFAULT_FAULT_ERROR));
        return;
      case 'error-after':
        run();
        this.send(res, refusalReply(fault.error ?? DEFAULT_FAULT_ERROR));
        return;
      case 'late':
        req.socket.resetAndDestroy();
        this.later(fault.delayMs ?? 0, () => run());
        return;
      case 'slow-engine':
        call.runSlowly(fault.delayMs ?? 0);
        req.socket.resetAndDestroy();
        return;
      case 'slow-engine-hang':
        call.runSlowly(fault.delayMs ?? 0);
        return;
    }
  }

  /** Runs `action` in so many ms, unless the sandbox is closed by then. */
  later(delayMs: number, action: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, delayMs);
    this.#timers.add(timer);
  }

  close(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }

  /** Faults that come in place of an answer come when it would have come. */
  #after(action: () => void): void {
    if (this.#delayMs > 0) this.later(this.#delayMs, action);
    else action();
  }
}

function write(res: ServerResponse, reply: Reply): void {
  const headers: OutgoingHttpHeaders = {
    'content-type': reply.contentType,
    'content-length': Buffer.byteLength(reply.body),
  };
  if (reply.status !== 200) headers.server = 'cloudflare';
  res.writeHead(reply.status, headers);
  res.end(reply.body);
}

function writeHalf(res: ServerResponse, reply: Reply): void {
  const body = typeof reply.body === 'string' ? Buffer.from(reply.body) : reply.body;
  res.writeHead(reply.status, { 'content-type': reply.contentType, 'content-length': body.length });
  const socket = res.socket;
  res.write(body.subarray(0, Math.ceil(body.length / 2)), () => socket?.destroy());
}

function htmlReply(fault: Fault): Reply {
  const status = fault.status ?? 502;
  return { status, contentType: 'text/html; charset=UTF-8', body: cloudflarePage(status), error: undefined };
}
