/*
 * File systems give the inode of a removed folder to the next one. A process that froze in the middle of a
 * renewal, lost its lock meanwhile and woke up, touched the lock of the one that had taken over, found the
 * inode it knew, and counted that as proof that the lock was still its own: it would have signed for another
 * lease. A renewal now proves something only while the record beside the lock is ours as well.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileStore } from '../../src/nonce/file-store.js';
import { describeSelf } from '../../src/nonce/holder.js';
import { StateLostError } from '../../src/nonce/store.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kraken-renewal-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it('renewing a lock whose record names another proves nothing', async () => {
  const lost: unknown[] = [];
  const store = await FileStore.open(join(folder, 'nonce.txt'), { onLost: (error) => lost.push(error) });
  // The same inode, another owner.
  writeFileSync(join(folder, 'nonce.txt.holder'), JSON.stringify(describeSelf()));
  const stillProven = (): boolean => {
    try {
      store.assertOwned(Date.now());
      return true;
    } catch (error) {
      expect(error).toBeInstanceOf(StateLostError);
      return false;
    }
  };
  const started = performance.now();
  while (stillProven() && performance.now() - started < 6_000) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  // A renewal under way at the beginning may count for one lease.
  expect(performance.now() - started).toBeLessThan(5_000);
  expect(lost).toHaveLength(1);
  await store.close();
});
