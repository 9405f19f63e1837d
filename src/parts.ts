import { openCallPath, type CallPath } from './call-path.js';
import { steadyWallNow } from './clocks.js';
import { describeTuning, type Config } from './config.js';
import { openDoctor } from './doctor-ward.js';
import type { KeyDoctor } from './doctor/key-doctor.js';
import { TwinAlarm } from './doctor/twin-alarm.js';
import { createEvents } from './events.js';
import { InForce } from './in-force.js';
import { KrakenClock } from './kraken/kraken-clock.js';
import { Upstream } from './kraken/transport.js';
import { StartupWindow } from './lane/startup.js';
import { liveView } from './live-view.js';
import type { Log } from './log.js';
import { createMetrics, type Metrics } from './metrics.js';
import { CallHistory } from './operator/call-history.js';
import { RecentCalls } from './operator/recent-calls.js';
import { OwnedState } from './owned-state.js';
import { Policy } from './policy/policy.js';
import { PublicApi } from './public-api.js';
import { openPublicSide, type PublicSide } from './public-side.js';

export interface PartsOptions {
  readonly config: Config;
  readonly log: Log;
  readonly version: string;
  /** Names this run of the process. */
  readonly run: string;
  /** Where Kraken, or its stand-in, is. */
  readonly url: string;
  readonly userAgent: string;
}

/** The parts of a running proxy, apart from its listeners. */
export interface Parts {
  readonly inForce: InForce;
  readonly metrics: Metrics;
  readonly history: CallHistory;
  readonly recent: RecentCalls;
  readonly state: OwnedState;
  readonly startup: StartupWindow;
  readonly path: CallPath;
  readonly publicSide: PublicSide;
  readonly publicApi: PublicApi;
  readonly doctor: KeyDoctor;
  /** Asks Kraken for its time; rejects without a good answer. */
  readonly askTime: () => Promise<unknown>;
}

/** Opens what calls meet, and those who look on: nothing is listened on, and no file is touched yet. */
export function openParts({ log, version, run, url, userAgent, ...options }: PartsOptions): Parts {
  const inForce = new InForce(options.config);
  const { timeoutMs } = inForce.config.upstream;
  const metrics = createMetrics({ version, tuning: describeTuning(inForce.config) });
  const history = new CallHistory();
  const recent = new RecentCalls();
  const twins = new TwinAlarm({ isShared: inForce.config.nonce.store === 'postgres' });
  const state = new OwnedState({
    ...{ log, version, run },
    config: () => inForce.config,
    keys: () => inForce.keys,
    onNonce: (fingerprint, nonce) => {
      metrics.nonceIssued();
      twins.drawn(fingerprint, nonce);
    },
    onWrite: (seconds, error) => {
      metrics.stateWrite(seconds, error);
      if (error !== undefined)
        log.error({ err: error }, 'the nonce state was not written: the lanes stand still');
    },
  });
  const { nonces, answers, holds } = state;
  const journal = (): OwnedState['journal'] => state.journal;
  const onInvalidNonce = (name: string, nonce: string): void => {
    const account = inForce.accounts.named(name);
    if (account !== undefined) doctor.refused(account.fingerprint, BigInt(nonce));
  };
  const events = createEvents({ log, metrics, history, recent, journal, onInvalidNonce });

  // The path of a call, its parts in the order in which it meets them.
  const clock = new KrakenClock({ onSkew: events.skew, wallNow: steadyWallNow });
  const publicSide = openPublicSide({
    ...{ url, userAgent, log },
    config: () => inForce.config,
    onDate: (...seen) => clock.observe(...seen),
  });
  const { status, market, upstream, budget } = publicSide;
  const startup = new StartupWindow(liveView(() => inForce.config.startup));
  const path = openCallPath({
    ...{ nonces, answers, holds, startup, status, clock, events, tenures: state.tenures },
    config: liveView(() => inForce.config),
    accounts: inForce.accounts,
    clients: inForce.clients,
    policy: new Policy({ market, spending: state.ledger }),
    connect: () => new Upstream({ url, timeoutMs, connections: 1 }),
  });
  const publicApi = new PublicApi({ upstream, budget, record: events.record });
  const askTime = (): Promise<Buffer> => publicSide.ask('/0/public/Time');
  const doctor = openDoctor({ inForce, path, holds, twins, askTime, log, journal });
  return { inForce, metrics, history, recent, state, startup, path, publicSide, publicApi, doctor, askTime };
}
