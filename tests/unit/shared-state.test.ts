import { SharedKeys } from '../../src/calls/shared-state.js';
import { Breakers, type BreakerState } from '../../src/lane/breaker.js';
import { Pacer } from '../../src/lane/pacer.js';
import { StartupWindow } from '../../src/lane/startup.js';
import type { LaneState, SharedClock } from '../../src/lane/tenure.js';
import { DeadManSwitch } from '../../src/orders/dead-man-switch.js';
import { RecentOrders } from '../../src/orders/recent-orders.js';

const KEY = '0123456789abcdef';
const OTHER = 'fedcba9876543210';
const ACCOUNTS: Readonly<Record<string, string>> = { master: KEY, alice: OTHER };

/** Ms of the clock that all nodes share; each node's own runs from another zero. */
let shared = 1_800_000_000_000;

/** A node whose monotonic clock reads so much less than the shared one. */
class Node {
  readonly offset: number;
  readonly pacer: Pacer;
  readonly breakers: Breakers;
  readonly startup: StartupWindow;
  readonly switches: DeadManSwitch;
  readonly orders = new RecentOrders();
  foreign = 0;
  readonly keys: SharedKeys;
  readonly breakerStates: string[] = [];
  readonly struck: string[] = [];
  probes = 0;

  constructor(offset: number, keys: readonly string[] = [KEY, OTHER]) {
    this.offset = offset;
    const now = (): number => shared - this.offset;
    this.pacer = new Pacer({
      counters: () => ({ max: 20, decayPerSecond: 0.5 }),
      headroom: 0,
      reserve: 0,
      now,
    });
    this.breakers = new Breakers({
      pauseMs: 60_000,
      lockoutMs: 900_000,
      maxPauseMs: 3_600_000,
      now,
      probe: () => {
        this.probes++;
        return Promise.resolve('closed');
      },
      onChange: (key, state: BreakerState) => this.breakerStates.push(`${key} ${state}`),
    });
    this.startup = new StartupWindow({ windowMs: 10_000, maxPerSecond: 2, minIntervalMs: 500 }, now);
    this.switches = new DeadManSwitch({ now, onStruck: (account) => this.struck.push(account) });
    const nameOf = (key: string): string | undefined =>
      Object.keys(ACCOUNTS).find((name) => ACCOUNTS[name] === key && keys.includes(key));
    this.keys = new SharedKeys({
      accounts: {
        withKey: (key) => (nameOf(key) === undefined ? undefined : ({} as never)),
        named: (name) => {
          const fingerprint = ACCOUNTS[name];
          return fingerprint === undefined || !keys.includes(fingerprint)
            ? undefined
            : ({ fingerprint } as never);
        },
      },
      pacer: this.pacer,
      breakers: this.breakers,
      startup: this.startup,
      deadManSwitch: this.switches,
      orders: this.orders,
      onForeign: () => this.foreign++,
    });
  }

  get clock(): SharedClock {
    return { toLocal: (ms) => ms - this.offset, toShared: (ms) => ms + this.offset };
  }

  leave(lane = 'global'): LaneState {
    // Through the database and back.
    return JSON.parse(JSON.stringify(this.keys.leave(lane, this.clock))) as LaneState;
  }

  takeUp(left: LaneState, lane = 'global'): void {
    this.keys.takeUp(lane, left, this.clock);
  }

  close(): void {
    this.breakers.close();
    this.switches.close();
  }
}

let nodes: Node[] = [];
afterEach(() => {
  for (const node of nodes) node.close();
  nodes = [];
});

function node(offset: number, keys?: readonly string[]): Node {
  const made = new Node(offset, keys);
  nodes.push(made);
  return made;
}

describe('what nodes that share keys tell each other', () => {
  it('two nodes do not spend one key’s counter twice', () => {
    const [one, two] = [node(1_000), node(7_000_000)];
    for (let i = 0; i < 18; i++) one.pacer.end(one.pacer.begin(KEY, 1), true);
    shared += 4_000;
    two.takeUp(one.leave());
    expect(two.pacer.level(KEY)).toBeCloseTo(16);
    expect(two.pacer.delayMs(KEY, 4)).toBe(0);
    expect(two.pacer.delayMs(KEY, 5)).toBeGreaterThan(0);
    expect(two.pacer.level(OTHER)).toBe(0);
  });

  it('a call under way counts in full', () => {
    const [one, two] = [node(0), node(5)];
    one.pacer.begin(KEY, 6);
    two.takeUp(one.leave());
    expect(two.pacer.level(KEY)).toBe(6);
  });

  it('what a node knows itself stands where it is more: the other’s word may be an old one', () => {
    const [one, two] = [node(0), node(5)];
    const old = one.leave();
    two.pacer.full(KEY);
    two.takeUp(old);
    expect(two.pacer.level(KEY)).toBe(20);
  });

  it('a hold of Kraken’s own is kept by every node', () => {
    const [one, two] = [node(3), node(5_000)];
    one.pacer.holdUntil(KEY, shared - 3 + 2_000);
    one.pacer.begin(KEY, 0);
    two.takeUp(one.leave());
    expect(two.pacer.delayMs(KEY, 0)).toBe(2_000);
    expect(two.pacer.delayMs(OTHER, 0)).toBe(0);
  });

  it('a breaker that one node has opened is open for all, and closed for all by whoever closes it', () => {
    const [one, two] = [node(3), node(5_000)];
    one.breakers.trip(KEY, 'lockout');
    shared += 100_000;
    two.takeUp(one.leave());
    expect(two.breakers.reasonOf(KEY)).toBe('lockout');
    expect(two.breakers.remainingSeconds(KEY)).toBeCloseTo(800);
    expect(two.breakerStates).toEqual([`${KEY} lockout`]);
    expect(two.breakers.reasonOf(OTHER)).toBeUndefined();
    // The same word again changes nothing, and its own does not either.
    one.takeUp(two.leave());
    two.takeUp(one.leave());
    expect(one.breakerStates).toEqual([`${KEY} lockout`]);
    expect(two.breakerStates).toHaveLength(1);
    // As a node says that has tried the key since.
    shared += 1_000;
    two.takeUp({ breakers: { [KEY]: { since: shared } } });
    expect(two.breakers.reasonOf(KEY)).toBeUndefined();
    expect(two.breakerStates.at(-1)).toBe(`${KEY} closed`);
    one.takeUp(two.leave());
    expect(one.breakers.reasonOf(KEY)).toBeUndefined();
    expect(one.probes + two.probes).toBe(0);
  });

  it('an older word does not close a breaker that was opened since', () => {
    const [one, two] = [node(3), node(5_000)];
    two.breakers.trip(KEY, 'key');
    two.takeUp({ breakers: { [KEY]: { since: shared - 60_000 } } });
    expect(two.breakers.reasonOf(KEY)).toBe('key');
    expect(one.breakers.reasonOf(KEY)).toBeUndefined();
  });

  it('the calls of all nodes count in the startup window', () => {
    const [one, two] = [node(3), node(5_000)];
    one.startup.open();
    for (let i = 0; i < 2; i++) one.startup.end(one.startup.begin());
    two.takeUp(one.leave());
    expect(two.startup.isOpen).toBe(true);
    expect(two.startup.delayMs()).toBeGreaterThan(900);
    shared += 11_000;
    expect(two.startup.isOpen).toBe(false);
  });

  it('the window that an operator closes at one node is closed at all', () => {
    const [one, two] = [node(3), node(5_000)];
    one.startup.open();
    two.takeUp(one.leave());
    shared += 10;
    two.startup.close();
    one.takeUp(two.leave());
    expect(one.startup.isOpen).toBe(false);
    one.takeUp({ startup: { since: shared - 60_000, closesAt: shared + 60_000, isOver: false, ends: [] } });
    expect(one.startup.isOpen).toBe(false);
  });

  it('a node that starts beside others that serve leaves their window as it is, open or closed', () => {
    const [one, two, three] = [node(3), node(5_000), node(9)];
    one.startup.open();
    shared += 5_000;
    two.startup.start();
    expect(two.startup.isOpen).toBe(true);
    expect(two.leave()).not.toHaveProperty('startup'); // nobody is told yet
    two.takeUp(one.leave());
    two.startup.settle(true);
    expect(two.startup.isOpen).toBe(true);
    shared += 5_100; // the others' window is over, its own would not be
    expect(two.startup.isOpen).toBe(false);
    three.startup.start();
    three.takeUp(one.leave());
    three.startup.settle(true);
    expect(three.startup.isOpen).toBe(false);
  });

  it('a node that starts where nobody serves opens the window, whatever was left long ago, and for all', () => {
    const [one, two] = [node(3), node(5_000)];
    one.startup.open();
    one.startup.close();
    const old = one.leave();
    shared += 60_000;
    two.startup.start();
    two.takeUp(old);
    expect(two.startup.isOpen).toBe(true);
    two.startup.settle(false);
    one.takeUp(two.leave());
    expect(one.startup.isOpen).toBe(true);
  });

  it('orders that look alike are told of: a lost one is not taken for another node’s', () => {
    const [one, two] = [node(3), node(5_000)];
    const fields = new Map([
      ['pair', 'XBTUSD'],
      ['userref', '7'],
    ]);
    one.orders.learn(
      'master',
      'AddOrder',
      fields,
      Buffer.from('{"error":[],"result":{"txid":["OABC"]}}'),
      shared - 3,
    );
    one.orders.learn(
      'master',
      'AddOrder',
      new Map([['cl_ord_id', 'a']]),
      Buffer.from('{"error":[],"result":{"txid":["OXYZ"]}}'),
      shared - 3,
    );
    const left = JSON.parse(JSON.stringify(one.orders.leave(one.clock, shared - 3))) as ReturnType<
      RecentOrders['leave']
    >;
    expect(left.map(([txid]) => txid)).toEqual(['OABC']);
    two.takeUp({ orders: left });
    expect(two.orders.has('OABC')).toBe(true);
    expect(two.foreign).toBe(1);
    expect(one.orders.leave(one.clock, shared + 61_000)).toEqual([]);
  });

  it('a client that has been armed is armed for the next node too when this one ends before it knows', () => {
    const [one, two] = [node(3), node(5_000)];
    const arming = one.switches.ask('master', 'bot-1', 60);
    two.takeUp(one.leave());
    expect(two.switches.ask('master', 'bot-2', 0).seconds).toBe(60);
    arming.end();
    expect(one.leave()).toMatchObject({ switches: {} });
  });

  it('a client’s dead man’s switch is not disarmed by a client of another node', () => {
    const [one, two] = [node(3), node(5_000)];
    one.switches.ask('master', 'bot-1', 60).commit();
    two.takeUp(one.leave());
    expect(two.switches.ask('master', 'bot-2', 0).seconds).toBe(60);
    const arming = two.switches.ask('master', 'bot-2', 30);
    expect(arming.seconds).toBe(30);
    arming.commit();
    one.takeUp(two.leave());
    expect(one.switches.remaining('master')).toBe(30);
    expect(one.switches.ask('master', 'bot-1', 0).seconds).toBe(30);
  });

  it('what only other nodes know goes on through a node that does not', () => {
    const [one, two, three] = [node(3), node(5_000, [KEY]), node(9)];
    one.pacer.end(one.pacer.begin(OTHER, 4), true);
    one.switches.ask('alice', 'bot-1', 60).commit();
    one.breakers.trip(OTHER, 'key');
    two.takeUp(one.leave());
    two.pacer.end(two.pacer.begin(KEY, 2), true);
    three.takeUp(two.leave());
    expect(three.pacer.level(OTHER)).toBe(4);
    expect(three.pacer.level(KEY)).toBe(2);
    expect(three.switches.remaining('alice')).toBe(60);
    expect(three.breakers.reasonOf(OTHER)).toBe('key');
  });

  it('a lane of one key tells of that key only', () => {
    const one = node(3);
    one.pacer.end(one.pacer.begin(OTHER, 4), true);
    one.pacer.end(one.pacer.begin(KEY, 2), true);
    one.switches.ask('alice', 'bot-1', 60).commit();
    const left = one.leave(KEY) as { readonly counters: object; readonly switches: object };
    expect(Object.keys(left.counters)).toEqual([KEY]);
    expect(left.switches).toEqual({});
  });

  it('a node of another version leaves more, or less, than this one knows', () => {
    const one = node(3);
    one.takeUp({ news: 1 });
    one.takeUp({});
    expect(one.leave()).toMatchObject({ counters: {}, breakers: {} });
    one.takeUp({
      counters: { [KEY]: { points: 3 } },
      breakers: { [KEY]: {} },
      switches: { master: { until: { bot: 'x' } } },
    });
    expect(one.pacer.level(KEY)).toBe(0);
    expect(one.breakers.reasonOf(KEY)).toBeUndefined();
    expect(one.switches.remaining('master')).toBeUndefined();
  });
});
