import { connect, type TLSSocket } from 'node:tls';

/** Frame types and flags (RFC 9113 6). */
export const FRAME = {
  DATA: 0,
  HEADERS: 1,
  RST_STREAM: 3,
  SETTINGS: 4,
  PING: 6,
  GOAWAY: 7,
  CONTINUATION: 9,
} as const;
export const END_STREAM = 1;
export const END_HEADERS = 4;

export interface Frame {
  readonly type: number;
  readonly stream: number;
  readonly payload: Buffer;
}

/** HTTP/2 frame by frame, for what no client would send. */
export class RawHttp2 {
  readonly frames: Frame[] = [];
  /** Resolves when the other side has closed the connection. */
  readonly closed: Promise<void>;
  readonly socket: TLSSocket;
  #bytes: Buffer = Buffer.alloc(0);

  private constructor(socket: TLSSocket) {
    this.socket = socket;
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    this.closed = new Promise((resolve) => socket.once('close', () => resolve()));
  }

  static async open(url: string, ca: string): Promise<RawHttp2> {
    const { hostname, port } = new URL(url);
    const socket = connect({ host: hostname, port: Number(port), ca, ALPNProtocols: ['h2'] });
    await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
    return new RawHttp2(socket);
  }

  /** The preface, and settings as pairs of id and value. */
  greet(settings: readonly (readonly [id: number, value: number])[] = []): void {
    const payload = Buffer.alloc(6 * settings.length);
    settings.forEach(([id, value], at) => {
      payload.writeUInt16BE(id, 6 * at);
      payload.writeUInt32BE(value, 6 * at + 2);
    });
    this.socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    this.send(FRAME.SETTINGS, 0, 0, payload);
  }

  send(type: number, flags: number, stream: number, payload: Buffer | string = ''): void {
    this.socket.write(frame(type, flags, stream, Buffer.from(payload)));
  }

  /** Bytes of a HEADERS frame's block: each header literal, never indexed (RFC 7541 6.2.3). */
  block(method: string, path: string, headers: Readonly<Record<string, string>> = {}): Buffer {
    const all = {
      ':method': method,
      ':path': path,
      ':scheme': 'https',
      ':authority': '127.0.0.1',
      ...headers,
    };
    return Buffer.concat(
      Object.entries(all).flatMap(([name, value]) => [Buffer.of(0x10), literal(name), literal(value)]),
    );
  }

  resets(stream: number): number | undefined {
    const found = this.frames.find((each) => each.type === FRAME.RST_STREAM && each.stream === stream);
    return found?.payload.readUInt32BE();
  }

  get goneAway(): boolean {
    return this.frames.some(({ type }) => type === FRAME.GOAWAY);
  }

  #read(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    for (;;) {
      if (this.#bytes.length < 9) return;
      const end = 9 + this.#bytes.readUIntBE(0, 3);
      if (this.#bytes.length < end) return;
      const stream = this.#bytes.readUInt32BE(5) & 0x7fffffff;
      this.frames.push({ type: this.#bytes[3] ?? 0, stream, payload: this.#bytes.subarray(9, end) });
      this.#bytes = this.#bytes.subarray(end);
    }
  }
}

export function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

function literal(text: string): Buffer {
  return Buffer.concat([Buffer.of(text.length), Buffer.from(text)]);
}
