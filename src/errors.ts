/**
 * The closed list of the proxy's own errors. Each is answered like one of Kraken's: HTTP 200 with
 * `{"error":["<envelope>"]}`, so that every Kraken client parses it, and the code in `X-Proxy-Error`.
 */
const ENVELOPES = {
  'invalid-key': 'EAPI:Invalid key',
  'invalid-signature': 'EAPI:Invalid signature',
  'permission-denied': 'EGeneral:Permission denied',
  'invalid-body': 'EGeneral:Invalid arguments',
  'body-too-large': 'EGeneral:Invalid arguments',
  'queue-full': 'EService:Busy',
  'queue-timeout': 'EService:Busy',
  'shutting-down': 'EService:Busy',
  'rate-limited': 'EAPI:Rate limit exceeded',
  'locked-out': 'EGeneral:Temporary lockout',
  'not-owner': 'EService:Unavailable',
  'upstream-unreachable': 'EService:Unavailable',
  // No client library retries this text: the fate of a state-changing call is open.
  'outcome-unknown': 'EProxy:Outcome unknown',
} as const;

export type ErrorCode = keyof typeof ENVELOPES;

export const ERROR_CODES = Object.keys(ENVELOPES) as readonly ErrorCode[];

export interface ProxyErrorOptions {
  /** Seconds after which another try may help; sent as `Retry-After`. */
  readonly retryAfterSeconds?: number;
  /** What the client may be told beyond the code, for people; sent as `X-Proxy-Error-Detail`. */
  readonly detail?: string;
  readonly cause?: unknown;
}

/** An error of the proxy's own. `message` is the reason for the log; envelope, code and `detail` go out. */
export class ProxyError extends Error {
  readonly code: ErrorCode;
  readonly retryAfterSeconds: number | undefined;
  readonly detail: string | undefined;

  constructor(code: ErrorCode, message: string, options: ProxyErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'ProxyError';
    this.code = code;
    this.retryAfterSeconds = options.retryAfterSeconds;
    this.detail = options.detail;
  }
}

/** What goes out for an error: always HTTP 200, Kraken's envelope, the code in a header. */
export interface RenderedError {
  readonly status: 200;
  readonly headers: Record<string, string>;
  readonly body: Buffer;
}

const BODIES = Object.fromEntries(
  Object.entries(ENVELOPES).map(([code, text]) => [code, Buffer.from(JSON.stringify({ error: [text] }))]),
) as Record<ErrorCode, Buffer>;

const MAX_DETAIL = 256;

/** The one renderer. The reason stays in the log; the wire carries the envelope, the code and the detail. */
export function renderError(error: ProxyError): RenderedError {
  const headers: Record<string, string> = {
    'content-type': 'application/json',
    'x-proxy-error': error.code,
  };
  if (error.retryAfterSeconds !== undefined) {
    headers['retry-after'] = String(Math.max(1, Math.ceil(error.retryAfterSeconds)));
  }
  if (error.detail !== undefined) {
    // A header is one line of ASCII, whatever the texts in it came from.
    headers['x-proxy-error-detail'] = error.detail.replace(/[^\x20-\x7e]/g, '?').slice(0, MAX_DETAIL);
  }
  return { status: 200, headers, body: BODIES[error.code] };
}
