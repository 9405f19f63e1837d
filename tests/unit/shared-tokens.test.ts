import type { Job } from '../../src/calls/job.js';
import { SharedTokens } from '../../src/calls/shared-tokens.js';
import { endpointOf } from '../../src/kraken/endpoints.js';
import type { UpstreamReply } from '../../src/kraken/transport.js';
import { newCallRecord } from '../../src/log.js';

let now: number;
beforeEach(() => {
  now = 1_000;
});

function jobOf({
  name = 'GetWebSocketsToken',
  key = 'master-key',
  outcome = 'not-sent',
  call = {},
} = {}): Job {
  const record = { ...newCallRecord('1', name), outcome };
  return { endpoint: endpointOf(name), account: { fingerprint: key }, call, record } as unknown as Job;
}

function tokenOf(text: string): UpstreamReply {
  return {
    status: 200,
    headers: {},
    body: Buffer.from(`{"error":[],"result":{"token":"${text}","expires":900}}`),
  };
}

const TOKEN = tokenOf('abc');
const EXECUTED = { outcome: 'executed' as const };

function open(shareMs = 60_000): SharedTokens {
  const tokens = new SharedTokens(
    () => shareMs,
    () => now,
  );
  tokens.keep(jobOf(EXECUTED), TOKEN, now);
  return tokens;
}

it('a token is handed on until its time is over, counted from when it was asked for', () => {
  const tokens = open();
  const job = jobOf();
  expect(tokens.find(job)).toBe(TOKEN);
  expect(job.record).toMatchObject({ outcome: 'executed', isMerged: true });
  now += 59_999;
  expect(tokens.find(jobOf())).toBe(TOKEN);
  now += 1;
  expect(tokens.find(jobOf())).toBeUndefined();
});

it('a newer token takes the place of an older one', () => {
  const tokens = open();
  const newer = tokenOf('def');
  now += 50_000;
  tokens.keep(jobOf(EXECUTED), newer, now);
  now += 50_000;
  expect(tokens.find(jobOf())).toBe(newer);
});

it.each([
  ['of another key', { key: 'alice-key' }],
  ['of another endpoint', { name: 'Balance' }],
  ['that wants an answer of its own', { call: { noMerge: true } }],
  ['with an Idempotency-Key', { call: { idempotencyKey: 'k' } }],
])('a call %s gets none', (_, own) => {
  const tokens = open();
  const job = jobOf(own);
  expect(tokens.find(job)).toBeUndefined();
  expect(job.record.isMerged).toBe(false);
});

it.each(['refused', 'unknown', 'not-sent'] as const)(
  'what came of a call that was %s is kept for nobody',
  (outcome) => {
    const tokens = new SharedTokens(
      () => 60_000,
      () => now,
    );
    tokens.keep(jobOf({ outcome }), TOKEN, now);
    expect(tokens.find(jobOf())).toBeUndefined();
  },
);

it('a token that was handed on does not live longer for it', () => {
  const tokens = open();
  now += 30_000;
  tokens.find(jobOf());
  now += 30_000;
  expect(tokens.find(jobOf())).toBeUndefined();
});

it('none is shared where none is to be', () => {
  expect(open(0).find(jobOf())).toBeUndefined();
});
