import { jest } from '@jest/globals';
import fc from 'fast-check';
import { ProxyError } from '../../src/errors.js';
import { FairShare } from '../../src/lane/fair-share.js';
import { LANE_CLASSES } from '../../src/lane/lane-class.js';
import { Lane, type JoinOptions, type LaneOptions } from '../../src/lane/lane.js';
import { Pacer } from '../../src/lane/pacer.js';
import { Routes } from '../../src/lane/routes.js';
import { StartupWindow } from '../../src/lane/startup.js';
import { SOLE_TENURES } from '../../src/lane/tenure.js';
import type { Place } from '../../src/lane/waiting-line.js';

const NO_WINDOW = { windowMs: 0, maxPerSecond: 1, minIntervalMs: 0 };

/** What a test opened and leaves to be closed: an open lane keeps its timers. */
const opened: { close(graceMs: number): Promise<void> }[] = [];
afterEach(() => {
  for (const one of opened.splice(0)) void one.close(0);
});

function createLane(options: Partial<LaneOptions> = {}): Lane {
  const startup = new StartupWindow(NO_WINDOW);
  const lane = new Lane({ maxWaiting: 100, maxWaitMs: 60_000, startup, ...options });
  opened.push(lane);
  return lane;
}

/** Work that ends when the test says so. */
interface Work {
  readonly run: () => Promise<string>;
  readonly started: boolean;
  finish(): void;
  fail(error: Error): void;
}

function createWork(name = 'done'): Work {
  let finish = (): void => undefined;
  let fail: (error: Error) => void = () => undefined;
  const work = {
    started: false,
    run: () => {
      work.started = true;
      return promise;
    },
    finish: () => finish(),
    fail: (error: Error) => fail(error),
  };
  const promise = new Promise<string>((resolve, reject) => {
    finish = () => resolve(name);
    fail = reject;
  });
  promise.catch(() => undefined);
  return work;
}

async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

async function codeOf(result: Promise<unknown>): Promise<string> {
  const error = await result.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return error instanceof ProxyError ? error.code : String(error);
}

const gone = new Error('gone');

describe('a lane', () => {
  it('runs one call at a time, in the order of arrival, whoever leaves and fails meanwhile', async () => {
    const step = fc.record({
      kind: fc.constantFrom('join', 'join', 'join', 'leave', 'finish', 'finish', 'fail'),
      which: fc.nat({ max: 30 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const lane = createLane();
        const order: number[] = [];
        const joined: {
          left: boolean;
          ended: boolean;
          work: Work;
          turn: { leave(error: Error): boolean };
        }[] = [];
        const running = (): (typeof joined)[number] | undefined =>
          joined.find(({ work, ended }) => work.started && !ended);
        const end = async (failed: boolean): Promise<void> => {
          const call = running();
          if (call === undefined) return;
          call.ended = true;
          if (failed) call.work.fail(gone);
          else call.work.finish();
          await settle();
        };
        for (const { kind, which } of steps) {
          const call = joined[which % Math.max(1, joined.length)];
          if (kind === 'join') {
            const index = joined.length;
            const work = createWork();
            const turn = lane.join(() => {
              order.push(index);
              return work.run();
            });
            turn.result.catch(() => undefined);
            joined.push({ left: false, ended: false, work, turn });
          } else if (kind === 'leave' && call !== undefined) {
            const couldLeave = !call.work.started && !call.left;
            expect(call.turn.leave(gone)).toBe(couldLeave);
            call.left ||= couldLeave;
          } else if (kind !== 'leave') {
            await end(kind === 'fail');
          }
          expect(joined.filter(({ work, ended }) => work.started && !ended).length).toBeLessThanOrEqual(1);
          expect(lane.waiting).toBe(joined.filter(({ work, left }) => !work.started && !left).length);
        }
        while (running() !== undefined) await end(false);
        expect(order).toEqual(joined.flatMap(({ left }, index) => (left ? [] : [index])));
        expect([lane.waiting, lane.inFlight]).toEqual([0, 0]);
      }),
      { numRuns: 150 },
    );
  });

  it('starts a call at once when it is free, and gives back what its work returned or threw', async () => {
    const lane = createLane();
    const [good, bad] = [createWork('value'), createWork()];
    const first = lane.join(good.run);
    const second = lane.join(bad.run);
    expect([good.started, bad.started, lane.inFlight, lane.waiting]).toEqual([true, false, 1, 1]);
    good.finish();
    expect(await first.result).toBe('value');
    await settle();
    bad.fail(gone);
    await expect(second.result).rejects.toBe(gone);
  });

  it('keeps the slot while the work goes on, though the call has given up', async () => {
    const lane = createLane();
    const [first, second] = [createWork(), createWork()];
    const turn = lane.join(first.run);
    void lane.join(second.run);
    expect(turn.leave(gone)).toBe(false);
    await settle();
    expect([second.started, lane.inFlight]).toEqual([false, 1]);
    first.finish();
    expect(await turn.result).toBe('done');
    await settle();
    expect(second.started).toBe(true);
    second.finish();
  });

  it('frees the slot when the work throws instead of returning a promise', async () => {
    const lane = createLane();
    const broken = lane.join(() => {
      throw gone;
    });
    const next = lane.join(() => Promise.resolve('next'));
    expect(await codeOf(broken.result)).toBe('Error: gone');
    expect(await next.result).toBe('next');
  });

  it('refuses one more than maxWaiting, not counting the one in flight, and has room again when one leaves', async () => {
    const lane = createLane({ maxWaiting: 2 });
    const first = createWork();
    void lane.join(first.run);
    const [second] = [lane.join(() => Promise.resolve('second')), lane.join(() => Promise.resolve('third'))];
    expect(() => lane.join(() => Promise.resolve())).toThrow(
      expect.objectContaining({ code: 'queue-full', retryAfterSeconds: 1 }) as Error,
    );
    expect(second.leave(gone)).toBe(true);
    await expect(second.result).rejects.toBe(gone);
    const fourth = lane.join(() => Promise.resolve('fourth'));
    first.finish();
    expect(await fourth.result).toBe('fourth');
  });

  it('sends those away who waited maxWaitMs, and only those', async () => {
    const lane = createLane({ maxWaitMs: 60 });
    const first = createWork();
    const turn = lane.join(first.run);
    const started = performance.now();
    const waiting = [lane.join(() => Promise.resolve()), lane.join(() => Promise.resolve())];
    expect(await Promise.all(waiting.map(({ result }) => codeOf(result)))).toEqual([
      'queue-timeout',
      'queue-timeout',
    ]);
    expect(performance.now() - started).toBeGreaterThanOrEqual(59);
    expect([lane.waiting, lane.inFlight]).toEqual([0, 1]);
    const later = lane.join(() => Promise.resolve('later'));
    first.finish();
    expect(await later.result).toBe('later');
    expect(await turn.result).toBe('done'); // it was in flight for longer than anybody may wait
  });

  it('fails what waits when it closes, takes nothing more, and waits for the call in flight', async () => {
    const lane = createLane();
    const first = createWork();
    const turn = lane.join(first.run);
    const second = lane.join(() => Promise.resolve());
    let closed = false;
    const closing = lane.close().then(() => (closed = true));
    expect(await codeOf(second.result)).toBe('shutting-down');
    expect(() => lane.join(() => Promise.resolve())).toThrow(
      expect.objectContaining({ code: 'shutting-down' }) as Error,
    );
    await settle();
    expect(closed).toBe(false);
    first.finish();
    await closing;
    expect(await turn.result).toBe('done');
  });

  describe('in the startup window', () => {
    let startup: StartupWindow;
    let now: number;
    beforeEach(() => {
      now = 1_000;
      startup = new StartupWindow({ windowMs: 60_000, maxPerSecond: 1, minIntervalMs: 0 }, () => now);
      startup.open();
    });

    it('holds a call back, lets an exempt one pass it, and lets it go when the window is left', async () => {
      const lane = createLane({ startup });
      await lane.join(() => Promise.resolve()).result;
      const order: string[] = [];
      const note = (name: string) => () => Promise.resolve(void order.push(name));
      const held = [lane.join(note('first held')), lane.join(note('second held'))];
      await lane.join(note('exempt'), { exempt: true }).result;
      await settle();
      expect(order).toEqual(['exempt']);
      startup.close();
      await settle();
      expect(order).toEqual(['exempt', 'first held', 'second held']); // at once, not when a timer says so
      await Promise.all(held.map(({ result }) => result));
    });

    it('does not count an exempt call', async () => {
      const lane = createLane({ startup });
      await lane.join(() => Promise.resolve(), { exempt: true }).result;
      expect(startup.delayMs()).toBe(0);
    });

    it('lets the next go as soon as it may, though it looked later while a call was under way', async () => {
      // By the wall clock: what is tested is the lane's own timer.
      startup = new StartupWindow({ windowMs: 60_000, maxPerSecond: 1, minIntervalMs: 0 });
      startup.open();
      const lane = createLane({ startup });
      const first = createWork();
      void lane.join(first.run);
      const second = lane.join(() => Promise.resolve(performance.now()));
      await settle();
      first.finish();
      const ended = performance.now();
      const wait = (await second.result) - ended;
      expect(wait).toBeGreaterThanOrEqual(990);
      expect(wait).toBeLessThan(5_000); // not the end of the window
    });
  });
});

/** Calls of a lane by name, and the order in which they had their turns. */
interface Roll {
  readonly lane: Lane;
  /** Names, in the order of their turns. */
  readonly order: string[];
  /** A call that ends at once; with a cost it spends that. Resolves to the error's code, or `went`. */
  readonly call: (name: string, options?: JoinOptions) => Promise<string>;
  /** Takes the slot until the function that it returns is called. */
  readonly block: (options?: JoinOptions) => () => Promise<void>;
}

function createRoll(options: Partial<LaneOptions> & { readonly pacer?: Pacer } = {}): Roll {
  const lane = createLane(options);
  const order: string[] = [];
  return {
    lane,
    order,
    call: (name, join = {}) => {
      const work = (): Promise<void> => {
        order.push(name);
        const spending = options.pacer?.begin(join.key ?? '', join.cost ?? 0);
        if (spending !== undefined) options.pacer?.end(spending, true);
        return Promise.resolve();
      };
      return lane.join(work, join).result.then(
        () => 'went',
        (error: unknown) => (error instanceof ProxyError ? error.code : String(error)),
      );
    },
    block: (join) => {
      const work = createWork();
      void lane.join(work.run, join);
      return async () => {
        work.finish();
        await settle();
      };
    },
  };
}

describe('who is next', () => {
  it('is of the highest class that waits, whatever came first', async () => {
    const { lane, order, call, block } = createRoll();
    const release = block();
    for (const laneClass of [...LANE_CLASSES].reverse()) void call(laneClass, { class: laneClass });
    void call('second cancel', { class: 'cancel' });
    void call('by default');
    expect(LANE_CLASSES.map((laneClass) => lane.waitingOf(laneClass))).toEqual([2, 1, 1, 1, 2, 1, 1]);
    await release();
    expect(order).toEqual([
      'cancel',
      'second cancel',
      'own',
      'change',
      'order',
      'other',
      'by default',
      'read',
      'history',
    ]);
  });

  it("is a single call of one client after at most one of another's thousand", async () => {
    const { order, call, block } = createRoll({ maxWaiting: 2_000 });
    const release = block();
    for (let index = 0; index < 1_000; index++) void call('busy', { client: 'busy' });
    void call('single', { client: 'single' });
    await release();
    expect(order.indexOf('single')).toBe(1); // nobody had been served before: the older one goes first
    expect(order).toHaveLength(1_001);
  });

  it('is a single call next when the one in flight is of the client with a thousand', async () => {
    const { order, call, block } = createRoll({ maxWaiting: 2_000 });
    const release = block({ client: 'busy' });
    for (let index = 0; index < 1_000; index++) void call('busy', { client: 'busy' });
    void call('single', { client: 'single' });
    await release();
    expect(order.indexOf('single')).toBe(0);
  });

  it('is a single call after at most one of each busy client, whatever theirs cost', async () => {
    const pacer = new Pacer({
      counters: () => ({ max: 1e9, decayPerSecond: 1 }),
      headroom: 0,
      reserve: 0,
    });
    const { order, call, block } = createRoll({ maxWaiting: 2_000, pacer });
    const release = block();
    const busy = ['a', 'b', 'c', 'd', 'e'];
    for (let index = 0; index < 100; index++) {
      for (const [which, client] of busy.entries()) void call(client, { client, cost: (index + which) % 5 });
    }
    const late = call('gate').then(() => call('single', { client: 'single' }));
    await release();
    await late;
    const before = order.slice(order.indexOf('gate') + 1, order.indexOf('single'));
    expect(before.length).toBe(new Set(before).size);
    expect(before.length).toBeLessThanOrEqual(5);
  });

  it('gives each client its share in units of cost', async () => {
    const pacer = new Pacer({
      counters: () => ({ max: 1e9, decayPerSecond: 1 }),
      headroom: 0,
      reserve: 0,
    });
    const { order, call, block } = createRoll({ pacer });
    const release = block();
    for (let index = 0; index < 12; index++) void call('cheap', { client: 'cheap', cost: 1 });
    for (let index = 0; index < 4; index++) void call('dear', { client: 'dear', cost: 4 });
    await release();
    const round = ['cheap', 'cheap', 'cheap', 'cheap'];
    expect(order).toEqual([
      'cheap',
      'dear',
      ...round,
      'dear',
      ...round,
      'dear',
      'cheap',
      'cheap',
      'cheap',
      'dear',
    ]);
  });

  it('is the older of two clients after a pause, whoever had the last turn before it', async () => {
    const { order, call, block } = createRoll();
    await call('earlier', { client: 'a', cost: 4 });
    await settle();
    const release = block({ class: 'read' });
    void call('a', { client: 'a' });
    void call('b', { client: 'b' });
    await release();
    expect(order).toEqual(['earlier', 'a', 'b']);
  });
});

describe('the shares of a class', () => {
  let shares: FairShare;
  let sequence: number;
  beforeEach(() => {
    shares = new FairShare();
    sequence = 0;
  });

  function add(client: string, cost = 0): void {
    const place: Place = {
      class: 'other',
      client,
      account: '',
      key: '',
      cost,
      group: '',
      exempt: false,
      heldMs: undefined,
      deadline: { steady: Infinity, wall: Infinity, maxWaitMs: Infinity },
      onLeave: () => undefined,
      sequence: ++sequence,
      waiting: true,
    };
    shares.add(place);
  }

  function serve(): string | undefined {
    const place = shares.first()?.head;
    if (place === undefined) return undefined;
    place.waiting = false;
    shares.remove(place);
    shares.charge(place);
    return place.client;
  }

  it('forget clients who owe nothing, whatever their number', () => {
    add('steady');
    for (let index = 0; index < 10_000; index++) {
      add(String(index));
      add('steady');
      serve();
      serve();
    }
    expect(shares.clients).toBeLessThan(100);
  });

  it('do not forget what a client owes because it has nothing waiting', () => {
    add('dear', 30);
    expect(serve()).toBe('dear');
    for (let index = 0; index < 100; index++) add(String(index));
    for (let index = 0; index < 100; index++) serve(); // more clients than are kept unasked
    add('dear');
    add('cheap');
    expect([serve(), serve()]).toEqual(['cheap', 'dear']);
  });
});

describe('who may go', () => {
  let pacer: Pacer;
  beforeEach(() => {
    jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate'] });
    // 10 points, 1 a second; 1 for nobody, 2 for urgent calls.
    pacer = new Pacer({
      counters: () => ({ max: 10, decayPerSecond: 1 }),
      headroom: 1,
      reserve: 2,
    });
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  async function pass(ms: number): Promise<void> {
    await jest.advanceTimersByTimeAsync(ms);
    await settle();
  }

  /** Fills the counter for calls that are not urgent. */
  function fill(key = 'key', cost = 7): void {
    pacer.end(pacer.begin(key, cost), true);
  }

  const paid = { key: 'key', cost: 1 };

  it('who has no room waits for it, and no longer; free calls and other keys pass', async () => {
    const { order, call } = createRoll({ pacer });
    fill();
    void call('first', paid);
    void call('second', paid);
    void call('free', { key: 'key' });
    void call('other key', { key: 'other', cost: 1 });
    await settle();
    expect(order).toEqual(['free', 'other key']);
    await pass(999);
    expect(order).toHaveLength(2);
    await pass(2);
    expect(order.slice(2)).toEqual(['first']);
    await pass(998);
    expect(order).toHaveLength(3);
    await pass(3);
    expect(order.slice(3)).toEqual(['second']);
  });

  it('urgent calls may use the reserve, and nobody the headroom', async () => {
    const { order, call } = createRoll({ pacer });
    fill();
    void call('read', { ...paid, class: 'read' });
    void call('order', { ...paid, class: 'order' });
    void call('cancel', { ...paid, class: 'cancel' });
    void call('own', { ...paid, class: 'own' });
    void call('second own', { ...paid, class: 'own' });
    await settle();
    expect(order).toEqual(['cancel', 'own']);
    await pass(1_002);
    expect(order).toEqual(['cancel', 'own', 'second own']);
  });

  it('a dear call does not starve behind cheap ones that keep coming', async () => {
    const { order, call } = createRoll({ pacer });
    fill();
    void call('dear', { ...paid, cost: 4, client: 'a' });
    for (let index = 0; index < 10; index++) void call('cheap', { ...paid, client: `b${index % 2}` });
    await pass(3_999);
    expect(order).toEqual([]);
    await pass(2);
    expect(order).toEqual(['dear']);
    await pass(1_001);
    expect(order).toEqual(['dear', 'cheap']);
  });

  it('a dear call of a lower class keeps no higher one from the room', async () => {
    const { order, call } = createRoll({ pacer });
    fill('key', 6);
    void call('dear', { ...paid, cost: 4, class: 'history' });
    void call('cheap', { ...paid, class: 'read' });
    await settle();
    expect(order).toEqual(['cheap']);
  });

  it('goes when the dear call before it gives up', async () => {
    const { lane, order, call } = createRoll({ pacer });
    fill('key', 5);
    const dear = lane.join(() => Promise.resolve(), { ...paid, cost: 4 });
    void call('cheap', paid);
    await settle();
    expect(order).toEqual([]);
    dear.leave(gone);
    await expect(dear.result).rejects.toBe(gone);
    await settle();
    expect(order).toEqual(['cheap']);
  });

  it('goes when the dear call before it has waited too long', async () => {
    const { order, call } = createRoll({ pacer });
    fill('key', 5);
    const dear = call('dear', { ...paid, cost: 4, maxWaitMs: 100 });
    void call('cheap', paid);
    await pass(101);
    expect([await dear, order]).toEqual(['rate-limited', ['cheap']]);
  });

  it('goes at once when room that was taken is given back', async () => {
    const { order, call } = createRoll({ pacer });
    const spending = pacer.begin('key', 7);
    void call('call', paid);
    await settle();
    expect(order).toEqual([]);
    pacer.end(spending, false);
    await settle();
    expect(order).toEqual(['call']);
  });

  it('all lanes wait for the counter that they share', async () => {
    const [one, other] = [createRoll({ pacer }), createRoll({ pacer })];
    const spending = pacer.begin('key', 7);
    void one.call('one', paid);
    void other.call('other', paid);
    await settle();
    pacer.end(spending, false);
    await settle();
    expect([one.order, other.order]).toEqual([['one'], ['other']]);
  });

  it('a throttled key waits with all its calls, and other keys do not', async () => {
    const { order, call } = createRoll({ pacer });
    pacer.holdUntil('key', performance.now() + 500);
    void call('free cancel', { key: 'key', class: 'cancel' });
    void call('paid', paid);
    void call('other key', { key: 'other', cost: 1 });
    await pass(499);
    expect(order).toEqual(['other key']);
    await pass(2);
    expect(order).toEqual(['other key', 'free cancel', 'paid']);
  });

  it('the wake-up comes earlier when a call arrives that has less to wait', async () => {
    const { order, call } = createRoll({ pacer });
    let open = false;
    void call('long', { heldMs: () => 60_000, group: 'a' });
    void call('for ever', { heldMs: () => (open ? 0 : Infinity), group: 'b' });
    fill();
    void call('short', paid);
    await pass(1_002);
    expect(order).toEqual(['short']);
    open = true;
    await pass(1_000);
    expect(order).toEqual(['short']);
  });

  it("a call's own gate holds those of its group behind it, and nobody else", async () => {
    const { lane, order, call } = createRoll();
    let open = false;
    void call('gated', { group: 'XBTUSD', heldMs: () => (open ? 0 : Infinity) });
    void call('behind', { group: 'XBTUSD' });
    void call('other group', { group: 'ETHUSD' });
    void call('other client', { group: 'XBTUSD', client: 'other' });
    void call('other class', { group: 'XBTUSD', class: 'cancel' });
    await pass(10_000);
    expect(order).toEqual(['other group', 'other class', 'other client']);
    open = true;
    await pass(10_000);
    expect(order).toHaveLength(3);
    lane.look();
    await settle();
    expect(order.slice(3)).toEqual(['gated', 'behind']);
  });

  it("a call held by its own gate keeps nobody from the key's room", async () => {
    const { order, call } = createRoll({ pacer });
    fill();
    void call('gated', { ...paid, cost: 4, group: 'XBTUSD', heldMs: () => Infinity });
    void call('call', paid);
    await pass(1_002);
    expect(order).toEqual(['call']);
  });

  it('a gate that tells how long it stays shut is asked again then', async () => {
    const { order, call } = createRoll();
    const opensAt = performance.now() + 250.5;
    void call('gated', { heldMs: () => Math.max(0, opensAt - performance.now()) });
    await pass(250);
    expect(order).toEqual([]);
    await pass(1);
    expect(order).toEqual(['gated']);
  });

  it('those whose wait ends without room are told rate-limited and when there will be, others queue-timeout', async () => {
    const lane = createLane({ pacer, maxWaitMs: 1_000 });
    fill('key', 10);
    const held = { heldMs: () => Infinity };
    const errors = [
      lane.join(() => Promise.resolve(), { ...paid, class: 'read' }),
      lane.join(() => Promise.resolve(), { ...paid, cost: 4, class: 'history' }),
      lane.join(() => Promise.resolve(), held),
      lane.join(() => Promise.resolve(), { ...held, key: 'other', cost: 1 }),
    ].map(({ result }) => result.catch((error: unknown) => error));
    await pass(1_001);
    expect(await Promise.all(errors)).toEqual([
      expect.objectContaining({ code: 'rate-limited', retryAfterSeconds: 4 }),
      expect.objectContaining({ code: 'rate-limited', retryAfterSeconds: 7 }),
      expect.objectContaining({ code: 'queue-timeout', retryAfterSeconds: 1 }),
      expect.objectContaining({ code: 'queue-timeout', retryAfterSeconds: 1 }),
    ]);
  });

  it('a cheap call whose wait ends behind a dear one without room is told rate-limited', async () => {
    const { call } = createRoll({ pacer, maxWaitMs: 1_000 });
    fill();
    void call('dear', { ...paid, cost: 4, maxWaitMs: 9_000 });
    const cheap = call('cheap', paid);
    await pass(1_002);
    expect(pacer.delayMs('key', 1)).toBe(0);
    expect(await cheap).toBe('rate-limited');
  });

  it('each class has its own limit, a call may have one too, and they end in the order of their deadlines', async () => {
    const { call, block } = createRoll({ maxWaitMs: 1_000, maxWaitMsOf: { cancel: 300, history: 2_000 } });
    const release = block();
    const ended: string[] = [];
    const note = (name: string, options: JoinOptions): void => {
      void call(name, options).then((code) => ended.push(`${name} ${code}`));
    };
    note('history', { class: 'history' });
    note('read', { class: 'read' });
    note('cancel', { class: 'cancel' });
    note('hurried', { class: 'read', maxWaitMs: 100 });
    note('patient', { class: 'cancel', maxWaitMs: Infinity });
    const after: string[][] = [];
    for (const ms of [99, 2, 198, 2, 698, 2, 998, 2]) {
      await pass(ms);
      after.push([...ended]);
    }
    const order = ['hurried', 'cancel', 'read', 'history'].map((name) => `${name} queue-timeout`);
    expect(after).toEqual([0, 1, 1, 2, 2, 3, 3, 4].map((count) => order.slice(0, count)));
    await release();
    expect(ended).toContain('patient went');
  });

  it('a call that joins again keeps its deadline', async () => {
    const lane = createLane({ maxWaitMs: 1_000 });
    const first = lane.join(() => Promise.resolve());
    await first.result;
    await pass(900);
    const work = createWork();
    void lane.join(work.run);
    const again = codeOf(lane.join(() => Promise.resolve(), { deadline: first.deadline }).result);
    const fresh = lane.join(() => Promise.resolve('fresh'));
    await pass(101);
    expect(await again).toBe('queue-timeout');
    expect(lane.waiting).toBe(1);
    work.finish();
    expect(await fresh.result).toBe('fresh');
  });

  it('a dismissed key loses all that waits, but not the call in flight, the own calls and those of other keys', async () => {
    const { lane, order, call, block } = createRoll({ pacer });
    const release = block({ key: 'key' });
    const lockedOut = new ProxyError('locked-out', 'the breaker is open');
    const ends = [
      call('paid', paid),
      call('free', { key: 'key', class: 'cancel', client: 'other' }),
      call('second', { key: 'key', class: 'cancel', client: 'other' }),
      call('own', { ...paid, class: 'own' }),
      call('other key', { key: 'other' }),
    ];
    lane.dismiss(({ key }) => key === 'key', lockedOut);
    expect(lane.waiting).toBe(2);
    await release();
    expect(await Promise.all(ends)).toEqual(['locked-out', 'locked-out', 'locked-out', 'went', 'went']);
    expect(order).toEqual(['own', 'other key']);
  });

  it("the proxy's own questions are not refused because the line is full", async () => {
    const { order, call, block, lane } = createRoll({ maxWaiting: 1 });
    const release = block();
    void call('waits');
    expect(() => lane.join(() => Promise.resolve())).toThrow();
    void call('own', { class: 'own' });
    await release();
    expect(order).toEqual(['own', 'waits']);
  });

  it('a lane that was closed sets no timers any more', async () => {
    const { lane, call } = createRoll({ pacer });
    fill();
    const ends = [call('first', paid), call('second', { heldMs: () => 100 })];
    await lane.close();
    expect(await Promise.all(ends)).toEqual(['shutting-down', 'shutting-down']);
    expect(jest.getTimerCount()).toBe(0);
  });
});

describe('the lanes of a proxy', () => {
  class Connection {
    closed = false;
    close(): Promise<void> {
      this.closed = true;
      return Promise.resolve();
    }
  }
  function createRoutes(mode: 'global' | 'key'): Routes<Connection> {
    const routes = new Routes(mode, options, SOLE_TENURES, () => new Connection());
    opened.push(routes);
    return routes;
  }
  const options = { maxWaiting: 1, maxWaitMs: 60_000, startup: new StartupWindow(NO_WINDOW) };

  it('are one for all keys, or one with a connection of its own for each', () => {
    const global = createRoutes('global');
    expect(global.of('a')).toBe(global.of('b'));
    const byKey = createRoutes('key');
    expect(byKey.of('a')).toBe(byKey.of('a'));
    expect(byKey.of('a')).not.toBe(byKey.of('b'));
    expect(byKey.of('a').upstream).not.toBe(byKey.of('b').upstream);
  });

  it('count together', async () => {
    const routes = createRoutes('key');
    const works = [createWork(), createWork()];
    const turns = works.map((work, index) => routes.of(String(index)).lane.join(work.run));
    const waiting = routes.of('0').lane.join(() => Promise.resolve());
    expect([routes.inFlight, routes.waiting]).toEqual([2, 1]);
    for (const work of works) work.finish();
    await Promise.all([...turns, waiting].map(({ result }) => result));
    await settle();
    expect([routes.inFlight, routes.waiting]).toEqual([0, 0]);
  });

  it('close when what is in flight has ended, and their connections after it', async () => {
    const routes = createRoutes('key');
    const work = createWork();
    const { lane, upstream } = routes.of('a');
    const turn = lane.join(work.run);
    const closing = routes.close(60_000);
    await settle();
    expect(upstream.closed).toBe(false);
    work.finish();
    await closing;
    expect(upstream.closed).toBe(true);
    expect(await turn.result).toBe('done');
    expect(() => routes.of('b')).toThrow(expect.objectContaining({ code: 'shutting-down' }) as Error);
  });

  it('close after graceMs with a call that does not end', async () => {
    const routes = createRoutes('key');
    const { lane, upstream } = routes.of('a');
    void lane.join(createWork().run);
    await routes.close(20);
    expect(upstream.closed).toBe(true);
  });
});
