import { Holds, type Hold } from '../../src/holds/holds.js';
import { PostgresHolds } from '../../src/holds/postgres-holds.js';
import { Database, type Session } from '../../src/postgres/database.js';
import { Secret } from '../../src/secret.js';
import { PostgresServer, withPostgres } from '../support/postgres.js';
import { until } from '../support/until.js';

const BY = { since: 1_795_000_000_123, who: 'ann', why: 'odd fills' };
const pause = (target: object = {}): Hold => ({ ...target, mode: 'pause', ...BY });
const cancelOnly = (target: object = {}): Hold => ({ ...target, mode: 'cancel-only', ...BY });
const freeze = (account: string): Hold => ({ account, mode: 'freeze', ...BY });

withPostgres('holds of several nodes', () => {
  let server: PostgresServer;
  let url: string;
  let one: Holds;
  let other: Holds;
  const stores: PostgresHolds[] = [];
  const databases: Database[] = [];

  beforeAll(async () => {
    server = await PostgresServer.start({ settings: { fsync: 'off' } });
  }, 60_000);
  afterAll(() => server.remove());

  beforeEach(async () => {
    url = await server.freshDatabase();
    one = await openNode();
    other = await openNode();
  });
  afterEach(async () => {
    for (const store of stores.splice(0)) store.close();
    for (const database of databases.splice(0)) await database.close();
  });

  async function openNode(): Promise<Holds> {
    const database = new Database({ url: new Secret(url), lanes: 1, patienceMs: 1_000 });
    databases.push(database);
    const store = await PostgresHolds.open({ database });
    stores.push(store);
    const holds = new Holds();
    holds.own(store, store.former);
    return holds;
  }

  const modes = (holds: Holds): string => holds.all.map(({ mode }) => mode).join();

  it('one that is set at a node is in force at the others, and lifted there it is lifted here', async () => {
    await one.set(pause({ account: 'master' }));
    await until(() => other.pauseOf('bot', 'master') !== undefined);
    expect(other.all).toEqual([pause({ account: 'master' })]);
    expect(await other.lift({ account: 'master' })).toBe(true);
    expect(other.isPausing).toBe(false);
    await until(() => !one.isPausing);
  });

  it('a node that starts finds what the others have set', async () => {
    await one.set(freeze('master'));
    expect((await openNode()).all).toEqual([freeze('master')]);
  });

  it('two operators who act at once leave no hold of each other’s out', async () => {
    const accounts = Array.from({ length: 10 }, (_, index) => `account-${index}`);
    await Promise.all(accounts.map((account, index) => (index % 2 ? one : other).set(pause({ account }))));
    const all = accounts.map((account) => pause({ account }));
    await until(() => one.all.length === 10 && other.all.length === 10);
    for (const node of [one, other]) expect(new Set(node.all)).toEqual(new Set(all));
  });

  it('of two on the same target, set at once at two nodes, one stays', async () => {
    for (let round = 0; round < 10; round++) await Promise.all([one.set(pause()), other.set(cancelOnly())]);
    expect(await server.query(url, 'SELECT mode FROM kraken_proxy.hold')).toHaveLength(1);
    await until(() => one.all.length === 1 && modes(one) === modes(other));
  });

  it('what was read before one was set or lifted, and comes after it, undoes neither', async () => {
    const database = new Database({ url: new Secret(url), lanes: 1 });
    databases.push(database);
    let goOn = (): void => undefined;
    let gate = Promise.resolve();
    let [read, told] = [0, 0];
    const late: Pick<Database, 'query' | 'session'> = {
      session: () => database.session(),
      async query<Row>(...asked: Parameters<Database['query']>) {
        const rows = await database.query<Row>(...asked);
        read++;
        await gate;
        told++;
        return rows;
      },
    };
    const store = await PostgresHolds.open({ database: late });
    stores.push(store);
    const holds = new Holds();
    holds.own(store, store.former);
    const seen: string[] = [];
    holds.onChange(() => seen.push(modes(holds)));
    /** What `act` does lies between a reading and the telling of it. */
    const acrossAReading = async (act: () => Promise<unknown>): Promise<void> => {
      gate = new Promise((resolve) => (goOn = resolve));
      const [reads, tellings] = [read, told];
      await until(() => read > reads);
      await act();
      goOn();
      await until(() => told > tellings);
    };
    await acrossAReading(() => holds.set(pause()));
    await acrossAReading(() => holds.lift({}));
    await other.set(freeze('alice'));
    await until(() => modes(holds) === 'freeze');
    expect(seen).toEqual(['pause', '', 'freeze']);
  });

  it('one that an operator has put there by SQL can be lifted', async () => {
    await server.query(
      url,
      `INSERT INTO kraken_proxy.hold (mode, since, who, why) VALUES ('pause', '2026-11-23 01:02:03.4567895Z', 'ann', '')`,
    );
    await until(() => one.isPausing);
    expect(await one.lift({})).toBe(true);
    expect(await server.query(url, 'SELECT * FROM kraken_proxy.hold')).toEqual([]);
  });

  it('set while the database is away it is in force here, and everywhere once the database is back', async () => {
    await one.set(freeze('master'));
    await until(() => other.all.length === 1);
    await server.kill();
    await expect(one.set(pause())).rejects.toMatchObject({ code: 'not-owner' });
    expect(one.isPausing).toBe(true);
    await expect(other.lift({ account: 'master' })).rejects.toMatchObject({ code: 'not-owner' });
    expect(modes(other)).toBe('freeze');
    await server.restart();
    await until(() => other.isPausing);
    expect(other.all).toEqual([freeze('master'), pause()]);
  });

  it('a node that froze in the middle of a change keeps the others waiting no longer than 2 s', async () => {
    const database = new Database({ url: new Secret(url), lanes: 1 });
    databases.push(database);
    let goOn = (): void => undefined;
    const gate = new Promise<void>((resolve) => (goOn = resolve));
    let isFrozen = false;
    const frozen = await PostgresHolds.open({
      database: {
        query: (...asked) => database.query(...asked),
        async session() {
          const session = await database.session();
          return {
            ...{
              onLost: () => undefined,
              release: () => session.release(),
              destroy: () => session.destroy(),
            },
            async query<Row>(...asked: Parameters<Session['query']>) {
              if (asked[0] === 'COMMIT') {
                isFrozen = true;
                await gate;
              }
              return await session.query<Row>(...asked);
            },
          };
        },
      },
    });
    const lost = frozen.change({ lifted: [], set: [freeze('alice')] });
    await until(() => isFrozen);
    const store = await PostgresHolds.open({ database });
    const began = performance.now();
    await store.change({ lifted: [], set: [pause()] });
    expect(performance.now() - began).toBeLessThan(4_000);
    goOn();
    await expect(lost).rejects.toMatchObject({ code: 'not-owner' });
    expect((await PostgresHolds.open({ database })).former).toEqual([pause()]);
  });
});
