import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { chown, copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { Caretaker } from './caretaker.js';
import { freePort } from './free-port.mjs';
import { ENVIRONMENT, programs, whyNot, type Programs, type RunAs } from './postgres-programs.js';

/** Why no PostgreSQL can run here; undefined when it can. Printed visibly by withPostgres. */
export const whyNoPostgres: string | undefined = whyNot();

/** `describe`, or `describe.skip` with the reason in the name. In CI (process.env.CI) it throws instead of skipping. */
export function withPostgres(name: string, body: () => void): void {
  if (whyNoPostgres === undefined) {
    describe(name, body);
    return;
  }
  if (process.env.CI !== undefined) throw new Error(`no PostgreSQL for "${name}": ${whyNoPostgres}`);
  process.stderr.write(`SKIPPED: ${name} (${whyNoPostgres})\n`);
  describe.skip(`${name} (${whyNoPostgres})`, body);
}

export interface PostgresOptions {
  /** Lines of postgresql.conf, such as `{ fsync: 'off' }`; a test may change them later with ALTER SYSTEM. */
  readonly settings?: Readonly<Record<string, string>>;
  /** An address, or `0.0.0.0`. Default 127.0.0.1. */
  readonly listen?: string;
}

const MIGRATIONS = new URL('../../migrations/', import.meta.url);
/** A start, a stop or a replica that takes longer has failed. Far above what a loaded machine needs. */
const PATIENCE_MS = 30_000;
const LOOK_EVERY_MS = 5;

const SETTINGS = {
  max_connections: '300',
  shared_buffers: '16MB',
  unix_socket_directories: '',
  // In files of the data folder: those of a server that was killed go with it.
  dynamic_shared_memory_type: 'mmap',
  wal_level: 'replica',
  max_wal_senders: '5',
  // A replica that was away finds what it has missed.
  wal_keep_size: '256MB',
  hot_standby: 'on',
  log_line_prefix: '%m [%p] %a ',
};

/** Not part of a copy: it is the server's own, or of its present run. Of these folders, what is in them. */
const NOT_COPIED = new Set(['postmaster.pid', 'postmaster.opts', 'backup_label', 'standby.signal']);
const COPIED_EMPTY = new Set([
  'pg_wal',
  'pg_replslot',
  'pg_dynshmem',
  'pg_notify',
  'pg_serial',
  'pg_subtrans',
]);

/** What servers of one origin have in common. */
interface Make {
  readonly programs: Programs;
  readonly password: string;
  readonly listen: string;
  readonly settings: Readonly<Record<string, string>>;
}

/** A real PostgreSQL with a data folder of its own. It does not outlive the process that started it, not even a killed one. */
export class PostgresServer {
  /** Stays the same over restarts. */
  readonly port: number;
  readonly #folder: string;
  readonly #make: Make;
  readonly #caretaker: Caretaker;
  #postmaster: ChildProcess | undefined;

  private constructor(folder: string, port: number, make: Make) {
    this.#folder = folder;
    this.port = port;
    this.#make = make;
    this.#caretaker = new Caretaker(folder);
  }

  /**
   * Makes a data folder in the system's temp folder and starts a server on a free port of 127.0.0.1 (or `listen`). Rejects
   * with the end of the server's log.
   */
  static async start({ settings = {}, listen = '127.0.0.1' }: PostgresOptions = {}): Promise<PostgresServer> {
    const make: Make = {
      programs: await programs(),
      password: randomBytes(16).toString('hex'),
      listen,
      settings: { ...SETTINGS, ...settings },
    };
    return await PostgresServer.#startNew(make, (server) => server.#initialize());
  }

  /** A new server whose data folder `fill` makes; on another port when the first one was taken meanwhile. */
  static async #startNew(
    make: Make,
    fill: (server: PostgresServer) => Promise<void>,
    mayRepeat = true,
  ): Promise<PostgresServer> {
    const folder = await mkdtemp(join(tmpdir(), 'kraken-postgres-'));
    await give(folder, make.programs.runAs);
    const server = new PostgresServer(folder, await freePort(make.listen), make);
    try {
      await fill(server);
      await server.restart();
      return server;
    } catch (error) {
      await server.remove();
      if (!mayRepeat || !String(error).includes('Address already in use')) throw error;
      return await PostgresServer.#startNew(make, fill, false);
    }
  }

  /** Of the superuser: postgres://postgres:…@127.0.0.1:port/<database>. With an address of its own to listen on, that one. */
  url(database = 'postgres'): string {
    const { listen, password } = this.#make;
    const host = listen === '0.0.0.0' ? '127.0.0.1' : listen;
    return `postgres://postgres:${password}@${host}:${this.port}/${database}`;
  }

  /** A new empty database; gives its url. With the schema of migrations/*.sql applied unless `migrated: false`. */
  async freshDatabase({ migrated = true }: { readonly migrated?: boolean } = {}): Promise<string> {
    const name = `fresh_${randomBytes(6).toString('hex')}`;
    await this.query(this.url(), `CREATE DATABASE ${name}`);
    const url = this.url(name);
    if (migrated) await migrate(url);
    return url;
  }

  /** Runs SQL in a database by its url, on a connection of its own, gives the rows of the last statement. */
  async query<Row>(url: string, sql: string): Promise<readonly Row[]> {
    return await connected(url, (client) => rowsOf<Row>(client, sql));
  }

  /** kill -9 of the postmaster and all its backends. */
  async kill(): Promise<void> {
    await this.#signalAll('SIGKILL', () => false);
    await this.#ended();
  }

  /** Stops all its processes where they are: connections stay open, the kernel takes new ones, nobody answers. */
  async freeze(): Promise<void> {
    await this.#signalAll('SIGSTOP', isStopped);
  }

  /** Goes on where `freeze` has stopped it. */
  async thaw(): Promise<void> {
    await this.#signalAll('SIGCONT', (pid) => !isStopped(pid));
  }

  /** Starts again on the same data and port after kill() or stop(). Rejects with the end of the server's log. */
  async restart(): Promise<void> {
    if (this.#postmaster !== undefined) throw new Error('PostgreSQL runs already');
    const log = openSync(this.#log, 'a');
    const { postgres, runAs } = this.#make.programs;
    const postmaster = spawn(postgres, ['-D', this.#data], {
      cwd: this.#data,
      env: ENVIRONMENT,
      // What interrupts the tests at a terminal must not stop it before they are through.
      detached: true,
      stdio: ['ignore', log, log],
      ...runAs,
    });
    closeSync(log);
    postmaster.unref();
    for (const event of ['exit', 'error']) postmaster.once(event, () => (this.#postmaster = undefined));
    this.#postmaster = postmaster;
    await this.#patiently('start', () => {
      if (this.#postmaster === undefined) throw new Error(this.#story('has not started'));
      return this.#isReady(postmaster.pid);
    });
  }

  /** In order, once all its replicas that are connected have everything; the data folder stays until remove(). */
  async stop(): Promise<void> {
    await this.thaw();
    this.#postmaster?.kill('SIGINT');
    await this.#ended();
  }

  /**
   * A streaming replica of this one on another port, made while this one runs. Resolves when it streams and, when it is
   * synchronous, every later commit here waits until it has it on disk. `promote` makes it a server of its own, whose
   * commits wait for nobody.
   */
  async replica({ synchronous }: { readonly synchronous: boolean }): Promise<PostgresServer> {
    const replica = await PostgresServer.#startNew(this.#make, (server) => server.#copy(this));
    try {
      await this.#streamsTo(replica, `state = 'streaming'`);
      if (synchronous) await this.#waitFor(replica);
      return replica;
    } catch (error) {
      await replica.remove();
      throw error;
    }
  }

  /** Of a replica: resolves when it takes writes. */
  async promote(): Promise<void> {
    const [answer] = await this.query<{ done: boolean }>(this.url(), 'SELECT pg_promote() AS done');
    if (answer?.done !== true) throw new Error(this.#story('was not promoted'));
  }

  /** Stops, by force if it runs, and removes the data folder. Its replicas are removed each on its own. */
  async remove(): Promise<void> {
    await this.#caretaker.cleanUp();
  }

  get #data(): string {
    return join(this.#folder, 'data');
  }

  get #log(): string {
    return join(this.#folder, 'server.log');
  }

  /** The name under which a replica streams. */
  get #name(): string {
    return `replica_${this.port}`;
  }

  async #initialize(): Promise<void> {
    const { programs, password } = this.#make;
    const secret = join(this.#folder, 'password');
    await this.#write(secret, password);
    const args = ['--no-sync', '--no-instructions', '--locale=C', '--encoding=UTF8', '--username=postgres'];
    await run(programs.initdb, [...args, `--pwfile=${secret}`, '-A', 'scram-sha-256', this.#data], {
      cwd: this.#folder,
      env: ENVIRONMENT,
      ...programs.runAs,
    });
    await rm(secret);
    // For replicas, and for proxies behind other addresses.
    const access = 'host all all all scram-sha-256\nhost replication all all scram-sha-256\n';
    await this.#write(join(this.#data, 'pg_hba.conf'), access);
    await this.#configure({});
  }

  async #configure(more: Readonly<Record<string, string>>): Promise<void> {
    const { settings, listen } = this.#make;
    const all = { listen_addresses: listen, port: String(this.port), ...settings, ...more };
    const lines = Object.entries(all).map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'\n`);
    await this.#write(join(this.#data, 'postgresql.conf'), lines.join(''));
  }

  /** Fills the data folder as a backup of the primary that goes on from there as its replica. */
  async #copy(primary: PostgresServer): Promise<void> {
    const label = await connected(primary.url(), async (client) => {
      // The backup lasts as long as this connection.
      await client.query(`SELECT pg_backup_start('${this.#name}', fast => true)`);
      await this.#copyFolder(primary.#data, this.#data);
      // The replica is going to stream what was written meanwhile, so no archive need have it.
      const stop = 'SELECT labelfile FROM pg_backup_stop(wait_for_archive => false)';
      const [stopped] = await rowsOf<{ labelfile: string }>(client, stop);
      return stopped?.labelfile ?? '';
    });
    await this.#write(join(this.#data, 'backup_label'), label);
    await this.#write(join(this.#data, 'standby.signal'), '');
    // Whatever was set with ALTER SYSTEM is the primary's own, such as for whom it waits.
    await this.#write(join(this.#data, 'postgresql.auto.conf'), '');
    const { hostname } = new URL(primary.url());
    const login = `user=postgres password=${this.#make.password} application_name=${this.#name}`;
    const connection = `host=${hostname} port=${primary.port} ${login} sslmode=disable`;
    await this.#configure({ primary_conninfo: connection, wal_retrieve_retry_interval: '100ms' });
  }

  async #copyFolder(from: string, to: string): Promise<void> {
    await mkdir(to, { mode: 0o700 });
    await give(to, this.#make.programs.runAs);
    const copies = (await readdir(from, { withFileTypes: true })).map(async (entry) => {
      const [source, target] = [join(from, entry.name), join(to, entry.name)];
      if (COPIED_EMPTY.has(entry.name)) await this.#makeEmpty(target);
      else if (entry.isDirectory()) await this.#copyFolder(source, target).catch(ignoreMissing);
      else if (entry.isFile() && !NOT_COPIED.has(entry.name))
        await this.#copyFile(source, target).catch(ignoreMissing);
    });
    await Promise.all(copies);
  }

  async #makeEmpty(folder: string): Promise<void> {
    await mkdir(folder, { mode: 0o700 });
    await give(folder, this.#make.programs.runAs);
  }

  async #copyFile(source: string, target: string): Promise<void> {
    await copyFile(source, target);
    await give(target, this.#make.programs.runAs);
  }

  /** From now on no commit is told before this replica has it on disk. */
  async #waitFor(replica: PostgresServer): Promise<void> {
    await this.query(this.url(), `ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 (${replica.#name})'`);
    await this.query(this.url(), 'SELECT pg_reload_conf()');
    await this.#streamsTo(replica, `sync_state = 'sync'`);
    // So far the one that streams has heard of it. Backends go by what the checkpointer says, which looks at its settings
    // before each checkpoint; and a new connection is made only when all processes have been told.
    await this.query(this.url(), 'CHECKPOINT');
  }

  async #streamsTo(replica: PostgresServer, how: string): Promise<void> {
    const sql = `SELECT 1 FROM pg_stat_replication WHERE application_name = '${replica.#name}' AND ${how}`;
    await connected(this.url(), (client) =>
      replica.#patiently('stream', async () => (await rowsOf(client, sql)).length === 1),
    );
  }

  async #write(file: string, text: string): Promise<void> {
    await writeFile(file, text, { mode: 0o600 });
    await give(file, this.#make.programs.runAs);
  }

  /** As pg_ctl knows it: the postmaster's file says so in its eighth line, of the process that its first one names. */
  async #isReady(pid: number | undefined): Promise<boolean> {
    const text = await readFile(join(this.#data, 'postmaster.pid'), 'utf8').catch(() => '');
    const lines = text.split('\n');
    return Number(lines[0]) === pid && lines[7]?.trim() === 'ready';
  }

  async #ended(): Promise<void> {
    await this.#patiently('end', () => this.#postmaster === undefined && this.#processes().length === 0);
  }

  /** Sends the signal to the postmaster, which makes the others, then to all, until each is gone or as it should be. */
  async #signalAll(signal: NodeJS.Signals, isDone: (pid: number) => boolean): Promise<void> {
    this.#postmaster?.kill(signal);
    await this.#patiently(signal, () => {
      const left = this.#processes().filter((pid) => !isDone(pid));
      for (const pid of left) sendTo(pid, signal);
      return left.length === 0;
    });
  }

  /** The pids of the postmaster and all that it has made: each works in the data folder, in a process group of its own. */
  #processes(): readonly number[] {
    const pids = readdirSync('/proc').map(Number).filter(Number.isInteger);
    return pids.filter((pid) => {
      try {
        return readlinkSync(`/proc/${pid}/cwd`) === this.#data;
      } catch {
        // It has ended, or is somebody else's.
        return false;
      }
    });
  }

  async #patiently(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
    const end = performance.now() + PATIENCE_MS;
    while (!(await condition())) {
      if (performance.now() > end) throw new Error(this.#story(`did not ${what} within ${PATIENCE_MS} ms`));
      await delay(LOOK_EVERY_MS);
    }
  }

  #story(what: string): string {
    const log = readFileSync(this.#log, 'utf8').trimEnd().split('\n');
    return `PostgreSQL on port ${this.port} ${what}\n${log.slice(-15).join('\n')}`;
  }
}

async function migrate(url: string): Promise<void> {
  const files = (await readdir(MIGRATIONS)).filter((file) => file.endsWith('.sql')).sort();
  await connected(url, async (client) => {
    for (const file of files) {
      const sql = await readFile(new URL(file, MIGRATIONS), 'utf8');
      for (const part of ['BEGIN', sql, 'COMMIT']) await client.query(part);
    }
  });
}

async function connected<Result>(url: string, use: (client: pg.Client) => Promise<Result>): Promise<Result> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: PATIENCE_MS });
  // A connection that is lost fails the statement that is under way; without a listener it would end the process.
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

async function rowsOf<Row>(client: pg.Client, sql: string): Promise<readonly Row[]> {
  // Of several statements there is a result each, which pg's type leaves out.
  const results = (await client.query(sql)) as pg.QueryResult | readonly pg.QueryResult[];
  const last = 'rows' in results ? results : results.at(-1);
  return (last?.rows ?? []) as Row[];
}

/** Runs a program to its end; rejects with what it says. */
async function run(program: string, args: readonly string[], options: object): Promise<void> {
  const child = spawn(program, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (said += text));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject).once('close', resolve);
  });
  if (code !== 0) throw new Error(`${program} ended with ${code}\n${said}`);
}

async function give(path: string, to: RunAs): Promise<void> {
  if (to !== undefined) await chown(path, to.uid, to.gid);
}

function sendTo(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Whether a process does nothing until it is told to go on. */
function isStopped(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // Behind its name, which may hold anything, in parentheses.
    return stat.slice(stat.lastIndexOf(')') + 2).startsWith('T');
  } catch {
    return false;
  }
}

/** A server that is being copied drops files. */
function ignoreMissing(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
}
