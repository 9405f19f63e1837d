import fc from 'fast-check';
import { ProxyError } from '../../src/errors.js';
import { Lane, type LaneOptions } from '../../src/lane/lane.js';
import { Routes } from '../../src/lane/routes.js';
import { StartupWindow } from '../../src/lane/startup.js';

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
      await Promise.all(held.map(({ result }) => result));
      expect(order).toEqual(['exempt', 'first held', 'second held']);
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

describe('the lanes of a proxy', () => {
  class Connection {
    closed = false;
    close(): Promise<void> {
      this.closed = true;
      return Promise.resolve();
    }
  }
  function createRoutes(mode: 'global' | 'key'): Routes<Connection> {
    const routes = new Routes(mode, options, () => new Connection());
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
