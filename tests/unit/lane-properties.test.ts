import { jest } from '@jest/globals';
import fc from 'fast-check';
import { Deadlines, type Deadline } from '../../src/lane/deadlines.js';
import { Lane, type JoinOptions, type Turn } from '../../src/lane/lane.js';
import { LANE_CLASSES, type LaneClass } from '../../src/lane/lane-class.js';
import { Pacer, type Spending } from '../../src/lane/pacer.js';
import { StartupWindow } from '../../src/lane/startup.js';

const NO_WINDOW = { windowMs: 0, maxPerSecond: 1, minIntervalMs: 0 };
const LIMITS = { max: 10, decayPerSecond: 1 };
const HEADROOM = 1;
const RESERVE = 2;
/** ms that a timer and the whole ms of a delay may be late together. */
const LATE = 3;
/** Points. */
const ROUNDING = 1e-9;

beforeEach(() => {
  jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate'] });
});
afterEach(() => {
  jest.useRealTimers();
});

async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

/** A call as the test knows it. */
interface Call {
  readonly index: number;
  readonly class: LaneClass;
  readonly client: string;
  readonly key: string;
  readonly cost: number;
  readonly group: string;
  /** ms on the clock before which its own gate is shut. */
  readonly opensAt: number;
  readonly takes: number;
  /** Where on its way Kraken counts it, from 0 to 1. */
  readonly counted: number;
  readonly wasSent: boolean;
  turn?: Turn<void>;
  joined: number;
  started?: number;
  ended?: number;
  left?: number;
}

/** Kraken's counter by the book (KRAKEN.md 3.1), over a history of charges. */
function highestLevel(charges: readonly { readonly at: number; readonly cost: number }[]): number {
  let [level, last, highest] = [0, 0, 0];
  for (const { at, cost } of [...charges].sort((a, b) => a.at - b.at)) {
    level = Math.max(0, level - ((at - last) * LIMITS.decayPerSecond) / 1_000) + cost;
    last = at;
    highest = Math.max(highest, level);
  }
  return highest;
}

/** What the counter of a key may stand at, told from the calls alone: each costs from its start, and decays from its end. */
function levelOf(key: string, calls: readonly Call[], at: number): number {
  const spent = calls.filter((call) => call.key === key && call.cost > 0 && (call.started ?? Infinity) <= at);
  const done = spent.filter(({ ended, wasSent }) => wasSent && ended !== undefined && ended <= at);
  let [base, last] = [0, 0];
  for (const { ended = 0, cost } of done.sort((a, b) => (a.ended ?? 0) - (b.ended ?? 0))) {
    base = Math.max(0, base - ((ended - last) * LIMITS.decayPerSecond) / 1_000) + cost;
    last = ended;
  }
  base = Math.max(0, base - ((at - last) * LIMITS.decayPerSecond) / 1_000);
  const underWay = spent.filter(({ ended }) => ended === undefined || ended > at);
  return base + underWay.reduce((sum, { cost }) => sum + cost, 0);
}

function hasRoom(
  { class: laneClass, key, cost }: Call,
  calls: readonly Call[],
  at: number,
  rounding: number,
): boolean {
  if (cost === 0) return true;
  const urgent = laneClass === 'own' || laneClass === 'cancel';
  const usable = LIMITS.max - HEADROOM - (urgent ? 0 : RESERVE);
  return levelOf(key, calls, at) <= Math.max(0, usable - cost) + rounding;
}

/**
 * Who is next, written down as plainly as the rules are told: one list, sorted by class, start and age, walked from
 * the top. Keeps the virtual times by itself.
 */
class Oracle {
  readonly #virtual = new Map<LaneClass, number>();
  readonly #finish = new Map<string, number>();

  /** `rounding`, in points, is by how much the room may be missed and still be there. */
  next(waiting: readonly Call[], calls: readonly Call[], at: number, rounding: number): Call | undefined {
    const due = waiting
      .filter((call) => this.#isHead(call, waiting))
      .sort(
        (a, b) =>
          LANE_CLASSES.indexOf(a.class) - LANE_CLASSES.indexOf(b.class) ||
          this.#start(a) - this.#start(b) ||
          a.index - b.index,
      );
    const full = new Set<string>();
    for (const call of due) {
      if (call.opensAt > at || (call.cost > 0 && full.has(call.key))) continue;
      if (hasRoom(call, calls, at, rounding)) return call;
      full.add(call.key);
    }
    return undefined;
  }

  serve(call: Call): void {
    const start = this.#start(call);
    this.#virtual.set(call.class, start);
    this.#finish.set(nameOf(call), start + Math.max(1, call.cost));
  }

  /** Nothing runs and nothing waits. */
  rest(): void {
    this.#finish.clear();
  }

  #start(call: Call): number {
    return Math.max(this.#virtual.get(call.class) ?? 0, this.#finish.get(nameOf(call)) ?? 0);
  }

  /** Those of one client, class, key and group keep their order, paid and free ones each for themselves. */
  #isHead(call: Call, waiting: readonly Call[]): boolean {
    return !waiting.some(
      (other) =>
        other.index < call.index &&
        nameOf(other) === nameOf(call) &&
        other.key === call.key &&
        other.group === call.group &&
        (other.cost === 0) === (call.cost === 0),
    );
  }
}

function nameOf({ class: laneClass, client }: Call): string {
  return `${laneClass} ${client}`;
}

/** A lane on a simulated clock, watched by the oracle at every turn and whenever the clock stops. */
class World {
  readonly pacer = new Pacer({ counters: () => LIMITS, headroom: HEADROOM, reserve: RESERVE });
  readonly lane: Lane;
  readonly oracle = new Oracle();
  readonly calls: Call[] = [];
  /** What was sent, and when Kraken counted it. */
  readonly charges: { readonly key: string; readonly at: number; readonly cost: number }[] = [];
  readonly wrong: string[] = [];

  constructor(maxWaitMs: number) {
    const startup = new StartupWindow(NO_WINDOW);
    this.lane = new Lane({ maxWaiting: 10_000, maxWaitMs, startup, pacer: this.pacer });
  }

  get waiting(): Call[] {
    return this.calls.filter(({ started, left }) => started === undefined && left === undefined);
  }

  get running(): Call | undefined {
    return this.calls.find(({ started, ended }) => started !== undefined && ended === undefined);
  }

  join(given: Omit<Call, 'index' | 'joined'>): void {
    // The slot is free a little after the work has ended.
    if (this.lane.inFlight === 0 && this.waiting.length === 0) this.oracle.rest();
    const call: Call = { ...given, index: this.calls.length, joined: performance.now() };
    this.calls.push(call);
    const options: JoinOptions = {
      class: call.class,
      client: call.client,
      key: call.key,
      cost: call.cost,
      group: call.group,
      heldMs: () => Math.max(0, call.opensAt - performance.now()),
    };
    call.turn = this.lane.join(() => this.#work(call), options);
    call.turn.result.catch(() => (call.left ??= performance.now()));
  }

  leave(which: number): void {
    const call = this.waiting[which % Math.max(1, this.waiting.length)];
    if (call?.turn?.leave(new Error('gone')) === true) call.left = performance.now();
  }

  async pass(ms: number): Promise<void> {
    await jest.advanceTimersByTimeAsync(ms);
    await settle();
    this.check();
  }

  /** The slot is not free while somebody waits who could have had it for as long as a timer may be late. */
  check(): void {
    const now = performance.now();
    const last = this.calls.reduce((at, { ended = 0, left = 0 }) => Math.max(at, ended, left), 0);
    if (this.running !== undefined || now - LATE < last) return;
    const long = this.waiting.filter(({ joined }) => joined <= now - LATE);
    const next = this.oracle.next(long, this.calls, now - LATE, 0);
    if (next !== undefined) this.wrong.push(`idle at ${now} while call ${next.index} may go`);
  }

  async #work(call: Call): Promise<void> {
    const now = performance.now();
    const { running, waiting } = this;
    if (running !== undefined) this.wrong.push(`call ${call.index} has its turn beside ${running.index}`);
    // Room that is there to the last digit may be seen or not.
    const next = [ROUNDING, -ROUNDING].map((rounding) =>
      this.oracle.next(waiting, this.calls, now, rounding),
    );
    if (!next.includes(call)) {
      const named = next.map((one) => one?.index ?? 'nobody').join(' or ');
      this.wrong.push(`call ${call.index} at ${now}, but next is ${named}`);
    }
    this.oracle.serve(call);
    call.started = now;
    const spending: Spending = this.pacer.begin(call.key, call.cost);
    if (call.wasSent) {
      this.charges.push({ key: call.key, at: now + call.takes * call.counted, cost: call.cost });
    }
    if (call.takes > 0) await new Promise((resolve) => setTimeout(resolve, call.takes));
    call.ended = performance.now();
    this.pacer.end(spending, call.wasSent);
  }
}

const call = fc.record({
  class: fc.constantFrom(...LANE_CLASSES),
  client: fc.constantFrom('a', 'b', 'c'),
  key: fc.constantFrom('one', 'one', 'two'),
  cost: fc.constantFrom(0, 0, 1, 1, 2, 4),
  group: fc.constantFrom('', '', '', 'XBTUSD'),
  shutMs: fc.oneof({ arbitrary: fc.constant(0), weight: 5 }, fc.integer({ min: 1, max: 3_000 })),
  takes: fc.constantFrom(0, 5, 40, 400),
  counted: fc.double({ min: 0, max: 1, noNaN: true }),
  wasSent: fc.oneof({ arbitrary: fc.constant(true), weight: 9 }, fc.constant(false)),
});
const step = fc.oneof(
  { arbitrary: fc.record({ join: fc.array(call, { minLength: 1, maxLength: 4 }) }), weight: 5 },
  { arbitrary: fc.record({ pass: fc.constantFrom(0, 1, 10, 100, 1_000, 2_500) }), weight: 4 },
  { arbitrary: fc.record({ leave: fc.nat({ max: 20 }) }), weight: 1 },
);

it('every turn goes to the one whom the rules name, and nobody who may go waits beside a free slot', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), async (steps) => {
      const world = new World(600_000);
      for (const one of steps) {
        if ('join' in one) {
          for (const { shutMs, ...given } of one.join) {
            world.join({ ...given, opensAt: shutMs === 0 ? 0 : performance.now() + shutMs });
          }
        } else if ('leave' in one) world.leave(one.leave);
        else await world.pass(one.pass);
      }
      await settle();
      // Nobody waits for ever: 5 s bring room for one call more, also one that needs the counter lower than others do.
      for (let round = 0; world.waiting.length > 0 || world.running !== undefined; round++) {
        if (round > 2 * world.calls.length) {
          world.wrong.push(`${world.waiting.length} calls wait for ever`);
          break;
        }
        await world.pass(5_000);
      }
      expect(world.wrong).toEqual([]);
      expect([world.lane.waiting, world.lane.inFlight]).toEqual([0, 0]);
      for (const key of ['one', 'two']) {
        const charges = world.charges.filter((charge) => charge.key === key);
        expect(highestLevel(charges)).toBeLessThanOrEqual(LIMITS.max + 1e-6);
      }
      await world.lane.close();
    }),
    { numRuns: 150 },
  );
});

it('clients that always wait get the same, but for one cost', async () => {
  const costs = fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(
      fc.array(costs, { minLength: 2, maxLength: 6 }),
      fc.integer({ min: 10, max: 120 }),
      async (clients, turns) => {
        const lane = new Lane({
          maxWaiting: 1_000,
          maxWaitMs: 60_000,
          startup: new StartupWindow(NO_WINDOW),
        });
        const served = clients.map(() => 0);
        const spread: number[] = [];
        let left = turns;
        let begin = (): void => undefined;
        void lane.join(() => new Promise<void>((resolve) => (begin = resolve)), { client: 'first' });
        const join = (client: number, round: number): void => {
          const list = clients[client] ?? [];
          const cost = list[round % list.length] ?? 0;
          const work = (): Promise<void> => {
            if (left-- <= 0) return Promise.resolve();
            served[client] = (served[client] ?? 0) + Math.max(1, cost);
            spread.push(Math.max(...served) - Math.min(...served));
            join(client, round + 2);
            return Promise.resolve();
          };
          void lane.join(work, { client: String(client), cost });
        };
        // Two each, so that none is ever without one that waits.
        for (const client of clients.keys()) {
          join(client, 0);
          join(client, 1);
        }
        begin();
        while (lane.waiting > 0 || lane.inFlight > 0) await settle();
        expect(spread).toHaveLength(turns);
        expect(Math.max(...spread)).toBeLessThanOrEqual(Math.max(1, ...clients.flat()));
        await lane.close();
      },
    ),
    { numRuns: 100 },
  );
});

it('those who stay keep their order, however many leave around them', async () => {
  const calls = fc.array(fc.record({ leavesAt: fc.option(fc.nat({ max: 80 }), { freq: 8 }) }), {
    minLength: 150,
    maxLength: 300,
  });
  await fc.assert(
    fc.asyncProperty(calls, async (given) => {
      const lane = new Lane({ maxWaiting: 1_000, maxWaitMs: 60_000, startup: new StartupWindow(NO_WINDOW) });
      const order: number[] = [];
      const left = new Set<number>();
      const turns = given.map((_, index) =>
        lane.join(() => {
          order.push(index);
          for (const [which, { leavesAt }] of given.entries()) {
            if (leavesAt === order.length && turns[which]?.leave(new Error('gone')) === true) left.add(which);
          }
          return Promise.resolve();
        }),
      );
      for (const { result } of turns) result.catch(() => undefined);
      while (lane.waiting > 0 || lane.inFlight > 0) await settle();
      expect(order).toEqual([...given.keys()].filter((index) => !left.has(index)));
      await lane.close();
    }),
    { numRuns: 10 },
  );
});

it('the earliest deadline is found, whoever came and went', () => {
  const step = fc.oneof(
    { arbitrary: fc.record({ due: fc.nat({ max: 1_000 }) }), weight: 3 },
    { arbitrary: fc.record({ gone: fc.nat() }), weight: 2 },
    { arbitrary: fc.constant('ask' as const), weight: 1 },
  );
  fc.assert(
    fc.property(fc.array(step, { minLength: 200, maxLength: 600 }), (steps) => {
      const deadlines = new Deadlines<{ deadline: Deadline; waiting: boolean }>();
      let waiters: { deadline: Deadline; waiting: boolean }[] = [];
      for (const one of steps) {
        if (one === 'ask') {
          const earliest = Math.min(...waiters.map(({ deadline }) => deadline.steady));
          expect(deadlines.first()?.deadline.steady ?? Infinity).toBe(earliest);
        } else if ('gone' in one) {
          const waiter = waiters[one.gone % Math.max(1, waiters.length)];
          if (waiter !== undefined) waiter.waiting = false;
          waiters = waiters.filter(({ waiting }) => waiting);
        } else {
          const waiter = { deadline: { steady: one.due, wall: 0, maxWaitMs: 0 }, waiting: true };
          waiters.push(waiter);
          deadlines.add(waiter);
        }
      }
    }),
    { numRuns: 100 },
  );
});

it('every wait ends at its deadline at the latest, whoever left before and in whatever order they came', async () => {
  const waits = fc.array(
    fc.record({
      maxWaitMs: fc.integer({ min: 1, max: 2_000 }),
      leaves: fc.boolean(),
      pass: fc.nat({ max: 50 }),
    }),
    { minLength: 1, maxLength: 150 },
  );
  await fc.assert(
    fc.asyncProperty(waits, async (calls) => {
      const lane = new Lane({ maxWaiting: 1_000, maxWaitMs: 60_000, startup: new StartupWindow(NO_WINDOW) });
      let release = (): void => undefined;
      void lane.join(() => new Promise<void>((resolve) => (release = resolve)));
      const ends: { readonly due: number; at?: number }[] = [];
      for (const { maxWaitMs, leaves, pass } of calls) {
        const turn = lane.join(() => Promise.resolve(), { maxWaitMs });
        if (leaves) {
          turn.result.catch(() => undefined);
          turn.leave(new Error('gone'));
        } else {
          const end: (typeof ends)[number] = { due: performance.now() + maxWaitMs };
          ends.push(end);
          turn.result.catch(() => (end.at = performance.now()));
        }
        if (pass > 0) await jest.advanceTimersByTimeAsync(pass);
      }
      await jest.advanceTimersByTimeAsync(2_002);
      for (const { due, at } of ends) {
        expect(at).toBeGreaterThanOrEqual(due);
        expect(at).toBeLessThanOrEqual(due + 2);
      }
      expect(lane.waiting).toBe(0);
      release();
      await lane.close();
    }),
    { numRuns: 50 },
  );
});
