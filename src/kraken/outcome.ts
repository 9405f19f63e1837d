import type { UpstreamReply } from './transport.js';

/** What became of a call: done, certainly not done, or not to be told from the reply. */
export type Outcome = 'executed' | 'refused' | 'unknown';

export interface Verdict {
  readonly outcome: Outcome;
  /** Kraken's first error or warning, whole; undefined when there was none. */
  readonly error: string | undefined;
}

const RESULT = Buffer.from('{"error":[],"result":');
const RESULT_WITH_BLANKS = /^\s*\{\s*"error"\s*:\s*\[\s*\]\s*,\s*"result"\s*:/;
/** Kraken's envelopes with an error are short; a longer body is read only as far as its beginning tells. */
const MAX_ERROR_BODY = 65_536;

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
const REFUSED = new RegExp(
  `^(?:${Object.entries(CERTAINLY_REFUSED)
    .map(([category, texts]) => `E${category}: ?(?:${texts})`)
    .join('|')})(?:$|:)`,
);

/** Reads a whole reply's outcome (KRAKEN.md 4). The body is looked at, never changed. */
export function verdictOf(reply: UpstreamReply): Verdict {
  if (reply.status !== 200) return { outcome: 'unknown', error: undefined };
  const { body } = reply;
  // The usual case, decided on its first bytes. Without a result an empty error list says nothing.
  if (
    RESULT.equals(body.subarray(0, RESULT.length)) ||
    RESULT_WITH_BLANKS.test(body.toString('latin1', 0, 64))
  ) {
    return { outcome: endsWhole(body) ? 'executed' : 'unknown', error: undefined };
  }
  // Exports come as a zip.
  if (String(reply.headers['content-type']).startsWith('application/octet-stream')) {
    return { outcome: 'executed', error: undefined };
  }
  const envelope = body.length <= MAX_ERROR_BODY ? envelopeOf(body) : undefined;
  if (envelope === undefined) return { outcome: 'unknown', error: undefined };
  const { errors, hasResult } = envelope;
  const failures = errors.filter((text) => text.startsWith('E'));
  const error = failures[0] ?? errors[0];
  if (failures.length > 0) {
    // With a result beside it even a certain refusal tells of a part only.
    const isCertain = !hasResult && failures.every((text) => REFUSED.test(text));
    return { outcome: isCertain ? 'refused' : 'unknown', error };
  }
  const onlyWarnings = errors.every((text) => text.startsWith('W'));
  return { outcome: onlyWarnings && hasResult ? 'executed' : 'unknown', error };
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

function endsWhole(body: Buffer): boolean {
  let last = body.length - 1;
  while (last > 0 && (body[last] ?? 0) <= 0x20) last--;
  return body[last] === 0x7d;
}

/** What the envelope says; undefined when the body is none. From a parsed copy, for reading only. */
function envelopeOf(body: Buffer): { errors: string[]; hasResult: boolean } | undefined {
  try {
    const { error, result } = JSON.parse(body.toString()) as { error?: unknown; result?: unknown };
    return Array.isArray(error) ? { errors: error.map(String), hasResult: result !== undefined } : undefined;
  } catch {
    return undefined;
  }
}
