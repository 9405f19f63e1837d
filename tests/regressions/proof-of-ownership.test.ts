/**
 * A look at the lock counted as proof of ownership for another 2.5 s, although only a renewal keeps others from taking
 * it: a process that was frozen twice in a row could sign after a standby had taken over. And any error of the file
 * system, such as too many open files, counted as the loss of the lock and ended the process.
 */
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Ownership } from '../../src/nonce/ownership.js';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'proof-'));
  file = join(folder, 'state.txt');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it('a look is good for that moment only: what is taken right after it is noticed by the next', async () => {
  const ownership = await Ownership.acquire(file);
  const late = Date.now() + 10_000; // no renewal for longer than a lease, by the wall clock
  ownership.assertOwned(late);
  const record = JSON.parse(readFileSync(`${file}.holder`, 'utf8')) as object;
  writeFileSync(`${file}.holder`, JSON.stringify({ ...record, id: 'somebody else' }));
  expect(() => ownership.assertOwned(late)).toThrow('was lost');
  await ownership.release();
});

it('an error that says nothing about the owner is no loss: the next look decides', async () => {
  let lost = 0;
  const ownership = await Ownership.acquire(file, { onLost: () => lost++ });
  const late = Date.now() + 10_000;
  // A record that cannot be read: a folder stands in its place (EISDIR), as EMFILE or EIO would fail.
  renameSync(`${file}.holder`, `${file}.kept`);
  const { mkdirSync, rmdirSync } = await import('node:fs');
  mkdirSync(`${file}.holder`);
  expect(() => ownership.assertOwned(late)).toThrow('EISDIR');
  rmdirSync(`${file}.holder`);
  renameSync(`${file}.kept`, `${file}.holder`);
  ownership.assertOwned(late);
  expect(lost).toBe(0);
  await ownership.release();
});
