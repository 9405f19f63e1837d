import { Attempt } from './calls/attempt.js';
import { CallMemory } from './calls/call-memory.js';
import type { Answers } from './answers/known-answers.js';
import type { Clients } from './clients.js';
import { steadyWallNow } from './clocks.js';
import type { Config } from './config.js';
import type { Account } from './kraken/account.js';
import { endpointOf, type Endpoint } from './kraken/endpoints.js';
import { KrakenClock } from './kraken/kraken-clock.js';
import type { SystemStatus } from './kraken/system-status.js';
import type { Upstream, UpstreamReply } from './kraken/transport.js';
import { Breakers, type BreakerState, type ProbeAnswer } from './lane/breaker.js';
import type { LaneClass } from './lane/lane-class.js';
import { Pacer } from './lane/pacer.js';
import { Routes } from './lane/routes.js';
import { SharedReads } from './lane/shared-reads.js';
import type { StartupWindow } from './lane/startup.js';
import type { CallRecord } from './log.js';
import { DeadManSwitch } from './orders/dead-man-switch.js';
import { EngineCounter } from './orders/engine-counter.js';
import type { AskKraken } from './orders/order-lookup.js';
import { RecentOrders } from './orders/recent-orders.js';
import { OrderSafety } from './calls/order-safety.js';
import type { Policy } from './policy/policy.js';
import { Proxy } from './proxy.js';
import { Sender, type NonceSource } from './calls/sender.js';
import { SharedTokens } from './calls/shared-tokens.js';
import { Settlement, type Resolution } from './calls/settlement.js';

/** The options of the config that the path of a private call needs. */
export type CallPathConfig = Pick<Config, 'lanes' | 'queue' | 'pacing' | 'orders' | 'breaker'> & {
  readonly accounts: readonly Pick<Config['accounts'][number], 'name' | 'tier'>[];
};

export interface CallPathParts {
  readonly config: CallPathConfig;
  readonly accounts: readonly Account[];
  readonly clients: Clients;
  readonly policy: Pick<Policy, 'decide'>;
  readonly nonces: NonceSource;
  readonly answers: Answers;
  readonly startup: StartupWindow;
  readonly status: Pick<SystemStatus, 'suspect' | 'problem'>;
  /** A connection for the calls of one lane. */
  readonly connect: () => Upstream;
  readonly events: CallPathEvents;
}

/** What the operator is told. */
export interface CallPathEvents {
  /** A call has ended. */
  readonly record: (call: CallRecord) => void;
  readonly breaker: (account: string, state: BreakerState) => void;
  readonly settled: (account: string, resolution: Resolution) => void;
  /** Kraken's clock and ours are so far apart, ms. */
  readonly skew: (offsetMs: number) => void;
  /** Kraken has called every nonce of a call invalid. */
  readonly invalidNonce: (account: string, nonce: string) => void;
  /** Something went wrong beside the path of a call; trading goes on. */
  readonly trouble: (what: string, error: unknown) => void;
}

/** The opened path of private calls, and what may be seen of it. */
export interface CallPath {
  readonly proxy: Proxy;
  readonly waiting: number;
  readonly inFlight: number;
  /** Points that an account's key has spent, as far as is known. */
  readonly callCounter: (account: string) => number;
  readonly engineCounter: (account: string) => number;
  /** Seconds until an account's key is tried again; 0 while its breaker is closed. */
  readonly breakerSeconds: (account: string) => number;
  readonly clockOffsetMs: number;
  /** Fails what waits, lets what is in flight end for at most `graceMs`, then drops the connections. */
  close(graceMs: number): Promise<void>;
}

/** The proxy's own calls wait for their turn this long, ms; they are asked again. */
const OWN_WAIT_MS = 10_000;
/** A question must not hold the slot for long, ms. */
const QUESTION_MS = 5_000;
/** Until Kraken's timer is tried to be armed again, ms. */
const REARM_MS = 1_000;
const UNPACED = { begin: unspent, end: nothing, full: nothing, holdUntil: nothing };

/** Opens all parts that a private call meets. */
export function openCallPath(parts: CallPathParts): CallPath {
  const { config, accounts, events, nonces, status, startup } = parts;
  const { pacing, orders, queue } = config;
  const tierOf = new Map(config.accounts.map(({ name, tier }) => [name, tier]));
  const accountOf = new Map(accounts.map((account) => [account.fingerprint, account]));
  const nameOf = (fingerprint: string): string => accountOf.get(fingerprint)?.name ?? '';
  const tier = (account: string): 'starter' | 'intermediate' | 'pro' => tierOf.get(account) ?? 'intermediate';

  const pacer = new Pacer({
    counters: (fingerprint) => pacing.tiers[tier(nameOf(fingerprint))],
    headroom: pacing.headroom,
    reserve: pacing.reserve,
  });
  const recent = new RecentOrders();
  const engine = new EngineCounter({
    limitsOf: (account) => pacing.engineTiers[tier(account)],
    orders: recent,
  });
  const clock = new KrakenClock({ onSkew: events.skew, wallNow: steadyWallNow });
  const costOf = ({ name, cost }: Endpoint): number => (pacing.enabled ? (pacing.costs[name] ?? cost) : 0);
  const laneOptions = { ...queue, startup, ...(pacing.enabled ? { pacer } : {}) };
  const routes = new Routes(config.lanes, laneOptions, parts.connect);
  const breakers = new Breakers({
    ...config.breaker,
    probe: (fingerprint) => probe(fingerprint),
    onChange: (fingerprint, state) => {
      events.breaker(nameOf(fingerprint), state);
      if (state !== 'closed') dismiss(fingerprint);
    },
  });
  const sender = new Sender({
    nonces,
    pacer: pacing.enabled ? pacer : UNPACED,
    breakers,
    engine,
    clock,
    status,
    costOf,
    onInvalidNonce: (account, nonce) => events.invalidNonce(account.name, nonce),
    record: events.record,
  });

  /** Calls of the proxy's own, before all others. */
  const join = <T>(account: Account, cost: number, work: (upstream: Upstream) => Promise<T>): Promise<T> => {
    const { lane, upstream } = routes.of(account.fingerprint);
    const own = { class: 'own' as LaneClass, client: 'proxy', key: account.fingerprint, cost, exempt: true };
    return lane.join(() => work(upstream), { ...own, maxWaitMs: OWN_WAIT_MS }).result;
  };
  let isClosed = false;
  const hungUp = (): boolean => false;
  const asking = new Map<Account, Promise<unknown>>();
  // One at a time for an account: many lost orders must not take all turns for their questions.
  const askFor =
    (account: Account): AskKraken =>
    (name, form) => {
      const asked = (asking.get(account) ?? Promise.resolve()).then(() => ask(account, name, form));
      asking.set(
        account,
        asked.catch(() => undefined),
      );
      return asked;
    };
  const ask = (account: Account, name: Parameters<AskKraken>[0], form: string): Promise<Buffer> =>
    join(account, costOf(endpointOf(name)), (upstream) =>
      sender.ask(name, form, { upstream, account, hungUp, timeoutMs: QUESTION_MS }, 'settling'),
    );
  const probe = async (fingerprint: string): Promise<ProbeAnswer> => {
    const account = accountOf.get(fingerprint);
    if (account === undefined) return 'no-answer';
    return await join(account, 1, async (upstream) => await sender.probe({ upstream, account, hungUp }));
  };
  const dismiss = (fingerprint: string): void => {
    try {
      breakers.assertClosed(fingerprint);
    } catch (error) {
      routes.of(fingerprint).lane.dismiss(fingerprint, error as Error);
    }
  };

  const deadManSwitch = new DeadManSwitch({ onStruck: (account) => void rearm(account) });
  /** Kraken's timer has struck for one client: it is armed again for the others. */
  const rearm = async (name: string): Promise<void> => {
    const account = accounts.find((one) => one.name === name);
    if (account === undefined) return;
    try {
      await join(account, 1, async (upstream) => {
        const seconds = deadManSwitch.remaining(name);
        if (seconds === undefined || isClosed) return;
        await sender.ask(
          'CancelAllOrdersAfter',
          `timeout=${seconds}`,
          { upstream, account, hungUp },
          'dead-man',
        );
        deadManSwitch.armed(name, seconds);
      });
    } catch (error) {
      events.trouble(
        `the dead man's switch of ${name} is not armed yet for the clients that are left`,
        error,
      );
      if (!isClosed && deadManSwitch.remaining(name) !== undefined)
        setTimeout(() => void rearm(name), REARM_MS).unref();
    }
  };

  const settlement = new Settlement({
    clock,
    orders: recent,
    onTold: (resolution, account) => events.settled(account, resolution),
  });
  const memory = new CallMemory({
    answers: parts.answers,
    settlement,
    clock,
    askFor,
    maxWaitMs: Math.max(queue.maxWaitMs, ...Object.values(queue.maxWaitMsOf).map((ms) => ms ?? 0)),
    onTrouble: events.trouble,
  });
  const reads = new SharedReads<UpstreamReply>();
  const attempt = new Attempt({
    sender,
    settlement,
    memory,
    deadManSwitch,
    engine,
    orders: recent,
    reads,
    clock,
  });
  const proxy = new Proxy({
    clients: parts.clients,
    policy: parts.policy,
    safety: new OrderSafety({
      settle: orders.settle,
      merge: pacing.merge,
      chargeOf: pacing.engine === 'off' ? undefined : (...call) => engine.chargeOf(...call),
    }),
    memory,
    tokens: new SharedTokens(pacing.shareTokensMs),
    routeOf: (account) => routes.of(account.fingerprint),
    breakers,
    problem: () => status.problem,
    engine,
    attempt,
    sender,
    reads,
    costOf,
    options: {
      maxWaitMs: ({ callClass }) => queue.maxWaitMsOf[callClass] ?? queue.maxWaitMs,
      engine: pacing.engine,
      resend: orders.resend,
    },
    record: events.record,
  });

  return {
    proxy,
    get waiting() {
      return routes.waiting;
    },
    get inFlight() {
      return routes.inFlight;
    },
    callCounter: (name) => pacer.level(keyOf(accounts, name)),
    engineCounter: (name) => engine.highest(name),
    breakerSeconds: (name) => breakers.remainingSeconds(keyOf(accounts, name)),
    get clockOffsetMs() {
      return clock.offsetMs;
    },
    close: async (graceMs) => {
      isClosed = true;
      breakers.close();
      deadManSwitch.close();
      settlement.close();
      await routes.close(graceMs);
    },
  };
}

function keyOf(accounts: readonly Account[], name: string): string {
  return accounts.find((account) => account.name === name)?.fingerprint ?? '';
}

function unspent(key: string, cost: number): ReturnType<Pacer['begin']> {
  return { key, cost, ended: true };
}

function nothing(): void {
  // Where nothing is paced there is nothing to count.
}
