import { decodeSecret } from '../kraken/signature.js';
import { Secret } from '../secret.js';
import { otpSchema, tierSchema, type Tier } from './account-schema.js';
import { pathText } from './mistakes.js';
import { isKeyText, isObject, KEY_TEXT, type References } from './references.js';

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

/**
 * Reads the accounts and what their references lead to. Passes over whatever has the wrong shape, which
 * the schema reports, so that all the rest is still checked.
 */
export function readAccounts(raw: unknown, references: References): AccountConfig[] {
  const reader = new AccountReader(references);
  return Object.entries(isObject(raw) ? raw : {})
    .map(([name, entry]) => reader.account(name, isObject(entry) ? entry : {}))
    .filter((account) => account !== undefined);
}

// RFC 4648, section 6: padding may be left out; 1, 3 and 6 letters over make no whole byte.
const BASE32 = /^(?:[A-Z2-7]{8})*(?:[A-Z2-7]{2}|[A-Z2-7]{4}|[A-Z2-7]{5}|[A-Z2-7]{7,8})$/;

class AccountReader {
  readonly #references: References;
  readonly #ownerOf = new Map<string, string>();

  constructor(references: References) {
    this.#references = references;
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
    const key = this.#references.value(raw, at);
    if (key === undefined) return undefined;
    const owner = this.#ownerOf.get(key);
    if (!isKeyText(key)) {
      this.#references.mistake(at, 'text that cannot be a key', KEY_TEXT);
    } else if (owner !== undefined) {
      const found = `the same public key as ${pathText(['accounts', owner])}`;
      this.#references.mistake(at, found, 'a key of its own: API-Key tells the accounts apart');
    } else {
      this.#ownerOf.set(key, name);
    }
    return key;
  }

  #secret(raw: unknown, at: readonly string[]): string | undefined {
    const secret = this.#references.value(raw, at);
    if (secret === undefined) return undefined;
    const bytes = decodeSecret(secret)?.length;
    if (bytes === undefined) {
      const expected = 'the private key in base64, on one line, as Kraken shows it';
      this.#references.mistake(at, 'text that is not base64', expected);
    } else if (this.#references.sources.upstream === 'live' && bytes !== 64) {
      this.#references.warnings.push(
        `${pathText(at)}: ${bytes} bytes, where Kraken's private keys have 64: is it cut off, or the public key?`,
      );
    }
    return secret;
  }

  #otp(raw: unknown, at: readonly string[]): AccountConfig['otp'] {
    const otp = otpSchema.safeParse(raw).data;
    if (otp === undefined) return undefined;
    if ('static' in otp) {
      const password = this.#references.value(otp.static, [...at, 'static']);
      return password === undefined ? undefined : { kind: 'static', value: new Secret(password) };
    }
    const text = this.#references.value(otp.totp, [...at, 'totp']);
    if (text === undefined) return undefined;
    // Authenticator set-up pages show the secret in groups, often in lower case.
    const base32 = text.replaceAll(' ', '').replace(/=+$/, '').toUpperCase();
    if (!BASE32.test(base32)) {
      const expected = "the authenticator app's secret in base32";
      this.#references.mistake([...at, 'totp'], 'text that is not base32', expected);
    }
    return { kind: 'totp', value: new Secret(base32) };
  }
}
