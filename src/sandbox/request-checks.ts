import { createHash, createHmac, createSecretKey, timingSafeEqual, type KeyObject } from 'node:crypto';

import { CallCounter, type Tier } from './call-counter.js';
import { Lockout } from './lockout.js';
import type { RequestBody } from './request-body.js';

/** One API key that the sandbox knows. */
export interface SandboxKey {
  /** Keys of one account share orders and balances. */
  readonly account: string;
  /** The public key, as sent in API-Key. */
  readonly key: string;
  /** The secret, base64. */
  readonly secret: string;
  /** Sets the REST call counter's limits; default `intermediate`. */
  readonly tier?: Tier;
  /** How far below the highest nonce one is still taken, in nonce units; default 0 (KRAKEN.md 1.4). */
  readonly nonceWindow?: bigint;
  /** When set, every call must carry it in `otp`: a password, or the codes that are good at a time. */
  readonly otp?: string | ((nowMs: number) => readonly string[]);
  /** When set, the key may do only this: names as GetApiKeyInfo gives them, `query-funds` and so on. */
  readonly permissions?: readonly string[];
  /** When it ends, unix s, 0: never; after that Kraken knows it no more. Default 0. */
  readonly validUntil?: number;
  /** When there are any, the key may be used from these addresses only. */
  readonly ipAllowlist?: readonly string[];
  /** How GetApiKeyInfo tells of it: what Kraken does here is not confirmed (KRAKEN.md 1.4, 9). */
  readonly info?: KeyInfoStyle;
}

/** How GetApiKeyInfo tells of a key. */
export interface KeyInfoStyle {
  /** Whether `nonce` is the highest before the call that asks, or with it. Default `including`. */
  readonly nonce?: 'before' | 'including';
  /** Likewise for `last_used`. Default `including`. */
  readonly lastUsed?: 'before' | 'including';
  /** Whether numbers are texts or JSON numbers. Default `text`. */
  readonly numbers?: 'text' | 'number';
  /** `valid_until` or `validUntil`. Default `snake`. */
  readonly names?: 'snake' | 'camel';
}

/** What may be changed of a key while the sandbox runs. */
export type KeySettings = Pick<
  SandboxKey,
  'nonceWindow' | 'permissions' | 'validUntil' | 'ipAllowlist' | 'info'
>;

/** What the sandbox remembers of a key: nonce and call counter are kept per key (KRAKEN.md 1.4, 3.1). */
export interface KeyState {
  config: SandboxKey;
  readonly hmacKey: KeyObject;
  readonly counter: CallCounter;
  readonly nonces: NonceMemory;
  /** The latest call that was taken, ms; 0: none yet. */
  lastUsed: number;
  /** What nonces and time were before the latest call that was taken. */
  before: { readonly nonce: bigint; readonly lastUsed: number };
}

// KRAKEN.md 1.4: unsigned 64-bit in the text, int64 in the spec; so nothing above int64 is taken.
const MAX_NONCE = 9_223_372_036_854_775_807n;
const NONCE = /^[1-9]\d{0,18}$/;

/** The nonces a key has used. Only rises. */
export class NonceMemory {
  #window: bigint;
  readonly #usedInWindow = new Set<bigint>();
  #highest = 0n;

  constructor(window: bigint) {
    this.#window = window;
  }

  /** From now on nonces so far below the highest are taken. */
  set window(window: bigint) {
    this.#window = window;
  }

  get highest(): bigint | undefined {
    return this.#highest === 0n ? undefined : this.#highest;
  }

  /**
   * Uses up a nonce; false when it may not be used. Inside a window the same nonce is never taken twice,
   * though whether Kraken refuses the second is not confirmed (KRAKEN.md 1.4).
   */
  use(nonce: bigint): boolean {
    if (nonce > this.#highest) {
      this.raise(nonce);
    } else if (nonce <= this.#highest - this.#window || this.#usedInWindow.has(nonce)) {
      return false;
    }
    if (this.#window > 0n) this.#usedInWindow.add(nonce);
    return true;
  }

  raise(nonce: bigint): void {
    if (nonce <= this.#highest) return;
    this.#highest = nonce;
    for (const used of this.#usedInWindow) {
      if (used <= nonce - this.#window) this.#usedInWindow.delete(used);
    }
  }
}

/** The checks every private call passes before its endpoint runs, in Kraken's order. */
export class RequestChecks {
  readonly #keys = new Map<string, KeyState>();
  readonly #lockout = new Lockout();

  constructor(keys: readonly SandboxKey[]) {
    for (const config of keys) {
      this.#keys.set(config.key, {
        config,
        // Made once: hashing a raw secret into a key for every call costs more than the HMAC.
        hmacKey: createSecretKey(Buffer.from(config.secret, 'base64')),
        counter: new CallCounter(config.tier ?? 'intermediate'),
        nonces: new NonceMemory(config.nonceWindow ?? 0n),
        lastUsed: 0,
        before: { nonce: 0n, lastUsed: 0 },
      });
    }
  }

  /** Changes what is given; the rest stays. */
  change(state: KeyState, settings: KeySettings): void {
    state.config = { ...state.config, ...settings, info: { ...state.config.info, ...settings.info } };
    if (settings.nonceWindow !== undefined) state.nonces.window = settings.nonceWindow;
  }

  key(text: string): KeyState | undefined {
    return this.#keys.get(text);
  }

  keys(): Iterable<KeyState> {
    return this.#keys.values();
  }

  /**
   * Key, address, readable body, signature, otp, nonce: the key, or the E-string to refuse with. The order is only
   * claimed by third parties (KRAKEN.md 1.4); a call that fails before the nonce check spends no nonce.
   * A missing nonce is refused before the signature, which could not be worked out without it.
   */
  check(call: CheckedCall, now: number): KeyState | string {
    const text = call.key ?? '';
    if (this.#lockout.refuses(text, now)) return 'EGeneral:Temporary lockout';
    const state = this.#keys.get(text);
    if (state === undefined || hasEnded(state.config, now)) {
      this.#lockout.failed(text, 'key', now);
      return 'EAPI:Invalid key';
    }
    const { ipAllowlist = [] } = state.config;
    if (ipAllowlist.length > 0 && !ipAllowlist.includes(call.address ?? ''))
      return 'EGeneral:Permission denied';
    if (call.body.problem !== undefined) return call.body.problem;
    const nonce = call.body.nonce;
    if (nonce === undefined) return this.#invalidNonce(text, now);
    if (!signatureHolds(state.hmacKey, call, nonce) || !otpHolds(state.config.otp, call, now)) {
      this.#lockout.failed(text, 'signature', now);
      // A missing otp is answered so as well (KRAKEN.md 1.5).
      return 'EAPI:Invalid signature';
    }
    if (!NONCE.test(nonce)) return this.#invalidNonce(text, now);
    const number = BigInt(nonce);
    const before = { nonce: state.nonces.highest ?? 0n, lastUsed: state.lastUsed };
    if (number > MAX_NONCE || !state.nonces.use(number)) return this.#invalidNonce(text, now);
    this.#lockout.passed(text);
    state.lastUsed = now;
    state.before = before;
    return state;
  }

  #invalidNonce(key: string, now: number): string {
    this.#lockout.failed(key, 'nonce', now);
    return 'EAPI:Invalid nonce';
  }
}

/** What the checks look at. */
export interface CheckedCall {
  readonly key: string | undefined;
  readonly sign: string | undefined;
  /** Where it came from; undefined: not known. */
  readonly address: string | undefined;
  /** The raw request target, with its query, which is part of the signed path (KRAKEN.md 1.2). */
  readonly path: string;
  readonly rawBody: Buffer;
  readonly body: RequestBody;
}

function hasEnded({ validUntil }: SandboxKey, now: number): boolean {
  return validUntil !== undefined && validUntil > 0 && now >= validUntil * 1_000;
}

/** KRAKEN.md 1.2: HMAC-SHA512(secret, path + SHA256(nonce + body)), the body as the bytes on the wire. */
function signatureHolds(hmacKey: KeyObject, call: CheckedCall, nonce: string): boolean {
  if (call.sign === undefined) return false;
  const sha = createHash('sha256').update(nonce).update(call.rawBody).digest();
  // node:http hands the target out as latin1: this gives back the bytes on the wire.
  const expected = createHmac('sha512', hmacKey).update(call.path, 'latin1').update(sha).digest('base64');
  const given = Buffer.from(call.sign, 'latin1');
  return given.length === expected.length && timingSafeEqual(given, Buffer.from(expected, 'latin1'));
}

function otpHolds(otp: SandboxKey['otp'], call: CheckedCall, now: number): boolean {
  if (otp === undefined) return true;
  const given = call.body.fields.has('otp') ? call.body.fields.text('otp') : undefined;
  if (given === undefined) return false;
  return typeof otp === 'string' ? given === otp : otp(now).includes(given);
}
