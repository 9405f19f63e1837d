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

/** The two bodies differ by their nonces alone, and by what an order is given to be found again. */
export function assertSameButNonce(received, sent) {
  assert.deepEqual(halves(withoutIds(received.rawBody), received.nonce), halves(sent.body, sent.nonce));
}

/** A body as its client wrote it, but for the nonce. */
export function withoutIds(body) {
  const id = '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}';
  const time = '[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9%A:.]+Z';
  return body
    .replace(new RegExp(`(nonce=[0-9]+)(?:&cl_ord_id=${id})?&deadline=${time}`), '$1')
    .replace(new RegExp(`(?<="nonce":"?[0-9]+"?)(?:,"cl_ord_id":"${id}")?,"deadline":"${time}"`), '')
    .replaceAll(new RegExp(`"cl_ord_id":"${id}",`, 'g'), '');
}

function halves(body, nonce) {
  const parts = body.split(nonce);
  assert.equal(parts.length, 2, `one nonce ${nonce} in ${body}`);
  return parts;
}
