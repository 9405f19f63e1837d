import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const MAIN = join(ROOT, 'dist/main.js');
const STOP_MS = 15_000;

/** What a client has in place of a Kraken secret: base64, because every client decodes it, and of no use. */
export const DUMMY_SECRET = Buffer.from('this secret opens nothing').toString('base64');

/** Bounds of waiting, here and in the clients: none of the tests is about them, and CI machines are slow. */
export const PATIENCE_MS = 30_000;

/** The accounts of the config in the repo. A client uses the key; the secret stays with the proxy. */
export const ACCOUNTS = JSON.parse(readFileSync(join(ROOT, 'proxy.config.json'), 'utf8')).accounts;

/**
 * Starts the built proxy, as a trader does, in front of its strict sandbox: free ports, no startup window,
 * the accounts of the config in the repo on the tier with the fastest call counter.
 *
 * `clients`: by name what goes into a client's entry beside the lines that `client new` prints. `listen`: more
 * options of the listener. `files`: texts by name, put beside the config.
 */
export async function startProxy({ clients = {}, listen = {}, files = {} } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'kraken-clients-'));
  const accounts = Object.entries(ACCOUNTS).map(([name, account]) => [name, { ...account, tier: 'pro' }]);
  const config = {
    listen: { port: 0, ...listen },
    ops: { port: 0 },
    upstream: { url: 'sandbox' },
    nonce: { file: 'state.txt' },
    startup: { windowMs: 0 },
    // Its questions would be among the calls that are counted.
    doctor: { enabled: false },
    queue: { maxWaitMs: PATIENCE_MS },
    accounts: Object.fromEntries(accounts),
    defaultAccount: 'master',
  };
  const file = join(folder, 'proxy.config.json');
  const write = (name, text) => writeFileSync(join(folder, name), text, { mode: 0o600 });
  for (const [name, text] of Object.entries(files)) write(name, text);
  write('proxy.config.json', JSON.stringify(config));
  const keys = {};
  const env = { ...process.env };
  for (const [name, more] of Object.entries(clients)) {
    const { key, secret, entry } = newClient(name, file);
    keys[name] = { key, secret };
    env[entry.secret.env] = secret;
    config.clients = { ...config.clients, [name]: { ...entry, ...more } };
    write('proxy.config.json', JSON.stringify(config));
  }
  const child = spawn(process.execPath, [MAIN, 'serve', '--config', file], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env,
  });
  // Neither the proxy nor its folder outlives this process, unless that is killed by SIGKILL.
  const abandon = () => {
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  };
  const interrupted = () => process.exit(1);
  process.once('exit', abandon);
  process.once('SIGTERM', interrupted);
  const cleanUp = () => {
    process.off('exit', abandon);
    process.off('SIGTERM', interrupted);
    abandon();
  };

  try {
    const { url, upstream } = await listening(child);
    return { url, keys, sandbox: sandboxAt(upstream), stop: () => stop(child).finally(cleanUp) };
  } catch (error) {
    cleanUp();
    throw error;
  }
}

/** What `client new` prints: the key, the secret, and the lines for the config. */
function newClient(name, config) {
  const printed = execFileSync(process.execPath, [MAIN, 'client', 'new', name, '--config', config], {
    encoding: 'utf8',
    timeout: PATIENCE_MS,
  });
  const [, key] = /^key +(\S+)$/m.exec(printed);
  const [, secret] = /^secret +(\S+)$/m.exec(printed);
  const [lines] = /^ {2}"[^]*?^ {2}\}$/m.exec(printed);
  return { key, secret, entry: JSON.parse(`{${lines}}`)[name] };
}

/** The log line that names the addresses, one of the first; the lines after it are read and dropped. */
function listening(child) {
  const lines = [];
  return new Promise((resolve, reject) => {
    const fail = (why) => {
      clearTimeout(timer);
      reject(new Error(`the proxy did not start: ${why}\n${lines.join('\n')}`));
    };
    const timer = setTimeout(() => fail(`not listening after ${PATIENCE_MS} ms`), PATIENCE_MS);
    child.once('error', ({ message }) => fail(message));
    child.once('exit', (code, signal) => fail(`it ended with ${signal ?? `exit code ${code}`}`));
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (lines.length < 100) lines.push(line);
      const entry = line.startsWith('{') ? JSON.parse(line) : {};
      if (entry.msg !== 'listening') return;
      clearTimeout(timer);
      resolve(entry);
    });
  });
}

/** A clean stop, or an error: also when the proxy was gone before. */
async function stop(child) {
  if (child.exitCode === null && child.signalCode === null) {
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
    child.kill('SIGTERM');
    await once(child, 'exit');
    clearTimeout(timer);
  }
  const { exitCode, signalCode } = child;
  if (exitCode !== 0) throw new Error(`the proxy ended with ${signalCode ?? `exit code ${exitCode}`}`);
}

/** The sandbox's control plane. Not by fetch: node's own marks its requests as a browser does. */
function sandboxAt(url) {
  const read = async (path) => {
    const request = get(url + path, { timeout: PATIENCE_MS, agent: false });
    request.on('timeout', () => request.destroy(new Error(`no answer from the sandbox to ${path}`)));
    const [response] = await once(request, 'response');
    let text = '';
    for await (const chunk of response.setEncoding('utf8')) text += chunk;
    return JSON.parse(text);
  };
  /** What reached Kraken's place, oldest first; of one endpoint, if named. */
  const received = async (endpoint) => {
    const calls = await read('/sandbox/received');
    return endpoint === undefined ? calls : calls.filter((call) => call.endpoint === endpoint);
  };
  return {
    url,
    received,
    last: async (endpoint) => (await received(endpoint)).at(-1),
    orders: (account) => read(`/sandbox/orders?account=${account}`),
    state: () => read('/sandbox/state'),
  };
}
