import { ProxyError } from '../errors.js';
import type { BodyFormat } from './body.js';

/**
 * A body's fields for reading only: texts as they were written. Numbers are their JSON text, null is null. JSON's words
 * `true` and `false` are booleans, and so are the same texts in a form, which has no others; the JSON string "true" is
 * a text.
 */
export type FieldValue = string | boolean | null | Fields | readonly FieldValue[];
export type Fields = ReadonlyMap<string, FieldValue>;

/** What the proxy writes itself, whatever stands there. An `otp` of the client's may go on as it is, so it is read. */
const OWN_NAMES: ReadonlySet<string> = new Set(['nonce']);

/**
 * Reads a body that `parseBody` has found good. Throws ProxyError `invalid-body` when a name comes twice, at
 * any depth: which of them Kraken would read is not known. `nonce` is left out.
 */
export function readFields(body: Buffer, format: BodyFormat): Fields {
  return format === 'form' ? readForm(body) : new JsonFields(body.toString()).read();
}

function invalid(reason: string): ProxyError {
  return new ProxyError('invalid-body', reason);
}

/** Adds a member to a map that must not hold its name yet. */
function add(fields: Map<string, FieldValue>, name: string, value: FieldValue): void {
  // The name is the client's and might be anything; the reason says which kind of mistake it is, not which name.
  if (fields.has(name)) throw invalid('a field comes twice in the body');
  fields.set(name, value);
}

// ---- form

/** A form's fields, percent-decoded; `close[ordertype]` keeps that name as text. Nothing between two `&` is no field. */
function readForm(body: Buffer): Fields {
  const fields = new Map<string, FieldValue>();
  for (const pair of body.toString('latin1').split('&')) {
    if (pair === '') continue;
    const equals = pair.indexOf('=');
    const name = decode(equals < 0 ? pair : pair.slice(0, equals));
    if (OWN_NAMES.has(name)) continue;
    const text = equals < 0 ? '' : decode(pair.slice(equals + 1));
    add(fields, name, text === 'true' || text === 'false' ? text === 'true' : text);
  }
  return fields;
}

/** As form parsers read it: a malformed escape stays as it is, bytes that are no UTF-8 become U+FFFD. */
function decode(raw: string): string {
  if (!/[%+\x80-\xff]/.test(raw)) return raw;
  const bytes = raw
    .replaceAll('+', ' ')
    .replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(bytes, 'latin1').toString();
}

// ---- JSON (RFC 8259)

const MAX_DEPTH = 64;
const BLANKS = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const STRING = /"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const WORD = /true|false|null/y;

/** Reads JSON so that no number ever becomes a double: 19 digits and long decimals stay as written. */
class JsonFields {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  read(): Fields {
    const fields = this.#object(1, OWN_NAMES);
    if (this.#peek() !== '') throw this.#broken();
    return fields;
  }

  #object(depth: number, without: ReadonlySet<string> | undefined): Fields {
    const fields = new Map<string, FieldValue>();
    this.#members('{', '}', () => {
      const name = this.#string();
      this.#expect(':');
      const value = this.#value(depth + 1);
      if (without?.has(name) !== true) add(fields, name, value);
    });
    return fields;
  }

  #array(depth: number): readonly FieldValue[] {
    const items: FieldValue[] = [];
    this.#members('[', ']', () => items.push(this.#value(depth + 1)));
    return items;
  }

  #value(depth: number): FieldValue {
    if (depth > MAX_DEPTH + 1) throw this.#broken();
    switch (this.#peek()) {
      case '{':
        return this.#object(depth, undefined);
      case '[':
        return this.#array(depth);
      case '"':
        return this.#string();
      case 't':
      case 'f':
      case 'n': {
        const word = this.#take(WORD);
        return word === 'null' ? null : word === 'true';
      }
      default:
        return this.#take(NUMBER);
    }
  }

  /** What stands between brackets, separated by commas. */
  #members(open: string, close: string, member: () => void): void {
    this.#expect(open);
    if (this.#peek() !== close) {
      member();
      while (this.#peek() === ',') {
        this.#at += 1;
        member();
      }
    }
    this.#expect(close);
  }

  #string(): string {
    this.#peek();
    const token = this.#take(STRING);
    // A string token alone: no number, and no member name, ever goes through JSON.parse.
    return token.includes('\\') ? (JSON.parse(token) as string) : token.slice(1, -1);
  }

  /** The next character that is not blank, without taking it; empty at the end. */
  #peek(): string {
    this.#take(BLANKS);
    return this.#text.charAt(this.#at);
  }

  #expect(character: string): void {
    if (this.#peek() !== character) throw this.#broken();
    this.#at += 1;
  }

  #take(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const token = pattern.exec(this.#text)?.[0];
    if (token === undefined) throw this.#broken();
    this.#at += token.length;
    return token;
  }

  #broken(): ProxyError {
    return invalid(`the body is not valid JSON at character ${this.#at}`);
  }
}
