import { availableParallelism, cpus, loadavg, release, totalmem, type } from 'node:os';
import { format } from 'prettier';

/** @typedef {'met' | 'not met' | ''} Verdict */

/**
 * Everything the bench found, as Markdown: what is printed and kept in RESULTS.md.
 * @param {any} results
 * @returns {Promise<string>}
 */
export function renderReport({
  quick,
  plan,
  started,
  seconds,
  latency,
  atOnce,
  after20,
  steps,
  starts,
  memory,
}) {
  const ratio50 = latency.proxy.addedP50 / latency.forward.addedP50;
  const ratio99 = latency.proxy.addedP99 / latency.forward.addedP99;
  const watching = (100 * latency.watchingP50) / (0.7 * latency.forward.addedP50);
  const share = (/** @type {number} */ rate) => (100 * rate) / after20.directAlone;
  const grown = memory.afterTwice - memory.after;
  const calls = memory.calls.toLocaleString('en-US');
  const twice = (2 * memory.calls).toLocaleString('en-US');

  const latencies = [
    ['direct, signed by the client itself', latency.direct],
    ['through http-proxy, keep-alive agent', latency.forward],
    ['through http-proxy as it comes (no agent: new connections)', latency.forwardAsItComes],
    ['through kraken-signing-proxy', latency.proxy],
    ['through kraken-signing-proxy, the client’s own signature checked', latency.proxyWithClients],
    ['through kraken-signing-proxy, without its journal', latency.proxyBare],
    ['through kraken-signing-proxy, watched on its page', latency.proxyWatched],
  ].map(([name, { p50, p99, addedP50, addedP99 }], index) =>
    row(name, us(p50), us(p99), index === 0 ? '' : us(addedP50), index === 0 ? '' : us(addedP99)),
  );

  const figures = [
    figure('added p50, of what http-proxy (keep-alive) adds', ratio50.toFixed(2), '≤ 0.70', ratio50 <= 0.7),
    figure('added p99, of what http-proxy (keep-alive) adds', ratio99.toFixed(2), '≤ 0.70', ratio99 <= 0.7),
    figure(
      'journal and page together, of 0.70 × what http-proxy adds (p50)',
      percent(watching),
      '< 5 %',
      watching < 5,
    ),
    figure(
      '20 ms: 50 clients in the lane, of one direct client',
      percent(share(after20.proxyCrowd)),
      '≥ 97.5 %',
      share(after20.proxyCrowd) >= 97.5,
    ),
    figure('one durable nonce', `${steps.nonceNs.toFixed(0)} ns`, '< 150 ns', steps.nonceNs < 150),
    figure('one signature of a 160-byte body', `${steps.signatureUs.toFixed(1)} µs`),
    figure('parseBody and complete of that body', `${steps.bodyUs.toFixed(1)} µs`),
    figure(
      'from start to the first answer',
      `${starts.toAnswerMs.toFixed(0)} ms`,
      '≤ 450 ms',
      starts.toAnswerMs <= 450,
    ),
    figure('first call after ready, its connection included', `${starts.firstCallMs.toFixed(1)} ms`),
    figure('RSS idle', mb(memory.idle)),
    figure(`RSS after ${calls} calls`, mb(memory.after), '< 110 MB', memory.after < 110),
    figure(`RSS after ${twice} calls`, mb(memory.afterTwice), 'flat: + 5 MB at most', grown <= 5),
  ];

  const rates = [
    row('one client, direct', perSecond(atOnce.directAlone), perSecond(after20.directAlone), '100 %'),
    row(
      'one client through http-proxy, keep-alive',
      perSecond(atOnce.forwardAlone),
      perSecond(after20.forwardAlone),
      percent(share(after20.forwardAlone)),
    ),
    row(
      '50 clients through kraken-signing-proxy, one call in flight',
      perSecond(atOnce.proxyCrowd),
      perSecond(after20.proxyCrowd),
      percent(share(after20.proxyCrowd)),
    ),
    row(
      '50 clients through http-proxy, 50 calls in flight',
      perSecond(atOnce.forwardCrowd),
      perSecond(after20.forwardCrowd),
      'no lane',
    ),
  ];

  const { model = 'unknown CPU' } = cpus()[0] ?? {};
  const text = `# What the proxy costs

${started.toISOString().slice(0, 10)}: ${model}, ${availableParallelism()} cores, ${(totalmem() / 1e9).toFixed(0)} GB, ${type()} ${release()}, Node ${process.versions.node}. One run of ${seconds.toFixed(0)} s; load average at its end ${loadavg()[0]?.toFixed(1)}. Only the ratios carry over to another machine.${quick ? ' A quick run: too short to judge the aims by.' : ''}

${table(['figure', 'measured', 'aim', ''], figures)}

Latency of one sequential client, upstream at once, in µs:

${table(['route', 'p50', 'p99', 'added p50', 'added p99'], latencies)}

Calls per second:

${table(['route', 'upstream at once', 'after 20 ms', 'of one direct client at 20 ms'], rates)}

## How it was measured

- Loopback; upstream, proxy, http-proxy and clients are separate processes on the same cores and compete for them. The upstream is the strict sandbox, which checks nonce and signature of every call; every reply was checked, and one error would have failed the run. The call is \`Balance\`; clients use undici's \`Client.dispatch\` over one keep-alive connection each.
- The proxy runs as \`node dist/main.js serve\` with the default config but for \`startup.windowMs: 0\` and \`pacing\`: no call costs anything on the counter, and equal reads are not merged; its log, one line a call, goes into a pipe that is read and dropped. The direct client and those of http-proxy sign for themselves, and that is part of their time: the proxy takes it off the client.
- Latency: one sequential client; over each route in turn ${plan.latency.first.toLocaleString('en-US')} calls to warm up, then rounds of ${plan.latency.calls} calls, ${plan.latency.rounds} of them (a sixth of the calls for http-proxy as it comes). Added is route minus direct within a round; every figure is the median of the rounds. The ratios are taken against http-proxy with a keep-alive agent, the harder rival. Journal and page: the difference, within a round, of a proxy whose live news somebody reads and one without a journal.
- Calls per second: after ${plan.after20.first.toLocaleString('en-US')} calls at once over each route to warm up, over each in turn ${plan.atOnce.ms / 1_000} s with the upstream at once (rounds: ${plan.atOnce.rounds}) and ${plan.after20.ms / 1_000} s with it after 20 ms (rounds: ${plan.after20.rounds}), median of the rounds. The proxy keeps one call in flight, because Kraken's nonces demand it: at 20 ms its best is what one direct client reaches. http-proxy with 50 in flight shows the machine, not a rival: on one key most of such calls would be refused for their nonces, so each of its clients had a key of its own.
- Nonce: rounds of 1,000,000 draws in a tight loop from the real sequence over the real state file, with renewals in the background between rounds (${steps.writes} writes; ${steps.waited} draws waited for the disk). Signature and body: rounds of 20,000. Median of the rounds, of which there were ${plan.micro.rounds}.
- Start: from spawn to the whole first reply of a private call, tried every 2 ms, upstream already up, files in the disk cache; the first call after ready in starts of its own, sent when \`/readyz\` said 200. Medians of the starts, of which there were ${starts.starts}.
- RSS: VmRSS of a fresh proxy, 1 s after ready, then while 50 clients are still connected. MB are 10^6 bytes.
`;
  return format(text, { parser: 'markdown' });
}

/** @param {...string} cells */
function row(...cells) {
  return cells;
}

/**
 * @param {string} name
 * @param {string} measured
 * @param {string} [aim]
 * @param {boolean} [met]
 */
function figure(name, measured, aim = '', met) {
  return row(name, measured, aim, met === undefined ? '' : met ? 'met' : 'not met');
}

/**
 * @param {string[]} heads
 * @param {string[][]} rows
 */
function table(heads, rows) {
  const line = (/** @type {string[]} */ cells) => `| ${cells.join(' | ')} |`;
  return [line(heads), line(heads.map((_, index) => (index === 0 ? '---' : '---:'))), ...rows.map(line)].join(
    '\n',
  );
}

const us = (/** @type {number} */ value) => value.toFixed(0);
const mb = (/** @type {number} */ value) => `${value.toFixed(0)} MB`;
const percent = (/** @type {number} */ value) => `${value.toFixed(1)} %`;
const perSecond = (/** @type {number} */ value) => (value < 100 ? value.toFixed(1) : value.toFixed(0));
