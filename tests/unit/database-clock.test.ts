import fc from 'fast-check';
import { DatabaseClock } from '../../src/postgres/database-clock.js';
import { propertyRuns } from '../support/property-runs.js';

const MINUTE_MS = 60_000;
/** What the database's clock says at our 0. */
const BASE = 1_800_000_000_000;

let now: number;
let clock: DatabaseClock;
beforeEach(() => {
  now = 0;
  clock = new DatabaseClock(() => now);
});

/** A statement that the database answered `thereMs` after it was sent; `base`: its clock at our 0. */
function look(sentAt: number, thereMs: number, backMs: number, base = BASE): void {
  now = sentAt + thereMs + backMs;
  clock.observe(sentAt, now, base + sentAt + thereMs);
}

it('nothing is known before the first look', () => {
  expect([clock.isKnown, clock.errorMs]).toEqual([false, Infinity]);
  expect(() => clock.toDatabase(1)).toThrow("the database's time is not known");
  expect(() => clock.toLocal(1)).toThrow("the database's time is not known");
});

it('takes the middle of the round trip, and is off by half of it at most', () => {
  look(1_000, 5, 5);
  expect(clock.isKnown).toBe(true);
  expect(clock.toDatabase(2_000)).toBe(BASE + 2_000);
  expect(clock.toLocal(BASE + 2_000)).toBe(2_000);
  expect(clock.errorMs).toBe(5);
});

it('the shortest round trip counts, whichever came first', () => {
  look(1_000, 1, 1);
  look(1_010, 90, 0);
  expect(clock.toDatabase(0)).toBe(BASE);
  expect(clock.errorMs).toBeLessThan(1.1);
  look(1_200, 0.2, 0.2);
  expect(clock.errorMs).toBeCloseTo(0.2);
});

it('a look grows old: a later one that is a little longer takes its place', () => {
  look(0, 1, 1);
  look(MINUTE_MS, 3, 1, BASE + 10);
  expect(clock.toDatabase(0)).toBe(BASE + 11);
  expect(clock.errorMs).toBe(2);
});

it('a look of ten minutes ago says nothing any more', () => {
  look(0, 1, 1);
  now = 2 + 10 * MINUTE_MS - 1;
  expect(clock.isKnown).toBe(true);
  now += 1;
  expect([clock.isKnown, clock.errorMs]).toEqual([false, Infinity]);
  expect(() => clock.toDatabase(0)).toThrow();
  // Far worse than the former, grown old, but that one is over.
  look(now, 5_000, 5_000);
  expect(clock.errorMs).toBe(5_000);
});

it.each([-5_000, 5_000])('another server with another clock (%d ms): the last look counts', (stepMs) => {
  look(1_000, 0.5, 0.5);
  look(1_100, 40, 40, BASE + stepMs);
  expect(clock.toDatabase(0)).toBe(BASE + stepMs);
  expect(clock.errorMs).toBe(40);
});

it('takes no look that cannot be one', () => {
  clock.observe(10, 9, BASE);
  clock.observe(10, 11, NaN);
  clock.observe(NaN, 11, BASE);
  expect(clock.isKnown).toBe(false);
});

it('is never off by more than it says, whatever the round trips and a drift of 200 ppm', () => {
  const looks = fc.array(
    fc.record({
      pauseMs: fc.double({ min: 0, max: 30_000, noNaN: true }),
      thereMs: fc.double({ min: 0, max: 300, noNaN: true }),
      backMs: fc.double({ min: 0, max: 300, noNaN: true }),
    }),
    { minLength: 1, maxLength: 30 },
  );
  fc.assert(
    fc.property(looks, fc.double({ min: -200e-6, max: 200e-6, noNaN: true }), (taken, drift) => {
      now = 0;
      clock = new DatabaseClock(() => now);
      const databaseAt = (mono: number): number => BASE + mono * (1 + drift);
      for (const { pauseMs, thereMs, backMs } of taken) {
        const sentAt = now + pauseMs;
        now = sentAt + thereMs + backMs;
        clock.observe(sentAt, now, databaseAt(sentAt + thereMs));
        // The drift within a round trip, and the digits that a number of that size has.
        const slack = 0.6 * 200e-6 * 1_000 + 0.001;
        expect(Math.abs(clock.toDatabase(now) - databaseAt(now))).toBeLessThan(clock.errorMs + slack);
      }
    }),
    { numRuns: propertyRuns(200) },
  );
});
