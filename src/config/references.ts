import { referenceSchema } from './account-schema.js';
import { kindOf, pathText, valueText, type ConfigMistake } from './mistakes.js';

/** Where references lead. */
export interface ReferenceSources {
  readonly env: NodeJS.ProcessEnv;
  /** A relative path made absolute, from the folder of the config. */
  readonly resolve: (path: string) => string;
  /** The text of a file; throws where it cannot be read. */
  readonly readFile: (path: string) => string;
  /** The permission bits of a file; undefined where they say nothing. */
  readonly modeOf: (path: string) => number | undefined;
  /** `live` refuses literals; undefined, for an upstream that cannot be read, lets them pass. */
  readonly upstream: 'test' | 'live' | undefined;
}

const LITERAL =
  'no literal: a literal secret would live in the config file; use { "env": … } or { "file": … }';

/** Follows references to keys and secrets and notes every mistake. Never puts a value into a message. */
export class References {
  readonly mistakes: ConfigMistake[] = [];
  readonly warnings: string[] = [];
  readonly sources: ReferenceSources;

  constructor(sources: ReferenceSources) {
    this.sources = sources;
  }

  /** What a reference leads to, without blanks around it; undefined if it leads nowhere, which is noted. */
  value(
    raw: unknown,
    at: readonly string[],
    { literal = this.sources.upstream !== 'live' } = {},
  ): string | undefined {
    const reference = referenceSchema.safeParse(raw).data;
    if (reference === undefined) return undefined;
    if (typeof reference === 'string') return this.#literal(reference.trim(), at, literal);
    const value = 'env' in reference ? this.#variable(reference.env, at) : this.#file(reference.file, at);
    return value === '' ? undefined : value;
  }

  mistake(at: readonly string[], found: string, expected: string): void {
    this.mistakes.push({ path: pathText(at), found, expected });
  }

  #literal(value: string, at: readonly string[], allowed: boolean): string | undefined {
    if (!allowed) this.mistake(at, kindOf(value), LITERAL);
    else if (value === '') this.mistake(at, 'an empty string', 'a value');
    else return value;
    return undefined;
  }

  #variable(name: string, at: readonly string[]): string | undefined {
    const { env } = this.sources;
    // An own property only: every object has a `constructor`.
    const value: unknown = Object.hasOwn(env, name) ? env[name] : undefined;
    const text = typeof value === 'string' ? value.trim() : undefined;
    if (text === undefined || text === '') {
      const state = text === undefined ? 'not set' : 'empty';
      this.mistake([...at, 'env'], `${valueText(name)}, which is ${state}`, 'a variable with a value');
    }
    return text;
  }

  #file(path: string, at: readonly string[]): string | undefined {
    const file = this.sources.resolve(path);
    // The path as written decides whether it may be shown: a secret pasted there would hide in the full one.
    const shown = valueText(path) === kindOf(path) ? kindOf(path) : valueText(file);
    const place = [...at, 'file'];
    try {
      const text = this.sources.readFile(file).trim();
      if (text === '') this.mistake(place, `${shown}, which is empty`, 'a file with a value');
      this.#warnOfReaders(file, shown, place);
      return text;
    } catch (error) {
      const code = (error as NodeJS.ErrnoException | undefined)?.code;
      const why = typeof code === 'string' ? ` (${code})` : '';
      this.mistake(place, `${shown}, which cannot be read${why}`, 'a file that the proxy can read');
      return undefined;
    }
  }

  #warnOfReaders(file: string, shown: string, place: readonly string[]): void {
    const mode = this.sources.modeOf(file) ?? 0;
    if ((mode & 0o077) === 0 || place[2] === 'key') return;
    const bits = (mode & 0o777).toString(8).padStart(4, '0');
    this.warnings.push(
      `${pathText(place)}: ${shown} is open to other users (mode ${bits}); chmod 600 shuts them out`,
    );
  }
}

/** Whether a text can travel as a key in a header. */
export function isKeyText(text: string): boolean {
  return /^[\x21-\x7e]{1,256}$/.test(text);
}

export const KEY_TEXT = 'printable ASCII without spaces, at most 256 characters';

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
