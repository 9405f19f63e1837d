import { readFileSync } from 'node:fs';
import { configJsonSchema } from '../../src/config.js';
import { ERROR_CODES } from '../../src/errors.js';

const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');

interface SchemaNode {
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly additionalProperties?: SchemaNode | boolean;
}

/** Every option's dotted path, accounts as `accounts.<name>`; references are one option. */
function optionsOf(node: SchemaNode, path: readonly string[] = []): string[] {
  const { properties, additionalProperties } = node;
  if (properties !== undefined && path.at(-2) !== 'accounts') {
    return Object.entries(properties).flatMap(([name, child]) => optionsOf(child, [...path, name]));
  }
  if (typeof additionalProperties === 'object')
    return Object.keys(additionalProperties.properties ?? {}).map((name) => `accounts.<name>.${name}`);
  return [path.join('.')];
}

describe('the README', () => {
  const options = optionsOf(configJsonSchema() as SchemaNode).filter((option) => option !== '$schema');

  it.each(options)('lists the option %s', (option) => {
    expect(readme).toContain(`\`${option}\``);
  });

  // These codes belong to later versions' features.
  const later = new Set(['invalid-signature', 'rate-limited', 'locked-out']);
  it.each(ERROR_CODES.filter((code) => !later.has(code)))('explains the error %s', (code) => {
    expect(readme).toContain(`\`${code}\``);
  });
});
