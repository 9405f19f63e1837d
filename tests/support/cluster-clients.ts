import { setTimeout as delay } from 'node:timers/promises';
import { Balancer, LostCall, type Answered } from './balancer.js';
import { noncesAt } from './process-world.js';
import type { ClusterNode, ClusterWorld } from './cluster-world.js';

/** An order is repeated with its id until its client is told what became of it, but no longer than this. */
const PATIENCE_MS = 60_000;
const AGAIN_MS = 100;
/** Certainly not sent, whatever became of earlier attempts with the id: that is told by a repeat. */
const NOT_SENT = new Set([
  'not-owner',
  'shutting-down',
  'queue-full',
  'queue-timeout',
  'upstream-unreachable',
]);

/** An order of a client's, and what it was told of it. */
export interface PlacedOrder {
  readonly id: string;
  /** Unix ms. */
  readonly askedAt: number;
  /** What each attempt came to. */
  readonly attempts: string[];
  /** Unix ms; when it was told. */
  toldAt?: number;
  txid?: string;
  /** An error of Kraken's. */
  refusal?: string;
}

/** A good answer: when, unix ms, and by whom. */
export interface Good {
  readonly at: number;
  readonly node: ClusterNode;
}

export interface ClientOptions {
  /** Programs that place orders. */
  readonly orders: number;
  /** Programs that read. */
  readonly reads: number;
  /** Between two calls of a program, ms. Default 0. */
  readonly pauseMs?: number;
}

/**
 * Programs that call a cluster through a load balancer, one call after the other, until they are stopped. Some place
 * orders with a client id each, and repeat one with the same id, wherever it is led then, until they are told what
 * became of it. The others read, and take what they are told.
 */
export class ClusterClients {
  readonly orders: PlacedOrder[] = [];
  readonly good: Good[] = [];
  /** What calls were answered other than with a result, and how often: `code: envelope`. */
  readonly errors = new Map<string, number>();
  /** How calls were lost, and how often. */
  readonly lost = new Map<string, number>();
  readonly balancer: Balancer;
  readonly #pauseMs: number;
  readonly #running: Promise<void>[];
  #isStopped = false;
  #ids = 0;

  constructor(balancer: Balancer, { orders, reads, pauseMs = 0 }: ClientOptions) {
    this.balancer = balancer;
    this.#pauseMs = pauseMs;
    this.#running = [
      ...Array.from({ length: orders }, () => this.#placeOrders()),
      ...Array.from({ length: reads }, () => this.#read()),
    ];
  }

  /** The calls under way come to their end. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all(this.#running);
  }

  /**
   * Asks again for the orders that were told between two moments, unix ms, as a client does that has lost its own memory.
   * Gives those that it was told otherwise of now, and how many there were.
   */
  async askAgain(from: number, to: number): Promise<{ asked: number; changed: PlacedOrder[] }> {
    const told = this.orders.filter(({ toldAt = Infinity }) => toldAt >= from && toldAt <= to);
    const repeats = told.map(({ id }): PlacedOrder => ({ id, askedAt: Date.now(), attempts: [] }));
    await Promise.all(repeats.map((repeat) => this.settle(repeat)));
    return { asked: told.length, changed: repeats.filter(({ txid }, index) => txid !== told[index]?.txid) };
  }

  /** Places an order, or asks what became of it, until that is told. */
  async settle(order: PlacedOrder): Promise<void> {
    const fields = { pair: 'XBTUSD', type: 'buy', ordertype: 'market', volume: '0.0001' };
    const over = performance.now() + PATIENCE_MS;
    while (performance.now() < over) {
      const answered = await this.#call('AddOrder', { ...fields, cl_ord_id: order.id });
      if (answered instanceof LostCall) {
        order.attempts.push(`${new Date().toISOString()} ${answered.message}`);
        await delay(AGAIN_MS);
        continue;
      }
      const { node, code, error, result } = answered;
      order.attempts.push(`${new Date().toISOString()} ${node.name}: ${code} ${error.join()}`);
      if (error.length === 0) order.txid = (result as { txid: string[] }).txid[0] ?? '';
      else if (!NOT_SENT.has(code) && code !== 'outcome-unknown') order.refusal = error.join();
      order.toldAt = Date.now();
      if (order.txid !== undefined || order.refusal !== undefined) return;
      await delay(AGAIN_MS);
    }
  }

  async #placeOrders(): Promise<void> {
    while (!this.#isStopped) {
      const id = `c-${String(this.#ids++).padStart(6, '0')}`;
      const order: PlacedOrder = { id, askedAt: Date.now(), attempts: [] };
      this.orders.push(order);
      await this.settle(order);
      await delay(this.#pauseMs);
    }
  }

  async #read(): Promise<void> {
    while (!this.#isStopped) {
      const answered = await this.#call('Balance', {});
      const isGood = !(answered instanceof LostCall) && answered.error.length === 0;
      await delay(isGood ? this.#pauseMs : AGAIN_MS);
    }
  }

  async #call(endpoint: string, fields: Readonly<Record<string, string>>): Promise<Answered | LostCall> {
    try {
      const answered = await this.balancer.call(endpoint, fields);
      const { node, code, error } = answered;
      if (error.length === 0) this.good.push({ at: Date.now(), node });
      else count(this.errors, `${code}: ${error.join()}`);
      return answered;
    } catch (error) {
      if (!(error instanceof LostCall)) throw error;
      count(this.lost, error.code);
      return error;
    }
  }
}

/** Clients of all nodes, through a load balancer, until they are stopped or the world is closed. */
export function startClients(world: ClusterWorld, options: ClientOptions): ClusterClients {
  const balancer = Balancer.open(world.nodes);
  const clients = new ClusterClients(balancer, options);
  world.onClose(async () => {
    await clients.stop();
    await balancer.close();
  });
  return clients;
}

/**
 * Every order that the clients asked for is at Kraken exactly once, and each was told its own txid; `mayBeTwice` are
 * those that may be there more than once.
 */
export function expectEachOrderOnce(
  { sandbox }: ClusterWorld,
  clients: ClusterClients,
  mayBeTwice: ReadonlySet<string> = new Set(),
): void {
  const there = new Map<string, string[]>();
  for (const { cl_ord_id = '', txid } of sandbox.orders('master'))
    there.set(cl_ord_id, [...(there.get(cl_ord_id) ?? []), txid]);
  const faults = clients.orders.flatMap((order) => {
    const { id, txid, refusal } = order;
    const found = there.get(id) ?? [];
    there.delete(id);
    const isTrue = txid !== undefined && found.includes(txid) && (found.length === 1 || mayBeTwice.has(id));
    return isTrue ? [] : [{ id, told: txid ?? refusal ?? 'nothing', found, attempts: order.attempts }];
  });
  expect(faults).toEqual([]);
  expect([...there.keys()]).toEqual([]);
}

/** Kraken took calls in one rising sequence of nonces. */
export function expectRisingNonces({ sandbox }: ClusterWorld): void {
  const taken = sandbox.received.filter(
    ({ error, nonce }) => error !== 'EAPI:Invalid nonce' && nonce !== undefined,
  );
  const nonces = taken.map(({ nonce }) => BigInt(nonce ?? 0));
  const fallen = nonces.filter((nonce, index) => index > 0 && nonce <= (nonces[index - 1] ?? 0n));
  expect(fallen).toEqual([]);
}

/** The sandbox took every call, in one rising sequence, and never two at a time. */
export function expectNoNonceError(world: ClusterWorld): void {
  expect(world.sandbox.invalidNonces).toBe(0);
  const nonces = noncesAt(world.sandbox);
  expect(nonces.filter((nonce, index) => index > 0 && nonce <= (nonces[index - 1] ?? 0n))).toEqual([]);
}

/** As text: the most frequent first. */
export function listed(counts: ReadonlyMap<string, number>): string {
  const entries = [...counts].sort(([, a], [, b]) => b - a);
  return entries.map(([what, times]) => `${what} ${times}`).join('; ') || 'none';
}

function count(counts: Map<string, number>, what: string): void {
  counts.set(what, (counts.get(what) ?? 0) + 1);
}
