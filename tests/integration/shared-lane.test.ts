import { setTimeout as delay } from 'node:timers/promises';
import { Lane } from '../../src/lane/lane.js';
import { StartupWindow } from '../../src/lane/startup.js';
import type { LaneState } from '../../src/lane/tenure.js';
import { TakenOver } from '../../src/nonce/nonces.js';
import { LaneLost } from '../../src/nonce/nonces.js';
import { SharedLanes } from '../../src/nonce/shared-lanes.js';
import { Database } from '../../src/postgres/database.js';
import { Secret } from '../../src/secret.js';
import { PostgresServer, withPostgres } from '../support/postgres.js';
import { until } from '../support/until.js';

const KEY = '0123456789abcdef';
const OTHER = 'fedcba9876543210';
const NS_PER_MS = 1_000_000n;

interface NodeOptions {
  readonly mode?: 'global' | 'key';
  readonly wallNow?: () => number;
  readonly url?: string;
  readonly state?: LaneState;
  readonly patienceMs?: number;
  readonly lanes?: number;
}

/** One node's lanes, and the lane of its calls. */
class TestNode {
  readonly run: string;
  readonly database: Database;
  readonly lanes: SharedLanes;
  readonly lane: Lane;
  readonly lost: Error[] = [];
  readonly takenUp: LaneState[] = [];
  state: LaneState;

  constructor(
    url: string,
    run: string,
    { mode = 'global', state = {}, wallNow, patienceMs, lanes = 4 }: NodeOptions = {},
  ) {
    this.run = run;
    this.state = state;
    this.database = new Database({ url: new Secret(url), lanes, patienceMs: 2_000, name: run });
    this.lanes = new SharedLanes({
      ...{ database: this.database, run, mode },
      onDraw: () => undefined,
      onTrouble: () => undefined,
      onLost: (_, why) => this.lost.push(why),
      silence: () => undefined,
      ...(wallNow === undefined ? {} : { wallNow }),
      ...(patienceMs === undefined ? {} : { patienceMs }),
    });
    this.lanes.share({
      takeUp: (_, left) => {
        this.takenUp.push(left);
        if ('isUnreadable' in left) throw new TypeError('no such thing');
      },
      leave: () => this.state,
    });
    this.lane = this.open(mode === 'global' ? 'global' : KEY);
  }

  /** A lane of this node by its name. */
  open(name: string): Lane {
    const startup = new StartupWindow({ windowMs: 0, maxPerSecond: 1, minIntervalMs: 0 });
    return new Lane({ maxWaiting: 1_000, maxWaitMs: 20_000, startup }, this.lanes.of(name));
  }

  /** A call that draws a nonce and takes so long. */
  async call(ms = 0, key = KEY, lane = this.lane): Promise<bigint> {
    return await lane.join(async () => {
      const nonce = await this.lanes.draw(key);
      if (ms > 0) await delay(ms);
      return nonce;
    }).result;
  }

  /** A call that has its nonce and goes on until it is let go. */
  async hold(): Promise<() => Promise<void>> {
    let release = (): void => undefined;
    let begin = (): void => undefined;
    const begun = new Promise<void>((resolve) => (begin = resolve));
    const { result } = this.lane.join(async () => {
      await this.lanes.draw(KEY);
      const end = new Promise<void>((resolve) => (release = resolve));
      begin();
      await end;
    });
    await Promise.race([begun, result]);
    return async () => {
      release();
      await result;
    };
  }

  async close(): Promise<void> {
    await this.lane.close();
    await this.lanes.close();
    await this.database.close();
  }
}

withPostgres('a lane that nodes share', () => {
  let server: PostgresServer;
  let url: string;
  let nodes: TestNode[] = [];
  beforeAll(async () => {
    server = await PostgresServer.start({ settings: { fsync: 'off' } });
  }, 60_000);
  afterAll(() => server.remove());
  beforeEach(async () => {
    url = await server.freshDatabase();
  });
  afterEach(async () => {
    await Promise.all(nodes.map((node) => node.close()));
    nodes = [];
  });

  function node(options: NodeOptions = {}): TestNode {
    const made = new TestNode(options.url ?? url, `run-${nodes.length + 1}`, options);
    nodes.push(made);
    return made;
  }

  const sql = async (text: string): Promise<readonly Record<string, unknown>[]> =>
    await server.query(url, text);

  it('is one node’s at a time: no two calls at once, and nonces rise in the order of the calls', async () => {
    const all = [node(), node(), node(), node()];
    let inFlight = 0;
    let most = 0;
    const nonces: bigint[] = [];
    const call = async (one: TestNode): Promise<void> => {
      await one.lane.join(async () => {
        most = Math.max(most, ++inFlight);
        nonces.push(await one.lanes.draw(KEY));
        await delay(1);
        inFlight--;
      }).result;
    };
    await Promise.all(all.flatMap((one) => Array.from({ length: 50 }, () => call(one))));
    expect(most).toBe(1);
    expect(nonces).toHaveLength(200);
    expect(nonces.every((nonce, index) => index === 0 || nonce > (nonces[index - 1] ?? 0n))).toBe(true);
    const tenures = (await sql('SELECT tenure FROM kraken_proxy.lane'))[0]?.tenure;
    expect(Number(tenures)).toBeGreaterThan(3); // they took turns
  }, 30_000);

  it('a node that is alone keeps it over calls that follow each other', async () => {
    const one = node();
    await one.call();
    await one.call(); // from here on it knows that it is alone
    for (let i = 0; i < 20; i++) await one.call();
    const [row] = await sql('SELECT tenure FROM kraken_proxy.lane');
    expect(Number(row?.tenure)).toBeLessThan(12);
  });

  it('a nonce is durable before it is handed out, and above the clock of node and database', async () => {
    const ahead = Date.now() + 60_000;
    const one = node({ wallNow: () => ahead });
    const nonce = await one.call();
    expect(nonce).toBe(BigInt(ahead) * NS_PER_MS);
    expect(await sql('SELECT floor FROM kraken_proxy.lane')).toEqual([{ floor: nonce.toString() }]);
    const behind = node({ wallNow: () => ahead - 120_000 });
    expect(await behind.call()).toBe(nonce + 1n);
  });

  it('a key with a floor of its own gets nonces above it, and only that key', async () => {
    const one = node();
    const far = (BigInt(Date.now()) + 3_600_000n) * NS_PER_MS;
    await one.lanes.lift(far, KEY);
    expect(await one.call(0, KEY)).toBe(far + 1n);
    expect(await one.call(0, OTHER)).toBeLessThan(far);
    expect(await node().call(0, KEY)).toBe(far + 2n);
  });

  it('a floor that is lifted for all is lifted for every node', async () => {
    const [one, two] = [node(), node()];
    const far = (BigInt(Date.now()) + 3_600_000n) * NS_PER_MS;
    await one.lanes.lift(far);
    expect(await two.call()).toBe(far + 1n);
    await expect(one.lanes.lift(2n ** 63n - 10n)).rejects.toThrow(RangeError);
  });

  it('a lane for each key starts above the lane of all, and the lane of all above those of each', async () => {
    const ahead = Date.now() + 60_000;
    const all = node({ wallNow: () => ahead });
    const nonce = await all.call();
    await all.close();
    const each = node({ mode: 'key' });
    const next = await each.call();
    expect(next).toBeGreaterThan(nonce);
    await each.close();
    expect(await node().call()).toBeGreaterThan(next);
  });

  it('nodes with one lane for all and with one for each key do not send at once', async () => {
    const [all, each] = [node(), node({ mode: 'key' })];
    let inFlight = 0;
    let most = 0;
    const call = async (one: TestNode): Promise<void> => {
      await one.lane.join(async () => {
        await one.lanes.draw(KEY);
        most = Math.max(most, ++inFlight);
        await delay(2);
        inFlight--;
      }).result;
    };
    await Promise.all([all, each].flatMap((one) => Array.from({ length: 20 }, () => call(one))));
    expect(most).toBe(1);
  });

  it('lanes of different keys do not wait for each other', async () => {
    const one = node({ mode: 'key' });
    const other = one.open(OTHER);
    const letGo = await one.hold();
    await node({ mode: 'key' }).call(0, OTHER, nodes[1]?.open(OTHER));
    await one.call(0, OTHER, other);
    await letGo();
    await other.close();
  });

  it('what a node leaves is taken up by the next, and not by itself', async () => {
    const [one, two] = [node({ state: { from: 'one' } }), node({ state: { from: 'two' } })];
    await one.call();
    await one.call();
    await two.call();
    expect(two.takenUp).toEqual([{ from: 'one' }]);
    expect(one.takenUp).toEqual([{}]); // of a lane that nobody had before
  });

  it('what a node learns in a turn whose lock was lost is left all the same, if nobody had the lane since', async () => {
    const one = node({ state: { learned: 'nothing' } });
    await one.lane.join(async () => {
      await one.lanes.draw(KEY);
      one.state = { learned: 'that the key is locked out' };
      await sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'");
      await until(() => one.lost.length === 1);
    }).result;
    await until(async () => (await sql('SELECT is_free FROM kraken_proxy.lane'))[0]?.is_free === true);
    const two = node();
    await two.call();
    expect(two.takenUp).toEqual([{ learned: 'that the key is locked out' }]);
  });

  it('what cannot be read of what was left is left out, and the lane goes on', async () => {
    const [one, two] = [node({ state: { isUnreadable: true } }), node()];
    await one.call();
    expect(await two.call()).toBeGreaterThan(0n);
  });

  it('lanes that wait for others do not keep a free one waiting, though they take all connections', async () => {
    const [one, two] = [node({ mode: 'key' }), node({ mode: 'key', lanes: 1 })];
    const letGo = await one.hold();
    const waits = two.call();
    const free = two.open(OTHER);
    await two.call(0, OTHER, free);
    expect(two.lanes.problem).toBeUndefined();
    await Promise.all([letGo(), waits]);
    await free.close();
  });

  it('a lane whose row is gone is made anew, above all that this node knows of', async () => {
    const one = node({ wallNow: () => Date.now() + 60_000 });
    const before = await one.call();
    await until(() => !one.lanes.of('global').isOurs);
    await sql('DELETE FROM kraken_proxy.lane');
    expect(await one.call()).toBeGreaterThan(before);
  });

  it('a lane whose nonces cannot be written is tried again in peace, says so, and recovers', async () => {
    const one = node({ patienceMs: 300 });
    await one.call();
    await sql('ALTER TABLE kraken_proxy.lane ADD CONSTRAINT broken CHECK (floor < 0) NOT VALID');
    const [{ calls: before }] = (await sql(
      'SELECT xact_rollback AS calls FROM pg_stat_database WHERE datname = current_database()',
    )) as [{ calls: string }];
    await expect(one.lane.join(async () => await one.lanes.draw(KEY)).result).rejects.toMatchObject({
      code: 'not-owner',
    });
    expect(one.lanes.problem).toContain('broken');
    expect(before).toBeDefined();
    await sql('ALTER TABLE kraken_proxy.lane DROP CONSTRAINT broken');
    await until(() => one.lanes.problem === undefined);
    await one.call();
  });

  it('limits of time that the database has for all end neither a wait nor a tenure', async () => {
    const name = new URL(url).pathname.slice(1);
    await sql(`ALTER DATABASE "${name}" SET statement_timeout = '300ms'`);
    await sql(`ALTER DATABASE "${name}" SET transaction_timeout = '600ms'`);
    await sql(`ALTER DATABASE "${name}" SET default_transaction_isolation = 'repeatable read'`);
    const [one, two] = [node(), node()];
    const long = one.call(1_500);
    await until(() => one.lane.inFlight === 1);
    await Promise.all([long, two.call()]);
    expect([...one.lost, ...two.lost]).toEqual([]);
    expect(two.lanes.problem).toBeUndefined();
  });

  it('a nonce may wait for its connection while the lock is heard of, and not without', async () => {
    const one = node();
    await one.lane.join(async () => {
      await one.lanes.draw(KEY);
      await delay(2_200);
      one.lanes.assertOwned(KEY);
    }).result;
    let now = Date.now();
    const frozen = node({ wallNow: () => now });
    await frozen.lane.join(async () => {
      await frozen.lanes.draw(KEY);
      now += 3_000; // as after a sleep of the machine
      expect(() => frozen.lanes.assertOwned(KEY)).toThrow(LaneLost);
    }).result;
  });

  it('a node that waits for the lane is closed at once', async () => {
    const [one, two] = [node(), node()];
    const letGo = await one.hold();
    const waits = two.call().catch((error: unknown) => error);
    await until(async () => (await sql('SELECT FROM pg_locks WHERE NOT granted')).length > 0);
    const started = performance.now();
    await two.close();
    expect(performance.now() - started).toBeLessThan(900);
    expect(await waits).toMatchObject({ code: 'shutting-down' });
    await letGo();
  });

  it('a lock that is lost in a turn: no further nonce, what was drawn is not used, and the next call goes on', async () => {
    const one = node();
    const seen: unknown[] = [];
    await one.lane.join(async () => {
      await one.lanes.draw(KEY);
      one.lanes.assertOwned(KEY);
      await sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'");
      await until(() => one.lost.length === 1);
      await one.lanes.draw(KEY).catch((error: unknown) => seen.push(error));
      try {
        one.lanes.assertOwned(KEY);
      } catch (error) {
        seen.push(error);
      }
    }).result;
    expect(seen).toEqual([expect.any(LaneLost), expect.any(LaneLost)]);
    await one.call();
    expect(one.lost).toHaveLength(1);
  });

  it('a node that has lost the lock unseen gets no nonce once another one had one', async () => {
    const one = node();
    let seen: unknown;
    await one.lane.join(async () => {
      await one.lanes.draw(KEY);
      // As after a freeze: the database gave the lock away, and this node has heard nothing of it yet.
      await sql("UPDATE kraken_proxy.lane SET tenure = tenure + 1, node = 'another'");
      seen = await one.lanes.draw(KEY).catch((error: unknown) => error);
    }).result;
    expect(seen).toBeInstanceOf(LaneLost);
    expect((seen as Error).message).toContain('another node has taken');
    expect(one.lost).toHaveLength(1);
  });

  it('a call of a node that is no more is given two seconds, from its nonce on', async () => {
    const two = node();
    await sql(
      "INSERT INTO kraken_proxy.lane (name, tenure, node, is_free, drawn_at) VALUES ('global', 7, 'dead', false, clock_timestamp() - interval '1.5 s')",
    );
    const started = performance.now();
    await two.call();
    expect(performance.now() - started).toBeGreaterThan(400);
    expect(performance.now() - started).toBeLessThan(2_000);
    expect(two.takenUp).toHaveLength(1);
  });

  it('and no longer than it takes, where it is known to have ended', async () => {
    const two = node();
    await sql(
      "INSERT INTO kraken_proxy.lane (name, tenure, node, is_free, drawn_at) VALUES ('global', 7, 'cut-off', false, clock_timestamp())",
    );
    const started = performance.now();
    const called = two.call();
    await until(async () => (await sql("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'")).length > 0);
    await sql("UPDATE kraken_proxy.lane SET is_free = true WHERE node = 'cut-off'");
    await called;
    expect(performance.now() - started).toBeLessThan(1_500);
  });

  it('is not given back while a call is in flight, also one that came right after another', async () => {
    const [one, two] = [node(), node()];
    let inFlight = 0;
    let most = 0;
    const call = async (by: TestNode, ms: number): Promise<void> => {
      await by.lane.join(async () => {
        await by.lanes.draw(KEY);
        most = Math.max(most, ++inFlight);
        await delay(ms);
        await by.lanes.draw(KEY); // as for a question about it
        inFlight--;
      }).result;
    };
    await call(one, 0);
    await delay(5); // it lingers for the next one
    const long = call(one, 150);
    await delay(60);
    await Promise.all([long, call(two, 1)]);
    expect(most).toBe(1);
    expect(one.lost).toEqual([]);
  });

  it('a call that is overdue asks for nothing: each look at it would bring about the next', async () => {
    const one = node();
    await one.call();
    const lane = one.lanes.of('global');
    await until(async () => (await sql('SELECT is_free FROM kraken_proxy.lane'))[0]?.is_free === true);
    await delay(20);
    let changes = 0;
    lane.onChange(() => changes++);
    lane.want(-1);
    await delay(20);
    expect(changes).toBe(0);
    lane.want(1_000);
    await until(() => lane.isOurs);
  });

  it('a call that another node has taken over gets no nonce, and the lane stays ours', async () => {
    const one = node();
    await sql(
      `INSERT INTO kraken_proxy.answer (key, state, json, node) VALUES ('mine', 'under-way', '{}', 'run-1'), ('theirs', 'under-way', '{}', 'run-9')`,
    );
    await one.lane.join(async () => {
      expect(await one.lanes.draw(KEY, { answer: 'mine' })).toBeGreaterThan(0n);
      await expect(one.lanes.draw(KEY, { answer: 'theirs' })).rejects.toThrow(TakenOver);
      await expect(one.lanes.draw(KEY, { lostReply: 'none' })).rejects.toThrow(TakenOver);
      expect(await one.lanes.draw(KEY)).toBeGreaterThan(0n);
    }).result;
    expect(one.lost).toEqual([]);
  });

  it('while the database is away calls wait, and go on when it is back', async () => {
    const one = node({ patienceMs: 60_000 }); // a busy machine takes its time
    const before = await one.call();
    await server.kill();
    const called = one.call();
    await until(() => one.lanes.problem !== undefined);
    await server.restart();
    expect(await called).toBeGreaterThan(before);
    expect(one.lanes.problem).toBeUndefined();
  }, 30_000);

  it('a database that stays away: after five seconds calls are refused as not-owner, until it is back', async () => {
    const one = node();
    await one.call();
    await server.kill();
    try {
      const refused = await one.call().catch((error: unknown) => error);
      expect(refused).toMatchObject({ code: 'not-owner', retryAfterSeconds: 1 });
      const started = performance.now();
      await expect(one.call()).rejects.toMatchObject({ code: 'not-owner' });
      expect(performance.now() - started).toBeLessThan(500);
    } finally {
      await server.restart();
    }
    await until(() => one.lanes.problem === undefined);
    await one.call();
  }, 40_000);

  it('the highest nonce is remembered here too: a replica that has lost the last ones repeats none', async () => {
    const ahead = Date.now() + 60_000;
    const one = node({ wallNow: () => ahead });
    const nonces = [await one.call(), await one.call(), await one.call()];
    await sql('UPDATE kraken_proxy.lane SET floor = floor - 2');
    const last = nonces.at(-1) ?? 0n;
    expect(await one.call()).toBe(last + 1n);
  });
});
