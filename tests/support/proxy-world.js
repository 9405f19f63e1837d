import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseConfig } from '../../src/config.js';
import { createLog } from '../../src/log.js';
import { openSandbox } from '../../src/sandbox/sandbox.js';
import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';
import { openServer } from '../../src/server.js';
/** A proxy in this process in front of a sandbox of its own: real sockets, real files, real signatures. */
export async function openProxyWorld(options = {}) {
  const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'kraken-proxy-'));
  const sandbox = await openSandbox({ keys: DEMO_KEYS, callCounter: false, ...options.sandbox });
  const config = parseConfig(JSON.stringify(testConfig(sandbox.url, options.config)), {
    file: join(folder, 'proxy.config.json'),
    env: {},
  });
  const lines = [];
  const fatal = [];
  const destination = { write: (line) => lines.push(JSON.parse(line)) };
  try {
    const server = await openServer({
      config,
      log: createLog({ level: 'trace', destination }),
      version: '0.0.0-test',
      onFatal: (error) => fatal.push(error),
    });
    const close = async () => {
      await server.close();
      await sandbox.close();
      if (options.folder === undefined) rmSync(folder, { recursive: true, force: true });
    };
    const { url, opsUrl } = server;
    return { sandbox, server, url, opsUrl, folder, stateFile: config.nonce.file, log: lines, fatal, close };
  } catch (error) {
    await sandbox.close();
    throw error;
  }
}
/** A config's object for tests, against an upstream on loopback. */
export function testConfig(upstream, parts = {}) {
  const base = {
    listen: { port: 0 },
    ops: { port: 0 },
    upstream: { url: upstream },
    nonce: { file: 'state.txt' },
    startup: { windowMs: 0 },
    accounts: Object.fromEntries(DEMO_KEYS.map(({ account, key, secret }) => [account, { key, secret }])),
    defaultAccount: 'master',
  };
  for (const [name, part] of Object.entries(parts)) {
    const own = base[name];
    base[name] = typeof part === 'object' && typeof own === 'object' ? { ...own, ...part } : part;
  }
  return base;
}
