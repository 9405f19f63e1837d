import { BlockList, isIP, isIPv6 } from 'node:net';

/** The names under which a proxy on loopback is called, as a Host header writes them. */
export const LOOPBACK_NAMES: readonly string[] = ['localhost', '127.0.0.1', '[::1]'];

const HOST_NAME = /^[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?$/;

/** An address or host name to listen on, lower case, IPv6 without brackets; undefined if it is neither. */
export function bindHost(text: string): string | undefined {
  const host = text.toLowerCase().replace(/^\[(.*)\]$/, '$1');
  return isIP(host) !== 0 || HOST_NAME.test(host) ? host : undefined;
}

/** A name as a Host header carries it, without port: lower case, IPv6 short and in brackets. */
export function hostHeaderName(text: string): string | undefined {
  const host = bindHost(text);
  if (host === undefined || !isIPv6(host)) return host;
  const url = `http://[${host}]`;
  return URL.canParse(url) ? new URL(url).hostname : undefined;
}

/** 127.0.0.0/8, ::1 or localhost, so that nobody from another machine can connect. */
export function isLoopback(host: string): boolean {
  const bare = bindHost(host);
  if (bare === undefined) return false;
  if (bare === 'localhost') return true;
  const version = isIP(bare);
  if (version === 0) return false;
  const loopback = new BlockList();
  loopback.addSubnet('127.0.0.0', 8, 'ipv4');
  loopback.addAddress('::1', 'ipv6');
  return loopback.check(bare, version === 4 ? 'ipv4' : 'ipv6');
}

/** 0.0.0.0 or ::, which take every address of the machine. */
export function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || hostHeaderName(host) === '[::]';
}

/** Whether two listeners on the same port would get in each other's way. */
export function hostsCollide(one: string, other: string): boolean {
  const [a, b] = [hostHeaderName(one), hostHeaderName(other)];
  if (a === b || isWildcard(one) || isWildcard(other)) return true;
  // The name stands for one or both of the addresses, as the machine's resolver likes.
  const names = [a, b];
  return names.includes('localhost') && (names.includes('127.0.0.1') || names.includes('[::1]'));
}

/** `sandbox`, or the origin of an upstream URL; undefined if the text is not a permitted upstream. */
export function upstreamOrigin(text: string): string | undefined {
  if (text === 'sandbox') return text;
  // URL forgives blanks, tabs and missing slashes; a config that signs orders need not be that lenient.
  if (!/^https?:\/\/[\x21-\x7e]+$/i.test(text) || !URL.canParse(text) || /[?#@\\]/.test(text))
    return undefined;
  const { protocol, hostname, pathname, origin } = new URL(text);
  if (pathname !== '/') return undefined;
  return protocol === 'https:' || isLoopback(hostname) ? origin : undefined;
}

/**
 * How far secrets may be trusted to the config file: `test` for the sandbox and loopback, `live` for
 * any other host, undefined where the upstream cannot be read.
 */
export function upstreamKind(text: unknown): 'test' | 'live' | undefined {
  if (text === 'sandbox') return 'test';
  if (typeof text !== 'string' || !URL.canParse(text)) return undefined;
  const { hostname } = new URL(text);
  if (hostname === '') return undefined;
  return isLoopback(hostname) ? 'test' : 'live';
}

/** An IP address or network in CIDR form; undefined if it is neither. */
export interface Source {
  readonly address: string;
  /** Bits of the network. */
  readonly prefix: number;
  readonly family: 'ipv4' | 'ipv6';
}

export function parseSource(text: string): Source | undefined {
  const [, address = '', bits] = /^([0-9A-Fa-f.:]{2,45})(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const version = isIP(address);
  if (version === 0) return undefined;
  const width = version === 4 ? 32 : 128;
  const prefix = bits === undefined ? width : Number(bits);
  return prefix > width ? undefined : { address, prefix, family: version === 4 ? 'ipv4' : 'ipv6' };
}
