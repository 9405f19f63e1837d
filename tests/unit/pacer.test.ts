import fc from 'fast-check';
import { Pacer, type PacerOptions, type Spending } from '../../src/lane/pacer.js';

let now: number;
beforeEach(() => {
  now = 5_000;
});

/** 10 points, 1 a second, all of them usable unless said otherwise. */
function createPacer(options: Partial<PacerOptions> = {}): Pacer {
  const counters = (): { max: number; decayPerSecond: number } => ({ max: 10, decayPerSecond: 1 });
  return new Pacer({ counters, headroom: 0, reserve: 0, now: () => now, ...options });
}

/** Calls that begin and end at once. */
function spend(pacer: Pacer, ...costs: readonly number[]): void {
  for (const cost of costs) pacer.end(pacer.begin('key', cost), true);
}

it('calls go until the counter is full, and then as time takes off their cost', () => {
  const pacer = createPacer();
  spend(pacer, 4, 4);
  expect([pacer.delayMs('key', 2), pacer.delayMs('key', 4)]).toEqual([0, 2_001]);
  spend(pacer, 2);
  expect([pacer.level('key'), pacer.delayMs('key', 1)]).toEqual([10, 1_001]);
  now += 1_001;
  expect([pacer.delayMs('key', 1), pacer.delayMs('key', 2)]).toEqual([0, 1_000]);
  expect(pacer.level('key')).toBeCloseTo(8.999);
  now += 100_000;
  expect(pacer.level('key')).toBe(0);
});

it('each key has its own counter, with the limits of that key', () => {
  const pacer = createPacer({ counters: (key) => ({ max: key === 'key' ? 10 : 3, decayPerSecond: 1 }) });
  spend(pacer, 10);
  expect([pacer.delayMs('key', 1), pacer.delayMs('other', 3)]).toEqual([1_001, 0]);
  pacer.begin('other', 3);
  expect(pacer.delayMs('other', 1)).toBeGreaterThan(0);
});

it('a call that costs nothing needs no room and takes none', () => {
  const pacer = createPacer();
  spend(pacer, 10);
  pacer.end(pacer.begin('key', 0), true);
  expect([pacer.delayMs('key', 0), pacer.level('key')]).toEqual([0, 10]);
});

it('a cost does not decay before its call has ended', () => {
  const pacer = createPacer();
  const spending = pacer.begin('key', 10);
  now += 60_000;
  expect([pacer.level('key'), pacer.delayMs('key', 1)]).toEqual([10, 1_001]);
  pacer.end(spending, true);
  expect(pacer.level('key')).toBe(10);
  now += 4_000;
  expect(pacer.level('key')).toBe(6);
});

it('the cost of a call that was not sent is given back, and whoever found no room is told', async () => {
  const pacer = createPacer();
  let changes = 0;
  pacer.onChange(() => changes++);
  const spending = pacer.begin('key', 10);
  expect(pacer.delayMs('key', 1)).toBeGreaterThan(0);
  pacer.end(spending, false);
  expect(changes).toBe(0); // not while the call still holds its slot
  await Promise.resolve();
  expect([changes, pacer.level('key'), pacer.delayMs('key', 10)]).toEqual([1, 0, 0]);
  const again = pacer.begin('key', 10);
  expect(pacer.delayMs('key', 1)).toBeGreaterThan(0);
  pacer.end(again, false);
  await Promise.resolve();
  expect(changes).toBe(2);
});

it('nobody is told when nobody was kept back, and an end counts once', async () => {
  const pacer = createPacer();
  let changes = 0;
  pacer.onChange(() => changes++);
  const [first, second] = [pacer.begin('key', 3), pacer.begin('key', 2)];
  pacer.end(first, true);
  pacer.end(first, true);
  pacer.end(first, false);
  await Promise.resolve();
  expect([changes, pacer.level('key')]).toEqual([0, 5]);
  pacer.end(second, true);
  expect(pacer.level('key')).toBe(5);
});

it('headroom is for nobody, and the reserve for urgent calls', () => {
  const pacer = createPacer({ headroom: 1, reserve: 2 });
  spend(pacer, 6);
  expect([pacer.delayMs('key', 1), pacer.delayMs('key', 2)]).toEqual([0, 1_001]);
  expect([pacer.delayMs('key', 3, true), pacer.delayMs('key', 4, true)]).toEqual([0, 1_001]);
});

it('a call dearer than all usable room goes when the counter is at 0', () => {
  const pacer = createPacer({ headroom: 4, reserve: 3 });
  expect(pacer.delayMs('key', 4)).toBe(0);
  spend(pacer, 2);
  expect(pacer.delayMs('key', 4)).toBe(2_001);
  now += 2_001;
  expect(pacer.delayMs('key', 4)).toBe(0);
  const spending = pacer.begin('key', 0.25);
  expect(pacer.delayMs('key', 4)).toBeGreaterThan(0);
  pacer.end(spending, false);
  expect(pacer.delayMs('key', 4)).toBe(0);
});

it('fractions of points under way leave nothing behind', () => {
  const pacer = createPacer({ headroom: 4, reserve: 3 });
  const spendings = [0.1, 0.2, 0.3].map((cost) => pacer.begin('key', cost));
  for (const spending of spendings) pacer.end(spending, false);
  expect([pacer.level('key'), pacer.delayMs('key', 4)]).toEqual([0, 0]);
});

it('when Kraken says that the limit is exceeded, room is counted from the maximum down', () => {
  const pacer = createPacer({ headroom: 1, reserve: 2 });
  const refused = pacer.begin('key', 1);
  pacer.full('key');
  pacer.end(refused, true);
  expect(pacer.level('key')).toBe(10);
  expect([pacer.delayMs('key', 1), pacer.delayMs('key', 1, true)]).toEqual([4_001, 2_001]);
});

it('a throttled key waits with every call, free and urgent ones too, and other keys do not', () => {
  const pacer = createPacer();
  pacer.holdUntil('key', now + 1_500.5);
  pacer.holdUntil('key', now + 300);
  pacer.holdUntil('third', now + 100);
  expect([pacer.delayMs('key', 0), pacer.delayMs('key', 1, true)]).toEqual([1_501, 1_501]);
  expect([pacer.delayMs('other', 0), pacer.delayMs('other', 1), pacer.level('key')]).toEqual([0, 0, 0]);
  now += 101;
  expect([pacer.delayMs('third', 0), pacer.delayMs('key', 0)]).toEqual([0, 1_400]);
  now += 1_400;
  expect([pacer.delayMs('key', 0), pacer.delayMs('key', 1)]).toEqual([0, 0]);
});

it('a hold in the past holds nothing', () => {
  const pacer = createPacer();
  pacer.holdUntil('key', now - 1);
  expect([pacer.delayMs('key', 0), pacer.delayMs('key', 1)]).toEqual([0, 0]);
});

/** Kraken's side: the counter as KRAKEN.md 3.1 has it. */
class Counter {
  readonly #decayPerMs: number;
  level = 0;
  #at = 0;

  constructor(decayPerSecond: number) {
    this.#decayPerMs = decayPerSecond / 1_000;
  }

  add(cost: number, at: number): void {
    this.level = Math.max(0, this.level - (at - this.#at) * this.#decayPerMs) + cost;
    this.#at = at;
  }
}

const limits = fc.record({
  max: fc.integer({ min: 2, max: 20 }),
  decayPerSecond: fc.constantFrom(0.33, 0.5, 1, 3.75),
  headroom: fc.constantFrom(0, 0, 1, 2.5),
  reserve: fc.integer({ min: 0, max: 3 }),
});
const calls = fc.array(
  fc.record({
    after: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 3_000 })),
    takes: fc.double({ min: 0, max: 20_000, noNaN: true }),
    /** Where on its way Kraken counts it. */
    counted: fc.double({ min: 0, max: 1, noNaN: true }),
    cost: fc.constantFrom(0, 1, 1, 1, 2, 4, 0.5),
    urgent: fc.boolean(),
  }),
  { minLength: 1, maxLength: 60 },
);
/** A process that has run for up to a year. */
const startedAt = fc.double({ min: 0, max: 3e10, noNaN: true });

it("Kraken's counter never passes its maximum, wherever on its way Kraken counts a call", () => {
  fc.assert(
    fc.property(limits, calls, startedAt, ({ max, decayPerSecond, headroom, reserve }, arrivals, start) => {
      now = start;
      const pacer = createPacer({ counters: () => ({ max, decayPerSecond }), headroom, reserve });
      const charges: { at: number; cost: number }[] = [];
      let underWay: { spending: Spending; end: number }[] = [];
      const endUntil = (until: number): void => {
        for (const call of underWay.sort((a, b) => a.end - b.end)) {
          if (call.end > until) break;
          now = Math.max(now, call.end);
          pacer.end(call.spending, true);
        }
        underWay = underWay.filter(({ end }) => end > until);
      };
      for (const { after, takes, counted, cost, urgent } of arrivals) {
        endUntil(now + after);
        now += after;
        for (let delay = pacer.delayMs('key', cost, urgent); delay > 0;) {
          expect(Number.isInteger(delay)).toBe(true);
          const [alone, until] = [underWay.length === 0, now + delay];
          endUntil(until);
          now = until;
          delay = pacer.delayMs('key', cost, urgent);
          if (alone) expect(delay).toBe(0); // told exactly, with no rest of rounding
        }
        if (cost > max) continue;
        charges.push({ at: now + takes * counted, cost });
        underWay.push({ spending: pacer.begin('key', cost), end: now + takes });
      }
      const kraken = new Counter(decayPerSecond);
      for (const { at, cost } of charges.sort((a, b) => a.at - b.at)) {
        kraken.add(cost, at);
        expect(kraken.level).toBeLessThanOrEqual(max + 1e-6);
      }
    }),
    { numRuns: 300 },
  );
});

it('nobody waits longer than the counter makes it: a call alone fills the room that is there', () => {
  fc.assert(
    fc.property(limits, fc.array(fc.constantFrom(1, 2, 4), { maxLength: 40 }), (limit, costs) => {
      const { max, decayPerSecond, headroom, reserve } = limit;
      const pacer = createPacer({ counters: () => ({ max, decayPerSecond }), headroom, reserve });
      const exact = new Counter(decayPerSecond);
      for (const cost of costs) {
        const delay = pacer.delayMs('key', cost, true);
        exact.add(0, now);
        const needed = (exact.level - Math.max(0, max - headroom - cost)) / (decayPerSecond / 1_000);
        expect(delay).toBeLessThan(Math.max(0, needed) + 1.1);
        now += delay;
        spend(pacer, cost);
        exact.add(cost, now);
        if (exact.level > max) break; // dearer than the counter is high: Kraken would refuse it
      }
    }),
    { numRuns: 300 },
  );
});
