import { invalidArguments } from './answer.js';
import { JsonNumber, JsonObject, type JsonValue } from './json-reader.js';

const INTEGER = /^-?\d{1,19}$/;

/** The arguments of one call, whether they came as a form or as JSON. The last of equal names counts. */
export class CallFields {
  readonly format: 'form' | 'json';
  readonly #members: ReadonlyMap<string, JsonValue>;

  constructor(format: 'form' | 'json', members: ReadonlyMap<string, JsonValue>) {
    this.format = format;
    this.#members = members;
  }

  has(name: string): boolean {
    return this.#members.has(name);
  }

  /** A field as text; numbers as the digits sent. Missing, null and empty are the same: not given. */
  text(name: string): string | undefined {
    const value = this.#members.get(name);
    if (value === undefined || value === null || value === '') return undefined;
    if (typeof value === 'string') return value;
    if (typeof value === 'boolean') return String(value);
    if (value instanceof JsonNumber) return value.text;
    throw invalidArguments(name);
  }

  /** A field of the call's own that must be there. */
  needed(name: string): string {
    const value = this.text(name);
    if (value === undefined) throw invalidArguments(name);
    return value;
  }

  flag(name: string): boolean {
    const value = this.text(name);
    if (value === undefined || value === 'false' || value === '0') return false;
    if (value === 'true' || value === '1') return true;
    throw invalidArguments(name);
  }

  /** A whole number in [least, most]. */
  integer(name: string, least: number, most: number): number | undefined {
    const value = this.text(name);
    if (value === undefined) return undefined;
    const number = INTEGER.test(value) ? Number(value) : NaN;
    if (!(number >= least && number <= most)) throw invalidArguments(name);
    return number;
  }

  /** A nested argument: `close[price]=1` in a form, `"close":{"price":"1"}` in JSON. */
  nested(outer: string, inner: string): string | undefined {
    if (this.format === 'form') return this.text(`${outer}[${inner}]`);
    const value = this.#members.get(outer);
    if (value === undefined || value === null) return undefined;
    return objectFields(value, outer).text(inner);
  }

  /** A list of scalars as text; only JSON can carry one (KRAKEN.md 2.2: "JSON arrays"). */
  texts(name: string): readonly string[] {
    return this.#list(name).map((value) => {
      if (typeof value === 'string') return value;
      if (value instanceof JsonNumber) return value.text;
      throw invalidArguments(name);
    });
  }

  /** A list of objects; only JSON can carry one. */
  objects(name: string): readonly CallFields[] {
    return this.#list(name).map((value) => objectFields(value, name));
  }

  #list(name: string): readonly JsonValue[] {
    const value = this.#members.get(name);
    if (value === undefined || value === null) return [];
    if (!Array.isArray(value)) throw invalidArguments(name);
    return value as readonly JsonValue[];
  }
}

function objectFields(value: JsonValue, name: string): CallFields {
  if (!(value instanceof JsonObject)) throw invalidArguments(name);
  return new CallFields('json', new Map(value.members));
}
