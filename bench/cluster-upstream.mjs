/**
 * Child process: the strict sandbox, which verifies nonce and signature of every call, with the cluster bench's keys. Tells
 * its parent `{ url }`; asked `{ delayMs }`, it answers that much later from then on. Tells how many calls of one key were in
 * flight at once, at most.
 */
import { DEMO_KEYS } from '../dist/sandbox/demo-keys.js';
import { openSandbox } from '../dist/sandbox/sandbox.js';
import { botKeys } from './bots.mjs';

const [count] = process.argv.slice(2);
const keys = botKeys(Number(count));
const sandbox = await openSandbox({
  keys: [...DEMO_KEYS, ...keys],
  callCounter: false,
  keepReceived: 100,
});
process.on('disconnect', () => process.exit(0));
process.on('message', (/** @type {{ delayMs?: number }} */ { delayMs }) => {
  if (delayMs !== undefined) sandbox.fault({ kind: 'delay', delayMs, times: Infinity });
  process.send?.({ mostInFlight: Math.max(...keys.map(({ key }) => sandbox.maxInFlightOf(key))) });
});
process.send?.({ url: sandbox.url });
