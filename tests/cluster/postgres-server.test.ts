import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import ts from 'typescript';
import { PostgresServer, withPostgres } from '../support/postgres.js';
import { TcpGate } from '../support/tcp-gate.js';
import { until } from '../support/until.js';

interface Note {
  readonly id: number;
  readonly text: string;
}

/** Servers are copied file by file, which takes long where the disk has much else to do. */
const PATIENCE_MS = 60_000;
const NOTES = 'SELECT id, text FROM note ORDER BY id';
const CREATE = 'CREATE TABLE note (id integer GENERATED ALWAYS AS IDENTITY, text text)';

function insert(text: string): string {
  return `INSERT INTO note (text) VALUES ('${text}')`;
}

async function texts(server: PostgresServer, url: string): Promise<readonly string[]> {
  return (await server.query<Note>(url, NOTES)).map(({ text }) => text);
}

/** The same database on another server. */
function on(server: PostgresServer, url: string): string {
  return server.url(new URL(url).pathname.slice(1));
}

/** A commit, and whether whoever made it has heard of it. */
function told(commit: Promise<unknown>): { readonly commit: Promise<unknown>; isTold: boolean } {
  const state = { commit, isTold: false };
  const settled = (): void => {
    state.isTold = true;
  };
  commit.then(settled, settled);
  return state;
}

/** A process as Linux has it: T is stopped by a signal, Z has ended; undefined: there is none. */
function stateOf(pid: number): string | undefined {
  try {
    return /\) (.) /.exec(readFileSync(`/proc/${pid}/stat`, 'latin1'))?.[1];
  } catch {
    return undefined;
  }
}

/** Resolves when a commit waits for a replica. */
async function untilOneWaits(primary: PostgresServer): Promise<void> {
  const waiting = `SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'`;
  await until(async () => (await primary.query(primary.url(), waiting)).length === 1);
}

withPostgres('a PostgreSQL server for tests', () => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await PostgresServer.start();
  });
  afterAll(async () => {
    await server.remove();
  });

  test('a fresh database has the schema and nothing of another one', async () => {
    const [first, second] = [await server.freshDatabase(), await server.freshDatabase()];
    await server.query(first, `INSERT INTO kraken_proxy.lane (name) VALUES ('global')`);
    const lanes = `SELECT name FROM kraken_proxy.lane`;
    expect(await server.query(first, lanes)).toEqual([{ name: 'global' }]);
    expect(await server.query(second, lanes)).toEqual([]);
  });

  test('a fresh database that is not migrated is empty', async () => {
    const url = await server.freshDatabase({ migrated: false });
    const schemas = `SELECT 1 FROM pg_namespace WHERE nspname = 'kraken_proxy'`;
    expect(await server.query(url, schemas)).toEqual([]);
  });

  test('of several statements the rows of the last one are given', async () => {
    expect(await server.query(server.url(), 'SELECT 1 AS a; SELECT 2 AS b')).toEqual([{ b: 2 }]);
  });

  test('commits are durable, and a wrong password is refused', async () => {
    expect(await server.query(server.url(), 'SHOW fsync')).toEqual([{ fsync: 'on' }]);
    const wrong = new URL(server.url());
    wrong.password = 'wrong';
    await expect(server.query(wrong.href, 'SELECT 1')).rejects.toMatchObject({ code: '28P01' });
  });

  test('kill -9 breaks its connections; after a restart what was committed is there, and only that', async () => {
    const url = await server.freshDatabase();
    await server.query(url, `${CREATE}; ${insert('committed')}`);
    const client = new pg.Client(url);
    const lost = new Promise((resolve) => client.on('error', resolve));
    await client.connect();
    await client.query('BEGIN');
    await client.query(insert('not committed'));
    await server.kill();
    await lost;
    await expect(server.query(url, NOTES)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await server.restart();
    expect(await texts(server, url)).toEqual(['committed']);
  });

  test('it starts again after a stop in order', async () => {
    const url = await server.freshDatabase();
    await server.query(url, `${CREATE}; ${insert('kept')}`);
    await server.stop();
    await server.restart();
    expect(await texts(server, url)).toEqual(['kept']);
  });

  test('while it is frozen none of its processes runs, and once thawed it answers all that was asked', async () => {
    const client = new pg.Client(server.url());
    await client.connect();
    const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    const pid = rows[0]?.pid ?? 0;
    await server.freeze();
    expect(stateOf(pid)).toBe('T');
    const answer = client.query('SELECT 1 AS one');
    // The kernel takes a connection made meanwhile.
    const later = server.query(server.url(), 'SELECT 2 AS two');
    await server.thaw();
    expect((await answer).rows).toEqual([{ one: 1 }]);
    expect(await later).toEqual([{ two: 2 }]);
    await client.end();
  });

  test('settings are in force, what keeps it from starting is told, and once removed nothing is left', async () => {
    const own = await PostgresServer.start({ settings: { fsync: 'off', work_mem: '1MB' } });
    try {
      expect(await own.query(own.url(), 'SHOW fsync')).toEqual([{ fsync: 'off' }]);
      expect(await own.query(own.url(), 'SHOW work_mem')).toEqual([{ work_mem: '1MB' }]);
      const pid = `split_part(pg_read_file('postmaster.pid'), chr(10), 1)::integer`;
      const [run] = await own.query<{ folder: string; pid: number }>(
        own.url(),
        `SELECT current_setting('data_directory') AS folder, ${pid} AS pid`,
      );
      if (run === undefined) throw new Error('no row');
      expect(existsSync(`/proc/${run.pid}`)).toBe(true);
      await own.query(own.url(), `ALTER SYSTEM SET shared_preload_libraries = 'no_such_library'`);
      await own.stop();
      expect(existsSync(`/proc/${run.pid}`)).toBe(false);
      await expect(own.restart()).rejects.toThrow(/has not started[^]*no_such_library/);
      await own.remove();
      expect(existsSync(join(run.folder, '..'))).toBe(false);
    } finally {
      await own.remove();
    }
  });
});

withPostgres('a replica of a PostgreSQL server', () => {
  let primary: PostgresServer;
  let url: string;
  const servers: PostgresServer[] = [];

  beforeEach(async () => {
    primary = await PostgresServer.start();
    servers.push(primary);
    url = await primary.freshDatabase();
    await primary.query(url, `${CREATE}; ${insert('before')}`);
  });
  afterEach(async () => {
    await Promise.all(servers.splice(0).map((server) => server.remove()));
  });

  async function replicaOf(synchronous: boolean): Promise<PostgresServer> {
    const replica = await primary.replica({ synchronous });
    servers.push(replica);
    return replica;
  }

  test(
    'is a true copy of a primary in use, streams, takes no writes, and takes them once promoted',
    async () => {
      const writer = new pg.Client(url);
      await writer.connect();
      let rows = 0;
      const isMade = new AbortController();
      const writing = (async () => {
        while (!isMade.signal.aborted) await writer.query(insert(`row ${++rows}`));
      })();
      const replica = await replicaOf(false).finally(() => isMade.abort());
      await writing;
      await writer.end();
      await primary.query(url, insert('streamed'));
      const there = on(replica, url);
      await until(async () => (await texts(replica, there)).at(-1) === 'streamed');
      expect(await texts(replica, there)).toEqual(await texts(primary, url));
      await expect(replica.query(there, insert('refused'))).rejects.toMatchObject({ code: '25006' });
      await primary.kill();
      await replica.promote();
      await replica.query(there, insert('promoted'));
      expect((await texts(replica, there)).at(-1)).toBe('promoted');
    },
    PATIENCE_MS,
  );

  test(
    'lets commits wait while it is synchronous and frozen or stopped',
    async () => {
      const replica = await replicaOf(true);
      await primary.query(url, insert('both'));

      await replica.freeze();
      const first = told(primary.query(url, insert('while frozen')));
      await untilOneWaits(primary);
      expect(first.isTold).toBe(false);
      await replica.thaw();
      await first.commit;

      await replica.stop();
      const second = told(primary.query(url, insert('while stopped')));
      await untilOneWaits(primary);
      expect(second.isTold).toBe(false);
      expect(await texts(primary, url)).toEqual(['before', 'both', 'while frozen']);
      await replica.restart();
      await second.commit;
      expect(await texts(primary, url)).toEqual(['before', 'both', 'while frozen', 'while stopped']);
    },
    PATIENCE_MS,
  );

  test(
    'has all that was committed when it is synchronous and the primary is killed; and so has its own',
    async () => {
      const replica = await replicaOf(true);
      const committed: string[] = [];
      const writer = new pg.Client(url);
      writer.on('error', () => undefined);
      await writer.connect();
      const writing = (async () => {
        for (let row = 0; ; row++) {
          await writer.query(insert(`row ${row}`));
          committed.push(`row ${row}`);
        }
      })();
      const failed = expect(writing).rejects.toThrow();
      await until(() => committed.length >= 20);
      await primary.kill();
      await failed;
      await replica.promote();
      expect(await texts(replica, on(replica, url))).toEqual(expect.arrayContaining(committed));

      const next = await replica.replica({ synchronous: true });
      servers.push(next);
      await replica.query(on(replica, url), insert('after'));
      await replica.kill();
      await next.promote();
      expect(await texts(next, on(next, url))).toEqual(expect.arrayContaining([...committed, 'after']));
    },
    PATIENCE_MS,
  );
});

withPostgres('a gate in front of a PostgreSQL server', () => {
  let server: PostgresServer;
  let gate: TcpGate;
  let url: string;
  let client: pg.Client;

  beforeAll(async () => {
    server = await PostgresServer.start();
  });
  afterAll(async () => {
    await server.remove();
  });
  beforeEach(async () => {
    url = await server.freshDatabase({ migrated: false });
    await server.query(url, CREATE);
    gate = await TcpGate.open(server.port);
    client = new pg.Client(gate.through(url));
    client.on('error', () => undefined);
    await client.connect();
  });
  afterEach(async () => {
    await client.end();
    await gate.close();
  });

  test('what is sent while it is cut arrives when it is healed', async () => {
    gate.cut();
    const sent = client.query(insert('through the gate'));
    await server.query(url, insert('past the gate'));
    gate.heal();
    await sent;
    expect(await texts(server, url)).toEqual(['past the gate', 'through the gate']);
  });

  test('with answers cut the work is done and nobody hears of it', async () => {
    gate.cut('answers');
    let isTold = false;
    const sent = client.query(insert('done')).finally(() => (isTold = true));
    sent.catch(() => undefined);
    await until(async () => (await texts(server, url)).length === 1);
    expect(isTold).toBe(false);
    gate.drop();
    await expect(sent).rejects.toThrow();
  });

  test('a connection that ends while it is cut is still open on the other side', async () => {
    const open = `SELECT 1 FROM pg_stat_activity WHERE datname = '${new URL(url).pathname.slice(1)}'
      AND pid <> pg_backend_pid()`;
    gate.cut();
    const ended = client.end();
    expect(await server.query(url, open)).toHaveLength(1);
    gate.heal();
    await ended;
    await until(async () => (await server.query(url, open)).length === 0);
    expect(gate.connections).toBe(0);
  });

  test('a new connection leads to the new target, and an old one stays where it is', async () => {
    const other = createServer((socket) => socket.end('the other one'));
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    try {
      gate.target = (other.address() as AddressInfo).port;
      const [greeting] = (await once(connect(gate.port, '127.0.0.1'), 'data')) as [Buffer];
      expect(greeting.toString()).toBe('the other one');
      const port = await client.query('SELECT inet_server_port() AS port');
      expect(port.rows).toEqual([{ port: server.port }]);
    } finally {
      await new Promise((resolve) => other.close(resolve));
    }
  });
});

withPostgres('the caretaker of a folder', () => {
  test('ends its processes and removes it when the process that started them is killed', async () => {
    const folder = realpathSync(mkdtempSync(join(tmpdir(), 'caretaker-')));
    const place = mkdtempSync(join(tmpdir(), 'caretaker-program-'));
    const source = readFileSync(new URL('../support/caretaker.ts', import.meta.url), 'utf8');
    const { outputText } = ts.transpileModule(source, {
      compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
    });
    const program = `${outputText}
      new Caretaker(process.argv[2]);
      const child = spawn('sleep', ['300'], { cwd: process.argv[2], detached: true, stdio: 'ignore' });
      process.stdout.write(String(child.pid));
      setInterval(() => undefined, 1_000);`;
    writeFileSync(join(place, 'program.mjs'), program);
    const owner = spawn(process.execPath, [join(place, 'program.mjs'), folder], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      const pid = Number(await new Promise((resolve) => owner.stdout.once('data', resolve)));
      expect(existsSync(`/proc/${pid}`)).toBe(true);
      owner.kill('SIGKILL');
      // Whoever adopts it may leave its entry behind: what counts is that it has ended.
      await until(() => !existsSync(folder) && [undefined, 'Z', 'X'].includes(stateOf(pid)));
    } finally {
      owner.kill('SIGKILL');
      rmSync(place, { recursive: true });
    }
  });
});
