import { readFileSync } from 'node:fs';
import { configJsonSchema } from '../../src/config.js';
import { ERROR_CODES } from '../../src/errors.js';

const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');

interface SchemaNode {
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly additionalProperties?: SchemaNode | boolean;
}

/** What is named by the user (accounts, clients), as `accounts.<name>`; other maps and references are one option. */
const NAMED = new Set(['accounts', 'clients']);

/** Tiers have the same options each, and so have classes of calls. */
const ALIKE: Readonly<Record<string, string>> = {
  tiers: '<tier>',
  engineTiers: '<tier>',
  maxWaitMsOf: '<class>',
};

/** Every option's dotted path. */
function optionsOf(node: SchemaNode, path: readonly string[] = []): string[] {
  const { properties, additionalProperties } = node;
  const name = path.at(-1) ?? '';
  if (properties !== undefined) {
    const [first] = Object.values(properties);
    const alike = ALIKE[name];
    if (alike !== undefined && first !== undefined) return optionsOf(first, [...path, alike]);
    return Object.entries(properties).flatMap(([option, child]) => optionsOf(child, [...path, option]));
  }
  if (path.length === 1 && NAMED.has(name) && typeof additionalProperties === 'object')
    return optionsOf(additionalProperties, [...path, '<name>']);
  return [path.join('.')];
}

describe('the README', () => {
  const options = optionsOf(configJsonSchema() as SchemaNode).filter((option) => option !== '$schema');

  it.each(options)('lists the option %s', (option) => {
    expect(readme).toContain(`\`${option}\``);
  });

  it.each(ERROR_CODES)('explains the error %s', (code) => {
    expect(readme).toContain(`\`${code}\``);
  });
});
