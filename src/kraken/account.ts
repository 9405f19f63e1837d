import { createHash } from 'node:crypto';
import { Secret as OtpSecret, TOTP } from 'otpauth';
import type { Secret } from '../secret.js';
import { createSigner, type Signer } from './signature.js';

/** One Kraken account with its key, ready to sign. */
export interface Account {
  readonly name: string;
  /** The public key, as sent in `API-Key`. */
  readonly key: string;
  /** Names the key in state file and log without showing it. */
  readonly fingerprint: string;
  readonly signer: Signer;
  /** The password for a call at this moment; undefined when the key needs none. */
  readonly otp: (() => string) | undefined;
}

export interface AccountOptions {
  readonly name: string;
  readonly key: string;
  /** Base64, as Kraken gives it. */
  readonly secret: Secret;
  /** The second factor that the key asks for on every call (KRAKEN.md 1.5). */
  readonly otp: { readonly kind: 'static' | 'totp'; readonly value: Secret } | undefined;
}

/** First 16 hex digits of the SHA-256 of a public key. */
export function keyFingerprint(key: string): string {
  return createHash('sha256').update(key).digest('hex').slice(0, 16);
}

/** Prepares what is needed to sign, once. */
export function createAccount({ name, key, secret, otp }: AccountOptions): Account {
  return {
    name,
    key,
    fingerprint: keyFingerprint(key),
    signer: createSigner(secret.reveal()),
    otp: otp === undefined ? undefined : createOtp(otp.kind, otp.value),
  };
}

function createOtp(kind: 'static' | 'totp', value: Secret): () => string {
  if (kind === 'static') return () => value.reveal();
  // An authenticator app's usual parameters: SHA-1, 6 digits, 30 s (RFC 6238).
  const totp = new TOTP({ secret: OtpSecret.fromBase32(value.reveal()) });
  return () => totp.generate();
}
