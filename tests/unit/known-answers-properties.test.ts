import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import type { OpenRecord } from '../../src/answers/begun.js';
import type { CallId } from '../../src/answers/call-id.js';
import { KnownAnswers } from '../../src/answers/known-answers.js';
import { callId, INTENT, replyOf } from '../support/answers-world.js';
import { propertyRuns } from '../support/property-runs.js';

const DAY_MS = 24 * 60 * 60 * 1000;
const IDS: readonly CallId[] = [
  callId({ id: 'a' }),
  callId({ id: 'b' }),
  callId({ kind: 'order', id: 'a' }),
  callId({ kind: 'order', id: 'a', digest: 'd2' }),
];

type Known = 'new' | 'in-doubt' | 'answered' | 'done';

/** What the test knows of one call. */
interface Model {
  /** What its next begin may say; several where a crash came before the last word was with the disk. */
  states: Set<Known>;
  /** What a crash may leave of it. */
  onDisk: Set<Known>;
  record: OpenRecord | undefined;
  /** The earliest time from which its day may count, in true time. */
  since: number;
}

type End = 'answered' | 'done' | 'forget' | 'in-doubt' | 'update';
type Step =
  | { readonly kind: 'begin'; readonly which: number; readonly isAwaited: boolean }
  | { readonly kind: 'end'; readonly which: number; readonly how: End; readonly isAwaited: boolean }
  | { readonly kind: 'clock'; readonly ms: number }
  | { readonly kind: 'restart'; readonly isCrash: boolean };

const which = fc.nat({ max: IDS.length - 1 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant('begin' as const), which, isAwaited: fc.boolean() }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('end' as const),
      which,
      how: fc.constantFrom<End>('answered', 'answered', 'done', 'forget', 'in-doubt', 'update'),
      isAwaited: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('clock' as const),
      ms: fc.constantFrom(1, DAY_MS / 3, DAY_MS - 1, DAY_MS),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('restart' as const), isCrash: fc.boolean() }) },
);

/** Large enough for the file to be written anew now and then. */
const REPLY = replyOf('x'.repeat(200_000));
const HUGE = replyOf('x'.repeat(300_000));

class World {
  readonly #file: string;
  readonly #models = IDS.map<Model>(() => ({
    states: new Set(['new']),
    onDisk: new Set(['new']),
    record: undefined,
    since: 0,
  }));
  readonly #crashed: KnownAnswers[] = [];
  #truth = 1_800_000_000_000;
  /** How far the clock is behind the true time. */
  behind = 0;
  #answers: KnownAnswers | undefined;

  constructor(file: string) {
    this.#file = file;
  }

  async open(): Promise<void> {
    this.#answers = await KnownAnswers.open(this.#file, { now: () => this.#truth - this.behind });
  }

  async close(): Promise<void> {
    for (const answers of [...this.#crashed, this.#answers]) await answers?.close();
  }

  async take(one: Step): Promise<void> {
    if (one.kind === 'clock') this.#truth += one.ms;
    else if (one.kind === 'restart') await this.#restart(one.isCrash);
    else if (one.kind === 'begin') await this.#begin(one);
    else await this.#end(one);
  }

  async #restart(isCrash: boolean): Promise<void> {
    if (!isCrash) await this.#answers?.close();
    else if (this.#answers !== undefined) this.#crashed.push(this.#answers);
    for (const model of this.#models) {
      if (!isCrash) model.onDisk = new Set([...model.onDisk].slice(-1));
      model.states = new Set(model.onDisk);
      model.record = undefined;
    }
    await this.open();
  }

  async #begin({ which: index, isAwaited }: Extract<Step, { kind: 'begin' }>): Promise<void> {
    const [id, model] = [IDS[index], this.#models[index]];
    if (id === undefined || model === undefined || this.#answers === undefined)
      throw new Error('no such call');
    const begun = this.#answers.begin(id, INTENT);
    if (model.record !== undefined) {
      expect(begun.state).toBe('under-way');
      return;
    }
    const mayBeOld = this.#truth >= model.since + DAY_MS;
    const allowed: string[] = mayBeOld ? [...model.states, 'new'] : [...model.states];
    expect(allowed).toContain(begun.state);
    if (begun.state === 'answered') expect(begun.reply).toEqual(REPLY);
    if (begun.state === 'new') {
      model.since = this.#truth;
      if (mayBeOld) model.onDisk.add('new'); // what was there no longer counts
      model.onDisk.delete('in-doubt');
      model.onDisk.add('in-doubt');
    }
    if (begun.state !== 'new' && begun.state !== 'in-doubt') return;
    model.record = begun.record;
    if (!isAwaited) return;
    await begun.record.written;
    model.onDisk = new Set(['in-doubt']);
  }

  async #end({ which: index, how, isAwaited }: Extract<Step, { kind: 'end' }>): Promise<void> {
    const model = this.#models[index];
    const record = model?.record;
    if (model === undefined || record === undefined) return;
    const after: Known = how === 'forget' ? 'new' : how === 'update' ? 'in-doubt' : how;
    model.onDisk.delete(after);
    model.onDisk.add(after); // the last one is the last word
    let written: Promise<unknown> | undefined;
    if (how === 'answered') written = record.answered(REPLY);
    else if (how === 'done') written = record.answered(HUGE);
    else if (how === 'forget') record.forget();
    else if (how === 'in-doubt') void record.leaveInDoubt(INTENT);
    else written = record.update(INTENT);
    if (how !== 'update') {
      model.states = new Set([after]);
      model.record = undefined;
    }
    if (!isAwaited || written === undefined) return;
    await written;
    model.onDisk = new Set([after]);
  }
}

it('whatever begins, ends, crashes and comes again: nothing that is open, in doubt or answered is new within a day', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 60 }),
      fc.integer({ min: 0, max: 2 * DAY_MS }),
      async (steps, back) => {
        const folder = mkdtempSync(join(tmpdir(), 'answers-'));
        const world = new World(join(folder, 'answers'));
        try {
          await world.open();
          for (const [index, one] of steps.entries()) {
            if (index === Math.floor(steps.length / 2)) world.behind = back;
            await world.take(one);
          }
        } finally {
          await world.close();
          rmSync(folder, { recursive: true });
        }
      },
    ),
    { numRuns: propertyRuns(40) },
  );
}, 120_000);
