/** A JSON number as the digits that were sent: a 19-digit nonce does not survive a double. */
export class JsonNumber {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** A JSON object as its members in order, duplicates included. */
export class JsonObject {
  readonly members: readonly (readonly [string, JsonValue])[];

  constructor(members: readonly (readonly [string, JsonValue])[]) {
    this.members = members;
  }
}

export type JsonValue = string | boolean | null | JsonNumber | JsonObject | readonly JsonValue[];

// Deep enough for any order, and far from the end of the stack.
const MAX_DEPTH = 64;
const BLANK = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const STRING = /"[^"\\]*(?:\\.[^"\\]*)*"/y;
const WORD = /true|false|null/y;

/** Reads JSON text (RFC 8259), keeping number texts and duplicate members. Throws SyntaxError. */
export function readJson(text: string): JsonValue {
  let at = 0;

  function take(pattern: RegExp): string {
    pattern.lastIndex = at;
    const token = pattern.exec(text)?.[0];
    if (token === undefined) throw new SyntaxError(`unexpected input at ${at}`);
    at += token.length;
    return token;
  }

  /** The next character that is not blank, without taking it. */
  function peek(): string {
    take(BLANK);
    return text.charAt(at);
  }

  function expect(character: string): void {
    if (peek() !== character) throw new SyntaxError(`expected ${character} at ${at}`);
    at += 1;
  }

  /** The elements between brackets, separated by commas; no comma may trail. */
  function elements<T>(open: string, close: string, element: () => T): T[] {
    expect(open);
    const found: T[] = [];
    if (peek() !== close) {
      found.push(element());
      while (peek() === ',') {
        at += 1;
        found.push(element());
      }
    }
    expect(close);
    return found;
  }

  function string(): string {
    peek();
    // JSON.parse has the last word on escapes and control characters.
    return JSON.parse(take(STRING)) as string;
  }

  function value(depth: number): JsonValue {
    if (depth > MAX_DEPTH) throw new SyntaxError('nested too deep');
    switch (peek()) {
      case '{':
        return new JsonObject(
          elements('{', '}', () => {
            const name = string();
            expect(':');
            return [name, value(depth + 1)] as const;
          }),
        );
      case '[':
        return elements('[', ']', () => value(depth + 1));
      case '"':
        return string();
      case 't':
      case 'f':
      case 'n': {
        const word = take(WORD);
        return word === 'null' ? null : word === 'true';
      }
      default:
        return new JsonNumber(take(NUMBER));
    }
  }

  const whole = value(0);
  if (peek() !== '') throw new SyntaxError(`unexpected input at ${at}`);
  return whole;
}
