import { CallFields } from './call-fields.js';
import { JsonNumber, JsonObject, readJson, type JsonValue } from './json-reader.js';

/** A private call's body, read from its raw bytes. */
export interface RequestBody {
  readonly fields: CallFields;
  /** The nonce as text, digits as sent; undefined when there is none, or none that is text or a number. */
  readonly nonce: string | undefined;
  /** The E-string to refuse the body with, if it cannot be read without doubt. */
  readonly problem: string | undefined;
}

const UNREADABLE = 'EGeneral:Invalid arguments';
// Which of two nonces Kraken reads is not known (KRAKEN.md 7.2), so a body must never depend on it.
const TWO_NONCES = 'EGeneral:Invalid arguments:nonce';

const EMPTY = new CallFields('form', new Map());
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Reads a body by its Content-Type, or, where there is none (npm kraken-api sends none, KRAKEN.md 1.1),
 * by its first non-blank byte. A body that contradicts its Content-Type, or one of another type, is
 * refused: what Kraken makes of those is not confirmed, and a proxy must not rely on it.
 */
export function readRequestBody(contentType: string | undefined, raw: Buffer): RequestBody {
  let text: string;
  try {
    text = utf8.decode(raw);
  } catch {
    return refused(UNREADABLE);
  }
  const looksLikeJson = /^[ \t\r\n]*[{[]/.test(text);
  switch (declaredFormat(contentType)) {
    case 'form':
      return looksLikeJson ? refused(UNREADABLE) : readForm(text);
    case 'json':
      return readObject(text);
    case undefined:
      return looksLikeJson ? readObject(text) : readForm(text);
    case 'other':
      return refused(UNREADABLE);
  }
}

function declaredFormat(contentType: string | undefined): 'form' | 'json' | 'other' | undefined {
  if (contentType === undefined) return undefined;
  const end = contentType.indexOf(';');
  const type = (end < 0 ? contentType : contentType.slice(0, end)).trim().toLowerCase();
  if (type === 'application/x-www-form-urlencoded') return 'form';
  return type === 'application/json' ? 'json' : 'other';
}

function refused(problem: string): RequestBody {
  return { fields: EMPTY, nonce: undefined, problem };
}

function readForm(text: string): RequestBody {
  const members = new Map<string, JsonValue>();
  let nonces = 0;
  for (const pair of text.split('&')) {
    if (pair === '') continue;
    const equals = pair.indexOf('=');
    const name = decode(equals < 0 ? pair : pair.slice(0, equals));
    const value = decode(equals < 0 ? '' : pair.slice(equals + 1));
    if (name === undefined || value === undefined) return refused(UNREADABLE);
    if (name === 'nonce') nonces += 1;
    members.set(name, value);
  }
  if (nonces > 1) return refused(TWO_NONCES);
  const nonce = members.get('nonce');
  return {
    fields: new CallFields('form', members),
    nonce: typeof nonce === 'string' ? nonce : undefined,
    problem: undefined,
  };
}

/** Form decoding; undefined for a broken percent escape. */
function decode(text: string): string | undefined {
  if (!text.includes('%') && !text.includes('+')) return text;
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return undefined;
  }
}

function readObject(text: string): RequestBody {
  let whole: JsonValue;
  try {
    whole = readJson(text);
  } catch {
    return refused(UNREADABLE);
  }
  if (!(whole instanceof JsonObject)) return refused(UNREADABLE);
  if (whole.members.filter(([name]) => name === 'nonce').length > 1) return refused(TWO_NONCES);
  const members = new Map(whole.members);
  const nonce = members.get('nonce');
  return {
    fields: new CallFields('json', members),
    nonce: nonce instanceof JsonNumber ? nonce.text : typeof nonce === 'string' ? nonce : undefined,
    problem: undefined,
  };
}
