import { Clients, type Caller, type Client, type Credentials } from '../../src/clients.js';
import { ProxyError } from '../../src/errors.js';
import { createAccount } from '../../src/kraken/account.js';
import { createSigner } from '../../src/kraken/signature.js';
import type { Rules } from '../../src/policy/policy.js';
import { Secret } from '../../src/secret.js';
import { apiSign } from '../support/sign.js';

const SECRET = Buffer.alloc(64, 3).toString('base64');
const ACCOUNT_SECRET = Buffer.alloc(64, 4).toString('base64');
const RULES: Rules = { allow: undefined, deny: [], orders: undefined, report: [] };
const OTHERWISE: Rules = { ...RULES };
const NOW = Date.UTC(2026, 10, 22);

const accountOf = (name: string): ReturnType<typeof createAccount> =>
  createAccount({ name, key: `${name}-key`, secret: new Secret(ACCOUNT_SECRET), otp: undefined });
const ACCOUNTS = [accountOf('master'), accountOf('alice')];

function client(parts: Partial<Client> = {}): Client {
  return {
    name: 'bot',
    key: 'bot-key',
    signer: undefined,
    certSubject: undefined,
    accounts: ['master'],
    rules: RULES,
    nonceWindow: 'off',
    sources: undefined,
    expires: undefined,
    ...parts,
  };
}

function open(clients: readonly Client[] | undefined, defaultAccount?: string): Clients {
  return new Clients({ accounts: ACCOUNTS, defaultAccount, clients, otherwise: OTHERWISE, now: () => NOW });
}

function call(parts: Partial<Credentials> = {}): Credentials {
  return {
    apiKey: undefined,
    apiSign: undefined,
    authorization: undefined,
    pathAccount: undefined,
    address: '127.0.0.1',
    certificate: undefined,
    ...parts,
  };
}

function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof ProxyError) return error.code;
    throw error;
  }
  return 'taken';
}

const who = ({ client: name, account }: Caller): string => `${name} for ${account.name}`;

describe('where a client may call from', () => {
  it.each([
    ['127.0.0.1', 'taken'],
    ['127.255.0.3', 'taken'],
    ['::1', 'taken'],
    ['::ffff:127.0.0.1', 'taken'],
    ['10.0.0.1', 'invalid-key'],
    ['::ffff:10.0.0.1', 'invalid-key'],
    ['::2', 'invalid-key'],
    [undefined, 'invalid-key'],
    ['not an address', 'invalid-key'],
  ])('without secret and certificate on loopback only: %s is %s', (address, result) => {
    const clients = open([client()]);
    expect(refusal(() => clients.identify(call({ apiKey: 'bot-key', address })))).toBe(result);
  });

  it.each([
    ['10.1.2.3', 'taken'],
    ['::ffff:10.1.2.3', 'taken'],
    ['11.0.0.1', 'invalid-key'],
    ['fd00::17', 'taken'],
    ['fd01::17', 'invalid-key'],
    ['127.0.0.1', 'invalid-key'],
    [undefined, 'invalid-key'],
  ])('with sources from those alone: %s is %s', (address, result) => {
    const sources: Client['sources'] = [
      { address: '10.0.0.0', prefix: 8, family: 'ipv4' },
      { address: 'fd00::', prefix: 16, family: 'ipv6' },
    ];
    const clients = open([client({ signer: createSigner(SECRET), sources })]);
    expect(refusal(() => clients.identify(call({ apiKey: 'bot-key', address })))).toBe(result);
  });

  it('until its credentials expire', () => {
    expect(refusal(() => open([client({ expires: NOW + 1 })]).identify(call({ apiKey: 'bot-key' })))).toBe(
      'taken',
    );
    expect(refusal(() => open([client({ expires: NOW })]).identify(call({ apiKey: 'bot-key' })))).toBe(
      'invalid-key',
    );
  });
});

describe('a client certificate', () => {
  const certified = client({ name: 'cert', key: 'cert-key', certSubject: { CN: 'bot', O: 'Desk' } });
  const plain = client({ signer: createSigner(SECRET) });
  const shown = (
    subject: Record<string, string> | undefined,
    parts: Partial<Credentials> = {},
  ): Credentials => call({ address: '10.0.0.1', certificate: () => subject, ...parts });
  const full = { CN: 'bot', O: 'Desk', C: 'CH' };

  it('names its client without a key, or beside its own key, from anywhere', () => {
    const clients = open([certified, plain]);
    expect(who(clients.identify(shown(full)))).toBe('cert for master');
    expect(who(clients.identify(shown(full, { apiKey: 'cert-key' })))).toBe('cert for master');
  });

  it.each([
    ['none at all', undefined, 'cert-key', 'invalid-key'],
    ['one of another name', { CN: 'bot2', O: 'Desk' }, 'cert-key', 'invalid-key'],
    ['one that lacks an attribute', { CN: 'bot' }, 'cert-key', 'invalid-key'],
    [
      'one that names properties of every object',
      { CN: 'bot', constructor: 'Desk' },
      'cert-key',
      'invalid-key',
    ],
    ['one of another name and no key', { CN: 'bot2', O: 'Desk' }, undefined, 'invalid-key'],
    ['its own beside the key of another client', full, 'bot-key', 'permission-denied'],
    ['its own beside an account’s key', full, 'master-key', 'permission-denied'],
    ['its own beside a key nobody has', full, 'nobody', 'permission-denied'],
  ])('is needed, and must be the one: %s', (_, subject, apiKey, result) => {
    const clients = open([certified, plain]);
    expect(refusal(() => clients.identify(shown(subject, { apiKey })))).toBe(result);
  });

  it('that fits two clients names neither, but with a key the one that is meant', () => {
    const other = client({ name: 'other', key: 'other-key', certSubject: { CN: 'bot' } });
    const clients = open([certified, other]);
    expect(refusal(() => clients.identify(shown(full)))).toBe('permission-denied');
    expect(who(clients.identify(shown(full, { apiKey: 'other-key' })))).toBe('other for master');
  });

  it('does not stand in for the signature of a client that has a secret as well', () => {
    const both = { ...certified, signer: createSigner(SECRET) };
    const caller = open([both]).identify(shown(full));
    const body = Buffer.from('nonce=1');
    const signed = { ...shown(full), path: '/0/private/Balance' };
    expect(refusal(() => caller.verify(signed, body, () => '1'))).toBe('invalid-signature');
    const good = apiSign('/0/private/Balance', '1', body, SECRET);
    expect(refusal(() => caller.verify({ ...signed, apiSign: good }, body, () => '1'))).toBe('taken');
  });
});

describe('the account of a client', () => {
  const both = client({ accounts: ['master', 'alice'] });

  it.each([
    ['its only one', ['master'], undefined, undefined, 'bot for master'],
    ['its only one, not the default', ['alice'], 'master', undefined, 'bot for alice'],
    ['the default among several', ['master', 'alice'], 'alice', undefined, 'bot for alice'],
    ['the one in the path', ['master', 'alice'], 'alice', 'master', 'bot for master'],
  ])('is %s', (_, accounts, defaultAccount, pathAccount, expected) => {
    const clients = open([client({ accounts })], defaultAccount);
    expect(who(clients.identify(call({ apiKey: 'bot-key', pathAccount })))).toBe(expected);
  });

  it.each([
    ['several and no default', both, undefined, undefined],
    ['a default that is not among several', client({ accounts: ['alice', 'carol'] }), 'master', undefined],
    ['a path that names another’s account', client(), undefined, 'alice'],
    ['a path that names no account', client(), undefined, 'nobody'],
    ['a path that names a property of every object', client(), undefined, 'constructor'],
  ])('is not guessed, and not another’s: %s', (_, who, defaultAccount, pathAccount) => {
    const clients = open([who], defaultAccount);
    expect(refusal(() => clients.identify(call({ apiKey: 'bot-key', pathAccount })))).toBe(
      'permission-denied',
    );
  });
});

describe('with clients', () => {
  it('an account’s own key is its owner’s, under the rules for callers nobody listed', () => {
    const caller = open([client()]).identify(call({ apiKey: 'alice-key' }));
    expect(who(caller)).toBe('owner for alice');
    expect(caller.rules).toBe(OTHERWISE);
  });

  it.each([
    ['no key', {}],
    ['an empty key', { apiKey: '' }],
    ['an unknown key', { apiKey: 'nobody' }],
    ['an unknown bearer', { authorization: 'Bearer nobody' }],
    ['a basic login', { authorization: 'Basic Ym90LWtleTo=' }],
    ['only an account in the path', { pathAccount: 'master' }],
  ])('nobody is served with %s', (_, parts) => {
    expect(refusal(() => open([client()], 'master').identify(call(parts)))).toBe('invalid-key');
  });
});

it.each([
  [
    'API-Key names the caller, whatever the bearer',
    { apiKey: 'bot-key', authorization: 'Bearer other-key' },
    'bot',
  ],
  [
    'an API-Key nobody has is refused, not the bearer tried',
    { apiKey: 'nobody', authorization: 'Bearer bot-key' },
    undefined,
  ],
  [
    'an empty API-Key is refused, not the bearer tried',
    { apiKey: '', authorization: 'Bearer bot-key' },
    undefined,
  ],
])('of two credentials %s', (_, parts, name) => {
  const clients = open([client(), client({ name: 'other', key: 'other-key' })]);
  if (name === undefined) expect(refusal(() => clients.identify(call(parts)))).toBe('invalid-key');
  else expect(clients.identify(call(parts)).client).toBe(name);
});

it('without clients a key that no account has is refused, not served from the default account', () => {
  const clients = open(undefined, 'master');
  expect(refusal(() => clients.identify(call({ apiKey: 'nobody' })))).toBe('invalid-key');
  expect(refusal(() => clients.identify(call({ apiKey: 'nobody', pathAccount: 'alice' })))).toBe(
    'invalid-key',
  );
  expect(who(clients.identify(call()))).toBe('local for master');
});
