import { CallHistory, type CountedCall } from '../../src/operator/call-history.js';

const NOON = Date.UTC(2026, 0, 2, 12) / 1_000;
const GOOD: CountedCall = { outcome: 'executed', ownError: undefined, waitMs: 1, upstreamMs: 10 };

let clock: number;
let history: CallHistory;
beforeEach(() => {
  clock = NOON * 1_000;
  history = new CallHistory(() => clock);
});

/** The seconds in which calls ended: how many, by unix second. */
function counted(): Record<number, number> {
  const { from, calls } = history.view();
  return Object.fromEntries(
    calls.map((count, index) => [from + index, count] as const).filter(([, count]) => count > 0),
  );
}

it('has the last 3600 whole seconds, oldest first, in lists of equal length', () => {
  history.add(GOOD);
  clock += 1_000;
  const view = history.view();
  expect([view.from, view.seconds]).toEqual([NOON + 1 - 3_600, 3_600]);
  const lists = [
    ...[view.calls, view.errors, view.waitMs, view.waitMaxMs],
    ...[view.upstreamMs, view.upstreamMaxMs],
  ];
  expect(lists.map(({ length }) => length)).toEqual(Array(6).fill(3_600));
  expect(lists.map((list) => list.at(-1))).toEqual([1, 0, 1, 1, 10, 10]);
  expect(lists.map((list) => list[0])).toEqual([0, 0, null, null, null, null]);
});

it('leaves the running second out of the view until it is over', () => {
  history.add(GOOD);
  clock += 999;
  expect(counted()).toEqual({});
  expect(history.second(NOON).calls).toBe(1);
  clock += 1;
  expect(counted()).toEqual({ [NOON]: 1 });
});

it('gives means and maxima of the calls that had such a time, to the microsecond', () => {
  history.add({ ...GOOD, waitMs: 1, upstreamMs: 10.0004 });
  history.add({ ...GOOD, waitMs: 2.5, upstreamMs: undefined });
  history.add({ ...GOOD, waitMs: undefined, upstreamMs: undefined });
  expect(history.second(NOON)).toEqual({
    ...{ at: NOON, calls: 3, errors: 0 },
    ...{ waitMs: 1.75, waitMaxMs: 2.5, upstreamMs: 10, upstreamMaxMs: 10 },
  });
});

it('a wait of nothing is a wait, and no wait is null', () => {
  history.add({ ...GOOD, waitMs: 0, upstreamMs: undefined });
  expect(history.second(NOON)).toMatchObject({
    waitMs: 0,
    waitMaxMs: 0,
    upstreamMs: null,
    upstreamMaxMs: null,
  });
});

it.each<[string, Partial<CountedCall>, number]>([
  ['an executed call', {}, 0],
  ['a call that was not sent for no fault', { outcome: 'not-sent' }, 0],
  ['a refused call', { outcome: 'refused' }, 1],
  ['a call of unknown outcome', { outcome: 'unknown' }, 1],
  ["a call with the proxy's own error", { outcome: 'not-sent', ownError: 'queue-timeout' }, 1],
  ['a refused call with an own error, once', { outcome: 'refused', ownError: 'locked-out' }, 1],
])('counts as errors: %s', (_, facts, errors) => {
  history.add({ ...GOOD, ...facts });
  expect(history.second(NOON)).toMatchObject({ calls: 1, errors });
});

it('forgets after an hour, also when nothing happened since', () => {
  history.add(GOOD);
  clock += 3_600_000;
  expect(counted()).toEqual({ [NOON]: 1 });
  clock += 1_000;
  expect(counted()).toEqual({});
});

it('a gap is empty, however long', () => {
  history.add(GOOD);
  clock += 100_000;
  history.add(GOOD);
  clock += 1_000;
  expect(counted()).toEqual({ [NOON]: 1, [NOON + 100]: 1 });
  clock += 86_400_000 * 365;
  history.add(GOOD);
  clock += 1_000;
  expect(Object.values(counted())).toEqual([1]);
});

it('a call overwrites what is left from a round before, and adds nothing to it', () => {
  // The ring is a little longer than the hour: each second of several rounds gets one call.
  for (let second = 0; second < 8_000; second++) {
    history.add(GOOD);
    clock += 1_000;
  }
  const { calls, waitMs, upstreamMaxMs } = history.view();
  expect(new Set(calls)).toEqual(new Set([1]));
  expect(new Set(waitMs)).toEqual(new Set([1]));
  expect(new Set(upstreamMaxMs)).toEqual(new Set([10]));
});

it('a clock that steps back adds to the seconds it passes again, and shows nothing of the time to come', () => {
  for (let second = 0; second < 10; second++) {
    history.add(GOOD);
    clock += 1_000;
  }
  clock -= 5_000;
  history.add(GOOD);
  clock += 1_000;
  expect(counted()).toEqual({
    ...{ [NOON]: 1, [NOON + 1]: 1, [NOON + 2]: 1, [NOON + 3]: 1, [NOON + 4]: 1 },
    [NOON + 5]: 2,
  });
  expect(history.view().from + 3_600).toBe(NOON + 6);
});

it('a clock that was far ahead leaves nothing behind when it is set right', () => {
  clock += 10 * 365 * 86_400_000;
  for (let second = 0; second < 5_000; second++) {
    history.add(GOOD);
    clock += 1_000;
  }
  clock = NOON * 1_000;
  expect(counted()).toEqual({});
  history.add(GOOD);
  clock += 1_000;
  expect(counted()).toEqual({ [NOON]: 1 });
});

it('a second nobody has heard of is empty', () => {
  for (const at of [0, NOON - 1, NOON + 1, NOON - 3_660]) {
    history.add(GOOD);
    expect(history.second(at)).toEqual({
      ...{ at, calls: 0, errors: 0 },
      ...{ waitMs: null, waitMaxMs: null, upstreamMs: null, upstreamMaxMs: null },
    });
  }
});
