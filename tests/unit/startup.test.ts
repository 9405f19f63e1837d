import fc from 'fast-check';
import { StartupWindow, type StartupWindowOptions } from '../../src/lane/startup.js';

/** A call as the window saw it, in ms. */
interface Call {
  readonly start: number;
  readonly end: number;
  /** It arrived when the second was full. */
  readonly heldBack: boolean;
}

interface Arrival {
  /** ms after the arrival before. */
  readonly after: number;
  readonly takes: number;
  /** Which of the lanes that share the window. */
  readonly lane: number;
}

/** Lanes of one call at a time that share a window, on a clock of their own, with a step of 1 ms. */
function simulate(options: StartupWindowOptions, arrivals: readonly Arrival[], lanes: number): Call[] {
  let now = 0;
  const window = new StartupWindow(options, () => now);
  now = 1_000; // a monotonic clock is past 0 by then
  window.open();
  const waiting = Array.from({ length: lanes }, (): { takes: number; held: boolean }[] => []);
  const running = Array.from(
    { length: lanes },
    (): { slot: { at: number }; start: number; end: number; held: boolean } | undefined => undefined,
  );
  const calls: Call[] = [];
  let at = now;
  const due = arrivals.map((arrival) => ({ ...arrival, at: (at += arrival.after) }));
  while (
    due.length > 0 ||
    waiting.some((line) => line.length > 0) ||
    running.some((call) => call !== undefined)
  ) {
    for (const [lane, call] of running.entries()) {
      if (call === undefined || call.end > now) continue;
      window.end(call.slot);
      calls.push({ start: call.start, end: now, heldBack: call.held });
      running[lane] = undefined;
    }
    while (due[0] !== undefined && due[0].at <= now) {
      const { lane, takes } = due.shift() as Arrival;
      waiting[lane % lanes]?.push({ takes, held: false });
    }
    for (const [lane, line] of waiting.entries()) {
      const [first] = line;
      if (first === undefined || running[lane] !== undefined) continue;
      // As the lane asks: whenever something happens, not only when a timer says so.
      if (window.delayMs() !== 0) {
        first.held = true;
        continue;
      }
      line.shift();
      running[lane] = { slot: window.begin(), start: now, end: now + first.takes, held: first.held };
    }
    now += 1;
    if (now > 1_000_000) throw new Error('calls wait for ever');
  }
  return calls.sort((a, b) => a.start - b.start);
}

/** The most calls that Kraken can have seen within one second, wherever in it each of them arrived. */
function mostInOneSecond(calls: readonly Call[], until: number): number {
  const inWindow = calls.filter(({ start }) => start < until);
  return Math.max(
    0,
    // The fullest second begins with the end of a call: then all that started within it may fall into it.
    ...inWindow.map(
      ({ end }) => inWindow.filter((call) => call.end >= end && call.start < end + 1_000).length,
    ),
  );
}

const options = fc.record({
  windowMs: fc.integer({ min: 1_000, max: 8_000 }),
  maxPerSecond: fc.integer({ min: 1, max: 6 }),
  minIntervalMs: fc.integer({ min: 0, max: 1_500 }),
});
const arrivals = fc.array(
  fc.record({
    after: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 400 })),
    takes: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 30 }), fc.integer({ min: 0, max: 1_500 })),
    lane: fc.nat({ max: 2 }),
  }),
  { minLength: 1, maxLength: 25 },
);

describe('in the startup window', () => {
  it('no second at Kraken holds more than maxPerSecond calls, wherever between start and end each arrived', () => {
    fc.assert(
      fc.property(options, arrivals, fc.integer({ min: 1, max: 3 }), (tuning, arriving, lanes) => {
        const calls = simulate(tuning, arriving, lanes);
        expect(calls).toHaveLength(arriving.length);
        expect(mostInOneSecond(calls, 1_000 + tuning.windowMs)).toBeLessThanOrEqual(tuning.maxPerSecond);
      }),
      { numRuns: 200 },
    );
  });

  it('a call that found the second full keeps minIntervalMs from the end of the one before', () => {
    fc.assert(
      fc.property(options, arrivals, (tuning, arriving) => {
        const calls = simulate(tuning, arriving, 1);
        for (const [index, { start, heldBack }] of calls.entries()) {
          const before = calls[index - 1];
          if (!heldBack || before === undefined || start >= 1_000 + tuning.windowMs) continue;
          expect(start - before.end).toBeGreaterThanOrEqual(tuning.minIntervalMs);
        }
      }),
      { numRuns: 200 },
    );
  });

  it('calls below maxPerSecond go at once', () => {
    fc.assert(
      fc.property(options, (tuning) => {
        const burst = Array.from({ length: tuning.maxPerSecond }, () => ({ after: 0, takes: 0, lane: 0 }));
        const calls = simulate(tuning, burst, 1);
        // The simulation itself needs one step for each.
        expect(calls.at(-1)?.start).toBeLessThan(1_000 + tuning.maxPerSecond);
        expect(calls.some(({ heldBack }) => heldBack)).toBe(false);
      }),
    );
  });
});

describe('the startup window', () => {
  const tuning = { windowMs: 5_000, maxPerSecond: 2, minIntervalMs: 500 };
  let now: number;
  let window: StartupWindow;
  beforeEach(() => {
    now = 50_000;
    window = new StartupWindow(tuning, () => now);
  });

  function call(takes = 0): void {
    const slot = window.begin();
    now += takes;
    window.end(slot);
  }

  it('holds nothing back before it is opened', () => {
    for (let calls = 0; calls < 10; calls++) call();
    expect(window.isOpen).toBe(false);
    expect(window.delayMs()).toBe(0);
  });

  it('tells how long the next call has to wait: a second after the oldest, minIntervalMs after the newest', () => {
    window.open();
    call();
    now += 100;
    call();
    expect(window.delayMs()).toBe(900);
    now += 900;
    expect(window.delayMs()).toBe(0);
    call();
    // Full again: the oldest is 900 ms old, but the newest has only just ended.
    expect(window.delayMs()).toBe(500);
    now += 100; // the oldest does not count any more
    expect(window.delayMs()).toBe(400);
    now += 400;
    expect(window.delayMs()).toBe(0);
  });

  it('waits for an end while all that count are under way, but not beyond the window', async () => {
    window.open();
    const [one, two] = [window.begin(), window.begin()];
    expect(window.delayMs()).toBe(5_000);
    let told = 0;
    window.onChange(() => told++);
    now += 2_000;
    expect(window.delayMs()).toBe(3_000);
    window.end(one);
    await Promise.resolve();
    expect(told).toBe(1);
    expect(window.delayMs()).toBe(1_000);
    now += 1_000;
    window.end(two);
    expect(window.delayMs()).toBe(500);
  });

  it('ends after windowMs, and a call that waits need not wait longer', () => {
    window.open();
    now += 4_900;
    call();
    call();
    expect(window.delayMs()).toBe(100);
    expect(window.isOpen).toBe(true);
    now += 100;
    expect(window.isOpen).toBe(false);
    expect(window.delayMs()).toBe(0);
  });

  it('can be left early, which tells those who wait, and opened anew', async () => {
    window.open();
    call();
    call();
    expect(window.delayMs()).toBe(1_000);
    let told = 0;
    await Promise.resolve();
    window.onChange(() => told++);
    window.close();
    await Promise.resolve();
    expect(told).toBe(1);
    expect(window.delayMs()).toBe(0);
    expect(window.isOpen).toBe(false);
    window.open();
    expect(window.isOpen).toBe(true);
    // The calls of the second before still count.
    expect(window.delayMs()).toBe(1_000);
  });

  it('of length 0 is never open', () => {
    window = new StartupWindow({ ...tuning, windowMs: 0 }, () => now);
    window.open();
    expect(window.isOpen).toBe(false);
    for (let calls = 0; calls < 10; calls++) call();
    expect(window.delayMs()).toBe(0);
  });
});
