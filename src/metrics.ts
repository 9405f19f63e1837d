import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import { ERROR_CODES } from './errors.js';
import type { CallOutcome, CallRecord } from './log.js';

const PREFIX = 'kraken_proxy_';
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15];
/** `nonce_rate` is the mean over this many whole seconds; `nonce_burst_rate` the highest second of a minute. */
const RATE_SECONDS = 10;
const BURST_SECONDS = 60;

/** What is read from the running parts when somebody scrapes. */
export interface Gauges {
  /** Names of the accounts, for the gauges that tell them apart. */
  readonly accounts: () => readonly string[];
  readonly callCounter: (account: string) => number;
  readonly engineCounter: (account: string) => number;
  readonly breakerSeconds: (account: string) => number;
  readonly clockOffsetSeconds: () => number;
  readonly laneWaiting: () => number;
  readonly laneInFlight: () => number;
  readonly nonceLeadSeconds: () => number;
  readonly startupWindowOpen: () => boolean;
  readonly ready: () => boolean;
  /** What the key doctor found. */
  readonly findings: () => readonly {
    readonly account: string | undefined;
    readonly code: string;
    readonly severity: string;
  }[];
  /** What an operator, or the twin alarm, holds back. */
  readonly holds: () => readonly {
    readonly account?: string;
    readonly client?: string;
    readonly mode: string;
  }[];
  /** Undefined where no journal is kept. */
  readonly journal: () =>
    { readonly lines: number; readonly lost: number; readonly problem: string | undefined } | undefined;
}

/** Calls since the start, by what became of them. */
export type CallTotals = Readonly<Record<CallOutcome, number>>;

export interface Metrics {
  /** A call has ended. */
  readonly call: (record: CallRecord, errorClass: string | undefined) => void;
  /** A request was refused before it was a call: a browser, a foreign Host. */
  readonly refusedRequest: (code: string) => void;
  /** It was found out what became of a call whose reply was lost. */
  readonly settled: (account: string, result: string) => void;
  readonly nonceIssued: () => void;
  readonly stateWrite: (seconds: number, error: unknown) => void;
  /** Connects the gauges to the parts, once these exist. */
  readonly watch: (gauges: Gauges) => void;
  /** The tuning in force is another. */
  readonly retuned: (tuning: Readonly<Record<string, string>>) => void;
  readonly totals: () => CallTotals;
  /** Nonces per second: the mean of the last 10 s, and the most in one of the last 60. */
  readonly nonceRates: () => { readonly mean: number; readonly highest: number };
  /** The Prometheus text. */
  readonly text: () => Promise<string>;
  readonly contentType: string;
}

export interface MetricsOptions {
  readonly version: string;
  /** The tuning in force, for `config_info`; nothing secret. */
  readonly tuning: Readonly<Record<string, string>>;
  /** Monotonic ms. */
  readonly now?: () => number;
}

/** Every metric of the proxy, made once per running proxy. Labels are bounded; none carries an order or a nonce. */
export function createMetrics({ version, tuning, now = () => performance.now() }: MetricsOptions): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  let gauges: Gauges | undefined;
  const gauge = (name: string, help: string, read: (from: Gauges) => number): void => {
    new Gauge({
      name: PREFIX + name,
      help,
      registers,
      collect() {
        this.set(gauges === undefined ? 0 : read(gauges));
      },
    });
  };
  /** A total that is counted elsewhere. */
  const counted = (name: string, help: string, read: (from: Gauges) => number): void => {
    new Counter({
      name: PREFIX + name,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(gauges === undefined ? 0 : read(gauges));
      },
    });
  };
  const accountGauge = (
    name: string,
    help: string,
    read: (from: Gauges) => (account: string) => number,
  ): void => {
    new Gauge({
      name: PREFIX + name,
      help,
      labelNames: ['account'],
      registers,
      collect() {
        this.reset();
        for (const account of gauges?.accounts() ?? [])
          if (gauges) this.set({ account }, read(gauges)(account));
      },
    });
  };

  const calls = new Counter({
    name: `${PREFIX}calls_total`,
    help: 'Calls answered, by what became of them.',
    labelNames: ['account', 'client', 'endpoint', 'outcome'],
    registers,
  });
  const callSeconds = new Histogram({
    name: `${PREFIX}call_seconds`,
    help: 'Whole call inside the proxy, in seconds.',
    labelNames: ['endpoint'],
    buckets: SECONDS,
    registers,
  });
  const upstreamSeconds = new Histogram({
    name: `${PREFIX}upstream_seconds`,
    help: 'From the first byte sent to Kraken to the last byte of its reply, in seconds.',
    labelNames: ['endpoint'],
    buckets: SECONDS,
    registers,
  });
  const laneWaitSeconds = new Histogram({
    name: `${PREFIX}lane_wait_seconds`,
    help: 'Wait for the turn in the lane, in seconds.',
    buckets: SECONDS,
    registers,
  });
  const issued = new Counter({ name: `${PREFIX}nonces_issued_total`, help: 'Nonces handed out.', registers });
  const upstreamErrors = new Counter({
    name: `${PREFIX}upstream_errors_total`,
    help: "Errors Kraken answered, by Kraken's own class; `transport` when no whole reply came.",
    labelNames: ['account', 'class'],
    registers,
  });
  const ownErrors = new Counter({
    name: `${PREFIX}own_errors_total`,
    help: "Calls answered with one of the proxy's own errors.",
    labelNames: ['code'],
    registers,
  });
  for (const code of ERROR_CODES) ownErrors.inc({ code }, 0);
  const decisions = new Counter({
    name: `${PREFIX}decisions_total`,
    help: "What a client's rules refused, or would have refused in report mode.",
    labelNames: ['client', 'rule', 'decision'],
    registers,
  });
  const settled = new Counter({
    name: `${PREFIX}settled_total`,
    help: 'Calls whose reply was lost, by what became of them: `done`, `not-done`, `untold`.',
    labelNames: ['account', 'result'],
    registers,
  });
  const replayed = new Counter({
    name: `${PREFIX}replayed_total`,
    help: 'Calls answered with the answer to an earlier call of the same id.',
    registers,
  });
  const merged = new Counter({
    name: `${PREFIX}merged_total`,
    help: 'Reads answered together with an equal one that waited as well.',
    registers,
  });
  const stateWrites = new Counter({
    name: `${PREFIX}state_writes_total`,
    help: 'Writes of the nonce state.',
    labelNames: ['result'],
    registers,
  });
  const stateWriteSeconds = new Histogram({
    name: `${PREFIX}state_write_seconds`,
    help: 'Time to make the nonce state durable, in seconds.',
    buckets: SECONDS,
    registers,
  });
  accountGauge(
    'call_counter',
    "Points on the call counter of the account's key.",
    (from) => from.callCounter,
  );
  accountGauge(
    'engine_counter',
    "Highest matching engine counter among the account's pairs, as far as it passes through here.",
    (from) => from.engineCounter,
  );
  accountGauge(
    'breaker_seconds',
    'Seconds until a key that Kraken turns away is tried again; 0 while it is in use.',
    (from) => from.breakerSeconds,
  );
  gauge('clock_offset_seconds', "Kraken's clock less ours; 0 while they differ by less than 2 s.", (from) =>
    from.clockOffsetSeconds(),
  );
  gauge('lane_waiting', 'Calls that wait in the lanes.', (from) => from.laneWaiting());
  gauge('lane_in_flight', 'Calls that have the slot of their lane.', (from) => from.laneInFlight());
  gauge('nonce_lead_seconds', 'How far the floor is ahead of the clock.', (from) => from.nonceLeadSeconds());
  gauge('startup_window_open', '1 while the startup window holds bursts back.', (from) =>
    from.startupWindowOpen() ? 1 : 0,
  );
  const rate = new RecentCount(now);
  gauge('nonce_rate', `Nonces per second, mean of the last ${RATE_SECONDS} s.`, () =>
    rate.mean(RATE_SECONDS),
  );
  gauge('nonce_burst_rate', `Most nonces in one second of the last ${BURST_SECONDS} s.`, () =>
    rate.highest(BURST_SECONDS),
  );
  info(registry, 'build_info', 'Version of the proxy and of Node.', { version, node: process.versions.node });
  const tuningInfo = info(registry, 'config_info', 'The tuning in force.', tuning);
  gauge('ready', '1 while calls are taken, as /readyz tells.', (from) => (from.ready() ? 1 : 0));
  gauge('journal_failing', '1 while lines of the journal cannot be written.', (from) =>
    from.journal()?.problem === undefined ? 0 : 1,
  );
  counted('journal_lines_total', 'Lines of the journal on disk.', (from) => from.journal()?.lines ?? 0);
  counted('journal_lost_total', 'Lines of the journal that were lost.', (from) => from.journal()?.lost ?? 0);
  new Gauge({
    name: `${PREFIX}findings`,
    help: 'What the key doctor has found, 1 each.',
    labelNames: ['account', 'code', 'severity'],
    registers,
    collect() {
      this.reset();
      for (const { account = 'none', code, severity } of gauges?.findings() ?? [])
        this.set({ account, code, severity }, 1);
    },
  });
  new Gauge({
    name: `${PREFIX}held`,
    help: 'How many holds there are, by whose calls they are about.',
    labelNames: ['target', 'mode'],
    registers,
    collect() {
      this.reset();
      for (const target of ['everything', 'account', 'client'])
        for (const mode of ['pause', 'cancel-only', 'freeze']) this.set({ target, mode }, 0);
      for (const { account, client, mode } of gauges?.holds() ?? [])
        this.inc({ target: account ? 'account' : client ? 'client' : 'everything', mode });
    },
  });
  const totals = { executed: 0, refused: 0, unknown: 0, 'not-sent': 0 };

  return {
    call: (record, errorClass) => {
      const { account, client, endpoint } = record;
      calls.inc({ account, client, endpoint, outcome: record.outcome });
      totals[record.outcome]++;
      callSeconds.observe({ endpoint }, record.totalMs / 1_000);
      if (record.waitMs !== undefined) laneWaitSeconds.observe(record.waitMs / 1_000);
      if (record.upstreamMs !== undefined) upstreamSeconds.observe({ endpoint }, record.upstreamMs / 1_000);
      if (record.isReplayed) replayed.inc();
      if (record.isMerged) merged.inc();
      if (record.ownError !== undefined) ownErrors.inc({ code: record.ownError });
      if (record.rule !== undefined) decisions.inc({ client, rule: record.rule, decision: 'denied' });
      for (const { rule } of record.reported) decisions.inc({ client, rule, decision: 'reported' });
      if (errorClass !== undefined) upstreamErrors.inc({ account, class: errorClass });
    },
    settled: (account, result) => settled.inc({ account, result }),
    refusedRequest: (code) => ownErrors.inc({ code }),
    nonceIssued: () => {
      issued.inc();
      rate.add();
    },
    stateWrite: (seconds, error) => {
      stateWrites.inc({ result: error === undefined ? 'ok' : 'failed' });
      stateWriteSeconds.observe(seconds);
    },
    watch: (from) => {
      gauges = from;
    },
    retuned: (labels) => {
      tuningInfo.reset();
      tuningInfo.set({ ...labels }, 1);
    },
    totals: () => ({ ...totals }),
    nonceRates: () => ({ mean: rate.mean(RATE_SECONDS), highest: rate.highest(BURST_SECONDS) }),
    text: () => registry.metrics(),
    contentType: registry.contentType,
  };
}

/** Counts events by the second, for the last minute. */
class RecentCount {
  readonly #now: () => number;
  readonly #counts = new Float64Array(BURST_SECONDS + 1);
  #second = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  add(): void {
    this.#advance();
    const index = this.#second % this.#counts.length;
    this.#counts[index] = (this.#counts[index] ?? 0) + 1;
  }

  mean(seconds: number): number {
    return this.#last(seconds).reduce((sum, count) => sum + count, 0) / seconds;
  }

  highest(seconds: number): number {
    return Math.max(...this.#last(seconds));
  }

  /** The counts of the last whole seconds; the running one would read low. */
  #last(seconds: number): number[] {
    this.#advance();
    const { length } = this.#counts;
    return Array.from(
      { length: seconds },
      (_, back) => this.#counts[(this.#second - 1 - back + length) % length] ?? 0,
    );
  }

  #advance(): void {
    const second = Math.floor(this.#now() / 1_000);
    const steps = Math.min(second - this.#second, this.#counts.length);
    for (let step = 0; step < steps; step++) this.#counts[(second - step) % this.#counts.length] = 0;
    this.#second = second;
  }
}

function info(
  registry: Registry,
  name: string,
  help: string,
  labels: Readonly<Record<string, string>>,
): Gauge {
  const gauge = new Gauge({
    name: PREFIX + name,
    help,
    labelNames: Object.keys(labels),
    registers: [registry],
  });
  gauge.set({ ...labels }, 1);
  return gauge;
}
