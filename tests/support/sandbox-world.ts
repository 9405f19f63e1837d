import { Agent } from 'node:http';

import {
  openSandbox,
  type Sandbox,
  type SandboxKey,
  type SandboxOptions,
} from '../../src/sandbox/sandbox.js';
import { signedRequest, type SignedReply } from './sign.js';

/** 64 bytes of nothing in particular. */
export const TEST_SECRET = Buffer.alloc(64, 7).toString('base64');

export const TEST_KEY: SandboxKey = { account: 'master', key: 'test-key', secret: TEST_SECRET };

/** A sandbox with its own clock, and a client that signs with rising nonces. */
export interface SandboxWorld {
  readonly sandbox: Sandbox;
  /** ms; set it to let time pass. */
  time: number;
  /** A nonce above all before. */
  nonce(): string;
  /** A form call with the next nonce; fields are encoded. */
  call(endpoint: string, fields?: Readonly<Record<string, string>>, key?: SandboxKey): Promise<SignedReply>;
  /** A JSON call with the next nonce. */
  callJson(endpoint: string, fields: Readonly<Record<string, unknown>>): Promise<SignedReply>;
  /** The result of a call that must succeed. */
  result(endpoint: string, fields?: Readonly<Record<string, string>>): Promise<unknown>;
  close(): Promise<void>;
}

export async function openWorld(options: Partial<SandboxOptions> = {}): Promise<SandboxWorld> {
  const agent = new Agent({ keepAlive: true });
  let nonce = 1_795_000_000_000_000_000n;
  const sandbox = await openSandbox({
    keys: [TEST_KEY],
    callCounter: false,
    now: () => world.time,
    ...options,
  });
  const world: SandboxWorld = {
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
  async function send(
    endpoint: string,
    key: SandboxKey,
    body: string,
    contentType: string,
  ): Promise<SignedReply> {
    const path = `/0/private/${endpoint}`;
    return await signedRequest(sandbox.url, path, key.key, key.secret, body, contentType, {}, agent);
  }
  return world;
}

/** The first E-string of a reply. */
export function errorOf(reply: SignedReply): string | undefined {
  expect(reply.status).toBe(200);
  return reply.json?.error[0];
}
