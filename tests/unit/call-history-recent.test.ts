import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { newCallRecord, type CallRecord } from '../../src/log.js';
import { RecentCalls, type CallView } from '../../src/operator/recent-calls.js';
import { until } from '../support/until.js';

const ARRIVED = Date.UTC(2026, 0, 2, 12);

let recent: RecentCalls;
beforeEach(() => {
  recent = new RecentCalls();
});

function record(requestId: string, facts: Partial<CallRecord> = {}): CallRecord {
  return { ...newCallRecord(requestId, 'AddOrder'), arrivedAt: ARRIVED, ...facts };
}

function end(count: number, prefix = 'c'): void {
  for (let n = 0; n < count; n++) recent.add(record(`${prefix}${n}`));
}

const ids = (calls: readonly CallView[]): string[] => calls.map(({ requestId }) => requestId);

it('shows every fact of a call, null where there is none', () => {
  recent.add(record('a'));
  recent.add(
    record('b', {
      ...{ client: 'bot', account: 'alice', nonce: '1795000000000000001', waitMs: 1.23456, upstreamMs: 20 },
      ...{ totalMs: 21.9999, outcome: 'refused', status: 200, krakenError: 'EOrder:Insufficient funds' },
      ...{ ownError: 'outcome-unknown', reason: 'the reply was lost', rule: 'allow', txids: ['OABC'] },
      ...{ settled: 'done', isReplayed: true, isMerged: true, hungUp: true },
    }),
  );
  expect(recent.view()).toEqual([
    {
      ...{ at: '2026-01-02T12:00:00.000Z', requestId: 'b', client: 'bot', account: 'alice' },
      ...{ endpoint: 'AddOrder', outcome: 'refused', nonce: '1795000000000000001', waitMs: 1.235 },
      ...{ upstreamMs: 20, totalMs: 22, status: 200, krakenError: 'EOrder:Insufficient funds' },
      ...{ error: 'outcome-unknown', reason: 'the reply was lost', rule: 'allow', txids: ['OABC'] },
      ...{ settled: 'done', replayed: true, merged: true, hungUp: true },
    },
    {
      ...{ at: '2026-01-02T12:00:00.000Z', requestId: 'a', client: 'unknown', account: 'unknown' },
      ...{ endpoint: 'AddOrder', outcome: 'not-sent', nonce: null, waitMs: null, upstreamMs: null },
      ...{ totalMs: 0, status: null, krakenError: null, error: null, reason: null, rule: null, txids: [] },
      ...{ settled: null, replayed: false, merged: false, hungUp: false },
    },
  ]);
});

it('keeps the last 200, newest first, and as many of them as asked for', () => {
  expect(recent.view()).toEqual([]);
  end(3);
  expect(ids(recent.view())).toEqual(['c2', 'c1', 'c0']);
  end(450, 'd');
  const shown = ids(recent.view(1_000));
  expect([shown.length, shown[0], shown.at(-1)]).toEqual([200, 'd449', 'd250']);
  expect(ids(recent.view(2))).toEqual(['d449', 'd448']);
});

it('what was shown stays as it was', () => {
  end(1);
  const shown = recent.view();
  end(200, 'd');
  expect(ids(shown)).toEqual(['c0']);
});

it('tells those who look again what is new, and how much they have missed', () => {
  end(5);
  const first = recent.since(0);
  expect([first.count, first.calls.length, first.skipped]).toEqual([5, 5, 0]);
  expect(recent.since(first.count)).toEqual({ count: 5, calls: [], skipped: 0 });
  end(2, 'd');
  const next = recent.since(first.count);
  expect([next.count, ids(next.calls), next.skipped]).toEqual([7, ['d1', 'd0'], 0]);
  end(1_000, 'e');
  const later = recent.since(next.count);
  expect([later.count, later.calls.length, later.calls[0]?.requestId, later.skipped]).toEqual([
    1_007,
    200,
    'e999',
    800,
  ]);
  expect(recent.since(Infinity)).toEqual({ count: 1_007, calls: [], skipped: 0 });
});

it('keeps nothing of a call’s body, nor the record it hangs on', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const told = (): WeakRef<object>[] => {
    const body = Buffer.from('pair=XBTUSD&otp=123456');
    const call = record('a', { body });
    recent.add(call);
    return [new WeakRef(body), new WeakRef(call)];
  };
  const refs = told();
  await until(() => {
    collect();
    return refs.every((ref) => ref.deref() === undefined);
  });
  expect(JSON.stringify(recent.view())).not.toContain('otp');
});
