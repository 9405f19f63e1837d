/**
 * `journal.file` named a secret by mistake. The start moved the secret aside under the name of a rotated file, put a
 * journal in its place, and a later rotation removed the secret for good. A file that is no journal is left alone.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Journal, type JournalOptions } from '../../src/journal/journal.js';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'no-journal-'));
  file = join(folder, 'kraken_secret');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const open = (over: Partial<JournalOptions> = {}): Promise<Journal> =>
  Journal.open({
    ...{
      file,
      maxBytes: 1_000_000,
      maxAgeMs: 86_400_000,
      keep: 1,
      version: '1',
      run: '0a1b2c01',
      flushMs: 1,
    },
    ...over,
  });

it.each([
  ['a secret', `${'c2VjcmV0'.repeat(11)}\n`],
  ['a secret without a newline', 'c2VjcmV0'.repeat(11)],
  ['one character', 'x'],
  ['what only begins like a line', '{"sequence":1}'],
  ['a config', '{\n  "seq": 1\n}\n'],
  ['zeros, more than a write of ours', '\0'.repeat(2_000_000)],
])('%s is not touched; that is said, and the lines that are lost are counted', async (_, text) => {
  writeFileSync(file, text);
  const journal = await open();
  journal.note('one', {});
  await journal.close();
  expect(journal.state.problem).toBe(
    `${file} is not a journal: it is left alone; journal.file needs another name`,
  );
  expect(journal.state.lost).toBeGreaterThanOrEqual(1);
  expect(readdirSync(folder)).toEqual(['kraken_secret']);
  expect(readFileSync(file, 'utf8') === text).toBe(true);
});

it('what is put in the place of the journal while it runs is not touched either', async () => {
  const journal = await open({ standOffMs: 20 });
  rmSync(file);
  writeFileSync(file, 'secret');
  journal.note('one', {});
  await journal.close();
  expect(journal.state.problem).toMatch(/is not a journal/);
  expect(readFileSync(file, 'utf8')).toBe('secret');
  expect(readdirSync(folder)).toEqual(['kraken_secret']);
});

it('a file that only has the name of a rotated one is not removed with them', async () => {
  file = join(folder, 'j.jsonl');
  const foreign = join(folder, 'j.000000000000.jsonl');
  writeFileSync(foreign, 'secret\n');
  const journal = await open({ maxBytes: 500 });
  for (let note = 0; note < 40; note++) journal.note('one', {});
  await journal.close();
  expect(existsSync(foreign)).toBe(true);
  expect(readdirSync(folder).length).toBeLessThan(5); // those of ours are
});
