import { isObject } from './references.js';

/** The value at a path of own properties. */
export function at(value: unknown, path: readonly PropertyKey[]): unknown {
  let found: unknown = value;
  for (const segment of path) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, segment)) return undefined;
    found = (found as Record<PropertyKey, unknown>)[segment];
  }
  return found;
}

/** The object at a path; an empty one where there is none. */
export function objectAt(value: unknown, path: readonly PropertyKey[]): Record<string, unknown> {
  const found = at(value, path);
  return isObject(found) ? found : {};
}
