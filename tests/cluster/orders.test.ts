import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { PostgresServer, withPostgres } from '../support/postgres.js';

const RIG = fileURLToPath(new URL('../../rigs/orders.mjs', import.meta.url));
const NODES = 4;
/** `CLUSTER_ORDERS=400` for the short form. */
const ORDERS = Number(process.env.CLUSTER_ORDERS ?? 10_000);
const LIMIT_MS = 120_000 + ORDERS * 160;

let postgres: PostgresServer | undefined;
afterAll(() => postgres?.remove());

withPostgres('orders of bots that repeat them at another node', () => {
  it(
    `${ORDERS} orders at ${NODES} nodes, one of them killed every few seconds, Kraken failing in every way: what bots are told is true`,
    async () => {
      postgres = await PostgresServer.start();
      const { PATH = '', SEED, CLUSTER_LOGS: LOGS } = process.env;
      const env = {
        PATH,
        ...(SEED === undefined ? {} : { SEED }),
        ...(LOGS === undefined ? {} : { LOGS }),
        ORDERS: String(ORDERS),
        NODES: String(NODES),
        DATABASE_URL: await postgres.freshDatabase(),
      };
      const rig = spawn(process.execPath, [RIG], { env, stdio: ['ignore', 'pipe', 'pipe'] });
      let said = '';
      for (const stream of [rig.stdout, rig.stderr])
        stream.setEncoding('utf8').on('data', (text: string) => (said += text));
      const late = setTimeout(() => rig.kill('SIGTERM'), LIMIT_MS);
      const code = await new Promise((resolve, reject) => {
        rig.once('error', reject);
        rig.once('close', resolve);
      });
      clearTimeout(late);
      process.stderr.write(`cluster, ${said.slice(0, code === 0 ? said.indexOf('\n\n') : undefined)}\n`);
      expect(code).toBe(0);
    },
    LIMIT_MS + 30_000,
  );
});
