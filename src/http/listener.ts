import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

export interface ListenerOptions {
  readonly host: string;
  readonly port: number;
  /** A request that is not whole by then is cut off; the app answers earlier. */
  readonly requestTimeoutMs: number;
  /** Waits for the port while another process has it, as a hot standby does. */
  readonly waitForPort?: AbortSignal | undefined;
}

/** Clients keep connections; one that we close while a client writes looks to it like a lost order. */
const KEEP_ALIVE_MS = 120_000;
const HEADERS_MS = 10_000;
const MAX_CONNECTIONS = 1_000;
const BIND_RETRY_MS = 200;

/** A listening HTTP server that can be stopped without cutting answers off. */
export class Listener {
  readonly #server: Server;
  #closed: Promise<void> | undefined;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Rejects with the system's error when the address cannot be had. */
  static async open(handle: RequestListener, options: ListenerOptions): Promise<Listener> {
    const server = createServer(
      {
        requestTimeout: options.requestTimeoutMs,
        headersTimeout: Math.min(HEADERS_MS, options.requestTimeoutMs),
        keepAliveTimeout: KEEP_ALIVE_MS,
        connectionsCheckingInterval: 1_000,
      },
      handle,
    );
    // Bots need one each; without a bound anybody on this machine could use up our file descriptors.
    server.maxConnections = MAX_CONNECTIONS;
    for (;;) {
      try {
        await listen(server, options);
        return new Listener(server);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (options.waitForPort === undefined || code !== 'EADDRINUSE') throw error;
        await delay(BIND_RETRY_MS, undefined, { signal: options.waitForPort });
      }
    }
  }

  /** Such as http://127.0.0.1:8787. */
  get url(): string {
    const { address, family, port } = this.#server.address() as AddressInfo;
    return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
  }

  /** Accepts no more connections from now on; answers under way go on. */
  stopAccepting(): void {
    this.#closed ??= new Promise((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
  }

  /** Resolves when the answers under way are out; after `graceMs` what is still connected is cut off. */
  async close(graceMs: number): Promise<void> {
    this.stopAccepting();
    // A connection that becomes idle now would otherwise be kept open by its client.
    const sweep = setInterval(() => this.#server.closeIdleConnections(), 20);
    const cut = setTimeout(() => this.#server.closeAllConnections(), graceMs);
    await this.#closed;
    clearInterval(sweep);
    clearTimeout(cut);
  }
}

function listen(server: Server, { host, port }: ListenerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    // Both are taken off again: a standby that waits for its port comes by every 200 ms.
    const failed = (error: Error): void => {
      server.off('listening', done);
      reject(error);
    };
    const done = (): void => {
      server.off('error', failed);
      resolve();
    };
    server.once('error', failed).once('listening', done).listen(port, host);
  });
}
