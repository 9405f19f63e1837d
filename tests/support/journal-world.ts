import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Journal, type JournalOptions } from '../../src/journal/journal.js';
import { digest, type JournaledCall, type JournalLine } from '../../src/journal/journal-line.js';

export const NOON = Date.UTC(2026, 10, 22, 12);

/** A call as it ends; `draw` also makes its nonce. */
export function callRecord(draw: number, over: Partial<JournaledCall> = {}): JournaledCall {
  return {
    requestId: `0a1b2c3d-${draw.toString(36)}`,
    arrivedAt: NOON + draw,
    client: 'grid-bot',
    account: 'master',
    endpoint: 'AddOrder',
    body: Buffer.from(`nonce=${draw}&pair=XBTUSD`),
    sends: [{ draw, nonce: nonceOf(draw) }],
    waitMs: 1.23456,
    upstreamMs: 20.5,
    totalMs: 22,
    outcome: 'executed',
    status: 200,
    krakenError: undefined,
    ownError: undefined,
    rule: undefined,
    reason: undefined,
    settled: undefined,
    isReplayed: false,
    isMerged: false,
    hungUp: false,
    txids: [],
    ...over,
  };
}

export function nonceOf(draw: number): string {
  return String(1_795_000_000_000_000_000n + BigInt(draw));
}

/** A folder with a journal, and the journals a test opens in it. */
export class JournalWorld {
  readonly folder = mkdtempSync(join(tmpdir(), 'kraken-journal-'));
  readonly file = join(this.folder, 'data', 'journal.jsonl');
  readonly #opened: Journal[] = [];
  #runs = 0;
  #nonce = 0;

  /** Each is a run of its own. */
  async open(over: Partial<JournalOptions> = {}): Promise<Journal> {
    this.#runs += 1;
    const journal = await Journal.open({
      ...{ file: this.file, maxBytes: 1_000_000, maxAgeMs: 86_400_000, keep: 0, version: '1.2.3' },
      ...{ run: `0a1b2c${String(this.#runs).padStart(2, '0')}`, flushMs: 1, now: () => NOON },
      ...over,
    });
    this.#opened.push(journal);
    return journal;
  }

  /** Runs that journal so many calls each, one after the other, closed in order. Draws begin anew, nonces go on. */
  async runs(...calls: readonly number[]): Promise<void> {
    for (const count of calls) {
      const journal = await this.open();
      for (let draw = 1; draw <= count; draw++)
        journal.call(callRecord(draw, { sends: [{ draw, nonce: nonceOf(++this.#nonce) }] }));
      await journal.close();
    }
  }

  /** Names of the files, the live one last. */
  get names(): string[] {
    const names = readdirSync(join(this.folder, 'data')).sort();
    return [
      ...names.filter((name) => name !== 'journal.jsonl'),
      ...names.filter((name) => name === 'journal.jsonl'),
    ];
  }

  path(name: string): string {
    return join(this.folder, 'data', name);
  }

  /** The lines of all files, or of one, as they stand there. */
  texts(name?: string): string[] {
    const names = name === undefined ? this.names : [name];
    return names.flatMap((each) => readFileSync(this.path(each), 'utf8').split('\n').slice(0, -1));
  }

  lines(name?: string): JournalLine[] {
    return this.texts(name).map((text) => JSON.parse(text) as JournalLine);
  }

  /** Fails unless every line hangs on the one before, over all files. */
  expectChain(): void {
    const texts = this.texts();
    const lines = this.lines();
    expect(lines.map(({ seq }) => seq)).toEqual(lines.map((_, index) => index + 1));
    const hashes = ['0'.repeat(64), ...texts.slice(0, -1).map((text) => digest(text))];
    expect(lines.map(({ prev }) => prev)).toEqual(hashes);
  }

  async close(): Promise<void> {
    for (const journal of this.#opened) await journal.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
