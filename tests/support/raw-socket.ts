import { connect, type Socket } from 'node:net';

/** An HTTP answer, read off the socket without any client's leniency. */
export interface RawReply {
  readonly status: number;
  /** Lower-case names; of a repeated header the values are joined. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** A TCP connection to a listener, for requests that no HTTP client would make. */
export class RawConnection {
  /** Resolves when the other side has closed the connection. */
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  #bytes: Buffer = Buffer.alloc(0);
  #ended = false;
  #wake: () => void = () => undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
      this.#wake();
    });
    // A reset is one of the ways in which the other side may close.
    socket.on('error', () => undefined);
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.#ended = true;
        this.#wake();
        resolve();
      });
    });
  }

  static async open(url: string): Promise<RawConnection> {
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname);
    await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return new RawConnection(socket);
  }

  write(bytes: string | Buffer): void {
    this.#socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
  }

  /** The next whole answer; undefined when the connection closed before there was one. */
  async reply(): Promise<RawReply | undefined> {
    for (;;) {
      const read = readReply(this.#bytes, this.#ended);
      if (read !== undefined) {
        this.#bytes = this.#bytes.subarray(read.length);
        return read.reply;
      }
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** Hangs up at once. */
  hangUp(): void {
    this.#socket.destroy();
  }
}

/** Sends bytes on a connection of their own and gives the first answer, if any came. */
export async function talk(url: string, bytes: string | Buffer): Promise<RawReply | undefined> {
  const connection = await RawConnection.open(url);
  connection.write(bytes);
  const reply = await connection.reply();
  connection.hangUp();
  return reply;
}

/** A request's text with the Host of `url`, unless `headers` names another. */
export function requestText(
  url: string,
  method: string,
  target: string,
  body = '',
  headers: Readonly<Record<string, string>> = {},
): string {
  const own = { Host: new URL(url).host, 'Content-Length': String(Buffer.byteLength(body, 'latin1')) };
  const lines = Object.entries({ ...own, ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${target} HTTP/1.1\r\n${lines.join('')}\r\n${body}`;
}

function readReply(bytes: Buffer, ended: boolean): { reply: RawReply; length: number } | undefined {
  const headEnd = bytes.indexOf('\r\n\r\n');
  if (headEnd < 0) return undefined;
  const [statusLine = '', ...lines] = bytes.toString('latin1', 0, headEnd).split('\r\n');
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const colon = line.indexOf(':');
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    headers[name] = headers[name] === undefined ? value : `${headers[name]}, ${value}`;
  }
  const start = headEnd + 4;
  const status = Number(statusLine.split(' ')[1]);
  const answer = (body: Buffer, end: number): { reply: RawReply; length: number } => ({
    reply: { status, headers, body: Buffer.from(body) },
    length: end,
  });
  if (status < 200) return answer(Buffer.alloc(0), start);
  // The listeners send chunks only where there is nothing to say.
  if (headers['transfer-encoding'] === 'chunked') {
    const last = bytes.indexOf('0\r\n\r\n', start);
    return last < 0 ? undefined : answer(bytes.subarray(start, last), last + 5);
  }
  // Without a length the body ends with the connection.
  const end =
    headers['content-length'] === undefined ? bytes.length : start + Number(headers['content-length']);
  const whole = headers['content-length'] === undefined ? ended : bytes.length >= end;
  return whole ? answer(bytes.subarray(start, end), end) : undefined;
}
