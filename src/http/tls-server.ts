import type { RequestListener, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { forgetPeer, rememberPeer } from './tls.js';
import { CertificateFiles, type CertificatePaths } from './tls-certificates.js';
import { Http2Sessions } from './tls-sessions.js';

export interface TlsOptions extends CertificatePaths {
  /**
   * Told of each reload: undefined when what the files hold is in force, a CertificateError when it is no good and
   * the former certificates stay in force.
   */
  readonly onReload: (error: Error | undefined) => void;
}

/** The bounds of node:http's servers that both protocols keep, in ms. */
export interface TlsBounds {
  readonly requestTimeout: number;
  readonly headersTimeout: number;
  readonly keepAliveTimeout: number;
  readonly connectionsCheckingInterval: number;
}

const HANDSHAKE_MS = 10_000;
const RELOAD_MS = 2_000;

/**
 * TLS with HTTP/1.1 and HTTP/2 on one port, with certificates that follow their files.
 *
 * The server is that of node:https, so that HTTP/1.1 has exactly the bounds it has without TLS; connections that
 * agreed on h2 are handed over to node:http2. Its own `allowHTTP1` is weaker: on node 20 and 22 it takes none of the
 * HTTP/1.1 options (no bound between requests, no need of a Host), and it cannot cut connections off.
 */
export class TlsServer {
  readonly server: Server;
  readonly #files: CertificateFiles;
  readonly #onReload: TlsOptions['onReload'];
  readonly #sockets = new Set<Duplex>();
  /** Those in their handshake, by where they come from: the secured socket is another object. */
  readonly #shaking = new Map<string, Duplex>();
  readonly #secured = new Map<Duplex, Connection>();
  readonly #http2: Http2Sessions;
  #timer: NodeJS.Timeout | undefined;
  #checking: Promise<void> | undefined;

  private constructor(
    handle: RequestListener,
    bounds: TlsBounds,
    options: TlsOptions,
    files: CertificateFiles,
  ) {
    this.#files = files;
    this.#onReload = options.onReload;
    this.#http2 = new Http2Sessions(handle, {
      greetingMs: bounds.headersTimeout,
      requestMs: bounds.requestTimeout,
      answerMs: bounds.keepAliveTimeout,
      idleMs: bounds.keepAliveTimeout,
      closingMs: bounds.headersTimeout,
    });
    this.server = createServer(
      {
        ...bounds,
        ...files.secure,
        ALPNProtocols: ['h2', 'http/1.1'],
        handshakeTimeout: HANDSHAKE_MS,
        requestCert: options.clientCaFile !== undefined,
        // Who calls, and whether they may, is decided by the app.
        rejectUnauthorized: false,
      },
      (incoming, outgoing) => {
        const connection = this.#secured.get(incoming.socket);
        if (connection?.begin(outgoing) !== false) handle(incoming, outgoing);
      },
    );
    this.server.on('connection', (socket) => {
      const from = originOf(socket);
      this.#sockets.add(socket);
      this.#shaking.set(from, socket);
      socket.once('close', () => {
        this.#sockets.delete(socket);
        if (this.#shaking.get(from) === socket) this.#shaking.delete(from);
      });
    });
    const serveHttp1 = this.server.listeners('secureConnection');
    this.server.removeAllListeners('secureConnection');
    this.server.on('secureConnection', (socket) => {
      this.#shaking.delete(originOf(socket));
      this.#secured.set(socket, new Connection(socket));
      socket.once('close', () => this.#secured.delete(socket));
      rememberPeer(socket);
      if (socket.alpnProtocol === 'h2') this.#http2.accept(socket);
      else for (const listener of serveHttp1) listener.call(this.server, socket);
    });
  }

  /** Rejects with CertificateError. */
  static async open(handle: RequestListener, bounds: TlsBounds, options: TlsOptions): Promise<TlsServer> {
    return new TlsServer(handle, bounds, options, await CertificateFiles.load(options));
  }

  /** From now on the files are looked at every other second. */
  watch(): void {
    this.#timer = setInterval(() => void this.checkCertificates(), RELOAD_MS).unref();
  }

  /** Looks at the files now. New connections get what they hold; those there are go on with what they have. */
  checkCertificates(): Promise<void> {
    this.#checking ??= this.#reload().finally(() => (this.#checking = undefined));
    return this.#checking;
  }

  async #reload(): Promise<void> {
    let error: Error | undefined;
    try {
      const reread = await this.#files.reread();
      if (reread === undefined) return;
      this.server.setSecureContext(this.#files.secure);
      // Whom the former authorities vouched for is unknown to the new ones.
      if (reread.clientCaChanged) this.#endConnections();
    } catch (cause) {
      error = cause as Error;
    }
    this.#onReload(error);
  }

  /** What is under way is answered; then the connections end. */
  #endConnections(): void {
    // A handshake under way still asks the former authorities.
    for (const socket of this.#shaking.values()) socket.destroy();
    this.#http2.end();
    this.server.closeIdleConnections();
    for (const connection of this.#secured.values()) connection.end();
  }

  /** Accepts no more HTTP/2 requests; those under way go on. */
  stopAccepting(): void {
    this.#http2.close();
  }

  /** Cuts all connections off, also those in their handshake. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** After the last connection has closed. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#checking;
  }
}

/** Where a connection comes from; unlike its socket it is the same before and after the handshake. */
function originOf(socket: Duplex): string {
  const { remoteAddress, remotePort } = socket as { remoteAddress?: string; remotePort?: number };
  return `${remoteAddress ?? ''} ${remotePort ?? 0}`;
}

/** A connection that can be ended; with HTTP/1.1, without cutting answers off. */
class Connection {
  readonly #socket: TLSSocket;
  readonly #answers = new Set<ServerResponse>();
  #ending = false;

  constructor(socket: TLSSocket) {
    this.#socket = socket;
  }

  /** Whether the request is to be served: behind the answer that ends the connection it is not. */
  begin(answer: ServerResponse): boolean {
    if (this.#ending && this.#answers.size > 0) return false;
    if (this.#ending) answer.shouldKeepAlive = false;
    this.#answers.add(answer);
    answer.once('close', () => {
      this.#answers.delete(answer);
      if (this.#ending && this.#answers.size === 0) this.#socket.destroySoon();
    });
    return true;
  }

  end(): void {
    this.#ending = true;
    forgetPeer(this.#socket);
    const last = [...this.#answers].at(-1);
    if (last !== undefined) last.shouldKeepAlive = false; // the client reads `Connection: close`
  }
}
