import { Secret } from '../secret.js';
import { kindOf, pathText, valueText, type ConfigMistake } from './mistakes.js';
import { otpSchema, referenceSchema, tierSchema, type Tier } from './account-schema.js';

/** One Kraken account with its API key. */
export interface AccountConfig {
  readonly name: string;
  /** The public key, sent as `API-Key`. */
  readonly key: string;
  /** The private key in base64, as Kraken shows it. */
  readonly secret: Secret;
  readonly tier: Tier;
  /** What every call of a key with two-factor authentication carries; a TOTP secret is plain base32. */
  readonly otp: { readonly kind: 'static' | 'totp'; readonly value: Secret } | undefined;
}

/** Where references lead. */
export interface ReferenceSources {
  readonly env: NodeJS.ProcessEnv;
  /** A relative path made absolute, from the folder of the config. */
  readonly resolve: (path: string) => string;
  /** The text of a file; throws where it cannot be read. */
  readonly readFile: (path: string) => string;
  /** The permission bits of a file; undefined where they say nothing. */
  readonly modeOf: (path: string) => number | undefined;
  /** `live` refuses literals; undefined, for an upstream that cannot be read, lets them pass. */
  readonly upstream: 'test' | 'live' | undefined;
}

export interface AccountsReading {
  readonly accounts: readonly AccountConfig[];
  readonly mistakes: readonly ConfigMistake[];
  readonly warnings: readonly string[];
}

/**
 * Reads the accounts and what their references lead to. Passes over whatever has the wrong shape, which
 * the schema reports, so that all the rest is still checked. Never puts a value into a message.
 */
export function readAccounts(raw: unknown, sources: ReferenceSources): AccountsReading {
  const reader = new AccountReader(sources);
  const accounts = Object.entries(isObject(raw) ? raw : {})
    .map(([name, entry]) => reader.account(name, isObject(entry) ? entry : {}))
    .filter((account) => account !== undefined);
  return { accounts, mistakes: reader.mistakes, warnings: reader.warnings };
}

const LITERAL =
  'no literal: a literal secret would live in the config file; use { "env": … } or { "file": … }';

// RFC 4648, section 4: with padding, one line.
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)$/;
// RFC 4648, section 6: padding may be left out; 1, 3 and 6 letters over make no whole byte.
const BASE32 = /^(?:[A-Z2-7]{8})*(?:[A-Z2-7]{2}|[A-Z2-7]{4}|[A-Z2-7]{5}|[A-Z2-7]{7,8})$/;

class AccountReader {
  readonly mistakes: ConfigMistake[] = [];
  readonly warnings: string[] = [];
  readonly #sources: ReferenceSources;
  readonly #ownerOf = new Map<string, string>();

  constructor(sources: ReferenceSources) {
    this.#sources = sources;
  }

  account(name: string, entry: Record<string, unknown>): AccountConfig | undefined {
    const at = ['accounts', name];
    const key = this.#key(name, entry.key, [...at, 'key']);
    const secret = this.#secret(entry.secret, [...at, 'secret']);
    const otp = this.#otp(entry.otp, [...at, 'otp']);
    const tier = tierSchema.safeParse(entry.tier).data;
    if (key === undefined || secret === undefined || tier === undefined) return undefined;
    return { name, key, secret: new Secret(secret), tier, otp };
  }

  #key(name: string, raw: unknown, at: readonly string[]): string | undefined {
    const key = this.#value(raw, at);
    if (key === undefined) return undefined;
    const owner = this.#ownerOf.get(key);
    if (!/^[\x21-\x7e]{1,256}$/.test(key)) {
      this.#mistake(
        at,
        'text that cannot be a key',
        'printable ASCII without spaces, at most 256 characters',
      );
    } else if (owner !== undefined) {
      const found = `the same public key as ${pathText(['accounts', owner])}`;
      this.#mistake(at, found, 'a key of its own: API-Key tells the accounts apart');
    } else {
      this.#ownerOf.set(key, name);
    }
    return key;
  }

  #secret(raw: unknown, at: readonly string[]): string | undefined {
    const secret = this.#value(raw, at);
    if (secret === undefined) return undefined;
    const bytes = Buffer.from(secret, 'base64').length;
    if (!BASE64.test(secret)) {
      this.#mistake(
        at,
        'text that is not base64',
        'the private key in base64, on one line, as Kraken shows it',
      );
    } else if (this.#sources.upstream === 'live' && bytes !== 64) {
      this.warnings.push(
        `${pathText(at)}: ${bytes} bytes, where Kraken's private keys have 64: is it cut off, or the public key?`,
      );
    }
    return secret;
  }

  #otp(raw: unknown, at: readonly string[]): AccountConfig['otp'] {
    const otp = otpSchema.safeParse(raw).data;
    if (otp === undefined) return undefined;
    if ('static' in otp) {
      const password = this.#value(otp.static, [...at, 'static']);
      return password === undefined ? undefined : { kind: 'static', value: new Secret(password) };
    }
    const text = this.#value(otp.totp, [...at, 'totp']);
    if (text === undefined) return undefined;
    // Authenticator set-up pages show the secret in groups, often in lower case.
    const base32 = text.replaceAll(' ', '').replace(/=+$/, '').toUpperCase();
    if (!BASE32.test(base32)) {
      this.#mistake([...at, 'totp'], 'text that is not base32', "the authenticator app's secret in base32");
    }
    return { kind: 'totp', value: new Secret(base32) };
  }

  /** What a reference leads to, without blanks around it; undefined if it leads nowhere, which is noted. */
  #value(raw: unknown, at: readonly string[]): string | undefined {
    const reference = referenceSchema.safeParse(raw).data;
    if (reference === undefined) return undefined;
    if (typeof reference === 'string') return this.#literal(reference.trim(), at);
    const value = 'env' in reference ? this.#variable(reference.env, at) : this.#file(reference.file, at);
    return value === '' ? undefined : value;
  }

  #literal(value: string, at: readonly string[]): string | undefined {
    if (this.#sources.upstream === 'live') this.#mistake(at, kindOf(value), LITERAL);
    else if (value === '') this.#mistake(at, 'an empty string', 'a value');
    else return value;
    return undefined;
  }

  #variable(name: string, at: readonly string[]): string | undefined {
    const { env } = this.#sources;
    // An own property only: every object has a `constructor`.
    const value: unknown = Object.hasOwn(env, name) ? env[name] : undefined;
    const text = typeof value === 'string' ? value.trim() : undefined;
    if (text === undefined || text === '') {
      const state = text === undefined ? 'not set' : 'empty';
      this.#mistake([...at, 'env'], `${valueText(name)}, which is ${state}`, 'a variable with a value');
    }
    return text;
  }

  #file(path: string, at: readonly string[]): string | undefined {
    const file = this.#sources.resolve(path);
    // The path as written decides whether it may be shown: a secret pasted there would hide in the full one.
    const shown = valueText(path) === kindOf(path) ? kindOf(path) : valueText(file);
    const place = [...at, 'file'];
    try {
      const text = this.#sources.readFile(file).trim();
      if (text === '') this.#mistake(place, `${shown}, which is empty`, 'a file with a value');
      this.#warnOfReaders(file, shown, place);
      return text;
    } catch (error) {
      const code = isObject(error) && typeof error.code === 'string' ? ` (${error.code})` : '';
      this.#mistake(place, `${shown}, which cannot be read${code}`, 'a file that the proxy can read');
      return undefined;
    }
  }

  #warnOfReaders(file: string, shown: string, place: readonly string[]): void {
    const mode = this.#sources.modeOf(file) ?? 0;
    if ((mode & 0o077) === 0 || place[2] === 'key') return;
    const bits = (mode & 0o777).toString(8).padStart(4, '0');
    this.warnings.push(
      `${pathText(place)}: ${shown} is open to other users (mode ${bits}); chmod 600 shuts them out`,
    );
  }

  #mistake(at: readonly string[], found: string, expected: string): void {
    this.mistakes.push({ path: pathText(at), found, expected });
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
