import { setTimeout as delay } from 'node:timers/promises';
import { Database } from '../../src/postgres/database.js';
import { Nodes, type NodesOptions } from '../../src/postgres/nodes.js';
import { Secret } from '../../src/secret.js';
import { PostgresServer, withPostgres } from '../support/postgres.js';
import { until } from '../support/until.js';

withPostgres('nodes', () => {
  let server: PostgresServer;
  let url: string;
  const databases: Database[] = [];
  const opened: Nodes[] = [];

  beforeAll(async () => {
    server = await PostgresServer.start({ settings: { fsync: 'off' } });
  }, 60_000);
  afterAll(() => server.remove());

  beforeEach(async () => {
    url = await server.freshDatabase();
  });
  afterEach(async () => {
    for (const nodes of opened.splice(0)) await nodes.close();
    for (const database of databases.splice(0)) await database.close();
  });

  /** A node as each has it: with connections of its own. */
  async function open(run: string, options: Partial<NodesOptions> = {}): Promise<Nodes> {
    const database = new Database({ url: new Secret(url), lanes: 1, patienceMs: 1_000 });
    databases.push(database);
    const nodes = await Nodes.open({ database, run, host: `host-${run}`, version: '1.0.0', ...options });
    opened.push(nodes);
    return nodes;
  }

  const runsOf = (nodes: Nodes): string[] => nodes.alive.map(({ run }) => run);
  const rows = (): Promise<readonly { run: string; started_at: Date }[]> =>
    server.query(url, 'SELECT run, started_at FROM kraken_proxy.node ORDER BY run');
  const back = (run: string, by: string): Promise<unknown> =>
    server.query(
      url,
      `UPDATE kraken_proxy.node SET seen_at = seen_at - interval '${by}' WHERE run = '${run}'`,
    );

  it('see each other, the one that has run longest first', async () => {
    const first = await open('first');
    expect(first.alive).toEqual([
      {
        ...{ run: 'first', host: 'host-first', version: '1.0.0' },
        startedAt: expect.any(Number) as number,
        seenAt: expect.any(Number) as number,
      },
    ]);
    const second = await open('another');
    expect(runsOf(second)).toEqual(['first', 'another']);
    await until(() => first.alive.length === 2);
    expect(runsOf(first)).toEqual(['first', 'another']);
    expect(first.problem).toBeUndefined();
  });

  it('beat on, and tell when the set of them changes, no more often', async () => {
    let changes = 0;
    const first = await open('first', { onChange: () => changes++ });
    const seenAt = first.alive[0]?.seenAt ?? 0;
    await until(() => (first.alive[0]?.seenAt ?? 0) > seenAt);
    expect(changes).toBe(1); // itself
    await open('second');
    await until(() => changes === 2);
    expect(runsOf(first)).toEqual(['first', 'second']);
  });

  it('one that was not seen for 5 s is dead', async () => {
    const first = await open('first');
    // As a node that has died leaves it.
    await server.query(url, `INSERT INTO kraken_proxy.node (run, host, version) VALUES ('dead', 'h', '1')`);
    await until(() => first.alive.length === 2);
    await back('dead', '5 seconds');
    await until(() => first.alive.length === 1);
    expect(runsOf(first)).toEqual(['first']);
    expect((await rows()).map(({ run }) => run)).toEqual(['dead', 'first']);
  });

  it('one that was not seen for a day leaves no row', async () => {
    await server.query(
      url,
      `INSERT INTO kraken_proxy.node (run, host, version, seen_at) VALUES
        ('old', 'h', '1', clock_timestamp() - interval '25 hours'),
        ('younger', 'h', '1', clock_timestamp() - interval '23 hours')`,
    );
    expect(runsOf(await open('first'))).toEqual(['first']);
    expect((await rows()).map(({ run }) => run)).toEqual(['first', 'younger']);
  });

  it('one that is closed is gone for the others, and may be closed again', async () => {
    const first = await open('first');
    const second = await open('second');
    await second.close();
    await second.close();
    expect((await rows()).map(({ run }) => run)).toEqual(['first']);
    await until(() => runsOf(first).join() === 'first');
  });

  it('a beat under way at the close does not bring the row back', async () => {
    let goOn = (): void => undefined;
    const gate = new Promise<void>((resolve) => (goOn = resolve));
    let [beats, ended] = [0, 0];
    const database = new Database({ url: new Secret(url), lanes: 1 });
    databases.push(database);
    const slow: Pick<Database, 'query'> = {
      async query<Row>(...asked: Parameters<Database['query']>) {
        if (++beats === 2) await gate;
        const rows = await database.query<Row>(...asked);
        ended++;
        return rows;
      },
    };
    const nodes = await open('first', { database: slow });
    await until(() => beats === 2);
    const closed = nodes.close();
    goOn();
    await closed;
    await until(() => ended === 3); // two beats and the end
    expect(await rows()).toEqual([]);
  });

  it('whose row was taken away are there again with the next beat', async () => {
    const first = await open('first');
    await server.query(url, 'DELETE FROM kraken_proxy.node');
    const seenAt = first.alive[0]?.seenAt ?? 0;
    await until(() => (first.alive[0]?.seenAt ?? 0) > seenAt);
    expect(await rows()).toHaveLength(1);
  });

  it('tell the database’s clock with each beat, within the time that it took', async () => {
    const times: (readonly [sentAt: number, receivedAt: number, databaseMs: number])[] = [];
    await open('first', { onTime: (...time) => times.push(time) });
    await until(() => times.length === 2);
    for (const [sentAt, receivedAt, databaseMs] of times) {
      expect(receivedAt).toBeGreaterThan(sentAt);
      // It is this machine's. Its wall clock and ours may be set by fractions of a ms between two looks.
      expect(databaseMs).toBeGreaterThan(performance.timeOrigin + sentAt - 50);
      expect(databaseMs).toBeLessThan(performance.timeOrigin + receivedAt + 50);
    }
  });

  it('without a schema cannot be opened', async () => {
    url = await server.freshDatabase({ migrated: false });
    await expect(open('first')).rejects.toMatchObject({ code: 'not-owner', sqlState: '42P01' });
  });

  it('whose database is away says why after 3 s, and is alive with the same row once it is back', async () => {
    const first = await open('first');
    const before = await rows();
    await server.kill();
    expect(first.problem).toBeUndefined();
    await until(() => first.problem !== undefined);
    expect(first.lastSeenMs).toBeGreaterThan(3_000);
    expect(first.problem).toMatch(/^the database: .*ECONNREFUSED/);
    expect(first.problem).not.toContain(new URL(url).password);
    await server.restart();
    await until(() => first.problem === undefined);
    expect(first.lastSeenMs).toBeLessThan(3_000);
    expect(await rows()).toEqual(before);
  });

  it('whose database does not answer says so; closing it then takes no longer than the patience', async () => {
    const first = await open('first');
    await server.freeze();
    try {
      await until(() => first.problem !== undefined);
      expect(first.problem).toMatch(/^the database: /);
      const began = performance.now();
      await first.close();
      expect(performance.now() - began).toBeLessThan(2_500);
    } finally {
      await server.thaw();
    }
  });

  it('a closed one beats no more', async () => {
    const first = await open('first');
    await first.close();
    await delay(1_200); // longer than from one beat to the next
    expect(await rows()).toEqual([]);
  });
});
