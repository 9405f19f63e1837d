import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Lane } from '../../src/lane/lane.js';
import { StartupWindow } from '../../src/lane/startup.js';
import { FileStore, parseState } from '../../src/nonce/file-store.js';
import type { Nonces } from '../../src/nonce/nonces.js';
import { NonceSequence } from '../../src/nonce/sequence.js';
import { SharedLanes } from '../../src/nonce/shared-lanes.js';
import { Database } from '../../src/postgres/database.js';
import { Secret } from '../../src/secret.js';
import { PostgresServer, withPostgres } from '../support/postgres.js';

const KEY = '0123456789abcdef';
const OTHER = 'fedcba9876543210';
const NS_PER_MS = 1_000_000n;
const HOUR_MS = 3_600_000;

/** A process with nonces. */
interface Process {
  readonly nonces: Nonces;
  /** Draws in the turn of a call, and does something before it ends. */
  readonly draw: (key: string, inTurn?: (nonce: bigint) => Promise<void>) => Promise<bigint>;
  /** Ends it at once: nothing is written any more. */
  crash(): Promise<void>;
}

/** Where the state is kept. */
interface Place {
  start(now?: () => number): Promise<Process>;
  /** What the next process would find: the floor of all, or of a key that has its own. */
  durable(key?: string): Promise<bigint>;
  /** Somebody else takes the state away from the process that runs. */
  takeAway(): Promise<void>;
  remove(): Promise<void>;
}

class FilePlace implements Place {
  readonly #folder = mkdtempSync(join(tmpdir(), 'kraken-nonces-'));
  readonly #file = join(this.#folder, 'nonce.txt');

  async start(now = Date.now): Promise<Process> {
    const store = await FileStore.open(this.#file);
    const nonces = await NonceSequence.open(store, { reserveMs: 10_000, now });
    return {
      nonces,
      draw: async (key, inTurn) => {
        const nonce = await nonces.draw(key);
        await inTurn?.(nonce);
        return nonce;
      },
      // The lock goes, the exact floor is not written.
      crash: () => store.close(),
    };
  }

  durable(key?: string): Promise<bigint> {
    const { floor, keyFloors } = parseState(readFileSync(this.#file, 'latin1'), this.#file);
    return Promise.resolve((key === undefined ? undefined : keyFloors.get(key)) ?? floor);
  }

  async takeAway(): Promise<void> {
    await rm(`${this.#file}.lock`, { recursive: true });
  }

  remove(): Promise<void> {
    rmSync(this.#folder, { recursive: true, force: true });
    return Promise.resolve();
  }
}

class PostgresPlace implements Place {
  readonly #server: PostgresServer;
  readonly #url: string;
  #runs = 0;

  private constructor(server: PostgresServer, url: string) {
    this.#server = server;
    this.#url = url;
  }

  static async make(server: PostgresServer): Promise<Place> {
    return new PostgresPlace(server, await server.freshDatabase());
  }

  start(now = Date.now): Promise<Process> {
    const database = new Database({ url: new Secret(this.#url), lanes: 2 });
    const run = `run-${++this.#runs}`;
    const lanes = new SharedLanes({
      ...{ database, run, mode: 'global', wallNow: now },
      onDraw: () => undefined,
      onTrouble: () => undefined,
      onLost: () => undefined,
      silence: () => undefined,
    });
    const startup = new StartupWindow({ windowMs: 0, maxPerSecond: 1, minIntervalMs: 0 });
    const lane = new Lane({ maxWaiting: 10, maxWaitMs: 10_000, startup }, lanes.of('global'));
    return Promise.resolve({
      nonces: lanes,
      draw: async (key, inTurn) =>
        await lane.join(async () => {
          const nonce = await lanes.draw(key);
          await inTurn?.(nonce);
          return nonce;
        }).result,
      crash: async () => {
        await this.#sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE datname = current_database() AND pid <> pg_backend_pid()`);
        await lane.close();
        await lanes.close();
        await database.close();
      },
    });
  }

  async durable(key?: string): Promise<bigint> {
    const [own] = await this.#sql(
      `SELECT floor FROM kraken_proxy.key_floor WHERE fingerprint = '${key ?? ''}'`,
    );
    const [all] = await this.#sql("SELECT floor FROM kraken_proxy.lane WHERE name = 'global'");
    return BigInt(own?.floor ?? all?.floor ?? 0);
  }

  async takeAway(): Promise<void> {
    await this.#sql("UPDATE kraken_proxy.lane SET tenure = tenure + 1, node = 'another'");
  }

  async remove(): Promise<void> {
    // The server goes with its databases.
  }

  #sql(text: string): Promise<readonly { readonly floor?: string }[]> {
    return this.#server.query(this.#url, text);
  }
}

/** What the nonces keep, wherever their state is. */
function keepsItsPromises(make: () => Promise<Place>): void {
  let place: Place;
  let open: Process | undefined;
  beforeEach(async () => {
    place = await make();
  });
  afterEach(async () => {
    await open?.nonces.close().catch(() => undefined);
    await open?.crash();
    open = undefined;
    await place.remove();
  });

  const start = async (now?: () => number): Promise<Process> => (open = await place.start(now));

  it('each nonce is above all before it, on whatever key, and near the clock', async () => {
    const { draw } = await start();
    const before = BigInt(Date.now()) * NS_PER_MS;
    let last = 0n;
    for (let i = 0; i < 50; i++) {
      const nonce = await draw(i % 2 === 0 ? KEY : OTHER);
      expect(nonce).toBeGreaterThan(last);
      expect(String(nonce)).toHaveLength(19);
      last = nonce;
    }
    expect(last).toBeGreaterThan(before);
    expect(last).toBeLessThan(BigInt(Date.now() + 60_000) * NS_PER_MS);
  });

  it('a nonce is durable when it is handed out', async () => {
    const { draw } = await start();
    for (let i = 0; i < 5; i++)
      await draw(KEY, async (nonce) => expect(await place.durable()).toBeGreaterThanOrEqual(nonce));
  });

  it('a process after one that was killed, or stopped in order, goes on above it', async () => {
    const first = await start();
    const one = await first.draw(KEY);
    await first.crash();
    const second = await start();
    const two = await second.draw(KEY);
    expect(two).toBeGreaterThan(one);
    await second.nonces.close();
    await second.crash();
    const third = await start();
    expect(await third.draw(KEY)).toBeGreaterThan(two);
  });

  it('a clock that steps back, or another process with a clock behind, changes nothing', async () => {
    let now = Date.now() + HOUR_MS;
    const first = await start(() => now);
    const one = await first.draw(KEY);
    now -= 2 * HOUR_MS;
    const two = await first.draw(KEY);
    expect(two).toBeGreaterThan(one);
    await first.crash();
    expect(await (await start()).draw(KEY)).toBeGreaterThan(two);
  });

  it('a floor that is lifted for one key is for that key, durable, and never lowered', async () => {
    const { nonces, draw } = await start();
    await draw(KEY);
    const far = BigInt(Date.now() + HOUR_MS) * NS_PER_MS;
    await draw(KEY, () => nonces.lift(far, KEY));
    expect(await place.durable(KEY)).toBeGreaterThanOrEqual(far);
    await nonces.lift(far - 1_000n, KEY);
    expect(await draw(KEY)).toBeGreaterThan(far);
    expect(await draw(OTHER)).toBeLessThan(far);
  });

  it('a floor that is lifted for all is durable, also for the next process', async () => {
    const first = await start();
    await first.draw(KEY);
    const far = BigInt(Date.now() + HOUR_MS) * NS_PER_MS;
    await first.nonces.lift(far);
    expect(await place.durable()).toBeGreaterThanOrEqual(far);
    expect(first.nonces.floorOf()).toBeGreaterThanOrEqual(far);
    await first.crash();
    expect(await (await start()).draw(OTHER)).toBeGreaterThan(far);
  });

  it('a lift that would leave no nonces is refused', async () => {
    const { nonces, draw } = await start();
    await draw(KEY);
    await expect(nonces.lift(2n ** 63n - 10n)).rejects.toThrow(RangeError);
    await expect(nonces.lift(2n ** 63n - 10n, KEY)).rejects.toThrow(RangeError);
    expect(await draw(KEY)).toBeLessThan(BigInt(Date.now() + 60_000) * NS_PER_MS);
  });

  it('it counts what it has handed out', async () => {
    const { nonces, draw } = await start();
    await draw(KEY);
    await draw(OTHER);
    expect(nonces.issued).toBe(2);
    expect(nonces.problem).toBeUndefined();
  });

  it('after somebody else has taken the state, no further nonce is handed out in that turn', async () => {
    const { nonces, draw } = await start();
    const refused: unknown[] = [];
    await draw(KEY, async () => {
      nonces.assertOwned(KEY);
      await place.takeAway();
      // A lock on disk is looked at again once the proof of it has run out.
      if ('floor' in nonces) await new Promise((resolve) => setTimeout(resolve, 2_600));
      const drawn = async (): Promise<bigint> => await nonces.draw(KEY);
      await drawn().catch((error: unknown) => refused.push(error));
    });
    expect(refused).toEqual([expect.objectContaining({ code: 'not-owner' })]);
  });
}

describe('nonces in a file', () => keepsItsPromises(() => Promise.resolve(new FilePlace())));

withPostgres('nonces in PostgreSQL', () => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await PostgresServer.start({ settings: { fsync: 'off' } });
  }, 60_000);
  afterAll(() => server.remove());
  keepsItsPromises(() => PostgresPlace.make(server));
});
