import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/** What does not pass a gate that is cut: bytes to the target, bytes from it, or both. */
export type Cut = 'requests' | 'answers' | 'both';

/** One client's connection and ours to the target. */
interface Link {
  readonly near: Socket;
  readonly far: Socket;
}

/**
 * A TCP relay on a port of 127.0.0.1. It stands for the address that a failover moves (`target`), for a network that
 * goes silent (`cut`, `heal`), and for one that breaks connections (`drop`).
 */
export class TcpGate {
  /** A port of 127.0.0.1 to which new connections lead. Those that are open stay where they are; see `drop`. */
  target: number;
  readonly port: number;
  readonly #server: Server;
  readonly #links = new Set<Link>();
  #cut: Cut | undefined;

  private constructor(server: Server, target: number) {
    this.target = target;
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
    server.on('connection', (near) => this.#take(near));
  }

  /** On a free port of 127.0.0.1. */
  static async open(target: number): Promise<TcpGate> {
    const server = createServer({ allowHalfOpen: true });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject).listen(0, '127.0.0.1', resolve);
    });
    return new TcpGate(server, target);
  }

  /** How many connections are open. */
  get connections(): number {
    return this.#links.size;
  }

  /** The same url by way of this gate. */
  through(url: string): string {
    const parsed = new URL(url);
    parsed.host = `127.0.0.1:${this.port}`;
    return parsed.href;
  }

  /**
   * From now on nothing passes, not even the end of a connection; all stay open. What is sent meanwhile is kept, as by a
   * sender that repeats it, and arrives at `heal`. New connections are taken, lead to the target of that moment, and hear
   * nothing.
   */
  cut(what: Cut = 'both'): void {
    this.#cut = what;
    for (const link of this.#links) this.#flow(link);
  }

  /** Everything passes again, what was held back first. */
  heal(): void {
    this.#cut = undefined;
    for (const link of this.#links) this.#flow(link);
  }

  /** Breaks all connections at once, on both sides. */
  drop(): void {
    for (const link of this.#links) this.#break(link);
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.drop();
    await closed;
  }

  #take(near: Socket): void {
    const link = { near, far: connect({ port: this.target, host: '127.0.0.1', allowHalfOpen: true }) };
    this.#links.add(link);
    for (const socket of [near, link.far]) {
      socket.on('error', () => undefined);
      socket.on('close', () => this.#flow(link));
    }
    this.#flow(link);
  }

  #flow(link: Link): void {
    const { near, far } = link;
    const requests = this.#cut === undefined || this.#cut === 'answers';
    const answers = this.#cut === undefined || this.#cut === 'requests';
    // What is closed on one side is so on the other, unless the news of it cannot pass.
    if ((near.destroyed && (requests || far.destroyed)) || (far.destroyed && answers)) {
      this.#break(link);
      return;
    }
    pass(near, far, requests);
    pass(far, near, answers);
  }

  #break(link: Link): void {
    this.#links.delete(link);
    link.near.destroy();
    link.far.destroy();
  }
}

function pass(from: Socket, to: Socket, mayPass: boolean): void {
  // Never twice: what is piped twice arrives twice.
  from.unpipe(to);
  if (mayPass) from.pipe(to);
  else from.pause();
}
