import { Clients } from '../../src/clients.js';
import { ProxyError } from '../../src/errors.js';
import { createAccount } from '../../src/kraken/account.js';
import { Upstream } from '../../src/kraken/transport.js';
import { Lane } from '../../src/lane/lane.js';
import { StartupWindow } from '../../src/lane/startup.js';
import { UNNAMED_RULES } from '../../src/policy/unnamed-rules.js';
import { Proxy } from '../../src/proxy.js';
import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';
import { openSandbox } from '../../src/sandbox/sandbox.js';
import { Secret } from '../../src/secret.js';

it('a nonce that was drawn while the state was ours is not used once it is another’s: nothing is sent', async () => {
  const sandbox = await openSandbox({ keys: DEMO_KEYS, callCounter: false });
  const accounts = DEMO_KEYS.map(({ account: name, key, secret }) =>
    createAccount({ name, key, secret: new Secret(secret), otp: undefined }),
  );
  const upstream = new Upstream({ url: sandbox.url, timeoutMs: 5_000, connections: 1 });
  const startup = new StartupWindow({ windowMs: 0, maxPerSecond: 1, minIntervalMs: 0 });
  const lane = new Lane({ maxWaiting: 1, maxWaitMs: 5_000, startup });
  const proxy = new Proxy({
    clients: new Clients({
      accounts,
      defaultAccount: 'master',
      clients: undefined,
      otherwise: UNNAMED_RULES,
    }),
    policy: {
      decide: () => ({ denied: undefined, reported: [], inTurn: undefined, settle: () => undefined }),
    },
    routeOf: () => ({ lane, upstream }),
    nonces: {
      draw: () => 1_800_000_000_000_000_000n,
      assertOwned: () => {
        throw new ProxyError('not-owner', 'the state was lost');
      },
    },
    record: () => undefined,
  });
  const who = { apiKey: undefined, apiSign: undefined, authorization: undefined, pathAccount: undefined };
  const from = {
    address: '127.0.0.1',
    certificate: undefined,
    requestId: '1',
    headers: {},
    skipStartup: false,
  };
  const call = {
    endpoint: 'Balance',
    path: '/0/private/Balance',
    body: Buffer.alloc(0),
    contentType: undefined,
  };
  const readBody = (): Promise<Buffer> => Promise.resolve(Buffer.alloc(0));
  const { reply } = proxy.call({ ...who, ...from, ...call, readBody });
  await expect(reply).rejects.toMatchObject({ code: 'not-owner' });
  expect(sandbox.receivedCount).toBe(0);
  await lane.close();
  await upstream.close();
  await sandbox.close();
});
