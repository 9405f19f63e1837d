import { Agent } from 'node:http';
import { openSandbox } from '../../src/sandbox/sandbox.js';
import { signedRequest } from './sign.js';
/** 64 bytes of nothing in particular. */
export const TEST_SECRET = Buffer.alloc(64, 7).toString('base64');
export const TEST_KEY = { account: 'master', key: 'test-key', secret: TEST_SECRET };
export async function openWorld(options = {}) {
  const agent = new Agent({ keepAlive: true });
  let nonce = 1795000000000000000n;
  const sandbox = await openSandbox({
    keys: [TEST_KEY],
    callCounter: false,
    now: () => world.time,
    ...options,
  });
  const world = {
    sandbox,
    time: Date.UTC(2026, 10, 22),
    nonce() {
      nonce += 1n;
      return nonce.toString();
    },
    async call(endpoint, fields = {}, key = TEST_KEY) {
      const body = new URLSearchParams({ nonce: world.nonce(), ...fields }).toString();
      return await send(endpoint, key, body, 'application/x-www-form-urlencoded');
    },
    async callJson(endpoint, fields) {
      const body = JSON.stringify({ nonce: world.nonce(), ...fields });
      return await send(endpoint, TEST_KEY, body, 'application/json');
    },
    async result(endpoint, fields) {
      const { json } = await world.call(endpoint, fields);
      expect(json?.error).toEqual([]);
      return json?.result;
    },
    async close() {
      agent.destroy();
      await sandbox.close();
    },
  };
  async function send(endpoint, key, body, contentType) {
    const path = `/0/private/${endpoint}`;
    return await signedRequest(sandbox.url, path, key.key, key.secret, body, contentType, {}, agent);
  }
  return world;
}
/** The first E-string of a reply. */
export function errorOf(reply) {
  expect(reply.status).toBe(200);
  return reply.json?.error[0];
}
