import type { IncomingMessage } from 'node:http';
import { ProxyError } from '../errors.js';

/** The client went away before its request was whole. Nobody is left to answer. */
export class RequestAbandoned extends Error {
  constructor() {
    super('the client hung up before its request was whole');
    this.name = 'RequestAbandoned';
  }
}

/**
 * Reads a request's body. Rejects with ProxyError `body-too-large`, with `invalid-body` when it is encoded or
 * takes longer than `timeoutMs`, or with RequestAbandoned. What is left of a refused body is read and dropped
 * by node:http, so that the client gets to see its answer.
 */
export function readBody(incoming: IncomingMessage, maxBytes: number, timeoutMs: number): Promise<Buffer> {
  const { 'content-length': length, 'content-encoding': encoding } = incoming.headers;
  if (Number(length ?? 0) > maxBytes) return Promise.reject(tooLarge(maxBytes));
  if (encoding !== undefined && encoding !== 'identity') {
    return Promise.reject(new ProxyError('invalid-body', 'the body has a Content-Encoding; send it plain'));
  }
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
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
      size += chunk.length;
      if (size > maxBytes) fail(tooLarge(maxBytes));
      else chunks.push(chunk);
    };
    const onEnd = (): void => {
      if (isReset(incoming)) {
        fail(new RequestAbandoned());
        return;
      }
      settle();
      const [first] = chunks;
      resolve(chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks));
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

/**
 * Whether the client has reset the HTTP/2 stream. Node then ends the body wherever it was (RST_STREAM with
 * NO_ERROR): half of an order can be an order too.
 */
function isReset(incoming: IncomingMessage & { readonly stream?: { readonly closed: boolean } }): boolean {
  return incoming.stream?.closed === true;
}

function tooLarge(maxBytes: number): ProxyError {
  return new ProxyError('body-too-large', `the body is over listen.maxBodyBytes (${maxBytes})`);
}
