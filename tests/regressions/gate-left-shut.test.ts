/*
 * A proxy was killed in the few ms in which it took the lock, and left shut the gate that all takers pass. The
 * gate was told to be stale by its mtime and the wall clock: the next start waited two seconds for it, and
 * after a clock that had stepped back an hour it waited, without a word, for that hour. The gate now says who
 * shut it; one whose maker is dead is opened at once, any other after it was watched for a second.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileStore } from '../../src/nonce/file-store.js';
import { describeSelf } from '../../src/nonce/holder.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kraken-gate-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Leaves a gate shut, and opens the state all the same. `touch` is done to the gate meanwhile. */
async function openThrough(gate: string, touch: (path: string) => void = () => undefined): Promise<void> {
  const path = join(folder, 'nonce.txt.gate');
  writeFileSync(path, gate);
  // By a clock an hour ahead of ours.
  const ahead = Date.now() / 1_000 + 3_600;
  utimesSync(path, ahead, ahead);
  const touching = setInterval(() => touch(path), 20);
  const store = await FileStore.open(join(folder, 'nonce.txt')).finally(() => clearInterval(touching));
  await store.close();
  expect(readdirSync(folder)).toEqual([]);
}

(process.platform === 'linux' ? it : it.skip)(
  'a gate whose maker is dead is opened whatever its age',
  async () => {
    const maker = JSON.stringify({ ...describeSelf(), startTime: '1' });
    let touched = 0;
    await openThrough(maker, (path) => {
      try {
        // As new at every look.
        if (readFileSync(path, 'utf8') === maker) utimesSync(path, ++touched, touched);
      } catch {
        // Opened.
      }
    });
  },
);

it('a gate that does not say who shut it is opened after a second, whatever the clock says', async () => {
  const started = performance.now();
  await openThrough('');
  expect(performance.now() - started).toBeGreaterThan(1_000);
});
