/**
 * Two proxies with nonce states of their own had the same `journal.file`. Each took the other's lines for damage, moved
 * the file aside and began a new one: hundreds of files in seconds, and with `keep` the history was gone. Who finds that
 * another process writes stands back.
 */
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Journal } from '../../src/journal/journal.js';
import { until } from '../support/until.js';

let folder: string;
let file: string;
let journals: Journal[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'two-proxies-'));
  file = join(folder, 'j.jsonl');
  journals = [];
});
afterEach(async () => {
  for (const journal of journals) await journal.close();
  rmSync(folder, { recursive: true, force: true });
});

async function open(run: string, standOffMs?: number): Promise<Journal> {
  const journal = await Journal.open({
    ...{ file, maxBytes: 1_000_000, maxAgeMs: 86_400_000, keep: 30, version: '1', run, flushMs: 1 },
    ...(standOffMs === undefined ? {} : { standOffMs }),
  });
  journals.push(journal);
  return journal;
}

const standsBack = ({ state }: Journal): boolean =>
  state.problem === `another process writes ${file}: give each proxy a journal.file of its own`;

/** A line on disk, or a journal that stands back. */
async function writes(journal: Journal): Promise<void> {
  const { lines } = journal.state;
  journal.note('one', {});
  await until(() => journal.state.lines > lines || standsBack(journal));
}

it('one of two stands back and says so, the other writes on; there are three files, however long', async () => {
  const [one, other] = [await open('0a1b2c01'), await open('0a1b2c02')];
  for (let round = 0; round < 50; round++) {
    await writes(one);
    await writes(other);
  }
  expect([one, other].filter(standsBack)).toHaveLength(1);
  expect(readdirSync(folder)).toHaveLength(3);
  const [backed, writer] = standsBack(one) ? [one, other] : [other, one];
  expect(writer.state.lost).toBe(0);
  await backed.close();
  expect(backed.state.lost).toBeGreaterThan(40);
  expect(standsBack(backed)).toBe(true);
});

it('who stands back looks again, and writes what waits once nobody else has written for that long', async () => {
  const journal = await open('0a1b2c01', 200);
  for (let change = 0; change < 2; change++) {
    appendFileSync(file, 'of another\n');
    await writes(journal);
  }
  expect(standsBack(journal)).toBe(true);
  expect(readdirSync(folder)).toHaveLength(2);
  await until(() => journal.state.problem === undefined);
  expect(journal.state).toMatchObject({ lost: 0, lines: 5 }); // three begins, two notes
  expect(readdirSync(folder)).toHaveLength(3);
  expect(readFileSync(file, 'utf8')).toContain('another program has changed the file before');
});

it('while the other writes on, it stays so', async () => {
  const journal = await open('0a1b2c01', 100);
  const until_ = performance.now() + 1_500;
  const writing = setInterval(() => appendFileSync(file, 'of another\n'), 10);
  try {
    await until(() => {
      journal.note('one', {});
      return standsBack(journal);
    });
    await until(() => performance.now() > until_);
  } finally {
    clearInterval(writing);
  }
  expect(standsBack(journal)).toBe(true);
  expect(readdirSync(folder)).toHaveLength(2);
});

it('a file that was moved out of the way is made anew at the next look', async () => {
  const journal = await open('0a1b2c01', 100);
  for (let change = 0; change < 2; change++) {
    appendFileSync(file, 'of another\n');
    await writes(journal);
  }
  rmSync(file);
  await until(() => journal.state.problem === undefined);
  expect(readFileSync(file, 'utf8')).toContain('the file was gone');
});
