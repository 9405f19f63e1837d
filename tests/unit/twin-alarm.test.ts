import fc from 'fast-check';
import { TwinAlarm, type TwinEvidence } from '../../src/doctor/twin-alarm.js';

const START = Date.UTC(2026, 10, 22, 12);
const KEY = 'a1b2c3d4e5f60718';
const OTHER = '0000000000000000';
const FLIGHT_MS = 120_000;

type Meaning = 'before' | 'including';

interface Settings {
  readonly nonce: Meaning;
  readonly lastUsed: Meaning;
  /** How the reply's nonce is written: exactly, or by way of a double. */
  readonly isDouble: boolean;
  /** How `last_used` comes to be a second. */
  readonly toSecond: 'floor' | 'round';
  readonly window: bigint;
}

type Act =
  | { readonly kind: 'call' | 'unsent' | 'refused' | 'examine' | 'lost-examination' | 'restart' }
  | { readonly kind: 'lost'; readonly arrivesMs: number | undefined }
  | { readonly kind: 'wait' | 'sleep' | 'clock'; readonly ms: number }
  | { readonly kind: 'twin'; readonly nonce: 'next' | 'clock' | 'ahead' | 'shifted' | 'behind' };

interface TwinUse {
  readonly at: number;
  readonly nonce: bigint;
  /** It was the highest. */
  readonly isHigh: boolean;
}

/** Kraken, our proxy and the other program, with everything that really happens written down. */
class World {
  readonly settings: Settings;
  /** Kraken's clock, ms. Ours, which stands still in a sleep, and the wall's, which may be set, follow. */
  time = START;
  steady = 5_000;
  wallError = 0;
  // Kraken's.
  highest = 0n;
  highIsTwins = false;
  lastUsedAt = 0;
  lastUserIsTwin = false;
  // The other's.
  readonly twinUses: TwinUse[] = [];
  // Ours.
  readonly drawn = new Set<bigint>();
  readonly drawTimes: number[] = [];
  readonly late: { at: number; nonce: bigint }[] = [];
  floor = BigInt(START) * 1_000_000n;
  alarm!: TwinAlarm;
  startedAt = 0;
  /** Kraken's time of the last good examination of this run; undefined: none yet. */
  examinedAt: number | undefined;
  toldOfRefusal = false;
  sleptSinceExamined = false;
  readonly evidence: TwinEvidence[] = [];

  constructor(settings: Settings) {
    this.settings = settings;
    this.restart();
  }

  restart(): void {
    this.alarm = new TwinAlarm({ now: () => this.steady, flightMs: FLIGHT_MS });
    this.floor += 10_000_000_000n; // what was reserved
    this.startedAt = this.time;
    this.examinedAt = undefined;
    this.toldOfRefusal = false;
  }

  pass(ms: number, isAwake = true): void {
    const end = this.time + ms;
    const due = this.late.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at);
    for (const call of due) {
      this.late.splice(this.late.indexOf(call), 1);
      this.#go(call.at, isAwake);
      this.take(call.nonce, false);
    }
    this.#go(end, isAwake);
  }

  #go(to: number, isAwake: boolean): void {
    if (isAwake) this.steady += to - this.time;
    this.time = to;
  }

  draw(): bigint {
    const clock = BigInt(this.time + this.wallError) * 1_000_000n;
    this.floor = clock > this.floor ? clock : this.floor + 1n;
    this.drawn.add(this.floor);
    this.drawTimes.push(this.time);
    this.alarm.drawn(KEY, this.floor);
    return this.floor;
  }

  /** What Kraken does with a nonce. */
  take(nonce: bigint, isTwin: boolean): boolean {
    const isHigh = nonce > this.highest;
    if (!isHigh && nonce <= this.highest - this.settings.window) return false;
    if (isHigh) {
      this.highest = nonce;
      this.highIsTwins = isTwin;
    }
    this.lastUsedAt = this.time;
    this.lastUserIsTwin = isTwin;
    if (isTwin) this.twinUses.push({ at: this.time, nonce, isHigh });
    return true;
  }

  act(act: Act): void {
    switch (act.kind) {
      case 'wait':
        this.pass(act.ms);
        return;
      case 'sleep':
        this.sleptSinceExamined = true;
        this.pass(act.ms, false);
        return;
      case 'clock':
        this.wallError += act.ms;
        return;
      case 'unsent':
        this.draw();
        return;
      case 'call':
      case 'refused': // by the engine: its nonce is spent like any other
        this.send();
        return;
      case 'lost':
        if (act.arrivesMs !== undefined)
          this.late.push({ at: this.time + act.arrivesMs, nonce: this.draw() });
        else this.draw();
        return;
      case 'restart':
        this.restart();
        return;
      case 'lost-examination':
        this.take(this.draw(), false);
        return;
      case 'examine':
        this.examine();
        return;
      case 'twin':
        this.take(this.twinNonce(act.nonce), true);
    }
  }

  twinNonce(kind: 'next' | 'clock' | 'ahead' | 'shifted' | 'behind'): bigint {
    switch (kind) {
      case 'next':
        return this.highest + 1n;
      case 'clock':
        return BigInt(this.time) * 1_000_000n + 12_345n;
      case 'ahead':
        return this.highest + 3_333_333n;
      case 'shifted':
        return this.highest + (1n << 40n);
      case 'behind':
        return this.highest > 7n ? this.highest - 7n : 1n;
    }
  }

  /** As the proxy's sender does: two more tries, the last of them with a lifted floor. */
  send(): bigint[] | undefined {
    const nonces: bigint[] = [];
    for (let tries = 1; tries <= 3; tries++) {
      if (tries === 3) this.floor += 2_000_000_000n;
      nonces.push(this.draw());
      if (this.take(this.floor, false)) return nonces;
    }
    const before = this.toldOfRefusal;
    const evidence = this.alarm.refused(KEY, this.floor, this.time);
    if (evidence !== undefined) this.expectTrue(evidence);
    // Every refusal of a nonce so high is a proof, once there is something to compare with.
    if (this.examinedAt !== undefined && this.floor > this.highestThen) {
      expect(evidence !== undefined || before).toBe(true);
    }
    this.toldOfRefusal ||= evidence !== undefined;
    return undefined;
  }

  highestThen = 0n;

  examine(): void {
    const [highest, isTwins, usedAt, isTwinsUse] = [
      ...([this.highest, this.highIsTwins, this.lastUsedAt, this.lastUserIsTwin] as const),
    ];
    const begunAt = this.time;
    const nonces = this.send();
    if (nonces === undefined) return;
    const { settings } = this;
    const told = settings.nonce === 'before' ? highest : this.highest;
    const used = settings.lastUsed === 'before' ? usedAt : this.lastUsedAt;
    const lag = 40;
    const second = Math.floor(this.time / 1_000);
    const sent = this.steady;
    this.pass(lag);
    const offset = { low: second * 1_000 - this.steady, high: (second + 1) * 1_000 - sent };
    const evidence = this.alarm.examined(KEY, {
      nonces,
      info: {
        nonce: settings.isDouble ? BigInt(Number(told)) : told,
        nonceWindow: settings.window,
        lastUsed: used === 0 ? 'never' : this.second(used),
      },
      at: this.time,
      offset,
    });
    if (evidence !== undefined) this.expectTrue(evidence);
    else this.expectNotProvable(highest, isTwins, usedAt, isTwinsUse, begunAt);
    this.examinedAt = begunAt;
    this.highestThen = this.highest;
    this.toldOfRefusal = false;
    this.sleptSinceExamined = false;
  }

  /** Whatever is told is so: the other did use the key since the last examination of this run. */
  expectTrue(evidence: TwinEvidence): void {
    this.evidence.push(evidence);
    expect(this.examinedAt).toBeDefined();
    const uses = this.twinUses.filter(({ at }) => at >= (this.examinedAt ?? Infinity));
    switch (evidence.kind) {
      case 'nonce':
        expect(uses.filter(({ isHigh }) => isHigh).map(({ nonce }) => this.written(nonce))).toContain(
          evidence.nonce,
        );
        return;
      case 'refused':
        expect(uses.some(({ nonce }) => nonce >= (evidence.nonce ?? 0n))).toBe(true);
        return;
      case 'last-used':
        expect(uses.map(({ at }) => this.second(at))).toContain(evidence.usedAt);
    }
  }

  second(at: number): number {
    return Math[this.settings.toSecond](at / 1_000) * 1_000;
  }

  written(nonce: bigint): bigint {
    return this.settings.isDouble ? BigInt(Number(nonce)) : nonce;
  }

  /** Nothing is told only where nothing could be seen. */
  expectNotProvable(
    highest: bigint,
    isTwins: boolean,
    usedAt: number,
    isTwinsUse: boolean,
    begunAt: number,
  ): void {
    const { examinedAt, settings } = this;
    if (examinedAt === undefined) return;
    const isShown = settings.nonce === 'before' && highest > this.highestThen && isTwins;
    if (isShown && !settings.isDouble && !this.drawn.has(highest))
      expect('a twin was not told').toBe(highest);
    if (settings.lastUsed !== 'before' || !isTwinsUse || this.sleptSinceExamined) return;
    const margin = 4_000;
    const isAlone =
      usedAt > examinedAt + margin &&
      usedAt < begunAt - margin &&
      usedAt > this.startedAt + FLIGHT_MS + margin &&
      // Calls of former runs have landed by then.
      !this.drawTimes.some((at) => at < begunAt && at < usedAt + margin && at + FLIGHT_MS > usedAt - margin);
    if (isAlone) expect('a use was not told').toBe(usedAt);
  }
}

const ms = (max: number): fc.Arbitrary<number> => fc.nat({ max });
const anySettings: fc.Arbitrary<Settings> = fc.record({
  nonce: fc.constantFrom('before', 'including'),
  lastUsed: fc.constantFrom('before', 'including'),
  isDouble: fc.boolean(),
  toSecond: fc.constantFrom('floor', 'round'),
  window: fc.constantFrom(0n, 0n, 5n, 20_000_000_000n),
});
const ownAct: fc.Arbitrary<Act> = fc.oneof(
  { arbitrary: fc.record({ kind: fc.constantFrom('call', 'refused', 'unsent') }), weight: 4 },
  { arbitrary: fc.record({ kind: fc.constant('examine') }), weight: 5 },
  { arbitrary: fc.record({ kind: fc.constantFrom('lost-examination', 'restart') }), weight: 1 },
  {
    arbitrary: fc.record({
      kind: fc.constant('lost'),
      arrivesMs: fc.option(ms(FLIGHT_MS - 1), { nil: undefined }),
    }),
    weight: 2,
  },
  {
    arbitrary: fc.record({ kind: fc.constant('wait'), ms: fc.oneof(ms(50), ms(3_000), ms(600_000)) }),
    weight: 5,
  },
  { arbitrary: fc.record({ kind: fc.constant('sleep'), ms: fc.oneof(ms(3_000), ms(3_600_000)) }), weight: 1 },
  {
    arbitrary: fc.record({ kind: fc.constant('clock'), ms: fc.integer({ min: -5_000_000, max: 60_000 }) }),
    weight: 1,
  },
);
const twinAct: fc.Arbitrary<Act> = fc.record({
  kind: fc.constant('twin'),
  nonce: fc.constantFrom('next', 'clock', 'ahead', 'shifted', 'behind'),
});

/** What chance seldom brings: a use of a key that we leave alone for a while. */
const useInSilence = fc
  .tuple(fc.integer({ min: FLIGHT_MS - 5_000, max: 300_000 }), twinAct, ms(20_000))
  .map(([before, twin, after]): Act[] => [
    ...([{ kind: 'examine' }, { kind: 'wait', ms: before }, twin] as const),
    ...([{ kind: 'wait', ms: after }, { kind: 'examine' }] as const),
  ]);
/** And a call that reaches Kraken at the last moment that is thought possible, perhaps one of a former run. */
const lastMoment = fc
  .tuple(ms(400_000), ms(300), fc.boolean(), ms(1_000), ms(20_000))
  .map(([before, early, isFormer, between, after]): Act[] => {
    const lost = { kind: 'lost', arrivesMs: FLIGHT_MS - 1 - early } as const;
    const examine = { kind: 'examine' } as const;
    const restart: Act[] = isFormer ? [{ kind: 'restart' }, { kind: 'wait', ms: between }, examine] : [];
    return [
      examine,
      { kind: 'wait', ms: before },
      lost,
      ...restart,
      { kind: 'wait', ms: FLIGHT_MS + after },
      examine,
    ];
  });

const ownActs = fc.array(ownAct, { maxLength: 25 });

describe('the twin alarm', () => {
  it('never sounds without a twin, whatever becomes of our calls', () => {
    fc.assert(
      fc.property(anySettings, fc.tuple(ownActs, lastMoment, ownActs), (settings, acts) => {
        const world = new World(settings);
        for (const act of acts.flat()) world.act(act);
        expect(world.evidence).toEqual([]);
      }),
      { numRuns: 2_000 },
    );
  });

  it('sounds when, and only when, what Kraken says proves a twin', () => {
    let told = { nonce: 0, refused: 0, 'last-used': 0 };
    const any = fc.oneof({ arbitrary: ownAct, weight: 4 }, { arbitrary: twinAct, weight: 1 });
    const some = fc.array(any, { minLength: 2, maxLength: 20 });
    const acts = fc.tuple(some, fc.option(useInSilence, { nil: [] }), some).map((parts) => parts.flat());
    fc.assert(
      fc.property(anySettings, acts, (settings, list) => {
        const world = new World(settings);
        for (const act of list) world.act(act);
        for (const { kind } of world.evidence) told = { ...told, [kind]: told[kind] + 1 };
      }),
      { numRuns: 3_000 },
    );
    // Each of the three ways was walked.
    expect(Math.min(told.nonce, told.refused, told['last-used'])).toBeGreaterThan(20);
  });
});

describe('a key that only we use', () => {
  /** A quiet key, examined every five minutes. */
  const quiet = (settings: Partial<Settings> = {}): World =>
    new World({
      nonce: 'including',
      lastUsed: 'before',
      isDouble: false,
      toSecond: 'floor',
      window: 0n,
      ...settings,
    });
  const rounds = (world: World, count: number): void => {
    for (let round = 0; round < count; round++) {
      world.act({ kind: 'examine' });
      world.act({ kind: 'wait', ms: 300_000 });
    }
  };

  it('gives no alarm with any meaning of the reply', () => {
    for (const nonce of ['before', 'including'] as const) {
      for (const lastUsed of ['before', 'including'] as const) {
        for (const isDouble of [false, true]) {
          const world = quiet({ nonce, lastUsed, isDouble });
          rounds(world, 10);
          expect(world.evidence).toEqual([]);
        }
      }
    }
  });

  it('and is used once by another: the next examination tells, by its nonce or by when it was used', () => {
    const by: Record<string, string[]> = {};
    for (const nonce of ['before', 'including'] as const) {
      for (const lastUsed of ['before', 'including'] as const) {
        const world = quiet({ nonce, lastUsed });
        rounds(world, 3);
        world.act({ kind: 'wait', ms: 10_000 });
        world.act({ kind: 'twin', nonce: 'clock' });
        world.act({ kind: 'wait', ms: 100_000 });
        const [from, usedAt] = [world.examinedAt ?? 0, Math.floor(world.lastUsedAt / 1_000) * 1_000];
        rounds(world, 3);
        by[`${nonce} ${lastUsed}`] = world.evidence.map(({ kind }) => kind);
        for (const found of world.evidence) {
          expect(found.from - from).toBeLessThan(1_000);
          expect(found.to).toBeGreaterThan(usedAt);
          if (found.kind === 'last-used') expect(found.usedAt).toBe(usedAt);
        }
      }
    }
    expect(by).toEqual({
      'before before': ['nonce'],
      'before including': ['nonce'],
      'including before': ['last-used'],
      // Kraken shows nothing but our own examination.
      'including including': [],
    });
  });

  it('is not suspected for what a former run left behind', () => {
    for (const nonce of ['before', 'including'] as const) {
      const world = quiet({ nonce });
      rounds(world, 2);
      world.act({ kind: 'lost', arrivesMs: 60_000 });
      world.act({ kind: 'restart' });
      rounds(world, 3);
      expect(world.evidence).toEqual([]);
    }
  });
});

describe('what is told', () => {
  const at = START;
  const info = { nonceWindow: 0n, lastUsed: undefined };
  const offset = undefined;

  it('is told once for each time that the nonce moved', () => {
    const alarm = new TwinAlarm();
    const examine = (nonce: bigint, told: bigint): string | undefined => {
      alarm.drawn(KEY, nonce);
      return alarm.examined(KEY, { nonces: [nonce], info: { ...info, nonce: told }, at, offset })?.kind;
    };
    expect(examine(100n, 90n)).toBeUndefined();
    expect(examine(200n, 150n)).toBe('nonce');
    expect(examine(300n, 200n)).toBeUndefined();
    expect(examine(400n, 350n)).toBe('nonce');
  });

  it('is nothing that lies before what is known: an old view of the key proves nothing', () => {
    let now = 0;
    const alarm = new TwinAlarm({ now: () => now });
    const still = { low: START - 10, high: START + 10 };
    const examine = (accepted: bigint, nonce: bigint, usedMs: number): TwinEvidence | undefined => {
      alarm.drawn(KEY, accepted);
      const told = { nonce, nonceWindow: 0n, lastUsed: START + usedMs };
      return alarm.examined(KEY, { nonces: [accepted], info: told, at, offset: still });
    };
    now = 1_000_000;
    expect(examine(100n, 90n, 0)).toBeUndefined();
    now = 1_600_000;
    expect(examine(200n, 95n, 800_000)).toBeUndefined();
    now = 2_200_000;
    expect(examine(300n, 200n, 1_900_000)?.kind).toBe('last-used');
  });

  it('is nothing while our own nonce for the examination is unknown', () => {
    const alarm = new TwinAlarm();
    alarm.drawn(KEY, 1n);
    for (const nonce of [100n, 200n, 300n])
      expect(
        alarm.examined(KEY, { nonces: [nonce], info: { ...info, nonce: nonce - 5n }, at, offset }),
      ).toBeUndefined();
  });

  it('does not mix keys up', () => {
    const alarm = new TwinAlarm();
    for (const [key, nonce] of [
      [KEY, 100n],
      [OTHER, 101n],
      [KEY, 102n],
    ] as const) {
      alarm.drawn(key, nonce);
      alarm.examined(key, { nonces: [nonce], info: { ...info, nonce }, at, offset });
    }
    // Ours, but of another key: somebody has signed with this one.
    alarm.drawn(OTHER, 103n);
    alarm.drawn(KEY, 104n);
    expect(alarm.examined(KEY, { nonces: [104n], info: { ...info, nonce: 103n }, at, offset })).toMatchObject(
      { kind: 'nonce', nonce: 103n },
    );
  });

  it('proves nothing below the nonces that are kept', () => {
    for (const [keep, kind] of [
      [8, undefined],
      [64, 'nonce'],
    ] as const) {
      const alarm = new TwinAlarm({ keep });
      alarm.drawn(KEY, 1_000n);
      alarm.examined(KEY, { nonces: [1_000n], info: { ...info, nonce: 1_000n }, at, offset });
      for (let nonce = 2_000n; nonce < 2_020n; nonce++) alarm.drawn(KEY, nonce);
      const told = alarm.examined(KEY, { nonces: [2_019n], info: { ...info, nonce: 1_500n }, at, offset });
      expect(told?.kind).toBe(kind);
    }
  });

  it('is told of a refusal only while the refused nonce is our newest, and above what Kraken had taken', () => {
    const alarm = new TwinAlarm();
    alarm.drawn(KEY, 100n);
    expect(alarm.refused(KEY, 100n, at)).toBeUndefined(); // nothing to compare with
    alarm.examined(KEY, { nonces: [100n], info: { ...info, nonce: 500n }, at, offset });
    alarm.drawn(KEY, 400n);
    expect(alarm.refused(KEY, 400n, at)).toBeUndefined();
    alarm.drawn(KEY, 600n);
    alarm.drawn(KEY, 601n);
    expect(alarm.refused(KEY, 600n, at)).toBeUndefined();
    expect(alarm.refused(KEY, 601n, at)).toMatchObject({ kind: 'refused', nonce: 601n });
    alarm.drawn(KEY, 602n);
    expect(alarm.refused(KEY, 602n, at)).toBeUndefined();
    expect(alarm.refused('a key never used', 1n, at)).toBeUndefined();
  });

  it('needs to know what was highest: a reply without a nonce is no reference where there is a window', () => {
    for (const [nonceWindow, kind] of [
      [0n, 'refused'],
      [5n, undefined],
      [undefined, undefined],
    ] as const) {
      const alarm = new TwinAlarm();
      alarm.drawn(KEY, 100n);
      const odd = { nonce: undefined, nonceWindow, lastUsed: undefined };
      alarm.examined(KEY, { nonces: [100n], info: odd, at, offset });
      alarm.drawn(KEY, 200n);
      expect(alarm.refused(KEY, 200n, at)?.kind).toBe(kind);
    }
  });
});

it('what others did with a key while it was forgotten is not held against them', () => {
  const ns = (ms: number): bigint => BigInt(ms) * 1_000_000n;
  const secondExamination = (isForgotten: boolean): TwinEvidence | undefined => {
    let now = 0;
    const alarm = new TwinAlarm({ now: () => now });
    const examine = (ours: bigint, highest: bigint): TwinEvidence | undefined => {
      alarm.drawn(KEY, ours);
      const info = { nonce: highest, nonceWindow: 0n, lastUsed: undefined };
      return alarm.examined(KEY, { nonces: [ours], info, at: START + now, offset: undefined });
    };
    expect(examine(ns(START), ns(START) - 1n)).toBeUndefined();
    if (isForgotten) alarm.forget(KEY);
    alarm.forget(OTHER);
    now = 86_400_000;
    const found = examine(ns(START + now), ns(START + now) - 5_000n);
    // From here on it is watched as ever.
    now += 60_000;
    expect(examine(ns(START + now), ns(START + now) - 5_000n)).toMatchObject({ kind: 'nonce' });
    return found;
  };
  expect(secondExamination(false)).toMatchObject({ kind: 'nonce' });
  expect(secondExamination(true)).toBeUndefined();
});
