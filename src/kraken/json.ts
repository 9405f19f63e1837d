import { ProxyError } from '../errors.js';

// JSON bytes by the letter of RFC 8259, checked and never decoded: each function takes where a part starts and
// gives where it ends, and throws ProxyError `invalid-body` at the first byte that is wrong.

const MAX_DEPTH = 64;

/** A member: its start after `{` or `,`, its key with the quotes, its value's start, its end at `,` or `}`. */
export type MemberVisitor = (start: number, key: number, keyEnd: number, value: number, end: number) => void;

export function brokenJson(at: number): ProxyError {
  return new ProxyError('invalid-body', `the body is not valid JSON at byte ${at}`);
}

/** An object from its `{`; the visitor sees its own members, not those of objects inside. */
export function skipObject(bytes: Buffer, open: number, depth: number, visit?: MemberVisitor): number {
  let start = open + 1;
  let at = skipBlanks(bytes, start);
  if (bytes[at] === CLOSE_OBJECT) return at + 1;
  for (;;) {
    const key = skipBlanks(bytes, start);
    const keyEnd = skipString(bytes, key);
    at = skipBlanks(bytes, keyEnd);
    if (bytes[at] !== COLON) throw brokenJson(at);
    const value = skipBlanks(bytes, at + 1);
    at = skipBlanks(bytes, skipValue(bytes, value, depth + 1));
    visit?.(start, key, keyEnd, value, at);
    if (bytes[at] === CLOSE_OBJECT) return at + 1;
    if (bytes[at] !== COMMA) throw brokenJson(at);
    start = at + 1;
  }
}

function skipArray(bytes: Buffer, open: number, depth: number): number {
  let at = skipBlanks(bytes, open + 1);
  if (bytes[at] === CLOSE_ARRAY) return at + 1;
  for (;;) {
    at = skipBlanks(bytes, skipValue(bytes, at, depth + 1));
    if (bytes[at] === CLOSE_ARRAY) return at + 1;
    if (bytes[at] !== COMMA) throw brokenJson(at);
    at = skipBlanks(bytes, at + 1);
  }
}

function skipValue(bytes: Buffer, at: number, depth: number): number {
  switch (bytes[at] ?? END) {
    case QUOTE:
      return skipString(bytes, at);
    case OPEN_OBJECT:
    case OPEN_ARRAY:
      if (depth > MAX_DEPTH) {
        throw new ProxyError('invalid-body', `the body is nested deeper than ${MAX_DEPTH} at byte ${at}`);
      }
      return bytes[at] === OPEN_OBJECT ? skipObject(bytes, at, depth) : skipArray(bytes, at, depth);
    case 0x74: // t
      return skipWord(bytes, at, 'true');
    case 0x66: // f
      return skipWord(bytes, at, 'false');
    case LOWER_N:
      return skipWord(bytes, at, 'null');
    default:
      return skipNumber(bytes, at);
  }
}

function skipString(bytes: Buffer, open: number): number {
  if (bytes[open] !== QUOTE) throw brokenJson(open);
  for (let at = open + 1; ; at++) {
    const byte = bytes[at];
    if (byte === QUOTE) return at + 1;
    if (byte === undefined || byte < SPACE) throw brokenJson(at);
    if (byte === BACKSLASH) at = escapeEnd(bytes, at + 1) - 1;
  }
}

/** After a backslash: one of eight characters, or `u` and four hex digits (a lone surrogate is valid). */
function escapeEnd(bytes: Buffer, at: number): number {
  const byte = bytes[at];
  if (byte === undefined || !ESCAPABLE.has(byte)) throw brokenJson(at);
  if (byte !== 0x75) return at + 1;
  for (let digit = at + 1; digit <= at + 4; digit++) {
    if (!isHexDigit(bytes[digit])) throw brokenJson(digit);
  }
  return at + 5;
}

function skipNumber(bytes: Buffer, start: number): number {
  let at = bytes[start] === MINUS ? start + 1 : start;
  at = bytes[at] === ZERO ? at + 1 : skipDigits(bytes, at);
  if (bytes[at] === DOT) at = skipDigits(bytes, at + 1);
  if (bytes[at] === 0x65 || bytes[at] === 0x45) {
    at++;
    if (bytes[at] === PLUS || bytes[at] === MINUS) at++;
    at = skipDigits(bytes, at);
  }
  return at;
}

/** One digit at least. */
function skipDigits(bytes: Buffer, start: number): number {
  let at = start;
  while (isDigit(bytes[at])) at++;
  if (at === start) throw brokenJson(at);
  return at;
}

function skipWord(bytes: Buffer, start: number, word: string): number {
  for (let index = 0; index < word.length; index++) {
    if (bytes[start + index] !== word.charCodeAt(index)) throw brokenJson(start + index);
  }
  return start + word.length;
}

export function skipBlanks(bytes: Buffer, start: number): number {
  let at = start;
  for (;;) {
    const byte = bytes[at];
    if (byte !== SPACE && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return at;
    at++;
  }
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= ZERO && byte <= 0x39;
}

/** Whether a JSON number may start with this byte. */
export function isNumberStart(byte: number | undefined): boolean {
  return byte === MINUS || isDigit(byte);
}

function isHexDigit(byte: number | undefined): boolean {
  if (byte === undefined) return false;
  const lower = byte | 0x20;
  return isDigit(byte) || (lower >= 0x61 && lower <= 0x66);
}

/** No byte: past the end. */
const END = -1;
const SPACE = 0x20;
const QUOTE = 0x22;
const PLUS = 0x2b;
const COMMA = 0x2c;
const MINUS = 0x2d;
const DOT = 0x2e;
const ZERO = 0x30;
const COLON = 0x3a;
const OPEN_ARRAY = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_ARRAY = 0x5d;
const LOWER_N = 0x6e;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const ESCAPABLE: ReadonlySet<number> = new Set(Buffer.from('"\\/bfnrtu'));
