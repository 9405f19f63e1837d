import { isDeepStrictEqual } from 'node:util';
import { Secret } from '../secret.js';
import { pathText } from './mistakes.js';

/**
 * The options in which two configs differ, as dotted paths, sorted: `clients.grid-bot.rules.allow`. Lists of things with
 * names are compared by name. No value is told, a secret's least of all.
 */
export function changesBetween(before: unknown, after: unknown): string[] {
  return differences(before, after, []).sort();
}

function differences(before: unknown, after: unknown, path: readonly string[]): string[] {
  if (before instanceof Secret && after instanceof Secret)
    return before.reveal() === after.reveal() ? [] : [pathText(path)];
  const [one, other] = [treeOf(before), treeOf(after)];
  if (one === undefined || other === undefined)
    return isDeepStrictEqual(before, after) ? [] : [pathText(path)];
  const names = new Set([...Object.keys(one), ...Object.keys(other)]);
  return [...names].flatMap((name) => differences(one[name], other[name], [...path, name]));
}

/** What has parts of its own that can be told apart; undefined for a value. */
function treeOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  if (typeof value !== 'object' || value === null || value instanceof Secret) return undefined;
  if (!Array.isArray(value)) return value as Record<string, unknown>;
  const isNamed = value.length > 0 && value.every(hasName);
  return isNamed ? Object.fromEntries(value.map(({ name, ...parts }) => [name, parts])) : undefined;
}

function hasName(value: unknown): value is { readonly name: string } {
  return typeof (value as { readonly name?: unknown } | null)?.name === 'string';
}
