import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { checkJournal } from '../../src/journal/journal-check.js';
import { JournalWorld } from '../support/journal-world.js';

/** `CRASH_ROUNDS=200` for the long form. */
const ROUNDS = Number(process.env.CRASH_ROUNDS ?? 10);
const JOURNAL = new URL('../../dist/journal/journal.js', import.meta.url).href;

/** Journals calls as fast as it can, and prints each head that is on disk. */
const WRITER = `
  import { writeSync } from 'node:fs';
  import { Journal } from '${JOURNAL}';
  const [file, run] = process.argv.slice(1);
  setTimeout(() => process.kill(process.pid, 'SIGKILL'), 20_000).unref();
  const journal = await Journal.open({
    ...{ file, run, version: '1', maxBytes: 150_000, maxAgeMs: 86_400_000, keep: 0, flushMs: 1 },
  });
  let draw = 0;
  let head;
  const body = Buffer.from('pair=XBTUSD');
  const go = () => {
    for (let count = 0; count < 50; count++) {
      draw += 1;
      const nonce = String(BigInt(run) * 1_000_000_000_000n + BigInt(draw));
      journal.call({
        ...{ requestId: run + '-' + draw, arrivedAt: Date.now(), client: 'bot', account: 'master', endpoint: 'AddOrder' },
        ...{ body, sends: [{ draw, nonce }], txids: [], totalMs: 1, outcome: 'executed', status: 200 },
      });
    }
    if (journal.state.head !== head) writeSync(1, (head = journal.state.head) + '\\n');
    setTimeout(go, 1);
  };
  go();
`;

let world: JournalWorld;
beforeEach(() => (world = new JournalWorld()));
afterEach(async () => {
  await world.close();
});

/** Writes until so many heads were on disk, is killed in the middle of what it does, and returns the last head it told. */
async function writeUntilKilled(run: number, heads: number): Promise<string> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', WRITER, world.file, String(run)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exit = once(child, 'exit');
  let [told, last] = [0, ''];
  for await (const head of createInterface({ input: child.stdout })) {
    // The kill may cut its last word.
    if (head.length === 64) last = head;
    if (++told === heads) child.kill('SIGKILL');
  }
  expect(await exit).toEqual([null, 'SIGKILL']);
  return last;
}

it(
  `${ROUNDS} times kill -9 in the middle of writing: the journal verifies up to its last whole line, and holds all that was on disk`,
  async () => {
    const heads: string[] = [];
    for (let round = 1; round <= ROUNDS; round++) {
      heads.push(await writeUntilKilled(round, 1 + ((round * 7) % 23)));
      const { damages, linesAfterHead } = await checkJournal(world.file, heads.at(-1));
      expect({ round, damages }).toEqual({ round, damages: [] });
      expect(linesAfterHead).toBeGreaterThanOrEqual(0);
    }
    // Reopened for the last time, and closed in order.
    await (await world.open()).close();
    const first = await checkJournal(world.file, heads[0]);
    expect(first).toMatchObject({ damages: [], missingDraws: 0, lost: 0, runs: ROUNDS + 1 });
    expect(first.linesAfterHead).toBeGreaterThan(0);
    expect(world.names.length).toBeGreaterThan(1);
  },
  30_000 + ROUNDS * 3_000,
);
