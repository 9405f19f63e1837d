/*
 * Somebody removed the lock of a proxy in another container, which notices that within a second. A start on
 * the same volume in that second saw no lock, and a holder record of which it could prove nothing, and took
 * the state at once: two proxies signed side by side. Without proof that its holder is dead, a record now
 * keeps others out for as long as a lock would.
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileStore } from '../../src/nonce/file-store.js';
import { describeSelf } from '../../src/nonce/holder.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kraken-containers-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it('a record of another container keeps others out although its lock is gone', async () => {
  const file = join(folder, 'nonce.txt');
  const elsewhere = { ...describeSelf(), host: 'elsewhere', pidNamespace: 'pid:[1]', pid: 1 };
  writeFileSync(`${file}.holder`, JSON.stringify(elsewhere));
  const opened = FileStore.open(file, { signal: AbortSignal.timeout(1_500) });
  await expect(opened).rejects.toThrow('aborted');
  expect(existsSync(`${file}.lock`)).toBe(false);
});
