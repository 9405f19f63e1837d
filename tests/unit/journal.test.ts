import { createHash } from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { checkJournal } from '../../src/journal/journal-check.js';
import type { JournaledCall } from '../../src/journal/journal-line.js';
import { Secret } from '../../src/secret.js';
import { Disk } from '../support/disk.js';
import { callRecord, JournalWorld, NOON, nonceOf } from '../support/journal-world.js';
import { until } from '../support/until.js';

let world: JournalWorld;
let disk: Disk;
beforeEach(async () => {
  world = new JournalWorld();
  disk = await Disk.of(process.execPath);
});
afterEach(async () => {
  disk.mend();
  await world.close();
});

const kinds = (name?: string): string[] => world.lines(name).map(({ kind }) => kind);
const draws = (): unknown[] => world.lines().flatMap(({ draw }) => draw ?? []);
const fullDisk = (): Promise<never> =>
  Promise.reject(Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' }));

async function expectSound(): Promise<void> {
  const { damages } = await checkJournal(world.file);
  expect(damages).toEqual([]);
}

describe('lines', () => {
  it('a call is told with every fact that is known, and nothing that is not', async () => {
    const journal = await world.open();
    journal.call(callRecord(1));
    await journal.close();
    const [, line] = world.texts();
    expect(line).toMatch(
      new RegExp(
        `^{"seq":2,"at":"2026-11-22T12:00:00.001Z","kind":"call","requestId":"0a1b2c3d-1","client":"grid-bot",` +
          `"account":"master","endpoint":"AddOrder","bodySha256":"[0-9a-f]{64}","draw":1,"nonce":"${nonceOf(1)}",` +
          `"waitMs":1.235,"upstreamMs":20.5,"totalMs":22,"outcome":"executed","status":200,"prev":"[0-9a-f]{64}"}$`,
      ),
    );
    const body = createHash('sha256').update('nonce=1&pair=XBTUSD').digest('hex');
    expect(world.lines()[1]?.bodySha256).toBe(body);
  });

  it('a call names the key that signed it; one that was not signed names none', async () => {
    const journal = await world.open();
    journal.call(callRecord(1, { key: 'ab12cd34' }));
    journal.call(callRecord(2, { key: undefined, sends: [] }));
    await journal.close();
    expect(world.lines()[1]?.key).toBe('ab12cd34');
    expect(world.lines()[2]).not.toHaveProperty('key');
  });

  it('every nonce of a call that was sent again is on record', async () => {
    const journal = await world.open();
    const sends = [1, 2, 3].map((draw) => ({ draw, nonce: nonceOf(draw) }));
    journal.call(
      callRecord(1, {
        ...{ sends, krakenError: 'EOrder:Insufficient funds', ownError: 'outcome-unknown', settled: 'done' },
        ...{ isReplayed: true, isMerged: true, hungUp: true, rule: 'pairs', reason: 'no "quotes"\n' },
        txids: ['OABCDE-FGHIJ-KLMNOP'],
      }),
    );
    await journal.close();
    expect(world.lines()[1]).toMatchObject({
      ...{
        draw: 3,
        nonce: nonceOf(3),
        sends,
        krakenError: 'EOrder:Insufficient funds',
        error: 'outcome-unknown',
      },
      ...{
        settled: 'done',
        replayed: true,
        merged: true,
        hungUp: true,
        rule: 'pairs',
        reason: 'no "quotes"\n',
      },
      txids: ['OABCDE-FGHIJ-KLMNOP'],
    });
  });

  it('a call is told as it was when it was given', async () => {
    const journal = await world.open({ flushMs: 20 });
    const record = { ...callRecord(1) };
    journal.call(record);
    record.hungUp = true;
    await journal.close();
    expect(world.lines()[1]).not.toHaveProperty('hungUp');
  });

  it('acts and notes have their words; what is too long or cannot be told is left out', async () => {
    const journal = await world.open();
    const loop: Record<string, unknown> = {};
    loop.loop = loop;
    journal.act({
      act: 'pause',
      who: 'ann',
      why: 'why'.repeat(300),
      address: '::1',
      target: 'alice',
      result: 'done',
    });
    journal.note('breaker', { account: 'alice', count: 12n });
    journal.note('loop', loop);
    journal.note('long', { text: 'x'.repeat(10_000) });
    await journal.close();
    const [, act, note, looped, long] = world.lines();
    expect(act).toMatchObject({
      kind: 'act',
      act: 'pause',
      who: 'ann',
      address: '::1',
      target: 'alice',
      result: 'done',
    });
    expect(String(act?.why)).toHaveLength(513);
    expect(note).toMatchObject({ kind: 'note', what: 'breaker', detail: { account: 'alice', count: '12' } });
    expect(looped).toMatchObject({ what: 'loop', detail: 'left out: too long, or not to be told in JSON' });
    expect(long).toMatchObject({ what: 'long', detail: 'left out: too long, or not to be told in JSON' });
  });

  it('texts from outside are cut, and a record that cannot be told does not stop the others', async () => {
    const journal = await world.open();
    journal.call(callRecord(1, { krakenError: 'E'.repeat(5_000), reason: '\ud800'.repeat(600) }));
    journal.call(callRecord(2, { arrivedAt: NaN }));
    journal.call(callRecord(3));
    await journal.close();
    expect(kinds()).toEqual(['begin', 'call', 'note', 'call', 'end']);
    expect(String(world.lines()[1]?.krakenError)).toHaveLength(513);
    world.expectChain();
    await expectSound();
  });

  it('no secret of a body, and none in a note, gets into the file', async () => {
    const journal = await world.open();
    const record = { ...callRecord(1), apiSign: 'SIGNATURE', apiKey: 'PUBLIC-KEY' } as JournaledCall;
    journal.call({ ...record, body: Buffer.from('nonce=1&otp=123456&password=HUSH') });
    journal.note('keys', { secret: new Secret('HUSH') });
    await journal.close();
    expect(world.texts().join('\n')).not.toMatch(/HUSH|123456|SIGNATURE|PUBLIC-KEY/);
    expect(world.texts().join('\n')).toContain('[redacted]');
  });

  it('each line carries the hash of the one before, over restarts; file and folder are the owner’s alone', async () => {
    await world.runs(3, 2);
    expect(kinds()).toEqual(['begin', 'call', 'call', 'call', 'end', 'begin', 'call', 'call', 'end']);
    world.expectChain();
    expect(world.lines()[5]).toMatchObject({ version: '1.2.3', run: '0a1b2c02', why: 'start' });
    expect(statSync(world.file).mode & 0o777).toBe(0o600);
    expect(statSync(dirname(world.file)).mode & 0o777).toBe(0o700);
    await expectSound();
  });

  it('the state shows lines, bytes and the head that is on disk', async () => {
    const journal = await world.open();
    journal.call(callRecord(1));
    await until(() => journal.state.lines === 2);
    const text = readFileSync(world.file, 'utf8');
    const head = createHash('sha256')
      .update(world.texts().at(-1) ?? '')
      .digest('hex');
    expect(journal.state).toEqual({
      ...{ file: world.file, lines: 2, lost: 0, problem: undefined },
      ...{ head, bytes: text.length },
    });
  });
});

describe('rotation', () => {
  it('a file that is full is rotated under the seq of its first line; the chain goes on', async () => {
    const sealed: string[] = [];
    const journal = await world.open({
      maxBytes: 2_000,
      onSealed: (file, { hash }) => sealed.push(`${file} ${hash}`),
    });
    for (let draw = 1; draw <= 20; draw++) journal.call(callRecord(draw));
    await journal.close();
    expect(world.names.slice(0, 2)).toEqual(['journal.000000000001.jsonl', 'journal.000000000006.jsonl']);
    for (const name of world.names) {
      expect(statSync(world.path(name)).size).toBeLessThanOrEqual(2_000);
      expect(kinds(name)[0]).toBe('begin');
    }
    expect(draws()).toEqual(Array.from({ length: 20 }, (_, index) => index + 1));
    expect(world.lines(world.names[1])[0]).toMatchObject({ why: 'size', run: '0a1b2c01' });
    expect(sealed).toHaveLength(world.names.length);
    world.expectChain();
    await expectSound();
  });

  it('a file that is old is rotated with the next line, also one of an earlier run', async () => {
    let now = NOON;
    const first = await world.open({ maxAgeMs: 1_000, now: () => now });
    first.call(callRecord(1));
    await first.close();
    now += 999;
    const second = await world.open({ maxAgeMs: 1_000, now: () => now });
    second.call(callRecord(1, { sends: [{ draw: 1, nonce: nonceOf(2) }] }));
    await until(() => second.state.lines === 2);
    expect(world.names).toEqual(['journal.jsonl']);
    now += 1;
    second.call(callRecord(2, { sends: [{ draw: 2, nonce: nonceOf(3) }] }));
    await second.close();
    expect(world.names).toEqual(['journal.000000000001.jsonl', 'journal.jsonl']);
    expect(kinds('journal.jsonl')).toEqual(['begin', 'call', 'end']);
    expect(world.lines('journal.jsonl')[0]).toMatchObject({ why: 'age' });
    world.expectChain();
    await expectSound();
  });

  it('only the newest rotated files are kept', async () => {
    const journal = await world.open({ maxBytes: 2_000, keep: 2 });
    for (let draw = 1; draw <= 40; draw++) journal.call(callRecord(draw));
    await journal.close();
    expect(world.names).toHaveLength(3);
    expect(draws().at(-1)).toBe(40);
    await expectSound();
  });

  it('a crash between the steps of a rotation loses nothing', async () => {
    await world.runs(3);
    renameSync(world.file, world.path('journal.000000000001.jsonl'));
    await world.runs(0);
    world.expectChain();
    expect(world.lines('journal.jsonl')[0]).toMatchObject({ seq: 6, why: 'start, new' });
    renameSync(world.file, world.path('journal.000000000006.jsonl'));
    writeFileSync(world.file, '');
    await world.runs(0);
    world.expectChain();
    await expectSound();
  });

  it('a file that cannot be rotated grows on, and that is said', async () => {
    // The name of a rotated file would be longer than names may be.
    const file = world.path(`${'j'.repeat(245)}.jsonl`);
    const journal = await world.open({ file, maxBytes: 2_000 });
    for (let draw = 1; draw <= 20; draw++) journal.call(callRecord(draw));
    await until(() => journal.state.lines === 21);
    expect(journal.state.problem).toMatch(/^the file is not rotated: ENAMETOOLONG/);
    await journal.close();
    expect(journal.state.lost).toBe(0);
    expect(await checkJournal(file)).toMatchObject({ damageCount: 0, nonces: 20 });
  });
});

describe('after a crash', () => {
  it('a line that was being written is cut off, and the chain goes on', async () => {
    await world.runs(3);
    const whole = readFileSync(world.file);
    appendFileSync(world.file, world.texts()[2]?.slice(0, 100) ?? '');
    await world.runs(1);
    expect(readFileSync(world.file).subarray(0, whole.length).equals(whole)).toBe(true);
    expect(world.lines()[5]).toMatchObject({ kind: 'begin', why: 'start, cut', cut: 100 });
    world.expectChain();
  });

  it('zero pages behind the last line, as after a power cut, are cut off', async () => {
    await world.runs(3);
    truncateSync(world.file, statSync(world.file).size + 300_000);
    await world.runs(0);
    expect(world.lines()[5]).toMatchObject({ why: 'start, cut', cut: 300_000 });
    world.expectChain();
  });

  it.each([
    [
      'zeros in the middle of the last write',
      (text: Buffer) => text.fill(0, text.length - 900, text.length - 700),
    ],
    [
      'a last line that was overwritten',
      (text: Buffer) => text.fill('x', text.length - 100, text.length - 1),
    ],
    ['a newline behind nothing', (text: Buffer) => Buffer.concat([text, Buffer.from('\0\0\0\n')])],
  ])(
    '%s: the file is moved aside as it is, and the chain goes on from the last good line',
    async (_, damage) => {
      await world.runs(5);
      const damaged = damage(readFileSync(world.file));
      writeFileSync(world.file, damaged);
      await world.runs(0);
      expect(world.names).toEqual(['journal.000000000001.jsonl', 'journal.jsonl']);
      expect(readFileSync(world.path('journal.000000000001.jsonl')).equals(damaged)).toBe(true);
      const [begin] = world.lines('journal.jsonl');
      const { from, bytes } = begin?.damaged as { from: number; bytes: number };
      expect(from + bytes).toBe(damaged.length);
      const good = damaged.subarray(0, from).toString().split('\n').slice(0, -1);
      expect(begin).toMatchObject({ seq: good.length + 1, why: 'start, the file before ends damaged' });
      expect(begin?.prev).toBe(
        createHash('sha256')
          .update(good.at(-1) ?? '')
          .digest('hex'),
      );
    },
  );

  it.each([
    ['its very first line', '{"seq":1,"at":"2026-11-22T12:00'],
    ['zeros, as after a power cut', '\0'.repeat(4_096)],
    ['its first line and zeros', `{"seq":1,"at":"2026${'\0'.repeat(4_096)}`],
  ])('a file that holds nothing but the beginning of %s is cut and gone on with', async (_, text) => {
    await world.runs(0);
    writeFileSync(world.file, text);
    await world.runs(1);
    expect(kinds()).toEqual(['begin', 'call', 'end']);
    expect(world.lines()[0]).toMatchObject({ seq: 1, cut: text.length });
    await expectSound();
  });

  it('opening reads the end of a file of 40 MB, not the whole', async () => {
    await world.runs(1);
    const last = world.texts().at(-1) ?? '';
    const sparse = world.path('journal.jsonl');
    rmSync(sparse);
    writeFileSync(sparse, '');
    truncateSync(sparse, 40_000_000);
    appendFileSync(sparse, `\n${last}\n`);
    const before = process.resourceUsage().maxRSS;
    const journal = await world.open({ maxBytes: 100_000_000 });
    expect(journal.state.bytes).toBeGreaterThan(40_000_000);
    expect(process.resourceUsage().maxRSS - before).toBeLessThan(20_000);
    expect(journal.state.problem).toBeUndefined();
  });
});

describe('trouble with the disk', () => {
  it('a full disk stops nothing: lines wait, the problem shows, and all is written when there is room again', async () => {
    const problems: unknown[] = [];
    const journal = await world.open({ onProblem: (problem) => problems.push(problem) });
    // Half of the write gets there.
    disk.replace('appendFile', async (_, data, handle) => {
      await handle.write(data.subarray(0, data.length / 2));
      await fullDisk();
    });
    for (let draw = 1; draw <= 10; draw++) journal.call(callRecord(draw));
    await until(() => journal.state.problem !== undefined);
    expect(journal.state).toMatchObject({ problem: 'ENOSPC: no space left on device', lost: 0, lines: 1 });
    disk.mend();
    await until(() => journal.state.problem === undefined); // by itself, after a second
    expect(journal.state).toMatchObject({ lost: 0, lines: 11 });
    expect(problems).toEqual(['ENOSPC: no space left on device', undefined]);
    expect(draws()).toHaveLength(10);
    world.expectChain();
    await journal.close();
    await expectSound();
  });

  it('a sync that failed: what it may have lost is written anew', async () => {
    const journal = await world.open();
    disk.replace('datasync', () => Promise.reject(new Error('EIO: i/o error')));
    journal.call(callRecord(1));
    await until(() => journal.state.problem === 'EIO: i/o error');
    journal.call(callRecord(2));
    disk.mend();
    await journal.close();
    expect(draws()).toEqual([1, 2]);
    world.expectChain();
  });

  it('beyond the bound lines are lost, counted, and told of once there is room', async () => {
    const journal = await world.open();
    disk.replace('appendFile', fullDisk);
    for (let draw = 1; draw <= 20_010; draw++) journal.call(callRecord(draw, { body: undefined }));
    expect(journal.state.lost).toBe(10);
    await until(() => journal.state.problem !== undefined);
    disk.mend();
    await until(() => journal.state.lines > 19_000);
    await journal.close();
    expect(world.lines().filter(({ kind }) => kind === 'lost')).toMatchObject([{ lines: 10 }]);
    expect(draws()).toHaveLength(20_000);
    world.expectChain();
    expect(await checkJournal(world.file)).toMatchObject({ lost: 10, damageCount: 0 });
  });

  it('bodies that wait for the disk are bounded in bytes', async () => {
    const journal = await world.open();
    disk.replace('appendFile', fullDisk);
    for (let draw = 1; draw <= 100; draw++) journal.call(callRecord(draw, { body: Buffer.alloc(1_000_000) }));
    expect(journal.state.lost).toBeGreaterThan(60);
    disk.mend();
    await journal.close();
  });

  it('a disk that hangs holds up neither the opening nor the closing for more than two seconds', async () => {
    let answer = (): void => undefined;
    const silence = new Promise<void>((resolve) => {
      answer = resolve;
    });
    disk.replace('datasync', () => silence);
    const started = performance.now();
    const journal = await world.open();
    expect(journal.state.problem).toBe('the disk does not answer');
    journal.call(callRecord(1));
    await journal.close();
    expect(performance.now() - started).toBeLessThan(6_000);
    expect(journal.state.lost).toBeGreaterThanOrEqual(1);
    answer();
  });

  it('a folder that cannot be made: the proxy starts all the same, and it is made when that is possible', async () => {
    writeFileSync(dirname(world.file), 'in the way');
    const journal = await world.open();
    expect(journal.state.problem).toMatch(/EEXIST|ENOTDIR/);
    journal.call(callRecord(1));
    rmSync(dirname(world.file));
    await until(() => journal.state.problem === undefined);
    await journal.close();
    expect(kinds()).toEqual(['begin', 'call', 'end']);
    await expectSound();
  });

  it('a file that was taken away is made anew, and the gap shows', async () => {
    const journal = await world.open();
    journal.call(callRecord(1));
    await until(() => journal.state.lines === 2);
    rmSync(dirname(world.file), { recursive: true });
    journal.call(callRecord(2));
    await journal.close();
    expect(existsSync(world.file)).toBe(true);
    expect(world.lines()[0]).toMatchObject({ seq: 3, why: 'the file was gone' });
    expect(draws()).toEqual([2]);
  });

  it('what another program wrote into the file is put aside untouched, and found', async () => {
    const journal = await world.open();
    journal.call(callRecord(1));
    await until(() => journal.state.lines === 2);
    appendFileSync(world.file, 'hello\n');
    journal.call(callRecord(2));
    await journal.close();
    expect(world.names).toEqual(['journal.000000000001.jsonl', 'journal.jsonl']);
    expect(world.lines('journal.jsonl')[0]).toMatchObject({
      ...{ seq: 3, why: 'another program has changed the file before' },
      changed: 'journal.000000000001.jsonl',
    });
    const { damages } = await checkJournal(world.file);
    expect(damages).toEqual([
      { place: 'journal.000000000001.jsonl:3', what: 'is not a line of the journal' },
    ]);
  });

  it('a file that can be cut no more is left as it is: a new one goes on behind what had got there', async () => {
    const journal = await world.open();
    disk.replace('appendFile', async (healthy, data, handle) => {
      if (!data.includes('"draw":1')) {
        await healthy();
        return;
      }
      await handle.write(data.subarray(0, data.indexOf('\n') + 10)); // the first line and a bit
      await fullDisk();
    });
    // Another call of a handle's, replaced like those the disk knows by name.
    disk.replace('truncate' as 'sync', () => Promise.reject(new Error('EPERM')));
    journal.call(callRecord(1));
    journal.call(callRecord(2));
    await until(() => journal.state.problem !== undefined);
    await journal.close();
    expect(draws()).toEqual([1, 2]);
    const [begin] = world.lines('journal.jsonl');
    expect(begin).toMatchObject({ seq: 3, damaged: { file: 'journal.000000000001.jsonl', bytes: 9 } });
    expect(await checkJournal(world.file)).toMatchObject({ damageCount: 0, noticeCount: 1 });
  });

  it('after its end nothing is written any more, and closing twice does no harm', async () => {
    const journal = await world.open();
    await journal.close();
    journal.call(callRecord(1));
    journal.note('late', {});
    await journal.close();
    expect(kinds()).toEqual(['begin', 'end']);
    expect(journal.state.lost).toBe(2);
  });
});

it('making lines gives way to calls: no turn of the event loop takes long', async () => {
  const journal = await world.open({ flushMs: 20 });
  for (let draw = 1; draw <= 15_000; draw++) journal.call(callRecord(draw));
  let [turns, last, longest] = [0, performance.now(), 0];
  while (journal.state.lines < 15_001) {
    await new Promise((resolve) => setImmediate(resolve));
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
    turns += 1;
  }
  // A machine that is busy with other things makes single turns longer; without slices there were eight in all.
  expect(turns).toBeGreaterThan(20);
  expect(longest).toBeLessThan(500);
});
