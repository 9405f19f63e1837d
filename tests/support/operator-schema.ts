import type { OpenApi, Schema } from '../../src/http/openapi.js';

/** Where a value does not fit a schema of the document, one line a place; empty when it fits. */
export function misfits(document: OpenApi, schema: Schema, value: unknown, at = '$'): string[] {
  if (schema.$ref !== undefined) {
    const name = schema.$ref.replace('#/components/schemas/', '');
    const found = document.components.schemas[name];
    return found === undefined ? [`${at}: no schema ${schema.$ref}`] : misfits(document, found, value, at);
  }
  if (schema.anyOf !== undefined) {
    const each = schema.anyOf.map((one) => misfits(document, one, value, at));
    return each.some((found) => found.length === 0) ? [] : each.flat();
  }
  const types = [schema.type ?? []].flat();
  if (types.length > 0 && !types.some((type) => isOf(type, value))) {
    return [`${at}: ${JSON.stringify(value)} is not ${types.join(' or ')}`];
  }
  const found: string[] = [];
  if (schema.enum !== undefined && !schema.enum.includes(value as string)) found.push(`${at}: not in enum`);
  if (schema.const !== undefined && schema.const !== value) found.push(`${at}: not ${String(schema.const)}`);
  if (typeof value === 'string') found.push(...textMisfits(schema, value, at));
  if (typeof value === 'number') {
    if (value < (schema.minimum ?? value) || value > (schema.maximum ?? value)) found.push(`${at}: bounds`);
  }
  if (Array.isArray(value)) {
    if (value.length > (schema.maxItems ?? Infinity)) found.push(`${at}: too many`);
    const { items } = schema;
    if (items === undefined) found.push(`${at}: a list of what?`);
    else found.push(...value.flatMap((each, index) => misfits(document, items, each, `${at}[${index}]`)));
  } else if (typeof value === 'object' && value !== null) {
    found.push(...objectMisfits(document, schema, value as Record<string, unknown>, at));
  }
  return found;
}

function objectMisfits(
  document: OpenApi,
  schema: Schema,
  value: Record<string, unknown>,
  at: string,
): string[] {
  const { properties = {}, required = [], additionalProperties } = schema;
  const missing = required
    .filter((name) => !Object.hasOwn(value, name))
    .map((name) => `${at}.${name}: missing`);
  const wrong = Object.entries(value).flatMap(([name, each]) => {
    const property = properties[name] ?? additionalProperties;
    if (property === false) return [`${at}.${name}: unknown`];
    return property === undefined ? [] : misfits(document, property, each, `${at}.${name}`);
  });
  return [...missing, ...wrong];
}

function textMisfits(schema: Schema, value: string, at: string): string[] {
  const { pattern, format, minLength = 0, maxLength = Infinity } = schema;
  const found: string[] = [];
  if (value.length < minLength || value.length > maxLength) found.push(`${at}: length`);
  if (pattern !== undefined && !new RegExp(pattern).test(value)) found.push(`${at}: pattern ${pattern}`);
  if (format === 'date-time' && !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(value))
    found.push(`${at}: no time`);
  return found;
}

function isOf(type: string, value: unknown): boolean {
  if (type === 'null') return value === null;
  if (type === 'array') return Array.isArray(value);
  if (type === 'integer') return Number.isInteger(value);
  if (type === 'object') return typeof value === 'object' && value !== null && !Array.isArray(value);
  return typeof value === type;
}
