import { newCallRecord, type CallRecord } from '../../src/log.js';
import { createMetrics, type Metrics } from '../../src/metrics.js';

let now: number;
let metrics: Metrics;
let waiting = 0;
let accounts: string[];
let isReady: boolean;
let findings: { account: string | undefined; code: string; severity: string }[];
beforeEach(() => {
  now = 12_345_678;
  accounts = ['master', 'alice'];
  isReady = true;
  findings = [];
  metrics = createMetrics({ version: '1.2.3', tuning: { lanes: 'key' }, now: () => now });
  metrics.watch({
    laneWaiting: () => waiting,
    laneInFlight: () => 2,
    nonceLeadSeconds: () => 0.5,
    startupWindowOpen: () => true,
    accounts: () => accounts,
    ready: () => isReady,
    findings: () => findings,
    holds: () => [
      { mode: 'pause' },
      { account: 'alice', mode: 'freeze' },
      { account: 'master', mode: 'freeze' },
    ],
    journal: () => ({ lines: 7, lost: 2, problem: 'ENOSPC' }),
    callCounter: (account) => (account === 'master' ? 12.5 : 0),
    engineCounter: (account) => (account === 'alice' ? 61 : 0),
    breakerSeconds: (account) => (account === 'alice' ? 59.5 : 0),
    clockOffsetSeconds: () => -3.5,
  });
});

async function sample(name: string): Promise<number> {
  const line = (await metrics.text()).split('\n').find((text) => text.startsWith(`kraken_proxy_${name} `));
  return Number(line?.split(' ').at(-1));
}

function issue(count: number): void {
  for (let nonce = 0; nonce < count; nonce++) metrics.nonceIssued();
}

/** To the beginning of the next second, and so many more. */
function nextSecond(more = 0): void {
  now = (Math.floor(now / 1_000) + 1 + more) * 1_000;
}

describe('the nonce rates', () => {
  it('are 0 before the first nonce', async () => {
    expect(await sample('nonce_rate')).toBe(0);
    expect(await sample('nonce_burst_rate')).toBe(0);
    expect(await sample('nonces_issued_total')).toBe(0);
  });

  it('are the mean of the last 10 whole seconds and the highest of the last 60', async () => {
    nextSecond();
    issue(30);
    nextSecond();
    issue(10);
    expect(await sample('nonce_rate')).toBe(3); // the running second does not count yet
    nextSecond();
    expect(await sample('nonce_rate')).toBe(4);
    expect(await sample('nonce_burst_rate')).toBe(30);
    expect(await sample('nonces_issued_total')).toBe(40);
  });

  it('forget: the mean after 10 s, the highest after 60', async () => {
    nextSecond();
    issue(20);
    nextSecond();
    issue(10);
    nextSecond(8);
    expect(await sample('nonce_rate')).toBe(3);
    nextSecond();
    expect(await sample('nonce_rate')).toBe(1);
    nextSecond();
    expect(await sample('nonce_rate')).toBe(0);
    nextSecond(47);
    expect(await sample('nonce_burst_rate')).toBe(20);
    nextSecond();
    expect(await sample('nonce_burst_rate')).toBe(10);
    nextSecond();
    expect(await sample('nonce_burst_rate')).toBe(0);
  });

  it('know nothing of a minute or a year in which nothing happened', async () => {
    nextSecond();
    issue(20);
    nextSecond(365 * 86_400);
    expect(await sample('nonce_burst_rate')).toBe(0);
    issue(5);
    nextSecond();
    expect(await sample('nonce_burst_rate')).toBe(5);
    expect(await sample('nonce_rate')).toBe(0.5);
  });
});

describe('a call', () => {
  function record(parts: Partial<CallRecord>): CallRecord {
    return { ...newCallRecord('id', 'AddOrder'), client: 'bot', account: 'master', totalMs: 250, ...parts };
  }

  it('counts by what became of it', async () => {
    metrics.call(record({ outcome: 'executed', waitMs: 100, upstreamMs: 50 }), undefined);
    metrics.call(record({ outcome: 'refused', waitMs: 0, upstreamMs: 50 }), 'EOrder');
    metrics.call(record({ ownError: 'queue-full' }), undefined);
    const text = await metrics.text();
    for (const outcome of ['executed', 'refused', 'not-sent']) {
      const labels = `account="master",client="bot",endpoint="AddOrder",outcome="${outcome}"`;
      expect(text).toContain(`kraken_proxy_calls_total{${labels}} 1\n`);
    }
    expect(text).toContain('kraken_proxy_upstream_errors_total{account="master",class="EOrder"} 1\n');
    expect(text).toContain('kraken_proxy_own_errors_total{code="queue-full"} 1\n');
    expect(text).toContain('kraken_proxy_call_seconds_sum{endpoint="AddOrder"} 0.75\n');
    expect(text).toContain('kraken_proxy_call_seconds_count{endpoint="AddOrder"} 3\n');
    // The one that never had its turn neither waited to the end nor went out.
    expect(text).toContain('kraken_proxy_lane_wait_seconds_sum 0.1\n');
    expect(text).toContain('kraken_proxy_lane_wait_seconds_count 2\n');
    expect(text).toContain('kraken_proxy_upstream_seconds_sum{endpoint="AddOrder"} 0.1\n');
  });

  it('counts as replayed or merged when its answer was another’s', async () => {
    metrics.call(record({ outcome: 'executed' }), undefined);
    expect(await sample('replayed_total')).toBe(0);
    expect(await sample('merged_total')).toBe(0);
    metrics.call(record({ isReplayed: true }), undefined);
    metrics.call(record({ outcome: 'executed', isMerged: true }), undefined);
    metrics.call(record({ outcome: 'executed', isMerged: true }), undefined);
    expect(await sample('replayed_total')).toBe(1);
    expect(await sample('merged_total')).toBe(2);
  });
});

it('a write of the state counts by its result', async () => {
  metrics.stateWrite(0.25, undefined);
  metrics.stateWrite(0.5, new Error('ENOSPC'));
  const text = await metrics.text();
  expect(text).toContain('kraken_proxy_state_writes_total{result="ok"} 1\n');
  expect(text).toContain('kraken_proxy_state_writes_total{result="failed"} 1\n');
  expect(text).toContain('kraken_proxy_state_write_seconds_sum 0.75\n');
  expect(text).not.toContain('ENOSPC');
});

it('gauges read the parts at the time of the scrape', async () => {
  waiting = 1;
  expect(await sample('lane_waiting')).toBe(1);
  waiting = 7;
  expect(await sample('lane_waiting')).toBe(7);
  expect(await sample('lane_in_flight')).toBe(2);
  expect(await sample('nonce_lead_seconds')).toBe(0.5);
  expect(await sample('startup_window_open')).toBe(1);
  expect(await sample('clock_offset_seconds')).toBe(-3.5);
});

it('each account has gauges of its own', async () => {
  expect(await sample('call_counter{account="master"}')).toBe(12.5);
  expect(await sample('call_counter{account="alice"}')).toBe(0);
  expect(await sample('engine_counter{account="alice"}')).toBe(61);
  expect(await sample('breaker_seconds{account="master"}')).toBe(0);
  expect(await sample('breaker_seconds{account="alice"}')).toBe(59.5);
});

it('a lost reply counts by what became of its call', async () => {
  for (const result of ['done', 'done', 'not-done', 'untold']) metrics.settled('master', result);
  expect(await sample('settled_total{account="master",result="done"}')).toBe(2);
  expect(await sample('settled_total{account="master",result="not-done"}')).toBe(1);
  expect(await sample('settled_total{account="master",result="untold"}')).toBe(1);
});

it('two proxies in one process count apart', async () => {
  const other = createMetrics({ version: '1', tuning: {} });
  issue(3);
  expect(await other.text()).toContain('kraken_proxy_nonces_issued_total 0\n');
});

it('findings count while they are there, by account, code and severity', async () => {
  findings = [
    { account: 'alice', code: 'twin', severity: 'error' },
    { account: undefined, code: 'clock-off', severity: 'warning' },
  ];
  const text = await metrics.text();
  expect(text).toContain('kraken_proxy_findings{account="alice",code="twin",severity="error"} 1\n');
  expect(text).toContain('kraken_proxy_findings{account="none",code="clock-off",severity="warning"} 1\n');
  findings = [];
  expect(await metrics.text()).not.toContain('kraken_proxy_findings{');
});

it('holds count by whose calls they are about', async () => {
  const text = await metrics.text();
  const held = text.match(/^kraken_proxy_held\{.* [1-9]\d*$/gm);
  expect(held).toEqual([
    'kraken_proxy_held{target="everything",mode="pause"} 1',
    'kraken_proxy_held{target="account",mode="freeze"} 2',
  ]);
});

it('readiness and the state of the journal show', async () => {
  expect(await sample('ready')).toBe(1);
  isReady = false;
  expect(await sample('ready')).toBe(0);
  expect(await sample('journal_lines_total')).toBe(7);
  expect(await sample('journal_lost_total')).toBe(2);
  expect(await sample('journal_failing')).toBe(1);
});

it('an account that a reload has removed has no gauges any more', async () => {
  expect(await metrics.text()).toContain('kraken_proxy_call_counter{account="alice"}');
  accounts = ['master'];
  expect(await metrics.text()).not.toContain('kraken_proxy_call_counter{account="alice"}');
});

it('other tuning takes the place of the former', async () => {
  metrics.retuned({ lanes: 'global' });
  const text = await metrics.text();
  expect(text.match(/^kraken_proxy_config_info\{.*$/gm)).toEqual([
    'kraken_proxy_config_info{lanes="global"} 1',
  ]);
});

it('totals and rates are told without a scrape', () => {
  metrics.call({ ...newCallRecord('id', 'AddOrder'), outcome: 'executed' }, undefined);
  metrics.call(newCallRecord('id', 'AddOrder'), undefined);
  expect(metrics.totals()).toEqual({ executed: 1, refused: 0, unknown: 0, 'not-sent': 1 });
  issue(20);
  nextSecond();
  expect(metrics.nonceRates()).toEqual({ mean: 2, highest: 20 });
});
