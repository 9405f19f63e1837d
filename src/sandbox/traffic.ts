import type { Socket } from 'node:net';

/** A call as it reached the sandbox, whole. */
export interface ReceivedCall {
  /** When the last byte of the request was in, ms by the sandbox's clock. */
  readonly at: number;
  /** The order of arrival, from 1. */
  readonly seq: number;
  readonly method: string;
  /** The raw request target, with its query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly rawBody: Buffer;
  /** API-Key. */
  readonly key: string | undefined;
  /** The nonce as text, from the body of a private call. */
  readonly nonce: string | undefined;
  /** `AddOrder`, `Earn/Allocate`, `Time`; undefined for paths outside /0/private/ and /0/public/. */
  readonly endpoint: string | undefined;
  /** The endpoint's logic ran: not refused by the checks, the counter or the permissions. */
  executed: boolean;
  /** The first E-string answered, or that would have been had no fault eaten the answer. */
  error: string | undefined;
}

interface Tally {
  now: number;
  most: number;
}

/** A private call between the arrival of its headers and the end of its answer or socket. */
export interface Flight {
  readonly socket: Socket;
  readonly ofKey: Tally;
}

/** What was received, and how many private calls are in flight. */
export class Traffic {
  readonly #keep: number;
  readonly #calls: ReceivedCall[] = [];
  readonly #flights = new Map<Socket, Set<Flight>>();
  readonly #all: Tally = { now: 0, most: 0 };
  readonly #byKey = new Map<string, Tally>();
  #count = 0;

  constructor(keep: number) {
    this.#keep = keep;
  }

  /** Oldest first. */
  get received(): readonly ReceivedCall[] {
    const surplus = this.#calls.length - this.#keep;
    return surplus <= 0 ? this.#calls : this.#calls.slice(surplus);
  }

  get receivedCount(): number {
    return this.#count;
  }

  get inFlight(): number {
    return this.#all.now;
  }

  get maxInFlight(): number {
    return this.#all.most;
  }

  inFlightOf(key: string): number {
    return this.#byKey.get(key)?.now ?? 0;
  }

  maxInFlightOf(key: string): number {
    return this.#byKey.get(key)?.most ?? 0;
  }

  get sockets(): Iterable<Socket> {
    return this.#flights.keys();
  }

  /** Follows a socket: whatever is in flight on it ends with it. */
  opened(socket: Socket): void {
    this.#flights.set(socket, new Set());
    socket.once('close', () => {
      for (const flight of this.#flights.get(socket) ?? []) this.ended(flight);
      this.#flights.delete(socket);
    });
  }

  begun(socket: Socket, key: string | undefined): Flight {
    const flight = { socket, ofKey: this.#tally(key ?? '') };
    this.#flights.get(socket)?.add(flight);
    for (const tally of [this.#all, flight.ofKey]) {
      tally.now += 1;
      tally.most = Math.max(tally.most, tally.now);
    }
    return flight;
  }

  /** May be called twice. */
  ended(flight: Flight): void {
    if (this.#flights.get(flight.socket)?.delete(flight) !== true) return;
    this.#all.now -= 1;
    flight.ofKey.now -= 1;
  }

  /** The number of the call that arrives now. */
  nextSeq(): number {
    this.#count += 1;
    return this.#count;
  }

  /** Keeps the call among the latest. */
  keep(call: ReceivedCall): void {
    this.#calls.push(call);
    // Cut back rarely: shifting a long array for every call would be felt in benchmarks.
    if (this.#calls.length >= 2 * this.#keep + 64) this.#calls.splice(0, this.#calls.length - this.#keep);
  }

  #tally(key: string): Tally {
    let tally = this.#byKey.get(key);
    if (tally === undefined) {
      tally = { now: 0, most: 0 };
      this.#byKey.set(key, tally);
    }
    return tally;
  }
}
