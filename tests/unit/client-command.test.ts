import { newClient } from '../../src/cli/client.js';
import { UsageError, type Terminal } from '../../src/cli/terminal.js';
import { parseConfig, type Config } from '../../src/config.js';

function printed(name: string, known?: Parameters<typeof newClient>[0]['known']): string {
  const lines: string[] = [];
  const terminal: Terminal = {
    print: (line) => void lines.push(line),
    confirm: () => Promise.reject(new Error('it asks nothing')),
    now: () => 0,
  };
  newClient({ name, known }, terminal);
  return lines.join('\n');
}

const line = (text: string, name: string): string =>
  new RegExp(`^${name} +(\\S+)$`, 'm').exec(text)?.[1] ?? '';

/** The config with the printed lines pasted in, the secret in the environment as told. */
function configWith(text: string): Config {
  const entry = /^ {2}"[^]*?^ {2}\}$/m.exec(text)?.[0] ?? '';
  const accounts = '"accounts": { "alice": { "key": "a", "secret": "a2V5" } }';
  const [variable = ''] = /[A-Z0-9_]+_SECRET/.exec(text) ?? [];
  return parseConfig(`{ ${accounts}, "clients": { ${entry} } }`, {
    file: '/etc/kraken/proxy.config.json',
    env: { [variable]: line(text, 'secret') },
    readFile: () => '',
  });
}

const KNOWN = { accounts: ['alice', 'master'], clients: ['taken'] };

it.each(['grid-bot', 'a', '7th_bot', 'x'.repeat(64)])(
  'what "client new %s" prints is a key, a secret of 64 bytes, and lines that the config takes',
  (name) => {
    const text = printed(name, KNOWN);
    expect(Buffer.from(line(text, 'secret'), 'base64')).toHaveLength(64);
    expect(line(text, 'key').startsWith(`${name}-`)).toBe(true);
    const [client] = configWith(text).clients ?? [];
    expect(client).toMatchObject({ name, key: line(text, 'key'), accounts: ['alice'] });
    expect(client?.secret?.reveal()).toBe(line(text, 'secret'));
  },
);

it('the lines for the config name where the secret is, and do not hold it', () => {
  const text = printed('grid-bot', KNOWN);
  const entry = text.slice(text.indexOf('"grid-bot": {'));
  expect(entry).toMatch(/"secret": \{\s*"env": "GRID_BOT_SECRET"\s*\}/);
  expect(entry).not.toContain(line(text, 'secret'));
});

it('no two keys or secrets are the same', () => {
  const texts = Array.from({ length: 50 }, () => printed('bot', KNOWN));
  expect(new Set(texts.map((text) => line(text, 'key'))).size).toBe(50);
  expect(new Set(texts.map((text) => line(text, 'secret'))).size).toBe(50);
});

it('without a config that can be read it says which name to put in', () => {
  expect(printed('bot')).toContain('put the name of your account for "master"');
});

it.each(['', 'two words', 'naïve', '../x', 'x'.repeat(65), 'taken'])('the name %j is refused', (name) => {
  expect(() => printed(name, KNOWN)).toThrow(UsageError);
});
