import fc from 'fast-check';
import { ProxyError } from '../../src/errors.js';
import { NonceSequence } from '../../src/nonce/sequence.js';
import type { NonceState } from '../../src/nonce/store.js';
import { MemoryDisk, type MemoryStore, type WriteFate } from '../support/memory-store.js';

const NS_PER_MS = 1_000_000n;
const START_MS = Date.UTC(2026, 10, 22);
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const START = BigInt(START_MS) * NS_PER_MS;
const RESERVE_MS = 10_000;

/** A sequence on a disk in memory, by a clock that a test sets. */
class World {
  readonly disk: MemoryDisk;
  clockMs = START_MS;
  store!: MemoryStore;
  sequence!: NonceSequence;

  constructor(state?: NonceState) {
    this.disk = new MemoryDisk(state);
  }

  async start(): Promise<this> {
    this.store = this.disk.open();
    this.sequence = await NonceSequence.open(this.store, { reserveMs: RESERVE_MS, now: () => this.clockMs });
    return this;
  }

  /** The process dies, the write under way having landed or not. */
  async crash(landed = false): Promise<void> {
    this.store.crash(landed);
    await this.sequence.close().catch(() => undefined); // only its timers are left to stop
  }

  async restart(): Promise<void> {
    await this.crash();
    await this.start();
  }

  get clock(): bigint {
    return BigInt(this.clockMs) * NS_PER_MS;
  }

  /** What a restart would go on above, for this key. */
  durable(key: string): bigint {
    const { floor = 0n, keyFloors } = this.disk.state ?? {};
    const own = keyFloors?.get(key) ?? 0n;
    return own > floor ? own : floor;
  }
}

let world: World;
afterEach(() => world.crash());

async function open(state?: NonceState): Promise<void> {
  world = await new World(state).start();
}

/** Draws now, without waiting for a write. */
function drawn(key = 'a'): bigint {
  const nonce = world.sequence.draw(key);
  if (typeof nonce !== 'bigint') throw new Error('had to wait for the disk');
  return nonce;
}

function tick(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

describe('nonces', () => {
  it('are the clock in ns where it leads, and one step above the last where it does not', async () => {
    await open();
    expect([drawn(), drawn(), drawn('b')]).toEqual([START, START + 1n, START + 2n]);
    world.clockMs += 1;
    expect(drawn()).toBe(START + NS_PER_MS);
  });

  it('go on above a floor that is an hour ahead of the clock', async () => {
    const floor = START + BigInt(HOUR_MS) * NS_PER_MS;
    await open({ floor, keyFloors: new Map() });
    expect([drawn(), drawn()]).toEqual([floor + 1n, floor + 2n]);
    expect(world.sequence.leadSeconds).toBeCloseTo(3_600, 3);
  });

  it('keep rising when the clock steps back a day, and after a restart there', async () => {
    await open();
    const before = drawn();
    world.clockMs -= DAY_MS;
    expect(drawn()).toBe(before + 1n);
    await world.restart();
    expect(drawn() > before + 1n).toBe(true);
  });

  it('follow the clock forward an hour, and go on from there when it returns', async () => {
    await open();
    world.clockMs += HOUR_MS;
    const ahead = await world.sequence.draw('a');
    expect(ahead).toBe(world.clock);
    world.clockMs -= HOUR_MS;
    expect(drawn()).toBe(ahead + 1n);
    expect(world.sequence.leadSeconds).toBeCloseTo(3_600, 3);
  });

  it('never wait for the disk while the clock runs, because the reservation is renewed at half', async () => {
    await open();
    for (let ms = 0; ms < 60_000; ms += 100) {
      world.clockMs += 100;
      expect(drawn() <= world.durable('a')).toBe(true);
      await tick();
    }
    expect(world.disk.writes).toBeLessThanOrEqual(14);
    expect(world.sequence.issued).toBe(600);
  });

  it('wait for the disk when the reservation is used up, and then come in the order asked for', async () => {
    await open();
    world.clockMs += HOUR_MS;
    const draws = ['a', 'b', 'a'].map((key) => {
      const draw = world.sequence.draw(key);
      if (typeof draw === 'bigint') throw new Error('did not wait');
      return draw;
    });
    expect(await Promise.all(draws)).toEqual([world.clock, world.clock + 1n, world.clock + 2n]);
  });

  it('end below 2^63: nothing is handed out beyond, and the state on disk stays readable', async () => {
    const floor = 2n ** 63n - 2_000_000n;
    await open({ floor, keyFloors: new Map() });
    const last = drawn();
    expect(last).toBe(floor + 1n);
    await expect(world.sequence.lift(floor + 1_500_000n)).rejects.toThrow('2^63');
    expect(drawn()).toBe(last + 1n);
    await world.sequence.close();
    expect(world.disk.state?.floor).toBe(last + 1n);
    await expect(new World({ floor: 2n ** 63n - 10n, keyFloors: new Map() }).start()).rejects.toThrow(
      'no nonces are left below 2^63',
    );
  });
});

describe('a write that fails', () => {
  it.each<WriteFate>(['fails', 'lands but fails'])(
    '(%s) stops every draw as not-owner until a retry has succeeded',
    async (fate) => {
      await open();
      const before = drawn();
      world.disk.fate = fate;
      world.clockMs += RESERVE_MS + 1;
      await expect(world.sequence.draw('a')).rejects.toMatchObject({ code: 'not-owner' });
      expect(() => world.sequence.draw('a')).toThrow(ProxyError);
      expect(world.sequence.problem).toContain('cannot be written (ENOSPC)');
      const { writes } = world.disk;
      world.disk.fate = 'lands';
      while (world.sequence.problem !== undefined) await new Promise((resolve) => setTimeout(resolve, 20));
      expect(world.disk.writes).toBe(writes + 1);
      const after = drawn();
      expect(after > before && after <= world.durable('a')).toBe(true);
    },
  );

  it('at the start rejects it and hands nothing out', async () => {
    world = new World();
    world.disk.fate = 'fails';
    await expect(world.start()).rejects.toThrow('the disk is full');
    world.disk.fate = 'lands';
    world.store.crash(false);
    await world.start();
  });

  it('does not lower what is on the disk at the close either', async () => {
    await open();
    const last = drawn();
    world.disk.fate = 'fails';
    await expect(world.sequence.close()).rejects.toThrow('the disk is full');
    expect(world.durable('a') > last).toBe(true);
  });
});

describe('a write that hangs', () => {
  it('holds back only draws beyond what is durable', async () => {
    await open();
    world.disk.fate = 'hangs';
    world.clockMs += RESERVE_MS / 2 + 1;
    const within = drawn(); // and the renewal begins, and hangs
    world.clockMs += RESERVE_MS;
    const beyond = world.sequence.draw('a');
    let settled = false;
    void Promise.resolve(beyond).then(() => (settled = true));
    await tick();
    expect(settled).toBe(false);
    world.disk.fate = 'lands';
    world.store.settle(true);
    expect((await beyond) > within).toBe(true);
  });
});

describe('close', () => {
  it('writes the exact floor', async () => {
    await open();
    drawn();
    const last = drawn();
    await world.sequence.close();
    expect(world.disk.state).toEqual({ floor: last, keyFloors: new Map() });
    await world.sequence.close();
    await world.start();
    expect(drawn()).toBe(last + 1n);
  });

  it('makes later draws fail as not-owner', async () => {
    await open();
    await world.sequence.close();
    expect(() => world.sequence.draw('a')).toThrow(ProxyError);
    await expect(world.sequence.lift(START)).rejects.toThrow(ProxyError);
  });
});

describe('lift', () => {
  const AHEAD = START + BigInt(HOUR_MS) * NS_PER_MS;

  it('of a key lifts that key alone, and is durable when it resolves', async () => {
    await open();
    await world.sequence.lift(AHEAD, 'b');
    expect(drawn('a')).toBe(START);
    expect(drawn('b')).toBe(AHEAD + 1n);
    await world.restart();
    expect(drawn('a') < AHEAD).toBe(true);
    const next = drawn('b');
    expect(next > AHEAD + 1n).toBe(true);
    await world.sequence.close();
    expect(world.disk.state?.keyFloors).toEqual(new Map([['b', next]]));
  });

  it('of all keys lifts them all', async () => {
    await open();
    await world.sequence.lift(AHEAD);
    await world.restart();
    expect(drawn('a') > AHEAD).toBe(true);
    expect(drawn('b') > AHEAD).toBe(true);
  });

  it('never lowers', async () => {
    await open();
    await world.sequence.lift(AHEAD, 'b');
    await world.sequence.lift(AHEAD + 100n);
    await world.sequence.lift(START, 'b');
    await world.sequence.lift(START);
    await world.sequence.lift(1n, 'a');
    expect(drawn('a') > AHEAD + 100n).toBe(true);
    expect(drawn('b') > AHEAD + 100n).toBe(true);
  });

  it('that cannot be written is rejected, and holds all the same', async () => {
    await open();
    world.disk.fate = 'fails';
    await expect(world.sequence.lift(AHEAD, 'b')).rejects.toMatchObject({ code: 'not-owner' });
    world.disk.fate = 'lands';
    while (world.sequence.problem !== undefined) await new Promise((resolve) => setTimeout(resolve, 20));
    expect((await world.sequence.draw('b')) > AHEAD).toBe(true);
  });

  it('beyond 2^63 is refused and changes nothing', async () => {
    await open();
    for (const key of [undefined, 'b']) {
      await expect(world.sequence.lift(2n ** 63n, key)).rejects.toThrow('2^63');
      await expect(world.sequence.lift(2n ** 64n, key)).rejects.toThrow(RangeError);
    }
    expect(world.sequence.problem).toBeUndefined();
    expect([drawn('a'), drawn('b')]).toEqual([START, START + 1n]);
    await world.sequence.close();
    expect(world.disk.state).toEqual({ floor: START + 1n, keyFloors: new Map() });
  });

  it('is forgotten once the common sequence has overtaken it', async () => {
    await open();
    await world.sequence.lift(AHEAD, 'b');
    world.clockMs += HOUR_MS + 1;
    const nonce = await world.sequence.draw('b');
    expect(nonce).toBe(world.clock);
    await world.sequence.close();
    expect(world.disk.state).toEqual({ floor: nonce, keyFloors: new Map() });
  });
});

/** One thing that happens to a sequence. */
type Event =
  | { readonly do: 'draw'; readonly key: string; readonly times: number }
  | { readonly do: 'lift'; readonly key: string | undefined; readonly byMs: number }
  | { readonly do: 'clock'; readonly byMs: number }
  | { readonly do: 'renew' }
  | { readonly do: 'disk'; readonly fate: WriteFate }
  | { readonly do: 'settle'; readonly landed: boolean }
  | { readonly do: 'crash'; readonly landed: boolean }
  | { readonly do: 'close' };

const KEYS = ['a', 'b', 'c'];
const EVENT: fc.Arbitrary<Event> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('draw' as const),
      key: fc.constantFrom(...KEYS),
      times: fc.integer({ min: 1, max: 5 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('lift' as const),
      // 'c' is never lifted alone.
      key: fc.constantFrom(undefined, 'a', 'b'),
      byMs: fc.constantFrom(-DAY_MS, 1, RESERVE_MS, HOUR_MS),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('clock' as const),
      byMs: fc.constantFrom(
        1,
        100,
        RESERVE_MS / 2,
        RESERVE_MS - 1,
        RESERVE_MS * 2,
        HOUR_MS,
        -1,
        -HOUR_MS,
        -DAY_MS,
        DAY_MS,
      ),
    }),
  },
  // As the timer does without calls.
  { weight: 2, arbitrary: fc.constant({ do: 'renew' as const }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('disk' as const),
      fate: fc.constantFrom<WriteFate>('lands', 'lands', 'lands', 'hangs', 'fails', 'lands but fails'),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('settle' as const),
      landed: fc.constantFrom(true, true, false),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('crash' as const), landed: fc.boolean() }) },
  { weight: 1, arbitrary: fc.constant({ do: 'close' as const }) },
);

/** Lives through a history and gives what was handed out, in order. Throws where a promise was broken. */
async function live(history: readonly Event[]): Promise<{ key: string; nonce: bigint }[]> {
  const handedOut: { key: string; nonce: bigint }[] = [];
  world = await new World().start();
  const take = (key: string, nonce: bigint): void => {
    handedOut.push({ key, nonce });
    const durable = world.durable(key);
    if (nonce > durable) throw new Error(`${nonce} was handed out above the durable floor ${durable}`);
  };
  const broken: unknown[] = [];
  const restart = async (): Promise<void> => {
    // The process is started again until its disk lets it.
    world.disk.fate = 'lands';
    await world.start();
  };
  for (const event of history) {
    switch (event.do) {
      case 'draw':
        for (let time = 0; time < event.times; time++) {
          try {
            const draw = world.sequence.draw(event.key);
            if (typeof draw === 'bigint') take(event.key, draw);
            else draw.then((nonce) => take(event.key, nonce)).catch((error: unknown) => broken.push(error));
          } catch (error) {
            broken.push(error);
          }
        }
        break;
      case 'lift': {
        const from = world.clock > world.sequence.floor ? world.clock : world.sequence.floor;
        world.sequence
          .lift(from + BigInt(event.byMs) * NS_PER_MS, event.key)
          .catch((error: unknown) => broken.push(error));
        break;
      }
      case 'renew':
        world.sequence.lift(1n).catch((error: unknown) => broken.push(error));
        break;
      case 'clock':
        world.clockMs += event.byMs;
        break;
      case 'disk':
        world.disk.fate = event.fate;
        break;
      case 'settle':
        world.store.settle(event.landed);
        break;
      case 'crash':
        await world.crash(event.landed);
        await tick();
        await restart();
        break;
      case 'close':
        world.disk.fate = 'lands';
        world.store.settle(true);
        await world.sequence.close();
        await tick();
        await restart();
        break;
    }
    await tick();
  }
  await world.crash();
  await tick();
  // Refusals are right as long as the disk is at fault; anything else is not.
  for (const error of broken)
    if (!(error instanceof ProxyError && error.code === 'not-owner')) throw error as Error;
  return handedOut;
}

function expectRising(nonces: readonly bigint[]): void {
  const fallen = nonces.filter((nonce, index) => index > 0 && nonce <= (nonces[index - 1] ?? 0n));
  expect(fallen).toEqual([]);
}

describe('whatever crashes, disks and clocks do', () => {
  const runs = { numRuns: Number(process.env.SEQUENCE_RUNS ?? 400) };
  const histories = fc.array(EVENT, { minLength: 1, maxLength: 40, size: 'max' });

  it('the nonces of each key rise strictly, and none is handed out above the durable floor', async () => {
    await fc.assert(
      fc.asyncProperty(histories, async (history) => {
        const handedOut = await live(history);
        for (const key of KEYS)
          expectRising(handedOut.filter((each) => each.key === key).map(({ nonce }) => nonce));
      }),
      runs,
    );
  });

  it('the nonces of all keys rise strictly as one sequence while none has a floor of its own', async () => {
    const common = fc.array(
      EVENT.filter((event) => event.do !== 'lift' || event.key === undefined),
      { minLength: 1, maxLength: 40, size: 'max' },
    );
    await fc.assert(
      fc.asyncProperty(common, async (history) =>
        expectRising((await live(history)).map(({ nonce }) => nonce)),
      ),
      runs,
    );
  });

  it('a lifted key leaves the nonces of the others as they would have been', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(EVENT.filter(({ do: act }) => act === 'draw' || act === 'clock' || act === 'crash')),
        async (history) => {
          const ofC = (handedOut: { key: string; nonce: bigint }[]): bigint[] =>
            handedOut.filter(({ key }) => key === 'c').map(({ nonce }) => nonce);
          // 'a' and 'b' draw from the common sequence in one life and from their own floors in the other.
          const onlyC = history.filter((event) => event.do !== 'draw' || event.key === 'c');
          const lifted: Event[] = [
            { do: 'lift', key: 'a', byMs: 30 * DAY_MS },
            { do: 'lift', key: 'b', byMs: 30 * DAY_MS },
          ];
          const withLift = ofC(await live([...lifted, ...onlyC]));
          expect(withLift).toEqual(ofC(await live(onlyC)));
        },
      ),
      runs,
    );
  });
});
