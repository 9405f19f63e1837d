import { setTimeout as delay } from 'node:timers/promises';
import { Lane, shuttingDown, type LaneOptions } from './lane.js';
import type { Tenures } from './tenure.js';

/** The lanes of a proxy: one for all keys (`global`), or one for each (`key`), each with a connection of its own. */
export class Routes<Connection extends { close(): Promise<void> }> {
  readonly #routes = new Map<string, { readonly lane: Lane; readonly upstream: Connection }>();
  readonly #mode: 'global' | 'key';
  readonly #laneOptions: LaneOptions;
  readonly #tenures: Pick<Tenures, 'of'>;
  readonly #connect: () => Connection;
  #closed = false;

  constructor(
    mode: 'global' | 'key',
    laneOptions: LaneOptions,
    tenures: Pick<Tenures, 'of'>,
    connect: () => Connection,
  ) {
    this.#mode = mode;
    this.#laneOptions = laneOptions;
    this.#tenures = tenures;
    this.#connect = connect;
  }

  /** The lane in which calls of the key with this fingerprint wait. Throws ProxyError `shutting-down` after a close. */
  of(fingerprint: string): { readonly lane: Lane; readonly upstream: Connection } {
    if (this.#closed) throw shuttingDown();
    const name = this.#mode === 'global' ? 'global' : fingerprint;
    let route = this.#routes.get(name);
    if (route === undefined) {
      route = { lane: new Lane(this.#laneOptions, this.#tenures.of(name)), upstream: this.#connect() };
      this.#routes.set(name, route);
    }
    return route;
  }

  /** The lanes there are by now: `global`, or the fingerprint of the key each is for. */
  get lanes(): ReadonlyMap<string, { readonly lane: Lane }> {
    return this.#routes;
  }

  get waiting(): number {
    return this.#sum((lane) => lane.waiting);
  }

  get inFlight(): number {
    return this.#sum((lane) => lane.inFlight);
  }

  /** Fails what waits, lets what is in flight end for at most `graceMs`, then drops the connections. */
  async close(graceMs: number): Promise<void> {
    this.#closed = true;
    const routes = [...this.#routes.values()];
    const timer = new AbortController();
    await Promise.race([
      Promise.all(routes.map(({ lane }) => lane.close())),
      delay(graceMs, undefined, { signal: timer.signal }).catch(() => undefined),
    ]);
    timer.abort();
    await Promise.all(routes.map(({ upstream }) => upstream.close()));
  }

  #sum(of: (lane: Lane) => number): number {
    return [...this.#routes.values()].reduce((sum, { lane }) => sum + of(lane), 0);
  }
}
