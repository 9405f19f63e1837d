import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { constants, createServer, type Http2Server, type ServerHttp2Session } from 'node:http2';
import type { ServerHttp2Stream } from 'node:http2';
import type { TLSSocket } from 'node:tls';

/** How long, in ms, an HTTP/2 client may take for what. */
export interface SessionBounds {
  /** For its first words on a connection. */
  readonly greetingMs: number;
  /** For a request to be whole. */
  readonly requestMs: number;
  /** For taking an answer. */
  readonly answerMs: number;
  /** Between two requests. */
  readonly idleMs: number;
  /** For closing a connection that was ended. */
  readonly closingMs: number;
}

/** A client's requests on one connection; the next one is refused in a way that says it may be sent again. */
const MAX_STREAMS = 100;
/** On all connections: as many as HTTP/1.1 could have, with one connection each. */
const MAX_STREAMS_OF_ALL = 1_000;
/** As much as node allows HTTP/1.1. */
const MAX_HEADER_BYTES = 16_384;
const CHECK_MS = 1_000;

interface Session {
  readonly http2: ServerHttp2Session;
  readonly socket: TLSSocket;
  readonly streams: Map<ServerHttp2Stream, Stream>;
  greeted: boolean;
  /** Since when it has had no request, or has been closing. */
  since: number;
}

interface Stream {
  readonly since: number;
  answeredSince: number | undefined;
}

/**
 * The HTTP/2 connections of a listener. Node bounds floods by itself (resets, settings, pings, memory of a session,
 * frames that are none), but no time except that without any traffic, which a client can go on making for ever:
 * those bounds are here.
 */
export class Http2Sessions {
  readonly #server: Http2Server;
  readonly #bounds: SessionBounds;
  readonly #sessions = new Map<ServerHttp2Session, Session>();
  #streams = 0;
  #closing = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(handle: RequestListener, bounds: SessionBounds) {
    this.#bounds = bounds;
    const settings = { maxConcurrentStreams: MAX_STREAMS, maxHeaderListSize: MAX_HEADER_BYTES };
    this.#server = createServer({ settings });
    this.#server.on('stream', (stream) => this.#watchStream(stream));
    this.#server.on('request', (request, response) => {
      if (this.#streams > MAX_STREAMS_OF_ALL) request.stream.close(constants.NGHTTP2_REFUSED_STREAM);
      // Made to behave alike by node; the few differences are known to the app.
      else handle(request as unknown as IncomingMessage, response as unknown as ServerResponse);
    });
  }

  /** Serves a connection whose handshake has agreed on h2. */
  accept(socket: TLSSocket): void {
    this.#server.once('session', (http2) => this.#watch(http2, socket));
    this.#server.emit('connection', socket);
  }

  /** Ends the connections: what is under way is answered, nothing more is taken; idle ones close at once. */
  end(): void {
    for (const session of this.#sessions.values()) this.#end(session);
  }

  /** From now on new connections, too, are ended at once. */
  close(): void {
    this.#closing = true;
    this.end();
  }

  #watch(http2: ServerHttp2Session, socket: TLSSocket): void {
    const session: Session = { http2, socket, streams: new Map(), greeted: false, since: performance.now() };
    this.#sessions.set(http2, session);
    http2.once('remoteSettings', () => (session.greeted = true));
    socket.once('close', () => {
      this.#sessions.delete(http2);
      if (this.#sessions.size > 0) return;
      clearInterval(this.#timer);
      this.#timer = undefined;
    });
    this.#timer ??= setInterval(() => this.check(), CHECK_MS).unref();
    if (this.#closing) this.#end(session);
  }

  #watchStream(stream: ServerHttp2Stream): void {
    const session = stream.session && this.#sessions.get(stream.session as ServerHttp2Session);
    if (session === undefined) return;
    session.streams.set(stream, { since: performance.now(), answeredSince: undefined });
    this.#streams++;
    stream.once('close', () => {
      session.streams.delete(stream);
      session.since = performance.now();
      this.#streams--;
    });
  }

  #end(session: Session): void {
    if (session.http2.closed || session.http2.destroyed) return;
    session.since = performance.now();
    session.http2.close();
  }

  /** Ends whatever has taken longer than it may. Done every second. */
  check(now: number = performance.now()): void {
    for (const session of this.#sessions.values()) {
      for (const [http2, stream] of session.streams) this.#checkStream(http2, stream, now);
      if (session.streams.size > 0) continue;
      const { http2, socket, greeted, since } = session;
      const isClosing = http2.closed || http2.destroyed;
      if (isClosing || !greeted) {
        if (now - since > (isClosing ? this.#bounds.closingMs : this.#bounds.greetingMs)) socket.destroy();
      } else if (now - since > this.#bounds.idleMs) this.#end(session);
    }
  }

  #checkStream(http2: ServerHttp2Stream, stream: Stream, now: number): void {
    if (http2.writableEnded) stream.answeredSince ??= now;
    const isLate = now - stream.since > this.#bounds.requestMs && http2.state.remoteClose !== 1;
    const isLeft = stream.answeredSince !== undefined && now - stream.answeredSince > this.#bounds.answerMs;
    if (isLate || isLeft) http2.close(constants.NGHTTP2_CANCEL);
  }
}
