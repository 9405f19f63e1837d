import { jest } from '@jest/globals';
import type { Examination } from '../../src/doctor/examination.js';
import type { KeyFinding } from '../../src/doctor/findings.js';
import { KeyDoctor, type DoctorAccount, type KeyDoctorOptions } from '../../src/doctor/key-doctor.js';
import { TwinAlarm, type TwinEvidence } from '../../src/doctor/twin-alarm.js';
import { until } from '../support/until.js';

const START = Date.UTC(2026, 10, 22, 12);
const MASTER: DoctorAccount = { name: 'master', fingerprint: 'aaaa', mayWithdraw: false };
const ALICE: DoctorAccount = { name: 'alice', fingerprint: 'bbbb', mayWithdraw: true };
const GOOD = {
  nonce_window: 0,
  permissions: ['query-funds'],
  ip_allowlist: ['198.51.100.7'],
  valid_until: 0,
};

beforeEach(() => jest.useFakeTimers());
afterEach(() => jest.useRealTimers());

/** A doctor whose Kraken says what `answers` has for an account: fields of its key, or an error. */
class World {
  accounts: readonly DoctorAccount[] = [MASTER, ALICE];
  answers: Record<string, Record<string, unknown> | string> = { master: GOOD, alice: GOOD };
  /** Of Kraken's clock to ours, ms; undefined: no answer. */
  offsetMs: number | undefined = 0;
  /** Examinations wait for this. */
  gate: Promise<void> = Promise.resolve();
  readonly asked: string[] = [];
  timesAsked = 0;
  underWay = 0;
  mostUnderWay = 0;
  readonly told: string[] = [];
  readonly proofs: [string, TwinEvidence][] = [];
  readonly twins = new TwinAlarm({ now: () => performance.now() });
  readonly doctor: KeyDoctor;
  /** May change, as by a reload. */
  readonly options: { intervalMs: number } & KeyDoctorOptions;
  #nonce = BigInt(START) * 1_000_000n;

  constructor(options: Partial<KeyDoctorOptions> = {}) {
    jest.setSystemTime(START);
    const parts = {
      accounts: () => this.accounts,
      ask: async (account: string) => await this.#ask(account),
      askTime: async () => await this.#time(),
      twins: this.twins,
      onFinding: ({ account, code }: KeyFinding, state: string) =>
        void this.told.push(`${account ?? '-'} ${code} ${state}`),
      onTwin: (account: string, evidence: TwinEvidence) => void this.proofs.push([account, evidence]),
    };
    this.options = { intervalMs: 300_000, expiryDays: 14, ...options };
    this.doctor = new KeyDoctor(parts, this.options);
  }

  draw(fingerprint: string): bigint {
    this.#nonce = BigInt(Math.max(Date.now() * 1_000_000, Number(this.#nonce) + 1_000));
    this.twins.drawn(fingerprint, this.#nonce);
    return this.#nonce;
  }

  get found(): string[] {
    return this.doctor.findings.map(({ account, code, severity }) => `${account ?? '-'} ${code} ${severity}`);
  }

  /** The next rounds, one an interval. */
  async rounds(count = 1): Promise<void> {
    for (let round = 0; round < count; round++) await jest.advanceTimersByTimeAsync(300_000 + 600);
  }

  /** Examines everything on demand, to the end. */
  async examine(account?: string): Promise<void> {
    const done = this.doctor.examine(account);
    await jest.advanceTimersByTimeAsync(2_000);
    await done;
  }

  async #ask(account: string): Promise<Examination> {
    this.asked.push(account);
    this.mostUnderWay = Math.max(this.mostUnderWay, ++this.underWay);
    const { fingerprint } = this.accounts.find(({ name }) => name === account) ?? MASTER;
    const nonces = [this.draw(fingerprint)];
    await this.gate;
    this.underWay -= 1;
    const answer = this.answers[account] ?? 'no answer';
    if (answer === 'reject') throw new Error('the proxy is stopping');
    const common = { nonces, at: Date.now() };
    if (typeof answer === 'string')
      return { ...common, error: answer, answered: answer.startsWith('E'), body: undefined };
    const result = { nonce: String(nonces[0]), ...answer };
    const body = Buffer.from(JSON.stringify({ error: [], result }));
    return { ...common, error: undefined, answered: true, body };
  }

  async #time(): Promise<Buffer> {
    this.timesAsked += 1;
    if (this.offsetMs === undefined) throw new Error('no answer');
    const unixtime = Math.floor((Date.now() + this.offsetMs) / 1_000);
    return await Promise.resolve(Buffer.from(JSON.stringify({ error: [], result: { unixtime } })));
  }
}

it('every key is examined at the start and each interval, one after another', async () => {
  const world = new World();
  const started = world.doctor.start();
  await jest.advanceTimersByTimeAsync(300);
  await started;
  expect(world.asked).toEqual(['master', 'alice']);
  await world.rounds(2);
  expect(world.asked).toEqual(['master', 'alice', 'master', 'alice', 'master', 'alice']);
  expect([world.mostUnderWay, world.timesAsked, world.found, world.told]).toEqual([1, 3, [], []]);
  world.doctor.close();
  await world.rounds(3);
  expect(world.asked).toHaveLength(6);
});

it('between two keys there is a gap', async () => {
  const world = new World();
  void world.doctor.start();
  await jest.advanceTimersByTimeAsync(0);
  expect(world.asked).toEqual(['master']);
  await jest.advanceTimersByTimeAsync(249);
  expect(world.asked).toEqual(['master']);
  await jest.advanceTimersByTimeAsync(1);
  expect(world.asked).toEqual(['master', 'alice']);
  world.doctor.close();
});

it('with an interval of 0 only the start and those who ask have keys examined', async () => {
  const world = new World({ intervalMs: 0 });
  void world.doctor.start();
  await world.rounds(20);
  expect(world.asked).toEqual(['master', 'alice']);
  await world.examine('alice');
  expect(world.asked).toEqual(['master', 'alice', 'alice']);
  expect(jest.getTimerCount()).toBe(0);
});

describe('on demand', () => {
  const masters = (world: World): number => world.asked.filter((name) => name === 'master').length;

  it('a key is examined eight times at once, then once in ten seconds; else what is known is given', async () => {
    const world = new World({ intervalMs: 0, gapMs: 0 });
    for (let turn = 0; turn < 8; turn++) await world.doctor.examine('master');
    expect([masters(world), world.timesAsked]).toEqual([8, 8]);
    world.answers.master = { ...GOOD, ip_allowlist: [] };
    for (let turn = 0; turn < 20; turn++) expect(await world.doctor.examine('master')).toEqual([]);
    expect([masters(world), world.timesAsked]).toEqual([8, 8]);
    await jest.advanceTimersByTimeAsync(9_999);
    expect(await world.doctor.examine('master')).toEqual([]);
    await jest.advanceTimersByTimeAsync(1);
    expect(await world.doctor.examine('master')).toHaveLength(1);
    expect(await world.doctor.examine('master')).toHaveLength(1);
    expect(masters(world)).toBe(9);
    await jest.advanceTimersByTimeAsync(3_600_000);
    for (let turn = 0; turn < 20; turn++) await world.doctor.examine('master');
    expect(masters(world)).toBe(17);
  });

  it('each key has its own allowance', async () => {
    const world = new World({ intervalMs: 0, gapMs: 0 });
    for (let turn = 0; turn < 9; turn++) await world.doctor.examine('master');
    await world.doctor.examine();
    expect([masters(world), world.asked.at(-1), world.asked.length]).toEqual([8, 'alice', 9]);
  });

  it('those who share an examination use it up once', async () => {
    const world = new World({ intervalMs: 0, gapMs: 0 });
    await Promise.all(Array.from({ length: 30 }, () => world.doctor.examine('master')));
    expect(masters(world)).toBe(1);
    for (let turn = 0; turn < 7; turn++) await world.doctor.examine('master');
    expect(masters(world)).toBe(8);
  });

  it('rounds neither use it up nor need it', async () => {
    const world = new World({ intervalMs: 1_000, gapMs: 0 });
    void world.doctor.start();
    await jest.advanceTimersByTimeAsync(9_500);
    expect(masters(world)).toBe(10);
    for (let turn = 0; turn < 12; turn++) await world.doctor.examine('master');
    expect(masters(world)).toBe(18);
    await jest.advanceTimersByTimeAsync(3_000);
    expect(masters(world)).toBe(21);
    world.doctor.close();
  });

  it('starting anew, again and again, asks no more than that', async () => {
    const world = new World({ intervalMs: 300_000, gapMs: 0 });
    for (let turn = 0; turn < 30; turn++) await world.doctor.start();
    expect(masters(world)).toBe(9); // the first one is no demand
    world.doctor.close();
  });
});

describe('rounds', () => {
  it('started anew take the place of the former ones, at the interval that holds now', async () => {
    const options = { intervalMs: 300_000 };
    const world = new World(options);
    void world.doctor.start();
    await jest.advanceTimersByTimeAsync(200_000);
    void world.doctor.start();
    await jest.advanceTimersByTimeAsync(1_000);
    expect([world.asked.length, jest.getTimerCount()]).toEqual([4, 1]);
    await jest.advanceTimersByTimeAsync(200_000); // the former ones would have come by now
    expect(world.asked).toHaveLength(4);
    world.options.intervalMs = 60_000;
    void world.doctor.start();
    await jest.advanceTimersByTimeAsync(1_000);
    await jest.advanceTimersByTimeAsync(61_000);
    expect([world.asked.length, jest.getTimerCount()]).toEqual([8, 1]);
    world.doctor.close();
  });

  it('rest until they are started again; on demand keys are examined all the same', async () => {
    const world = new World();
    void world.doctor.start();
    await world.rounds(1);
    expect(world.asked).toHaveLength(4);
    world.doctor.rest();
    await world.rounds(5);
    expect(world.asked).toHaveLength(4);
    await world.examine('alice');
    expect(world.asked).toHaveLength(5);
    expect(jest.getTimerCount()).toBe(0);
    void world.doctor.start();
    await world.rounds(1);
    expect(world.asked).toHaveLength(9);
    world.doctor.close();
  });

  it('that are under way when they are to rest, or are started anew, go on no more', async () => {
    const world = new World();
    let open = (): void => undefined;
    world.gate = new Promise((resolve) => (open = resolve));
    void world.doctor.start();
    await jest.advanceTimersByTimeAsync(10);
    void world.doctor.start();
    world.doctor.rest();
    open();
    await jest.advanceTimersByTimeAsync(1_000);
    expect([world.asked.length, jest.getTimerCount()]).toEqual([2, 0]);
    world.doctor.close();
    world.doctor.rest();
    await world.doctor.start();
    expect([world.asked.length, jest.getTimerCount()]).toEqual([2, 0]);
  });
});

it('those who ask while a key is examined share the examination, and get what it finds', async () => {
  const world = new World({ intervalMs: 0 });
  world.answers.master = { ...GOOD, ip_allowlist: [] };
  let open = (): void => undefined;
  world.gate = new Promise((resolve) => (open = resolve));
  const first = world.doctor.start();
  const others = [world.doctor.examine(), world.doctor.examine('master'), world.doctor.examine('alice')];
  await jest.advanceTimersByTimeAsync(1_000);
  open();
  await jest.advanceTimersByTimeAsync(1_000);
  await first;
  for (const found of await Promise.all(others)) expect(found.map(({ code }) => code)).toEqual(['ip-open']);
  expect([world.asked, world.timesAsked]).toEqual([['master', 'alice'], 1]);
  expect(await world.doctor.examine('nobody')).toHaveLength(1);
});

it('a finding keeps when it was first seen, and is told when it comes, worsens and goes', async () => {
  const world = new World();
  const end = START / 1_000 + 86_400 + 450;
  world.answers.master = { ...GOOD, valid_until: end };
  void world.doctor.start();
  await world.rounds(1);
  const since = world.doctor.findings[0]?.since ?? 0;
  expect(since - START).toBe(0);
  await world.rounds(2);
  expect(world.doctor.findings).toMatchObject([{ severity: 'error', since }]);
  world.answers.master = GOOD;
  await world.rounds(1);
  expect(world.found).toEqual([]);
  expect(world.told).toEqual([
    'master key-expiring new',
    'master key-expiring changed',
    'master key-expiring gone',
  ]);
  world.doctor.close();
});

it('errors come first, and a reply that says all replaces what was found before', async () => {
  const world = new World({ intervalMs: 0 });
  world.answers = { master: { ...GOOD, ip_allowlist: [], nonce_window: '10' }, alice: 'EAPI:Invalid key' };
  await world.examine();
  const open = ['master nonce-window warning', 'master ip-open warning'];
  expect(world.found).toEqual(['alice key-unknown error', ...open]);
  world.answers.master = 'EAPI:Invalid signature';
  await world.examine();
  expect(world.found).toEqual(['alice key-unknown error', 'master signature-wrong error']);
});

it('what says nothing of the key leaves what was found, and becomes a warning by itself', async () => {
  const world = new World({ intervalMs: 0 });
  world.accounts = [MASTER];
  world.answers.master = { ...GOOD, ip_allowlist: [] };
  await world.examine();
  for (const [answer, severity] of [
    ['EService:Unavailable', 'info'],
    ['reject', 'info'],
    ['no answer', 'warning'],
  ] as const) {
    world.answers.master = answer;
    await world.examine();
    expect(world.found.sort()).toEqual([`master ip-open warning`, `master not-examined ${severity}`]);
  }
  world.answers.master = 'EGeneral:Temporary lockout';
  await world.examine();
  expect(world.found).toEqual(['master key-locked-out error', 'master ip-open warning']);
  world.answers.master = GOOD;
  await world.examine();
  expect(world.found).toEqual([]);
  expect(world.told.filter((text) => text.includes('not-examined'))).toEqual([
    'master not-examined new',
    'master not-examined changed',
    'master not-examined gone',
  ]);
});

it('a key that is refused after its end has expired', async () => {
  const world = new World({ intervalMs: 0 });
  world.answers.alice = { ...GOOD, valid_until: START / 1_000 + 60 };
  await world.examine();
  await jest.advanceTimersByTimeAsync(60_000);
  world.answers.alice = 'EAPI:Invalid key';
  await world.examine();
  expect(world.found).toEqual(['alice key-expired error']);
});

it('only a key with which no client may withdraw should not be able to', async () => {
  const world = new World({ intervalMs: 0 });
  world.answers = {
    master: { ...GOOD, permissions: ['Withdraw'] },
    alice: { ...GOOD, permissions: ['Withdraw'] },
  };
  await world.examine();
  expect(world.found).toEqual(['master withdraw-allowed warning']);
});

it('accounts that are gone take their findings along, and new ones are examined', async () => {
  const world = new World({ intervalMs: 0 });
  world.answers = { master: { ...GOOD, ip_allowlist: [] }, alice: 'EAPI:Invalid key' };
  await world.examine();
  world.accounts = [{ ...MASTER, name: 'main' }];
  expect(world.found).toEqual([]);
  world.answers.main = { ...GOOD, ip_allowlist: [] };
  await world.examine();
  expect(world.found).toEqual(['main ip-open warning']);
  expect(world.told.slice(2).sort()).toEqual([
    'alice key-unknown gone',
    'main ip-open new',
    'master ip-open gone',
  ]);
});

it('a key that is removed while it is examined is not found to be anything', async () => {
  const world = new World({ intervalMs: 0 });
  world.answers.master = 'EAPI:Invalid key';
  let open = (): void => undefined;
  world.gate = new Promise((resolve) => (open = resolve));
  const examined = world.doctor.examine('master');
  await jest.advanceTimersByTimeAsync(10);
  world.accounts = [ALICE];
  open();
  await examined;
  expect(world.told).toEqual([]);
});

it("our clock is compared with Kraken's", async () => {
  const world = new World({ intervalMs: 0 });
  world.offsetMs = 40_000;
  await world.examine();
  expect(world.found).toEqual(['- clock-off error']);
  world.offsetMs = undefined;
  await world.examine();
  expect(world.found).toEqual(['- clock-off error']);
  world.offsetMs = -5_000;
  await world.examine();
  expect(world.found).toEqual(['- clock-off warning']);
  world.offsetMs = 900;
  await world.examine();
  expect(world.found).toEqual([]);
  expect(world.told).toEqual(['- clock-off new', '- clock-off changed', '- clock-off gone']);
});

describe('a twin', () => {
  const TWINS = String(BigInt(START) * 1_000_000n + 400_000_000_123n);

  it('is told with each proof, and stays found for an hour after the last', async () => {
    const world = new World();
    void world.doctor.start();
    await world.rounds(1);
    world.answers.master = { ...GOOD, nonce: TWINS };
    await world.rounds(1);
    expect(world.found).toEqual(['master twin error']);
    expect(world.proofs).toMatchObject([['master', { kind: 'nonce', nonce: BigInt(TWINS) }]]);
    world.answers.master = GOOD;
    await world.rounds(11);
    expect(world.found).toEqual(['master twin error']);
    // Nothing is known of it now, so it stays.
    world.answers.master = 'EService:Busy';
    await world.rounds(2);
    expect(world.found).toContain('master twin error');
    world.answers.master = GOOD;
    await world.rounds(1);
    expect(world.found).toEqual([]);
    expect(world.proofs).toHaveLength(1);
    world.doctor.close();
  });

  it('is told as soon as Kraken refuses every nonce of a call', async () => {
    const world = new World({ intervalMs: 0 });
    await world.examine();
    world.doctor.refused(ALICE.fingerprint, world.draw(ALICE.fingerprint));
    expect(world.found).toEqual(['alice twin error']);
    world.doctor.refused(ALICE.fingerprint, world.draw(ALICE.fingerprint));
    expect(world.proofs).toMatchObject([['alice', { kind: 'refused' }]]);
    expect(world.told).toEqual(['alice twin new']);
  });

  it('is told by a use at a time at which nothing of ours was under way', async () => {
    const world = new World();
    void world.doctor.start();
    await world.rounds(1);
    const usedAt = Math.floor(Date.now() / 1_000) + 200;
    world.answers.alice = { ...GOOD, last_used: usedAt };
    await world.rounds(1);
    expect(world.proofs).toMatchObject([['alice', { kind: 'last-used', usedAt: usedAt * 1_000 }]]);
    world.doctor.close();
  });
});

describe('a key that is taken out and put back', () => {
  const NEXT = (): string => String(BigInt(Date.now()) * 1_000_000n - 5n);

  async function whileOut(leave: (world: World) => Promise<void>): Promise<string[]> {
    const world = new World({ intervalMs: 0 });
    await world.examine();
    await leave(world);
    await jest.advanceTimersByTimeAsync(86_400_000);
    world.accounts = [MASTER, ALICE];
    // Others have used both keys meanwhile.
    world.answers.master = { ...GOOD, nonce: NEXT() };
    world.answers.alice = { ...GOOD, nonce: NEXT() };
    await world.examine();
    return world.found;
  }

  it('is no alarm whatever others did with it, when its leaving was noticed', async () => {
    expect(await whileOut(() => Promise.resolve())).toEqual(['alice twin error', 'master twin error']);
    const atRest = whileOut((world) => {
      world.accounts = [ALICE];
      world.doctor.rest();
      return Promise.resolve();
    });
    expect(await atRest).toEqual(['alice twin error']);
    const examined = whileOut(async (world) => {
      world.accounts = [ALICE];
      await world.examine();
    });
    expect(await examined).toEqual(['alice twin error']);
  });

  it('is none either when it had another name before it left', async () => {
    const renamed = whileOut((world) => {
      world.accounts = [{ ...MASTER, name: 'main' }, ALICE];
      world.doctor.rest();
      world.accounts = [ALICE];
      world.doctor.rest();
      return Promise.resolve();
    });
    expect(await renamed).toEqual(['alice twin error']);
  });

  it('that only changes its name is watched on', async () => {
    const renamed = whileOut((world) => {
      world.accounts = [{ ...MASTER, name: 'main' }, ALICE];
      world.doctor.rest();
      return Promise.resolve();
    });
    expect(await renamed).toEqual(['alice twin error', 'master twin error']);
  });
});

it('an examination that ends after the doctor was closed changes nothing', async () => {
  const world = new World();
  world.answers.master = 'EAPI:Invalid key';
  let open = (): void => undefined;
  world.gate = new Promise((resolve) => (open = resolve));
  const started = world.doctor.start();
  await jest.advanceTimersByTimeAsync(10);
  world.doctor.close();
  open();
  await started;
  expect([world.asked, world.told, jest.getTimerCount()]).toEqual([['master'], [], 0]);
  expect(await world.doctor.examine()).toEqual([]);
});

it('without fake timers it works as well', async () => {
  jest.useRealTimers();
  const asked: string[] = [];
  const doctor = new KeyDoctor(
    {
      accounts: () => [MASTER, ALICE],
      ask: async (name) => {
        asked.push(name);
        return await Promise.reject(new Error('no'));
      },
      askTime: async () => await Promise.resolve(Buffer.from('')),
      twins: new TwinAlarm(),
    },
    { intervalMs: 1, expiryDays: 14, gapMs: 1 },
  );
  await doctor.start();
  await until(() => asked.length >= 6);
  doctor.close();
  expect(doctor.findings.map(({ account, severity }) => [account, severity])).toEqual([
    ['alice', 'warning'],
    ['master', 'warning'],
  ]);
});
