/**
 * `journal.file` named a FIFO. Opening it waited for a reader or writer that never came, in a thread that cannot be
 * called back: the journal was silent, and a process that was told to stop hung until it was killed.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkJournal } from '../../src/journal/journal-check.js';
import { Journal } from '../../src/journal/journal.js';
import { tailLines } from '../../src/journal/journal-tail.js';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pipe-'));
  file = join(folder, 'j.jsonl');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const open = (path: string): Promise<Journal> =>
  Journal.open({
    ...{
      file: path,
      maxBytes: 1_000_000,
      maxAgeMs: 86_400_000,
      keep: 1,
      version: '1',
      run: '0a1b2c01',
      flushMs: 1,
    },
  });
const fifo = (path = file): unknown => execFileSync('mkfifo', [path]);

it.each([
  ['a FIFO', () => (fifo(), file)],
  ['a folder', () => (mkdirSync(file), file)],
  ['a device', () => '/dev/null'],
])('%s: it is said at once, nothing hangs, and lines are counted as lost', async (_, make) => {
  const path = make();
  const started = performance.now();
  const journal = await open(path);
  expect(journal.state.problem).toBe(`${path} is not a file: it cannot be a journal`);
  journal.note('one', {});
  await journal.close();
  expect(performance.now() - started).toBeLessThan(1_500);
  expect(journal.state.lost).toBe(2); // the note and its end
});

it('a FIFO with the name of a rotated file is passed over', async () => {
  fifo(join(folder, 'j.000000000001.jsonl'));
  const journal = await open(file);
  journal.note('one', {});
  await journal.close();
  expect(journal.state).toMatchObject({ problem: undefined, lost: 0, lines: 3 });
  expect(await checkJournal(file)).toMatchObject({ damageCount: 0, lines: 3, files: ['j.jsonl'] });
});

it('who reads the journal is told, and does not hang', async () => {
  fifo();
  await expect(checkJournal(file)).rejects.toThrow(`${file} is not a file`);
  const lines = tailLines(file, { count: 1, follow: undefined });
  await expect(lines.next()).rejects.toThrow(`${file} is not a file`);
  expect(statSync(file).isFIFO()).toBe(true);
});
