import {
  appendFileSync,
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DurableLines } from '../../src/durable-lines.js';
import { Disk } from '../support/disk.js';
import { until } from '../support/until.js';

let folder: string;
let file: string;
let disk: Disk;
const opened: DurableLines[] = [];
/** What counts; each line is a JSON list of a number and a text, the last one of a number counts, an empty text none. */
let alive: Map<number, string>;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lines-'));
  file = join(folder, 'data', 'lines');
  disk = await Disk.of(process.execPath);
  alive = new Map();
});

afterEach(async () => {
  disk.mend();
  for (const lines of opened.splice(0)) await lines.close();
  rmSync(folder, { recursive: true });
});

const lineOf = (number: number, text: string): string => JSON.stringify([number, text]);

function take(line: string): boolean {
  try {
    const [number, text] = JSON.parse(line) as [number, string];
    if (text === '') alive.delete(number);
    else alive.set(number, text);
    return true;
  } catch {
    return false;
  }
}

async function open(): Promise<DurableLines> {
  alive = new Map();
  const own = alive;
  const lines = await DurableLines.open(file, {
    name: 'the test’s file',
    read: take,
    alive: () => [...own].map(([number, text]) => lineOf(number, text)),
    damaged: (line) => new Error(`line ${line} of ${file}: mend it`),
  });
  opened.push(lines);
  return lines;
}

function append(lines: DurableLines, number: number, text: string): Promise<void> {
  take(lineOf(number, text));
  return lines.append(lineOf(number, text));
}

function note(lines: DurableLines, number: number, text: string): Promise<void> {
  take(lineOf(number, text));
  return lines.note(lineOf(number, text));
}

/** The file that is to take the place of the former. */
const newest = (): string =>
  join(folder, 'data', readdirSync(join(folder, 'data')).find((name) => name !== 'lines') ?? '');

const inFile = (): string[] => readFileSync(file, 'utf8').split('\n').slice(0, -1);

it('keeps lines in their order, durable ones and notes, over a restart', async () => {
  const lines = await open();
  await append(lines, 1, 'a');
  await note(lines, 2, 'b');
  await append(lines, 1, 'c');
  expect(inFile()).toEqual(['[1,"a"]', '[2,"b"]', '[1,"c"]']);
  await open(); // the first one was never closed
  expect([...alive]).toEqual([
    [1, 'c'],
    [2, 'b'],
  ]);
  expect(inFile()).toEqual(['[1,"c"]', '[2,"b"]']);
});

it('a line is durable only after the sync; a note does not wait for it, nor for one that hangs', async () => {
  const lines = await open();
  let wake = (): void => undefined;
  const awake = new Promise<void>((resolve) => (wake = resolve));
  disk.replace('datasync', async (healthy) => {
    await awake;
    await healthy();
  });
  let isDurable = false;
  const durable = append(lines, 1, 'a').then(() => (isDurable = true));
  await note(lines, 2, 'b');
  await note(lines, 3, 'c');
  expect(inFile()).toHaveLength(3);
  expect(isDurable).toBe(false);
  wake();
  await durable;
});

it('many at once share their syncs', async () => {
  const lines = await open();
  let syncs = 0;
  disk.replace('datasync', (healthy) => {
    syncs += 1;
    return healthy();
  });
  await Promise.all(Array.from({ length: 50 }, (_, number) => append(lines, number, 'a')));
  expect(syncs).toBe(1);
  await append(lines, 51, 'a');
  expect(syncs).toBe(2);
});

it('a note alone is synced within about a second, once, and at the latest by closing', async () => {
  const lines = await open();
  let syncs = 0;
  disk.replace('datasync', (healthy) => {
    syncs += 1;
    return healthy();
  });
  const began = performance.now();
  await note(lines, 1, 'a');
  await note(lines, 2, 'b');
  expect(syncs).toBe(0);
  await until(() => syncs > 0);
  expect(performance.now() - began).toBeGreaterThan(900);
  expect(performance.now() - began).toBeLessThan(3_000);
  await note(lines, 3, 'c');
  await lines.close();
  expect(syncs).toBe(2);
  await expect(lines.note('late')).rejects.toThrow('the test’s file is closed');
  await expect(lines.append('late')).rejects.toThrow('the test’s file is closed');
});

it('the file is for its owner only, whatever it was before, and leftovers are cleared away', async () => {
  await append(await open(), 1, 'a');
  if (process.platform !== 'win32') chmodSync(file, 0o644);
  writeFileSync(`${file}.tmp-5f0c`, '[1');
  await open();
  if (process.platform !== 'win32') expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(readdirSync(join(folder, 'data'))).toEqual(['lines']);
});

it('a torn tail is left out; nothing continues it', async () => {
  await append(await open(), 1, 'a');
  appendFileSync(file, '[2,"b"');
  await append(await open(), 3, 'c');
  await open();
  expect([...alive.keys()]).toEqual([1, 3]);
});

it.each([
  ['rubbish', Buffer.from('rubbish\n')],
  ['bytes that are no text', Buffer.from([0x5b, 0x34, 0x2c, 0x22, 0xff, 0x22, 0x5d, 0x0a])],
])('a damaged line refuses the open with its number, and nothing is changed: %s', async (_, damage) => {
  await append(await open(), 1, 'a');
  const damaged = Buffer.concat([readFileSync(file), damage, readFileSync(file)]);
  writeFileSync(file, damaged);
  await expect(open()).rejects.toThrow(`line 2 of ${file}: mend it`);
  expect(readFileSync(file)).toEqual(damaged);
});

it('lines longer than what is read at once come whole', async () => {
  const lines = await open();
  const texts = [1, 2, 3].map((number) => 'äx'.repeat(300_000 + number));
  for (const [number, text] of texts.entries()) await append(lines, number, text);
  await open();
  expect([...alive.values()]).toEqual(texts);
});

describe('a disk that fails', () => {
  it('a sync that failed fails all that it may have lost, and the file is written anew before the next', async () => {
    const lines = await open();
    await append(lines, 1, 'a');
    let fails = (): void => undefined;
    const failure = new Promise<void>((_, reject) => (fails = () => reject(new Error('EIO'))));
    let syncs = 0;
    disk.replace('datasync', (healthy) => (++syncs === 1 ? failure : healthy()));
    const lost = append(lines, 2, 'b').catch((error: unknown) => error);
    await note(lines, 9, 'note');
    const behind = append(lines, 3, 'c').catch((error: unknown) => error);
    await until(() => inFile().length === 4);
    fails();
    expect(await lost).toMatchObject({ message: 'EIO' });
    // Seen in the file, it may be with the writer still.
    expect(String(await behind)).toMatch(/EIO|could not be synced/);
    take(lineOf(2, ''));
    take(lineOf(3, ''));
    disk.mend();
    await append(lines, 4, 'd');
    expect(inFile()).toEqual(['[1,"a"]', '[9,"note"]', '[4,"d"]', '[4,"d"]']);
  });

  it('lines that are being written as a sync fails are not taken for durable', async () => {
    const lines = await open();
    let fails = (): void => undefined;
    const failure = new Promise<void>((_, reject) => (fails = () => reject(new Error('EIO'))));
    let isSyncing = false;
    disk.replace('datasync', () => {
      isSyncing = true;
      return failure;
    });
    const lost = append(lines, 1, 'a').catch((error: unknown) => error);
    await until(() => isSyncing);
    let isWriting = false;
    let goOn = (): void => undefined;
    const slow = new Promise<void>((resolve) => (goOn = resolve));
    disk.replace('appendFile', async (healthy) => {
      isWriting = true;
      await slow;
      await healthy();
    });
    const during = append(lines, 2, 'b').catch((error: unknown) => error);
    await until(() => isWriting);
    fails();
    await lost;
    goOn();
    expect(await during).toMatchObject({ message: 'the test’s file could not be synced' });
  });

  it('while it hangs, no more than a bound waits for it', async () => {
    const lines = await open();
    let wake = (): void => undefined;
    const awake = new Promise<void>((resolve) => (wake = resolve));
    disk.replace('appendFile', async (healthy) => {
      await awake;
      await healthy();
    });
    const first = lines.append(lineOf(0, 'a'));
    await new Promise((resolve) => setImmediate(resolve));
    const megabyte = lineOf(1, 'x'.repeat(1024 * 1024));
    const many = Array.from({ length: 70 }, () => lines.append(megabyte).catch((error: unknown) => error));
    const outcomes = Promise.all(many);
    wake();
    await first;
    const refused = (await outcomes).filter((outcome) => outcome instanceof Error);
    expect(refused.length).toBeGreaterThan(3);
    expect(refused[0]).toMatchObject({ message: 'too much of the test’s file waits for the disk' });
  });

  it('a name that is not durable makes the file be written anew', async () => {
    const lines = await open();
    disk.replace('appendFile', () => Promise.reject(new Error('ENOSPC')));
    await expect(append(lines, 1, 'a')).rejects.toThrow('ENOSPC');
    disk.mend();
    take(lineOf(1, ''));
    let syncs = 0;
    // The second sync of a file written anew is that of the folder.
    disk.replace('sync', (healthy) => (++syncs === 2 ? Promise.reject(new Error('EIO')) : healthy()));
    await expect(append(lines, 2, 'b')).rejects.toThrow('EIO');
    take(lineOf(2, ''));
    await append(lines, 3, 'c');
    expect(syncs).toBe(4);
    await open();
    expect([...alive.keys()]).toEqual([3]);
  });
});

describe('written anew', () => {
  const text = 'x'.repeat(10_000);

  it('the file keeps to a megabyte and twice what counts', async () => {
    const lines = await open();
    for (let round = 0; round < 40; round++) {
      await Promise.all(Array.from({ length: 10 }, (_, number) => append(lines, number, `${text}${round}`)));
    }
    await lines.close();
    expect(lines.size).toBe(statSync(file).size);
    expect(lines.size).toBeLessThan(1_400_000);
    expect(readdirSync(join(folder, 'data'))).toEqual(['lines']);
    await open();
    expect([...alive.values()]).toEqual(Array.from({ length: 10 }, () => `${text}39`));
  });

  it('while that goes on, lines are written and synced as ever, and none is lost', async () => {
    const lines = await open();
    let goOn = (): void => undefined;
    const slow = new Promise<void>((resolve) => (goOn = resolve));
    // Of the new file only: what is appended goes by datasync.
    disk.replace('sync', async (healthy) => {
      await slow;
      await healthy();
    });
    for (let number = 0; number < 120; number++) await append(lines, number, text);
    const isCompacting = (): boolean => readdirSync(join(folder, 'data')).length === 2;
    await until(isCompacting);
    for (let number = 0; number < 80; number++)
      await append(lines, number, number % 2 === 0 ? '' : 'changed');
    await note(lines, 1_000, text);
    expect(isCompacting()).toBe(true);
    const expected = [...alive];
    goOn();
    await until(() => !isCompacting());
    await append(lines, 2_000, 'after');
    await open();
    expect([...alive]).toEqual(expect.arrayContaining([...expected, [2_000, 'after']]));
    expect(alive.size).toBe(expected.length + 1);
  });

  it('when that ends while a line is being written, none is lost', async () => {
    const lines = await open();
    let endCompaction = (): void => undefined;
    const compacted = new Promise<void>((resolve) => (endCompaction = resolve));
    let endWrite = (): void => undefined;
    const written = new Promise<void>((resolve) => (endWrite = resolve));
    const began = { compaction: false, write: false };
    let isCompacted = false;
    disk.replace('sync', async (healthy) => {
      began.compaction = true;
      await compacted;
      await healthy();
      isCompacted = true;
    });
    for (let number = 0; number < 110; number++) await append(lines, number, text);
    await until(() => began.compaction);
    disk.replace('appendFile', async (healthy) => {
      began.write = true;
      await written;
      await healthy();
    });
    const during = append(lines, 110, 'during');
    await until(() => began.write);
    endCompaction();
    await until(() => isCompacted);
    // The file hears of it before the write ends.
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    disk.mend();
    endWrite();
    await during;
    for (let number = 111; number < 120; number++) await append(lines, number, 'after');
    await lines.close();
    await open();
    expect([...alive.keys()]).toEqual(Array.from({ length: 120 }, (_, number) => number));
  });

  it('when that fails, the long file is as good', async () => {
    const lines = await open();
    let syncs = 0;
    disk.replace('sync', () => {
      syncs += 1;
      return Promise.reject(new Error('ENOSPC'));
    });
    for (let number = 0; number < 150; number++) await append(lines, number, text);
    await until(() => syncs > 0 && readdirSync(join(folder, 'data')).length === 1);
    await append(lines, 150, 'after');
    disk.mend();
    await open();
    expect(alive.size).toBe(151);
  });

  it('a line that fails meanwhile is not in the new file, and what was begun of that is cleared away', async () => {
    const lines = await open();
    let goOn = (): void => undefined;
    const slow = new Promise<void>((resolve) => (goOn = resolve));
    for (let number = 0; number < 104; number++) await append(lines, number, text);
    // In the list of what counts by the time the file is written anew, it fails then.
    disk.replace('sync', async (healthy) => {
      await slow;
      await healthy();
    });
    take(lineOf(500, 'fails'));
    await append(lines, 104, text);
    await until(() => readdirSync(join(folder, 'data')).length === 2);
    disk.replace('appendFile', (healthy, data) =>
      data.includes('fails') && data.length < 100 ? Promise.reject(new Error('ENOSPC')) : healthy(),
    );
    await until(() => readFileSync(newest(), 'utf8').includes('fails'));
    await expect(lines.append(lineOf(500, 'fails'))).rejects.toThrow('ENOSPC');
    take(lineOf(500, ''));
    disk.mend();
    goOn();
    await append(lines, 105, 'after');
    await lines.close();
    expect(readdirSync(join(folder, 'data'))).toEqual(['lines']);
    await open();
    expect([...alive.keys()]).toEqual(Array.from({ length: 106 }, (_, number) => number));
  });

  it('with a name that is not durable, the lines of that moment fail, and it is written once more', async () => {
    const lines = await open();
    let syncs = 0;
    disk.replace('sync', (healthy) => (++syncs === 2 ? Promise.reject(new Error('EIO')) : healthy()));
    let failures = 0;
    for (let number = 0; syncs < 4; number++) {
      await append(lines, number, text).catch(() => {
        failures += 1;
        take(lineOf(number, ''));
      });
    }
    expect(failures).toBeLessThanOrEqual(1);
    const expected = [...alive.keys()];
    await open();
    expect([...alive.keys()]).toEqual(expected);
  });

  it('closing waits for it', async () => {
    const lines = await open();
    for (let number = 0; number < 105; number++) await append(lines, number, text);
    await lines.close();
    expect(readdirSync(join(folder, 'data'))).toEqual(['lines']);
    expect(inFile()).toHaveLength(105);
  });
});
