import { appendFileSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { checkJournal, type CheckReport } from '../../src/journal/journal-check.js';
import { digest, formLine } from '../../src/journal/journal-line.js';
import { callRecord, JournalWorld, nonceOf } from '../support/journal-world.js';
import { until } from '../support/until.js';

let world: JournalWorld;
beforeEach(() => (world = new JournalWorld()));
afterEach(async () => {
  await world.close();
});

const check = (head?: string): Promise<CheckReport> => checkJournal(world.file, head);
const places = async (): Promise<string[]> => (await check()).damages.map(({ place }) => place);
const headOf = (text: string | undefined): string => digest(text ?? '');

/** Writes the lines of the live file anew. */
function rewrite(change: (lines: string[]) => string[]): void {
  writeFileSync(world.file, `${change(world.texts('journal.jsonl')).join('\n')}\n`);
}

/** A journal whose chain is sound, of whatever lines: `[kind, content]`. */
function forge(...lines: readonly (readonly [kind: 'begin' | 'call' | 'note', members: object])[]): void {
  let prev = '0'.repeat(64);
  const texts = lines.map(([kind, members], index) => {
    const content = JSON.stringify(members).slice(1, -1);
    const text = formLine(index + 1, '2026-11-22T12:00:00.000Z', kind, content, prev);
    prev = digest(text);
    return text;
  });
  writeFileSync(world.file, `${texts.join('\n')}\n`);
}

const begin = (run: string, keys?: object): readonly ['begin', object] => [
  'begin',
  { run, why: 'start', keys },
];
const call = (draw: number, nonce: number, account = 'master'): readonly ['call', object] => [
  'call',
  { account, draw, nonce: String(nonce) },
];

it('a journal of several files and runs is found sound, and counted', async () => {
  for (let run = 0; run < 3; run++) {
    const journal = await world.open({ maxBytes: 3_000 });
    for (let draw = 1; draw <= 10; draw++)
      journal.call(callRecord(draw, { sends: [{ draw, nonce: nonceOf(run * 10 + draw) }] }));
    await journal.close();
  }
  const report = await check();
  expect(report).toMatchObject({
    ...{ damages: [], damageCount: 0, notices: [], runs: 3, nonces: 30, keys: 1, missingDraws: 0, lost: 0 },
    ...{ files: world.names, lines: world.texts().length, head: headOf(world.texts().at(-1)) },
  });
  expect(world.names.length).toBeGreaterThan(3);
});

it('a flipped byte is found at every offset, in the last line by its head', async () => {
  await world.runs(1);
  const journal = await world.open({ maxBytes: 1_100 });
  journal.call(callRecord(1, { sends: [{ draw: 1, nonce: nonceOf(9) }] }));
  await journal.close();
  const head = headOf(world.texts().at(-1));
  expect(await check(head)).toMatchObject({ damageCount: 0, linesAfterHead: 0 });
  expect(world.names).toHaveLength(2);
  const missed: string[] = [];
  for (const name of world.names) {
    const path = world.path(name);
    const sound = readFileSync(path);
    for (let offset = 0; offset < sound.length; offset++) {
      const flipped = Buffer.from(sound);
      flipped[offset] = (flipped[offset] ?? 0) ^ (1 << (offset % 8));
      writeFileSync(path, flipped);
      const { damageCount, linesAfterHead } = await check(head);
      if (damageCount === 0 && linesAfterHead !== undefined) missed.push(`${name} at ${offset}`);
      const isLastLine =
        name === 'journal.jsonl' && offset >= sound.length - (world.texts().at(-1)?.length ?? 0) - 2;
      if (damageCount === 0 && !isLastLine) missed.push(`${name} at ${offset} without the head`);
    }
    writeFileSync(path, sound);
  }
  expect(missed).toEqual([]);
}, 60_000);

it('a line that is removed, put in twice or changed whole is found where it is', async () => {
  await world.runs(6);
  const sound = readFileSync(world.file);
  rewrite((lines) => lines.toSpliced(3, 1));
  expect((await check()).damages).toEqual([
    { place: 'journal.jsonl:4', what: 'the line with seq 4 is missing before it' },
  ]);
  writeFileSync(world.file, sound);
  rewrite((lines) => lines.toSpliced(3, 0, lines[2] ?? ''));
  expect(await places()).toEqual(['seq 3', 'journal.jsonl:4']);
  writeFileSync(world.file, sound);
  rewrite((lines) => lines.with(3, (lines[3] ?? '').replace('executed', 'refused')));
  expect((await check()).damages).toEqual([
    {
      place: 'journal.jsonl:5',
      what: "does not hang on the line before it: journal.jsonl:4 was changed, or this line's prev",
    },
  ]);
});

it('lines that have changed places are found', async () => {
  await world.runs(6);
  rewrite((lines) => lines.with(2, lines[3] ?? '').with(3, lines[2] ?? ''));
  expect(await places()).toContain('journal.jsonl:3');
});

it('a file that is missing in the middle is found; one that is missing at the beginning is told', async () => {
  const journal = await world.open({ maxBytes: 1_500 });
  for (let draw = 1; draw <= 20; draw++) journal.call(callRecord(draw));
  await journal.close();
  const [first = '', second = '', third = ''] = world.names;
  renameSync(world.path(first), `${world.file}.aside`);
  expect(await check()).toMatchObject({
    damageCount: 0,
    notices: [expect.stringContaining('rotated out') as string],
  });
  renameSync(`${world.file}.aside`, world.path(first));
  rmSync(world.path(second));
  expect((await check()).damages).toMatchObject([
    { place: `${third}:1`, what: expect.stringContaining('missing') as string },
  ]);
});

it('the first lines of a journal cannot be cut off, nor those of a file', async () => {
  await world.runs(6);
  rewrite((lines) => lines.slice(2));
  expect((await check()).damages).toEqual([
    { place: 'journal.jsonl:1', what: 'begins its file and is no begin: lines above it are missing' },
  ]);
});

it('an end that was cut off, or written anew, is found by a head that was noted before', async () => {
  await world.runs(6);
  const noted = headOf(world.texts()[5]);
  expect(await check(noted)).toMatchObject({ damageCount: 0, linesAfterHead: 2 });
  const sound = readFileSync(world.file);
  rewrite((lines) => lines.slice(0, 5));
  expect(await check(noted)).toMatchObject({ damageCount: 0, linesAfterHead: undefined });
  writeFileSync(world.file, sound);
  rmSync(world.file);
  await world.runs(6, 6);
  expect(await check(noted)).toMatchObject({ damageCount: 0, linesAfterHead: undefined });
});

it('a head whose line was rotated out is proven by the line after it', async () => {
  const journal = await world.open({ maxBytes: 1_500 });
  for (let draw = 1; draw <= 9; draw++) journal.call(callRecord(draw));
  await journal.close();
  const [first = ''] = world.names;
  const head = headOf(world.texts(first).at(-1));
  rmSync(world.path(first));
  expect(await check(head)).toMatchObject({ damageCount: 0, linesAfterHead: world.texts().length });
});

it('a last line that was being written is told, and is no damage', async () => {
  await world.runs(2);
  const whole = world.texts().length;
  appendFileSync(world.file, '{"seq":5,"at":"2026');
  expect(await check()).toMatchObject({
    ...{ damageCount: 0, lines: whole },
    notices: [
      expect.stringMatching(
        /^journal.jsonl:5 was being written .* its 19 bytes are no whole line$/,
      ) as string,
    ],
  });
});

it('damage of a power cut that the next start has found and told is no finding', async () => {
  await world.runs(4);
  const text = readFileSync(world.file);
  writeFileSync(world.file, text.fill(0, text.length - 300));
  appendFileSync(world.file, '\n');
  expect((await check()).damageCount).toBeGreaterThan(0);
  await world.runs(0);
  expect(await check()).toMatchObject({
    damageCount: 0,
    notices: [expect.stringContaining('as after a power cut') as string],
  });
  // What was told then must be so still.
  appendFileSync(world.path('journal.000000000001.jsonl'), 'more\n');
  expect((await check()).damageCount).toBeGreaterThan(0);
});

it('good lines behind a changed one stay damage, also when a start has moved the file aside', async () => {
  await world.runs(6);
  rewrite((lines) => lines.with(2, (lines[2] ?? '').replace('executed', 'refused')));
  await world.runs(0);
  expect(await places()).toEqual(['journal.000000000001.jsonl:4']);
});

describe('nonces', () => {
  beforeEach(() => world.runs());
  beforeEach(async () => {
    await (await world.open()).close();
  });

  it('lines in another order than their draws are no finding', async () => {
    forge(begin('a'), call(3, 30), call(1, 10), call(2, 20), begin('b'), call(2, 50), call(1, 40));
    expect(await check()).toMatchObject({ damages: [], nonces: 5, runs: 2, missingDraws: 0 });
  });

  it.each([
    ['one below the one drawn before', [begin('a'), call(1, 20), call(2, 10)], 'seq 3', 'is not above 20'],
    ['one that comes twice', [begin('a'), call(1, 20), call(2, 20)], 'seq 3', 'repeats that'],
    ['a draw that comes twice', [begin('a'), call(1, 20), call(1, 30)], 'seq 3', 'stands twice'],
    ['one of an earlier run', [begin('a'), call(1, 20), begin('b'), call(1, 20)], 'seq 4', 'repeats that'],
    [
      'one below an earlier run',
      [begin('a'), call(1, 20), begin('b'), call(1, 15)],
      'seq 4',
      'is not above 20',
    ],
    [
      'one beyond what Kraken takes',
      [begin('a'), ['call', { draw: 1, nonce: '9223372036854775808' }]],
      'seq 2',
      'none',
    ],
    ['one that is no number', [begin('a'), ['call', { draw: 1, nonce: '1e9' }]], 'seq 2', 'none'],
  ] as const)('%s is found', async (_, lines, place, what) => {
    forge(...lines);
    expect((await check()).damages).toEqual([{ place, what: expect.stringContaining(what) as string }]);
  });

  it('every try of a call counts', async () => {
    const sends = [1, 2].map((draw) => ({ draw, nonce: String(10 - draw) }));
    forge(begin('a'), ['call', { account: 'master', draw: 2, nonce: '8', sends }]);
    expect((await check()).damages).toMatchObject([{ place: 'seq 2' }]);
  });

  it('each account has its own', async () => {
    forge(begin('a'), call(1, 20, 'alice'), call(2, 10, 'master'));
    expect(await check()).toMatchObject({ damages: [], keys: 2 });
  });

  it('each key has its own: an account that got another one begins anew', async () => {
    forge(begin('a', { master: 'k1' }), call(1, 20), begin('b', { master: 'k2' }), call(1, 10));
    expect(await check()).toMatchObject({ damages: [], keys: 2 });
    const keys = ['note', { what: 'keys', detail: { keys: { master: 'k2' }, draws: 2 } }] as const;
    forge(begin('a', { master: 'k1' }), call(1, 20), keys, call(3, 10), call(2, 21));
    expect(await check()).toMatchObject({ damages: [], keys: 2 });
    forge(begin('a', { master: 'k1' }), call(1, 20), keys, call(3, 10), call(2, 19));
    expect((await check()).damages).toMatchObject([{ place: 'seq 5' }]);
  });

  it('a line that names its key goes by it, whatever was noted before', async () => {
    const keys = ['note', { what: 'keys', detail: { keys: { master: 'k2' }, draws: 1 } }] as const;
    const by = (key: string, draw: number, nonce: number): ReturnType<typeof call> => [
      'call',
      { ...call(draw, nonce)[1], key },
    ];
    forge(begin('a', { master: 'k1' }), call(1, 90), keys, by('k2', 3, 10), by('k1', 2, 91), by('k1', 4, 92));
    expect(await check()).toMatchObject({ damages: [], keys: 2 });
    forge(begin('a', { master: 'k1' }), call(1, 90), keys, by('k2', 3, 10), by('k1', 2, 89));
    expect((await check()).damages).toMatchObject([{ place: 'seq 5' }]);
  });

  it('tries of one call that were signed with two keys count for the key of each', async () => {
    const sends = [
      { draw: 1, nonce: '90', key: 'k1' },
      { draw: 3, nonce: '11' },
    ];
    const twice = ['call', { account: 'master', key: 'k2', draw: 3, nonce: '11', sends }] as const;
    const once = ['call', { ...call(2, 10)[1], key: 'k2' }] as const;
    forge(begin('a', { master: 'k1' }), once, twice);
    expect(await check()).toMatchObject({ damages: [], keys: 2 });
  });

  it('draws without a line are counted', async () => {
    forge(begin('a'), call(2, 20), call(5, 50), begin('b'), call(1, 60), call(3, 70));
    expect(await check()).toMatchObject({ damages: [], missingDraws: 4 });
  });

  it('order is kept over many thousands, in whatever blocks they are looked at', async () => {
    const calls = Array.from({ length: 5_000 }, (_, index) => call(index + 1, index + 1));
    forge(begin('a'), ...calls.with(10, calls[4_000] ?? call(0, 0)).with(4_000, calls[10] ?? call(0, 0)));
    expect(await check()).toMatchObject({ damages: [], nonces: 5_000, missingDraws: 0 });
    forge(begin('a'), ...calls.with(4_000, call(4_001, 4_000)));
    expect((await check()).damages).toMatchObject([{ place: 'seq 4002' }]);
    forge(begin('a'), ...calls, call(17, 6_000));
    expect((await check()).damages).toMatchObject([{ place: 'seq 5002' }]);
  });
});

it('a journal that is being written and rotated is sound whenever it is looked at', async () => {
  const journal = await world.open({ maxBytes: 5_000 });
  const stop = new AbortController();
  let draw = 0;
  const writing = (async () => {
    while (!stop.signal.aborted) {
      for (let count = 0; count < 5; count++) journal.call(callRecord(++draw));
      await until(() => journal.state.lines >= draw);
    }
  })();
  try {
    for (let round = 0; round < 10; round++) {
      const { damages, lines } = await check();
      expect(damages).toEqual([]);
      await until(() => journal.state.lines > lines + 10);
    }
  } finally {
    stop.abort();
    await writing;
  }
  await journal.close();
  expect(world.names.length).toBeGreaterThan(5);
  expect(await check()).toMatchObject({ damageCount: 0, nonces: draw, missingDraws: 0 });
});
