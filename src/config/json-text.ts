/** Where a text stops being JSON; lines and columns count from 1. Quotes nothing of the text. */
export interface JsonFault {
  readonly line: number;
  readonly column: number;
  readonly expected: string;
}

/** A key that JSON.parse would let through in silence: given twice, or `__proto__`. */
export interface JsonOddKey {
  readonly path: readonly string[];
  readonly why: 'repeated' | 'reserved';
}

export type JsonText =
  { readonly value: unknown; readonly oddKeys: readonly JsonOddKey[] } | { readonly fault: JsonFault };

/**
 * Parses JSON (RFC 8259). JSON.parse alone will not do: its errors quote the text around the fault,
 * which may be a secret, their position differs from Node to Node, and of a repeated key it takes the
 * last, so that an account could vanish without a word.
 */
export function parseJsonText(source: string): JsonText {
  // Windows editors put a byte order mark in front.
  const text = source.replace(/^\uFEFF/, '');
  const scanner = new Scanner(text);
  const stop = scanner.scan();
  if (stop === undefined) return { value: JSON.parse(text) as unknown, oddKeys: scanner.oddKeys };
  const before = text.slice(0, stop.at).split('\n');
  return {
    fault: { line: before.length, column: (before.at(-1)?.length ?? 0) + 1, expected: stop.expected },
  };
}

/** Deeper than any config, and shallow enough for the stack. */
const MAX_DEPTH = 32;

const SPACE = /[ \t\n\r]*/y;
const STRING = /"[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*)*"/y;
const SCALAR = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;

interface Stop {
  readonly at: number;
  readonly expected: string;
}

/** A strict walk over the text that stops at the first fault and notes odd keys on the way. */
class Scanner {
  readonly oddKeys: JsonOddKey[] = [];
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  scan(): Stop | undefined {
    const stop = this.#value([]);
    if (stop !== undefined) return stop;
    this.#take(SPACE);
    return this.#at === this.#text.length ? undefined : this.#stop('the end of the file');
  }

  #value(path: readonly string[]): Stop | undefined {
    this.#take(SPACE);
    if (path.length > MAX_DEPTH) return this.#stop(`at most ${MAX_DEPTH} levels of nesting`);
    const first = this.#text[this.#at];
    if (first === '{') return this.#object(path);
    if (first === '[') return this.#array(path);
    if (this.#take(STRING) ?? this.#take(SCALAR)) return undefined;
    return this.#stop(
      first === '"' ? 'a string that ends on its line and has valid escapes' : 'a JSON value',
    );
  }

  #object(path: readonly string[]): Stop | undefined {
    const seen = new Set<string>();
    return this.#list('}', () => {
      const token = this.#take(STRING);
      if (token === undefined) return this.#stop('a key in double quotes');
      const key = JSON.parse(token) as string;
      if (key === '__proto__') this.oddKeys.push({ path: [...path, key], why: 'reserved' });
      else if (seen.has(key)) this.oddKeys.push({ path: [...path, key], why: 'repeated' });
      seen.add(key);
      this.#take(SPACE);
      if (!this.#skip(':')) return this.#stop('a colon after the key');
      return this.#value([...path, key]);
    });
  }

  #array(path: readonly string[]): Stop | undefined {
    let index = 0;
    return this.#list(']', () => this.#value([...path, String(index++)]));
  }

  /** `{…}` or `[…]`: items between commas, none after the last. */
  #list(close: string, item: () => Stop | undefined): Stop | undefined {
    this.#at++;
    this.#take(SPACE);
    if (this.#skip(close)) return undefined;
    for (;;) {
      const stop = item();
      if (stop !== undefined) return stop;
      this.#take(SPACE);
      if (this.#skip(close)) return undefined;
      if (!this.#skip(',')) return this.#stop(`a comma or ${close}`);
      this.#take(SPACE);
      if (this.#text[this.#at] === close) return this.#stop(`no comma before ${close}`);
    }
  }

  #take(token: RegExp): string | undefined {
    token.lastIndex = this.#at;
    const found = token.exec(this.#text)?.[0];
    this.#at += found?.length ?? 0;
    return found;
  }

  #skip(character: string): boolean {
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #stop(expected: string): Stop {
    const comment = /^(?:\/[/*]|#)/.test(this.#text.slice(this.#at, this.#at + 2));
    return {
      at: this.#at,
      expected: comment ? `${expected} (the file is plain JSON, without comments)` : expected,
    };
  }
}
