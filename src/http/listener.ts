import { createServer, type RequestListener, type Server } from 'node:http';
import type { Server as SecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { TlsServer, type TlsOptions } from './tls-server.js';

export interface ListenerOptions {
  readonly host: string;
  readonly port: number;
  /** A request that is not whole by then is cut off; the app answers earlier. */
  readonly requestTimeoutMs: number;
  /** Waits for the port while another process has it, as a hot standby does. */
  readonly waitForPort?: AbortSignal | undefined;
  /** HTTP/1.1 and HTTP/2 over TLS in place of plain HTTP/1.1. */
  readonly tls?: TlsOptions | undefined;
}

/** Clients keep connections; one that we close while a client writes looks to it like a lost order. */
const KEEP_ALIVE_MS = 120_000;
const HEADERS_MS = 10_000;
const MAX_CONNECTIONS = 1_000;
const BIND_RETRY_MS = 200;

/** A listening HTTP server that can be stopped without cutting answers off. */
export class Listener {
  readonly #server: Server | SecureServer;
  readonly #tls: TlsServer | undefined;
  #closed: Promise<void> | undefined;

  private constructor(server: Server | SecureServer, tls: TlsServer | undefined) {
    this.#server = server;
    this.#tls = tls;
    tls?.watch();
  }

  /** Rejects with the system's error when the address cannot be had, or with CertificateError. */
  static async open(handle: RequestListener, options: ListenerOptions): Promise<Listener> {
    const bounds = {
      requestTimeout: options.requestTimeoutMs,
      headersTimeout: Math.min(HEADERS_MS, options.requestTimeoutMs),
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: 1_000,
    };
    const tls = options.tls === undefined ? undefined : await TlsServer.open(handle, bounds, options.tls);
    const server = tls?.server ?? createServer(bounds, handle);
    // Bots need one each; without a bound anybody on this machine could use up our file descriptors.
    server.maxConnections = MAX_CONNECTIONS;
    for (;;) {
      try {
        await listen(server, options);
        return new Listener(server, tls);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (options.waitForPort === undefined || code !== 'EADDRINUSE') throw error;
        await delay(BIND_RETRY_MS, undefined, { signal: options.waitForPort });
      }
    }
  }

  /** Such as http://127.0.0.1:8787, or https. */
  get url(): string {
    const scheme = this.#tls === undefined ? 'http' : 'https';
    const { address, family, port } = this.#server.address() as AddressInfo;
    return `${scheme}://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
  }

  /** Accepts no more connections from now on; answers under way go on. */
  stopAccepting(): void {
    this.#closed ??= new Promise((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    this.#tls?.stopAccepting();
  }

  /** Looks at the certificate files now, as is done every other second; resolves when what they hold is in force. */
  async checkCertificates(): Promise<void> {
    await this.#tls?.checkCertificates();
  }

  /** Resolves when the answers under way are out; after `graceMs` what is still connected is cut off. */
  async close(graceMs: number): Promise<void> {
    this.stopAccepting();
    // A connection that becomes idle now would otherwise be kept open by its client.
    const sweep = setInterval(() => this.#server.closeIdleConnections(), 20);
    const cut = setTimeout(() => {
      this.#server.closeAllConnections();
      this.#tls?.cut();
    }, graceMs);
    await this.#closed;
    clearInterval(sweep);
    clearTimeout(cut);
    await this.#tls?.close();
  }
}

function listen(server: Server | SecureServer, { host, port }: ListenerOptions): Promise<void> {
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
