import { inspect } from 'node:util';

/**
 * A value that must never be printed. JSON, `util.inspect`, templates and string joins all show
 * `[redacted]`; only `reveal()` gives the value, and it is called where bytes are signed or compared.
 */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return '[redacted]';
  }

  toJSON(): string {
    return '[redacted]';
  }

  [inspect.custom](): string {
    return '[redacted]';
  }
}
