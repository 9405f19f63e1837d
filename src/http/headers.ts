import type { IncomingHttpHeaders } from 'node:http';
import { ProxyError } from '../errors.js';

/** Meant for one hop only (RFC 9110 7.6.1), or set anew for the next. */
const HOP_BY_HOP = [
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'expect',
  'host',
  'content-length',
];

/** What HTTP/2 has in place of a request line (RFC 9113 8.3.1); HTTP/1.1 knows no such names. */
const PSEUDO_HEADERS = [':method', ':scheme', ':authority', ':path', ':protocol'];

/** Request headers that do not go on to Kraken: what the proxy writes itself, secrets, and traces of the network. */
const NOT_TO_KRAKEN = new Set([
  ...HOP_BY_HOP,
  ...PSEUDO_HEADERS,
  'api-key',
  'api-sign',
  'authorization',
  'content-type',
  'content-encoding',
  'accept-encoding',
  'cookie',
  'idempotency-key',
  'x-request-id',
  'forwarded',
  'via',
  'x-real-ip',
  'origin',
  'referer',
  // Ways to make somebody behind us see another request than the one that was judged and signed.
  'x-http-method',
  'x-http-method-override',
  'x-method-override',
  'x-original-url',
  'x-rewrite-url',
  'range',
]);
const NOT_TO_KRAKEN_PREFIXES = ['x-forwarded-', 'x-proxy-', 'cf-'];

/**
 * Reply headers that do not go to the client. Cookies and alternative services are between Kraken and us;
 * the last are the proxy's own word to its client.
 */
const NOT_TO_CLIENT = new Set([
  ...HOP_BY_HOP,
  'set-cookie',
  'alt-svc',
  'strict-transport-security',
  'x-request-id',
  'x-proxy-error',
  'x-proxy-error-detail',
  'x-proxy-outcome',
  'idempotent-replayed',
]);

type RequestHeaders = IncomingHttpHeaders & { readonly ':authority'?: string };

/** The client's own headers that go on to Kraken, as they came. */
export function headersForKraken(headers: IncomingHttpHeaders, userAgent: string): Record<string, string> {
  const kept: Record<string, string> = {};
  const named = namedByConnection(headers.connection);
  for (const name in headers) {
    if (NOT_TO_KRAKEN.has(name) || named?.has(name) === true) continue;
    if (NOT_TO_KRAKEN_PREFIXES.some((prefix) => name.startsWith(prefix))) continue;
    if (name.includes('_')) continue; // some servers read API_Key as API-Key
    const value = headers[name];
    if (value !== undefined) kept[name] = Array.isArray(value) ? value.join(', ') : value;
  }
  // Kraken recommends one (KRAKEN.md 1.1).
  kept['user-agent'] ??= userAgent;
  return kept;
}

/** Kraken's reply headers that the client gets, as the flat list `writeHead` takes. */
export function headersForClient(headers: Readonly<Record<string, string | string[]>>): string[] {
  const kept: string[] = [];
  const { connection } = headers;
  const named = namedByConnection(Array.isArray(connection) ? connection.join() : connection);
  for (const name in headers) {
    if (NOT_TO_CLIENT.has(name) || named?.has(name) === true) continue;
    const value = headers[name] ?? '';
    if (Array.isArray(value)) for (const each of value) kept.push(name, each);
    else kept.push(name, value);
  }
  return kept;
}

/**
 * The same list for HTTP/2, where node takes no second line of most headers: lines of one name become one
 * (RFC 9110 5.3).
 */
export function headersForHttp2(list: readonly string[]): Record<string, string> {
  const joined: Record<string, string> = {};
  for (let at = 0; at + 1 < list.length; at += 2) {
    const [name = '', value = ''] = list.slice(at, at + 2);
    joined[name] = joined[name] === undefined ? value : `${joined[name]}, ${value}`;
  }
  return joined;
}

/**
 * Refuses what a web page could send: any request that a browser marks as its own, or whose Host (HTTP/2:
 * `:authority`) is not one this listener answers to (DNS rebinding). Throws ProxyError `permission-denied`.
 */
export function refuseBrowsers(headers: RequestHeaders, hosts: ReadonlySet<string>): void {
  if (headers.origin !== undefined) throw browser('it carries Origin');
  for (const name in headers) {
    if (!name.startsWith('sec-fetch-')) continue;
    // Node's own fetch sends this one, and it alone; a browser sends Sec-Fetch-Site with every request.
    if (name === 'sec-fetch-mode' && headers[name] === 'cors') continue;
    throw browser('it carries Sec-Fetch headers');
  }
  const { ':authority': authority, host = authority ?? '' } = headers;
  if (authority !== undefined && authority !== host) {
    throw new ProxyError('permission-denied', 'the Host header and the :authority differ');
  }
  if (!hosts.has(host) && !hosts.has(host.replace(/:\d{1,5}$/, '').toLowerCase())) {
    throw new ProxyError(
      'permission-denied',
      'the Host header is not one that listen.hosts or ops.hosts names',
    );
  }
}

/**
 * As `refuseBrowsers`, for a listener that has pages of its own: those may ask it, and so may whoever types its
 * address. `navigable`: the request is for a page that links elsewhere may lead to; it reads nothing and does
 * nothing. Throws ProxyError `permission-denied`.
 */
export function refuseForeignPages(
  headers: IncomingHttpHeaders,
  hosts: ReadonlySet<string>,
  navigable: boolean,
): void {
  const { host, origin } = headers;
  refuseBrowsers({ host }, hosts);
  const own = `//${(host ?? '').toLowerCase()}`;
  if (origin !== undefined && origin !== `http:${own}` && origin !== `https:${own}`) {
    throw browser('its Origin is another');
  }
  const site = headers['sec-fetch-site'];
  if (site === 'same-origin' || site === 'none') return;
  // A browser that sends any of these sends Sec-Fetch-Site; the rest is as above.
  if (site === undefined) refuseBrowsers({ ...headers, origin: undefined }, hosts);
  else if (!navigable || headers['sec-fetch-mode'] !== 'navigate' || headers['sec-fetch-dest'] !== 'document')
    throw browser('it is of another origin');
}

function browser(why: string): ProxyError {
  return new ProxyError('permission-denied', `the request comes from a web page: ${why}`);
}

function namedByConnection(connection: string | undefined): Set<string> | undefined {
  if (connection === undefined || connection === 'keep-alive' || connection === 'close') return undefined;
  return new Set(connection.split(',').map((token) => token.trim().toLowerCase()));
}
