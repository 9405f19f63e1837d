import { inspect } from 'node:util';
import { Secret } from '../../src/secret.js';
describe('a secret', () => {
  const secret = new Secret('s3cr3t-value');
  it('prints as [redacted] in JSON, inspect, templates and joins', () => {
    const printed = [
      JSON.stringify({ secret }),
      inspect({ secret }, { depth: 9, showHidden: true }),
      'in a text: ' + secret.toString(),
      [secret].join(),
      String(secret),
    ].join('\n');
    expect(printed).not.toContain('s3cr3t');
    expect(printed.match(/\[redacted\]/g)).toHaveLength(5);
  });
  it('gives its value to the one who asks for it by name', () => {
    expect(secret.reveal()).toBe('s3cr3t-value');
  });
});
