import { resolve } from 'node:path';
import { Secret } from '../secret.js';
import { bindHost, isLoopback } from './addresses.js';
import { at } from './raw-values.js';
import type { References } from './references.js';

const PLACE = ['nonce', 'url'];
/** What is expected of a url. */
export const DATABASE_URL =
  'postgres://user:password@host:port/database, with what is not a letter or digit in user and password as %40 and the like';

/** What `pg` takes from behind the `?` in place of what stands before it; the host that is judged must be the one that is used. */
const BEFORE_THE_QUERY = ['host', 'port', 'user', 'password'] as const;
/** Files that `pg` reads itself, from the folder in which the process runs. */
const FILES = ['sslrootcert', 'sslcert', 'sslkey'] as const;

/**
 * The url of the database that the state is kept in; undefined when it is kept in a file or when there is a mistake,
 * which is noted. No message shows the url or a part of it: it holds a password.
 */
export function readDatabaseUrl(raw: unknown, references: References): Secret | undefined {
  const written = at(raw, PLACE);
  if (at(raw, ['nonce', 'store']) !== 'postgres') return undefined;
  // What leads to another machine is no literal; one that cannot be read is told as what it is.
  const host = typeof written === 'string' ? parseUrl(written.trim())?.hostname : undefined;
  const text = references.value(written, PLACE, { literal: host === undefined || isLoopback(host) });
  if (text === undefined) return undefined;
  const { url, faults, warnings } = judgeDatabaseUrl(text, references.sources);
  for (const found of faults) references.mistake(PLACE, found, DATABASE_URL);
  for (const warning of warnings) references.warnings.push(`nonce.url: ${warning}`);
  return url;
}

/** What is to be said of a url, in words that show nothing of it. */
export interface JudgedUrl {
  /** Undefined when there are faults. */
  readonly url: Secret | undefined;
  /** What it is, where it should be a DATABASE_URL. */
  readonly faults: readonly string[];
  readonly warnings: readonly string[];
}

/** Whether a url is one of a database that the proxy can use, and safely. */
export function judgeDatabaseUrl(text: string, sources: UrlSources): JudgedUrl {
  const url = parseUrl(text);
  if (url === undefined)
    return { url: undefined, faults: ['a text that is no postgres:// url'], warnings: [] };
  const options: Options = Object.fromEntries(url.searchParams);
  const faults = [...faultsOf(url, options), ...fileFaults(options, sources)];
  if (faults.length > 0) return { url: undefined, faults, warnings: [] };
  const warning = isLoopback(url.hostname) ? undefined : warningOf(tlsOf(options, sources.env));
  return { url: new Secret(text), faults, warnings: warning === undefined ? [] : [warning] };
}

type UrlSources = Pick<References['sources'], 'env' | 'readFile'>;

type Options = Readonly<Partial<Record<string, string>>>;

function parseUrl(text: string): URL | undefined {
  return /^postgres(?:ql)?:\/\/[\x21-\x7e]+$/i.test(text) && URL.canParse(text) ? new URL(text) : undefined;
}

/** In words that tell nothing of it. */
function faultsOf(url: URL, options: Options): string[] {
  const faults: string[] = [];
  const { hostname, pathname, username, password, hash } = url;
  if (hostname === '') faults.push('a url without a host');
  // A socket's path would stand here as %2Frun%2Fpostgresql.
  else if (bindHost(hostname) === undefined) faults.push('a url whose host is no address and no host name');
  if (!/^\/[^/]+$/.test(pathname)) faults.push('a url without the name of one database');
  if (![username, password, pathname].every(isDecodable))
    faults.push('a url with a % that starts no character');
  if (hash !== '') faults.push('a url with a #');
  for (const name of BEFORE_THE_QUERY)
    if (options[name] !== undefined) faults.push(`a url with ${name} behind the ?`);
  if (
    options.uselibpqcompat === 'true' &&
    options.sslmode === 'verify-ca' &&
    options.sslrootcert === undefined
  )
    faults.push('a url with sslmode=verify-ca and no sslrootcert');
  return faults;
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

function fileFaults(options: Options, sources: UrlSources): string[] {
  return FILES.flatMap((name) => {
    const path = options[name];
    if (path === undefined || path === '') return [];
    try {
      sources.readFile(resolve(path));
      return [];
    } catch (error) {
      const code = (error as NodeJS.ErrnoException | undefined)?.code ?? 'unreadable';
      return [`a url whose ${name} is no file that can be read (${code})`];
    }
  });
}

type Tls = 'none' | 'unproven' | 'proven';

/** As pg 8 reads a url (pg-connection-string 2): it takes prefer, require and verify-ca for verify-full. */
function tlsOf(options: Options, env: NodeJS.ProcessEnv): Tls {
  const { sslmode, ssl, sslrootcert, uselibpqcompat } = options;
  if (sslmode !== undefined && sslmode !== '') {
    if (sslmode === 'disable') return 'none';
    // As libpq has it, which proves less.
    if (uselibpqcompat === 'true')
      return sslmode === 'prefer' || (sslmode === 'require' && !sslrootcert) ? 'unproven' : 'proven';
    return sslmode === 'no-verify' ? 'unproven' : 'proven';
  }
  if (FILES.some((name) => Boolean(options[name]))) return 'proven';
  if (ssl !== undefined)
    return ssl === '' || ssl === '0' ? 'none' : ssl === 'no-verify' ? 'unproven' : 'proven';
  if (options.sslnegotiation === 'direct') return 'proven';
  const otherwise = env.PGSSLMODE;
  if (otherwise === 'no-verify') return 'unproven';
  return ['prefer', 'require', 'verify-ca', 'verify-full'].includes(otherwise ?? '') ? 'proven' : 'none';
}

function warningOf(tls: Tls): string | undefined {
  const remedy =
    'add ?sslmode=verify-full, and sslrootcert=<file> for a certificate authority of your own (require and verify-ca ' +
    'mean the same to this proxy)';
  if (tls === 'none')
    return `the way to the database on another machine is not encrypted: who is on it can read and change the state; ${remedy}`;
  if (tls === 'unproven')
    return `the database's certificate is not checked: who is on the way can stand in for it; ${remedy}`;
  return undefined;
}
