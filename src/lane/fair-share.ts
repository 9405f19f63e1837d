import type { Place } from './waiting-line.js';

/** What one client has been served of a class. */
interface Share {
  readonly client: string;
  /** The virtual time at which what it was served so far is paid off. */
  finish: number;
  /** Its calls that wait, in those lines that may pass each other. */
  readonly flows: Flow[];
}

/**
 * Calls of one class, client, key and group that wait for the same things, in order of arrival. Those that cost
 * nothing do not wait for the counter, exempt ones not for the startup window: they stand in flows of their own.
 */
export class Flow {
  readonly share: Share;
  readonly key: string;
  readonly group: string;
  readonly exempt: boolean;
  readonly isFree: boolean;
  // Those who left stay until they reach the front, or are more than those who wait: that keeps leaving cheap.
  #places: Place[];
  #front = 0;
  #head: Place;
  #waiting = 1;

  constructor(share: Share, first: Place) {
    this.share = share;
    this.key = first.key;
    this.group = first.group;
    this.exempt = first.exempt;
    this.isFree = first.cost === 0;
    this.#places = [first];
    this.#head = first;
  }

  /** The one that has waited longest. An empty flow is in use no more. */
  get head(): Place {
    return this.#head;
  }

  get isEmpty(): boolean {
    return this.#waiting === 0;
  }

  takes({ key, group, exempt, cost }: Place): boolean {
    return this.key === key && this.group === group && this.exempt === exempt && this.isFree === (cost === 0);
  }

  add(place: Place): void {
    this.#places.push(place);
    this.#waiting++;
  }

  /** One of its places waits no longer. */
  drop(): void {
    this.#waiting--;
    if (this.#places.length > 2 * this.#waiting + 64) {
      this.#places = this.#places.filter(({ waiting }) => waiting);
      this.#front = 0;
    }
    while (this.#places[this.#front]?.waiting === false) this.#front++;
    this.#head = this.#places[this.#front] ?? this.#head;
  }

  places(): Place[] {
    return this.#places.filter(({ waiting }) => waiting);
  }
}

/**
 * Shares the turns of one class between clients: start-time fair queueing (Goyal, Vin, Cheng 1996) in units of cost.
 * A client's call starts at max(virtual time, the client's finish), the smallest start is next, the oldest call among
 * equals. Being served moves the client's finish on by the cost, and the virtual time to that start.
 *
 * Among clients that always have something to send, the amounts served differ by one cost at the most. A single call of
 * a client that was quiet waits for the call in flight and for at most one call of each other client, none of the one
 * in flight: however many one client piles up. That is a better bound than deficit round robin gives, which lets every
 * other client spend a whole quantum first. Clients that may not go for a while earn nothing by it.
 */
export class FairShare {
  readonly #shares = new Map<string, Share>();
  readonly #flows: Flow[] = [];
  #virtual = 0;
  /** The latest finish of any client. */
  #paidOff = 0;
  #forgetAt = 32;
  #waiting = 0;

  get waiting(): number {
    return this.#waiting;
  }

  /** Clients it remembers. */
  get clients(): number {
    return this.#shares.size;
  }

  /** The flows in which calls wait, in no order. */
  get flows(): readonly Flow[] {
    return this.#flows;
  }

  /** The flow whose head is next, by the shares alone. */
  first(): Flow | undefined {
    let first: Flow | undefined;
    for (const flow of this.#flows) {
      if (first === undefined || this.#compare(flow, first) < 0) first = flow;
    }
    return first;
  }

  /** All flows, in the order in which their heads are due. */
  inOrder(): Flow[] {
    return [...this.#flows].sort((a, b) => this.#compare(a, b));
  }

  add(place: Place): void {
    const share = this.#shareOf(place.client);
    this.#waiting++;
    let flow = share.flows.find((one) => one.takes(place));
    if (flow === undefined) {
      flow = new Flow(share, place);
      share.flows.push(flow);
      this.#flows.push(flow);
    } else {
      flow.add(place);
    }
    place.flow = flow;
  }

  /** The place waits no longer: it was served, or has left. */
  remove({ flow }: Place): void {
    if (flow === undefined) return;
    this.#waiting--;
    flow.drop();
    if (!flow.isEmpty) return;
    takeOut(this.#flows, flow);
    takeOut(flow.share.flows, flow);
  }

  /** Puts what is served on the account of its client. */
  charge({ flow, cost }: Place): void {
    if (flow === undefined) return;
    const { share } = flow;
    this.#virtual = Math.max(this.#virtual, share.finish);
    share.finish = this.#virtual + Math.max(1, cost);
    this.#paidOff = Math.max(this.#paidOff, share.finish);
    if (this.#shares.size > this.#forgetAt) this.#forget();
  }

  /** Nothing waits and nothing runs: whoever comes now owes nothing. */
  settle(): void {
    this.#virtual = this.#paidOff;
  }

  #compare(a: Flow, b: Flow): number {
    const start = Math.max(this.#virtual, a.share.finish) - Math.max(this.#virtual, b.share.finish);
    return start === 0 ? a.head.sequence - b.head.sequence : start;
  }

  #shareOf(client: string): Share {
    let share = this.#shares.get(client);
    if (share === undefined) {
      share = { client, finish: 0, flows: [] };
      this.#shares.set(client, share);
    }
    return share;
  }

  #forget(): void {
    for (const { client, finish, flows } of this.#shares.values()) {
      if (flows.length === 0 && finish <= this.#virtual) this.#shares.delete(client);
    }
    this.#forgetAt = Math.max(32, 2 * this.#shares.size);
  }
}

function takeOut<T>(list: T[], one: T): void {
  const last = list.pop();
  if (last === undefined || last === one) return;
  list[list.indexOf(one)] = last;
}
