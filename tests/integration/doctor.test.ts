import { randomBytes } from 'node:crypto';
import { TestClient } from '../support/http.js';
import { Scrape } from '../support/metrics.js';
import {
  openProxyWorld,
  type ConfigParts,
  type ProxyWorld,
  type WorldOptions,
} from '../support/proxy-world.js';
import { signedRequest } from '../support/sign.js';
import { until } from '../support/until.js';
import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';

let world: ProxyWorld;
let bot: TestClient;

const [master = { account: '', key: '', secret: '' }] = DEMO_KEYS;
const ORDER = { pair: 'XBTUSD', type: 'buy', ordertype: 'limit', price: '10000', volume: '1' };

async function open(config: ConfigParts = {}, sandbox: WorldOptions['sandbox'] = {}): Promise<void> {
  const doctor = { enabled: true, intervalMs: 0, ...(config.doctor as object | undefined) };
  world = await openProxyWorld({ config: { ...config, doctor }, sandbox });
  bot = new TestClient(world.url);
  await until(
    () => world.sandbox.received.filter(({ endpoint }) => endpoint === 'GetApiKeyInfo').length >= 2,
  );
}
afterEach(async () => {
  bot.close();
  await world.close();
});

async function examine(): Promise<readonly { account: string | null; code: string; severity: string }[]> {
  const { status, body } = await world.act('doctor');
  expect(status).toBe(200);
  return body.findings as Awaited<ReturnType<typeof examine>>;
}

async function codesOf(account: string | null): Promise<string[]> {
  return (await examine()).filter((one) => one.account === account).map(({ code }) => code);
}

/** A call that another program makes with the key of master, past the proxy. */
async function twinCalls(nonce = `${BigInt(Date.now()) * 1_000_000n}`): Promise<string> {
  const { url } = world.sandbox;
  const reply = await signedRequest(url, '/0/private/Balance', master.key, master.secret, `nonce=${nonce}`);
  return reply.json?.error[0] ?? 'well';
}

it('every key is examined at the start, before all calls; what is found shows wherever an operator looks', async () => {
  await open();
  expect(await codesOf('master')).toEqual(['withdraw-allowed', 'ip-open']);
  const shown = { account: 'alice', code: 'ip-open', severity: 'warning' };
  expect((await world.status()).findings).toContainEqual(expect.objectContaining(shown));
  const operator = new TestClient(world.opsUrl);
  const ready = JSON.parse((await operator.raw('GET', '/readyz')).body.toString()) as { findings: unknown[] };
  operator.close();
  expect(ready.findings).toContainEqual(expect.objectContaining(shown));
  const scrape = await Scrape.of(world.opsUrl);
  expect(scrape.value('findings', { account: 'alice', code: 'ip-open', severity: 'warning' })).toBe(1);
  expect(world.log).toContainEqual(expect.objectContaining({ level: 40, account: 'alice', code: 'ip-open' }));
});

it('a key that may withdraw is no finding where a client may', async () => {
  const clients = { owner_bot: { key: 'bot', accounts: ['master'], allow: ['read', 'withdraw'] } };
  await open({ clients });
  expect(await codesOf('master')).toEqual(['ip-open']);
  expect(await codesOf('alice')).toEqual(['withdraw-allowed', 'ip-open']);
});

it('a key that Kraken does not know, and a wrong secret, are errors', async () => {
  const accounts = {
    master: { key: 'nobody', secret: randomBytes(64).toString('base64') },
    alice: { key: DEMO_KEYS[1]?.key, secret: randomBytes(64).toString('base64') },
  };
  world = await openProxyWorld({ config: { accounts, doctor: { enabled: true, intervalMs: 0 } } });
  bot = new TestClient(world.url);
  await until(
    async () => (await world.status()).findings.filter(({ severity }) => severity === 'error').length === 2,
  );
  const found = (await world.status()).findings.map(({ account, code }) => [account, code]);
  expect(found).toEqual(
    expect.arrayContaining([
      ['master', 'key-unknown'],
      ['alice', 'signature-wrong'],
    ]),
  );
  // Their breakers are open: to examine them again asks Kraken nothing.
  const received = world.sandbox.receivedCount;
  expect(await codesOf('master')).toContain('key-unknown');
  expect(
    world.sandbox.received.slice(received).filter(({ endpoint }) => endpoint === 'GetApiKeyInfo'),
  ).toEqual([]);
});

it('a key about to expire, one with a nonce window and one elsewhere’s list are told', async () => {
  await open();
  const soon = Math.floor(Date.now() / 1_000) + 3 * 86_400;
  world.sandbox.setKey(master.key, { validUntil: soon, nonceWindow: 5_000n });
  world.sandbox.setKey(DEMO_KEYS[1]?.key ?? '', { ipAllowlist: ['192.0.2.7'] });
  const found = await examine();
  const codes = (account: string): string[] =>
    found.filter((one) => one.account === account).map(({ code }) => code);
  expect(codes('master')).toEqual(expect.arrayContaining(['key-expiring', 'nonce-window']));
  expect(codes('alice')).toContain('ip-not-allowed');
});

describe('the twin alarm', () => {
  it('tells that another program uses the key', async () => {
    await open();
    world.sandbox.setKey(master.key, { info: { nonce: 'before' } });
    expect(await codesOf('master')).not.toContain('twin');
    expect(await twinCalls()).toBe('well');
    const twin = { account: 'master', code: 'twin', severity: 'error' };
    expect(await examine()).toContainEqual(expect.objectContaining(twin));
    expect((await world.status()).accounts[0]?.hold).toBeNull(); // it warns
  });

  it('says nothing of our own calls, refused and lost ones among them', async () => {
    await open();
    world.sandbox.setKey(master.key, { info: { nonce: 'before' } });
    await examine();
    for (const kind of ['reset-before', 'reset-after', 'error'] as const) {
      world.sandbox.fault(kind === 'error' ? { kind, error: 'EService:Busy' } : { kind });
      await bot.private('Balance');
      await bot.private('AddOrder', { ...ORDER, pair: 'nonsense' });
      expect(await codesOf('master')).not.toContain('twin');
    }
    world.sandbox.fault({ kind: 'reset-after' });
    expect((await bot.private('AddOrder', ORDER)).headers['x-proxy-outcome']).toBe('settled');
    expect(await codesOf('master')).not.toContain('twin');
  });

  it('with freeze lets only cancels and reads through until an operator resumes the account', async () => {
    await open({ doctor: { twin: 'freeze' } });
    world.sandbox.setKey(master.key, { info: { nonce: 'before' } });
    await examine();
    await twinCalls();
    await examine();
    expect((await world.status()).accounts[0]?.hold).toMatchObject({ mode: 'freeze', who: 'twin alarm' });
    const order = await bot.private('AddOrder', ORDER);
    expect(order.headers['x-proxy-error']).toBe('permission-denied');
    expect(order.headers['x-proxy-error-detail']).toContain('account master is frozen');
    expect((await bot.private('CancelAll')).json?.error).toEqual([]);
    expect((await bot.private('AddOrder', ORDER, '/accounts/alice')).json?.error).toEqual([]);
    expect((await Scrape.of(world.opsUrl)).value('held', { target: 'account', mode: 'freeze' })).toBe(1);
    expect((await world.act('resume', { account: 'master' })).status).toBe(200);
    expect((await bot.private('AddOrder', ORDER)).json?.error).toEqual([]);
  });

  it('hears of it when Kraken calls our fresh nonces invalid', async () => {
    await open({ doctor: { twin: 'freeze' }, nonce: { liftMs: 0 } });
    await examine();
    // Far ahead of our clock: our next nonces are below it.
    expect(await twinCalls(`${(BigInt(Date.now()) + 3_600_000n) * 1_000_000n}`)).toBe('well');
    expect((await bot.private('Balance')).json?.error).toEqual(['EAPI:Invalid nonce']);
    const status = await world.status();
    expect(status.findings).toContainEqual(expect.objectContaining({ account: 'master', code: 'twin' }));
    expect(status.accounts[0]?.hold).toMatchObject({ mode: 'freeze' });
  });
});

describe('a nonce jump', () => {
  it('is planned from what Kraken has seen, said, and made by the id of its plan, once', async () => {
    await open({ nonce: { liftMs: 0 } });
    // A window lets our calls through below what the key has seen.
    world.sandbox.setKey(master.key, { nonceWindow: 7_200_000n * 1_000_000n });
    const seen = (BigInt(Date.now()) + 3_600_000n) * 1_000_000n;
    expect(await twinCalls(String(seen))).toBe('well');
    const { status, body: plan } = await world.act('nonce-jump/plan', { account: 'master' });
    expect(status).toBe(200);
    expect(plan).toMatchObject({ account: 'master', to: String(seen + 1_000_000_000n) });
    expect(plan.cause).toContain('1.00 h above ours');
    expect(plan.meaning).toContain('cannot be undone');
    expect((await world.status()).accounts[0]?.keyFloor).toBeNull(); // nothing is done yet
    world.sandbox.setKey(master.key, { nonceWindow: 0n });
    expect((await bot.private('Balance')).json?.error).toEqual(['EAPI:Invalid nonce']);
    expect((await world.act('nonce-jump/apply', { plan: 'nosuchplan' })).status).toBe(409);
    expect((await world.act('nonce-jump/apply', { plan: plan.plan })).body).toEqual({ floor: plan.to });
    expect((await bot.private('Balance')).json?.error).toEqual([]);
    expect((await world.act('nonce-jump/apply', { plan: plan.plan })).status).toBe(409);
    // The other key stays where the clock is.
    const [, alice] = (await world.status()).accounts;
    expect(alice?.keyFloor).toBeNull();
  });

  it.each([
    [{ account: 'master' }, 'no nonce above ours'],
    [{ account: 'bob', distance: '1h' }, 'no account'],
    [{ distance: '8d' }, 'at most 7d'],
  ])('%j is refused', async (fields, why) => {
    await open();
    const { status, body } = await world.act('nonce-jump/plan', fields);
    expect(status).toBeGreaterThanOrEqual(400);
    expect(body.error?.message).toContain(why);
  });
});
