import assert from 'node:assert/strict';
import { ACCOUNTS } from './proxy-process.js';

/** So many private calls have reached Kraken's place, each once, signed by the account, in one rising sequence. */
export async function assertOneSequence({ sandbox }, count, account = 'master') {
  const calls = (await sandbox.received()).filter(({ key }) => key !== undefined);
  assert.equal(calls.length, count, 'no call was repeated');
  assert.deepEqual(
    calls.filter(({ error, key }) => error !== undefined || key !== ACCOUNTS[account].key),
    [],
  );
  const nonces = calls.map(({ nonce }) => BigInt(nonce));
  assert.ok(
    nonces.every((nonce, index) => index === 0 || nonce > nonces[index - 1]),
    'nonces only rise',
  );
  assert.equal((await sandbox.state()).maxInFlight, 1);
}

/** What `act` does, Kraken's place hears nothing of it. */
export async function assertNothingSent({ sandbox }, act) {
  const { receivedCount } = await sandbox.state();
  await act();
  assert.equal((await sandbox.state()).receivedCount, receivedCount);
}

/** The two bodies differ by their nonces alone. */
export function assertSameButNonce(received, sent) {
  assert.deepEqual(halves(received.rawBody, received.nonce), halves(sent.body, sent.nonce));
}

function halves(body, nonce) {
  const parts = body.split(nonce);
  assert.equal(parts.length, 2, `one nonce ${nonce} in ${body}`);
  return parts;
}
