/**
 * Child process: Kraken's part, played by the strict sandbox, which verifies nonce and signature of every call:
 * wrong bytes fail the bench. `node upstream.mjs <delayMs>`; tells its parent `{ url }`.
 */
import { DEMO_KEYS } from '../dist/sandbox/demo-keys.js';
import { openSandbox } from '../dist/sandbox/sandbox.js';
import { botKeys, MOST_CLIENTS } from './bots.mjs';

const sandbox = await openSandbox({
  keys: [...DEMO_KEYS, ...botKeys(MOST_CLIENTS)],
  callCounter: false,
  delayMs: Number(process.argv[2]),
  keepReceived: 100,
});
process.on('disconnect', () => process.exit(0));
process.send?.({ url: sandbox.url });
