import { inspect } from 'node:util';
import {
  ConfigError,
  describeTuning,
  parseConfig,
  type Config,
  type ConfigMistake,
} from '../../src/config.js';
import { InForce } from '../../src/in-force.js';

// Kraken's published test vector; no live key.
const SECRET = 'kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg==';
const FILE = '/etc/kraken/proxy.config.json';
const PASSWORD = 'pass-w0rd-that-nobody-may-see';
const LOCAL = `postgres://proxy:${PASSWORD}@127.0.0.1:5432/kraken`;
const AWAY = `postgres://proxy:${PASSWORD}@db.example:5432/kraken`;

interface Surroundings {
  readonly env?: NodeJS.ProcessEnv;
  readonly files?: Readonly<Record<string, string>>;
}

function parse(nonce: object, { env = {}, files = {} }: Surroundings = {}): Config {
  const accounts = { master: { key: 'public-master', secret: SECRET } };
  return parseConfig(JSON.stringify({ accounts, nonce }), {
    file: FILE,
    env,
    readFile: (path) => {
      const text = files[path];
      if (text === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
      return text;
    },
  });
}

/** With the state in the database that a variable names. */
function withUrl(url: string, env: NodeJS.ProcessEnv = {}, files?: Surroundings['files']): Config {
  const nonce = { store: 'postgres', url: { env: 'DATABASE_URL' } };
  return parse(nonce, { env: { ...env, DATABASE_URL: url }, files: files ?? {} });
}

function mistakesOf(run: () => unknown): readonly ConfigMistake[] {
  try {
    run();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    expect(inspect(error)).not.toContain(PASSWORD);
    return error.mistakes;
  }
  throw new Error('the config was accepted');
}

function onlyMistake(run: () => unknown): ConfigMistake {
  const mistakes = mistakesOf(run);
  expect(mistakes).toHaveLength(1);
  return mistakes[0] ?? { path: '', found: '', expected: '' };
}

describe('nonce.store', () => {
  it('is one of "file" and "postgres", and is told with the tuning', () => {
    expect(describeTuning(parse({}))).toMatchObject({ store: 'file' });
    expect(describeTuning(withUrl(LOCAL))).toMatchObject({ store: 'postgres' });
    for (const store of ['redis', 'Postgres', 1, null])
      expect(onlyMistake(() => parse({ store }))).toMatchObject({
        path: 'nonce.store',
        expected: 'one of "file", "postgres"',
      });
  });

  it('"postgres" needs a url', () => {
    expect(onlyMistake(() => parse({ store: 'postgres' }))).toEqual({
      path: 'nonce.url',
      found: 'nothing',
      expected:
        '{ "env": "NAME" } or { "file": "path" }, the database that nonce.store: "postgres" is kept in',
    });
  });

  it.each([[{ env: 'DATABASE_URL' }], [LOCAL]])('"file" takes no url (%#)', (url) => {
    expect(onlyMistake(() => parse({ url }, { env: { DATABASE_URL: LOCAL } }))).toEqual({
      path: 'nonce.url',
      found: typeof url === 'string' ? 'a string' : 'an object',
      expected: 'nothing, or nonce.store: "postgres", which it is for',
    });
  });

  it('"postgres" knows no standby: every proxy serves', () => {
    const nonce = { store: 'postgres', url: LOCAL };
    expect(parse({ ...nonce, standby: false }).nonce.standby).toBe(false);
    expect(onlyMistake(() => parse({ ...nonce, standby: true }))).toMatchObject({
      path: 'nonce.standby',
      found: 'true',
    });
  });

  it('"postgres" keeps nonce.file, beside which the journal lies', () => {
    const { nonce, journal } = parse({ store: 'postgres', url: LOCAL, file: 'state/n.txt' });
    expect(nonce).toMatchObject({ file: '/etc/kraken/state/n.txt', connections: 20 });
    expect(journal.file).toBe('/etc/kraken/state/n.txt.journal.jsonl');
  });

  it('tells all its mistakes at once', () => {
    const mistakes = mistakesOf(() =>
      parse({ store: 'postgres', url: { env: 'NOT_SET' }, standby: true, connections: 0 }),
    );
    expect(mistakes.map(({ path }) => path).sort()).toEqual([
      'nonce.connections',
      'nonce.standby',
      'nonce.url.env',
    ]);
  });
});

describe('nonce.url', () => {
  it('comes from the environment or a file, and prints as [redacted]', () => {
    const fromFile = parse(
      { store: 'postgres', url: { file: 'db.url' } },
      { files: { '/etc/kraken/db.url': `${LOCAL}\n` } },
    );
    for (const config of [withUrl(LOCAL), fromFile]) {
      expect(config.nonce.url?.reveal()).toBe(LOCAL);
      expect(`${JSON.stringify(config)}${inspect(config, { depth: 9 })}`).not.toContain(PASSWORD);
      expect(JSON.stringify(describeTuning(config))).not.toContain(PASSWORD);
    }
  });

  it.each(['127.0.0.1', '127.9.9.9:6000', 'localhost', '[::1]'])(
    'may be a literal for a database at %s',
    (host) => {
      const url = `postgresql://proxy:${PASSWORD}@${host}/kraken`;
      expect(parse({ store: 'postgres', url }).nonce.url?.reveal()).toBe(url);
    },
  );

  it('may be no literal for a database on another machine', () => {
    expect(onlyMistake(() => parse({ store: 'postgres', url: AWAY }))).toMatchObject({
      path: 'nonce.url',
      found: 'a string',
      expected: expect.stringContaining('no literal') as string,
    });
  });

  it.each([
    ['x', 'a text that is no postgres:// url'],
    [`mysql://proxy:${PASSWORD}@127.0.0.1/kraken`, 'a text that is no postgres:// url'],
    [`proxy:${PASSWORD}@127.0.0.1/kraken`, 'a text that is no postgres:// url'],
    [`host=127.0.0.1 password=${PASSWORD} dbname=kraken`, 'a text that is no postgres:// url'],
    [`postgres://proxy:${PASSWORD}/1@127.0.0.1/kraken`, 'a text that is no postgres:// url'],
    [`postgres://proxy:${PASSWORD} 1@127.0.0.1/kraken`, 'a text that is no postgres:// url'],
    ['/run/postgresql kraken', 'a text that is no postgres:// url'],
    ['postgres:///kraken', 'a url without a host'],
    [
      `postgres://proxy:${PASSWORD}@%2Frun%2Fpostgresql/kraken`,
      'a url whose host is no address and no host name',
    ],
    [`postgres://proxy:${PASSWORD}@one,two/kraken`, 'a url whose host is no address and no host name'],
    [`postgres://proxy:${PASSWORD}@127.0.0.1`, 'a url without the name of one database'],
    [`postgres://proxy:${PASSWORD}@127.0.0.1/`, 'a url without the name of one database'],
    [`postgres://proxy:${PASSWORD}@127.0.0.1/a/b`, 'a url without the name of one database'],
    [`postgres://proxy:${PASSWORD}%ff@127.0.0.1/kraken`, 'a url with a % that starts no character'],
    [`${LOCAL}#x`, 'a url with a #'],
    [`${LOCAL}?host=db.example`, 'a url with host behind the ?'],
    [`postgres://127.0.0.1/kraken?password=${PASSWORD}`, 'a url with password behind the ?'],
    [`${LOCAL}?sslmode=verify-ca&uselibpqcompat=true`, 'a url with sslmode=verify-ca and no sslrootcert'],
    [
      `${LOCAL}?sslmode=verify-full&sslrootcert=/etc/none.pem`,
      'a url whose sslrootcert is no file that can be read (ENOENT)',
    ],
  ])('is refused without being shown (%#: %s)', (url, found) => {
    const mistake = onlyMistake(() => withUrl(url));
    expect(mistake).toMatchObject({ path: 'nonce.url', found });
    expect(mistake.expected).toContain('postgres://user:password@host:port/database');
  });

  it('tells all that is wrong with it at once', () => {
    const mistakes = mistakesOf(() => withUrl(`postgres://proxy:${PASSWORD}@one,two/?user=x&port=1`));
    expect(mistakes.map(({ found }) => found)).toEqual([
      'a url whose host is no address and no host name',
      'a url without the name of one database',
      'a url with port behind the ?',
      'a url with user behind the ?',
    ]);
  });

  it('of the wrong shape is told by its kind', () => {
    for (const url of [1, null, [LOCAL], { url: LOCAL }, { env: 'A', file: 'b' }])
      expect(mistakesOf(() => parse({ store: 'postgres', url })).length).toBeGreaterThan(0);
  });
});

describe('the way to the database', () => {
  const warningsOf = (query: string, env?: NodeJS.ProcessEnv): string =>
    withUrl(`${AWAY}${query}`, env, { '/etc/ca.pem': 'a certificate' }).warnings.join('\n');

  it('on this machine needs no encryption', () => {
    for (const query of ['', '?sslmode=disable', '?sslmode=no-verify'])
      expect(withUrl(`${LOCAL}${query}`).warnings).toEqual([]);
  });

  it.each([
    '?sslmode=verify-full',
    '?sslmode=verify-full&sslrootcert=/etc/ca.pem',
    '?sslrootcert=/etc/ca.pem',
    '?sslmode=verify-ca',
    '?sslmode=require',
    '?ssl=true',
    '?sslmode=verify-ca&uselibpqcompat=true&sslrootcert=/etc/ca.pem',
  ])('to another machine is safe with %s', (query) => {
    expect(warningsOf(query)).toBe('');
  });

  it.each([
    '',
    '?sslmode=disable',
    '?ssl=0',
    '?application_name=x',
    '?sslmode=disable&sslrootcert=/etc/ca.pem',
  ])('to another machine brings a warning when it is not encrypted: %s', (query) => {
    const warning = warningsOf(query);
    expect(warning).toContain('is not encrypted');
    expect(warning).toContain('sslmode=verify-full');
    expect(warning).not.toContain(PASSWORD);
  });

  it.each(['?sslmode=no-verify', '?ssl=no-verify', '?sslmode=require&uselibpqcompat=true'])(
    'to another machine brings a warning when the certificate is not checked: %s',
    (query) => {
      expect(warningsOf(query)).toContain('certificate is not checked');
    },
  );

  it('is as PGSSLMODE says when the url says nothing', () => {
    expect(warningsOf('', { PGSSLMODE: 'verify-full' })).toBe('');
    expect(warningsOf('', { PGSSLMODE: 'no-verify' })).toContain('certificate is not checked');
    expect(warningsOf('?sslmode=disable', { PGSSLMODE: 'verify-full' })).toContain('is not encrypted');
  });
});

describe('a reload', () => {
  const planned = (next: Config): ReturnType<InForce['plan']> => new InForce(withUrl(LOCAL)).plan(next);

  it('with the same url changes nothing', () => {
    expect(planned(withUrl(LOCAL))).toMatchObject({ changed: [], needsRestart: [] });
  });

  it('with another url waits for a restart, and shows neither', () => {
    const plan = planned(withUrl(LOCAL.replace(PASSWORD, `${PASSWORD}-2`)));
    expect(plan).toMatchObject({ changed: [], needsRestart: ['nonce.url'] });
    expect(plan.config.nonce.url?.reveal()).toBe(LOCAL);
    expect(`${JSON.stringify(plan)}${inspect(plan, { depth: 9 })}`).not.toContain(PASSWORD);
  });

  it('with the state elsewhere waits for a restart', () => {
    expect(planned(parse({})).needsRestart).toEqual(['nonce.store', 'nonce.url']);
  });
});
