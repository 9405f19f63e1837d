import { jest } from '@jest/globals';
import fc from 'fast-check';
import type { ProxyError } from '../../src/errors.js';
import type { UpstreamReply } from '../../src/kraken/transport.js';
import { PublicBudget, type PublicBudgetOptions } from '../../src/lane/public-budget.js';

/** Calls sent so far, by name, with the ms of their sending. */
let sent: [name: string, at: number][];
let start: number;
let budget: PublicBudget;

beforeEach(() => {
  jest.useFakeTimers();
  start = performance.now();
  sent = [];
  budget = open();
});

afterEach(() => {
  budget.close();
  expect(budget.waiting).toBe(0);
  expect(jest.getTimerCount()).toBe(0);
  jest.useRealTimers();
});

function open(options: Partial<PublicBudgetOptions> = {}): PublicBudget {
  return new PublicBudget({ maxWaitMs: 60_000, ...options });
}

const at = (): number => performance.now() - start;

/** A call's end, as far as it has come. */
interface Call {
  became: unknown;
  /** ms of its turn. */
  turn: number | undefined;
  leave(): void;
}

/** Waits with a call, whose reply's body is its name. */
function wait(name: string, sameAs?: string): Call {
  const call: Call = { became: 'waits', turn: undefined, leave: () => turn.leave(new Error(`${name} left`)) };
  const turn = budget.wait({
    sameAs,
    send: () => {
      sent.push([name, at()]);
      return Promise.resolve<UpstreamReply>({ status: 200, headers: {}, body: Buffer.from(name) });
    },
    onTurn: () => (call.turn = at()),
  });
  turn.reply.then(
    ({ body }) => (call.became = body.toString()),
    (error: unknown) => (call.became = error),
  );
  return call;
}

/** Takes all tokens there are and says how many. */
function drain(): number {
  let taken = 0;
  while (budget.tryTake()) taken++;
  return taken;
}

function refusalOf(act: () => unknown): ProxyError {
  try {
    act();
  } catch (error) {
    return error as ProxyError;
  }
  throw new Error('it was not refused');
}

describe('the budget for public calls', () => {
  it('has a burst of five to begin with, then one a second, and never more than the burst', () => {
    expect(drain()).toBe(5);
    jest.advanceTimersByTime(999);
    expect(drain()).toBe(0);
    jest.advanceTimersByTime(1);
    expect(drain()).toBe(1);
    jest.advanceTimersByTime(3_500);
    expect(drain()).toBe(3);
    jest.advanceTimersByTime(500);
    expect(drain()).toBe(1);
    jest.advanceTimersByTime(1e9);
    expect(drain()).toBe(5);
    expect(jest.getTimerCount()).toBe(0);
  });

  it('lets no second and no time at all have more than its share', () => {
    const options = fc.record({
      perSecond: fc.constantFrom(0.2, 0.33, 1, 3, 7.5, 50),
      burst: fc.integer({ min: 1, max: 8 }),
    });
    const steps = fc.array(fc.oneof(fc.constant(0), fc.nat({ max: 400 }), fc.nat({ max: 20_000 })), {
      maxLength: 80,
    });
    fc.assert(
      fc.property(options, steps, (tuning, arrivals) => {
        let now = 50_000;
        const own = new PublicBudget({ ...tuning, maxWaitMs: 1, now: () => now });
        const taken: number[] = [];
        for (const after of arrivals) {
          now += after;
          if (own.tryTake()) taken.push(now);
        }
        for (const [index, from] of taken.entries())
          for (const [further, to] of taken.slice(index).entries()) {
            const allowed = tuning.burst + ((to - from) / 1_000) * tuning.perSecond;
            expect(further + 1).toBeLessThanOrEqual(allowed + 1e-6);
          }
      }),
    );
  });

  it('lets calls that find nothing wait, in their order, each until its token is there', async () => {
    drain();
    const calls = ['a', 'b', 'c'].map((name) => wait(name));
    expect(budget.waiting).toBe(3);
    await jest.advanceTimersByTimeAsync(999);
    expect(sent).toEqual([]);
    await jest.advanceTimersByTimeAsync(1);
    expect(sent).toEqual([['a', 1_000]]);
    await jest.advanceTimersByTimeAsync(5_000);
    expect(sent).toEqual([
      ['a', 1_000],
      ['b', 2_000],
      ['c', 3_000],
    ]);
    expect(calls.map(({ became }) => became)).toEqual(['a', 'b', 'c']);
    expect(calls.map(({ turn }) => turn)).toEqual([1_000, 2_000, 3_000]);
  });

  it('lets nobody go before those who wait', async () => {
    let now = 50_000;
    const own = new PublicBudget({ maxWaitMs: 60_000, burst: 1, now: () => now });
    expect(own.tryTake()).toBe(true);
    const turn = own.wait({
      sameAs: undefined,
      send: () => new Promise(() => undefined),
      onTurn: () => undefined,
    });
    now += 10_000;
    expect(own.tryTake()).toBe(false);
    await jest.advanceTimersByTimeAsync(1_000);
    expect(own.waiting).toBe(0);
    now += 1_000;
    expect(own.tryTake()).toBe(true);
    turn.leave(new Error('too late'));
    own.close();
  });

  it('refuses with queue-full when too many wait, those who share a turn among them', () => {
    budget = open({ maxWaiting: 4 });
    drain();
    wait('a', 'same');
    wait('b', 'same');
    wait('c', 'same');
    wait('d');
    const error = refusalOf(() => wait('e', 'same'));
    expect(error).toMatchObject({ code: 'queue-full', retryAfterSeconds: 1 });
    expect(budget.waiting).toBe(4);
  });

  it('refuses at once with rate-limited whoever could not have a turn in time, and says how long it takes', () => {
    budget = open({ maxWaitMs: 3_000 });
    drain();
    for (const name of ['a', 'b', 'c']) wait(name, name);
    expect(refusalOf(() => wait('d'))).toMatchObject({ code: 'rate-limited', retryAfterSeconds: 4 });
    expect(refusalOf(() => wait('d', 'd'))).toMatchObject({ code: 'rate-limited' });
    // To share one costs nothing.
    wait('c', 'c');
    expect(budget.waiting).toBe(4);
  });

  it('refuses with rate-limited who has waited too long after all', async () => {
    budget = open({ maxWaitMs: 2_500 });
    drain();
    const calls = [wait('a'), wait('b')];
    await jest.advanceTimersByTimeAsync(500);
    for (let reads = 0; reads < 3; reads++) budget.takeNow();
    await jest.advanceTimersByTimeAsync(1_999);
    expect(calls.map(({ became }) => became)).toEqual(['waits', 'waits']);
    await jest.advanceTimersByTimeAsync(1);
    // The first one still sees the other before it, which leaves in the same moment.
    expect(calls.map(({ became }) => became)).toMatchObject([
      { code: 'rate-limited', retryAfterSeconds: 2.5 },
      { code: 'rate-limited', retryAfterSeconds: 1.5 },
    ]);
    expect(sent).toEqual([]);
    expect(jest.getTimerCount()).toBe(0);
  });

  it('gives the place of one who leaves to the next, for free', async () => {
    drain();
    const [a, b, c] = [wait('a'), wait('b'), wait('c')];
    b.leave();
    b.leave();
    await jest.advanceTimersByTimeAsync(1_000);
    a.leave(); // too late
    await jest.advanceTimersByTimeAsync(1_000);
    expect(b.became).toMatchObject({ message: 'b left' });
    expect(sent).toEqual([
      ['a', 1_000],
      ['c', 2_000],
    ]);
    expect([a.became, c.became]).toEqual(['a', 'c']);
  });

  it('needs no timer when all have left', () => {
    drain();
    const calls = [wait('a'), wait('b', 'x'), wait('c', 'x')];
    expect(jest.getTimerCount()).toBe(1);
    for (const call of calls) call.leave();
    expect(jest.getTimerCount()).toBe(0);
    expect(budget.waiting).toBe(0);
  });

  it('fails all that wait when it closes, and takes no more', async () => {
    drain();
    const calls = [wait('a'), wait('b', 'x'), wait('c', 'x')];
    budget.close();
    await Promise.resolve();
    for (const { became } of calls) expect(became).toMatchObject({ code: 'shutting-down' });
    expect(refusalOf(() => wait('d')).code).toBe('shutting-down');
    for (const call of calls) call.leave();
    expect(budget.waiting).toBe(0);
  });
});

describe('calls that are the same', () => {
  it('share one turn and its reply while they wait', async () => {
    drain();
    const calls = [wait('a', 'x'), wait('b', 'y'), wait('c', 'x'), wait('d'), wait('e', 'x')];
    expect(budget.waiting).toBe(5);
    await jest.advanceTimersByTimeAsync(10_000);
    expect(sent).toEqual([
      ['a', 1_000],
      ['b', 2_000],
      ['d', 3_000],
    ]);
    expect(calls.map(({ became }) => became)).toEqual(['a', 'b', 'a', 'd', 'a']);
    expect(calls.map(({ turn }) => turn)).toEqual([1_000, 2_000, 1_000, 3_000, 1_000]);
  });

  it('have each their own once the former was sent', async () => {
    drain();
    wait('a', 'x');
    await jest.advanceTimersByTimeAsync(1_000);
    const later = wait('b', 'x');
    await jest.advanceTimersByTimeAsync(1_000);
    expect(later.became).toBe('b');
    expect(sent).toHaveLength(2);
  });

  it('keep their turn while one of them is left', async () => {
    drain();
    const [a, b, c] = [wait('a', 'x'), wait('b', 'x'), wait('c', 'x')];
    a.leave();
    c.leave();
    await jest.advanceTimersByTimeAsync(1_000);
    expect(b.became).toBe('a');
    expect(a.became).toMatchObject({ message: 'a left' });
    expect(sent).toEqual([['a', 1_000]]);
  });

  it('begin anew when all have left', async () => {
    drain();
    wait('a', 'x').leave();
    const b = wait('b', 'x');
    await jest.advanceTimersByTimeAsync(1_000);
    expect(b.became).toBe('b');
    expect(sent).toEqual([['b', 1_000]]);
  });

  it('all get the error when the one that is sent fails', async () => {
    drain();
    const failing = { send: () => Promise.reject(new Error('reset')), onTurn: () => undefined };
    const turns = [1, 2].map(() => budget.wait({ sameAs: 'x', ...failing }).reply);
    const ends = Promise.allSettled(turns);
    await jest.advanceTimersByTimeAsync(1_000);
    for (const end of await ends) expect(end).toMatchObject({ reason: { message: 'reset' } });
  });
});

describe("the proxy's own reads", () => {
  it('never wait, but count', () => {
    budget.takeNow();
    budget.takeNow();
    expect(drain()).toBe(3);
    budget.takeNow();
    jest.advanceTimersByTime(1_000);
    expect(drain()).toBe(0);
    jest.advanceTimersByTime(1_000);
    expect(drain()).toBe(1);
  });

  it('hold up clients by a burst at most', () => {
    for (let calls = 0; calls < 1_000; calls++) budget.takeNow();
    jest.advanceTimersByTime(5_999);
    expect(drain()).toBe(0);
    jest.advanceTimersByTime(1);
    expect(drain()).toBe(1);
  });

  it('go before those who wait', async () => {
    drain();
    wait('a');
    budget.takeNow();
    await jest.advanceTimersByTimeAsync(1_999);
    expect(sent).toEqual([]);
    await jest.advanceTimersByTimeAsync(1);
    expect(sent).toEqual([['a', 2_000]]);
  });
});

describe('a budget emptied by Kraken', () => {
  it('has nothing left, and one a second from then on', () => {
    budget.empty();
    expect(drain()).toBe(0);
    jest.advanceTimersByTime(1_000);
    expect(drain()).toBe(1);
  });

  it('is no better for it when it was below nothing', () => {
    drain();
    budget.takeNow();
    budget.empty();
    jest.advanceTimersByTime(1_999);
    expect(drain()).toBe(0);
    jest.advanceTimersByTime(1);
    expect(drain()).toBe(1);
  });

  it('lets those who wait go on later', async () => {
    drain();
    wait('a');
    await jest.advanceTimersByTimeAsync(500);
    budget.empty();
    await jest.advanceTimersByTimeAsync(999);
    expect(sent).toEqual([]);
    await jest.advanceTimersByTimeAsync(1);
    expect(sent).toEqual([['a', 1_500]]);
  });
});
