import { randomBytes } from 'node:crypto';
import { RESERVED_NAMES } from '../config.js';
import { UsageError, type Terminal } from './terminal.js';

export interface ClientNewOptions {
  readonly name: string;
  /** Names of the accounts and clients there are; undefined when the config cannot be read (yet). */
  readonly known: { readonly accounts: readonly string[]; readonly clients: readonly string[] } | undefined;
}

/** Makes a client's key and secret and prints them with the lines for the config. Writes nothing. */
export function newClient({ name, known }: ClientNewOptions, terminal: Terminal): void {
  const print = (line: string): void => terminal.print(line);
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(name))
    throw new UsageError('a client name has 1 to 64 letters, digits, _ and -');
  if (RESERVED_NAMES.has(name)) throw new UsageError(`the proxy itself uses the name ${name}: take another`);
  if (known?.clients.includes(name) === true)
    throw new UsageError(`the config has a client ${name} already; remove it first, or take another name`);
  const key = `${name}-${randomBytes(12).toString('base64url')}`;
  const secret = randomBytes(64).toString('base64');
  const variable = `${name
    .toUpperCase()
    .replaceAll('-', '_')
    .replace(/^(?=\d)/, '_')}_SECRET`;
  const entry = { key, secret: { env: variable }, accounts: [known?.accounts[0] ?? 'master'] };
  print(`key     ${key}`);
  print(`secret  ${secret}`);
  print('');
  print(
    `Give both to ${name} as if they were Kraken's; at Kraken they open nothing. The secret is shown this once.`,
  );
  print(`The proxy needs it too: in its environment as ${variable}, or in a file ({ "file": "secrets/…" }).`);
  print('Into "clients" of the config goes:');
  print('');
  print(indent(`"${name}": ${JSON.stringify(entry, null, 2)}`));
  print('');
  print(
    'Without "allow" it may read, trade, cancel, ask for history and, unless its orders are limited, for a',
  );
  print('WebSocket token.');
  if (known === undefined) print('The config could not be read: put the name of your account for "master".');
}

function indent(text: string): string {
  return text.replaceAll(/^/gm, '  ');
}
