import fc from 'fast-check';
import { KrakenClock } from '../../src/kraken/kraken-clock.js';

const START = Date.UTC(2026, 10, 22, 12);

/** A call as it goes: how long after the one before, how long out and back, ms. */
interface Trip {
  readonly after: number;
  readonly out: number;
  readonly back: number;
}

/** A world in which Kraken's clock is `offset` ahead of ours, and every reply tells its own second. */
class World {
  readonly told: number[] = [];
  readonly clock: KrakenClock;
  /** Our wall clock, ms. */
  wall = START;
  /** Of Kraken's clock to ours, ms. */
  offset: number;

  constructor(offset: number) {
    this.offset = offset;
    this.clock = new KrakenClock({ onSkew: (ms) => this.told.push(ms), wallNow: () => this.wall });
  }

  /** The latest reply's Date. */
  date = '';

  call({ after, out, back }: Trip, error = 0): void {
    this.wall += after;
    const sentAt = this.wall;
    this.wall += out;
    this.date = new Date(this.wall + this.offset + error).toUTCString();
    this.wall += back;
    this.clock.observe(this.date, sentAt, this.wall);
  }

  /** Calls of 20 ms, at every phase of the second. */
  calls(count: number): void {
    for (let index = 0; index < count; index++) this.call({ after: 1_070, out: 10, back: 10 });
  }
}

const ms = (max: number): fc.Arbitrary<number> => fc.nat({ max });
const trip = (latency: number): fc.Arbitrary<Trip> =>
  fc.record({
    after: fc.oneof(ms(30), ms(2_500), ms(60_000)),
    out: ms(latency),
    back: ms(latency),
  });
const trips = (latency: number): fc.Arbitrary<Trip[]> =>
  fc.array(trip(latency), { minLength: 3, maxLength: 60 });
const anyOffset = fc.oneof(
  fc.integer({ min: -6_000, max: 6_000 }),
  fc.integer({ min: -3_600_000, max: 3_600_000 }),
  fc.integer({ min: -1e12, max: 1e11 }),
);

describe("Kraken's clock, by the dates of its replies", () => {
  it('is ours while it differs by less than the dates can tell, however slow the calls are', () => {
    fc.assert(
      fc.property(fc.integer({ min: -2_000, max: 2_000 }), trips(15_000), (offset, calls) => {
        const world = new World(offset);
        for (const call of calls) {
          world.call(call);
          expect(world.clock.offsetMs).toBe(0);
          expect(world.clock.now()).toBe(world.wall);
        }
        expect(world.told).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });

  it('is never taken to differ by more than a second and half a call from what it does', () => {
    fc.assert(
      fc.property(anyOffset, trips(4_000), (offset, calls) => {
        const world = new World(offset);
        let shortest = Infinity;
        for (const call of calls) {
          const { date } = world;
          world.call(call);
          if (world.date !== date) shortest = Math.min(shortest, call.out + call.back);
          if (world.clock.offsetMs === 0) continue;
          // The shortest of those that began a second knows best; what it knew grows vague by 200 ppm.
          const vague = 0.0002 * (world.wall - START);
          const known = (1_000 + shortest) / 2 + vague;
          expect(Math.abs(world.clock.offsetMs - offset)).toBeLessThanOrEqual(known + 1);
          expect(world.clock.now()).toBe(world.wall + world.clock.offsetMs);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('is known by two calls of different seconds, if it differs by more than the dates hide', () => {
    const offsets = fc
      .oneof(fc.integer({ min: 3_300, max: 10_000 }), fc.integer({ min: 3_300, max: 1e11 }))
      .chain((size) => fc.constantFrom(size, -size));
    fc.assert(
      fc.property(offsets, fc.array(trip(100), { minLength: 3, maxLength: 50 }), (offset, calls) => {
        const world = new World(offset);
        for (const call of calls) world.call({ ...call, after: call.after + 1_000 });
        expect(Math.abs(world.clock.offsetMs - offset)).toBeLessThanOrEqual(650);
        expect(world.told).toHaveLength(1);
      }),
      { numRuns: 300 },
    );
  });

  it('is known the better the more calls there are: to a few ms by those near the turn of a second', () => {
    for (const offset of [-70_123, -3_456, 3_456, 70_123, 86_400_777]) {
      const world = new World(offset);
      world.calls(100);
      expect(Math.abs(world.clock.offsetMs - offset)).toBeLessThan(60);
    }
  });

  it('is known as well by many calls within each second, of which the first and last count', () => {
    const world = new World(4_321);
    for (let index = 0; index < 400; index++) world.call({ after: 3, out: 2, back: 2 });
    expect(Math.abs(world.clock.offsetMs - 4_321)).toBeLessThan(10);
  });

  it('does not follow single odd replies', () => {
    const oddities = fc.oneof(
      fc.integer({ min: 2_000, max: 100_000 }),
      fc.integer({ min: -100_000, max: -2_000 }),
      fc.constantFrom(3_600_000, -3_600_000, -START),
    );
    const calls = fc.array(fc.tuple(trip(100), oddities, fc.boolean()), { minLength: 4, maxLength: 50 });
    fc.assert(
      fc.property(fc.constantFrom(0, 1_500, -1_000), calls, (offset, list) => {
        const world = new World(offset);
        let wasOdd = false;
        for (const [call, error, isOdd] of list) {
          const odd: boolean = isOdd && !wasOdd;
          world.call({ ...call, after: call.after + 1_000 }, odd ? error : 0);
          if (!odd && wasOdd) world.call({ after: 1_000, out: 10, back: 10 });
          wasOdd = odd;
        }
        expect(world.told).toEqual([]);
        expect(world.clock.offsetMs).toBe(0);
      }),
      { numRuns: 300 },
    );
  });

  it('is known anew after our clock was set, by the second call from then', () => {
    const step = fc.oneof(fc.integer({ min: 8_000, max: 1e9 }), fc.integer({ min: -1e9, max: -8_000 }));
    fc.assert(
      fc.property(fc.constantFrom(0, 9_000, -50_000), step, (offset, stepped) => {
        const world = new World(offset);
        world.calls(20);
        const before = world.clock.offsetMs;
        world.wall += stepped;
        world.offset -= stepped;
        world.calls(1);
        expect(world.clock.offsetMs).toBe(before);
        world.calls(1);
        if (Math.abs(world.offset) > 3_200) {
          expect(Math.abs(world.clock.offsetMs - world.offset)).toBeLessThan(520);
        } else expect(world.clock.offsetMs).toBe(0);
      }),
    );
  });

  it('is followed when the two drift apart', () => {
    const world = new World(0);
    for (let hour = 0; hour < 48; hour++) {
      for (let call = 0; call < 60; call++) {
        world.offset += 6; // 100 ppm
        world.call({ after: 59_930, out: 35, back: 35 });
      }
    }
    expect(world.offset).toBe(17_280);
    expect(Math.abs(world.clock.offsetMs - world.offset)).toBeLessThan(120);
    // Once when it begins to matter, then with every 5 s more.
    expect(world.told.map((ms) => Math.round(ms / 1_000))).toEqual([3, 8, 13]);
  });

  it('does not change for a slow call after a long silence', () => {
    const world = new World(5_000);
    world.calls(50);
    world.call({ after: 8 * 3_600_000, out: 14_000, back: 900 });
    expect(world.clock.offsetMs).toBeGreaterThan(4_000);
    expect(world.told).toHaveLength(1);
  });
});

describe('a difference', () => {
  it('is told once it matters, again with each 5 s of change, and when it is gone', () => {
    const world = new World(10_000);
    const near = (expected: readonly number[]): void => {
      expect(world.told).toHaveLength(expected.length);
      for (const [index, ms] of expected.entries())
        expect(Math.abs((world.told[index] ?? NaN) - ms)).toBeLessThan(600);
    };
    world.calls(10);
    near([10_000]);
    world.offset += 3_000;
    world.calls(10);
    near([10_000]);
    world.offset += 3_500;
    world.calls(10);
    near([10_000, 16_500]);
    world.offset = 0;
    world.calls(10);
    near([10_000, 16_500, 0]);
    expect(world.told.at(-1)).toBe(0);
    world.offset = -4_000;
    world.calls(10);
    near([10_000, 16_500, 0, -4_000]);
  });

  it('at the edge of what can be told does not come and go', () => {
    const world = new World(2_600);
    world.calls(50);
    world.offset = 2_100;
    world.calls(500);
    expect(world.told.length).toBeLessThanOrEqual(1);
  });
});

describe('what is no observation', () => {
  it.each([
    undefined,
    '',
    'now',
    '2026-11-22T12:00:00Z',
    '1795348800',
    'Sun, 22 Nov 2026 25:00:00 GMT',
    'Sun, 22 Nov 2026 12:00:00 PST',
    'Sun, 22 Foo 2026 12:00:00 GMT',
    'Sunday, 22-Nov-26 12:00:00 GMT',
    'Sun, 22 Nov 2026 12:00:00 GMT, Sun, 22 Nov 2026 12:00:00 GMT',
  ])('the date %j', (date) => {
    const world = new World(50_000);
    for (let index = 0; index < 10; index++) {
      world.wall += 1_000;
      world.clock.observe(date, world.wall, world.wall);
      world.clock.observe('', world.wall, world.wall);
    }
    expect(world.clock.offsetMs).toBe(0);
    world.calls(10);
    const known = world.clock.offsetMs;
    expect(Math.abs(known - 50_000)).toBeLessThan(520);
    for (let index = 0; index < 10; index++) world.clock.observe(date, world.wall, world.wall + 5);
    expect(world.clock.offsetMs).toBe(known);
  });

  it('a call during which our clock was set back', () => {
    const world = new World(0);
    for (let index = 0; index < 10; index++) {
      const date = new Date((world.wall += 60_000)).toUTCString();
      world.clock.observe(date, world.wall + 30_000, world.wall);
    }
    expect(world.clock.offsetMs).toBe(0);
    for (let index = 0; index < 10; index++)
      world.clock.observe(new Date(START + index * 1e6).toUTCString(), NaN, NaN);
    expect(world.clock.offsetMs).toBe(0);
  });

  it('a call during which our clock was set back a little, which would seem to tell more than it can', () => {
    const world = new World(50_000);
    world.calls(3);
    const known = world.clock.offsetMs;
    for (let back = 1; back < 1_000; back += 10) {
      world.wall += 1_010;
      const date = new Date(world.wall + world.offset).toUTCString();
      world.clock.observe(date, world.wall + back, world.wall);
      expect(world.clock.offsetMs).toBe(known);
    }
  });

  it('the same second again: two calls have to agree, in different seconds', () => {
    const world = new World(0);
    const date = new Date(START + 60_000).toUTCString();
    for (let index = 0; index < 50; index++) world.clock.observe(date, START, START + 1);
    expect(world.clock.offsetMs).toBe(0);
    expect(world.told).toEqual([]);
  });
});

describe("the least that Kraken's clock may show, before two replies have agreed", () => {
  const seenFrom = (world: World): number => world.wall + world.offset - world.clock.leastThinkable();

  it('is never above what it shows when our clock was not set yet, and nothing was heard', () => {
    fc.assert(
      fc.property(fc.integer({ min: -590_000, max: 590_000 }), (offset) => {
        expect(seenFrom(new World(offset))).toBeGreaterThanOrEqual(0);
      }),
    );
  });

  it('is not above it either, and close below, after one true reply, whatever our clock shows', () => {
    fc.assert(
      fc.property(anyOffset, trip(3_000), ms(5_000), (offset, first, later) => {
        const world = new World(offset);
        world.call(first);
        world.wall += later;
        expect(seenFrom(world)).toBeGreaterThanOrEqual(0);
        const vague = 2_000 + first.out + first.back + later * 0.0002;
        expect(seenFrom(world)).toBeLessThanOrEqual(Math.max(0, offset) + vague + 1);
      }),
    );
  });

  it('is not above it after replies that lie, as long as our clock is right or one of them is true', () => {
    fc.assert(
      fc.property(fc.integer({ min: -2_000, max: 2_000 }), anyOffset, trip(3_000), (offset, error, first) => {
        const world = new World(offset);
        world.call(first, error);
        expect(seenFrom(world)).toBeGreaterThanOrEqual(0);
      }),
    );
    fc.assert(
      fc.property(anyOffset, fc.integer({ min: 10_000, max: 1e9 }), trip(3_000), (offset, error, first) => {
        const world = new World(offset);
        world.call(first);
        world.call(first, error);
        expect(seenFrom(world)).toBeGreaterThanOrEqual(0);
      }),
    );
  });
});

it('asks the system for the time where it is given no clock', () => {
  const before = Date.now();
  const now = new KrakenClock().now();
  expect(now).toBeGreaterThanOrEqual(before);
  expect(now).toBeLessThanOrEqual(Date.now());
});
