import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  DRAW_CLAIMED,
  DRAW_OF_KEY,
  FREE,
  giveStatement,
  LIFT_ALL,
  LIFT_KEY,
  MAKE_LANE,
  takeStatement,
  TENURE,
} from '../../src/nonce/lane-row.js';
import { Database, DatabaseError, type Values } from '../../src/postgres/database.js';
import {
  grant,
  grantStatements,
  migrate,
  readMigrations,
  schemaProblem,
  SchemaError,
  versionOf,
  type Migration,
} from '../../src/postgres/migrations.js';
import { Secret } from '../../src/secret.js';
import { PostgresServer, withPostgres } from '../support/postgres.js';

/** What the next version of the proxy could bring. */
const NEXT: Migration = {
  version: versionOf() + 1,
  name: 'next',
  sql: `CREATE TABLE kraken_proxy.next (n integer);
    INSERT INTO kraken_proxy.migration (version, name) VALUES (${versionOf() + 1}, 'next');`,
};
const CURRENT = readMigrations();
const WITH_NEXT = [...CURRENT, NEXT];
const versions = (migrations: readonly Migration[]): number[] => migrations.map(({ version }) => version);

describe('the migrations of the package', () => {
  let folder: string;
  beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'kraken-migrations-'))));
  afterEach(() => rmSync(folder, { recursive: true }));

  it('are numbered from 1 on, and each inserts its own row', () => {
    expect(versions(CURRENT)).toEqual(CURRENT.map((_, index) => index + 1));
    for (const { version, name, sql } of CURRENT)
      expect(sql).toContain(
        `INSERT INTO kraken_proxy.migration (version, name) VALUES (${version}, '${name}')`,
      );
  });

  it.each([[[]], [['0002_b.sql']], [['0001_a.sql', '0003_c.sql']], [['0001_a.sql', '0001_b.sql']]])(
    'are refused with a gap in their numbers: %j',
    (files) => {
      for (const file of files) writeFileSync(join(folder, file), '');
      expect(() => readMigrations(folder)).toThrow('not numbered from 0001 on');
    },
  );
});

withPostgres('the schema', () => {
  let server: PostgresServer;
  const databases: Database[] = [];
  beforeAll(async () => {
    server = await PostgresServer.start({ settings: { fsync: 'off' } });
  }, 60_000);
  afterEach(async () => {
    for (const database of databases.splice(0)) await database.close();
  });
  afterAll(() => server.remove());

  const connect = (url: string): Database => {
    const database = new Database({ url: new Secret(url), lanes: 2 });
    databases.push(database);
    return database;
  };
  const empty = async (): Promise<Database> => connect(await server.freshDatabase({ migrated: false }));
  const rowsOf = async (database: Database): Promise<unknown> =>
    await database.query('SELECT version, name FROM kraken_proxy.migration ORDER BY version');

  it('is made once: a second run finds nothing to do', async () => {
    const database = await empty();
    expect(await migrate(database)).toEqual(CURRENT);
    expect(await rowsOf(database)).toEqual(CURRENT.map(({ version, name }) => ({ version, name })));
    expect(await schemaProblem(database)).toBeUndefined();
    expect(await migrate(database)).toEqual([]);
  });

  it('is the same as plain SQL, run file by file', async () => {
    const database = connect(await server.freshDatabase());
    expect(await schemaProblem(database)).toBeUndefined();
    expect(await migrate(database)).toEqual([]);
  });

  it('is made once by ten that begin at the same time', async () => {
    const url = await server.freshDatabase({ migrated: false });
    const made = await Promise.all(Array.from({ length: 10 }, () => migrate(connect(url), WITH_NEXT)));
    expect(versions(made.flat()).sort()).toEqual(versions(WITH_NEXT));
    expect(await rowsOf(connect(url))).toHaveLength(WITH_NEXT.length);
  });

  it('is made once where transactions are serializable by default', async () => {
    const url = await server.freshDatabase({ migrated: false });
    const name = new URL(url).pathname.slice(1);
    await server.query(url, `ALTER DATABASE ${name} SET default_transaction_isolation = 'serializable'`);
    const made = await Promise.all(Array.from({ length: 4 }, () => migrate(connect(url))));
    expect(versions(made.flat())).toEqual(versions(CURRENT));
  });

  it('goes on from the version that is there', async () => {
    const database = connect(await server.freshDatabase());
    expect(await migrate(database, WITH_NEXT)).toEqual([NEXT]);
    expect(await schemaProblem(database, WITH_NEXT)).toBeUndefined();
  });

  it('stays as it was before a step that fails, and the steps before stand', async () => {
    const database = await empty();
    const broken = { ...NEXT, sql: `${NEXT.sql} SELECT 1/0;` };
    await expect(migrate(database, [...CURRENT, broken])).rejects.toThrow(DatabaseError);
    expect(await rowsOf(database)).toHaveLength(CURRENT.length);
    expect(await database.query("SELECT to_regclass('kraken_proxy.next') AS next")).toEqual([{ next: null }]);
    expect(await migrate(database, WITH_NEXT)).toEqual([NEXT]);
  });

  it('that is missing is told with the command that makes it, and is not made', async () => {
    const database = await empty();
    const problem = await schemaProblem(database);
    expect(problem).toBeInstanceOf(SchemaError);
    expect(problem?.message).toBe(
      'the database has no schema of this proxy yet: run kraken-signing-proxy migrate',
    );
    expect(await database.query("SELECT FROM pg_namespace WHERE nspname = 'kraken_proxy'")).toEqual([]);
  });

  it('that is older is told with the command that updates it', async () => {
    const database = connect(await server.freshDatabase());
    const problem = await schemaProblem(database, WITH_NEXT);
    expect(problem?.message).toBe(
      `the database's schema is of version ${versionOf()}, this proxy needs ${NEXT.version}: run kraken-signing-proxy migrate`,
    );
  });

  it('that is newer is refused by a node, and by migrate', async () => {
    const database = connect(await server.freshDatabase());
    await migrate(database, WITH_NEXT);
    const message = `this database is of a newer version of the proxy (${NEXT.version}, this one knows ${versionOf()}): update this node`;
    expect((await schemaProblem(database))?.message).toBe(message);
    const error = await migrate(database).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(SchemaError);
    expect((error as Error).message).toBe(message);
  });

  it('that cannot be asked for is no problem of the schema: DatabaseError', async () => {
    const gone = connect('postgres://proxy@127.0.0.1:1/kraken');
    await expect(schemaProblem(gone)).rejects.toThrow(DatabaseError);
    await expect(migrate(gone)).rejects.toThrow(DatabaseError);
  });

  describe('for a role with the least rights', () => {
    let role: string;
    let url: string;
    let proxy: Database;

    beforeAll(async () => {
      const owners = await server.freshDatabase();
      role = `The "${randomBytes(4).toString('hex')}" role`;
      const quoted = `"${role.replaceAll('"', '""')}"`;
      await server.query(owners, `CREATE ROLE ${quoted} LOGIN PASSWORD 'of-a-test'`);
      await server.query(owners, 'CREATE SCHEMA other; CREATE TABLE other.of_others AS SELECT 1 AS n');
      const owner = new URL(owners);
      [owner.username, owner.password] = [role, 'of-a-test'];
      url = owner.href;
      const database = new Database({ url: new Secret(owners), lanes: 1 });
      try {
        await grant(database, role);
        await grant(database, role);
      } finally {
        await database.close();
      }
    });
    beforeEach(() => (proxy = connect(url)));

    it('fits', async () => {
      expect(await proxy.query('SELECT current_user AS name')).toEqual([{ name: role }]);
      expect(await schemaProblem(proxy)).toBeUndefined();
    });

    it('lanes can be made, held, drawn from, lifted and given back', async () => {
      const session = await proxy.session();
      await proxy.query(MAKE_LANE, ['global']);
      await session.query(takeStatement({ lane: 'global', waitMs: 1_000, leaseMs: 5_000 }, proxy.literal));
      const draw: Values = ['global', 0, 1, 'run', 5n, '{}', null, null];
      expect(await proxy.query(DRAW_CLAIMED, draw)).toHaveLength(1);
      const again: Values = ['global', 1, 1, 'run', 5n, '{}', null, null, 'f'.repeat(16)];
      expect(await proxy.query(DRAW_OF_KEY, again)).toEqual([{ floor: '5' }]);
      await session.query(
        giveStatement({ lane: 'global', tenure: 1n, run: 'run', state: {} }, proxy.literal),
      );
      session.release();
      await proxy.query(FREE, ['global', 1, 'run', '{}']);
      expect(await proxy.query(TENURE, ['global'])).toEqual([{ tenure: '1' }]);
      await proxy.query(LIFT_ALL, [7]);
      await proxy.query(LIFT_KEY, ['f'.repeat(16), 9]);
    });

    it.each([
      ['answer', "(key, state, json) VALUES ('a', 'under-way', '{}')", "state = 'done'"],
      ['lost_reply', "(id, key, state, json, since) VALUES ('a', 'k', 'done', '{}', now())", "node = 'n'"],
      ['spending', "(client, quote, amount) VALUES ('c', 'USD', 1.5)", 'amount = 2'],
      ['hold', "(mode, since, who, why) VALUES ('pause', now(), 'w', 'y')", "why = 'z'"],
      ['node', "(run, host, version) VALUES ('r', 'h', '1')", 'seen_at = clock_timestamp()'],
    ])('rows of %s can be inserted, read, locked, updated, upserted and deleted', async (table, row, set) => {
      const name = `kraken_proxy.${table}`;
      expect(await proxy.query(`INSERT INTO ${name} ${row} RETURNING *`)).toHaveLength(1);
      expect(await proxy.query(`SELECT * FROM ${name} FOR UPDATE`)).toHaveLength(1);
      expect(await proxy.query(`UPDATE ${name} SET ${set} RETURNING *`)).toHaveLength(1);
      await proxy.query(`INSERT INTO ${name} ${row} ON CONFLICT DO NOTHING`);
      expect((await proxy.query(`DELETE FROM ${name} RETURNING *`)).length).toBeGreaterThan(0);
    });

    it.each([
      ['CREATE TABLE kraken_proxy.more (n integer)'],
      ['CREATE FUNCTION kraken_proxy.f() RETURNS integer LANGUAGE sql AS $$SELECT 1$$'],
      ['CREATE SCHEMA more'],
      ['CREATE TABLE public.more (n integer)'],
      ['ALTER TABLE kraken_proxy.lane ADD COLUMN more integer'],
      ['ALTER TABLE kraken_proxy.lane DROP COLUMN floor'],
      [
        'CREATE TRIGGER t BEFORE UPDATE ON kraken_proxy.lane EXECUTE FUNCTION suppress_redundant_updates_trigger()',
      ],
      ['DROP TABLE kraken_proxy.lane'],
      ['DROP SCHEMA kraken_proxy CASCADE'],
      ...['lane', 'key_floor', 'answer', 'lost_reply', 'spending', 'hold', 'node', 'migration'].map(
        (table) => [`TRUNCATE kraken_proxy.${table}`] as [string],
      ),
      ['DELETE FROM kraken_proxy.lane'],
      ['DELETE FROM kraken_proxy.key_floor'],
      ["INSERT INTO kraken_proxy.migration (version, name) VALUES (99, 'x')"],
      ['UPDATE kraken_proxy.migration SET version = 99'],
      ['DELETE FROM kraken_proxy.migration'],
      ["SELECT setval('kraken_proxy.spending_id_seq', 1)"],
      ['SELECT * FROM other.of_others'],
      ['SELECT * FROM pg_catalog.pg_authid'],
    ])('forbids: %s', async (statement) => {
      const error = await proxy.query(statement).catch((thrown: unknown) => thrown);
      // insufficient_privilege
      expect(error).toMatchObject({ sqlState: '42501' });
    });

    it('may not migrate: that is the owner’s', async () => {
      const error = await migrate(proxy, WITH_NEXT).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ sqlState: '42501' });
    });

    it('another role sees nothing, and is told who can change that', async () => {
      const stranger = `stranger_${randomBytes(4).toString('hex')}`;
      await server.query(server.url(), `CREATE ROLE ${stranger} LOGIN PASSWORD 'of-a-test'`);
      const strangers = new URL(url);
      strangers.username = stranger;
      const problem = await schemaProblem(connect(strangers.href));
      expect(problem?.message).toContain(
        'its owner grants that with kraken-signing-proxy migrate --grant <role>',
      );
    });
  });

  it('gives no rights to a role that does not exist', async () => {
    const database = connect(await server.freshDatabase());
    await expect(grant(database, 'nobody"; DROP SCHEMA kraken_proxy; --')).rejects.toThrow(
      'the database has no role',
    );
  });

  it('the rights are these', () => {
    expect(grantStatements('proxy')).toEqual([
      'GRANT USAGE ON SCHEMA kraken_proxy TO "proxy";',
      'GRANT SELECT ON kraken_proxy.migration TO "proxy";',
      'GRANT SELECT, INSERT, UPDATE ON kraken_proxy.lane, kraken_proxy.key_floor TO "proxy";',
      'GRANT SELECT, INSERT, UPDATE, DELETE ON kraken_proxy.answer, kraken_proxy.lost_reply, ' +
        'kraken_proxy.spending, kraken_proxy.hold, kraken_proxy.node TO "proxy";',
    ]);
  });
});
