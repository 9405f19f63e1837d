import { openSandbox } from '../../src/sandbox/sandbox.js';
import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';
import { apiSign, rawRequest, signedRequest, type SignedReply } from '../support/sign.js';
import { errorOf, openWorld, TEST_KEY, TEST_SECRET, type SandboxWorld } from '../support/sandbox-world.js';

const FORM = 'application/x-www-form-urlencoded';
const BALANCE = '/0/private/Balance';

let world: SandboxWorld;

beforeEach(async () => {
  world = await openWorld();
});
afterEach(async () => {
  await world.close();
});

async function send(body: string, contentType: string | null = FORM, path = BALANCE): Promise<SignedReply> {
  return await signedRequest(world.sandbox.url, path, TEST_KEY.key, TEST_SECRET, body, contentType);
}

describe('the published signatures', () => {
  const secret = 'kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg==';
  const nonce = '1616492376594';
  const order = '"ordertype":"limit","pair":"XBTUSD","price":37500,"type":"buy","volume":1.25}';

  it.each([
    [
      '/0/private/AddOrder',
      'nonce=1616492376594&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25',
      '4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ==',
    ],
    [
      '/0/private/GetCustodyTask?id=TGWOJ4JQPOTZT2',
      '{"nonce":1616492376594}',
      '2rM09q8HG7LvjivBitQUybwZ/DSeO8+i0U/at/wclH2Jma6gMaE/0Nw9dyLR+ykMd5eWCngSL4K58i6uJzXDCw==',
    ],
    [
      '/0/private/AddOrder',
      `{"nonce":"1616492376594",${order}`,
      'BVT3EumzzXSJHlvrinSwICz5uKKlSZPXL9cJIuKqn7ZMhHSbbtXhGdvwoDBmRz6ALXI+GVxFD0ZlGuOmfi2bxA==',
    ],
    [
      '/0/private/AddOrder',
      `{"nonce":1616492376594,${order}`,
      'kt1BXzwIvefKvBv6KKk2EDnbrxEGNWetNmjmXyYDHXIJYlIwvW0mQvC/OkeGzEt4OUvVS49Qd9gSBNMfE3iZ7Q==',
    ],
  ])('%s %s', async (path, body, signature) => {
    expect(apiSign(path, nonce, body, secret)).toBe(signature);
    // The sandbox, which shares no code with apiSign, takes it for signed well.
    const key = { account: 'master', key: 'docs-key', secret };
    const sandbox = await openSandbox({ keys: [key] });
    try {
      const headers = { 'API-Key': 'docs-key', 'API-Sign': signature };
      const reply = await rawRequest(sandbox.url, path, 'POST', body, headers);
      const custody = path.includes('Custody');
      expect(errorOf(reply)).toBe(custody ? 'EGeneral:Unknown method' : undefined);
    } finally {
      await sandbox.close();
    }
  });
});

describe('what is taken for a private call', () => {
  it.each([
    ['a form', (n: string) => `nonce=${n}`, FORM],
    ['a form with a charset', (n: string) => `nonce=${n}`, `${FORM}; charset=utf-8`],
    ['a form without a Content-Type', (n: string) => `asset=ZUSD&nonce=${n}`, null],
    ['JSON with a nonce of 19 digits as a number', (n: string) => `{"nonce":${n}}`, 'application/json'],
    ['JSON with a nonce as text', (n: string) => `{"nonce":"${n}"}`, 'application/json; charset=utf-8'],
    ['JSON without a Content-Type', (n: string) => ` {"a": {"nonce": 1e5}, "nonce": ${n} }`, null],
  ])('%s', async (_name, body, contentType) => {
    const nonce = world.nonce();
    const text = body(nonce);
    const sign = apiSign(BALANCE, nonce, text, TEST_SECRET);
    const headers = {
      'API-Key': TEST_KEY.key,
      'API-Sign': sign,
      ...(contentType === null ? {} : { 'Content-Type': contentType }),
    };
    const reply = await rawRequest(world.sandbox.url, BALANCE, 'POST', text, headers);
    expect(errorOf(reply)).toBeUndefined();
    expect(world.sandbox.received[0]?.nonce).toBe(nonce);
    expect(world.sandbox.highestNonce(TEST_KEY.key)).toBe(BigInt(nonce));
  });

  it.each([
    ['JSON sent as a form', (n: string) => `{"nonce":"${n}"}`, FORM],
    ['a form sent as JSON', (n: string) => `nonce=${n}`, 'application/json'],
    ['another Content-Type', (n: string) => `nonce=${n}`, 'text/plain'],
    ['broken JSON', (n: string) => `{"nonce":"${n}",}`, 'application/json'],
    ['a JSON array', (n: string) => `[{"nonce":"${n}"}]`, 'application/json'],
    ['a broken percent escape', (n: string) => `nonce=${n}&pair=%zz`, FORM],
  ])('%s is refused as invalid arguments', async (_name, body, contentType) => {
    expect(errorOf(await send(body(world.nonce()), contentType))).toBe('EGeneral:Invalid arguments');
    expect(world.sandbox.received[0]?.executed).toBe(false);
  });

  it.each([
    ['in a form', (n: string) => `nonce=${n}&nonce=${n}`, FORM],
    ['in a form, one of them escaped', (n: string) => `nonce=${n}&n%6Fnce=1`, FORM],
    ['in JSON', (n: string) => `{"nonce":"${n}","nonce":"${n}"}`, 'application/json'],
    ['in JSON, one of them escaped', (n: string) => `{"nonce":"${n}","n\\u006fnce":1}`, 'application/json'],
  ])('two nonces %s are refused', async (_name, body, contentType) => {
    expect(errorOf(await send(body(world.nonce()), contentType))).toBe('EGeneral:Invalid arguments:nonce');
  });

  it('bytes that are not UTF-8 are refused', async () => {
    const body = Buffer.from([0x6e, 0x3d, 0xff]);
    const reply = await rawRequest(world.sandbox.url, BALANCE, 'POST', body, { 'API-Key': TEST_KEY.key });
    expect(errorOf(reply)).toBe('EGeneral:Invalid arguments');
  });

  it('unknown names, other methods and path tricks are unknown methods and spend no nonce', async () => {
    for (const name of ['Nothing', 'Balance/', '../private/Balance', 'Earn%2FStrategies', '']) {
      expect(errorOf(await world.call(name))).toBe('EGeneral:Unknown method');
    }
    const get = await rawRequest(world.sandbox.url, BALANCE, 'GET', '', {});
    expect(errorOf(get)).toBe('EGeneral:Unknown method');
    expect(world.sandbox.highestNonce(TEST_KEY.key)).toBeUndefined();
    expect((await rawRequest(world.sandbox.url, '/1/private/Balance', 'POST', '', {})).status).toBe(404);
  });

  it('a name with a slash is an endpoint', async () => {
    expect(await world.result('Earn/Allocate', { strategy_id: 'S', amount: '1' })).toBe(true);
    expect(world.sandbox.received[0]).toMatchObject({ endpoint: 'Earn/Allocate', executed: true });
  });
});

describe('signature', () => {
  it('covers the query string', async () => {
    const path = `${BALANCE}?a=1`;
    expect(errorOf(await send(`nonce=${world.nonce()}`, FORM, path))).toBeUndefined();
    const body = `nonce=${world.nonce()}`;
    const sign = apiSign(BALANCE, body.slice(6), body, TEST_SECRET);
    const reply = await rawRequest(world.sandbox.url, path, 'POST', body, {
      'API-Key': TEST_KEY.key,
      'API-Sign': sign,
    });
    expect(errorOf(reply)).toBe('EAPI:Invalid signature');
  });

  it('covers the raw bytes: a body said otherwise is refused, and spends no nonce', async () => {
    const nonce = world.nonce();
    const sign = apiSign(BALANCE, nonce, `nonce=${nonce}&a=%20`, TEST_SECRET);
    const headers = { 'API-Key': TEST_KEY.key, 'API-Sign': sign };
    const reply = await rawRequest(world.sandbox.url, BALANCE, 'POST', `nonce=${nonce}&a=+`, headers);
    expect(errorOf(reply)).toBe('EAPI:Invalid signature');
    expect(errorOf(await send(`nonce=${nonce}`))).toBeUndefined();
  });

  it('is missing: refused', async () => {
    const headers = { 'API-Key': TEST_KEY.key };
    const reply = await rawRequest(world.sandbox.url, BALANCE, 'POST', 'nonce=1', headers);
    expect(errorOf(reply)).toBe('EAPI:Invalid signature');
  });
});

describe('nonce', () => {
  it.each([
    ['missing', 'a=1'],
    ['empty', 'nonce='],
    ['zero', 'nonce=0'],
    ['with a leading zero', 'nonce=01795000000000000001'],
    ['with a sign', 'nonce=-5'],
    ['with a fraction', 'nonce=1.5'],
    ['with an exponent', '{"nonce":1e18}'],
    ['above int64', 'nonce=9223372036854775808'],
    ['above 64 bits', 'nonce=18446744073709551616'],
    ['not a number or text', '{"nonce":true}'],
  ])('%s is invalid', async (_name, body) => {
    expect(errorOf(await send(body, null))).toBe('EAPI:Invalid nonce');
    expect(world.sandbox.received[0]?.executed).toBe(false);
  });

  it('of int64 itself is good, and ends the key', async () => {
    expect(errorOf(await send('nonce=9223372036854775807'))).toBeUndefined();
    expect(errorOf(await world.call('Balance'))).toBe('EAPI:Invalid nonce');
  });

  it('repeated or lower is invalid; a call that failed has spent its own', async () => {
    expect(errorOf(await send('nonce=100', FORM, '/0/private/AddOrder'))).toBe(
      'EGeneral:Invalid arguments:pair',
    );
    expect(errorOf(await send('nonce=100'))).toBe('EAPI:Invalid nonce');
    expect(errorOf(await send('nonce=99'))).toBe('EAPI:Invalid nonce');
    expect(errorOf(await send('nonce=101'))).toBeUndefined();
  });

  it('raised from elsewhere makes lower ones invalid, and never goes down', async () => {
    world.sandbox.raiseNonce(TEST_KEY.key, 1_840_000_000_000_000_000n);
    expect(errorOf(await world.call('Balance'))).toBe('EAPI:Invalid nonce');
    world.sandbox.raiseNonce(TEST_KEY.key, 5n);
    expect(world.sandbox.highestNonce(TEST_KEY.key)).toBe(1_840_000_000_000_000_000n);
  });

  it('inside the window is good once; at its edge and below it is not', async () => {
    await world.close();
    world = await openWorld({ keys: [{ ...TEST_KEY, nonceWindow: 10n }] });
    expect(errorOf(await send('nonce=100'))).toBeUndefined();
    expect(errorOf(await send('nonce=91'))).toBeUndefined();
    expect(errorOf(await send('nonce=91'))).toBe('EAPI:Invalid nonce');
    expect(errorOf(await send('nonce=100'))).toBe('EAPI:Invalid nonce');
    expect(errorOf(await send('nonce=90'))).toBe('EAPI:Invalid nonce');
    expect(errorOf(await send('nonce=105'))).toBeUndefined();
    expect(errorOf(await send('nonce=95'))).toBe('EAPI:Invalid nonce');
    expect(errorOf(await send('nonce=96'))).toBeUndefined();
  });

  it('is kept per key, for keys of one account too', async () => {
    await world.close();
    const second = { ...TEST_KEY, key: 'second-key' };
    world = await openWorld({ keys: [TEST_KEY, second] });
    expect(errorOf(await world.call('Balance', { nonce: '1000' }))).toBeUndefined();
    expect(errorOf(await world.call('Balance', { nonce: '999' }, second))).toBeUndefined();
    expect(errorOf(await world.call('Balance', { nonce: '1000' }))).toBe('EAPI:Invalid nonce');
  });
});

describe('otp', () => {
  it('missing or wrong is an invalid signature', async () => {
    await world.close();
    world = await openWorld({ keys: [{ ...TEST_KEY, otp: 'static' }] });
    expect(errorOf(await world.call('Balance'))).toBe('EAPI:Invalid signature');
    expect(errorOf(await world.call('Balance', { otp: 'other' }))).toBe('EAPI:Invalid signature');
    expect(errorOf(await world.call('Balance', { otp: 'static' }))).toBeUndefined();
  });

  it('is asked for by the clock', async () => {
    await world.close();
    const otp = (now: number): readonly string[] => [String(Math.floor(now / 30_000))];
    world = await openWorld({ keys: [{ ...TEST_KEY, otp }] });
    const code = otp(world.time)[0] ?? '';
    expect(errorOf(await world.call('Balance', { otp: code }))).toBeUndefined();
    world.time += 30_000;
    expect(errorOf(await world.call('Balance', { otp: code }))).toBe('EAPI:Invalid signature');
  });
});

describe('lockout', () => {
  it('comes after five calls with an unknown key, and each further attempt starts it anew', async () => {
    const unknown = { ...TEST_KEY, key: 'who' };
    for (let i = 0; i < 5; i += 1) {
      expect(errorOf(await world.call('Balance', {}, unknown))).toBe('EAPI:Invalid key');
    }
    expect(errorOf(await world.call('Balance', {}, unknown))).toBe('EGeneral:Temporary lockout');
    world.time += 299_999;
    expect(errorOf(await world.call('Balance', {}, unknown))).toBe('EGeneral:Temporary lockout');
    world.time += 299_999;
    expect(errorOf(await world.call('Balance', {}, unknown))).toBe('EGeneral:Temporary lockout');
    world.time += 300_000;
    expect(errorOf(await world.call('Balance', {}, unknown))).toBe('EAPI:Invalid key');
    expect(errorOf(await world.call('Balance'))).toBeUndefined();
  });

  it('comes after thirty invalid nonces in a row, and not when a good call comes between', async () => {
    expect(errorOf(await send('nonce=100'))).toBeUndefined();
    for (let i = 0; i < 29; i += 1) expect(errorOf(await send('nonce=1'))).toBe('EAPI:Invalid nonce');
    expect(errorOf(await send('nonce=101'))).toBeUndefined();
    for (let i = 0; i < 30; i += 1) expect(errorOf(await send('nonce=1'))).toBe('EAPI:Invalid nonce');
    expect(errorOf(await send('nonce=102'))).toBe('EGeneral:Temporary lockout');
  });
});

describe('REST call counter', () => {
  it.each([
    ['starter', 15, 3100],
    ['intermediate', 20, 2000],
    ['pro', 20, 1000],
  ] as const)('of tier %s holds %i calls and gains one in %i ms', async (tier, most, gainMs) => {
    await world.close();
    world = await openWorld({ keys: [{ ...TEST_KEY, tier }], callCounter: true });
    for (let i = 0; i < most; i += 1) expect(errorOf(await world.call('Balance'))).toBeUndefined();
    expect(world.sandbox.counter(TEST_KEY.key)).toBe(most);
    expect(errorOf(await world.call('Balance'))).toBe('EAPI:Rate limit exceeded');
    expect(world.sandbox.received.at(-1)?.executed).toBe(false);
    expect(errorOf(await world.call('CancelOrder', { txid: 'O' }))).toBe('EOrder:Invalid order');
    world.time += gainMs;
    expect(errorOf(await world.call('Balance'))).toBeUndefined();
    world.sandbox.setCallCounter(false);
    expect(errorOf(await world.call('Balance'))).toBeUndefined();
  });

  it('takes four for history, one for the rest, nothing for orders', async () => {
    world.sandbox.setCallCounter(true);
    await world.call('AddOrder');
    await world.call('CancelOrder');
    expect(world.sandbox.counter(TEST_KEY.key)).toBe(0);
    await world.result('Ledgers');
    await world.result('TradesHistory');
    expect(world.sandbox.counter(TEST_KEY.key)).toBe(8);
    await world.result('CancelAll');
    expect(world.sandbox.counter(TEST_KEY.key)).toBe(9);
  });
});

it('counts the calls refused for their nonce or by the call counter, and not what a fault answered', async () => {
  await world.close();
  world = await openWorld({ callCounter: true });
  for (let i = 0; i < 22; i += 1) await world.call('Balance');
  for (const nonce of ['0', '1', 'x']) await world.call('Balance', { nonce });
  for (const error of ['EAPI:Rate limit exceeded', 'EAPI:Invalid nonce']) {
    world.sandbox.fault({ kind: 'error', error });
    expect(errorOf(await world.call('Balance'))).toBe(error);
  }
  await world.call('Balance', {}, { ...TEST_KEY, key: 'who' });
  expect([world.sandbox.rateLimited, world.sandbox.invalidNonces]).toEqual([2, 3]);
  // The answer was lost; the refusal was not.
  world.sandbox.fault({ kind: 'reset-after' });
  await expect(world.call('Balance', { nonce: '1' })).rejects.toMatchObject({ code: 'ECONNRESET' });
  expect(world.sandbox.invalidNonces).toBe(4);
});

it('permissions let a key do no more than they say', async () => {
  await world.close();
  world = await openWorld({ keys: [{ ...TEST_KEY, permissions: ['query-funds', 'close-trades'] }] });
  expect(errorOf(await world.call('Balance'))).toBeUndefined();
  for (const endpoint of ['OpenOrders', 'AddOrder', 'EditOrder', 'Withdraw', 'GetWebSocketsToken']) {
    expect(errorOf(await world.call(endpoint))).toBe('EGeneral:Permission denied');
  }
  expect(errorOf(await world.call('CancelAll'))).toBeUndefined();
  expect(await world.result('GetApiKeyInfo')).toMatchObject({ permissions: ['query-funds', 'close-trades'] });
  const transfer = { asset: 'XBT', from: 'Spot Wallet', to: 'Futures Wallet', amount: '1' };
  expect(errorOf(await world.call('WalletTransfer', transfer))).toBeUndefined();
});

it('what was received is kept in order, and no more than was asked for', async () => {
  await world.close();
  world = await openWorld({ keepReceived: 10 });
  for (let i = 0; i < 120; i += 1) await world.call('Balance');
  expect(world.sandbox.receivedCount).toBe(120);
  expect(world.sandbox.received.map((call) => call.seq)).toEqual([...Array(10).keys()].map((i) => i + 111));
});

it('the demo keys work', async () => {
  const sandbox = await openSandbox({ keys: DEMO_KEYS });
  try {
    for (const { key, secret } of DEMO_KEYS) {
      expect(Buffer.from(secret, 'base64')).toHaveLength(64);
      expect(errorOf(await signedRequest(sandbox.url, BALANCE, key, secret, 'nonce=1'))).toBeUndefined();
    }
  } finally {
    await sandbox.close();
  }
});
