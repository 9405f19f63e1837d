import type { EndpointClass } from './endpoints.js';
import { UpstreamError, type UpstreamReply } from './transport.js';

/** What became of a call: done, certainly not done, or not to be told from the reply. */
export type Outcome = 'executed' | 'refused' | 'unknown';

/** Why nothing more may be sent with a key (KRAKEN.md 3.3): each further attempt may prolong a lockout. */
export type TripReason = 'lockout' | 'key' | 'signature';

/** What may be done about a call that was not executed for certain, or is harmless to repeat. */
export type Remedy =
  /** Nothing: the reply goes to the client as it is. */
  | { readonly kind: 'none' }
  /** Sign it again with a higher nonce. Not for a byte-identical replay, which this answers too (KRAKEN.md 4.4). */
  | { readonly kind: 'new-nonce' }
  /** The call counter is full, or too many calls came at once: wait as the pacer reckons. */
  | { readonly kind: 'wait-for-room' }
  /** Kraken names the moment from which it listens again: unix ms by Kraken's clock. */
  | { readonly kind: 'wait-until'; readonly at: number }
  /** The matching engine's counter of this pair is full. */
  | { readonly kind: 'engine-full' }
  | { readonly kind: 'open-breaker'; readonly why: TripReason }
  /** Send it again: it certainly did not arrive, or a second time does no harm. */
  | { readonly kind: 'try-again' }
  /** It must not be repeated and may have been executed: somebody has to find out. */
  | { readonly kind: 'settle' };

export interface Verdict {
  readonly outcome: Outcome;
  /** False: it certainly never reached Kraken's engine. Its outcome is `refused`. */
  readonly sent: boolean;
  /** Kraken's first error, else its first warning, whole; undefined when there was none. */
  readonly error: string | undefined;
  readonly remedy: Remedy;
  /** Kraken, or the way to it, seems to be down: its SystemStatus may tell more. */
  readonly unavailable: boolean;
}

const NONE: Remedy = Object.freeze({ kind: 'none' });
const WAIT_FOR_ROOM: Remedy = Object.freeze({ kind: 'wait-for-room' });
const TRY_AGAIN: Remedy = Object.freeze({ kind: 'try-again' });
const SETTLE: Remedy = Object.freeze({ kind: 'settle' });

const EXECUTED: Verdict = Object.freeze({
  outcome: 'executed',
  sent: true,
  error: undefined,
  remedy: NONE,
  unavailable: false,
});
const NEVER_ARRIVED: Verdict = Object.freeze({
  outcome: 'refused',
  sent: false,
  error: undefined,
  remedy: TRY_AGAIN,
  unavailable: true,
});

const RESULT = Buffer.from('{"error":[],"result":');
const RESULT_WITH_BLANKS = /^\s*\{\s*"error"\s*:\s*\[\s*\]\s*,\s*"result"\s*:/;
/** How every zip begins. */
const ZIP = Buffer.from('PK');
/** Kraken's envelopes with an error are short; a longer body is read only as far as its beginning tells. */
const MAX_ERROR_BODY = 65_536;
/** Cloudflare could not agree on TLS with Kraken's servers, so that the call never went there (KRAKEN.md 4.2). */
const TLS_TO_KRAKEN_FAILED: ReadonlySet<number> = new Set([525, 526]);
/** Kraken asks for seconds. A moment further away is a misreading, or a clock that is wrong. */
const MAX_THROTTLE_MS = 600_000;

/**
 * After these nothing was executed for certain (KRAKEN.md 4.1), each with any detail after a further colon. No complete
 * catalogue exists: whatever is not in this one leaves the outcome open.
 */
const CERTAINLY_REFUSED: Readonly<Record<string, string>> = {
  API: 'Invalid nonce|Rate limit exceeded|Invalid key|Invalid signature|Bad request|Feature disabled',
  General:
    'Too many requests|Temporary lockout|Permission denied|Unknown method|Invalid arguments|Invalid User.*',
  Service: 'Throttled|Market in (?:cancel_only|post_only) mode|Deadline elapsed',
  Auth: 'Rate limit exceeded|Too many requests|Failed|Account temporary disabled|Account unconfirmed',
  Account: 'Invalid permissions',
  Session: 'Invalid session',
  Query: 'Unknown asset|Unknown asset pair|Invalid asset pair',
  Order:
    'Insufficient funds|Insufficient margin|Margin allowance exceeded|Margin level too low|' +
    'Margin position size exceeded|Cannot open position|Cannot open opposing position|Order minimum not met|' +
    'Cost minimum not met|Tick size check failed|Invalid price|Invalid order|Unknown order|Unknown position|' +
    'Orders limit exceeded|Positions limit exceeded|Scheduled orders limit exceeded|Rate limit exceeded|' +
    'Domain rate limit exceeded|Trading agreement required|Reduce only: ?(?:No position exists|Non-PC)|Cancel pending',
  Trade: 'Locked|User Locked|Invalid request',
  BM: 'limit exceeded: ?CAL',
  Funding:
    'Max fee exceeded|Invalid amount|Invalid reference id|Unknown reference id|Unknown withdraw key|Unknown asset|' +
    'No funding method|Too many addresses|Invalid staking method',
  Earnings: 'Below min|Above max|Busy|Permission denied|Insufficient funds',
};
const REFUSED = textsOf(
  ...Object.entries(CERTAINLY_REFUSED).map(([category, texts]) => `E${category}: ?(?:${texts})`),
);
const UNAVAILABLE = textsOf('EService: ?(?:Unavailable|Busy|Timeout)');
const THROTTLED = textsOf('EService: ?Throttled');

/** The remedies for Kraken's error texts, the most dangerous to overlook first. */
const REMEDIES: readonly (readonly [texts: RegExp, remedy: Remedy])[] = [
  [textsOf('EGeneral: ?Temporary lockout'), Object.freeze({ kind: 'open-breaker', why: 'lockout' })],
  [textsOf('EAPI: ?Invalid key'), Object.freeze({ kind: 'open-breaker', why: 'key' })],
  [textsOf('EAPI: ?Invalid signature'), Object.freeze({ kind: 'open-breaker', why: 'signature' })],
  [textsOf('EAPI: ?Invalid nonce'), Object.freeze({ kind: 'new-nonce' })],
  [THROTTLED, WAIT_FOR_ROOM], // or until the moment that it names
  [textsOf('E(?:API|Auth): ?Rate limit exceeded', 'E(?:General|Auth): ?Too many requests'), WAIT_FOR_ROOM],
  [textsOf('EOrder: ?Rate limit exceeded'), Object.freeze({ kind: 'engine-full' })],
];

/** Matches each of the texts whole, with any detail after a further colon. */
function textsOf(...texts: string[]): RegExp {
  return new RegExp(`^(?:${texts.join('|')})(?:$| ?:)`);
}

/**
 * What a reply, or its absence, says about a call, and what may be done about it (KRAKEN.md 4). The body is looked
 * at, never changed. `now` is Kraken's clock as far as it is known, unix ms: a throttle ends by that clock.
 */
export function outcomeOf(
  result: UpstreamReply | UpstreamError,
  endpoint: { readonly class: EndpointClass },
  now: () => number = Date.now,
): Verdict {
  if (result instanceof UpstreamError) {
    return result.sent === 'never' ? NEVER_ARRIVED : noAnswer(endpoint.class, true);
  }
  const { status, body } = result;
  if (status !== 200) {
    return TLS_TO_KRAKEN_FAILED.has(status) ? NEVER_ARRIVED : noAnswer(endpoint.class, status >= 500);
  }
  // The usual case, decided on its first bytes. Without a result an empty error list says nothing.
  if (beginsWith(body, RESULT) || RESULT_WITH_BLANKS.test(body.toString('latin1', 0, 64))) {
    return isWhole(result) ? EXECUTED : noAnswer(endpoint.class, false);
  }
  if (isExport(result)) return EXECUTED;
  const envelope = body.length <= MAX_ERROR_BODY ? envelopeOf(body) : undefined;
  return envelope === undefined ? noAnswer(endpoint.class, false) : answered(envelope, endpoint.class, now);
}

/** The outcome of a reply for those who only pass it on. */
export function verdictOf(reply: UpstreamReply): Verdict {
  return outcomeOf(reply, READ);
}

const READ = { class: 'read' } as const;

/** Nothing that Kraken's API has said: a lost connection, a page of Cloudflare's, half an envelope. */
function noAnswer(endpointClass: EndpointClass, unavailable: boolean): Verdict {
  const remedy = endpointClass === 'exclusive' ? SETTLE : TRY_AGAIN;
  return { outcome: 'unknown', sent: true, error: undefined, remedy, unavailable };
}

function answered(envelope: Envelope, endpointClass: EndpointClass, now: () => number): Verdict {
  const { errors, hasResult } = envelope;
  const failures = errors.filter((text) => text.startsWith('E'));
  const error = failures[0] ?? errors[0];
  if (error === undefined) return hasResult ? EXECUTED : noAnswer(endpointClass, false);
  const unavailable = failures.some((text) => UNAVAILABLE.test(text));
  if (failures.length === 0) {
    const executed = hasResult && errors.every((text) => text.startsWith('W'));
    if (executed) return { ...EXECUTED, error };
  }
  // With a result beside it even a certain refusal tells of a part only.
  const isCertain = failures.length > 0 && !hasResult && failures.every((text) => REFUSED.test(text));
  const remedy = remedyOf(failures, now);
  if (isCertain) return { outcome: 'refused', sent: true, error, remedy, unavailable };
  return { outcome: 'unknown', sent: true, error, remedy: inDoubt(remedy, endpointClass), unavailable };
}

/** What may be done when Kraken has answered, but not for certain that nothing was executed. */
function inDoubt(remedy: Remedy, endpointClass: EndpointClass): Remedy {
  if (remedy.kind === 'open-breaker') return remedy;
  if (endpointClass === 'exclusive') return SETTLE;
  if (remedy.kind !== 'none') return remedy;
  // A read's answer is its own; whether a cancel was carried out is for us to make sure.
  return endpointClass === 'read' ? NONE : TRY_AGAIN;
}

function remedyOf(errors: readonly string[], now: () => number): Remedy {
  for (const [texts, remedy] of REMEDIES) {
    const found = errors.filter((text) => texts.test(text));
    if (found.length > 0) return texts === THROTTLED ? throttleOf(found, now()) : remedy;
  }
  return NONE;
}

/** Until the latest moment named, if one can be believed. */
function throttleOf(errors: readonly string[], now: number): Remedy {
  const at = Math.max(...errors.map((text) => momentOf(text, now)));
  return at > now ? { kind: 'wait-until', at } : WAIT_FOR_ROOM;
}

/** Unix ms of `EService:Throttled: <unix seconds>`; 0 when there is none that is near. */
function momentOf(text: string, now: number): number {
  const [, digits] = /Throttled ?: *(\d{1,20}(?:\.\d{1,9})?) *(?:$|:)/.exec(text) ?? [];
  const seconds = Number(digits ?? 0);
  // Thirteen digits can only be ms: as seconds they lie 30,000 years ahead.
  const at = seconds >= 1e12 ? seconds : seconds * 1_000;
  return at <= now + MAX_THROTTLE_MS ? at : 0;
}

/** Kraken's own class of an error text: `EOrder` of `EOrder:Insufficient funds`. */
export function errorClass(error: string): string {
  const name = /^[EW][A-Za-z]{1,15}(?=:)/.exec(error)?.[0] ?? '';
  return ERROR_CLASSES.has(name) ? name : 'other';
}

// KRAKEN.md 4: the categories seen; bounded, because they become metric labels.
const ERROR_CLASSES = new Set(
  ['General', 'Auth', 'API', 'Query', 'Order', 'Trade', 'Funding', 'Service', 'Account', 'BM', 'Earnings']
    .concat(['Session', 'Database'])
    .flatMap((category) => [`E${category}`, `W${category}`]),
);

/**
 * Whether a body that begins as an envelope goes on to its end. Of one with a length, or in chunks, the transport
 * has made sure; one that ends where the connection ended may have been cut off behind any inner brace.
 */
function isWhole({ headers, body }: UpstreamReply): boolean {
  let last = body.length - 1;
  while (last > 0 && (body[last] ?? 0) <= 0x20) last--;
  if (body[last] !== 0x7d) return false;
  if (headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined) return true;
  return envelopeOf(body) !== undefined;
}

/** Exports come as a zip. Their errors are envelopes, whatever the content type says. */
function isExport({ headers, body }: UpstreamReply): boolean {
  const isBinary = String(headers['content-type']).startsWith('application/octet-stream');
  return isBinary && beginsWith(body, ZIP);
}

function beginsWith(body: Buffer, start: Buffer): boolean {
  return body.length >= start.length && body.compare(start, 0, start.length, 0, start.length) === 0;
}

interface Envelope {
  readonly errors: readonly string[];
  readonly hasResult: boolean;
}

/** What the envelope says; undefined when the body is none. From a parsed copy, for reading only. */
function envelopeOf(body: Buffer): Envelope | undefined {
  try {
    const { error, result } = JSON.parse(body.toString()) as { error?: unknown; result?: unknown };
    return Array.isArray(error) ? { errors: error.map(String), hasResult: result !== undefined } : undefined;
  } catch {
    return undefined;
  }
}
