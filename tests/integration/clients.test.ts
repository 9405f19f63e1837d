import { randomBytes } from 'node:crypto';
import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';
import { Scrape } from '../support/metrics.js';
import { openProxyWorld, type ConfigParts, type ProxyWorld } from '../support/proxy-world.js';
import { talk } from '../support/raw-socket.js';
import { apiSign, rawRequest, signedRequest, type SignedReply } from '../support/sign.js';

const [MASTER, ALICE] = DEMO_KEYS as [(typeof DEMO_KEYS)[0], (typeof DEMO_KEYS)[0]];
const GRID = { key: 'grid-key', secret: randomBytes(64).toString('base64') };
const SHARED = { key: 'shared-key', secret: randomBytes(64).toString('base64') };
const GUARDED = { key: 'guarded-key', secret: randomBytes(64).toString('base64') };
const EXPIRED = { key: 'expired-key', secret: randomBytes(64).toString('base64') };

const CLIENTS: ConfigParts = {
  clients: {
    grid: { ...GRID, accounts: ['master'] },
    shared: { ...SHARED, accounts: ['master', 'alice'], allow: ['read', 'withdraw'], deny: ['QueryOrders'] },
    guarded: { ...GUARDED, accounts: ['master'], nonceWindow: 0 },
    expired: { ...EXPIRED, accounts: ['master'], expires: '2020-01-01T00:00:00Z' },
    curl: { key: 'curl-key', accounts: ['alice'], allow: ['read'] },
    elsewhere: { key: 'elsewhere-key', accounts: ['alice'], sources: ['10.0.0.0/8'] },
  },
};

let world: ProxyWorld;
beforeAll(async () => {
  world = await openProxyWorld({ config: CLIENTS });
});
afterAll(() => world.close());

let nonce = 0;
const freshNonce = (): string => String(++nonce);

interface Key {
  readonly key: string;
  readonly secret: string;
}

/** A call as a Kraken library makes it: its nonce in the body, its own signature beside it. */
function signed(who: Key, endpoint: string, fields = ''): Promise<SignedReply> {
  const body = `nonce=${freshNonce()}${fields === '' ? '' : `&${fields}`}`;
  return signedRequest(world.url, `/0/private/${endpoint}`, who.key, who.secret, body);
}

/** The same through a base URL with a path; a library signs without it. */
function prefixed(who: Key, account: string, endpoint: string, signs = ''): Promise<SignedReply> {
  const body = `nonce=${freshNonce()}`;
  const path = `/0/private/${endpoint}`;
  return post(`/accounts/${account}${path}`, body, {
    'API-Key': who.key,
    'API-Sign': apiSign(`${signs}${path}`, String(nonce), body, who.secret),
  });
}

function post(path: string, body: string, headers: Record<string, string>): Promise<SignedReply> {
  return rawRequest(world.url, path, 'POST', body, headers);
}

function told({ status, headers, json }: SignedReply): string {
  const [error = 'served'] = json?.error ?? [];
  const code = headers['x-proxy-error'];
  return `${status} ${error}${typeof code === 'string' ? ` (${code})` : ''}`;
}

const SERVED = '200 served';
const BAD_SIGNATURE = '200 EAPI:Invalid signature (invalid-signature)';
const BAD_KEY = '200 EAPI:Invalid key (invalid-key)';
const DENIED = '200 EGeneral:Permission denied (permission-denied)';

/** What reached the sandbox while `act` ran. */
async function receivedDuring(
  act: () => Promise<unknown>,
): Promise<{ key: string | undefined; path: string }[]> {
  const before = world.sandbox.received.length;
  await act();
  return world.sandbox.received
    .slice(before)
    .map(({ headers, path }) => ({ key: headers['api-key'] as string | undefined, path }));
}

describe('a client with a secret', () => {
  it('is served with the signature of its own library, and Kraken sees the account’s', async () => {
    const received = await receivedDuring(async () => {
      expect(
        told(await signed(GRID, 'AddOrder', 'pair=XBTUSD&type=buy&ordertype=limit&price=100&volume=1')),
      ).toBe(SERVED);
    });
    expect(received).toEqual([{ key: MASTER.key, path: '/0/private/AddOrder' }]);
  });

  it.each([
    ['a form, nonce first', (n: string) => `nonce=${n}&asset=XBT`, undefined],
    ['a form, nonce last', (n: string) => `asset=XBT&nonce=${n}`, 'application/x-www-form-urlencoded'],
    ['JSON with a number', (n: string) => `{"nonce":${n},"asset":"XBT"}`, 'application/json'],
    [
      'JSON with a text and blanks',
      (n: string) => `{"asset": "XBT", "nonce": "${n}"}`,
      'application/json; charset=utf-8',
    ],
  ])('may send %s', async (_, bodyOf, contentType) => {
    const body = bodyOf(freshNonce());
    const reply = await signedRequest(
      world.url,
      '/0/private/Balance',
      GRID.key,
      GRID.secret,
      body,
      contentType ?? null,
    );
    expect(told(reply)).toBe(SERVED);
  });

  it('may sign a query as part of its path', async () => {
    const path = '/0/private/Balance?x=1';
    const body = `nonce=${freshNonce()}`;
    expect(told(await signedRequest(world.url, path, GRID.key, GRID.secret, body))).toBe(SERVED);
    const signature = apiSign('/0/private/Balance', String(nonce), body, GRID.secret);
    expect(told(await post(path, body, { 'API-Key': GRID.key, 'API-Sign': signature }))).toBe(BAD_SIGNATURE);
  });

  it('may use a nonce twice: bots share keys, and what reaches Kraken has a fresh one', async () => {
    const body = 'nonce=1';
    for (let round = 0; round < 2; round++) {
      expect(told(await signedRequest(world.url, '/0/private/Balance', GRID.key, GRID.secret, body))).toBe(
        SERVED,
      );
    }
  });
});

describe('a forged call', () => {
  const path = '/0/private/Balance';
  const body = 'nonce=7&asset=XBT';
  const good = (): string => apiSign(path, '7', body, GRID.secret);
  const flipped = (): string => {
    const bytes = Buffer.from(good(), 'base64');
    bytes[0] = (bytes[0] ?? 0) ^ 1;
    return bytes.toString('base64');
  };

  it.each<[string, () => { path?: string; body?: string; key?: string; sign: string | undefined }]>([
    ['has no signature', () => ({ sign: undefined })],
    ['has an empty signature', () => ({ sign: '' })],
    ['has a signature cut off', () => ({ sign: good().slice(0, -4) })],
    ['has a signature with more behind it', () => ({ sign: `${good()}AAAA` })],
    ['has one bit of the signature wrong', () => ({ sign: flipped() })],
    ['has the signature in other letters', () => ({ sign: good().toLowerCase() })],
    ['has the signature of another body', () => ({ sign: good(), body: 'nonce=7&asset=ETH' })],
    ['has the signature of another nonce', () => ({ sign: good(), body: 'nonce=8&asset=XBT' })],
    ['has the signature of another endpoint', () => ({ sign: good(), path: '/0/private/BalanceEx' })],
    ['has the signature of a path without its query', () => ({ sign: good(), path: `${path}?a=1` })],
    ['has the signature of another client', () => ({ sign: apiSign(path, '7', body, SHARED.secret) })],
    ['has its signature under the key of another client', () => ({ sign: good(), key: SHARED.key })],
    [
      'has the signature of the account’s own secret',
      () => ({ sign: apiSign(path, '7', body, MASTER.secret) }),
    ],
    ['carries the account’s key with the client’s signature', () => ({ sign: good(), key: MASTER.key })],
    ['carries the account’s key without a signature', () => ({ sign: undefined, key: MASTER.key })],
    ['has no nonce', () => ({ sign: apiSign(path, '', 'asset=XBT', GRID.secret), body: 'asset=XBT' })],
    [
      'has two nonces, one of them signed',
      () => ({ sign: apiSign(path, '7', 'nonce=7&nonce=8', GRID.secret), body: 'nonce=7&nonce=8' }),
    ],
    [
      'has two equal nonces',
      () => ({ sign: apiSign(path, '7', 'nonce=7&nonce=7', GRID.secret), body: 'nonce=7&nonce=7' }),
    ],
  ])('that %s is refused, and nothing is sent', async (_, forge) => {
    const { sign, ...parts } = forge();
    const headers = { 'API-Key': parts.key ?? GRID.key, ...(sign === undefined ? {} : { 'API-Sign': sign }) };
    const received = await receivedDuring(async () => {
      expect(told(await post(parts.path ?? path, parts.body ?? body, headers))).toBe(BAD_SIGNATURE);
    });
    expect(received).toEqual([]);
  });

  it('is refused when a nonce is replayed to a client that wants them rising', async () => {
    const again = `nonce=${freshNonce()}`;
    const send = (text: string): Promise<SignedReply> =>
      signedRequest(world.url, path, GUARDED.key, GUARDED.secret, text);
    expect(told(await send(again))).toBe(SERVED);
    expect(told(await send(again))).toBe(BAD_SIGNATURE);
    expect(told(await send(`nonce=${nonce - 1}`))).toBe(BAD_SIGNATURE);
    // A forged call with a nonce far ahead does not shut the client out.
    await post(path, `nonce=${nonce + 10_000}`, { 'API-Key': GUARDED.key, 'API-Sign': good() });
    expect(told(await send(`nonce=${freshNonce()}`))).toBe(SERVED);
  });
});

it('a forged call is told nothing about what the client may do, and nothing is looked up for it', async () => {
  const orders = { maxNotional: { USD: '1000' }, maxNotionalPerDay: { USD: '1000' } };
  const limited = { key: 'limited-key', secret: GRID.secret, accounts: ['master'], orders };
  const fresh = await openProxyWorld({ config: { clients: { limited } } });
  try {
    for (const endpoint of ['Withdraw', 'AddOrder']) {
      const headers = { 'API-Key': limited.key, 'API-Sign': 'AAAA' };
      const body = 'nonce=1&pair=XBTUSD&type=sell&ordertype=market&volume=99';
      const reply = await rawRequest(fresh.url, `/0/private/${endpoint}`, 'POST', body, headers);
      expect(`${endpoint} ${told(reply)}`).toBe(`${endpoint} ${BAD_SIGNATURE}`);
      expect(reply.headers).not.toHaveProperty('x-proxy-error-detail');
    }
    expect(fresh.sandbox.received).toEqual([]); // no list of pairs, no price
  } finally {
    await fresh.close();
  }
});

describe('the account’s own key', () => {
  it('is served with a signature of the account’s own secret', async () => {
    const received = await receivedDuring(async () => {
      expect(told(await signed(ALICE, 'Balance'))).toBe(SERVED);
    });
    expect(received).toEqual([{ key: ALICE.key, path: '/0/private/Balance' }]);
  });

  it('moves no money: that has to be allowed to a client by name', async () => {
    expect(told(await signed(MASTER, 'Withdraw', 'asset=XBT&key=w&amount=1'))).toBe(DENIED);
  });
});

describe('which account', () => {
  it('a client of several names one in its base URL, whether its library signs that or not', async () => {
    const received = await receivedDuring(async () => {
      expect(told(await prefixed(SHARED, 'alice', 'Balance'))).toBe(SERVED);
      expect(told(await prefixed(SHARED, 'alice', 'Balance', '/accounts/alice'))).toBe(SERVED);
      expect(told(await prefixed(SHARED, 'master', 'Balance'))).toBe(SERVED);
    });
    expect(received.map(({ key }) => key)).toEqual([ALICE.key, ALICE.key, MASTER.key]);
  });

  it('a client of alice never gets master: not by path, bearer, key or a signature for another path', async () => {
    const curl = { 'API-Key': 'curl-key' };
    const received = await receivedDuring(async () => {
      expect(told(await post('/accounts/master/0/private/Balance', '', curl))).toBe(DENIED);
      expect(told(await post('/0/private/Balance', '', { 'API-Key': MASTER.key }))).toBe(BAD_SIGNATURE);
      expect(told(await post('/0/private/Balance', '', { authorization: `Bearer ${MASTER.key}` }))).toBe(
        BAD_SIGNATURE,
      );
      expect(
        told(await post('/accounts/master/0/private/Balance', '', { authorization: 'Bearer curl-key' })),
      ).toBe(DENIED);
      expect(told(await prefixed(GRID, 'alice', 'Balance'))).toBe(DENIED);
      expect(told(await prefixed(SHARED, 'alice', 'Balance', '/accounts/master'))).toBe(BAD_SIGNATURE);
      expect(told(await prefixed(MASTER, 'alice', 'Balance'))).toBe(DENIED);
      expect(told(await post('/0/private/Balance', '', {}))).toBe(BAD_KEY);
    });
    expect(received).toEqual([]);
  });
});

describe('a client without a secret', () => {
  it.each([
    ['API-Key', { 'API-Key': 'curl-key' }],
    ['Authorization: Bearer', { authorization: 'Bearer curl-key' }],
    ['the same in small letters', { authorization: 'bearer curl-key' }],
  ])('is served on loopback by its key alone, in %s', async (_, headers) => {
    const received = await receivedDuring(async () => {
      expect(told(await post('/0/private/Balance', '', headers))).toBe(SERVED);
    });
    expect(received).toEqual([{ key: ALICE.key, path: '/0/private/Balance' }]);
  });

  it('a bearer does not stand in for the signature of a client with a secret', async () => {
    expect(told(await post('/0/private/Balance', 'nonce=1', { authorization: `Bearer ${GRID.key}` }))).toBe(
      BAD_SIGNATURE,
    );
  });
});

describe('what a client may call', () => {
  it('is read, trade, cancel, history and websocket when nothing is listed', async () => {
    for (const endpoint of ['Balance', 'OpenOrders', 'TradesHistory', 'GetWebSocketsToken', 'CancelAll']) {
      expect(`${endpoint} ${told(await signed(GRID, endpoint))}`).toBe(`${endpoint} ${SERVED}`);
    }
    const received = await receivedDuring(async () => {
      for (const endpoint of ['Withdraw', 'WalletTransfer', 'AddExport', 'Earn/Allocate', 'NotYetKnown']) {
        expect(`${endpoint} ${told(await signed(GRID, endpoint))}`).toBe(`${endpoint} ${DENIED}`);
      }
    });
    expect(received).toEqual([]);
  });

  it('is what is listed, without what is denied', async () => {
    expect(told(await prefixed(SHARED, 'alice', 'OpenOrders'))).toBe(SERVED);
    expect(told(await prefixed(SHARED, 'alice', 'WithdrawMethods'))).not.toBe(DENIED);
    expect(told(await prefixed(SHARED, 'alice', 'QueryOrders'))).toBe(DENIED);
    expect(told(await prefixed(SHARED, 'alice', 'AddOrder'))).toBe(DENIED);
  });

  it('is told with rule and reason in header, log and metric; no nonce is spent', async () => {
    const floor = world.sandbox.received.at(-1)?.nonce;
    const reply = await signed(GRID, 'Withdraw', 'asset=XBT&key=w&amount=1');
    expect(reply.headers).toMatchObject({
      'x-proxy-error': 'permission-denied',
      'x-proxy-error-detail': 'allow: Withdraw is not in allow',
    });
    const line = world.log.findLast(({ msg, endpoint }) => msg === 'call' && endpoint === 'Withdraw');
    expect(line).toMatchObject({
      client: 'grid',
      rule: 'allow',
      reason: 'Withdraw is not in allow',
      error: 'permission-denied',
    });
    expect(line).not.toHaveProperty('nonce');
    expect(world.sandbox.received.at(-1)?.nonce).toBe(floor);
    const labels = { client: 'grid', rule: 'allow', decision: 'denied' };
    expect((await Scrape.of(world.opsUrl)).value('decisions_total', labels)).toBeGreaterThan(0);
  });

  it('without clients is all but what moves money or nobody knows', async () => {
    const open = await openProxyWorld();
    try {
      const call = (endpoint: string): Promise<SignedReply> =>
        rawRequest(open.url, `/0/private/${endpoint}`, 'POST', '', {});
      expect(told(await call('DepositMethods'))).not.toBe(DENIED);
      for (const endpoint of [
        'Withdraw',
        'WalletTransfer',
        'AccountTransfer',
        'Earn/Allocate',
        'NotYetKnown',
      ]) {
        expect(`${endpoint} ${told(await call(endpoint))}`).toBe(`${endpoint} ${DENIED}`);
      }
      expect(open.sandbox.received.map(({ path }) => path)).toEqual(['/0/private/DepositMethods']);
    } finally {
      await open.close();
    }
  });
});

describe('credentials that have ended or come from elsewhere', () => {
  it('are refused with the right signature too', async () => {
    expect(told(await signed(EXPIRED, 'Balance'))).toBe(BAD_KEY);
    expect(told(await post('/0/private/Balance', '', { 'API-Key': 'elsewhere-key' }))).toBe(BAD_KEY);
  });
});

describe('header smuggling', () => {
  const request = (headers: string, body = ''): string =>
    `POST /0/private/Balance HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n${body}`;

  it.each([
    ['API-Key twice', 'API-Key: curl-key\r\nAPI-Key: grid-key\r\nContent-Length: 0\r\n', 200],
    ['API-Key twice, equal', 'API-Key: curl-key\r\napi-key: curl-key\r\nContent-Length: 0\r\n', 200],
    [
      'Authorization twice',
      'Authorization: Bearer curl-key\r\nAuthorization: Bearer grid-key\r\nContent-Length: 0\r\n',
      200,
    ],
    ['API-Sign twice', 'API-Key: curl-key\r\nAPI-Sign: a\r\nAPI-Sign: b\r\nContent-Length: 0\r\n', 200],
    ['a list of keys', 'API-Key: curl-key, grid-key\r\nContent-Length: 0\r\n', 200],
    ['a key with a NUL', 'API-Key: curl-key\0\r\nContent-Length: 0\r\n', 400],
    ['a key folded over two lines', 'API-Key: curl-\r\n key\r\nContent-Length: 0\r\n', 400],
    [
      'content-length and chunked',
      'API-Key: curl-key\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n',
      400,
    ],
    ['two content-lengths', 'API-Key: curl-key\r\nContent-Length: 0\r\nContent-Length: 5\r\n', 400],
    ['a key in a trailer', 'Transfer-Encoding: chunked\r\nTrailer: API-Key\r\n', 200],
  ])('with %s gets nobody in', async (name, headers, status) => {
    const body = name === 'a key in a trailer' ? '0\r\nAPI-Key: curl-key\r\n\r\n' : '';
    const received = await receivedDuring(async () => {
      const reply = await talk(world.url, request(headers, body));
      expect(reply?.status).toBe(status);
      if (status === 200) expect(reply?.headers['x-proxy-error']).toBe('invalid-key');
    });
    expect(received).toEqual([]);
  });

  it.each([
    'Balance%0d%0aAPI-Key:%20curl-key',
    'Balance\r\nAPI-Key: curl-key',
    'Balance/../Withdraw',
    'Balance;Withdraw',
  ])('a method name that carries more than a name is none: %j', async (name) => {
    const received = await receivedDuring(async () => {
      const text = `POST /0/private/${name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n`;
      const reply = await talk(world.url, text);
      // A request line without a version is HTTP/0.9 to node: what follows is a header then, and no key it knows.
      const isRefused = reply?.status === 400 || reply?.status === 404;
      expect(isRefused || reply?.headers['x-proxy-error'] === 'invalid-key').toBe(true);
    });
    expect(received).toEqual([]);
  });
});

describe('somebody who keeps trying', () => {
  it('is held back from the sixth failure on, and counted; who has the right key is not', async () => {
    const fresh = await openProxyWorld({ config: CLIENTS, slowsDown: true });
    try {
      const attempt = (): Promise<SignedReply> =>
        rawRequest(fresh.url, '/0/private/Balance', 'POST', 'nonce=1', { 'API-Key': 'nobody' });
      for (let count = 0; count < 7; count++) expect(told(await attempt())).toBe(BAD_KEY);
      const lines = fresh.log.filter(({ msg }) => msg === 'bad credentials');
      expect(lines.map(({ count, heldMs }) => [count, heldMs])).toEqual([
        [1, 0],
        [2, 0],
        [3, 0],
        [4, 0],
        [5, 0],
        [6, 100],
        [7, 200],
      ]);
      expect(lines[0]).toMatchObject({ address: '127.0.0.1', error: 'invalid-key' });
      const held = attempt();
      const good = rawRequest(fresh.url, '/0/private/Balance', 'POST', '', { 'API-Key': 'curl-key' });
      expect(await Promise.race([held.then(() => 'held'), good.then(told)])).toBe(SERVED);
      await held;
      expect((await Scrape.of(fresh.opsUrl)).value('own_errors_total', { code: 'invalid-key' })).toBe(8);
    } finally {
      await fresh.close();
    }
  });
});

it('wrong signatures are held back as wrong keys are; what the rules refuse is not', async () => {
  const fresh = await openProxyWorld({ config: CLIENTS, slowsDown: true });
  try {
    const attempt = (endpoint: string, headers: Record<string, string>): Promise<SignedReply> =>
      rawRequest(fresh.url, `/0/private/${endpoint}`, 'POST', 'nonce=1', headers);
    for (let count = 0; count < 7; count++) {
      expect(told(await attempt('Withdraw', { 'API-Key': 'curl-key' }))).toBe(DENIED);
    }
    const held = (): unknown[] =>
      fresh.log.filter(({ msg }) => msg === 'bad credentials').map(({ heldMs }) => heldMs);
    expect(held()).toEqual([]);
    for (let count = 0; count < 6; count++) {
      expect(told(await attempt('Balance', { 'API-Key': GRID.key, 'API-Sign': 'AAAA' }))).toBe(BAD_SIGNATURE);
    }
    expect(held()).toEqual([0, 0, 0, 0, 0, 100]);
  } finally {
    await fresh.close();
  }
});

it('neither keys nor secrets nor signatures reach the log', () => {
  const text = JSON.stringify(world.log);
  for (const { key, secret } of [GRID, SHARED, GUARDED, EXPIRED, MASTER, ALICE]) {
    expect(text).not.toContain(secret);
    expect(text).not.toContain(key);
  }
  expect(text).not.toContain('API-Sign:');
});
