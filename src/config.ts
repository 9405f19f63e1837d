import { readFileSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { z } from 'zod';
import type { Tier } from './config/account-schema.js';
import { readAccounts, type AccountConfig } from './config/accounts.js';
import {
  bindHost,
  hostHeaderName,
  isLoopback,
  isWildcard,
  LOOPBACK_NAMES,
  upstreamKind,
  upstreamOrigin,
} from './config/addresses.js';
import { readClients, RESERVED_NAMES, type ClientConfig } from './config/clients.js';
import { readDatabaseUrl } from './config/database-url.js';
import { parseJsonText, type JsonOddKey } from './config/json-text.js';
import {
  closestName,
  ConfigError,
  kindOf,
  nameText,
  pathText,
  valueText,
  type ConfigMistake,
} from './config/mistakes.js';
import type { TwinMode } from './config/operator-schema.js';
import { at, objectAt } from './config/raw-values.js';
import { References } from './config/references.js';
import { journalMistakes, relationMistakes } from './config/relations.js';
import { configJsonSchema, configSchema, type LogFormat, type LogLevel } from './config/schema.js';
import { Secret } from './secret.js';

export { ConfigError, configJsonSchema, RESERVED_NAMES };
export type { AccountConfig, ClientConfig, ConfigMistake, LogFormat, LogLevel, Tier, TwinMode };

/** Every option in force. What each means, its unit and its limits stand in `config/schema.ts`. */
export interface Config {
  /** Absolute path of the config. */
  readonly file: string;
  readonly listen: {
    readonly host: string;
    readonly port: number;
    readonly maxBodyBytes: number;
    /** Names as a Host header has them: lower case, no port, IPv6 in brackets. */
    readonly hosts: readonly string[];
    readonly bodyTimeoutMs: number;
    readonly drainMs: number;
    /** Absolute paths; undefined serves plain HTTP. */
    readonly tls:
      | { readonly certFile: string; readonly keyFile: string; readonly clientCaFile: string | undefined }
      | undefined;
  };
  readonly ops: {
    readonly host: string;
    readonly port: number;
    readonly hosts: readonly string[];
    /** Undefined: operators are heard on loopback only. */
    readonly token: Secret | undefined;
  };
  /** `url` is `sandbox` or an origin such as `https://api.kraken.com`, without a slash at the end. */
  readonly upstream: { readonly url: string; readonly timeoutMs: number };
  /** `file` is absolute; `url` is there exactly when the store is postgres. */
  readonly nonce: {
    readonly store: 'file' | 'postgres';
    readonly file: string;
    readonly url: Secret | undefined;
    readonly connections: number;
    readonly reserveMs: number;
    readonly liftMs: number;
    readonly standby: boolean;
  };
  readonly startup: {
    readonly windowMs: number;
    readonly maxPerSecond: number;
    readonly minIntervalMs: number;
  };
  readonly lanes: 'global' | 'key';
  readonly queue: {
    readonly maxWaiting: number;
    readonly maxWaitMs: number;
    /** By class of calls; one that is not named waits for maxWaitMs. */
    readonly maxWaitMsOf: Readonly<
      Partial<Record<'cancel' | 'change' | 'order' | 'other' | 'read' | 'history', number | undefined>>
    >;
  };
  readonly pacing: {
    readonly enabled: boolean;
    readonly tiers: Readonly<Record<Tier, CounterLimits>>;
    /** By endpoint name; the rest costs what the endpoint table says. */
    readonly costs: Readonly<Partial<Record<string, number>>>;
    readonly headroom: number;
    readonly reserve: number;
    readonly engine: 'off' | 'report' | 'enforce';
    readonly engineTiers: Readonly<Record<Tier, CounterLimits>>;
    readonly merge: boolean;
    readonly shareTokensMs: number;
  };
  readonly publicCalls: { readonly perSecond: number; readonly burst: number };
  readonly orders: { readonly settle: boolean; readonly resend: boolean };
  readonly breaker: { readonly pauseMs: number; readonly lockoutMs: number; readonly maxPauseMs: number };
  readonly accounts: readonly AccountConfig[];
  readonly defaultAccount: string | undefined;
  /** Undefined: any program on this machine may use any account. */
  readonly clients: readonly ClientConfig[] | undefined;
  readonly doctor: {
    readonly enabled: boolean;
    readonly intervalMs: number;
    readonly twin: TwinMode;
    readonly expiryDays: number;
  };
  /** `file` is absolute. */
  readonly journal: {
    readonly enabled: boolean;
    readonly file: string;
    readonly maxBytes: number;
    readonly maxAgeMs: number;
    readonly keep: number;
  };
  readonly log: { readonly level: LogLevel; readonly format: LogFormat };
  /** What is allowed but probably not meant, one sentence each, free of secrets; for the start log. */
  readonly warnings: readonly string[];
}

/** Size and decay of one of Kraken's counters. */
export interface CounterLimits {
  readonly max: number;
  readonly decayPerSecond: number;
}

export interface ParseOptions {
  /** Path of the config; relative paths in it start at its folder. */
  readonly file: string;
  readonly env: NodeJS.ProcessEnv;
  /** Reads a secret file by its absolute path, throws if it cannot. Default: from disk, with a look at its mode. */
  readonly readFile?: (path: string) => string;
}

/** Reads the config and the secret files it names, at once; throws a ConfigError with every mistake. */
export function loadConfig(file: string, env: NodeJS.ProcessEnv): Config {
  const path = resolve(file);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unreadable';
    throw new ConfigError(path, [
      {
        path: '(file)',
        found: `no file that can be read (${code})`,
        expected: 'a config file; --config <file> names it',
      },
    ]);
  }
  return parseConfig(text, { file: path, env });
}

/** Checks a config's text and resolves its references; throws a ConfigError with every mistake. */
export function parseConfig(text: string, options: ParseOptions): Config {
  const file = resolve(options.file);
  const json = parseJsonText(text);
  if ('fault' in json) {
    const { line, column, expected } = json.fault;
    const found = `text that is not JSON at line ${line}, column ${column}`;
    throw new ConfigError(file, [{ path: '(file)', found, expected }]);
  }
  const raw = json.value;
  const shape = configSchema.safeParse(raw);
  const fromFolder = (path: string): string => resolve(dirname(file), path);
  const references = new References({
    env: options.env,
    resolve: fromFolder,
    readFile: options.readFile ?? ((path) => readFileSync(path, 'utf8')),
    modeOf: options.readFile === undefined ? modeOf : () => undefined,
    // The default upstream is the sandbox.
    upstream: upstreamKind(at(raw, ['upstream', 'url']) ?? 'sandbox'),
  });
  const accounts = readAccounts(at(raw, ['accounts']), references);
  const clients = readClients(objectAt(raw, ['clients']), shape.data?.clients, references, {
    accounts,
    accountNames: Object.keys(objectAt(raw, ['accounts'])),
    listenHost: shape.data?.listen.host ?? '127.0.0.1',
    hasClientCa: at(raw, ['listen', 'tls', 'clientCaFile']) !== undefined,
  });
  const token = readToken(raw, references);
  const database = readDatabaseUrl(raw, references);
  let schema: object | undefined;
  const schemaOf = (): object => (schema ??= configJsonSchema()); // takes its time, and is rarely needed
  const mistakes = [
    ...json.oddKeys.map(oddKeyMistake),
    ...(shape.error?.issues ?? []).flatMap((issue) => shapeMistakes(issue, raw, schemaOf)),
    ...relationMistakes(raw),
    ...journalMistakes(raw, file, fromFolder),
    ...references.mistakes,
  ];
  if (!shape.success || mistakes.length > 0) throw new ConfigError(file, unique(mistakes));
  const { listen, ops, upstream, nonce, startup, lanes, queue, defaultAccount, log } = shape.data;
  const { pacing, publicCalls, orders, breaker, doctor, journal } = shape.data;
  const { port, maxBodyBytes, bodyTimeoutMs, drainMs, tls } = listen;
  return {
    file,
    listen: {
      host: bindHost(listen.host) ?? listen.host,
      port,
      maxBodyBytes,
      hosts: hostNames(listen),
      bodyTimeoutMs,
      drainMs,
      tls: tls && {
        certFile: fromFolder(tls.certFile),
        keyFile: fromFolder(tls.keyFile),
        clientCaFile: tls.clientCaFile && fromFolder(tls.clientCaFile),
      },
    },
    ops: { host: bindHost(ops.host) ?? ops.host, port: ops.port, hosts: hostNames(ops), token },
    upstream: { ...upstream, url: upstreamOrigin(upstream.url) ?? upstream.url },
    nonce: { ...nonce, file: fromFolder(nonce.file), url: database },
    startup,
    lanes,
    queue,
    pacing,
    publicCalls,
    orders,
    breaker,
    accounts,
    defaultAccount,
    clients: shape.data.clients === undefined ? undefined : clients,
    doctor,
    journal: { ...journal, file: fromFolder(journal.file ?? `${nonce.file}${JOURNAL}`) },
    log,
    warnings: [...listenWarnings(listen), ...opsWarnings(ops, token), ...references.warnings],
  };
}

/** Behind the path of the nonce state, so that two proxies do not share a journal by accident. */
const JOURNAL = '.journal.jsonl';

/** A token that can be guessed would be none. */
function readToken(raw: unknown, references: References): Secret | undefined {
  const place = ['ops', 'token'];
  const token = references.value(at(raw, place), place);
  if (token === undefined) return undefined;
  if (!/^[\x21-\x7e]{16,1024}$/.test(token)) {
    const expected =
      'at least 16 printable ASCII characters without spaces, such as openssl rand -hex 32 makes';
    references.mistake(place, 'text that cannot be a token', expected);
  }
  return new Secret(token);
}

/** The tuning in force as flat text, free of secrets: for the metric `config_info` and the start log. */
export function describeTuning(config: Config): Record<string, string> {
  const { upstream, nonce, startup, lanes, queue, pacing, publicCalls, orders } = config;
  return {
    lanes,
    store: nonce.store,
    reserveMs: String(nonce.reserveMs),
    windowMs: String(startup.windowMs),
    maxPerSecond: String(startup.maxPerSecond),
    minIntervalMs: String(startup.minIntervalMs),
    maxWaiting: String(queue.maxWaiting),
    maxWaitMs: String(queue.maxWaitMs),
    timeoutMs: String(upstream.timeoutMs),
    pacing: String(pacing.enabled),
    engine: pacing.engine,
    merge: String(pacing.merge),
    publicPerSecond: String(publicCalls.perSecond),
    settle: String(orders.settle),
    resend: String(orders.resend),
    upstream: upstream.url === 'sandbox' ? 'sandbox' : new URL(upstream.url).host,
  };
}

/** What the schema finds in one place, in the operator's terms. */
function shapeMistakes(issue: z.core.$ZodIssue, raw: unknown, schemaOf: () => object): ConfigMistake[] {
  if (issue.code === 'unrecognized_keys') {
    // The scan of the text reports `__proto__`.
    return issue.keys
      .filter((key) => key !== '__proto__')
      .map((key) => unknownKey([...issue.path, key], raw, schemaOf()));
  }
  if (issue.code === 'invalid_key') {
    const name = String(issue.path.at(-1));
    const expected = issue.issues[0]?.message ?? 'another name';
    return [{ path: pathText(issue.path.slice(0, -1)), found: `the name ${nameText(name)}`, expected }];
  }
  return [
    { path: pathText(issue.path) || '(file)', found: foundAt(raw, issue.path), expected: issue.message },
  ];
}

function unknownKey(path: readonly PropertyKey[], raw: unknown, schema: object): ConfigMistake {
  const found = kindOf(at(raw, path));
  const known = keysAt(path.slice(0, -1), schema);
  const meant = closestName(String(path.at(-1)), known);
  const expected =
    meant === undefined ? `only ${known.join(', ')}` : `a known option; did you mean ${meant}?`;
  return { path: pathText(path), found: `an unknown option (${found})`, expected };
}

/** The options an object of the config may have, as the JSON schema lists them. */
function keysAt(path: readonly PropertyKey[], schema: object): string[] {
  let node: unknown = schema;
  for (const segment of path) node = at(node, ['properties', segment]) ?? at(node, ['additionalProperties']);
  return Object.keys(at(node, ['properties']) ?? {}).filter((key) => key !== '$schema');
}

/** The value as a message may show it: nothing below an account but its tier, no URL that may hold a password. */
function foundAt(raw: unknown, path: readonly PropertyKey[]): string {
  const value = at(raw, path);
  if (path[0] === 'accounts')
    return path.length === 3 && path[2] === 'tier' ? valueText(value) : kindOf(value);
  if (path[0] === 'clients' && (path.length < 3 || path[2] === 'key' || path[2] === 'secret'))
    return kindOf(value);
  if (path[0] === 'ops' && path[1] === 'token') return kindOf(value);
  if (path[0] === 'nonce' && path[1] === 'url') return kindOf(value);
  if (path[0] === 'upstream' && typeof value === 'string') {
    if (value.includes('@')) return 'a URL with a user name or password';
    if (/[?#]/.test(value)) return 'a URL with a query or fragment';
  }
  return valueText(value);
}

function oddKeyMistake({ path, why }: JsonOddKey): ConfigMistake {
  const found = why === 'repeated' ? 'the same key again' : 'a name that JavaScript reserves';
  return { path: pathText(path), found, expected: why === 'repeated' ? 'every key once' : 'another name' };
}

/** The names a listener answers to: those given, or loopback's and its own. */
function hostNames(listener: {
  readonly host: string;
  readonly hosts?: readonly string[] | undefined;
}): string[] {
  const own = isWildcard(listener.host) ? [] : [listener.host];
  const names = listener.hosts ?? [...LOOPBACK_NAMES, ...own];
  return [...new Set(names.map((name) => hostHeaderName(name) ?? name))];
}

function listenWarnings({ host, hosts, tls, insecure }: ListenReach): string[] {
  const warnings: string[] = [];
  if (isLoopback(host)) return warnings;
  if (tls === undefined && insecure)
    warnings.push('listen.insecure: calls come over plain HTTP: who listens on the network can repeat them');
  if (hosts === undefined && isWildcard(host))
    warnings.push('listen.hosts: name what bots on other machines call this host, or they are refused');
  return warnings;
}

interface ListenReach {
  readonly host: string;
  readonly hosts?: readonly string[] | undefined;
  readonly tls?: object | undefined;
  readonly insecure: boolean;
}

function opsWarnings(
  ops: { readonly host: string; readonly hosts?: readonly string[] | undefined },
  token: Secret | undefined,
): string[] {
  if (isLoopback(ops.host)) return [];
  const closed = token === undefined ? '; the page and the admin API are closed without ops.token' : '';
  const reach = `ops.host: whoever reaches ${ops.host} can read metrics, account names among them${closed}`;
  if (ops.hosts !== undefined || !isWildcard(ops.host)) return [reach];
  return [`${reach}; name in ops.hosts what the scraper calls this host, or it is refused`];
}

/** Windows has no such bits and always shows them set. */
function modeOf(path: string): number | undefined {
  return process.platform === 'win32' ? undefined : statSync(path).mode;
}

function unique(mistakes: readonly ConfigMistake[]): ConfigMistake[] {
  return [...new Map(mistakes.map((mistake) => [JSON.stringify(mistake), mistake])).values()];
}
