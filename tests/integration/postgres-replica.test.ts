import { LIFT_KEY } from '../../src/nonce/lane-row.js';
import { Database, DatabaseError } from '../../src/postgres/database.js';
import { Secret } from '../../src/secret.js';
import { PostgresServer, withPostgres } from '../support/postgres.js';
import { TcpGate } from '../support/tcp-gate.js';
import { until } from '../support/until.js';

withPostgres('a database that waits for a replica which is away', () => {
  const NAME = 'one that gives up';
  let server: PostgresServer;
  let url: string;
  let database: Database;

  beforeAll(async () => {
    server = await PostgresServer.start({ settings: { fsync: 'off' } });
    url = await server.freshDatabase();
    await server.query(url, `ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 (nobody)'`);
    await server.query(url, 'SELECT pg_reload_conf()');
    await until(async () => {
      const [names] = await server.query<{ synchronous_standby_names: string }>(
        url,
        'SHOW synchronous_standby_names',
      );
      return names?.synchronous_standby_names !== '';
    });
  });
  afterAll(() => server.remove());
  beforeEach(() => {
    database = new Database({ url: new Secret(url), lanes: 1, patienceMs: 200, name: NAME });
  });
  afterEach(() => database.close());

  const connections = async (): Promise<readonly { readonly waits: string | null }[]> =>
    await server.query(
      url,
      `SELECT wait_event AS waits FROM pg_stat_activity WHERE application_name = '${NAME}'`,
    );
  const commit = async (): Promise<unknown> => await database.query(LIFT_KEY, ['a key', '7']);

  test('statements that were given up leave no connection behind', async () => {
    for (let round = 0; round < 3; round++) {
      const tries = await Promise.allSettled(Array.from({ length: 4 }, commit));
      for (const one of tries) {
        expect(one).toMatchObject({ status: 'rejected', reason: expect.any(DatabaseError) as unknown });
      }
    }
    await until(async () => (await connections()).length === 0);
  });

  test('a commit that an operator told to wait no longer is not taken for done', async () => {
    const patient = new Database({ url: new Secret(url), lanes: 1, patienceMs: 20_000, name: NAME });
    try {
      const waiting = patient.query(LIFT_KEY, ['another key', '7']);
      const outcome = expect(waiting).rejects.toMatchObject({
        code: 'not-owner',
        // As without an answer: nobody knows whether it was done.
        sqlState: undefined,
        message: expect.stringContaining('synchronous replication') as unknown,
      });
      const cancel = `SELECT pg_cancel_backend(pid) FROM pg_stat_activity
        WHERE application_name = '${NAME}' AND wait_event = 'SyncRep'`;
      await until(async () => (await server.query(url, cancel)).length > 0);
      await outcome;
    } finally {
      await patient.close();
    }
  });

  test('a warning of another kind is none of ours', async () => {
    const warning = `DO $$ BEGIN RAISE WARNING 'must be vacuumed within 37749460 transactions'; END $$`;
    const session = await database.session();
    expect(await session.query(`${warning}; SELECT 1 AS one`)).toEqual([{ one: 1 }]);
    session.release();
  });

  test('a process that ends right after giving up leaves no connection behind either', async () => {
    const gate = await TcpGate.open(server.port);
    const through = new Secret(gate.through(url));
    const hasty = new Database({ url: through, lanes: 1, patienceMs: 200, name: NAME });
    try {
      await expect(hasty.query(LIFT_KEY, ['a third key', '7'])).rejects.toThrow(DatabaseError);
      // Whatever has not left by now would not leave any more.
      await hasty.close();
      gate.drop();
      await until(async () => (await connections()).length === 0);
    } finally {
      await gate.close();
    }
  });
});
