import {
  connect,
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type SecureClientSessionOptions,
} from 'node:http2';

export interface Http2Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: Buffer;
  /** The body as JSON; undefined when it is none. */
  readonly json: { readonly error: readonly string[]; readonly result?: unknown } | undefined;
}

/** A client program that speaks HTTP/2 on one connection. */
export class Http2Client {
  readonly session: ClientHttp2Session;
  /** Resolves when the connection has closed. */
  readonly closed: Promise<void>;

  private constructor(session: ClientHttp2Session) {
    this.session = session;
    // A reset is one of the ways in which the other side may close.
    session.on('error', () => undefined);
    this.closed = new Promise((resolve) => session.once('close', resolve));
  }

  /** Resolves when the session stands; rejects when TLS does not come about. */
  static async open(url: string, options: SecureClientSessionOptions): Promise<Http2Client> {
    const session = connect(url, options);
    const client = new Http2Client(session);
    await new Promise<void>((resolve, reject) => {
      session.once('error', reject).once('remoteSettings', () => resolve());
    });
    return client;
  }

  /** Begins a request; its body is the caller's to send. */
  begin(method: string, path: string, headers: Readonly<Record<string, string>> = {}): ClientHttp2Stream {
    const stream = this.session.request(
      { ':method': method, ':path': path, ...headers },
      { endStream: false },
    );
    stream.on('error', () => undefined);
    return stream;
  }

  /** A private call with a form body. */
  private(endpoint: string, fields: Readonly<Record<string, string>> = {}): Promise<Http2Reply> {
    const body = new URLSearchParams(fields).toString();
    return this.raw('POST', `/0/private/${endpoint}`, body, {
      'content-type': 'application/x-www-form-urlencoded',
    });
  }

  /** Any request, its bytes as given. */
  raw(
    method: string,
    path: string,
    body: string | Buffer = '',
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Http2Reply> {
    const stream = this.begin(method, path, headers);
    stream.end(body);
    return replyOf(stream);
  }

  async close(): Promise<void> {
    this.session.destroy();
    await this.closed;
  }
}

/** Rejects when the stream is reset or the connection lost before the answer was whole. */
export function replyOf(stream: ClientHttp2Stream): Promise<Http2Reply> {
  return new Promise((resolve, reject) => {
    let headers: Record<string, unknown> = {};
    let ended = false;
    const chunks: Buffer[] = [];
    stream.once('response', (response) => (headers = response));
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.once('end', () => (ended = true));
    stream.once('close', () => {
      const status = Number(headers[':status'] ?? 0);
      if (!ended || status === 0) {
        reject(new Error(`the stream closed with code ${stream.rstCode}`));
        return;
      }
      const body = Buffer.concat(chunks);
      resolve({ status, headers, body, json: jsonOf(body) });
    });
  });
}

function jsonOf(bytes: Buffer): Http2Reply['json'] {
  try {
    return JSON.parse(bytes.toString()) as NonNullable<Http2Reply['json']>;
  } catch {
    return undefined;
  }
}
