import type { IncomingMessage } from 'node:http';
import { ProxyError } from '../errors.js';
import { ApiError } from './api-error.js';
import { readBody, RequestAbandoned, type BodyBudget } from './body.js';

/** What an act says beside who and why. */
export type ActField = 'account' | 'client' | 'plan' | 'distance';
export type ActFields = Readonly<Partial<Record<ActField, string>>>;

/** Who acts, and why: as they say, free of control characters, 1 to 200 characters each. */
export interface Signature {
  readonly who: string;
  readonly why: string;
}

const MAX_BYTES = 16_384;
const BODY_TIMEOUT_MS = 10_000;
const MAX_TEXT = 200;

const SHAPES: Readonly<Record<ActField, { readonly pattern: RegExp; readonly expected: string }>> = {
  account: { pattern: /^[A-Za-z0-9_-]{1,64}$/, expected: 'the name of an account' },
  client: { pattern: /^[A-Za-z0-9_-]{1,64}$/, expected: 'the name of a client' },
  plan: { pattern: /^[A-Za-z0-9_-]{1,64}$/, expected: 'the id of a plan' },
  distance: {
    pattern: /^[1-9]\d{0,11}(?:ms|s|m|h|d)$/,
    expected: 'a duration such as 500ms, 30s, 10m, 1h or 2d',
  },
};

/** Of all of Unicode what is not to be seen: control and format characters, halves of pairs, and line ends. */
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]/u;

/**
 * Reads an act's body: one JSON object in UTF-8, 16 KiB at most. Rejects with ApiError, or with RequestAbandoned when
 * the client went away.
 */
export async function readAct(
  incoming: IncomingMessage,
  budget: BodyBudget,
): Promise<Readonly<Record<string, unknown>>> {
  // What a form of another site cannot send without asking first (a preflight, which is refused).
  if (
    !/^application\/json(?: *; *charset="?utf-8"?)?$/i.test(incoming.headers['content-type']?.trim() ?? '')
  ) {
    throw new ApiError('unsupported', 'an act is sent with Content-Type: application/json');
  }
  const bytes = await bodyOf(incoming, budget);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw new ApiError('bad-request', 'the body is not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new ApiError('bad-request', 'the body is to be a JSON object');
  }
  return value as Record<string, unknown>;
}

/** Throws ApiError `bad-request` unless both are there. */
export function signatureOf(body: Readonly<Record<string, unknown>>): Signature {
  return { who: text(body, 'who'), why: text(body, 'why') };
}

/** The fields an act takes. Throws ApiError `bad-request` for any other, and for values of another shape. */
export function fieldsOf(
  body: Readonly<Record<string, unknown>>,
  taken: readonly ActField[],
  required: readonly ActField[],
): ActFields {
  const fields: Partial<Record<ActField, string>> = {};
  for (const name of Object.keys(body)) {
    if (name === 'who' || name === 'why') continue;
    const field = taken.find((each) => each === name);
    if (field === undefined) {
      throw new ApiError(
        'bad-request',
        `the body may have ${['who', 'why', ...taken].join(', ')}, and no more`,
      );
    }
    const value = body[field];
    const { pattern, expected } = SHAPES[field];
    if (typeof value !== 'string' || !pattern.test(value)) {
      throw new ApiError('bad-request', `${field} is to be ${expected}`);
    }
    fields[field] = value;
  }
  const missing = required.find((field) => fields[field] === undefined);
  if (missing !== undefined) {
    throw new ApiError('bad-request', `${missing} is missing: ${SHAPES[missing].expected}`);
  }
  return fields;
}

function text(body: Readonly<Record<string, unknown>>, name: 'who' | 'why'): string {
  const value = Object.hasOwn(body, name) ? body[name] : undefined;
  const trimmed = typeof value === 'string' ? value.trim() : '';
  if (trimmed === '' || trimmed.length > MAX_TEXT || UNPRINTABLE.test(trimmed)) {
    const asked = name === 'who' ? 'who acts' : 'why';
    throw new ApiError('bad-request', `${name} is to say ${asked}, in 1 to ${MAX_TEXT} printable characters`);
  }
  return trimmed;
}

async function bodyOf(incoming: IncomingMessage, budget: BodyBudget): Promise<Buffer> {
  const room = budget.open();
  try {
    return await readBody(incoming, { maxBytes: MAX_BYTES, timeoutMs: BODY_TIMEOUT_MS, room });
  } catch (error) {
    if (error instanceof RequestAbandoned || !(error instanceof ProxyError)) throw error;
    if (error.code === 'body-too-large') throw new ApiError('too-large', error.message);
    if (error.code === 'queue-full') throw new ApiError('unavailable', error.message, 1);
    throw new ApiError('bad-request', error.message);
  } finally {
    room.leave();
  }
}
