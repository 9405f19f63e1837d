#!/usr/bin/env node
import { fstatSync } from 'node:fs';
import { createInterface } from 'node:readline/promises';
import { isatty } from 'node:tty';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { newClient } from './cli/client.js';
import { explainCall, tailJournal, verifyJournal } from './cli/journal.js';
import { checkDatabase, migrateDatabase } from './cli/migrate.js';
import { importNonce, jumpNonce, showNonce } from './cli/nonce.js';
import { UsageError, type Terminal } from './cli/terminal.js';
import { configJsonSchema, loadConfig, type Config } from './config.js';
import { CertificateFiles } from './http/tls-certificates.js';
import { createLog, createLogOutput } from './log.js';
import { formatFor } from './log-format.js';
import type { Server } from './server.js';
import { ServiceManager } from './service-manager.js';
import { readVersion } from './version.js';

const HELP = `kraken-signing-proxy: the one place where a trading shop's Kraken keys live

  kraken-signing-proxy [serve]            start the proxy
  kraken-signing-proxy check              check the config, and the database it names; start nothing
  kraken-signing-proxy migrate [--grant ROLE] [--url-env NAME]
                                          make or update the schema of the database that several proxies share, with
                                          the config's url or the one in the variable NAME; give a role its rights
  kraken-signing-proxy nonce show         the nonce state, on disk or in the database
  kraken-signing-proxy nonce import FILE  take over a kraken_global_nonce.txt; never goes down
  kraken-signing-proxy nonce jump --by 1h [--account NAME] [--yes]
                                          lift the floor of all keys, or of one account's
  kraken-signing-proxy client new NAME    make a key and a secret for a bot, print the config lines
  kraken-signing-proxy doctor             examine the keys: what is wrong with them and what to do; 1 on an error
  kraken-signing-proxy journal verify [--head HASH]
                                          prove that nothing was changed or removed; 1 when it was
  kraken-signing-proxy journal explain ID the story of a call, by nonce, request id or txid
  kraken-signing-proxy journal tail [--lines N] [--follow]
  kraken-signing-proxy sandbox [--port N] [--delay-ms N]
                                          the stand-in for Kraken alone
  kraken-signing-proxy schema             the JSON schema of the config

  --config FILE   default ./proxy.config.json
  --version, --help

Exit codes: 0 asked to stop; 1 a bug, or a check that found something; 75 try again (state owned by another process, lock lost, port taken);
78 bad config, bad command line or corrupt state.`;

const EXIT = { stopped: 0, bug: 1, tryAgain: 75, badConfig: 78 } as const;

/** The last lines of the log have so long to leave. */
const FLUSH_LIMIT_MS = 500;
/** Beyond the call in flight, everything else has so long to close: a last write alone may take 5 s. */
const CLOSE_LIMIT_MS = 8_000;
/** Whatever of the file system is under way at the very end has so long. */
const LAST_WRITES_MS = 1_000;

const terminal: Terminal = {
  print: (line) => void process.stdout.write(`${line}\n`),
  confirm: async (question) => {
    if (!process.stdin.isTTY) throw new UsageError('nobody is there to answer: add --yes');
    const reader = createInterface({ input: process.stdin, output: process.stdout });
    const answer = await reader.question(question);
    reader.close();
    return /^y(es)?$/i.test(answer.trim());
  },
  now: Date.now,
};

/** Commands of two words, and those that take something after them. */
const GROUPS = new Set(['nonce', 'client', 'journal']);
const TAKES_OPERAND: Readonly<Record<string, string>> = {
  'nonce import': 'a file: nonce import FILE',
  'client new': 'a name: client new grid-bot',
  'journal explain': 'a nonce, a request id or a txid: journal explain OQCLML-BW3P3-BUCMWZ',
};

/** What only some commands need, the server above all, is loaded when it is: the others answer in half the time. */
async function main(): Promise<void> {
  // `| head` closes the pipe: what a command does must not end in the middle for its output.
  process.stdout.on('error', () => undefined);
  const { values, positionals } = readArguments();
  if (values.help) {
    terminal.print(HELP);
    return;
  }
  if (values.version) {
    terminal.print(readVersion());
    return;
  }
  const config = (): Config => loadConfig(values.config, process.env);
  const [command = 'serve', ...rest] = positionals;
  const words = GROUPS.has(command) ? 1 : 0;
  const call = [command, ...rest.slice(0, words)].join(' ');
  const operands = rest.slice(words);
  const needed = TAKES_OPERAND[call];
  if (operands.length !== (needed === undefined ? 0 : 1)) {
    throw new UsageError(
      operands.length === 0 ? `${call} needs ${needed}` : `what is "${operands.join(' ')}"? See --help`,
    );
  }
  switch (call) {
    case 'serve':
      return serve(config);
    case 'check':
      return check(config());
    case 'migrate':
      return migrateDatabase(
        config,
        { grant: values.grant, urlEnv: values['url-env'], env: process.env },
        terminal,
      );
    case 'nonce show':
      return showNonce(config(), terminal);
    case 'nonce import':
      return importNonce(config(), operands[0] ?? '', terminal);
    case 'nonce jump':
      return jumpNonce(config(), { by: values.by, account: values.account, yes: values.yes }, terminal);
    case 'client new': {
      newClient({ name: operands[0] ?? '', known: namesIn(config) }, terminal);
      return;
    }
    case 'doctor': {
      const { runDoctor } = await import('./cli/doctor-command.js');
      return runDoctor(config(), readVersion(), terminal);
    }
    case 'journal verify':
      return verifyJournal(config(), { head: values.head }, terminal);
    case 'journal explain':
      return explainCall(config(), operands[0] ?? '', terminal);
    case 'journal tail':
      return tailJournal(
        config(),
        {
          lines: wholeNumber(values.lines, '--lines', 100_000),
          follow: values.follow,
          signal: interrupted(),
        },
        terminal,
      );
    case 'sandbox':
      return sandbox(
        wholeNumber(values.port, '--port', 65_535),
        wholeNumber(values['delay-ms'], '--delay-ms', 60_000),
      );
    case 'schema': {
      terminal.print(JSON.stringify(configJsonSchema(), null, 2));
      return;
    }
    default:
      throw new UsageError(`there is no command "${call}"; see --help`);
  }
}

/** The names a config holds; undefined when it cannot be read, as before its first secret is in place. */
function namesIn(config: () => Config): { accounts: string[]; clients: string[] } | undefined {
  try {
    const { accounts, clients = [] } = config();
    return { accounts: accounts.map(({ name }) => name), clients: clients.map(({ name }) => name) };
  } catch {
    return undefined;
  }
}

/** Aborted when the person at the terminal has seen enough. */
function interrupted(): AbortSignal {
  const controller = new AbortController();
  process.once('SIGINT', () => controller.abort());
  return controller.signal;
}

/** Runs the proxy until a signal, or until it cannot go on. */
async function serve(readConfig: () => Config): Promise<void> {
  // From before the config is read: one that changes during the start is not missed.
  const early: NodeJS.Signals[] = [];
  let reload = (signal: NodeJS.Signals): void => void early.push(signal);
  // To a program on a terminal SIGHUP says that its window was closed: nobody would see it live on.
  const isAttended = isatty(0);
  if (!isAttended) process.on('SIGHUP', (signal) => reload(signal));
  const config = readConfig();
  const { env, stdout } = process;
  const { dev, ino } = fstatSync(stdout.fd);
  const reader = { isTTY: stdout.isTTY, env, output: `${dev}:${ino}` };
  const destination = createLogOutput(stdout, formatFor({ format: config.log.format, ...reader }));
  const log = createLog({ level: config.log.level, destination });
  let server: Server | undefined;
  let ending = false;
  const manager = new ServiceManager({
    env,
    // The ping itself says that the event loop turns; what else may be wrong, no restart would mend.
    isWell: () => true,
    onTrouble: (problem) => log.warn({ problem }, 'the service manager is not told'),
  });
  const state = (): string => (server?.isReady === true ? 'serving' : 'waiting to serve');
  const end = async (code: number): Promise<void> => {
    if (ending) return;
    ending = true;
    manager.stopping();
    // Whatever hangs, a disk or a part of ours: the supervisor gets its exit code.
    const drain = code === EXIT.stopped;
    const limit = config.upstream.timeoutMs + CLOSE_LIMIT_MS + (drain ? config.listen.drainMs : 0);
    setTimeout(() => void leave(code), limit).unref();
    try {
      await server?.close({ drain });
    } catch (error) {
      log.error({ err: error }, 'closing failed; the reserved floor on disk stays safe');
      if (code === EXIT.stopped) code = exitCodeOf(error);
    }
    log.info({ exitCode: code }, 'stopped');
    await leave(code);
  };
  const leave = async (code: number): Promise<void> => {
    await manager.close();
    await destination.flush(FLUSH_LIMIT_MS);
    await leaveNow(code);
  };
  const fatal = (error: unknown): void => {
    const code = exitCodeOf(error);
    log.fatal({ err: error, exitCode: code }, 'cannot go on');
    void end(code);
  };
  for (const signal of ['SIGTERM', 'SIGINT', ...(isAttended ? (['SIGHUP'] as const) : [])] as const) {
    process.on(signal, () => {
      if (ending) {
        log.warn({ signal }, 'stopping at once; the reserved floor on disk stays safe');
        void leave(EXIT.stopped);
        return;
      }
      log.info({ signal }, 'stopping');
      void end(EXIT.stopped);
    });
  }
  process.on('uncaughtException', fatal);
  process.on('unhandledRejection', fatal);
  try {
    const onStop = (): void => void end(EXIT.stopped);
    const { openServer } = await import('./server.js');
    // Calls leave little behind: a heap that grows slowly stays below 130 MB after 100,000 calls, where Node's own pace
    // goes to 147. Keeping the young generation small as well would save 18 MB more, and cost the p99 of a call 0.8 ms.
    // Not before all is loaded: what comes to stay would be looked through again and again.
    setFlagsFromString('--heap-growing-percent=10');
    const opened = await openServer({
      config,
      log,
      version: readVersion(),
      onFatal: fatal,
      readConfig,
      onStop,
    });
    server = opened;
    manager.ready(state());
    reload = () => {
      if (ending) return;
      manager.reloading();
      // What came of it is in the log.
      void opened
        .reload()
        .catch(() => undefined)
        .finally(() => {
          if (!ending) manager.ready(state());
        });
    };
    for (const signal of early.slice(0, 1)) reload(signal);
  } catch (error) {
    fatal(error);
  }
}

async function check(config: Config): Promise<void> {
  if (config.listen.tls !== undefined) await CertificateFiles.load(config.listen.tls);
  for (const warning of config.warnings) terminal.print(`warning: ${warning}`);
  if (config.nonce.url !== undefined) await checkDatabase(config.nonce.url, terminal);
  const names = config.accounts.map(({ name }) => name).join(', ');
  const clients = config.clients?.map(({ name }) => name).join(', ') ?? 'none (any program on this machine)';
  terminal.print(
    `${config.file} is good: accounts ${names}; clients ${clients}; upstream ${config.upstream.url}; nothing was started`,
  );
}

async function sandbox(port: number, delayMs: number): Promise<void> {
  const { DEMO_KEYS } = await import('./sandbox/demo-keys.js');
  const { openSandbox } = await import('./sandbox/sandbox.js');
  const running = await openSandbox({ keys: DEMO_KEYS, port, delayMs });
  terminal.print(`sandbox      ${running.url}`);
  for (const { account, key, secret } of DEMO_KEYS)
    terminal.print(`${account.padEnd(12)} key ${key}  secret ${secret}`);
  terminal.print(
    'These keys open nothing. Faults: POST /sandbox/faults; what came in: GET /sandbox/received.',
  );
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => void running.close().then(() => process.exit(EXIT.stopped)));
  }
}

interface Arguments {
  readonly values: {
    readonly config: string;
    readonly by: string | undefined;
    readonly account: string | undefined;
    readonly grant: string | undefined;
    readonly 'url-env': string | undefined;
    readonly head: string | undefined;
    readonly lines: string;
    readonly follow: boolean;
    readonly port: string;
    readonly 'delay-ms': string;
    readonly yes: boolean;
    readonly help: boolean;
    readonly version: boolean;
  };
  readonly positionals: readonly string[];
}

function readArguments(): Arguments {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        config: { type: 'string', default: 'proxy.config.json' },
        by: { type: 'string' },
        account: { type: 'string' },
        grant: { type: 'string' },
        'url-env': { type: 'string' },
        head: { type: 'string' },
        lines: { type: 'string', default: '20' },
        follow: { type: 'boolean', default: false, short: 'f' },
        port: { type: 'string', default: '8789' },
        'delay-ms': { type: 'string', default: '0' },
        yes: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false, short: 'h' },
        version: { type: 'boolean', default: false },
      },
    });
    // What is not given is undefined, not missing.
    const { by, account, grant, 'url-env': urlEnv, head } = values;
    return { values: { ...values, by, account, grant, 'url-env': urlEnv, head }, positionals };
  } catch (error) {
    throw new UsageError(`${(error as Error).message}. See --help`);
  }
}

function wholeNumber(text: string, option: string, most: number): number {
  if (!/^\d{1,9}$/.test(text) || Number(text) > most)
    throw new UsageError(`${option} takes a whole number up to ${most}`);
  return Number(text);
}

const TRY_AGAIN = new Set(['StateOwnedElsewhereError', 'StateLostError', 'CheckUnfinished']);
const BAD_CONFIG = new Set([
  'ConfigError',
  'CertificateError',
  'CorruptStateError',
  'SpendingError',
  'AnswersError',
  'HoldsError',
  'SchemaError',
  'UsageError',
]);

/**
 * `exit` waits for the threads of the file system: with one stuck in a disk that hangs it never returns, and no
 * supervisor would start us again. Then only the kernel's way is left, and the exit code is lost (137).
 */
async function leaveNow(code: number): Promise<void> {
  const isBusy = (): boolean =>
    process.getActiveResourcesInfo().some((resource) => resource.startsWith('FSReq'));
  const limit = performance.now() + LAST_WRITES_MS;
  while (isBusy() && performance.now() < limit) await delay(20);
  if (isBusy()) process.kill(process.pid, 'SIGKILL');
  process.exit(code);
}

/** Tells failures apart by what they are: a supervisor starts again on 75 and leaves 78 to a person. */
function exitCodeOf(error: unknown): number {
  const { name, code } = error as NodeJS.ErrnoException;
  if (BAD_CONFIG.has(name)) return EXIT.badConfig;
  if (code === 'not-owner') return EXIT.tryAgain; // the state could not be written in time
  // The system's own errors (a full disk, a taken port) may be gone on the next try.
  if (TRY_AGAIN.has(name) || (typeof code === 'string' && /^E[A-Z]+$/.test(code))) return EXIT.tryAgain;
  return EXIT.bug;
}

main().catch((error: unknown) => {
  const code = exitCodeOf(error);
  const { message, stack } = error as Error;
  const isBug = code === EXIT.bug && (error as Error).name !== 'CheckFailed';
  process.stderr.write(`${isBug ? (stack ?? message) : message}\n`);
  process.exitCode = code;
});
