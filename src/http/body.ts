import type { IncomingMessage } from 'node:http';
import { ProxyError } from '../errors.js';

/** The client went away before its request was whole. Nobody is left to answer. */
export class RequestAbandoned extends Error {
  constructor() {
    super('the client hung up before its request was whole');
    this.name = 'RequestAbandoned';
  }
}

/** Room for one call's body. */
export interface BodyRoom {
  /** Takes more of it. Throws ProxyError `queue-full` when all bodies together have used theirs up. */
  take(bytes: number): void;
  /** Gives it all back. */
  leave(): void;
}

/** So much of each body counts nothing: no order or cancel is refused because of other people's large bodies. */
const FREE_BYTES = 4_096;

/** The memory that all bodies together may take: a thousand callers of a mebibyte each are too many. */
export class BodyBudget {
  readonly #maxBytes: number;
  #taken = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  open(): BodyRoom {
    let size = 0;
    let charged = 0;
    return {
      take: (bytes) => {
        const more = Math.max(0, size + bytes - FREE_BYTES) - charged;
        if (more > 0 && this.#taken + more > this.#maxBytes)
          throw new ProxyError('queue-full', 'too many large bodies are under way', { retryAfterSeconds: 1 });
        size += bytes;
        charged += more;
        this.#taken += more;
      },
      leave: () => {
        this.#taken -= charged;
        charged = 0;
      },
    };
  }
}

export interface ReadBodyOptions {
  readonly maxBytes: number;
  readonly timeoutMs: number;
  readonly room: BodyRoom;
}

/**
 * Reads a request's body. Rejects with ProxyError `body-too-large`, with `invalid-body` when it is encoded or
 * takes longer than `timeoutMs`, `queue-full` when there is no room, or with RequestAbandoned. What is left of a refused body is read and dropped
 * by node:http, so that the client gets to see its answer.
 */
export function readBody(
  incoming: IncomingMessage,
  { maxBytes, timeoutMs, room }: ReadBodyOptions,
): Promise<Buffer> {
  const { 'content-length': length, 'content-encoding': encoding } = incoming.headers;
  if (Number(length ?? 0) > maxBytes) return Promise.reject(tooLarge(maxBytes));
  if (encoding !== undefined && encoding !== 'identity') {
    return Promise.reject(new ProxyError('invalid-body', 'the body has a Content-Encoding; send it plain'));
  }
  return new Promise((resolve, reject) => {
    let body: Buffer = EMPTY;
    let size = 0;
    let settled = false;
    let timer: NodeJS.Timeout | undefined;
    const settle = (): void => {
      settled = true;
      clearTimeout(timer);
      incoming.off('data', onData).off('end', onEnd).off('close', onClose);
    };
    const fail = (error: Error): void => {
      settle();
      incoming.resume();
      reject(error);
    };
    const onData = (chunk: Buffer): void => {
      if (size + chunk.length > maxBytes) {
        fail(tooLarge(maxBytes));
        return;
      }
      try {
        room.take(chunk.length);
      } catch (error) {
        fail(error as Error);
        return;
      }
      body = size === 0 ? chunk : appended(body, size, chunk);
      size += chunk.length;
    };
    const onEnd = (): void => {
      if (isReset(incoming)) {
        fail(new RequestAbandoned());
        return;
      }
      settle();
      resolve(body.length === size ? body : body.subarray(0, size));
    };
    const onClose = (): void => fail(new RequestAbandoned());
    const onLate = (): void =>
      fail(new ProxyError('invalid-body', `the body was not whole within ${timeoutMs} ms`));
    // A small body comes with its headers and is whole by the end of this tick: most calls need no timer.
    queueMicrotask(() => {
      if (!settled && !incoming.complete) timer = setTimeout(onLate, timeoutMs);
    });
    incoming.on('data', onData).on('end', onEnd).on('close', onClose);
    // A socket error comes with a close; without a listener it would end the process.
    incoming.on('error', () => undefined);
  });
}

const EMPTY = Buffer.alloc(0);

/**
 * What has come so far, with one more piece. Copied into one growing block: a body of a million pieces of one byte,
 * kept as they came, takes 250 times its size.
 */
function appended(body: Buffer, size: number, chunk: Buffer): Buffer {
  let block = body;
  if (size + chunk.length > body.length) {
    block = Buffer.allocUnsafeSlow(2 * (size + chunk.length));
    body.copy(block, 0, 0, size);
  }
  chunk.copy(block, size);
  return block;
}

/**
 * Whether the client has reset the HTTP/2 stream. Node then ends the body wherever it was (RST_STREAM with
 * NO_ERROR): half of an order can be an order too.
 */
export function isReset(
  incoming: IncomingMessage & { readonly stream?: { readonly closed: boolean } },
): boolean {
  return incoming.stream?.closed === true;
}

function tooLarge(maxBytes: number): ProxyError {
  return new ProxyError('body-too-large', `the body is larger than ${maxBytes} bytes`);
}
