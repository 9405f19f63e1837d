import { ProxyError } from '../../src/errors.js';
import { Lane } from '../../src/lane/lane.js';
import { StartupWindow } from '../../src/lane/startup.js';
import type { Tenure } from '../../src/lane/tenure.js';
import { until } from '../support/until.js';

/** A lane that another node may have, as a test wants it. */
class Elsewhere implements Tenure {
  isOurs = false;
  problem: ProxyError | undefined;
  readonly wanted: number[] = [];
  begun = 0;
  turns = 0;
  rests = 0;
  readonly #listeners: (() => void)[] = [];

  want(ms: number): void {
    this.wanted.push(ms);
  }

  turnBegan(): void {
    this.begun++;
  }

  turnEnded(): void {
    this.turns++;
  }

  rest(): void {
    this.rests++;
  }

  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  become(state: { readonly isOurs?: boolean; readonly problem?: ProxyError | undefined }): void {
    Object.assign(this, state);
    for (const listener of this.#listeners) listener();
  }
}

let tenure: Elsewhere;
let lane: Lane;
beforeEach(() => {
  tenure = new Elsewhere();
  const startup = new StartupWindow({ windowMs: 0, maxPerSecond: 1, minIntervalMs: 0 });
  lane = new Lane({ maxWaiting: 10, maxWaitMs: 5_000, startup }, tenure);
});
afterEach(() => lane.close());

const done = (): Promise<string> => Promise.resolve('done');

describe('a lane that other nodes share', () => {
  it('calls wait until it is ours, and it is asked for with the wait that is left', async () => {
    const { result } = lane.join(done);
    expect(lane.inFlight).toBe(0);
    expect(tenure.wanted[0]).toBeGreaterThan(4_000);
    expect(tenure.wanted[0]).toBeLessThanOrEqual(5_000);
    tenure.become({ isOurs: true });
    await expect(result).resolves.toBe('done');
  });

  it('while it is ours calls go one after the other, and it rests when the last one has ended', async () => {
    tenure.become({ isOurs: true });
    tenure.rests = 0;
    await Promise.all([lane.join(done).result, lane.join(done).result, lane.join(done).result]);
    await until(() => tenure.turns === 3);
    expect(tenure.begun).toBe(3);
    expect(tenure.rests).toBe(1);
    expect(tenure.wanted).toEqual([]);
  });

  it('when it is lost with a call in its turn, the next one waits until it is ours again', async () => {
    tenure.become({ isOurs: true });
    let end = (): void => undefined;
    const first = lane.join(() => new Promise<void>((resolve) => (end = resolve)));
    await until(() => lane.inFlight === 1);
    const second = lane.join(done);
    tenure.become({ isOurs: false });
    expect(tenure.wanted).toEqual([]); // not while the turn lasts
    end();
    await first.result;
    await until(() => tenure.wanted.length > 0);
    expect(lane.waiting).toBe(1);
    tenure.become({ isOurs: true });
    await expect(second.result).resolves.toBe('done');
  });

  it('who goes first is decided when it is ours: a cancel that came meanwhile goes before an order', async () => {
    const order: string[] = [];
    const call = (name: 'order' | 'cancel'): Promise<unknown> =>
      lane.join(() => Promise.resolve(order.push(name)), { class: name }).result;
    const both = [call('order'), call('cancel')];
    tenure.become({ isOurs: true });
    await Promise.all(both);
    expect(order).toEqual(['cancel', 'order']);
  });

  it('a lane that comes when nobody waits any more is given back', async () => {
    const turn = lane.join(done);
    turn.leave(new Error('gone'));
    await expect(turn.result).rejects.toThrow('gone');
    tenure.become({ isOurs: true });
    expect(tenure.rests).toBeGreaterThan(0);
  });

  it('a lane that cannot be had: all who wait and who come are told, until it can', async () => {
    const { result } = lane.join(done);
    const problem = new ProxyError('not-owner', 'the database is away', { retryAfterSeconds: 1 });
    tenure.become({ problem });
    await expect(result).rejects.toBe(problem);
    expect(() => lane.join(done)).toThrow(problem);
    tenure.become({ problem: undefined, isOurs: true });
    await expect(lane.join(done).result).resolves.toBe('done');
  });

  it('a call whose wait is over before the lane is ours is told so', async () => {
    const { result } = lane.join(done, { maxWaitMs: 20 });
    await expect(result).rejects.toMatchObject({ code: 'queue-timeout' });
  });
});
