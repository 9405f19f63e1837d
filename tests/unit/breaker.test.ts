import { jest } from '@jest/globals';
import { ProxyError } from '../../src/errors.js';
import { Breakers, type BreakersOptions, type ProbeAnswer } from '../../src/lane/breaker.js';

const PAUSE = 60_000;
const LOCKOUT = 900_000;
const MAX = 3_600_000;

/** Probes under way, to be answered by the test. */
interface Probe {
  readonly key: string;
  /** ms since the start of the test. */
  readonly at: number;
  answer(answer: ProbeAnswer): Promise<void>;
  fail(): Promise<void>;
}

let probes: Probe[];
let changes: [key: string, state: string][];
let breakers: Breakers;
let start: number;

function open(options: Partial<BreakersOptions> = {}): Breakers {
  return new Breakers({
    pauseMs: PAUSE,
    lockoutMs: LOCKOUT,
    maxPauseMs: MAX,
    probe: (key) =>
      new Promise((resolve, reject) => {
        const settled = async (settle: () => void): Promise<void> => {
          settle();
          for (let turns = 0; turns < 10; turns++) await Promise.resolve();
        };
        probes.push({
          key,
          at: performance.now() - start,
          answer: (answer) => settled(() => resolve(answer)),
          fail: () => settled(() => reject(new Error('queue-timeout'))),
        });
      }),
    onChange: (key, state) => changes.push([key, state]),
    ...options,
  });
}

beforeEach(() => {
  jest.useFakeTimers({ now: Date.UTC(2026, 10, 22, 12) });
  start = performance.now();
  probes = [];
  changes = [];
  breakers = open();
});

afterEach(() => {
  breakers.close();
  expect(jest.getTimerCount()).toBe(0);
  jest.useRealTimers();
});

function refusal(key: string): ProxyError {
  try {
    breakers.assertClosed(key);
  } catch (error) {
    if (error instanceof ProxyError) return error;
    throw error;
  }
  throw new Error('the breaker is closed');
}

/** The probe under way. */
function probe(): Probe {
  const last = probes.at(-1);
  if (last === undefined) throw new Error('no probe yet');
  return last;
}

/** Lets time pass up to the next probe and says how long that took, ms. */
function toNextProbe(): number {
  const from = performance.now();
  const count = probes.length;
  jest.advanceTimersToNextTimer();
  expect(probes).toHaveLength(count + 1);
  return performance.now() - from;
}

describe('a closed breaker', () => {
  it('lets everything through, and has nothing to wait for', () => {
    breakers.assertClosed('a');
    expect(breakers.reasonOf('a') !== undefined).toBe(false);
    expect(breakers.remainingSeconds('a')).toBe(0);
    expect(jest.getTimerCount()).toBe(0);
  });
});

describe('an open breaker', () => {
  it.each([
    ['lockout', LOCKOUT, 'Kraken has locked this key out', '12:15:00'],
    ['key', PAUSE, 'Kraken does not know this key', '12:01:00'],
    ['signature', PAUSE, "Kraken refuses this key's signature", '12:01:00'],
  ] as const)('(%s) refuses calls and says why and until when', (why, pause, text, time) => {
    breakers.trip('a', why);
    const error = refusal('a');
    expect(error.code).toBe('locked-out');
    expect(error.retryAfterSeconds).toBe(pause / 1_000);
    expect(error.message).toContain(text);
    expect(error.message).toContain(`tried again at 2026-11-22T${time}.000Z`);
    expect(error.detail).toBe(error.message);
    expect(breakers.reasonOf('a') !== undefined).toBe(true);
    expect(breakers.remainingSeconds('a')).toBe(pause / 1_000);
    jest.advanceTimersByTime(1_500);
    expect(breakers.remainingSeconds('a')).toBe(pause / 1_000 - 1.5);
    expect(refusal('a').retryAfterSeconds).toBe(pause / 1_000 - 1.5);
    expect(refusal('a').message).toContain(time);
  });

  it('refuses the calls of its own key only', () => {
    breakers.trip('a', 'key');
    breakers.assertClosed('b');
    expect(breakers.reasonOf('b') !== undefined).toBe(false);
    breakers.trip('b', 'lockout');
    expect(refusal('a').message).toContain('does not know');
    expect(refusal('b').message).toContain('locked this key out');
  });

  it('stays as it is when calls sent before it opened come back with errors', () => {
    breakers.trip('a', 'key');
    jest.advanceTimersByTime(40_000);
    breakers.trip('a', 'key');
    breakers.trip('a', 'lockout');
    expect(changes).toEqual([['a', 'key']]);
    expect(toNextProbe()).toBe(PAUSE - 40_000);
  });

  it('is probed once, after its pause, and stays shut to calls meanwhile', () => {
    breakers.trip('a', 'key');
    jest.advanceTimersByTime(PAUSE - 1);
    expect(probes).toHaveLength(0);
    jest.advanceTimersByTime(1);
    expect(probes.map(({ key }) => key)).toEqual(['a']);
    expect(breakers.remainingSeconds('a')).toBe(0);
    expect(refusal('a').message).toContain('is being tried now');
    breakers.trip('a', 'lockout');
    jest.advanceTimersByTime(10 * MAX);
    expect(probes).toHaveLength(1);
    expect(breakers.reasonOf('a') !== undefined).toBe(true);
  });

  it('closes when its probe says so, and forgets its pause', async () => {
    breakers.trip('a', 'key');
    toNextProbe();
    await probe().answer('open');
    toNextProbe();
    await probe().answer('closed');
    breakers.assertClosed('a');
    expect(breakers.reasonOf('a') !== undefined).toBe(false);
    expect(jest.getTimerCount()).toBe(0);
    expect(changes).toEqual([
      ['a', 'key'],
      ['a', 'closed'],
    ]);
    breakers.trip('a', 'signature');
    expect(toNextProbe()).toBe(PAUSE);
  });

  it('is probed ever more seldom while probes fail', async () => {
    breakers.trip('a', 'key');
    const pauses = [];
    for (let times = 0; times < 9; times++) {
      pauses.push(toNextProbe());
      await probe().answer('open');
    }
    const minute = 60_000;
    expect(pauses).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60].map((minutes) => minutes * minute));
    expect(changes).toEqual([['a', 'key']]);
  });

  it('found locked out by its probe waits as long as after any lockout, and says so', async () => {
    breakers.trip('a', 'key');
    toNextProbe();
    await probe().answer('lockout');
    expect(changes).toEqual([
      ['a', 'key'],
      ['a', 'lockout'],
    ]);
    expect(refusal('a').message).toContain('locked this key out');
    expect(toNextProbe()).toBe(LOCKOUT);
    await probe().answer('lockout');
    expect(toNextProbe()).toBe(2 * LOCKOUT);
    await probe().answer('open');
    expect(toNextProbe()).toBe(MAX);
    expect(changes).toHaveLength(2);
  });

  it('is probed again soon when a probe got no answer, which does not double its pause', async () => {
    breakers.trip('a', 'lockout');
    toNextProbe();
    await probe().answer('no-answer');
    expect(breakers.remainingSeconds('a')).toBe(10);
    expect(toNextProbe()).toBe(10_000);
    await probe().fail();
    expect(toNextProbe()).toBe(10_000);
    await probe().answer('lockout');
    expect(toNextProbe()).toBe(2 * LOCKOUT);
  });

  it('is probed again when a probe could not even begin', async () => {
    let began = 0;
    breakers = open({
      probe: () => {
        began++;
        throw new Error('shutting-down');
      },
    });
    breakers.trip('a', 'key');
    await jest.advanceTimersByTimeAsync(PAUSE + 10_000);
    expect(began).toBe(2);
    expect(breakers.reasonOf('a') !== undefined).toBe(true);
  });

  it('keeps a first pause that is longer than the longest', async () => {
    breakers = open({ maxPauseMs: 1_000 });
    breakers.trip('a', 'lockout');
    expect(toNextProbe()).toBe(LOCKOUT);
    await probe().answer('lockout');
    expect(toNextProbe()).toBe(LOCKOUT);
  });

  it('never waits so long that a timer overflows and fires at once', () => {
    breakers = open({ lockoutMs: 1e15, maxPauseMs: Infinity });
    breakers.trip('a', 'lockout');
    expect(toNextProbe()).toBe(2 ** 31 - 1);
  });

  it('is told once it is open: who is told finds it so', () => {
    const seen: boolean[] = [];
    breakers = open({ onChange: (key) => seen.push(breakers.reasonOf(key) !== undefined) });
    breakers.trip('a', 'key');
    expect(seen).toEqual([true]);
  });
});

describe('closing them all', () => {
  it('ends the timers; what is open stays open, and opens without one', () => {
    breakers.trip('a', 'key');
    breakers.close();
    expect(jest.getTimerCount()).toBe(0);
    breakers.trip('b', 'key');
    expect(jest.getTimerCount()).toBe(0);
    for (const key of ['a', 'b']) expect(refusal(key).code).toBe('locked-out');
  });

  it('makes the answer of a probe under way meaningless', async () => {
    breakers.trip('a', 'key');
    toNextProbe();
    breakers.close();
    for (const answer of ['closed', 'open', 'no-answer'] as const) await probe().answer(answer);
    expect(breakers.reasonOf('a') !== undefined).toBe(true);
    expect(changes).toEqual([['a', 'key']]);
  });
});

it('a timer of theirs keeps no process alive', () => {
  jest.useRealTimers();
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const before = timers();
  breakers = open();
  breakers.trip('a', 'key');
  const during = timers();
  breakers.close();
  jest.useFakeTimers();
  expect(during).toBe(before);
});
