/**
 * An owner of the state that was frozen for long enough to lose it woke up, and before it noticed, wrote its files anew:
 * the answers, the ledger and the holds of the process that had taken over were gone. Who is not sure to be the owner
 * replaces nothing.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DurableLines } from '../../src/durable-lines.js';
import { HoldsFile } from '../../src/holds/holds-file.js';

let folder: string;
let isOwned: boolean;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'frozen-'));
  isOwned = true;
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const assertOwned = (): void => {
  if (!isOwned) throw new Error('the lock was lost');
};

it('a file of lines that has grown is not put in the place of the new owner’s', async () => {
  const file = join(folder, 'answers');
  const lines = await DurableLines.open(file, {
    name: 'answers',
    read: () => true,
    alive: () => [],
    damaged: () => new Error('damaged'),
    assertOwned,
  });
  isOwned = false;
  const theirs = 'of the new owner\n';
  rmSync(file);
  writeFileSync(file, theirs);
  const grown = 'x'.repeat(64 * 1024); // beyond a megabyte it is written anew
  for (let line = 0; line < 40; line++) await lines.append(grown).catch(() => undefined);
  await lines.close().catch(() => undefined);
  expect(readFileSync(file, 'utf8')).toBe(theirs);
  expect(readdirSync(folder)).toEqual(['answers']);
});

it('holds are not put in the place of the new owner’s, and the act fails', async () => {
  const file = join(folder, 'holds');
  const holds = await HoldsFile.open(file, assertOwned);
  isOwned = false;
  writeFileSync(file, '');
  const pause = { mode: 'pause', since: 1, who: 'ann', why: 'odd' } as const;
  await expect(holds.change({ lifted: [], set: [pause] })).rejects.toThrow('the lock was lost');
  expect(readFileSync(file, 'utf8')).toBe('');
});
