import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseConfig, type Config } from '../../src/config.js';
import { SlowDown } from '../../src/http/slow-down.js';
import { createLog } from '../../src/log.js';
import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';
import { openSandbox, type Sandbox } from '../../src/sandbox/sandbox.js';
import { openServer } from '../../src/server.js';
import { TestClient } from './http.js';
import type { PostgresServer } from './postgres.js';
import { testConfig, type ConfigParts } from './proxy-world.js';

/** A proxy, and a client of it. */
export interface SharedNode {
  readonly url: string;
  readonly client: TestClient;
}

/** Several proxies in this process that share a database, in front of one strict sandbox. */
export class SharedWorld {
  readonly sandbox: Sandbox;
  readonly databaseUrl: string;
  readonly #postgres: PostgresServer;
  readonly #folder = mkdtempSync(join(tmpdir(), 'kraken-shared-'));
  readonly #closings: (() => unknown)[] = [];

  private constructor(sandbox: Sandbox, postgres: PostgresServer, databaseUrl: string) {
    this.sandbox = sandbox;
    this.#postgres = postgres;
    this.databaseUrl = databaseUrl;
  }

  /** With a database of its own. */
  static async open(postgres: PostgresServer): Promise<SharedWorld> {
    const databaseUrl = await postgres.freshDatabase();
    const sandbox = await openSandbox({ keys: DEMO_KEYS, callCounter: false });
    return new SharedWorld(sandbox, postgres, databaseUrl);
  }

  /** One more proxy; resolves once it is ready to send. */
  async node(parts: ConfigParts = {}): Promise<SharedNode> {
    const nonce = { store: 'postgres', url: this.databaseUrl };
    const written = JSON.stringify(testConfig(this.sandbox.url, { nonce, ...parts }));
    const readConfig = (): Config =>
      parseConfig(written, { file: join(this.#folder, 'proxy.config.json'), env: {} });
    const server = await openServer({
      config: readConfig(),
      slowDown: new SlowDown(),
      log: createLog({ level: 'trace', destination: { write: () => undefined } }),
      version: '0.0.0-test',
      onFatal: (error) => {
        throw error;
      },
      readConfig,
      onStop: () => undefined,
    });
    const client = new TestClient(server.url);
    this.#closings.push(
      () => server.close(),
      () => client.close(),
    );
    expect((await client.private('Balance')).json?.error).toEqual([]);
    return { url: server.url, client };
  }

  /** Status by txid of the orders that the sandbox has executed for the first account, the first one first. */
  get orders(): readonly (readonly [txid: string, status: string])[] {
    return this.sandbox.orders('master').map(({ txid, status }) => [txid, status]);
  }

  async query<Row>(sql: string): Promise<readonly Row[]> {
    return await this.#postgres.query<Row>(this.databaseUrl, sql);
  }

  async close(): Promise<void> {
    for (const close of this.#closings.splice(0).reverse()) await close();
    await this.sandbox.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** The first order that a reply names. */
export function txidOf({ json }: Awaited<ReturnType<TestClient['private']>>): string {
  const [txid] = (json?.result as { readonly txid?: readonly string[] } | undefined)?.txid ?? [];
  if (txid === undefined) throw new Error(`no order: ${JSON.stringify(json)}`);
  return txid;
}
