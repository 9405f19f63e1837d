import { Attempt } from './calls/attempt.js';
import { CallMemory } from './calls/call-memory.js';
import type { Answers } from './answers/known-answers.js';
import type { Clients } from './clients.js';
import type { Config, CounterLimits } from './config.js';
import { ProxyError } from './errors.js';
import type { Account } from './kraken/account.js';
import type { Accounts } from './kraken/accounts.js';
import { endpointOf, type Endpoint } from './kraken/endpoints.js';
import type { KrakenClock } from './kraken/kraken-clock.js';
import type { SystemStatus } from './kraken/system-status.js';
import type { Upstream, UpstreamReply } from './kraken/transport.js';
import type { TripReason } from './kraken/outcome.js';
import type { Holds } from './holds/holds.js';
import { Breakers, type BreakerState, type ProbeAnswer } from './lane/breaker.js';
import type { Tenures } from './lane/tenure.js';
import { LANE_CLASSES, type LaneClass } from './lane/lane-class.js';
import { Pacer } from './lane/pacer.js';
import { Routes } from './lane/routes.js';
import { SharedReads } from './lane/shared-reads.js';
import type { StartupWindow } from './lane/startup.js';
import { liveView } from './live-view.js';
import type { CallRecord } from './log.js';
import { DeadManSwitch } from './orders/dead-man-switch.js';
import { EngineCounter } from './orders/engine-counter.js';
import type { AskKraken } from './orders/order-lookup.js';
import { RecentOrders } from './orders/recent-orders.js';
import { OrderSafety } from './calls/order-safety.js';
import type { Policy } from './policy/policy.js';
import { Proxy } from './proxy.js';
import { Sender, type KeyAnswer, type NonceSource } from './calls/sender.js';
import { SharedKeys } from './calls/shared-state.js';
import { SharedTokens } from './calls/shared-tokens.js';
import { Settlement, type Resolution } from './calls/settlement.js';

/** The options that the path of a private call needs. They are read as they are needed: a reload may change them. */
export type CallPathConfig = Pick<Config, 'lanes' | 'queue' | 'pacing' | 'orders' | 'breaker'> & {
  readonly accounts: readonly Pick<Config['accounts'][number], 'name' | 'tier'>[];
};

export interface CallPathParts {
  readonly config: CallPathConfig;
  readonly accounts: Accounts;
  readonly clients: Pick<Clients, 'identify' | 'generation'>;
  readonly policy: Pick<Policy, 'decide' | 'forgetOpenOrders'>;
  readonly holds: Holds;
  readonly nonces: NonceSource;
  readonly answers: Answers;
  readonly startup: StartupWindow;
  readonly tenures: Tenures;
  readonly status: Pick<SystemStatus, 'suspect' | 'problem'>;
  readonly clock: KrakenClock;
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

/** How a lane stands. */
export interface LaneState {
  /** `global`, or the account that it is for. */
  readonly name: string;
  readonly inFlight: number;
  readonly waiting: number;
  readonly byClass: Readonly<Record<LaneClass, number>>;
}

/** The opened path of private calls, and what may be seen of it. */
export interface CallPath {
  readonly proxy: Proxy;
  readonly waiting: number;
  readonly inFlight: number;
  readonly lanes: () => readonly LaneState[];
  /** How many calls of each client wait, for one account or for all. */
  readonly waitingByClient: (account?: string) => ReadonlyMap<string, number>;
  /** Points that an account's key has spent, as far as is known. */
  readonly callCounter: (account: string) => number;
  readonly engineCounter: (account: string) => number;
  readonly counterLimits: (account: string) => {
    readonly call: CounterLimits;
    readonly engine: CounterLimits;
  };
  /** Seconds until an account's key is tried again; 0 while its breaker is closed. */
  readonly breakerSeconds: (account: string) => number;
  /** Why an account's key is not used; undefined while it is. */
  readonly breakerReason: (account: string) => TripReason | undefined;
  readonly clockOffsetMs: number;
  /** Asks Kraken about an account's key, before all calls that wait. Rejects with ProxyError when nothing was sent. */
  examine(account: string): Promise<KeyAnswer>;
  /** Calls of a client that wait are answered EService:Busy, certainly not sent. Gives their number. */
  drop(client: string, account: string | undefined): number;
  /** The config has changed; these keys have another secret. */
  refresh(changed: readonly string[]): void;
  /** Fails what waits, lets what is in flight end for at most `graceMs`, then drops the connections. */
  close(graceMs: number): Promise<void>;
}

/** The proxy's own calls wait for their turn this long, ms; they are asked again. */
const OWN_WAIT_MS = 10_000;
/** Calls of clients wait for an examination of their key that long at most, ms. */
const EXAMINATION_MS = 2_000;
/** A question must not hold the slot for long, ms. */
const QUESTION_MS = 5_000;
const PAUSED = 'an operator has paused these calls: certainly not sent';
const DROPPED = 'an operator has dropped the calls that waited: certainly not sent';
/** Until Kraken's timer is tried to be armed again, ms. */
const REARM_MS = 1_000;

/** Opens all parts that a private call meets. */
export function openCallPath(parts: CallPathParts): CallPath {
  const { config, accounts, clock, events, nonces, status, startup, holds } = parts;
  const nameOf = (fingerprint: string): string => accounts.withKey(fingerprint)?.name ?? '';
  const keyOf = (name: string): string => accounts.named(name)?.fingerprint ?? '';
  const tier = (account: string): Config['accounts'][number]['tier'] =>
    config.accounts.find(({ name }) => name === account)?.tier ?? 'intermediate';
  const counterLimits: CallPath['counterLimits'] = (account) => ({
    call: config.pacing.tiers[tier(account)],
    engine: config.pacing.engineTiers[tier(account)],
  });

  const pacer = new Pacer(
    Object.assign(
      liveView(() => config.pacing),
      { counters: (fingerprint: string) => counterLimits(nameOf(fingerprint)).call },
    ),
  );
  const recent = new RecentOrders();
  const engine = new EngineCounter({ limitsOf: (account) => counterLimits(account).engine, orders: recent });
  // A call that costs nothing neither waits nor counts.
  const costOf = ({ name, cost }: Endpoint): number =>
    config.pacing.enabled ? (config.pacing.costs[name] ?? cost) : 0;
  const pauses = {
    get isPausing() {
      return holds.isPausing;
    },
    pauseOf: (client: string, account: string) =>
      holds.pauseOf(client, account) === undefined ? undefined : PAUSED,
    onChange: (listener: () => void) => holds.onChange(listener),
  };
  const laneOptions = Object.assign(
    liveView(() => config.queue),
    { startup, pacer, pauses },
  );
  const routes = new Routes(config.lanes, laneOptions, parts.tenures, parts.connect);
  const breakers = new Breakers(
    Object.assign(
      liveView(() => config.breaker),
      {
        probe: (fingerprint: string) => probe(fingerprint),
        onChange: (fingerprint: string, state: BreakerState) => {
          events.breaker(nameOf(fingerprint), state);
          if (state !== 'closed') dismiss(fingerprint);
        },
      },
    ),
  );
  const sender = new Sender({
    nonces,
    pacer: {
      begin: (key, cost) => pacer.begin(key, cost),
      end: (spent, counted) => pacer.end(spent, counted),
      full: (key) => {
        if (config.pacing.enabled) pacer.full(key);
      },
      holdUntil: (key, at) => {
        if (config.pacing.enabled) pacer.holdUntil(key, at);
      },
    },
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
    const whose = { client: 'proxy', account: account.name, key: account.fingerprint };
    const own = { class: 'own' as LaneClass, ...whose, cost, exempt: true };
    return lane.join(() => work(upstream), { ...own, maxWaitMs: OWN_WAIT_MS }).result;
  };
  let isClosed = false;
  const hungUp = (): boolean => false;
  const asking = new Map<string, Promise<unknown>>();
  // One at a time for an account: many lost orders must not take all turns for their questions.
  const askFor =
    (account: Account): AskKraken =>
    (name, form) => {
      const { fingerprint } = account;
      const before = asking.get(fingerprint) ?? Promise.resolve();
      // Asked with the key that the order was sent with: another may be another account's at Kraken, which knows of no
      // such order, and no nonce of another key says that this one is too late.
      const asked = before.then(() => ask(accounts.withKey(fingerprint) ?? account, name, form));
      asking.set(
        fingerprint,
        asked.catch(() => undefined),
      );
      return asked;
    };
  const ask = (account: Account, name: Parameters<AskKraken>[0], form: string): Promise<Buffer> =>
    join(account, costOf(endpointOf(name)), (upstream) =>
      sender.ask(name, form, { upstream, account, hungUp, timeoutMs: QUESTION_MS }, 'settling'),
    );
  const probe = async (fingerprint: string): Promise<ProbeAnswer> => {
    const account = accounts.withKey(fingerprint);
    if (account === undefined) {
      setImmediate(() => breakers.forget(fingerprint)); // the key is in use no more
      return 'no-answer';
    }
    return await join(account, 1, async (upstream) =>
      // Another node may have tried the key while this one waited for the lane.
      breakers.isProbing(fingerprint) ? await sender.probe({ upstream, account, hungUp }) : 'no-answer',
    );
  };
  const dismiss = (fingerprint: string): void => {
    try {
      breakers.assertClosed(fingerprint);
    } catch (error) {
      routes.of(fingerprint).lane.dismiss(({ key }) => key === fingerprint, error as Error);
    }
  };

  const deadManSwitch = new DeadManSwitch({ onStruck: (account) => void rearm(account) });
  /** Kraken's timer has struck for one client: it is armed again for the others. */
  const rearming = new Set<string>();
  const rearm = async (name: string): Promise<void> => {
    const account = accounts.named(name);
    if (account === undefined || rearming.has(name)) return;
    rearming.add(name);
    try {
      await join(account, 1, async (upstream) => {
        const seconds = deadManSwitch.remaining(name);
        // Another node may have armed it meanwhile.
        if (seconds === undefined || isClosed || !deadManSwitch.hasStruck(name)) return;
        await sender.ask(
          'CancelAllOrdersAfter',
          `timeout=${seconds}`,
          { upstream, account, hungUp },
          'dead-man',
        );
        deadManSwitch.armed(name, seconds);
      });
      rearming.delete(name);
    } catch (error) {
      events.trouble(
        `the dead man's switch of ${name} is not armed yet for the clients that are left`,
        error,
      );
      setTimeout(() => {
        rearming.delete(name);
        if (!isClosed && deadManSwitch.remaining(name) !== undefined) void rearm(name);
      }, REARM_MS).unref();
    }
  };

  parts.tenures.share(
    new SharedKeys({
      ...{ accounts, pacer, breakers, startup, deadManSwitch },
      orders: recent,
      onForeign: () => parts.policy.forgetOpenOrders(),
    }),
  );

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
    maxWaitMs: () =>
      Math.max(config.queue.maxWaitMs, ...Object.values(config.queue.maxWaitMsOf).map((ms) => ms ?? 0)),
    onTrouble: events.trouble,
  });
  const reads = new SharedReads<UpstreamReply>();
  const chargeOf: EngineCounter['chargeOf'] = (...call) => engine.chargeOf(...call);
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
      get settle() {
        return config.orders.settle;
      },
      get merge() {
        return config.pacing.merge;
      },
      get chargeOf() {
        return config.pacing.engine === 'off' ? undefined : chargeOf;
      },
    }),
    memory,
    holds,
    tokens: new SharedTokens(() => config.pacing.shareTokensMs),
    routeOf: (account) => routes.of(account.fingerprint),
    inForce: (account) => {
      const now = accounts.named(account.name);
      if (now === undefined || now === account) return now;
      // What was taken from the body stays; and a key has its one lane.
      const isAlike = (now.otp === undefined) === (account.otp === undefined);
      const isHere = routes.of(now.fingerprint).lane === routes.of(account.fingerprint).lane;
      return isAlike && isHere ? now : account;
    },
    breakers,
    problem: () => status.problem,
    engine,
    attempt,
    sender,
    reads,
    costOf,
    options: {
      maxWaitMs: ({ callClass }) => config.queue.maxWaitMsOf[callClass] ?? config.queue.maxWaitMs,
      get engine() {
        return config.pacing.engine;
      },
      get resend() {
        return config.orders.resend;
      },
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
    lanes: () =>
      [...routes.lanes].map(([key, { lane }]) => ({
        name: key === 'global' ? key : nameOf(key) || key,
        inFlight: lane.inFlight,
        waiting: lane.waiting,
        byClass: Object.fromEntries(
          LANE_CLASSES.map((laneClass) => [laneClass, lane.waitingOf(laneClass)]),
        ) as LaneState['byClass'],
      })),
    waitingByClient: (name) => {
      const waiting = new Map<string, number>();
      for (const { lane } of routes.lanes.values()) {
        for (const [client, count] of lane.waitingByClient(name))
          waiting.set(client, (waiting.get(client) ?? 0) + count);
      }
      return waiting;
    },
    callCounter: (name) => pacer.level(keyOf(name)),
    engineCounter: (name) => engine.highest(name),
    counterLimits,
    breakerSeconds: (name) => breakers.remainingSeconds(keyOf(name)),
    breakerReason: (name) => breakers.reasonOf(keyOf(name)),
    get clockOffsetMs() {
      return clock.offsetMs;
    },
    examine: async (name) => {
      const account = accounts.named(name);
      if (account === undefined) throw new ProxyError('invalid-key', `there is no account ${name}`);
      breakers.assertClosed(account.fingerprint);
      return await join(account, costOf(endpointOf('GetApiKeyInfo')), (upstream) =>
        sender.examine({ upstream, account, hungUp, timeoutMs: EXAMINATION_MS }),
      );
    },
    drop: (client, name) => {
      let dropped = 0;
      for (const { lane } of routes.lanes.values())
        dropped += lane.dismiss(
          (call) => call.client === client && (name === undefined || call.account === name),
          new ProxyError('queue-timeout', DROPPED, { detail: DROPPED }),
        );
      return dropped;
    },
    refresh: (changed) => {
      pacer.refresh();
      for (const key of changed) breakers.retry(key);
      for (const key of breakers.keys()) if (accounts.withKey(key) === undefined) breakers.forget(key);
      for (const { lane } of routes.lanes.values()) lane.look();
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
