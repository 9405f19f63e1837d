import { register } from 'node:module';
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import pg from 'pg';
import { cpuSeconds, processesIn } from './cluster-cpu.mjs';

/** A PostgreSQL of the bench's own, with fsync on, as the tests start theirs; it does not outlive this process. */
export class BenchDatabase {
  #server;
  #folder;
  #watch;
  /** With the proxy's schema in it. */
  url;
  /** Such as 18.1. */
  version;

  /**
   * @param {import('../tests/support/postgres.js').PostgresServer} server
   * @param {{ url: string, watch: pg.Client, folder: string, version: string }} parts
   */
  constructor(server, { url, watch, folder, version }) {
    this.#server = server;
    this.#watch = watch;
    this.#folder = folder;
    this.url = url;
    this.version = version;
  }

  static async start() {
    register('./cluster-typescript.mjs', import.meta.url);
    const { PostgresServer, whyNoPostgres } = await import('../tests/support/postgres.js');
    if (whyNoPostgres !== undefined) throw new Error(`no PostgreSQL: ${whyNoPostgres}`);
    const server = await PostgresServer.start({
      settings: { max_connections: '600', shared_buffers: '128MB' },
    });
    try {
      const url = await server.freshDatabase({ migrated: false });
      const main = fileURLToPath(new URL('../dist/main.js', import.meta.url));
      const env = { ...process.env, DATABASE_URL: url };
      await promisify(execFile)(process.execPath, [main, 'migrate', '--url-env', 'DATABASE_URL'], { env });
      const watch = new pg.Client({ connectionString: url });
      await watch.connect();
      const { rows } = await watch.query(
        "SELECT current_setting('data_directory') AS folder, split_part(current_setting('server_version'), ' ', 1) AS version",
      );
      return new BenchDatabase(server, { url, watch, ...rows[0] });
    } catch (error) {
      await server.remove();
      throw error;
    }
  }

  /** Transactions that have written, since its start: each has a number, and they are given in order. */
  async writes() {
    const { rows } = await this.#watch.query('SELECT pg_snapshot_xmax(pg_current_snapshot())::text AS next');
    return Number(rows[0].next);
  }

  /** Of all its processes, since its start. */
  cpuSeconds() {
    return cpuSeconds(processesIn(this.#folder));
  }

  async stop() {
    await this.#watch.end().catch(() => undefined);
    await this.#server.remove();
  }
}
