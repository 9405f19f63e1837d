/** The errors of the operator's API: its own codes, plain HTTP statuses. */
const STATUSES = {
  'bad-request': 400,
  unauthorized: 401,
  forbidden: 403,
  'not-found': 404,
  conflict: 409,
  'too-large': 413,
  unsupported: 415,
  'too-many': 429,
  internal: 500,
  unavailable: 503,
} as const;

export type ApiErrorCode = keyof typeof STATUSES;

export const API_ERROR_CODES = Object.keys(STATUSES) as readonly ApiErrorCode[];

/** A request of an operator that is turned away. `message` goes out as it is: what is wrong, and how to mend it. */
export class ApiError extends Error {
  readonly code: ApiErrorCode;
  /** Seconds after which another try may help; sent as `Retry-After`. */
  readonly retryAfterSeconds: number | undefined;

  constructor(code: ApiErrorCode, message: string, retryAfterSeconds?: number) {
    super(message);
    this.name = 'ApiError';
    this.code = code;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

export interface RenderedApiError {
  readonly status: (typeof STATUSES)[ApiErrorCode];
  readonly headers: Record<string, string>;
  readonly body: { readonly error: { readonly code: ApiErrorCode; readonly message: string } };
}

/** `{"error":{"code","message"}}` with its status and headers. */
export function renderApiError({ code, message, retryAfterSeconds }: ApiError): RenderedApiError {
  const headers: Record<string, string> = {};
  if (code === 'unauthorized') headers['www-authenticate'] = 'Bearer realm="kraken-signing-proxy"'; // RFC 6750 3
  if (retryAfterSeconds !== undefined) {
    headers['retry-after'] = String(Math.max(1, Math.ceil(retryAfterSeconds)));
  }
  return { status: STATUSES[code], headers, body: { error: { code, message } } };
}
