/**
 * A key with two-factor authentication whose otp the bots send themselves: the proxy's own questions went without it,
 * Kraken called their signature invalid, and the key's breaker opened for everybody and never closed again.
 */
import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';
import { TestClient } from '../support/http.js';
import { openProxyWorld, type ProxyWorld } from '../support/proxy-world.js';

const OTP = '314159';
const ORDER = { pair: 'XBTUSD', type: 'buy', ordertype: 'limit', price: '10000', volume: '0.01', otp: OTP };
const CLIENTS = {
  one: { key: 'one', accounts: ['master'] },
  other: { key: 'other', accounts: ['master'] },
};

let world: ProxyWorld;
let client: TestClient;
beforeEach(async () => {
  const keys = DEMO_KEYS.map((key) => (key.account === 'master' ? { ...key, otp: OTP } : key));
  world = await openProxyWorld({ sandbox: { keys }, config: { clients: CLIENTS } });
  client = new TestClient(world.url, { 'API-Key': 'one' });
});
afterEach(async () => {
  client.close();
  await world.close();
});

async function expectKeyWorks(): Promise<void> {
  expect((await client.private('Balance', { otp: OTP })).json?.error).toEqual([]);
}

it('a lost order is unknown, and the key goes on', async () => {
  world.sandbox.fault({ kind: 'reset-after', endpoint: 'AddOrder' });
  expect((await client.private('AddOrder', ORDER)).json?.error).toEqual(['EProxy:Outcome unknown']);
  await expectKeyWorks();
});

it('a wrong one is its client’s affair', async () => {
  const wrong = await client.private('Balance', { otp: '000000' });
  expect(wrong.json?.error).toEqual(['EAPI:Invalid signature']);
  await expectKeyWorks();
});

it('the dead man’s switch of two clients keeps it', async () => {
  const other = new TestClient(world.url, { 'API-Key': 'other' });
  await client.private('CancelAllOrdersAfter', { timeout: '30', otp: OTP });
  const armed = await other.private('CancelAllOrdersAfter', { timeout: '60', otp: OTP });
  expect(armed.json?.error).toEqual([]);
  other.close();
  await expectKeyWorks();
});
