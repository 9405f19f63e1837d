import { OwnedAnswers } from '../../src/answers/owned-answers.js';
import { openCallPath } from '../../src/call-path.js';
import { Clients } from '../../src/clients.js';
import { parseConfig } from '../../src/config.js';
import { ProxyError } from '../../src/errors.js';
import { Holds } from '../../src/holds/holds.js';
import { createAccount } from '../../src/kraken/account.js';
import { Accounts } from '../../src/kraken/accounts.js';
import { KrakenClock } from '../../src/kraken/kraken-clock.js';
import { Upstream } from '../../src/kraken/transport.js';
import { StartupWindow } from '../../src/lane/startup.js';
import { SOLE_TENURES } from '../../src/lane/tenure.js';
import { UNNAMED_RULES } from '../../src/policy/unnamed-rules.js';
import { openSandbox } from '../../src/sandbox/sandbox.js';
import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';
import { testConfig } from '../support/proxy-world.js';

it('a nonce that was drawn while the state was ours is not used once it is another’s: nothing is sent', async () => {
  const sandbox = await openSandbox({ keys: DEMO_KEYS, callCounter: false });
  const config = parseConfig(JSON.stringify(testConfig(sandbox.url)), {
    file: '/etc/proxy.config.json',
    env: {},
  });
  const accounts = config.accounts.map(createAccount);
  let draws = 0;
  const path = openCallPath({
    config,
    accounts: new Accounts(accounts),
    holds: new Holds(),
    clients: new Clients({
      accounts,
      defaultAccount: 'master',
      clients: undefined,
      otherwise: UNNAMED_RULES,
    }),
    policy: {
      decide: () => ({ denied: undefined, reported: [], inTurn: undefined, settle: () => undefined }),
      forgetOpenOrders: () => undefined,
    },
    nonces: {
      draw: () => {
        draws++;
        return 1_800_000_000_000_000_000n;
      },
      lift: () => Promise.resolve(),
      assertOwned: () => {
        throw new ProxyError('not-owner', 'the state was lost');
      },
    },
    answers: new OwnedAnswers(),
    startup: new StartupWindow(config.startup),
    tenures: SOLE_TENURES,
    clock: new KrakenClock(),
    status: { suspect: () => undefined, problem: undefined },
    connect: () => new Upstream({ url: sandbox.url, timeoutMs: 5_000, connections: 1 }),
    events: {
      record: () => undefined,
      breaker: () => undefined,
      settled: () => undefined,
      skew: () => undefined,
      invalidNonce: () => undefined,
      trouble: () => undefined,
    },
  });
  const who = { apiKey: undefined, apiSign: undefined, authorization: undefined, pathAccount: undefined };
  const from = {
    address: '127.0.0.1',
    certificate: undefined,
    requestId: '1',
    headers: {},
    skipStartup: false,
  };
  const readBody = (): Promise<Buffer> => Promise.resolve(Buffer.alloc(0));
  // A read and a cancel are repeated after a lost reply: this is none.
  for (const [count, endpoint] of ['Balance', 'CancelAll', 'AddExport'].entries()) {
    const call = { endpoint, path: `/0/private/${endpoint}`, contentType: undefined };
    const { reply } = path.proxy.call({ ...who, ...from, ...call, readBody });
    await expect(reply).rejects.toMatchObject({ code: 'not-owner' });
    expect(draws).toBe(count + 1);
  }
  expect(sandbox.receivedCount).toBe(0);
  await path.close(1_000);
  await sandbox.close();
});
