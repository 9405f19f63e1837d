/** What Kraken says about a key; a field that is missing, or that cannot be read for certain, is undefined. */
export interface KeyInfo {
  /** The highest nonce the key has seen; whether before this very call or with it is not confirmed. */
  readonly nonce: bigint | undefined;
  /** In nonce units: how far below the highest one a nonce is still taken. */
  readonly nonceWindow: bigint | undefined;
  /** In small letters with hyphens, `withdraw-funds`, whatever style they came in. */
  readonly permissions: readonly string[] | undefined;
  /** Addresses the key may be used from; empty: from everywhere. */
  readonly ipAllowlist: readonly string[] | undefined;
  /** Unix ms. */
  readonly validUntil: number | 'never' | undefined;
  /** Unix ms. Of the latest call, perhaps of this very one: not confirmed. */
  readonly lastUsed: number | 'never' | undefined;
}

/** An answer to GetApiKeyInfo is far shorter. */
const MAX_BODY = 262_144;
/** A string, also one that does not end, or a number: in valid JSON a number stands nowhere but between strings. */
const STRING_OR_NUMBER = /"(?:[^"\\]|\\[^])*"?|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/**
 * Reads the reply to GetApiKeyInfo (KRAKEN.md 1.4), with names in either spelling, numbers as numbers or as text.
 * Undefined when it is no good answer at all; never throws.
 */
export function readKeyInfo(body: Buffer): KeyInfo | undefined {
  const result = resultOf(body);
  if (result === undefined) return undefined;
  const fields = new Map(Object.entries(result).map(([name, value]) => [plain(name), value]));
  return {
    nonce: integerOf(fields.get('nonce')),
    nonceWindow: integerOf(fields.get('noncewindow')),
    permissions: namesOf(fields.get('permissions')),
    ipAllowlist: textsOf(fields.get('ipallowlist')),
    validUntil: momentOf(fields.get('validuntil')),
    lastUsed: momentOf(fields.get('lastused')),
  };
}

/** The second in which Kraken's `Time` was told, unix s; undefined when it is no good answer. */
export function readTime(body: Buffer): number | undefined {
  const seconds = integerOf(resultOf(body)?.unixtime);
  return seconds === undefined || seconds > 99_999_999_999n ? undefined : Number(seconds);
}

/** Every number in it is a text: 19 digits do not survive a double. */
function resultOf(body: Buffer): Readonly<Record<string, unknown>> | undefined {
  if (body.length > MAX_BODY) return undefined;
  try {
    const text = body
      .toString()
      .replace(STRING_OR_NUMBER, (token) => (token.startsWith('"') ? token : `"${token}"`));
    const { error, result } = JSON.parse(text) as { readonly error?: unknown; readonly result?: unknown };
    const isGood =
      Array.isArray(error) && error.every((one) => typeof one === 'string' && one.startsWith('W'));
    return isGood && isObject(result) ? result : undefined;
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** `valid_until`, `validUntil` and `valid-until` are one name. */
function plain(name: string): string {
  return name.replace(/[^A-Za-z0-9]/g, '').toLowerCase();
}

/** A whole number not below zero, exactly, also where it is written as 1.795e18; a fraction is cut off. */
function integerOf(value: unknown): bigint | undefined {
  if (typeof value !== 'string') return undefined;
  const [, whole, fraction = '', exponent = '0'] =
    /^(\d{1,40})(?:\.(\d{1,40}))?(?:[eE]\+?(\d{1,2}))?$/.exec(value.trim()) ?? [];
  if (whole === undefined) return undefined;
  const digits = BigInt(whole + fraction);
  const shift = Number(exponent) - fraction.length;
  return shift >= 0 ? digits * 10n ** BigInt(shift) : digits / 10n ** BigInt(-shift);
}

const MAX_MOMENT_MS = 8_640_000_000_000_000;
/** Up to here a number means s, ms, µs; beyond, ns. Each of them is good from 1973 to 5138. */
const UNITS = [
  { below: 10n ** 11n, toMs: (n: bigint) => n * 1_000n },
  { below: 10n ** 14n, toMs: (n: bigint) => n },
  { below: 10n ** 17n, toMs: (n: bigint) => n / 1_000n },
  { below: 10n ** 20n, toMs: (n: bigint) => n / 1_000_000n },
] as const;

function momentOf(value: unknown): number | 'never' | undefined {
  if (value === null || value === '') return 'never';
  if (typeof value !== 'string') return undefined;
  if (/^\d{4}-\d\d-\d\dT/.test(value)) {
    const ms = Date.parse(value);
    return Number.isNaN(ms) ? undefined : ms;
  }
  const number = integerOf(value);
  if (number === undefined) return undefined;
  if (number === 0n) return 'never';
  const ms = UNITS.find(({ below }) => number < below)?.toMs(number);
  return ms === undefined || ms > MAX_MOMENT_MS ? undefined : Number(ms);
}

/** `withdraw-funds`, `withdraw_funds`, `withdrawFunds`, `Withdraw Funds`, or names with true and false behind them. */
function namesOf(value: unknown): readonly string[] | undefined {
  const names = isObject(value) ? granted(value) : textsOf(value);
  if (names?.every((name) => /[A-Za-z]/.test(name)) !== true) return undefined;
  return names.map((name) =>
    name
      .replace(/([a-z])([A-Z])/g, '$1-$2')
      .replace(/[^A-Za-z0-9]+/g, '-')
      .replace(/^-|-$/g, '')
      .toLowerCase(),
  );
}

function granted(value: Readonly<Record<string, unknown>>): readonly string[] | undefined {
  const entries = Object.entries(value);
  if (!entries.every(([, isGranted]) => typeof isGranted === 'boolean')) return undefined;
  return entries.filter(([, isGranted]) => isGranted === true).map(([name]) => name);
}

/** Only where all of it can be read: half a list would say what Kraken has not said. */
function textsOf(value: unknown): readonly string[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const items: readonly unknown[] = value;
  return items.every((item) => typeof item === 'string') ? items : undefined;
}
