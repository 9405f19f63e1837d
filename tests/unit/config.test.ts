import { chmodSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { inspect } from 'node:util';
import fc from 'fast-check';
import {
  ConfigError,
  configJsonSchema,
  describeTuning,
  loadConfig,
  parseConfig,
  type Config,
  type ConfigMistake,
} from '../../src/config.js';
import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';
import { propertyRuns } from '../support/property-runs.js';

// Kraken's published test vector; no live key.
const SECRET = 'kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg==';
const FILE = '/etc/kraken/proxy.config.json';
const LIVE = { url: 'https://api.kraken.com' };
const master = { key: 'public-master', secret: SECRET };
const referenced = { key: { env: 'KEY' }, secret: { env: 'SECRET' } };
const env = { KEY: 'public-from-env', SECRET, EMPTY: ' \n' };

interface Surroundings {
  readonly env?: NodeJS.ProcessEnv;
  readonly files?: Record<string, string>;
}

function parse(config: unknown, surroundings: Surroundings = {}): Config {
  const files = surroundings.files ?? {};
  return parseConfig(typeof config === 'string' ? config : JSON.stringify(config), {
    file: FILE,
    env: surroundings.env ?? env,
    readFile: (path) => {
      const text = files[path];
      if (text === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
      return text;
    },
  });
}

/** A config of one account with further options. */
function withMaster(options: object, surroundings?: Surroundings): Config {
  return parse({ accounts: { master }, ...options }, surroundings);
}

/** A config of one account, against the sandbox. */
function withAccount(account: object, surroundings?: Surroundings): Config {
  return parse({ accounts: { master: { ...master, ...account } } }, surroundings);
}

function errorOf(run: () => unknown): ConfigError {
  try {
    run();
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error('the config was accepted');
}

const mistakesOf = (run: () => unknown): readonly ConfigMistake[] => errorOf(run).mistakes;

function onlyMistake(run: () => unknown): ConfigMistake {
  const [mistake, ...more] = mistakesOf(run);
  expect(more).toEqual([]);
  if (mistake === undefined) throw new Error('refused without a mistake');
  return mistake;
}

/** `{a: {b: value}}` from `a.b`. */
const nest = (path: string, value: unknown): object =>
  path.split('.').reduceRight<unknown>((inner, key) => ({ [key]: inner }), value) as object;

describe('what is left out', () => {
  it('takes the documented defaults', () => {
    const { accounts, ...config } = withMaster({});
    expect(config).toEqual({
      file: FILE,
      listen: {
        host: '127.0.0.1',
        port: 8787,
        maxBodyBytes: 1048576,
        hosts: ['localhost', '127.0.0.1', '[::1]'],
        bodyTimeoutMs: 10000,
        drainMs: 0,
      },
      ops: { host: '127.0.0.1', port: 8788, hosts: ['localhost', '127.0.0.1', '[::1]'] },
      doctor: { enabled: true, intervalMs: 300000, twin: 'warn', expiryDays: 14 },
      journal: {
        enabled: true,
        file: '/etc/kraken/data/kraken_global_nonce.txt.journal.jsonl',
        maxBytes: 67108864,
        maxAgeMs: 86400000,
        keep: 30,
      },
      upstream: { url: 'sandbox', timeoutMs: 15000 },
      nonce: {
        store: 'file',
        file: '/etc/kraken/data/kraken_global_nonce.txt',
        url: undefined,
        connections: 20,
        reserveMs: 10000,
        liftMs: 60000,
        standby: false,
      },
      startup: { windowMs: 10000, maxPerSecond: 20, minIntervalMs: 500 },
      lanes: 'global',
      queue: { maxWaiting: 1000, maxWaitMs: 8000, maxWaitMsOf: {} },
      pacing: {
        enabled: true,
        tiers: {
          starter: { max: 15, decayPerSecond: 0.33 },
          intermediate: { max: 20, decayPerSecond: 0.5 },
          pro: { max: 20, decayPerSecond: 1 },
        },
        costs: {},
        headroom: 1,
        reserve: 2,
        engine: 'report',
        engineTiers: {
          starter: { max: 60, decayPerSecond: 1 },
          intermediate: { max: 125, decayPerSecond: 2.34 },
          pro: { max: 180, decayPerSecond: 3.75 },
        },
        merge: true,
        shareTokensMs: 0,
      },
      publicCalls: { perSecond: 1, burst: 5 },
      orders: { settle: true, resend: true },
      breaker: { pauseMs: 60000, lockoutMs: 300000, maxPauseMs: 1800000 },
      defaultAccount: undefined,
      log: { level: 'info', format: 'auto' },
      warnings: [],
    });
    expect(accounts).toMatchObject([{ name: 'master', key: 'public-master', tier: 'intermediate' }]);
    expect(accounts[0]?.otp).toBeUndefined();
    expect(accounts[0]?.secret.reveal()).toBe(SECRET);
  });

  it('is the same with every section given and empty', () => {
    const empty = { listen: {}, ops: {}, upstream: {}, nonce: {}, startup: {}, queue: {}, log: {} };
    const more = { pacing: {}, publicCalls: {}, orders: {}, breaker: {} };
    expect(withMaster({ ...empty, ...more })).toEqual(withMaster({}));
    const tier = { starter: {}, intermediate: {}, pro: {} };
    const inner = {
      queue: { maxWaitMsOf: {} },
      pacing: { tiers: tier, engineTiers: tier, costs: {} },
    };
    expect(withMaster(inner)).toEqual(withMaster({}));
  });
});

describe('the files in the repo', () => {
  const shipped = resolve('proxy.config.json');

  it('run against the sandbox with the demo accounts and no set-up', () => {
    const config = loadConfig(shipped, {});
    const accounts = config.accounts.map(({ name, key, secret }) => ({
      account: name,
      key,
      secret: secret.reveal(),
    }));
    expect(accounts).toEqual(DEMO_KEYS);
    expect(config).toMatchObject({
      file: shipped,
      upstream: { url: 'sandbox' },
      defaultAccount: 'master',
      warnings: [],
    });
  });

  it('have a JSON schema that is up to date; if this fails: npm run schema', () => {
    const kept = JSON.parse(readFileSync(resolve('proxy.config.schema.json'), 'utf8')) as unknown;
    expect(kept).toEqual(JSON.parse(JSON.stringify(configJsonSchema())));
  });
});

describe('the JSON schema', () => {
  interface Node {
    readonly description?: string;
    readonly properties?: Record<string, Node>;
    readonly additionalProperties?: Node | false;
  }

  function undescribed(node: Node, path: string): string[] {
    const inner = Object.entries(node.properties ?? {}).flatMap(([key, child]) => [
      ...(child.description === undefined ? [`${path}.${key}`] : []),
      ...undescribed(child, `${path}.${key}`),
    ]);
    const named = node.additionalProperties;
    return named ? [...inner, ...undescribed(named, `${path}.*`)] : inner;
  }

  it('describes every option', () => {
    const schema = configJsonSchema() as Node;
    expect(Object.keys(schema.properties ?? {})).toContain('accounts');
    expect(undescribed(schema, '')).toEqual([]);
  });
});

describe('mistakes', () => {
  const wrong = {
    listen: { host: '0.0.0.0', port: '8787', prot: 1, hosts: ['bots.example:8787'] },
    upstream: { url: 'https://api.kraken.com/0', timeoutMs: 1.5 },
    queue: { maxWaitMs: '8s' },
    lanes: 'both',
    accounts: {
      master: { key: { env: 'NOT_SET' }, secret: SECRET, tier: 'gold' },
      'my bot': { key: { env: 'KEY' }, secret: { file: 'keys/bot' } },
    },
    defaultAccount: 'alice',
    clients: {},
  };

  it('are all reported at once, each with path, value found and what was expected', () => {
    const found = Object.fromEntries(
      mistakesOf(() => parse(wrong)).map((mistake) => [mistake.path, mistake]),
    );
    expect(Object.keys(found).sort()).toEqual(
      [
        'listen.host',
        'listen.port',
        'listen.prot',
        'listen.hosts.0',
        'upstream.url',
        'upstream.timeoutMs',
        'queue.maxWaitMs',
        'lanes',
        'accounts',
        'accounts.master.key.env',
        'accounts.master.secret',
        'accounts.master.tier',
        'accounts."my bot".secret.file',
        'defaultAccount',
        'clients',
      ].sort(),
    );
    expect(found['queue.maxWaitMs']).toEqual({
      path: 'queue.maxWaitMs',
      found: '"8s"',
      expected: 'a whole number of milliseconds, 100 to 600000',
    });
    expect(found.lanes).toEqual({ path: 'lanes', found: '"both"', expected: 'one of "global", "key"' });
    expect(found['upstream.timeoutMs']?.found).toBe('1.5');
  });

  it('stand one a line under the name of the file', () => {
    const error = errorOf(() => parse(wrong));
    const [head, ...lines] = error.message.split('\n');
    expect(head).toBe(`${FILE}: 15 mistakes`);
    expect(lines).toHaveLength(error.mistakes.length);
    expect(lines).toContain(
      '  queue.maxWaitMs: found "8s", expected a whole number of milliseconds, 100 to 600000',
    );
    expect(error.cause).toBeUndefined();
  });

  it.each([
    ['listen', 'maxbodybytes', 'maxBodyBytes'],
    ['listen', 'prot', 'port'],
    ['queue', 'max_wait_ms', 'maxWaitMs'],
    ['nonce', 'reservMs', 'reserveMs'],
  ])('name the option meant: %s.%s is probably %s', (section, key, meant) => {
    const mistake = onlyMistake(() => withMaster({ [section]: { [key]: 1 } }));
    expect(mistake).toEqual({
      path: `${section}.${key}`,
      found: 'an unknown option (a number)',
      expected: `a known option; did you mean ${meant}?`,
    });
  });

  it('list the options there are where none is close', () => {
    expect(onlyMistake(() => withMaster({ queue: { colour: 'red' } })).expected).toBe(
      'only maxWaiting, maxWaitMs, maxWaitMsOf',
    );
    expect(onlyMistake(() => withAccount({ apiSecret: SECRET })).expected).toBe(
      'only key, secret, otp, tier',
    );
    expect(onlyMistake(() => withMaster({ acounts: {} })).expected).toBe(
      'a known option; did you mean accounts?',
    );
  });

  it('include a config file that is not there', () => {
    const error = errorOf(() => loadConfig('/nowhere/proxy.config.json', {}));
    expect(error.message).toContain('/nowhere/proxy.config.json');
    expect(error.mistakes).toEqual([
      {
        path: '(file)',
        found: 'no file that can be read (ENOENT)',
        expected: 'a config file; --config <file> names it',
      },
    ]);
  });
});

describe('a file that is not JSON', () => {
  it.each([
    ['nothing', '', 1, 1, 'a JSON value'],
    ['a comma too many', '{\n  "lanes": "key",\n}', 3, 1, 'no comma before }'],
    ['a comma missing', '{"lanes": "key" "queue": {}}', 1, 17, 'a comma or }'],
    ['a comment', '{\n  // live\n}', 2, 3, 'without comments'],
    ['a key without quotes', '{ lanes: 1 }', 1, 3, 'a key in double quotes'],
    ['single quotes', "{ 'lanes': 1 }", 1, 3, 'a key in double quotes'],
    ['a colon missing', '{ "lanes" "key" }', 1, 11, 'a colon'],
    ['a string left open', '{ "lanes": "key\n}', 1, 12, 'a string that ends on its line'],
    ['a wrong escape', '{ "nonce": { "file": "C:\\data" } }', 1, 22, 'valid escapes'],
    ['a number with a leading zero', '{ "a": 007 }', 1, 9, 'a comma or }'],
    ['text after the end', '{} {}', 1, 4, 'the end of the file'],
    ['an open end', '{ "listen": { "port": 1', 1, 24, 'a comma or }'],
    ['a hundred thousand brackets', '['.repeat(100_000), 1, 34, 'levels of nesting'],
  ])('is placed by line and column: %s', (_, text, line, column, expected) => {
    const mistake = onlyMistake(() => parse(text));
    expect(mistake.found).toBe(`text that is not JSON at line ${line}, column ${column}`);
    expect(mistake.expected).toContain(expected);
  });

  it('is not quoted, because a secret may stand beside the fault', () => {
    for (const text of [
      `{"secret": "${SECRET}" x}`,
      `{"secret": ${SECRET}}`,
      `{"secret": '${SECRET}'}`,
      SECRET,
    ]) {
      const error = errorOf(() => parse(text));
      expect(inspect(error)).not.toContain(SECRET.slice(0, 8));
    }
  });

  it('agrees with JSON.parse on what is JSON', () => {
    const snippet = fc.array(
      fc.constantFrom(
        '{',
        '}',
        '[',
        ']',
        ',',
        ':',
        '"a"',
        '"',
        '\\',
        ' ',
        '\n',
        '1',
        '-',
        '.',
        '0',
        'e',
        'true',
        'nul',
        'l',
      ),
      { maxLength: 9 },
    );
    fc.assert(
      fc.property(snippet, (parts) => {
        const text = parts.join('');
        let isJson = true;
        try {
          JSON.parse(text);
        } catch {
          isJson = false;
        }
        expect(errorOf(() => parse(text)).message.includes('is not JSON')).toBe(!isJson);
      }),
      { numRuns: 500 },
    );
  });

  it('may begin with a byte order mark', () => {
    expect(parse('\uFEFF' + JSON.stringify({ accounts: { master } })).accounts).toHaveLength(1);
  });

  it.each(['[]', 'null', '"text"', '1'])('and JSON that is no object is refused: %s', (text) => {
    expect(onlyMistake(() => parse(text))).toMatchObject({ path: '(file)', expected: 'an object' });
  });

  it('nor may a key stand twice, because the first would be lost in silence', () => {
    const account = JSON.stringify(master);
    const text = `{"accounts": {"alice": ${account}, "alice": ${account}}}`;
    expect(onlyMistake(() => parse(text))).toMatchObject({
      path: 'accounts.alice',
      expected: 'every key once',
    });
  });
});

describe('numbers', () => {
  it.each([
    ['listen.port', 0, 65535],
    ['listen.maxBodyBytes', 1024, 67_108_864],
    ['listen.bodyTimeoutMs', 100, 600_000],
    ['listen.drainMs', 0, 600_000],
    ['ops.port', 0, 65535],
    ['upstream.timeoutMs', 100, 600_000],
    ['nonce.reserveMs', 1000, 60_000],
    ['nonce.connections', 1, 500],
    ['startup.windowMs', 0, 3_600_000],
    ['startup.maxPerSecond', 1, 1000],
    ['startup.minIntervalMs', 0, 60_000],
    ['queue.maxWaiting', 1, 100_000],
    ['queue.maxWaitMs', 100, 600_000],
    ['queue.maxWaitMsOf.cancel', 100, 600_000],
    ['nonce.liftMs', 0, 86_400_000],
    ['pacing.tiers.pro.max', 1, 10_000],
    ['pacing.engineTiers.starter.max', 1, 10_000],
    ['pacing.costs.Ledgers', 0, 100],
    ['pacing.headroom', 0, 1_000],
    ['pacing.reserve', 0, 1_000],
    ['pacing.shareTokensMs', 0, 840_000],
    ['publicCalls.burst', 1, 1_000],
    ['breaker.pauseMs', 1_000, 3_600_000],
    ['breaker.lockoutMs', 1_000, 3_600_000],
    ['breaker.maxPauseMs', 1_000, 86_400_000],
  ])('%s is whole and lies between %d and %d', (path, min, max) => {
    for (const good of [min, max]) expect(withMaster(nest(path, good))).toMatchObject(nest(path, good));
    for (const bad of [min - 1, max + 1, min + 0.5, String(min), `${min}ms`, null, true, [], {}]) {
      const mistake = onlyMistake(() => withMaster(nest(path, bad)));
      expect(mistake.path).toBe(path);
      expect(mistake.expected).toMatch(new RegExp(`^a whole number.*, ${min} to ${max}$`));
    }
  });

  it.each([
    ['pacing.tiers.starter.decayPerSecond', 0.01, 1_000],
    ['pacing.engineTiers.pro.decayPerSecond', 0.01, 1_000],
    ['publicCalls.perSecond', 0.01, 1_000],
  ])('%s lies between %d and %d, and need not be whole', (path, min, max) => {
    for (const good of [min, 1.5, max]) expect(withMaster(nest(path, good))).toMatchObject(nest(path, good));
    for (const bad of [0, -1, max + 1, String(min), null, true, [], {}]) {
      expect(onlyMistake(() => withMaster(nest(path, bad)))).toMatchObject({
        path,
        expected: `a number, ${min} to ${max}`,
      });
    }
  });

  it('costs are of endpoints that there are', () => {
    const mistake = onlyMistake(() => withMaster({ pacing: { costs: { Ledger: 2 } } }));
    expect(mistake.path).toBe('pacing.costs.Ledger');
  });
});

describe('choices', () => {
  it.each([
    ['lanes', ['global', 'key']],
    ['log.level', ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']],
    ['nonce.standby', [true, false]],
    ['pacing.enabled', [true, false]],
    ['pacing.engine', ['off', 'report', 'enforce']],
    ['pacing.merge', [true, false]],
    ['orders.settle', [true, false]],
    ['orders.resend', [true, false]],
  ])('%s is one of %j', (path, values) => {
    for (const value of values) expect(withMaster(nest(path, value))).toMatchObject(nest(path, value));
    for (const bad of ['other', 'toString', 1, null]) {
      expect(onlyMistake(() => withMaster(nest(path, bad))).path).toBe(path);
    }
  });

  it('tier is starter, intermediate or pro', () => {
    for (const tier of ['starter', 'intermediate', 'pro']) {
      expect(withAccount({ tier }).accounts[0]?.tier).toBe(tier);
    }
    expect(onlyMistake(() => withAccount({ tier: 'gold' }))).toMatchObject({
      path: 'accounts.master.tier',
      found: '"gold"',
    });
  });
});

describe('the listeners', () => {
  it.each(['127.0.0.1', '127.8.9.10', '::1', '[::1]', '0:0:0:0:0:0:0:1', 'localhost', 'LOCALHOST'])(
    'serve bots on loopback: %s',
    (host) => {
      expect(withMaster({ listen: { host } }).listen.host).toBe(host.toLowerCase().replace(/^\[|\]$/g, ''));
    },
  );

  it.each(['0.0.0.0', '::', '10.0.0.1', '128.0.0.1', 'example.com', '127.0.0.1.example.com', '127.1', '::2'])(
    'never serve bots beyond it without clients: %s',
    (host) => {
      const mistake = onlyMistake(() => withMaster({ listen: { host, insecure: true } }));
      expect(mistake.path).toBe('listen.host');
      expect(mistake.expected).toContain('without clients the proxy serves loopback only');
    },
  );

  it.each(['', 5, 'a b', 'http://127.0.0.1'])('do not take what is no address: %j', (host) => {
    const mistake = onlyMistake(() => withMaster({ listen: { host } }));
    expect(mistake).toMatchObject({ path: 'listen.host', expected: 'an IP address or a host name' });
  });

  it.each(['0.0.0.0', '::', '10.0.0.1', 'monitoring.internal'])('may serve metrics beyond it: %s', (host) => {
    const config = withMaster({ ops: { host } });
    expect(config.ops.host).toBe(host);
    expect(config.warnings).toEqual([
      expect.stringMatching(/^ops\.host: whoever reaches .* can read metrics/),
    ]);
  });

  it.each(['a b', 'http://x', 'x/y', '-', 'x:1', ''])('need an address or a name: %j', (host) => {
    expect(onlyMistake(() => withMaster({ ops: { host } })).path).toBe('ops.host');
  });

  it.each([
    ['127.0.0.1', '127.0.0.1'],
    ['127.0.0.1', '0.0.0.0'],
    ['::1', '::'],
    ['localhost', '127.0.0.1'],
    ['[::1]', 'localhost'],
    ['::1', '0:0:0:0:0:0:0:1'],
  ])('cannot share a port: %s and %s', (one, other) => {
    const config = { listen: { host: one, port: 9000 }, ops: { host: other, port: 9000 } };
    expect(onlyMistake(() => withMaster(config))).toMatchObject({
      path: 'ops.port',
      found: '9000, which is also listen.port',
    });
  });

  it('cannot share a port that one of them has by default', () => {
    expect(onlyMistake(() => withMaster({ listen: { port: 8788 } })).path).toBe('ops.port');
    expect(onlyMistake(() => withMaster({ ops: { port: 8787 } })).path).toBe('ops.port');
  });

  it('may both take a free port, and the same one on different addresses', () => {
    expect(withMaster({ listen: { port: 0 }, ops: { port: 0 } }).ops.port).toBe(0);
    const apart = { listen: { host: '127.0.0.1', port: 9000 }, ops: { host: '127.0.0.2', port: 9000 } };
    expect(withMaster(apart).ops.port).toBe(9000);
  });

  it('answer to loopback names and their own address, unless told otherwise', () => {
    const own = withMaster({ listen: { host: '127.0.0.9' }, ops: { host: '0.0.0.0' } });
    expect(own.listen.hosts).toEqual(['localhost', '127.0.0.1', '[::1]', '127.0.0.9']);
    expect(own.ops.hosts).toEqual(['localhost', '127.0.0.1', '[::1]']);
    const told = withMaster({ listen: { hosts: ['Bots.Example', '::1', '[0:0:0:0:0:0:0:1]', '10.0.0.1'] } });
    expect(told.listen.hosts).toEqual(['bots.example', '[::1]', '10.0.0.1']);
    expect(withMaster({ ops: { hosts: ['proxy'] } }).ops.hosts).toEqual(['proxy']);
  });

  it.each(['*', '*.example', 'localhost:8787', 'http://localhost', '', ' ', 'a/b', '[::1]:80', 7])(
    'answer to names only, not to %j',
    (name) => {
      expect(onlyMistake(() => withMaster({ listen: { hosts: ['localhost', name] } })).path).toBe(
        'listen.hosts.1',
      );
    },
  );

  it('answer to at least one name', () => {
    expect(onlyMistake(() => withMaster({ listen: { hosts: [] } })).path).toBe('listen.hosts');
    expect(onlyMistake(() => withMaster({ ops: { hosts: 'localhost' } })).path).toBe('ops.hosts');
  });
});

describe('the upstream', () => {
  const url = (text: unknown): string =>
    parse({ upstream: { url: text }, accounts: { master: referenced } }).upstream.url;

  it.each([
    ['sandbox', 'sandbox'],
    ['https://api.kraken.com', 'https://api.kraken.com'],
    ['https://api.kraken.com/', 'https://api.kraken.com'],
    ['HTTPS://API.Kraken.com:443', 'https://api.kraken.com'],
    ['https://10.0.0.1:8443', 'https://10.0.0.1:8443'],
    ['http://127.0.0.1:9000', 'http://127.0.0.1:9000'],
    ['http://localhost:9000/', 'http://localhost:9000'],
    ['http://[::1]:9000', 'http://[::1]:9000'],
  ])('%s is the origin %s', (text, origin) => {
    expect(url(text)).toBe(origin);
  });

  it.each([
    'http://api.kraken.com',
    'http://10.0.0.1',
    'http://127.0.0.1.example.com',
    'https://api.kraken.com/0',
    'https://api.kraken.com/?',
    'https://api.kraken.com?key=hunter2',
    'https://api.kraken.com/#x',
    'https://user:hunter2@api.kraken.com',
    'https://hunter2@api.kraken.com',
    'https:hunter2@api.kraken.com',
    'user:hunter2@api.kraken.com',
    ' https://api.kraken.com',
    'https://api.kra\tken.com',
    'https:\\\\api.kraken.com',
    'https://',
    'ftp://127.0.0.1',
    'wss://ws.kraken.com',
    'api.kraken.com',
    'Sandbox',
    '',
    42,
  ])('%j is refused', (text) => {
    const error = errorOf(() => url(text));
    expect(error.mistakes.map(({ path }) => path)).toEqual(['upstream.url']);
    expect(error.message).not.toContain('hunter2');
  });
});

describe('secrets', () => {
  const account = (config: Config): unknown => {
    const { key, secret, otp } = config.accounts[0] ?? {};
    return { key, secret: secret?.reveal(), otp: otp && { kind: otp.kind, value: otp.value.reveal() } };
  };

  it('come from the environment, without the blanks around them', () => {
    const config = parse(
      { accounts: { a: referenced } },
      { env: { KEY: ' k \n', SECRET: `\t${SECRET}\r\n` } },
    );
    expect(account(config)).toEqual({ key: 'k', secret: SECRET, otp: undefined });
  });

  it('come from files beside the config or anywhere', () => {
    const files = { '/etc/kraken/keys/a': 'k\n', '/run/secrets/a': `${SECRET}\n` };
    const config = parse(
      { accounts: { a: { key: { file: 'keys/a' }, secret: { file: '/run/secrets/a' } } } },
      { files },
    );
    expect(account(config)).toEqual({ key: 'k', secret: SECRET, otp: undefined });
  });

  it.each([
    [{ env: 'NOT_SET' }, 'env', 'NOT_SET, which is not set'],
    [{ env: 'constructor' }, 'env', 'constructor, which is not set'],
    [{ env: '__proto__' }, 'env', '__proto__, which is not set'],
    [{ env: 'EMPTY' }, 'env', 'EMPTY, which is empty'],
    [{ file: 'nope' }, 'file', '"/etc/kraken/nope", which cannot be read (ENOENT)'],
    [{ file: 'blank' }, 'file', '"/etc/kraken/blank", which is empty'],
  ])('that are not there are a mistake: %j', (reference, kind, found) => {
    const files = { '/etc/kraken/blank': '\n' };
    for (const option of ['key', 'secret']) {
      const mistake = onlyMistake(() => withAccount({ [option]: reference }, { files }));
      expect(mistake.path).toBe(`accounts.master.${option}.${kind}`);
      expect(mistake.found.replaceAll('"', '')).toBe(found.replaceAll('"', ''));
    }
  });

  it.each([
    [{}],
    [{ env: 'SECRET', file: 'x' }],
    [{ env: 'SECRET', extra: 1 }],
    [{ value: SECRET }],
    [[SECRET]],
    [5],
    [null],
    [{ env: 5 }],
    [{ env: '' }],
    [{ env: 'a b' }],
    [{ file: '' }],
    [{ file: 'a\0b' }],
  ])('are exactly one reference: not %j', (reference) => {
    const error = errorOf(() => withAccount({ secret: reference }));
    expect(error.mistakes).toHaveLength(1);
    expect(error.mistakes[0]?.path).toMatch(/^accounts\.master\.secret/);
    expect(error.message).not.toContain(SECRET);
  });

  it('may be literals for the sandbox and on loopback only', () => {
    const literal = { ...master, otp: { static: 'hunter2' } };
    for (const url of ['sandbox', 'http://127.0.0.1:9000', 'http://[::1]:9000', 'https://localhost:9000']) {
      expect(parse({ upstream: { url }, accounts: { literal } }).accounts).toHaveLength(1);
    }
    for (const url of ['https://api.kraken.com', 'https://10.0.0.1', 'https://127.0.0.1.example.com']) {
      const error = errorOf(() => parse({ upstream: { url }, accounts: { literal } }));
      expect(error.mistakes.map(({ path, found }) => [path, found])).toEqual([
        ['accounts.literal.key', 'a string'],
        ['accounts.literal.secret', 'a string'],
        ['accounts.literal.otp.static', 'a string'],
      ]);
      expect(error.message).toContain('a literal secret would live in the config file');
    }
    expect(onlyMistake(() => withAccount({ secret: ' ' })).found).toBe('an empty string');
  });

  it.each([
    '',
    'x',
    'abc',
    'a===',
    'AAAA=',
    'AA=A',
    '=',
    SECRET.slice(0, -1),
    SECRET.replace('/', '_'),
    `${SECRET.slice(0, 76)}\n${SECRET.slice(76)}`,
  ])('are base64, not %j', (text) => {
    const error = errorOf(() => withAccount({ secret: text }));
    expect(error.mistakes.map(({ path }) => path)).toEqual(['accounts.master.secret']);
    if (text.length > 9) expect(error.message).not.toContain(text.slice(0, 9));
  });

  it('that are not of 64 bytes are taken, with a warning where Kraken is live', () => {
    expect(withAccount({ secret: 'AA==' }).warnings).toEqual([]);
    const live = { upstream: LIVE, accounts: { a: referenced } };
    expect(parse(live).warnings).toEqual([]);
    expect(parse(live, { env: { KEY: 'k', SECRET: 'AAAA' } }).warnings).toEqual([
      "accounts.a.secret: 3 bytes, where Kraken's private keys have 64: is it cut off, or the public key?",
    ]);
  });

  it('print as [redacted]', () => {
    const config = withAccount({ otp: { static: 'hunter2' } });
    for (const printed of [inspect(config, { depth: 9, showHidden: true }), JSON.stringify(config)]) {
      expect(printed).not.toContain(SECRET);
      expect(printed).not.toContain('hunter2');
    }
  });
});

describe('secret files on disk', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'config-'));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  function load(mode: number): Config {
    writeFileSync(join(folder, 'secret'), `${SECRET}\n`);
    chmodSync(join(folder, 'secret'), mode);
    writeFileSync(
      join(folder, 'proxy.config.json'),
      JSON.stringify({ accounts: { a: { key: 'k', secret: { file: 'secret' } } } }),
    );
    return loadConfig(join(folder, 'proxy.config.json'), {});
  }

  it('are read from the folder of the config', () => {
    const config = load(0o600);
    expect(config.accounts[0]?.secret.reveal()).toBe(SECRET);
    expect(config.nonce.file).toBe(join(folder, 'data/kraken_global_nonce.txt'));
    expect(config.warnings).toEqual([]);
  });

  it('bring a warning where other users can open them', () => {
    expect(load(0o640).warnings).toEqual([
      `accounts.a.secret.file: "${join(folder, 'secret')}" is open to other users (mode 0640); chmod 600 shuts them out`,
    ]);
  });

  it('that are folders are a mistake', () => {
    writeFileSync(
      join(folder, 'proxy.config.json'),
      JSON.stringify({ accounts: { a: { key: 'k', secret: { file: '.' } } } }),
    );
    const mistake = onlyMistake(() => loadConfig(join(folder, 'proxy.config.json'), {}));
    expect(mistake.found).toContain('which cannot be read (EISDIR)');
  });
});

describe('an otp', () => {
  const otp = (value: unknown): unknown => {
    const read = withAccount({ otp: value }).accounts[0]?.otp;
    return read && { kind: read.kind, value: read.value.reveal() };
  };

  it('is a static password or the base32 secret of an authenticator', () => {
    expect(otp({ static: 'hunter2' })).toEqual({ kind: 'static', value: 'hunter2' });
    expect(otp({ totp: 'JBSWY3DPEHPK3PXP' })).toEqual({ kind: 'totp', value: 'JBSWY3DPEHPK3PXP' });
    expect(otp({ totp: 'jbsw y3dp ehpk 3pxp' })).toEqual({ kind: 'totp', value: 'JBSWY3DPEHPK3PXP' });
    expect(otp({ totp: 'JBSWY3A=' })).toEqual({ kind: 'totp', value: 'JBSWY3A' });
    expect(otp(undefined)).toBeUndefined();
  });

  it.each(['JBSWY3D1', 'hunter2!', 'J', 'JBS', 'JBSWY3', '====', 'JB=SW'])(
    'refuses base32 like %j',
    (totp) => {
      const error = errorOf(() => otp({ totp }));
      expect(error.mistakes).toEqual([
        {
          path: 'accounts.master.otp.totp',
          found: 'text that is not base32',
          expected: "the authenticator app's secret in base32",
        },
      ]);
    },
  );

  it.each([['123456'], [{}], [{ static: 'a', totp: 'b' }], [{ hotp: 'a' }], [null], [{ static: 5 }], [[]]])(
    'is nothing else: not %j',
    (value) => {
      expect(mistakesOf(() => otp(value))[0]?.path).toMatch(/^accounts\.master\.otp/);
    },
  );

  it('may come from a file or the environment', () => {
    const config = { accounts: { a: { ...master, otp: { totp: { env: 'OTP' } } } } };
    expect(parse(config, { env: { OTP: 'JBSWY3DP\n' } }).accounts[0]?.otp?.value.reveal()).toBe('JBSWY3DP');
    expect(onlyMistake(() => parse(config)).path).toBe('accounts.a.otp.totp.env');
  });
});

describe('accounts', () => {
  it.each([[undefined], [{}], [[]], ['master'], [null]])('are at least one: not %j', (accounts) => {
    const mistake = onlyMistake(() => parse({ accounts }));
    expect(mistake).toMatchObject({ path: 'accounts', expected: 'an object with at least one account' });
  });

  it.each([
    'a',
    'master',
    'Grid_Bot-7',
    '0',
    'x'.repeat(64),
    'constructor',
    'toString',
    'hasOwnProperty',
    'valueOf',
  ])('may be called %s', (name) => {
    const config = parse({ accounts: { [name]: master }, defaultAccount: name });
    expect(config.accounts.map((account) => account.name)).toEqual([name]);
    expect(config.defaultAccount).toBe(name);
  });

  it.each(['', 'a b', 'a.b', 'a/b', 'ä', 'x'.repeat(65), 'a\n'])('may not be called %j', (name) => {
    const mistake = onlyMistake(() => parse({ accounts: { [name]: master } }));
    expect(mistake.path).toBe('accounts');
    expect(mistake.expected).toBe('an account name of 1 to 64 letters, digits, _ and -');
  });

  it('may not be called __proto__, which is refused and pollutes nothing', () => {
    const text = `{"accounts": {"__proto__": {"key": "k", "secret": "AAAA", "tier": "pro"}, "a": ${JSON.stringify(master)}}}`;
    expect(onlyMistake(() => parse(text)).path).toBe('accounts.__proto__');
    expect(({} as Record<string, unknown>).key).toBeUndefined();
    const inner = `{"accounts": {"a": {"__proto__": {"key": "k", "secret": "AAAA"}}}, "listen": {"__proto__": {}}}`;
    expect(mistakesOf(() => parse(inner)).map(({ path }) => path)).toContain('listen.__proto__');
  });

  it.each(['a b', 'a\u00e4', 'tab\there', '\u007f', 'x'.repeat(257)])(
    'have a key of plain text, not %j',
    (key) => {
      const error = errorOf(() => withAccount({ key }));
      expect(error.mistakes.map(({ path }) => path)).toEqual(['accounts.master.key']);
      expect(error.message).not.toContain(key);
    },
  );

  it('have a key each, because API-Key tells them apart', () => {
    const mistake = onlyMistake(() =>
      parse({
        accounts: { a: { ...master, key: ' public-from-env ' }, b: { ...master, key: { env: 'KEY' } } },
      }),
    );
    expect(mistake).toMatchObject({ path: 'accounts.b.key', found: 'the same public key as accounts.a' });
    expect(mistake.found).not.toContain('public-from-env');
  });

  it.each(['alice', '', 'constructor', '__proto__'])(
    'include the default account: not %j',
    (defaultAccount) => {
      expect(onlyMistake(() => withMaster({ defaultAccount }))).toEqual({
        path: 'defaultAccount',
        found: JSON.stringify(defaultAccount),
        expected: 'one of the accounts: master',
      });
    },
  );

  it('need a key and a secret', () => {
    expect(mistakesOf(() => parse({ accounts: { a: {} } })).map(({ path }) => path)).toEqual([
      'accounts.a.key',
      'accounts.a.secret',
    ]);
    expect(onlyMistake(() => parse({ accounts: { a: SECRET } }))).toEqual({
      path: 'accounts.a',
      found: 'a string',
      expected: 'an object with "key" and "secret"',
    });
  });
});

describe('nonce.file', () => {
  it('is relative to the folder of the config', () => {
    expect(withMaster({ nonce: { file: '../state/n.txt' } }).nonce.file).toBe('/etc/state/n.txt');
    expect(withMaster({ nonce: { file: '/var/n.txt' } }).nonce.file).toBe('/var/n.txt');
  });

  it.each(['', 'a\0b', 'x'.repeat(1025), 5])('is a path, not %j', (file) => {
    expect(onlyMistake(() => withMaster({ nonce: { file } })).path).toBe('nonce.file');
  });
});

describe('journal.file', () => {
  const files = {
    '/etc/kraken/secrets/master': SECRET,
    '/run/secrets/token': 'x'.repeat(32),
    '/etc/kraken/grid-bot': 'g'.repeat(32),
  };
  const tls = { certFile: 'tls/cert.pem', keyFile: '/etc/tls/key.pem', clientCaFile: 'tls/ca.pem' };
  const withJournal = (file: string, nonceFile = 'data/n.txt'): Config =>
    parse(
      {
        listen: { tls },
        nonce: { file: nonceFile },
        ops: { token: { file: '/run/secrets/token' } },
        clients: { 'grid-bot': { key: { file: 'grid-bot' }, accounts: ['master'], allow: ['read'] } },
        accounts: { master: { key: 'public-master', secret: { file: 'secrets/master' } } },
        journal: { file },
      },
      { files },
    );

  it.each([
    ['the config', 'proxy.config.json'],
    ['the config by another path', '../kraken/data/../proxy.config.json'],
    ['a secret', './secrets/master'],
    ['the token of the operators', '/run/secrets/token'],
    ['the key of a client', '/etc/kraken/grid-bot'],
    ['a certificate', 'tls/cert.pem'],
    ['the key of a certificate', '/etc/tls/key.pem'],
    ['the authority of clients', 'tls/ca.pem'],
    ['the nonce state', 'data/n.txt'],
    ['the answers', 'data/n.txt.answers'],
    ['the holds', 'data/n.txt.holds'],
    ['what the next start clears away', 'data/n.txt.tmp-1.jsonl'],
    ['a file in the lock', 'data/n.txt.lock/journal.jsonl'],
  ])('must not be %s', (_, file) => {
    expect(onlyMistake(() => withJournal(file))).toEqual({
      path: 'journal.file',
      found: `"${file}"`,
      expected:
        'a file of its own, which nothing else in this config names, nor the nonce state nor one of those beside it',
    });
  });

  it('must not be the nonce state, whatever that is called', () => {
    expect(onlyMistake(() => withJournal('data/n.jsonl', 'data/n.jsonl')).path).toBe('journal.file');
  });

  it('must not lead there over a link', () => {
    const folder = mkdtempSync(join(tmpdir(), 'kraken-config-'));
    try {
      const file = join(folder, 'proxy.config.json');
      symlinkSync(folder, join(folder, 'linked'));
      const config = { accounts: { master }, journal: { file: 'linked/proxy.config.json' } };
      writeFileSync(file, JSON.stringify(config));
      expect(onlyMistake(() => loadConfig(file, env)).path).toBe('journal.file');
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it.each(['journal.jsonl', '/var/log/kraken/journal', 'data/n.txt.journal.jsonl', 'data/n.txt.calls.jsonl'])(
    'may be %s',
    (file) => {
      expect(withJournal(file).journal.file).toBe(resolve('/etc/kraken', file));
    },
  );
});

describe('the tuning in force', () => {
  it('is flat text without secrets', () => {
    const config = parse({
      upstream: { url: 'https://api.kraken.com', timeoutMs: 20_000 },
      lanes: 'key',
      accounts: { a: referenced },
    });
    expect(describeTuning(config)).toEqual({
      lanes: 'key',
      store: 'file',
      reserveMs: '10000',
      windowMs: '10000',
      maxPerSecond: '20',
      minIntervalMs: '500',
      maxWaiting: '1000',
      maxWaitMs: '8000',
      timeoutMs: '20000',
      pacing: 'true',
      engine: 'report',
      merge: 'true',
      publicPerSecond: '1',
      settle: 'true',
      resend: 'true',
      upstream: 'api.kraken.com',
    });
    expect(describeTuning(withMaster({})).upstream).toBe('sandbox');
  });
});

describe('whatever stands in the file', () => {
  it('a secret is in no message, wherever it was pasted', () => {
    const totp = 'JBSWY3DPEHPK3PXP';
    const pasted = [SECRET, ` ${SECRET}\n`, totp, totp.toLowerCase(), 'jbsw y3dp ehpk 3pxp'];
    const places = (secret: string): unknown[] => [
      { accounts: { a: secret } },
      { accounts: { a: [secret] } },
      { accounts: { [secret]: {} } },
      { accounts: { a: { ...master, [secret]: 1 } } },
      { accounts: { a: { key: { env: secret }, secret: { file: secret } } } },
      { accounts: { a: { key: [secret], secret: { [secret]: secret }, tier: secret, otp: secret } } },
      {
        accounts: {
          a: { key: 'k', secret: { env: secret, file: secret }, otp: { static: { env: secret } } },
        },
      },
      { accounts: { a: { key: secret, secret: `x${secret}` } }, upstream: LIVE },
      { accounts: { a: { key: 'k', secret: `${secret}.` } } },
      { accounts: { a: { key: `${secret} x`, secret: 'AAAA', otp: { totp: `${secret}1` } } } },
      { accounts: { a: { key: 'k', secret: { env: 'BAD' }, otp: { totp: { env: 'BAD' } } } } },
      { accounts: {}, defaultAccount: secret, lanes: secret, log: { level: secret }, [secret]: secret },
      { accounts: {}, upstream: { url: secret }, listen: { host: secret, hosts: [secret], port: secret } },
      { accounts: {}, upstream: { url: `https://x:${secret}@api.kraken.com` } },
      { accounts: {}, upstream: { url: `https://api.kraken.com/?${secret}` } },
      secret,
    ];
    for (const secret of pasted) {
      for (const config of places(secret)) {
        const error = errorOf(() => parse(JSON.stringify(config), { env: { BAD: `${secret}!` } }));
        expect(inspect(error, { depth: 9 })).not.toContain(secret.trim());
      }
    }
  });

  it('it is taken or refused with a ConfigError', () => {
    const names = [
      'listen',
      'ops',
      'upstream',
      'nonce',
      'queue',
      'accounts',
      'defaultAccount',
      'log',
      '__proto__',
      'constructor',
      '$schema',
    ];
    const inner = [
      'host',
      'port',
      'url',
      'file',
      'env',
      'hosts',
      'master',
      'key',
      'secret',
      'otp',
      'static',
      'totp',
      'tier',
      '__proto__',
    ];
    const leaf = fc.oneof(
      fc.jsonValue({ maxDepth: 2 }),
      fc.constantFrom('sandbox', '127.0.0.1', 'localhost', 8787, SECRET),
    );
    const branch = (keys: string[], value: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> =>
      fc.oneof(
        fc.array(fc.tuple(fc.oneof(fc.constantFrom(...keys), fc.string()), value), { maxLength: 5 }).map(
          // Written by hand, so that `__proto__` is a key like any other and keys may repeat.
          (entries) =>
            new Raw(`{${entries.map(([key, item]) => `${JSON.stringify(key)}:${textOf(item)}`).join(',')}}`),
        ),
        leaf,
      );
    const config = branch(names, branch(inner, branch(inner, branch(inner, leaf))));
    fc.assert(
      fc.property(fc.oneof(config.map(textOf), fc.json(), fc.string()), (text) => {
        let error: unknown;
        try {
          expect(parse(text).accounts.length).toBeGreaterThan(0);
        } catch (thrown) {
          error = thrown;
        }
        if (error === undefined) return;
        expect(error).toBeInstanceOf(ConfigError);
        expect((error as ConfigError).mistakes.length).toBeGreaterThan(0);
      }),
      { numRuns: propertyRuns(200) },
    );
  });
});

/** JSON text that stands for itself inside other JSON text. */
class Raw {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

function textOf(value: unknown): string {
  return value instanceof Raw ? value.text : JSON.stringify(value);
}
