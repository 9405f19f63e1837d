import { isUtf8 } from 'node:buffer';
import { ProxyError } from '../errors.js';
import { brokenJson, isNumberStart, skipBlanks, skipObject } from './json.js';

/** The two ways Kraken takes a private call's fields (KRAKEN.md 1.1). */
export type BodyFormat = 'form' | 'json';

/**
 * A client's body, checked once on arrival, ready to be completed with the proxy's own fields in turn.
 * It keeps a view of the client's bytes: whoever parsed them must not change them afterwards.
 */
export interface BodyTemplate {
  readonly format: BodyFormat;
  /** What to send upstream: the client's own Content-Type where it agrees with the format, else the plain one. */
  readonly contentType: string;
  /** The nonce the client wrote, as it wrote it; undefined unless there is exactly one. */
  readonly clientNonce: () => string | undefined;
  /**
   * Exactly the bytes that are signed and sent: the proxy's fields in front, then all of the client's
   * other bytes as they came. Give `otp` only to a body parsed with `dropOtp`, or it may be there twice.
   * `extra` follows them; nothing of the client's is removed for it, so give only names that it did not use.
   * May be called again, for the next try with the next nonce.
   */
  complete(nonce: bigint | string, otp?: string, extra?: readonly ExtraField[]): Buffer;
}

/** A field that the proxy adds to a call: both ASCII, the value as plain text (percent-encoded or quoted by us). */
export type ExtraField = readonly [name: string, value: string];

export interface ParseBodyOptions {
  /** The account has an otp of its own: remove the client's `otp` fields as its nonces are removed. Default false. */
  readonly dropOtp?: boolean;
}

/**
 * Checks a client's body and cuts out what the proxy writes itself: every top-level `nonce`, and `otp`
 * with `dropOtp`, in any spelling that decodes to it. Throws ProxyError `invalid-body`.
 *
 * Only bytes are cut and joined, nothing is decoded and encoded again: integers of 19 digits, relative
 * prices (`%2B5%25`) and unencoded brackets have to reach Kraken as they were sent (KRAKEN.md 5, 7.2).
 */
export function parseBody(
  bytes: Buffer,
  contentType: string | undefined,
  { dropOtp = false }: ParseBodyOptions = {},
): BodyTemplate {
  if (contentType !== undefined && /^\s*multipart\//i.test(contentType)) {
    throw invalid('the body is multipart; Kraken takes a form or JSON');
  }
  if (!isUtf8(bytes)) throw invalid('the body is not valid UTF-8');
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) {
    throw invalid('the body starts with a byte order mark');
  }
  // The first non-blank byte tells the format; the Content-Type does not: kraken-api sends none, and
  // bots that use curl send JSON as a form (KRAKEN.md 1.1).
  const first = skipBlanks(bytes, 0);
  if (bytes[first] === OPEN_OBJECT) return parseJson(bytes, first, contentType, dropOtp);
  if (bytes[first] === OPEN_ARRAY || bytes[first] === QUOTE) {
    throw invalid('the body is JSON, but not a JSON object');
  }
  return parseForm(bytes, contentType, dropOtp);
}

/**
 * Whether a request target's query (without or with its `?`) carries a nonce or otp, in any spelling
 * that Kraken might read as one. Those belong into the body; the query is only signed (KRAKEN.md 1.2).
 */
export function queryHasNonce(query: string): boolean {
  const bytes = Buffer.from(query.startsWith('?') ? query.slice(1) : query, 'latin1');
  let found = false;
  forEachField(bytes, (start, nameEnd) => {
    found ||= mayBeOwn(bytes[start]) && LOOKALIKE.test(decodeFormText(bytes, start, nameEnd));
  });
  return found;
}

function invalid(reason: string): ProxyError {
  return new ProxyError('invalid-body', reason);
}

// ---- the proxy's own fields, and what stays of the client's

/** Bytes `start` up to, not including, `end`. */
interface Span {
  readonly start: number;
  readonly end: number;
}

/** Writes the proxy's own fields, in ASCII. */
type FieldWriter = (
  nonce: bigint | string,
  otp: string | undefined,
  extra: readonly ExtraField[] | undefined,
) => string;

/**
 * Joins the pieces: `lead`, our fields, then what is left of the client's, with `joint` between.
 * Everything we write is ASCII, so a text's length is its length in bytes.
 */
function template(
  format: BodyFormat,
  contentType: string,
  lead: string,
  fields: FieldWriter,
  joint: string,
  rest: Buffer,
  clientNonce: () => string | undefined,
): BodyTemplate {
  return {
    format,
    contentType,
    clientNonce,
    complete(nonce, otp, extra) {
      const head = lead + fields(nonce, otp, extra) + joint;
      const body = Buffer.allocUnsafe(head.length + rest.length);
      body.write(head, 'latin1');
      body.set(rest, head.length);
      return body;
    },
  };
}

function only<T, R>(items: readonly T[], read: (item: T) => R): R | undefined {
  const [first] = items;
  return first === undefined || items.length > 1 ? undefined : read(first);
}

/** The bytes from `from` on without the cuts (in order, apart): a view where one piece is left, else a copy. */
function without(bytes: Buffer, from: number, cuts: readonly Span[]): Buffer {
  if (cuts.length > MAX_OWN_FIELDS) throw invalid(`more than ${MAX_OWN_FIELDS} fields named nonce or otp`);
  const pieces: Buffer[] = [];
  let at = from;
  for (const cut of cuts) {
    if (cut.start > at) pieces.push(bytes.subarray(at, cut.start));
    at = cut.end;
  }
  if (at < bytes.length) pieces.push(bytes.subarray(at));
  return pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces);
}

/**
 * A name of ours as some parser might still read it: in capitals (Go's encoding/json), with blanks or
 * NULs around it or cut off at a NUL or bracket (PHP). Which parser Kraken uses is not known.
 */
const LOOKALIKE = /^[\s\0-\x1f]*(nonce|otp)[\s\0-\x1f]*(?:$|[[\0])/i;

/** Kraken's names are short. A long one costs time to decode, and only an attacker writes it. */
const MAX_NAME_BYTES = 256;
const MAX_OWN_FIELDS = 16;

function longName(): ProxyError {
  return invalid(`a field's name is longer than ${MAX_NAME_BYTES} bytes`);
}

/** Whether a raw name that starts with this byte needs a look: one of our letters, a blank, or encoded. */
function mayBeOwn(first: number | undefined): boolean {
  if (first === undefined) return false;
  if (first <= SPACE || first >= 0x7f) return true;
  if (first === PERCENT || first === PLUS || first === BACKSLASH) return true;
  const lower = first | 0x20;
  return lower === LOWER_N || lower === LOWER_O;
}

/** Whether a decoded name is one that we write ourselves and so remove; refuses what only looks like one. */
function isOwn(name: string, dropOtp: boolean): boolean {
  const own = LOOKALIKE.exec(name)?.[1]?.toLowerCase();
  if (own === undefined || (own === 'otp' && !dropOtp)) return false;
  if (name !== own) throw invalid(`${own} in a place or spelling that Kraken may read differently`);
  return true;
}

/**
 * The client's Content-Type if Kraken reads from it what we read from the bytes: the same media type, and
 * no charset other than one in which ASCII is ASCII (under UTF-16 the fields would be elsewhere).
 */
function agreed(contentType: string | undefined, plain: string, accepted: RegExp): string {
  return contentType !== undefined && contentType !== plain && accepted.test(contentType)
    ? contentType
    : plain;
}

// ---- form

const FORM = 'application/x-www-form-urlencoded';
const FORM_TYPE =
  /^application\/x-www-form-urlencoded[ \t]*(?:;[ \t]*charset="?(?:utf-?8|us-ascii|iso-8859-1)"?)?;?$/i;

function parseForm(bytes: Buffer, contentType: string | undefined, dropOtp: boolean): BodyTemplate {
  const cuts: Span[] = [];
  const nonces: Span[] = [];
  let firstStays = bytes.length > 0;
  let anyPair = bytes.length === 0;
  forEachField(bytes, (start, nameEnd, end) => {
    anyPair ||= nameEnd < end;
    if (!mayBeOwn(bytes[start])) return;
    if (nameEnd - start > MAX_NAME_BYTES) throw longName();
    const name = decodeFormText(bytes, start, nameEnd);
    if (!isOwn(name, dropOtp)) return;
    if (name === 'nonce') nonces.push({ start: Math.min(nameEnd + 1, end), end });
    // A field goes with the `&` before it. The first has none: then the next one's joins it to ours.
    cuts.push({ start: Math.max(0, start - 1), end });
    if (start === 0) firstStays = false;
  });
  if (!anyPair) throw invalid('the body is neither a form nor a JSON object');
  const type = agreed(contentType, FORM, FORM_TYPE);
  return template('form', type, '', formFields, firstStays ? '&' : '', without(bytes, 0, cuts), () =>
    only(nonces, ({ start, end }) => decodeFormText(bytes, start, end)),
  );
}

const formFields: FieldWriter = (nonce, otp, extra) => {
  let text = `nonce=${String(nonce)}`;
  if (otp !== undefined) text += `&otp=${encodeURIComponent(otp)}`;
  for (const [name, value] of extra ?? [])
    text += `&${encodeURIComponent(name)}=${encodeURIComponent(value)}`;
  return text;
};

/** Every field of a form, empty ones too: where it starts, where its name ends, where it ends. */
function forEachField(bytes: Buffer, visit: (start: number, nameEnd: number, end: number) => void): void {
  let start = 0;
  let nameEnd = -1;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at];
    if (byte === AMPERSAND) {
      visit(start, nameEnd < 0 ? at : nameEnd, at);
      start = at + 1;
      nameEnd = -1;
    } else if (byte === EQUALS && nameEnd < 0) {
      nameEnd = at;
    }
  }
  visit(start, nameEnd < 0 ? bytes.length : nameEnd, bytes.length);
}

/** A field's name or value as form parsers read it. A malformed percent-escape stays as it is. */
function decodeFormText(bytes: Buffer, start: number, end: number): string {
  const raw = bytes.toString('latin1', start, end);
  if (!/[%+\x80-\xff]/.test(raw)) return raw;
  const name = raw
    .replaceAll('+', ' ')
    .replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(name, 'latin1').toString();
}

// ---- JSON

const JSON_TYPE = /^application\/json[ \t]*(?:;[ \t]*charset="?(?:utf-?8|us-ascii|iso-8859-1)"?)?;?$/i;

function parseJson(
  bytes: Buffer,
  open: number,
  contentType: string | undefined,
  dropOtp: boolean,
): BodyTemplate {
  const cuts: Span[] = [];
  let firstStays = bytes[skipBlanks(bytes, open + 1)] !== CLOSE_OBJECT;
  const nonces: Span[] = [];
  const close = skipObject(bytes, open, 1, (start, key, keyEnd, value, end) => {
    if (!mayBeOwn(bytes[key + 1])) return;
    if (keyEnd - key > MAX_NAME_BYTES) throw longName();
    const text = bytes.toString('utf8', key + 1, keyEnd - 1);
    // Only a name, checked just before and only compared: no value ever goes through JSON.parse.
    const name = text.includes('\\') ? (JSON.parse(`"${text}"`) as string) : text;
    if (!isOwn(name, dropOtp)) return;
    if (name === 'nonce') nonces.push({ start: value, end });
    // A member goes with the blanks around it and the comma before it, like a form's field.
    const isFirst = start === open + 1;
    cuts.push({ start: isFirst ? start : start - 1, end });
    if (isFirst) firstStays = false;
  });
  const last = skipBlanks(bytes, close);
  if (last < bytes.length) throw brokenJson(last);
  return template(
    'json',
    agreed(contentType, 'application/json', JSON_TYPE),
    bytes.toString('latin1', 0, open + 1),
    // Numbers and strings are both in production use (KRAKEN.md 1.2): we keep to the client's way.
    isNumberStart(bytes[nonces[0]?.start ?? -1]) ? numberFields : stringFields,
    firstStays ? ',' : '',
    without(bytes, open + 1, cuts),
    () => only(nonces, ({ start, end }) => decodeJsonNonce(bytes.toString('utf8', start, end).trim())),
  );
}

/** A nonce's text, written as a number or as a string. */
function decodeJsonNonce(token: string): string | undefined {
  if (token.startsWith('"')) return JSON.parse(token) as string; // one string token, checked before
  return isNumberStart(token.charCodeAt(0)) ? token : undefined;
}

const numberFields: FieldWriter = (nonce, otp, extra) => `"nonce":${String(nonce)}${jsonTexts(otp, extra)}`;

const stringFields: FieldWriter = (nonce, otp, extra) => `"nonce":"${String(nonce)}"${jsonTexts(otp, extra)}`;

/** What follows the nonce, each with its comma. */
function jsonTexts(otp: string | undefined, extra: readonly ExtraField[] | undefined): string {
  let text = otp === undefined ? '' : `,"otp":${asciiJson(otp)}`;
  for (const [name, value] of extra ?? []) text += `,${asciiJson(name)}:${asciiJson(value)}`;
  return text;
}

function asciiJson(text: string): string {
  return JSON.stringify(text).replace(
    /[^\x20-\x7e]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

const SPACE = 0x20;
const QUOTE = 0x22;
const PERCENT = 0x25;
const AMPERSAND = 0x26;
const PLUS = 0x2b;
const EQUALS = 0x3d;
const OPEN_ARRAY = 0x5b;
const BACKSLASH = 0x5c;
const LOWER_N = 0x6e;
const LOWER_O = 0x6f;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
