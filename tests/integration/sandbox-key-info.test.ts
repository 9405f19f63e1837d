import type { Examination } from '../../src/doctor/examination.js';
import { KeyDoctor } from '../../src/doctor/key-doctor.js';
import { readKeyInfo } from '../../src/doctor/key-info.js';
import { TwinAlarm } from '../../src/doctor/twin-alarm.js';
import { rawRequest } from '../support/sign.js';
import { errorOf, openWorld, TEST_KEY, type SandboxWorld } from '../support/sandbox-world.js';

let world: SandboxWorld;

beforeEach(async () => {
  world = await openWorld({ keys: [TEST_KEY, { ...TEST_KEY, key: 'other' }] });
});
afterEach(async () => {
  await world.close();
});

/** The control plane's answer to a change of a key. */
async function edit(settings: Readonly<Record<string, unknown>>): Promise<number> {
  const body = JSON.stringify({ key: TEST_KEY.key, ...settings });
  return (await rawRequest(world.sandbox.url, '/sandbox/key', 'POST', body, {})).status;
}

const rawInfo = async (): Promise<string> => (await world.call('GetApiKeyInfo')).body.toString();

describe('GetApiKeyInfo in the sandbox', () => {
  it('tells the nonce and the time of use with the call that asks, or as they were before it', async () => {
    const start = world.time / 1_000;
    await world.call('Balance');
    world.time += 60_000;
    expect(await world.result('GetApiKeyInfo')).toMatchObject({
      nonce: '1795000000000000002',
      last_used: String(start + 60),
    });
    expect(await edit({ info: { nonce: 'before', lastUsed: 'before' } })).toBe(200);
    world.time += 60_000;
    expect(await world.result('GetApiKeyInfo')).toMatchObject({
      nonce: '1795000000000000002',
      last_used: String(start + 60),
    });
    // The other key's calls are none of its.
    await world.call('Balance', {}, { ...TEST_KEY, key: 'other' });
    await world.call('Balance', { nonce: '1' });
    expect(await world.result('GetApiKeyInfo')).toMatchObject({
      nonce: '1795000000000000003',
      last_used: String(start + 120),
    });
  });

  it('tells numbers as text or as numbers with all their digits, and names in either spelling', async () => {
    expect(await rawInfo()).toContain('"nonce":"1795000000000000001","nonce_window":"0"');
    await edit({ info: { numbers: 'number' } });
    expect(await rawInfo()).toContain('"nonce":1795000000000000002,"nonce_window":0');
    await edit({ info: { names: 'camel' } });
    expect(await rawInfo()).toMatch(/"nonceWindow":0.*"validUntil":0.*"ipAllowlist":\[\].*"lastUsed":\d+/);
  });

  it('tells what was edited, and the key does no more than that', async () => {
    const validUntil = world.time / 1_000 + 100;
    await edit({ validUntil, ipAllowlist: ['127.0.0.1'], permissions: ['query-funds'], nonceWindow: '5' });
    expect(await world.result('GetApiKeyInfo')).toMatchObject({
      valid_until: String(validUntil),
      ip_allowlist: ['127.0.0.1'],
      permissions: ['query-funds'],
      nonce_window: '5',
    });
    expect(errorOf(await world.call('OpenOrders'))).toBe('EGeneral:Permission denied');
    world.sandbox.raiseNonce(TEST_KEY.key, 1_795_000_000_000_000_006n);
    expect(errorOf(await world.call('Balance'))).toBeUndefined(); // 3 below the highest
    await edit({ nonceWindow: '0' });
    expect(errorOf(await world.call('Balance'))).toBe('EAPI:Invalid nonce');
    world.time += 99_999;
    world.sandbox.raiseNonce(TEST_KEY.key, 0n);
    for (let call = 0; call < 3; call++) await world.call('Balance');
    expect(errorOf(await world.call('Balance'))).toBeUndefined();
    world.time += 1;
    expect(errorOf(await world.call('GetApiKeyInfo'))).toBe('EAPI:Invalid key');
  });

  it('is denied to an address that is not on the list, before anything of the call counts', async () => {
    await edit({ ipAllowlist: ['198.51.100.7'] });
    expect(errorOf(await world.call('GetApiKeyInfo'))).toBe('EGeneral:Permission denied');
    expect(world.sandbox.highestNonce(TEST_KEY.key)).toBeUndefined();
    await edit({ ipAllowlist: [] });
    expect(errorOf(await world.call('GetApiKeyInfo'))).toBeUndefined();
  });

  it.each<Readonly<Record<string, unknown>>>([
    { key: 'nobody' },
    { nonce: '5' },
    { nonceWindow: 5 },
    { permissions: 'all' },
    { validUntil: -1 },
    { ipAllowlist: [1] },
    { info: { nonce: 'after' } },
    { info: { toString: 'text' } },
    { secret: 'x' },
  ])('is not changed by %j', async (settings) => {
    const before = await rawInfo();
    expect(await edit(settings)).toBe(400);
    expect((await rawInfo()).replace(/\d{19}/, '')).toBe(before.replace(/\d{19}/, ''));
  });
});

describe('the key doctor at the sandbox', () => {
  const twins = (): { alarm: TwinAlarm; doctor: KeyDoctor; told: string[] } => {
    const alarm = new TwinAlarm();
    const told: string[] = [];
    const doctor = new KeyDoctor(
      {
        accounts: () => [{ name: 'master', fingerprint: 'f', mayWithdraw: false }],
        ask: async () => await ask(alarm),
        askTime: async () => (await rawRequest(world.sandbox.url, '/0/public/Time', 'GET', '', {})).body,
        twins: alarm,
        onTwin: (account, { kind, nonce }) => void told.push(`${account} ${kind} ${nonce ?? ''}`),
      },
      { intervalMs: 0, expiryDays: 14, wallNow: () => world.time },
    );
    return { alarm, doctor, told };
  };

  async function ask(alarm: TwinAlarm): Promise<Examination> {
    const nonce = world.nonce();
    alarm.drawn('f', BigInt(nonce));
    const { body, json } = await world.call('GetApiKeyInfo', { nonce });
    const error = json?.error[0];
    const common = { nonces: [BigInt(nonce)], error, answered: true, at: world.time };
    return { ...common, body: error === undefined ? body : undefined };
  }

  it('reads what the sandbox says in every style', async () => {
    for (const numbers of ['text', 'number']) {
      for (const names of ['snake', 'camel']) {
        await edit({ validUntil: 1_900_000_000, info: { numbers, names } });
        const nonce = world.nonce();
        const info = readKeyInfo((await world.call('GetApiKeyInfo', { nonce })).body);
        expect(info).toMatchObject({
          nonce: BigInt(nonce),
          nonceWindow: 0n,
          permissions: expect.arrayContaining(['withdraw-funds', 'query-funds']) as unknown,
          ipAllowlist: [],
          validUntil: 1_900_000_000_000,
          lastUsed: world.time,
        });
      }
    }
  });

  it('finds what is wrong with a key, in an order that helps', async () => {
    const { doctor } = twins();
    await edit({ validUntil: world.time / 1_000 + 3_600, nonceWindow: '1000' });
    const codes = (await doctor.examine()).map(({ code, severity }) => `${severity} ${code}`);
    expect(codes).toEqual([
      'error key-expiring',
      'warning nonce-window',
      'warning withdraw-allowed',
      'warning ip-open',
    ]);
    await edit({ ipAllowlist: ['198.51.100.7'] });
    expect((await doctor.examine()).map(({ code }) => code)).toEqual(['ip-not-allowed']);
    world.time += 3_600_000;
    expect((await doctor.examine()).map(({ code }) => code)).toEqual(['key-expired']);
  });

  it.each(['before', 'including'] as const)('tells a twin, with the nonce %s the call', async (nonce) => {
    const { alarm, doctor, told } = twins();
    await edit({ info: { nonce, numbers: 'number' } });
    await doctor.examine();
    const own = world.nonce();
    alarm.drawn('f', BigInt(own));
    await world.call('Balance', { nonce: own });
    await doctor.examine();
    expect(told).toEqual([]);
    // Another program signs with the key.
    const others = world.nonce();
    expect(errorOf(await world.call('Balance', { nonce: others }))).toBeUndefined();
    await doctor.examine();
    expect(told).toEqual(nonce === 'before' ? [`master nonce ${others}`] : []);
    // It goes so far ahead that ours are refused: that needs no nonce of Kraken's to be told.
    world.sandbox.raiseNonce(TEST_KEY.key, BigInt(others) + 1_000_000n);
    const refused = world.nonce();
    alarm.drawn('f', BigInt(refused));
    expect(errorOf(await world.call('Balance', { nonce: refused }))).toBe('EAPI:Invalid nonce');
    doctor.refused('f', BigInt(refused));
    expect(told.at(-1)).toBe(`master refused ${refused}`);
    expect(doctor.findings[0]).toMatchObject({ code: 'twin', severity: 'error' });
  });
});
