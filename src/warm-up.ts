import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Answers } from './answers/known-answers.js';
import { SOLE_TENURES } from './lane/tenure.js';
import { openCallPath } from './call-path.js';
import { Clients } from './clients.js';
import type { Config } from './config.js';
import { Listener } from './http/listener.js';
import { Holds } from './holds/holds.js';
import { createAccount } from './kraken/account.js';
import { Accounts } from './kraken/accounts.js';
import { KrakenClock } from './kraken/kraken-clock.js';
import { Upstream } from './kraken/transport.js';
import { StartupWindow } from './lane/startup.js';
import { UNNAMED_RULES } from './policy/unnamed-rules.js';
import type { Proxy } from './proxy.js';
import { Secret } from './secret.js';

const CALLS = 24;
const LOCALHOST = '127.0.0.1';
const NO_ANSWERS: Answers = {
  hasBodies: false,
  has: () => false,
  canceled: () => undefined,
  begin: () => {
    throw new Error('nothing has an id here');
  },
  lost: () => {
    throw new Error('no reply is lost here');
  },
};

/**
 * Takes the path of a call a few times over loopback, with a key and an upstream of its own, so that the first
 * real call does not pay for loading and compiling it: 24 ms became 4 in trials. Touches no state, no account,
 * no metric and no outside address.
 */
export async function warmUp(
  { pacing, orders }: Pick<Config, 'pacing' | 'orders'>,
  serve: (proxy: Proxy) => Parameters<typeof Listener.open>[0],
): Promise<void> {
  const kraken = createServer((request, response) => {
    request.resume().on('end', () => response.end('{"error":[],"result":{}}'));
  });
  await new Promise<void>((resolve, reject) => {
    kraken.once('error', reject).listen(0, LOCALHOST, resolve);
  });
  const upstream = new Upstream({
    url: urlOf(kraken.address() as AddressInfo),
    timeoutMs: 1_000,
    connections: 1,
  });
  const secret = new Secret(randomBytes(64).toString('base64'));
  const account = createAccount({ name: 'warm-up', key: 'warm-up', secret, otp: undefined });
  const path = openCallPath({
    config: {
      lanes: 'global',
      queue: { maxWaiting: 1, maxWaitMs: 1_000, maxWaitMsOf: {} },
      pacing: { ...pacing, enabled: false, engine: 'off' },
      orders,
      breaker: { pauseMs: 1_000, lockoutMs: 1_000, maxPauseMs: 1_000 },
      accounts: [],
    },
    accounts: new Accounts([account]),
    holds: new Holds(),
    startup: new StartupWindow({ windowMs: 0, maxPerSecond: 1, minIntervalMs: 0 }),
    status: { suspect: () => undefined, problem: undefined },
    connect: () => upstream,
    answers: NO_ANSWERS,
    clients: new Clients({
      accounts: [account],
      defaultAccount: account.name,
      clients: undefined,
      otherwise: UNNAMED_RULES,
    }),
    policy: {
      decide: () => ({ denied: undefined, reported: [], inTurn: undefined, settle: () => undefined }),

      forgetOpenOrders: () => undefined,
    },
    tenures: SOLE_TENURES,
    clock: new KrakenClock(),
    nonces: { draw: () => 1n, lift: () => Promise.resolve(), assertOwned: () => undefined },
    events: {
      record: () => undefined,
      breaker: () => undefined,
      settled: () => undefined,
      skew: () => undefined,
      invalidNonce: () => undefined,
      trouble: () => undefined,
    },
  });
  const listener = await Listener.open(serve(path.proxy), {
    host: LOCALHOST,
    port: 0,
    requestTimeoutMs: 1_000,
  });
  const bot = new Upstream({ url: listener.url, timeoutMs: 1_000, connections: 1 });
  const body = Buffer.from('pair=XBTUSD&type=buy&ordertype=limit&price=37500&volume=1.25&nonce=1');
  try {
    for (let call = 0; call < CALLS; call++) {
      await bot.send({ method: 'POST', path: '/0/private/AddOrder', headers: { host: 'localhost' }, body });
    }
  } finally {
    await Promise.all([bot.close(), path.close(0)]);
    kraken.close();
    await listener.close(100);
  }
}

function urlOf({ port }: AddressInfo): string {
  return `http://${LOCALHOST}:${port}`;
}
