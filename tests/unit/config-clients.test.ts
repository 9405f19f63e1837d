import { ConfigError, parseConfig, type ClientConfig, type Config } from '../../src/config.js';

const ACCOUNT_SECRET =
  'kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg==';
const CLIENT_SECRET = Buffer.alloc(64, 7).toString('base64');
const accounts = {
  master: { key: 'public-master', secret: ACCOUNT_SECRET },
  alice: { key: 'public-alice', secret: Buffer.alloc(64, 1).toString('base64') },
};

function parse(parts: object, files: Record<string, string> = {}): Config {
  return parseConfig(JSON.stringify({ accounts, ...parts }), {
    file: '/etc/kraken/proxy.config.json',
    env: { BOT_SECRET: CLIENT_SECRET, ACCOUNT_SECRET },
    readFile: (path) => {
      const text = files[path];
      if (text === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
      return text;
    },
  });
}

function clientOf(entry: object, parts: object = {}): ClientConfig {
  const [client] =
    parse({ clients: { bot: { key: 'bot-key', accounts: ['master'], ...entry } }, ...parts }).clients ?? [];
  if (client === undefined) throw new Error('no client');
  return client;
}

function mistakesOf(run: () => unknown): string[] {
  try {
    run();
  } catch (error) {
    if (error instanceof ConfigError)
      return error.mistakes.map(({ path, found, expected }) => `${path}: ${found} / ${expected}`);
    throw error;
  }
  throw new Error('the config was accepted');
}

const mistakesFor = (entry: object, parts: object = {}): string[] => mistakesOf(() => clientOf(entry, parts));
const warningsFor = (entry: object, parts: object = {}): readonly string[] =>
  parse({ clients: { bot: { key: 'bot-key', accounts: ['master'], ...entry } }, ...parts }).warnings;

describe('a client', () => {
  it('may do what is harmless to the money when nothing is listed', () => {
    expect(clientOf({})).toEqual({
      name: 'bot',
      key: 'bot-key',
      secret: undefined,
      certSubject: undefined,
      accounts: ['master'],
      rules: { allow: undefined, deny: [], orders: undefined, report: [] },
      nonceWindow: 'off',
      sources: undefined,
      expires: undefined,
    });
  });

  it('takes every option', () => {
    const client = clientOf({
      secret: { env: 'BOT_SECRET' },
      accounts: ['master', 'alice'],
      allow: ['read', 'AddOrder', 'Earn/Strategies'],
      deny: ['CancelAll'],
      orders: {
        pairs: ['XBTUSD'],
        sides: ['buy'],
        types: ['limit'],
        maxVolume: '0.5',
        maxNotional: { USD: '1000' },
        maxNotionalPerDay: { USD: '5000.50' },
        maxOpenOrders: 10,
        postOnly: true,
      },
      report: ['orders.maxVolume'],
      nonceWindow: 10_000_000_000,
      sources: ['10.0.0.0/8', '::1'],
      expires: '2027-01-31T00:00:00Z',
    });
    expect(client.secret?.reveal()).toBe(CLIENT_SECRET);
    expect(client).toMatchObject({
      rules: {
        allow: ['read', 'AddOrder', 'Earn/Strategies'],
        deny: ['CancelAll'],
        orders: {
          maxVolume: '0.5',
          maxNotionalPerDay: { USD: '5000.50' },
          reduceOnly: false,
          postOnly: true,
        },
        report: ['orders.maxVolume'],
      },
      nonceWindow: 10_000_000_000n,
      sources: [
        { address: '10.0.0.0', prefix: 8, family: 'ipv4' },
        { address: '::1', prefix: 128, family: 'ipv6' },
      ],
      expires: Date.UTC(2027, 0, 31),
    });
  });

  it('with limits on its orders is warned of when it may have a WebSocket token, which goes past them', () => {
    expect(warningsFor({ orders: { maxVolume: '1' } })).toEqual([]);
    expect(warningsFor({ orders: { maxVolume: '1' }, allow: ['trade', 'websocket'] })).toEqual([
      'clients.bot: a WebSocket token lets it trade past the limits of orders',
    ]);
  });

  it.each([
    [{ accounts: undefined }, 'clients.bot.accounts: nothing / a list of account names, at least one'],
    [{ accounts: [] }, 'clients.bot.accounts: an array / a list of account names, at least one'],
    [{ accounts: ['mastr'] }, 'clients.bot.accounts.0: "mastr" / one of the accounts: master, alice'],
    [
      { key: 'public-alice' },
      'clients.bot.key: the same key as accounts.alice / a key of its own: API-Key tells callers apart',
    ],
    [
      { key: 'two words' },
      'clients.bot.key: text that cannot be a key / printable ASCII without spaces, at most 256 characters',
    ],
    [
      { secret: 'no base64!' },
      'clients.bot.secret: text that is not base64 / a secret in base64; "client new" makes one',
    ],
    [
      { secret: { env: 'ACCOUNT_SECRET' } },
      "clients.bot.secret: the secret of accounts.master / a secret of the client's own, which opens nothing at Kraken",
    ],
    [{ allow: ['reed'] }, 'clients.bot.allow.0: "reed" / read'],
    [{ allow: ['addorder'] }, 'clients.bot.allow.0: "addorder" / AddOrder'],
    [{ deny: ['WITHDRAW'] }, 'clients.bot.deny.0: "WITHDRAW" / withdraw'],
    [{ deny: ['Withdrow'] }, 'clients.bot.deny.0: "Withdrow" / withdraw'],
    [{ deny: ['CancelAl'] }, 'clients.bot.deny.0: "CancelAl" / CancelAll'],
    [
      { expires: '2027-02-31T00:00:00Z' },
      'clients.bot.expires: "2027-02-31T00:00:00Z" / a time in UTC such as 2027-01-31T00:00:00Z',
    ],
    [
      { expires: '2027-01-31T24:00:00Z' },
      'clients.bot.expires: "2027-01-31T24:00:00Z" / a time in UTC such as 2027-01-31T00:00:00Z',
    ],
    // The two last bits are set: no encoder writes this, and the signer does not take it.
    [
      { secret: 'QUFBQUFBQUFBQUFBQUFBQR==' },
      'clients.bot.secret: text that is not base64 / a secret in base64; "client new" makes one',
    ],
    [
      { orders: { maxVolume: 0.5 } },
      'clients.bot.orders.maxVolume: 0.5 / a positive decimal number as text, such as "0.5": at most 20 digits before the point and 18 after',
    ],
    [
      { orders: { maxVolume: '0.000' } },
      'clients.bot.orders.maxVolume: "0.000" / a positive decimal number as text, such as "0.5": at most 20 digits before the point and 18 after',
    ],
    [
      { orders: { maxNotional: '1000' } },
      'clients.bot.orders.maxNotional: "1000" / an object of quote currencies with decimal texts, such as { "USD": "10000" }',
    ],
    [
      { orders: { maxVolum: '1' } },
      'clients.bot.orders.maxVolum: an unknown option (a string) / a known option; did you mean maxVolume?',
    ],
    [
      { sources: ['10.0.0.0/33'] },
      'clients.bot.sources.0: "10.0.0.0/33" / an IP address or a network such as 10.0.0.0/8',
    ],
    [{ expires: 'tomorrow' }, 'clients.bot.expires: "tomorrow" / a time in UTC such as 2027-01-31T00:00:00Z'],
    [
      { nonceWindow: -1 },
      'clients.bot.nonceWindow: -1 / "off", or a whole number: how far below the highest a nonce may lie',
    ],
    [
      { certSubject: { CN: 'bot' } },
      'clients.bot.certSubject: an object / nothing, or listen.tls.clientCaFile beside it',
    ],
  ])('with %j is refused, with what was expected', (entry, mistake) => {
    expect(mistakesFor(entry)).toEqual([mistake]);
  });

  it('must not share its key with another client, or its name with a label of the proxy', () => {
    const bot = { key: 'same', accounts: ['master'] };
    expect(mistakesOf(() => parse({ clients: { one: bot, two: bot } }))).toEqual([
      'clients.two.key: the same key as clients.one / a key of its own: API-Key tells callers apart',
    ]);
    expect(mistakesOf(() => parse({ clients: { owner: bot } }))).toEqual([
      'clients.owner: the name owner / a name the proxy does not use itself',
    ]);
  });

  it('must not share its secret with another client', () => {
    const bot = (key: string, secret: unknown): object => ({ key, secret, accounts: ['master'] });
    const clients = { one: bot('1', CLIENT_SECRET), two: bot('2', { env: 'BOT_SECRET' }) };
    expect(mistakesOf(() => parse({ clients }))).toEqual([
      'clients.two.secret: the same secret as clients.one / a secret of its own: who has it can call as both',
    ]);
  });

  it('an account’s secret that the signer would not take is a mistake', () => {
    const secret = `${ACCOUNT_SECRET.slice(0, -3)}h==`;
    expect(Buffer.from(secret, 'base64')).toEqual(Buffer.from(ACCOUNT_SECRET, 'base64'));
    expect(mistakesOf(() => parse({ accounts: { master: { key: 'public-master', secret } } }))).toEqual([
      'accounts.master.secret: text that is not base64 / the private key in base64, on one line, as Kraken shows it',
    ]);
  });

  it.each<[object]>([
    [{}],
    [{ allow: ['WithdrawStatus', 'Earn/Strategies', 'GetOtcPairs'], orders: { maxVolume: '1' } }],
    [{ allow: ['read', 'withdraw'], deny: ['withdraw'] }],
    [{ deny: ['trade'] }],
    [{ allow: ['websocket'], deny: ['websocket'] }],
    [{ report: ['allow'] }],
    [{ deny: ['trade'], report: ['deny'] }],
    [{ orders: { postOnly: true }, report: ['orders.postOnly'] }],
    [{ allow: ['trade', 'otc'], deny: ['otc'], orders: { maxVolume: '1' } }],
  ])('with %j needs no warning', (entry) => {
    expect(warningsFor(entry)).toEqual([]);
  });

  it.each(['local', 'owner', 'public', 'proxy', 'unknown', 'none'])(
    'must not have the name %s, which the proxy gives to others in log and metrics',
    (name) => {
      expect(mistakesOf(() => parse({ clients: { [name]: { key: 'k', accounts: ['master'] } } }))).toEqual([
        `clients.${name}: the name ${name} / a name the proxy does not use itself`,
      ]);
    },
  );

  it.each(['withdraw', 'transfer', 'subaccount', 'earn', 'otc', 'pay'])(
    'that may %s is taken with a warning that it may move money',
    (group) => {
      expect(warningsFor({ allow: ['read', group] })).toEqual([`clients.bot: may move money out (${group})`]);
    },
  );

  it('a nonceWindow of 0 is a guard, not none', () => {
    expect(clientOf({ secret: CLIENT_SECRET, nonceWindow: 0 }).nonceWindow).toBe(0n);
  });

  it('is warned of a secret by its bytes: 15 are too few, 16 are not', () => {
    const secretOf = (bytes: number): object => ({ secret: Buffer.alloc(bytes, 9).toString('base64') });
    expect(warningsFor(secretOf(15))).toEqual([
      'clients.bot.secret: a secret shorter than 16 bytes can be guessed; "client new" makes one of 64',
    ]);
    expect(warningsFor(secretOf(16))).toEqual([]);
  });

  it('is warned of a WebSocket token that is allowed by the name of its endpoint, too', () => {
    expect(warningsFor({ orders: { maxVolume: '1' }, allow: ['trade', 'GetWebSocketsToken'] })).toEqual([
      'clients.bot: a WebSocket token lets it trade past the limits of orders',
    ]);
  });

  it('keeps its secret out of the config of a live upstream, its key may stand there', () => {
    const live = {
      upstream: { url: 'https://api.kraken.com' },
      accounts: { master: { key: { env: 'BOT_SECRET' }, secret: { env: 'ACCOUNT_SECRET' } } },
    };
    expect(clientOf({ secret: { env: 'BOT_SECRET' } }, live).key).toBe('bot-key');
    expect(mistakesFor({ secret: CLIENT_SECRET }, live)).toEqual([
      'clients.bot.secret: a string / no literal: a literal secret would live in the config file; use { "env": … } or { "file": … }',
    ]);
  });

  it('never shows what was pasted in its place, or in the place of all clients', () => {
    const pasted = 'hunter2-hunter2';
    for (const clients of [
      pasted,
      { bot: pasted },
      { bot: { key: { env: 5 }, secret: 31415926, accounts: ['master'] } },
    ]) {
      const text = mistakesOf(() => parse({ clients })).join('\n');
      expect(text).not.toMatch(/hunter2|31415926/);
    }
  });

  it('never shows its secret, or its key, in a mistake', () => {
    const error = mistakesFor({ key: 5, secret: [CLIENT_SECRET], accounts: ['x'] }).join('\n');
    expect(error).toContain('clients.bot.key: a number');
    expect(error).not.toContain(CLIENT_SECRET);
  });

  it.each([
    [{ allow: ['read', 'withdraw', 'transfer'] }, 'clients.bot: may move money out (withdraw, transfer)'],
    [{ allow: ['websocket'] }, 'clients.bot: a WebSocket token lets it trade, although trade is not allowed'],
    [
      { allow: ['Withdraw', 'WalletTransfer', 'Earn/Allocate', 'WithdrawStatus'] },
      'clients.bot: may move money out (Withdraw, WalletTransfer, Earn/Allocate)',
    ],
    [
      { allow: ['trade', 'websocket'], deny: ['CancelAll'] },
      'clients.bot: a WebSocket token lets it trade and cancel past deny',
    ],
    [
      { allow: ['AddOrder', 'GetWebSocketsToken'], orders: { maxOpenOrders: 1 } },
      'clients.bot: a WebSocket token lets it trade past the limits of orders',
    ],
    [{ orders: {} }, 'clients.bot: orders sets no limit'],
    [{ orders: { postOnly: false } }, 'clients.bot: orders sets no limit'],
    [
      { report: ['deny', 'orders.maxVolume'], orders: { postOnly: true } },
      'clients.bot: report names what is not set (deny, orders.maxVolume)',
    ],
    [{ nonceWindow: 0 }, 'clients.bot: nonceWindow does nothing without a secret: the nonce is not signed'],
    [
      { expires: '2020-01-01T00:00:00Z' },
      'clients.bot: expired at 2020-01-01T00:00:00Z: its calls are refused',
    ],
    [{ deny: ['WithdrawNow'] }, 'clients.bot.deny.0: "WithdrawNow" is no endpoint the proxy knows'],
    [
      { secret: 'c2hvcnQ=' },
      'clients.bot.secret: a secret shorter than 16 bytes can be guessed; "client new" makes one of 64',
    ],
  ])('with %j is taken with a warning', (entry, warning) => {
    expect(warningsFor(entry)).toEqual([warning]);
  });
});

it('endpoints whose orders the limits do not see are warned of', () => {
  const orders = { maxVolume: '1' };
  expect(warningsFor({ orders, allow: ['trade', 'otc'] })).toEqual([
    'clients.bot: may move money out (otc)',
    'clients.bot: goes past the limits of orders with otc',
  ]);
  expect(warningsFor({ orders, allow: ['trade', 'PlaceThing'] })).toEqual([
    'clients.bot.allow.1: "PlaceThing" is no endpoint the proxy knows',
    'clients.bot: goes past the limits of orders with PlaceThing',
  ]);
});

it('a file of client authorities is looked for from the folder of the config', () => {
  const tls = { certFile: 'tls/cert.pem', keyFile: 'tls/key.pem', clientCaFile: 'tls/ca.pem' };
  expect(parse({ listen: { tls } }).listen.tls?.clientCaFile).toBe('/etc/kraken/tls/ca.pem');
});

it('TLS alone, without clients, does not let the proxy listen beyond loopback; nor does insecure', () => {
  const tls = { certFile: 'cert.pem', keyFile: 'key.pem' };
  for (const listen of [
    { host: '10.0.0.1', tls },
    { host: '10.0.0.1', insecure: true },
  ]) {
    expect(mistakesOf(() => parse({ listen }))).toEqual([
      'listen.host: "10.0.0.1" / a loopback address (127.0.0.0/8, ::1 or localhost), or "clients": without clients the proxy serves loopback only',
    ]);
  }
});

describe('beyond loopback', () => {
  const clients = { bot: { key: 'bot-key', secret: CLIENT_SECRET, accounts: ['master'] } };
  const tls = { certFile: 'tls/cert.pem', keyFile: '/etc/tls/key.pem' };

  it('the proxy listens with clients and TLS', () => {
    const config = parse({ clients, listen: { host: '10.0.0.1', hosts: ['proxy.internal'], tls } });
    expect(config.listen).toMatchObject({
      host: '10.0.0.1',
      tls: { certFile: '/etc/kraken/tls/cert.pem', keyFile: '/etc/tls/key.pem', clientCaFile: undefined },
    });
    expect(config.warnings).toEqual([]);
  });

  it('plain HTTP needs to be asked for, and is warned of', () => {
    expect(mistakesOf(() => parse({ clients, listen: { host: '10.0.0.1' } }))).toEqual([
      'listen.host: "10.0.0.1" / a loopback address, or listen.tls; listen.insecure: true serves plain HTTP, which others on the network can read and repeat',
    ]);
    expect(mistakesOf(() => parse({ clients, listen: { host: '10.0.0.1', insecure: false } }))).toHaveLength(
      1,
    );
    expect(parse({ clients, listen: { host: '10.0.0.1', insecure: true } }).warnings).toEqual([
      'listen.insecure: calls come over plain HTTP: who listens on the network can repeat them',
    ]);
  });

  it('a client without secret and certificate is warned of, and so is a wildcard that nobody can call by name', () => {
    const open = { bot: { key: 'bot-key', accounts: ['master'] } };
    expect(parse({ clients: open, listen: { host: '0.0.0.0', tls } }).warnings).toEqual([
      'listen.hosts: name what bots on other machines call this host, or they are refused',
      'clients.bot: has neither secret nor certSubject: served on loopback only',
    ]);
  });

  it('two clients with the same certificate cannot be told apart, in whatever order its attributes are written', () => {
    const listen = { tls: { ...tls, clientCaFile: 'ca.pem' } };
    const one = { key: '1', accounts: ['master'], certSubject: { CN: 'bot', O: 'Desk' } };
    const two = { key: '2', accounts: ['master'], certSubject: { O: 'Desk', CN: 'bot' } };
    expect(mistakesOf(() => parse({ listen, clients: { one, two } }))).toEqual([
      'clients.two.certSubject: the same subject as clients.one / a subject of its own',
    ]);
  });

  it('two clients with the same certificate cannot be told apart', () => {
    const bot = (key: string): object => ({
      key,
      accounts: ['master'],
      certSubject: { CN: 'bot', O: 'Desk' },
    });
    const listen = { tls: { ...tls, clientCaFile: 'ca.pem' } };
    expect(mistakesOf(() => parse({ listen, clients: { one: bot('1'), two: bot('2') } }))).toEqual([
      'clients.two.certSubject: the same subject as clients.one / a subject of its own',
    ]);
  });
});
