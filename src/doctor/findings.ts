import type { ClockSpan, Examination } from './examination.js';
import type { KeyInfo } from './key-info.js';
import { nonceTime } from './nonce-units.js';
import type { TwinEvidence } from './twin-alarm.js';

export type Severity = 'error' | 'warning' | 'info';

/** Everything that the key doctor can find. */
export const FINDING_CODES = [
  /** Kraken does not know the key. */
  'key-unknown',
  /** Kraken refuses its signature: the secret is wrong, or the otp is wrong or missing. */
  'signature-wrong',
  /** Kraken has locked the key, or our address, out for a while. */
  'key-locked-out',
  /** Kraken denies what needs no permission, so its IP allow-list seems to lack us. */
  'ip-not-allowed',
  'key-expired',
  'key-expiring',
  /** Its nonce window is not 0. */
  'nonce-window',
  /** It may withdraw although no client may. */
  'withdraw-allowed',
  /** It may be used from any address. */
  'ip-open',
  /** Its highest nonce is ahead of our clock. */
  'nonce-ahead',
  /** Our clock differs from Kraken's. Of no account. */
  'clock-off',
  /** Another program uses it. */
  'twin',
  /** Kraken has not said how it is. */
  'not-examined',
] as const;

export type FindingCode = (typeof FINDING_CODES)[number];

/** Something about a key that an operator should know. Shows neither key nor secret nor an address of ours. */
export interface KeyFinding {
  /** Undefined when it is not about one account. */
  readonly account: string | undefined;
  readonly code: FindingCode;
  readonly severity: Severity;
  /** What is, with figures. */
  readonly text: string;
  /** What to do, in words. */
  readonly fix: string;
  /** When it was first seen, unix ms; kept while it persists. */
  readonly since: number;
}

/** What is known about a key once it was examined. */
export interface KnownKey {
  readonly account: string;
  /** Whether a client may withdraw with it. */
  readonly mayWithdraw: boolean;
  readonly examination: Examination;
  /** What the examination's body says. */
  readonly info: KeyInfo | undefined;
  /** When it ends, as an earlier examination has told; unix ms. */
  readonly validUntil: number | undefined;
  /** How many examinations in a row, with this one, have brought no answer. */
  readonly failures: number;
  /** So many days before its end it is called expiring. */
  readonly expiryDays: number;
}

/** What an examination says of its key. */
export interface Diagnosis {
  readonly findings: readonly KeyFinding[];
  /** Whether it says all there is to say; else what was found before may still be so. */
  readonly isWhole: boolean;
}

const NS_PER_MS = 1_000_000n;
const DAY_MS = 86_400_000;
/** Kraken's clock and ours may differ so much; so may the nonces made from them. */
const CLOCK_MS = 1_000;
/** A one-time password is good for 30 s: from here on it fails. */
const CLOCK_ERROR_MS = 30_000;
/** So many examinations without an answer are no accident any more. */
const FAILURES_TO_WARN = 3;

/** Reads an examination. */
export function diagnose(known: KnownKey): Diagnosis {
  const { examination, info, failures } = known;
  if (info !== undefined) return { findings: findingsOf(known, info), isWhole: true };
  const { error } = examination;
  if (error !== undefined && INVALID_KEY.test(error)) return whole(unknownOrExpired(known));
  if (error !== undefined && INVALID_SIGNATURE.test(error)) return whole(signatureWrong(known));
  if (error !== undefined && PERMISSION_DENIED.test(error)) return whole(ipNotAllowed(known));
  if (error !== undefined && LOCKOUT.test(error)) return part(lockedOut(known));
  if (error !== undefined && INVALID_NONCE.test(error)) return part(nonceAheadUnknown(known));
  const why = error === undefined ? 'its answer cannot be read' : harmless(error);
  return part(
    finding(known, 'not-examined', failures >= FAILURES_TO_WARN ? 'warning' : 'info', {
      text: `the key could not be examined${failures > 1 ? ` ${failures} times in a row` : ''}: ${why}`,
      fix: 'nothing, if it passes; else see whether Kraken is in maintenance and whether this machine reaches it',
    }),
  );
}

const INVALID_KEY = /^EAPI: ?Invalid key(?:$| ?:)/;
const INVALID_SIGNATURE = /^EAPI: ?Invalid signature(?:$| ?:)/;
const INVALID_NONCE = /^EAPI: ?Invalid nonce(?:$| ?:)/;
const LOCKOUT = /^EGeneral: ?Temporary lockout(?:$| ?:)/;
const PERMISSION_DENIED = /^EGeneral: ?Permission denied(?:$| ?:)|^EAccount: ?Invalid permissions(?:$| ?:)/;

function whole(found: KeyFinding): Diagnosis {
  return { findings: [found], isWhole: true };
}

function part(found: KeyFinding): Diagnosis {
  return { findings: [found], isWhole: false };
}

interface Words {
  readonly text: string;
  readonly fix: string;
}

function finding(known: KnownKey, code: FindingCode, severity: Severity, words: Words): KeyFinding {
  return { account: known.account, code, severity, ...words, since: known.examination.at };
}

function unknownOrExpired(known: KnownKey): KeyFinding {
  const { validUntil, examination } = known;
  if (validUntil !== undefined && validUntil <= examination.at) return expired(known, validUntil);
  return finding(known, 'key-unknown', 'error', {
    text: 'Kraken does not know this key (EAPI:Invalid key): it was mistyped, deleted or disabled, or has expired',
    fix:
      "compare the account's key in the config with the list of API keys at Kraken; if it is not there, make a new " +
      'key and put it in. Until then nothing more is tried with it: each try may prolong a lockout',
  });
}

function signatureWrong(known: KnownKey): KeyFinding {
  return finding(known, 'signature-wrong', 'error', {
    text: 'Kraken knows the key but not its signature (EAPI:Invalid signature): the secret is wrong, or the otp is wrong or missing',
    fix:
      "see whether key and secret belong together, and whether the key asks for a second factor: then the account's " +
      "otp is needed, and this machine's clock must be right for it. A secret cannot be shown again: make a new key",
  });
}

function lockedOut(known: KnownKey): KeyFinding {
  return finding(known, 'key-locked-out', 'error', {
    text: 'Kraken has locked the key or this address out for a while (EGeneral:Temporary lockout), as it does after too many failed calls',
    fix:
      'wait: the proxy tries the key again by itself, ever more seldom, and each further try may prolong it. Meanwhile look ' +
      'for what failed so often: another program behind the same address, or a wrong key or secret',
  });
}

function ipNotAllowed(known: KnownKey): KeyFinding {
  return finding(known, 'ip-not-allowed', 'error', {
    text:
      'Kraken refuses the key with "Permission denied" although GetApiKeyInfo needs no permission: most likely the ' +
      "address this machine calls from is not on the key's IP allow-list. Kraken does not say so, it is an inference",
    fix: "add the address that this machine's calls come from (behind a NAT: the outer one) to the key's IP allow-list at Kraken",
  });
}

function nonceAheadUnknown(known: KnownKey): KeyFinding {
  const { nonces, at } = known.examination;
  const ours = nonces.at(-1);
  const lead = ours === undefined ? '' : `, the last one ${distance(ours, at)}`;
  return finding(known, 'nonce-ahead', 'error', {
    text:
      `Kraken calls every nonce of ours too low (EAPI:Invalid nonce${lead}): the key was used with higher ones, now or ` +
      'once. How much higher it does not say, and a nonce can never be lowered',
    fix: NONCE_FIX,
  });
}

const NONCE_FIX =
  'if the other program counts in nanoseconds too, stop it or give it a key of its own, and raise our nonces with nonce ' +
  'jump; if it counts in a larger unit, no jump reaches it: make a new key that only this proxy uses';

/** What a good answer says. */
function findingsOf(known: KnownKey, info: KeyInfo): readonly KeyFinding[] {
  return [
    expiry(known, info),
    nonceWindow(known, info),
    withdraw(known, info),
    ipOpen(known, info),
    nonceAhead(known, info),
  ].filter((found) => found !== undefined);
}

function expiry(known: KnownKey, { validUntil }: KeyInfo): KeyFinding | undefined {
  if (typeof validUntil !== 'number') return undefined;
  const leftMs = validUntil - known.examination.at;
  if (leftMs <= 0) return expired(known, validUntil);
  if (leftMs > known.expiryDays * DAY_MS) return undefined;
  return finding(known, 'key-expiring', leftMs <= DAY_MS ? 'error' : 'warning', {
    text: `the key expires at ${time(validUntil)}, in ${duration(leftMs)}; from then on Kraken refuses every call with it, cancels too`,
    fix: 'move its end at Kraken, or make a new key and put it into the config before',
  });
}

function expired(known: KnownKey, validUntil: number): KeyFinding {
  return finding(known, 'key-expired', 'error', {
    text: `the key has expired at ${time(validUntil)}: Kraken refuses every call with it, cancels too`,
    fix: 'move its end at Kraken, or make a new key and put it into the config',
  });
}

function nonceWindow(known: KnownKey, { nonceWindow: window }: KeyInfo): KeyFinding | undefined {
  if (window === undefined || window === 0n) return undefined;
  return finding(known, 'nonce-window', 'warning', {
    text:
      `the key's nonce window is ${window}, which is ${duration(Number(window) / 1e6)} of our nonces: Kraken takes calls ` +
      'that much below the highest nonce. So a call that got lost may still be executed after later ones, also when ' +
      'it was found not to be there, and other programs can use the key unnoticed',
    fix: "set the key's nonce window to 0 at Kraken: this proxy's nonces always rise, so it needs none",
  });
}

function withdraw(known: KnownKey, { permissions }: KeyInfo): KeyFinding | undefined {
  if (known.mayWithdraw || permissions?.some((name) => name.includes('withdraw')) !== true) return undefined;
  return finding(known, 'withdraw-allowed', 'warning', {
    text: 'the key may withdraw although no client of the proxy may: whoever gets hold of its secret can take the money out',
    fix:
      'make a key without the permission to withdraw, and put it into the config. A transfer to the futures wallet ' +
      '(WalletTransfer) needs only "query funds", so that only the policy of the proxy keeps clients from it',
  });
}

function ipOpen(known: KnownKey, { ipAllowlist }: KeyInfo): KeyFinding | undefined {
  if (ipAllowlist?.length !== 0) return undefined;
  return finding(known, 'ip-open', 'warning', {
    text: 'the key has no IP allow-list: a stolen secret can be used from everywhere',
    fix: "put the address that this machine's calls come from on the key's IP allow-list at Kraken",
  });
}

function nonceAhead(known: KnownKey, { nonce }: KeyInfo): KeyFinding | undefined {
  const { nonces, at } = known.examination;
  const ours = nonces.at(-1);
  if (nonce === undefined || nonce - BigInt(Math.round(at + CLOCK_MS)) * NS_PER_MS <= 0n) return undefined;
  const guess = nonceTime(nonce, at);
  const unit =
    guess === undefined
      ? 'it looks like no clock known'
      : `it looks like ${guess.unit}, read so it is ${time(guess.at)}`;
  const isBelowOurs = ours !== undefined && nonce <= ours;
  const text = `the key's highest nonce is ${nonce}, ${distance(nonce, at)}; ${unit}. It can never be lowered`;
  if (isBelowOurs)
    return finding(known, 'nonce-ahead', 'info', {
      text: `${text}. Our nonces are above it, so calls go through`,
      fix:
        'nothing, if our nonces were raised on purpose (nonce jump), our clock was ahead, or the proxy was killed just now: the clock catches up. Any other ' +
        'program that uses the key with a nanosecond clock is refused until then: it needs a key of its own',
    });
  return finding(known, 'nonce-ahead', 'warning', {
    text: `${text}. Only the key's nonce window lets ours pass, which are lower`,
    fix: NONCE_FIX,
  });
}

/** Our clock against Kraken's: `offset` is what to add to ours. */
export function clockOff(offset: ClockSpan, at: number): KeyFinding | undefined {
  const { low, high } = offset;
  if (low <= CLOCK_MS && high >= -CLOCK_MS) return undefined;
  // What it is at least.
  const ms = low > 0 ? low : -high;
  return {
    account: undefined,
    code: 'clock-off',
    severity: ms >= CLOCK_ERROR_MS ? 'error' : 'warning',
    text:
      `this machine's clock is ${low > 0 ? 'behind' : 'ahead of'} Kraken's by ${duration(ms)} at least ` +
      `(measured to within ${duration(high - low)})` +
      (low > 0 ? '' : '; the nonces made from it are ahead as well, and cannot be lowered'),
    fix: 'let this machine keep its time with NTP (chrony, systemd-timesyncd), and see that it does: one-time passwords and deadlines need it',
    since: at,
  };
}

/** What the twin alarm has found. */
export function twinFinding(account: string, evidence: TwinEvidence): KeyFinding {
  const { from, to } = evidence;
  return {
    account,
    code: 'twin',
    severity: 'error',
    text: `another program uses this key: ${twinWords(evidence)}. It did so between ${time(from)} and ${time(to)}`,
    fix:
      "find the program that holds the key's secret (an old bot, a script, a portfolio tool, a second proxy) and give it a " +
      "key of its own. If there is none that you know of, the secret may be stolen: delete the key at Kraken now, look at the account's " +
      'orders and withdrawals since then, and make a new key',
    since: to,
  };
}

function twinWords({ kind, nonce, usedAt, to }: TwinEvidence): string {
  if (kind === 'last-used')
    return `Kraken saw it used at ${time(usedAt ?? to)}, when this proxy had sent nothing with it`;
  const shown = String(nonce ?? 0n);
  if (kind === 'refused')
    return `Kraken refuses our nonce ${shown} as too low, although it had taken one of ours and we have drawn none above`;
  const guess = nonceTime(nonce ?? 0n, to);
  const read = guess === undefined ? '' : `; as ${guess.unit} it reads ${time(guess.at)}`;
  return `its highest nonce at Kraken is ${shown}, which this proxy has never drawn${read}`;
}

const RANK: Readonly<Record<Severity, number>> = { error: 0, warning: 1, info: 2 };

/** Errors first; then what is of no account, then by account, in the order of the codes. */
export function bySeverity(one: KeyFinding, other: KeyFinding): number {
  const names = (one.account ?? '').localeCompare(other.account ?? '');
  const codes = FINDING_CODES.indexOf(one.code) - FINDING_CODES.indexOf(other.code);
  return RANK[one.severity] - RANK[other.severity] || names || codes;
}

/** How far a nonce, read as ns, is from the clock. */
function distance(nonce: bigint, at: number): string {
  const ms = Number(nonce / NS_PER_MS - BigInt(Math.round(at)));
  return `${duration(Math.abs(ms))} ${ms < 0 ? 'behind' : 'ahead of'} our clock`;
}

const MAX_DATE_MS = 8_640_000_000_000_000;

function time(ms: number): string {
  if (!(Math.abs(ms) <= MAX_DATE_MS)) return 'a time out of reach';
  return new Date(ms).toISOString().replace(/\.\d{3}Z$/, 'Z');
}

const DURATIONS = [
  { unit: 'years', ms: 365.25 * DAY_MS, from: 2 * 365.25 * DAY_MS },
  { unit: 'days', ms: DAY_MS, from: 2 * DAY_MS },
  { unit: 'h', ms: 3_600_000, from: 2 * 3_600_000 },
  { unit: 'min', ms: 60_000, from: 120_000 },
  { unit: 's', ms: 1_000, from: 1_000 },
] as const;

/** For people: `1.4 s`, `37 min`, `9 days`. */
function duration(ms: number): string {
  const found = DURATIONS.find(({ from }) => ms >= from);
  if (found === undefined) return `${Number(ms.toPrecision(2))} ms`;
  const count = ms / found.ms;
  return `${count < 10 ? Number(count.toFixed(1)) : Math.floor(count)} ${found.unit}`;
}

const MAX_WHY = 160;

/** A reason from outside, without addresses and without what might be a key. */
function harmless(why: string): string {
  return (
    why
      .replace(/\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?/g, '[address]')
      // Of IPv6, which a time of day is not.
      .replace(
        /\[?(?:[0-9a-f:]*::[0-9a-f:]*|[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){4,7})\]?(?::\d+)?/gi,
        '[address]',
      )
      .replace(/[A-Za-z0-9+/_=-]{30,}/g, '[…]')
      .replace(/[^\x20-\x7e…]+/g, ' ')
      .slice(0, MAX_WHY)
  );
}
