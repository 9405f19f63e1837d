import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { AnswersError } from '../../src/answers/answer-lines.js';
import { checkIdempotencyKey } from '../../src/answers/call-id.js';
import { KnownAnswers } from '../../src/answers/known-answers.js';
import { OwnedAnswers } from '../../src/answers/owned-answers.js';
import { decodeReply, encodeReply } from '../../src/answers/stored-reply.js';
import {
  callId,
  doubtOf,
  INTENT,
  newRecord,
  outcomeOf,
  replayed,
  replyOf,
} from '../support/answers-world.js';

const DAY_MS = 24 * 60 * 60 * 1000;
const MINUTE_MS = 60_000;

let folder: string;
let file: string;
let clock: number;
const now = (): number => clock;
const opened: KnownAnswers[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'answers-'));
  file = join(folder, 'nonce.answers');
  clock = 1_800_000_000_000;
});

afterEach(async () => {
  for (const answers of opened.splice(0)) await answers.close();
  rmSync(folder, { recursive: true });
});

/** Opens the file; the former one need not have been closed, as after a crash. */
async function open(maxBytes?: number): Promise<KnownAnswers> {
  const answers = await KnownAnswers.open(file, { now, ...(maxBytes !== undefined && { maxBytes }) });
  opened.push(answers);
  return answers;
}

/** A call that is sent and answered. */
async function answer(answers: KnownAnswers, text: string, changes = {}): Promise<void> {
  const record = newRecord(answers.begin(callId(changes), INTENT));
  await record.written;
  expect(await record.answered(replyOf(text))).toBeUndefined();
}

function thrownBy(act: () => unknown): unknown {
  try {
    act();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

const lines = (): string[] => readFileSync(file, 'utf8').split('\n').slice(0, -1);

describe.each(['key', 'order'] as const)('a call with an id of its own (%s)', (kind) => {
  const id = callId({ kind });

  it('is done once; its answer is replayed, byte for byte, after a restart too', async () => {
    const answers = await open();
    await answer(answers, '{"error":[],"result":"é"}', { kind });
    expect(replayed(answers.begin(id, INTENT))).toBe('{"error":[],"result":"é"}');
    const again = (await open()).begin(id, INTENT);
    expect(again).toEqual({ state: 'answered', reply: replyOf('{"error":[],"result":"é"}') });
    await opened.at(-1)?.close();
    expect(replayed((await open()).begin(id, INTENT))).toMatch(/é/);
  });

  it('is on disk before it is written', async () => {
    const record = newRecord((await open()).begin(id, INTENT));
    expect(lines()).toEqual([]);
    await record.written;
    expect(lines()).toHaveLength(1);
  });

  it('one at a time: those who come meanwhile get its reply', async () => {
    const answers = await open();
    const record = newRecord(answers.begin(id, INTENT));
    const waiting = [outcomeOf(answers.begin(id, INTENT)), outcomeOf(answers.begin(id, INTENT))];
    await record.written;
    void record.answered(replyOf('one'));
    expect((await Promise.all(waiting)).map((reply) => reply?.body.toString())).toEqual(['one', 'one']);
  });

  it('that is forgotten is new for the next, and for those who waited', async () => {
    const answers = await open();
    const record = newRecord(answers.begin(id, INTENT));
    const waiting = outcomeOf(answers.begin(id, INTENT));
    await record.written;
    record.forget();
    expect(await waiting).toBeUndefined();
    await newRecord(answers.begin(id, INTENT)).written;
    // A restart leaves the second one in doubt.
    expect((await open()).begin(id, INTENT).state).toBe('in-doubt');
  });

  it('that was forgotten is new after a restart', async () => {
    const answers = await open();
    const record = newRecord(answers.begin(id, INTENT));
    record.forget();
    await record.written;
    await answers.close();
    expect((await open()).begin(id, INTENT).state).toBe('new');
  });

  it('without an end is in doubt after a crash, with its intent; one finds out, the others wait', async () => {
    await newRecord((await open()).begin(id, INTENT)).written;
    const answers = await open();
    const doubt = doubtOf(answers.begin(id, { ...INTENT, until: 1 }));
    expect(doubt.intent).toEqual(INTENT);
    const waiting = outcomeOf(answers.begin(id, INTENT));
    await doubt.record.written;
    await doubt.record.answered(replyOf('found'));
    expect((await waiting)?.body.toString()).toBe('found');
    expect(replayed((await open()).begin(id, INTENT))).toBe('found');
  });

  it('that is left in doubt is so for the next, with the latest intent, after a restart too', async () => {
    const answers = await open();
    const record = newRecord(answers.begin(id, INTENT));
    const waiting = outcomeOf(answers.begin(id, INTENT));
    await record.written;
    void record.leaveInDoubt({ ...INTENT, sentAt: clock });
    expect(await waiting).toBeUndefined();
    const doubt = doubtOf(answers.begin(id, INTENT));
    expect(doubt.intent).toEqual({ ...INTENT, sentAt: clock });
    void doubt.record.leaveInDoubt({ ...INTENT, until: 7 });
    await answers.close();
    const next = await open();
    expect(doubtOf(next.begin(id, INTENT)).intent.until).toBe(7);
    // A crash of the one who was finding out.
    expect(doubtOf((await open()).begin(id, INTENT)).intent.until).toBe(7);
  });

  it('whose doubt was cleared up is new', async () => {
    await newRecord((await open()).begin(id, INTENT)).written;
    const answers = await open();
    doubtOf(answers.begin(id, INTENT)).record.forget();
    expect(answers.begin(id, INTENT).state).toBe('new');
    await answers.close();
  });

  it('keeps a changed intent, durably', async () => {
    const record = newRecord((await open()).begin(id, INTENT));
    await record.written;
    await record.update({ ...INTENT, sentAt: 5 });
    expect(doubtOf((await open()).begin(id, INTENT)).intent).toEqual({ ...INTENT, sentAt: 5 });
  });

  it('comes to one end: later ones do nothing', async () => {
    const answers = await open();
    const record = newRecord(answers.begin(id, INTENT));
    await record.written;
    await record.answered(replyOf('one'));
    record.forget();
    void record.leaveInDoubt(INTENT);
    await record.answered(replyOf('two'));
    await record.update(INTENT);
    expect(replayed(answers.begin(id, INTENT))).toBe('one');
    expect(replayed((await open()).begin(id, INTENT))).toBe('one');
  });

  it('whose answer is too large is not done again, and those who waited get it', async () => {
    const answers = await open();
    const record = newRecord(answers.begin(id, INTENT));
    const waiting = outcomeOf(answers.begin(id, INTENT));
    await record.written;
    await record.answered(replyOf('x'.repeat(256 * 1024 + 1)));
    expect((await waiting)?.body).toHaveLength(256 * 1024 + 1);
    expect(answers.begin(id, INTENT)).toEqual({ state: 'done' });
    expect((await open()).begin(id, INTENT)).toEqual({ state: 'done' });
  });

  it('is forgotten after a day, answered or in doubt, and no sooner', async () => {
    const answers = await open();
    await answer(answers, 'one', { kind, id: 'a' });
    const record = newRecord(answers.begin(callId({ kind, id: 'b' }), INTENT));
    await record.written;
    void record.leaveInDoubt(INTENT);
    clock += DAY_MS - 1;
    const next = await open();
    expect(replayed(next.begin(callId({ kind, id: 'a' }), INTENT))).toBe('one');
    clock += 1;
    expect(next.begin(callId({ kind, id: 'a' }), INTENT).state).toBe('new');
    expect(answers.begin(callId({ kind, id: 'b' }), INTENT).state).toBe('new');
    await opened.at(-1)?.close();
  });

  it('is remembered from its answer on', async () => {
    const answers = await open();
    const record = newRecord(answers.begin(id, INTENT));
    await record.written;
    clock += DAY_MS / 2;
    await record.answered(replyOf('one'));
    clock += DAY_MS - 1;
    expect(replayed(answers.begin(id, INTENT))).toBe('one');
    expect(replayed((await open()).begin(id, INTENT))).toBe('one');
    clock += 1;
    expect(answers.begin(id, INTENT).state).toBe('new');
  });

  it('is remembered longer when the clock steps back', async () => {
    const answers = await open();
    await answer(answers, 'early', { kind, id: 'early' });
    clock -= DAY_MS / 2;
    const restarted = await open();
    const record = newRecord(restarted.begin(id, INTENT));
    await record.written;
    await record.answered(replyOf('late'));
    clock += DAY_MS + DAY_MS / 4;
    expect(replayed(restarted.begin(id, INTENT))).toBe('late');
    expect(replayed((await open()).begin(id, INTENT))).toBe('late');
    clock += DAY_MS / 4;
    expect((await open()).begin(id, INTENT).state).toBe('new');
  });

  it.each<[string, object]>([
    ['client', { client: 'other' }],
    ['account', { account: 'alice' }],
    ['id', { id: 'k2' }],
  ])('is another call for another %s', async (_, changes) => {
    const answers = await open();
    await answer(answers, 'one', { kind });
    expect(answers.begin(callId({ kind, ...changes }), INTENT).state).toBe('new');
  });
});

it('a key and an order of the same text are two calls', async () => {
  const answers = await open();
  await answer(answers, 'one');
  expect(answers.begin(callId({ kind: 'order' }), INTENT).state).toBe('new');
});

it.each([{ endpoint: 'AddOrderBatch' }, { digest: 'd2' }])(
  'a key that belongs to another call is a mismatch, whatever became of that: %j',
  async (changes) => {
    const answers = await open();
    const record = newRecord(answers.begin(callId(), INTENT));
    const mismatch = { state: 'mismatch' };
    expect(answers.begin(callId(changes), INTENT)).toEqual(mismatch);
    await record.written;
    expect((await open()).begin(callId(changes), INTENT)).toEqual(mismatch);
    await record.answered(replyOf('one'));
    expect(answers.begin(callId(changes), INTENT)).toEqual(mismatch);
    expect((await open()).begin(callId(changes), INTENT)).toEqual(mismatch);
  },
);

it.each([{ endpoint: 'EditOrder' }, { digest: 'd2' }])(
  'an order of that id with other parameters is another call: %j',
  async (changes) => {
    const answers = await open();
    await answer(answers, 'one', { kind: 'order' });
    expect(answers.begin(callId({ kind: 'order', ...changes }), INTENT).state).toBe('new');
  },
);

it('an id as long as a body is told apart, and not kept in full', async () => {
  const answers = await open();
  const long = 'x'.repeat(100_000);
  await answer(answers, 'one', { kind: 'order', id: long });
  expect(replayed(answers.begin(callId({ kind: 'order', id: long }), INTENT))).toBe('one');
  expect(answers.begin(callId({ kind: 'order', id: `${long}y` }), INTENT).state).toBe('new');
  expect(answers.bytes).toBeLessThan(3_000);
});

it('the file says what is in it, but no idempotency key, and is for its owner only', async () => {
  await answer(await open(), 'one', { id: 'very-private-key' });
  const text = readFileSync(file, 'utf8');
  expect(text).not.toContain('very-private-key');
  expect(lines()[0]).toMatch(
    /^\["[\da-f]{8}",\{"call":\["key","bot","master","[\da-f]{64}"\],"asked":\["AddOrder","d1"\],"at":1800000000000,"intent":\{.*\}\}\]$/,
  );
  if (process.platform !== 'win32') expect(statSync(file).mode & 0o777).toBe(0o600);
});

it('a line that a crash tore is left out: the call is in doubt still', async () => {
  const answers = await open();
  await answer(answers, 'one');
  const whole = readFileSync(file);
  writeFileSync(file, whole.subarray(0, whole.length - 5));
  const next = await open();
  await answer(next, 'two', { id: 'k2' });
  const last = await open();
  expect(doubtOf(last.begin(callId(), INTENT)).intent).toEqual(INTENT);
  expect(replayed(last.begin(callId({ id: 'k2' }), INTENT))).toBe('two');
});

it('any flipped byte but in the torn tail refuses the open, and says where and what to do', async () => {
  await answer(await open(), 'the answer');
  const whole = readFileSync(file);
  for (let index = 0; index < whole.length; index += 7) {
    const flipped = Buffer.from(whole);
    flipped.writeUInt8(flipped.readUInt8(index) ^ 0x04, index);
    if (index === whole.length - 1) continue; // then it has no last newline
    writeFileSync(file, flipped);
    const opening = KnownAnswers.open(file, { now });
    await expect(opening).rejects.toThrow(AnswersError);
    await expect(opening).rejects.toThrow(
      /nonce\.answers is not .*: line [12] .*Repair: .*move the file away/,
    );
    expect(readFileSync(file)).toEqual(flipped);
  }
});

it.each(['', 'null', '[]', '["00000000",{}]', '["x"]'])(
  'what is no line of ours refuses the open: %s',
  async (line) => {
    await answer(await open(), 'one');
    appendFileSync(file, `${line}\n`);
    await expect(open()).rejects.toThrow('line 3');
  },
);

it('a reply comes back exactly as it was, whatever bytes it has', async () => {
  const codePoint = fc.integer({ min: 0, max: 0x10ffff });
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array(),
        fc.array(codePoint).map((points) => Buffer.from(String.fromCodePoint(...points))),
      ),
      (bytes) => {
        const reply = { status: 520, headers: { 'x-one': '1' }, body: Buffer.from(bytes) };
        expect(decodeReply(encodeReply(reply) ?? '')).toEqual(reply);
      },
    ),
  );
  const bom = { status: 200, headers: {}, body: Buffer.from([0xef, 0xbb, 0xbf, 0x7b]) };
  expect(decodeReply(encodeReply(bom) ?? '')).toEqual(bom);
  const record = newRecord((await open()).begin(callId(), INTENT));
  const body = Buffer.from([0, 255, 10, 13, 34]);
  await record.answered({ status: 200, headers: {}, body });
  const again = (await open()).begin(callId(), INTENT);
  expect(again).toMatchObject({ state: 'answered', reply: { body } });
});

describe('a call without an id', () => {
  const id = callId({ kind: 'body', id: '' });

  it('is new each time, and nothing of it is kept', async () => {
    const answers = await open();
    const first = newRecord(answers.begin(id, INTENT));
    await first.written;
    expect(answers.begin(id, INTENT).state).toBe('new');
    await first.update(INTENT);
    await first.answered(replyOf('one'));
    first.forget();
    expect(answers.begin(id, INTENT).state).toBe('new');
    expect(answers.count).toBe(0);
    expect(lines()).toEqual([]);
  });

  it.each(['doubtful', 'leaveInDoubt'] as const)(
    'whose reply was lost (%s) is found out by the next; its answer is replayed once',
    async (way) => {
      const answers = await open();
      if (way === 'doubtful') answers.doubtful(id, INTENT);
      else void newRecord(answers.begin(id, INTENT)).leaveInDoubt(INTENT);
      expect(answers.count).toBe(1);
      expect(answers.begin(callId({ kind: 'body', id: '', digest: 'd2' }), INTENT).state).toBe('new');
      const doubt = doubtOf(answers.begin(id, { ...INTENT, until: 1 }));
      expect(doubt.intent).toEqual(INTENT);
      await doubt.record.written;
      await doubt.record.answered(replyOf('found'));
      doubt.record.forget();
      expect(replayed(answers.begin(id, INTENT))).toBe('found');
      expect(answers.begin(id, INTENT).state).toBe('new');
      expect(answers.bytes).toBe(0);
      expect((await open()).begin(id, INTENT).state).toBe('new');
    },
  );

  it('whose holder finds out himself: an equal one waits for him, and is told his answer', async () => {
    const answers = await open();
    expect([answers.hasBodies, answers.has(id)]).toEqual([false, false]);
    const record = answers.lost(id, INTENT);
    expect([answers.hasBodies, answers.has(id)]).toEqual([true, true]);
    const waiting = outcomeOf(answers.begin(id, INTENT));
    void record.leaveInDoubt({ ...INTENT, until: 3 });
    expect(await waiting).toBeUndefined();
    const doubt = doubtOf(answers.begin(id, INTENT));
    expect(doubt.intent.until).toBe(3);
    await doubt.record.answered(replyOf('found'));
    expect(replayed(answers.begin(id, INTENT))).toBe('found');
    expect([answers.hasBodies, answers.has(id)]).toEqual([false, false]);
  });

  it('is known for as long as its answer or its doubt lasts', async () => {
    const answers = await open();
    await answers.lost(id, INTENT).answered(replyOf('found'));
    clock += 10 * MINUTE_MS;
    expect(answers.has(id)).toBe(false);
    await answer(answers, 'one');
    expect(answers.has(callId())).toBe(true);
    clock += DAY_MS;
    expect(answers.has(callId())).toBe(false);
  });

  it('told to one of those who waited, it has been told: the others are calls of their own', async () => {
    const answers = await open();
    answers.doubtful(id, INTENT);
    const { record } = doubtOf(answers.begin(id, INTENT));
    const waiting = [answers.begin(id, INTENT), answers.begin(id, INTENT)].map(outcomeOf);
    await record.answered(replyOf('found'));
    expect(await Promise.all(waiting)).toEqual([undefined, undefined]);
    expect(answers.begin(id, INTENT)).toMatchObject({ state: 'answered', reply: replyOf('found') });
    expect(answers.begin(id, INTENT).state).toBe('new');
  });

  it('left in doubt once more, it is so for the next', async () => {
    const answers = await open();
    answers.doubtful(id, INTENT);
    const { record } = doubtOf(answers.begin(id, INTENT));
    const waiting = outcomeOf(answers.begin(id, INTENT));
    void record.leaveInDoubt({ ...INTENT, until: 2 });
    expect(await waiting).toBeUndefined();
    expect(doubtOf(answers.begin(id, INTENT)).intent.until).toBe(2);
  });

  it('certainly not executed, it is new', async () => {
    const answers = await open();
    answers.doubtful(id, INTENT);
    doubtOf(answers.begin(id, INTENT)).record.forget();
    expect(answers.begin(id, INTENT).state).toBe('new');
  });

  it('two equal ones that were lost are found out one by one', async () => {
    const answers = await open();
    answers.doubtful(id, { ...INTENT, until: 1 });
    answers.doubtful(id, { ...INTENT, until: 2 });
    const first = doubtOf(answers.begin(id, INTENT));
    const second = doubtOf(answers.begin(id, INTENT));
    expect([first.intent.until, second.intent.until]).toEqual([1, 2]);
    await first.record.answered(replyOf('first'));
    await second.record.answered(replyOf('second'));
    expect(replayed(answers.begin(id, INTENT))).toBe('first');
    expect(replayed(answers.begin(id, INTENT))).toBe('second');
    expect(answers.begin(id, INTENT).state).toBe('new');
  });

  it('too large to be kept, it is not done again once', async () => {
    const answers = await open();
    answers.doubtful(id, INTENT);
    await doubtOf(answers.begin(id, INTENT)).record.answered(replyOf('x'.repeat(300_000)));
    expect(answers.begin(id, INTENT)).toEqual({ state: 'done' });
    expect(answers.begin(id, INTENT).state).toBe('new');
  });

  it('its answer lasts ten minutes, and so does its doubt', async () => {
    const answers = await open();
    answers.doubtful(id, INTENT);
    await doubtOf(answers.begin(id, INTENT)).record.answered(replyOf('found'));
    clock += 10 * MINUTE_MS - 1;
    expect(answers.has(id)).toBe(true);
    clock += 1;
    expect(answers.begin(id, INTENT).state).toBe('new');
    answers.doubtful(id, INTENT);
    clock += 10 * MINUTE_MS - 1;
    void doubtOf(answers.begin(id, INTENT)).record.leaveInDoubt(INTENT);
    clock += 10 * MINUTE_MS;
    expect(answers.begin(id, INTENT).state).toBe('new');
    answers.doubtful(id, INTENT);
    clock += 10 * MINUTE_MS;
    // What nobody asks for goes as well.
    answers.doubtful(callId({ kind: 'body', id: '', digest: 'd2' }), INTENT);
    expect(answers.count).toBe(1);
  });
});

describe('bounds', () => {
  it('the oldest answers go first', async () => {
    const answers = await open(20_000);
    for (let index = 0; index < 100; index++) {
      await answer(answers, 'x'.repeat(200), { id: `k${index}` });
      expect(answers.bytes).toBeLessThanOrEqual(20_000);
    }
    expect(replayed(answers.begin(callId({ id: 'k99' }), INTENT))).toMatch(/^x+$/);
    expect(replayed(answers.begin(callId({ id: 'k80' }), INTENT))).toMatch(/^x+$/);
    expect(answers.begin(callId({ id: 'k0' }), INTENT).state).toBe('new');
    expect((await open(10_000)).bytes).toBeLessThanOrEqual(10_000);
  });

  it('what is open or in doubt does not go: then a new call is refused, and sent nothing', async () => {
    const answers = await open(6_000);
    const refused = { name: 'ProxyError', code: 'queue-full', retryAfterSeconds: 1 };
    let open_ = 0;
    const body = callId({ kind: 'body', id: '' });
    for (; open_ < 3; open_++) answers.doubtful(body, INTENT);
    const refusal = thrownBy(() => {
      for (; open_ < 100; open_++) {
        const record = newRecord(answers.begin(callId({ id: `k${open_}` }), INTENT));
        if (open_ % 2 === 0) void record.leaveInDoubt(INTENT);
      }
    });
    expect(refusal).toMatchObject(refused);
    expect(open_).toBeGreaterThan(6);
    expect(answers.bytes).toBeLessThanOrEqual(6_000);
    expect(answers.begin(callId({ id: 'k4' }), INTENT).state).toBe('in-doubt');
    expect(answers.begin(callId({ id: 'k5' }), INTENT).state).toBe('under-way');
    doubtOf(answers.begin(callId({ id: 'k6' }), INTENT)).record.forget();
    expect(answers.begin(callId({ id: 'more' }), INTENT).state).toBe('new');
  });

  it('a call without an id is refused too, while its doubt could not be kept', async () => {
    const answers = await open(1_000);
    const body = callId({ kind: 'body', id: '' });
    const other = callId({ kind: 'body', id: '', digest: 'd2' });
    for (let index = 0; index < 3; index++) answers.doubtful(body, INTENT);
    expect(thrownBy(() => answers.begin(other, INTENT))).toMatchObject({ code: 'queue-full' });
    expect(doubtOf(answers.begin(body, INTENT)).intent).toEqual(INTENT);
  });

  it('what is older than a day leaves memory and file without being asked for', async () => {
    const answers = await open();
    for (let index = 0; index < 2_500; index++) {
      void newRecord(answers.begin(callId({ id: `k${index}` }), INTENT)).leaveInDoubt(INTENT);
    }
    clock += DAY_MS;
    for (let index = 0; index < 3; index++) newRecord(answers.begin(callId({ id: `new${index}` }), INTENT));
    expect(answers.count).toBe(3);
    await answers.close();
    await open();
    expect(lines()).toHaveLength(3);
  });

  it('the file shrinks to what is alive', async () => {
    const answers = await open();
    const text = 'x'.repeat(1_000);
    for (let round = 0; round < 20; round++) {
      const many = Array.from({ length: 100 }, async (_, index) => {
        const record = newRecord(answers.begin(callId({ id: `${round}-${index}` }), INTENT));
        await record.written;
        if (round % 2 === 0) record.forget();
        else await record.answered(replyOf(text));
        return record;
      });
      await Promise.all(many);
      clock += DAY_MS / 5;
    }
    await answers.close();
    expect(statSync(file).size).toBeLessThan(1_400_000);
    const next = await open();
    expect(replayed(next.begin(callId({ id: '19-99' }), INTENT))).toBe(text);
    expect(next.begin(callId({ id: '18-1' }), INTENT).state).toBe('new');
  });
});

it.each(['a', ' ~', 'x'.repeat(255)])('takes as an idempotency key: %s', (text) => {
  expect(checkIdempotencyKey(text)).toBe(text);
});

it.each(['', 'x'.repeat(256), 'ä', 'a\n', '\t', 'a\u007f'])('refuses as an idempotency key: %j', (text) => {
  const detail = 'an Idempotency-Key has 1 to 255 printable ASCII characters';
  expect(thrownBy(() => checkIdempotencyKey(text))).toMatchObject({ code: 'invalid-body', detail });
});

it('before the answers are ours all is refused; then they are, and close with it', async () => {
  const owned = new OwnedAnswers();
  const refused = { code: 'not-owner', retryAfterSeconds: 1 };
  const body = callId({ kind: 'body', id: '' });
  expect(thrownBy(() => owned.begin(callId(), INTENT))).toMatchObject(refused);
  expect(thrownBy(() => owned.lost(body, INTENT))).toMatchObject(refused);
  expect(thrownBy(() => owned.has(callId()))).toMatchObject(refused);
  expect(owned.hasBodies).toBe(false);
  await owned.close();
  owned.own(await open());
  await newRecord(await owned.begin(callId(), INTENT)).written;
  expect(owned.has(callId())).toBe(true);
  await owned.lost(body, INTENT).leaveInDoubt(INTENT);
  expect(owned.hasBodies).toBe(true);
  expect((await owned.begin(body, INTENT)).state).toBe('in-doubt');
  await owned.close();
  await expect(newRecord(await owned.begin(callId({ id: 'k2' }), INTENT)).written).rejects.toMatchObject({
    code: 'not-owner',
    message: 'the file of known answers cannot be written: the file of known answers is closed',
  });
  expect((await owned.begin(callId({ id: 'k2' }), INTENT)).state).toBe('new');
});
