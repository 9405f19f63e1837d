import { appendFileSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { explainCall, tailJournal, verifyJournal } from '../../src/cli/journal.js';
import { CheckFailed, UsageError, type Terminal } from '../../src/cli/terminal.js';
import type { JournaledCall } from '../../src/journal/journal-line.js';
import { callRecord, JournalWorld, NOON, nonceOf } from '../support/journal-world.js';
import { until } from '../support/until.js';

let world: JournalWorld;
let printed: string[];
let terminal: Terminal;
beforeEach(() => {
  world = new JournalWorld();
  printed = [];
  terminal = {
    print: (line) => void printed.push(line),
    confirm: () => Promise.resolve(false),
    now: () => NOON,
  };
});
afterEach(async () => {
  await world.close();
});

const config = (): { journal: Parameters<typeof verifyJournal>[0]['journal'] } => ({
  journal: { enabled: true, file: world.file, maxBytes: 1_000_000, maxAgeMs: 86_400_000, keep: 0 },
});
const verify = (head?: string): Promise<void> => verifyJournal(config(), { head }, terminal);
const story = (): string => printed.join('\n');
const noSignal = new AbortController().signal;

describe('verify', () => {
  it('says what there is and that it is sound', async () => {
    await world.runs(2, 3);
    await verify();
    expect(story()).toMatch(
      /^files {8}1, journal.jsonl\nlines {8}9, seq 1 to 9, .*\nruns {9}2\nnonces {7}5 of 1 key$/m,
    );
    expect(story()).toMatch(/^head {9}[0-9a-f]{64}$/m);
    expect(story()).toMatch(/^result {7}verifies up to its last whole line; nonces only rose/m);
  });

  it('names file and line of what was changed, and fails', async () => {
    await world.runs(3);
    writeFileSync(world.file, readFileSync(world.file, 'utf8').replace('executed', 'refused_'));
    await expect(verify()).rejects.toThrow(new CheckFailed('the journal is damaged: 1 finding, see above'));
    expect(story()).toMatch(
      /^damage {7}journal.jsonl:3 {2}does not hang on the line before it: journal.jsonl:2/m,
    );
    expect(story()).not.toContain('verifies');
  });

  it('with a head counts the lines since, fails when it is not there, and refuses what is no hash', async () => {
    await world.runs(1);
    await verify();
    const head = /^head +(\S+)$/m.exec(story())?.[1];
    await world.runs(1);
    await verify(head?.toUpperCase());
    expect(story()).toContain('since head   3 lines follow the line with that hash');
    await expect(verify('0'.repeat(63) + '1')).rejects.toThrow(CheckFailed);
    await expect(verify('abc')).rejects.toThrow(UsageError);
  });

  it('fails where there is no journal', async () => {
    await expect(verify()).rejects.toThrow(`there is no journal at ${world.file}`);
  });
});

describe('explain', () => {
  it('tells the story of a call by its nonce, its request id and its transaction id', async () => {
    const journal = await world.open();
    journal.note('breaker', { account: 'master', state: 'lockout' });
    journal.note('breaker', { account: 'alice', state: 'key' });
    journal.act({
      act: 'pause',
      who: 'ann',
      why: 'odd fills',
      address: '::1',
      target: 'client grid-bot',
      result: 'done',
    });
    journal.call(callRecord(1, { arrivedAt: NOON + 100, waitMs: 10 }));
    journal.call(callRecord(7, { waitMs: 1_500, totalMs: 1_600, txids: ['OABCDE-FGHIJ-KLMNOP'] }));
    await journal.close();
    for (const id of [nonceOf(7), '0a1b2c3d-7', 'OABCDE-FGHIJ-KLMNOP']) {
      printed = [];
      await explainCall(config(), id, terminal);
      expect(story()).toContain(`came         2026-11-22T12:00:00.007Z, from grid-bot, for account master`);
      expect(story()).toContain('asked for    AddOrder, which must not be repeated blindly');
      expect(story()).toContain('waited       1.50 s for its turn; 1 other call left for Kraken meanwhile');
      expect(story()).toContain(`nonce        ${nonceOf(7)} (draw 7 of its run)`);
      expect(story()).toContain('Kraken       answered without an error after 20.5 ms');
      expect(story()).toContain('txids        OABCDE-FGHIJ-KLMNOP');
      expect(story()).toContain('means        DONE. Kraken executed it');
      expect(story()).toContain('note   breaker  {"account":"master","state":"lockout"}');
      expect(story()).toContain('act    pause client grid-bot: done, by ann, because: odd fills');
      expect(story()).not.toContain('alice');
    }
  });

  it.each([
    ['everything', true],
    ['account master', true],
    ['client grid-bot', true],
    ['client grid-bot, account master', true],
    ['account alice', false],
    ['client exit-bot', false],
    ['client grid-bot, account alice', false],
  ])('names an act on %s around a call of grid-bot for master: %s', async (target, isNamed) => {
    const journal = await world.open();
    journal.act({ act: 'pause', who: 'ann', why: 'odd fills', address: '::1', target, result: 'done' });
    journal.call(callRecord(7));
    await journal.close();
    await explainCall(config(), nonceOf(7), terminal);
    expect(story().includes(`act    pause ${target}: done`)).toBe(isNamed);
  });

  it.each([
    [
      { outcome: 'refused', krakenError: 'EAPI:Invalid nonce' },
      /answered EAPI:Invalid nonce .*: another program/,
      /^NOT DONE, for certain: Kraken refused/,
    ],
    [
      { outcome: 'not-sent', sends: [], upstreamMs: undefined, status: undefined, ownError: 'queue-timeout' },
      /^was not asked/,
      /^NOT DONE, for certain/,
    ],
    [
      { outcome: 'unknown', status: undefined, ownError: 'outcome-unknown' },
      /^gave no whole answer/,
      /^UNKNOWN: it may have been executed/,
    ],
    [{ outcome: 'unknown', status: undefined, settled: 'untold' }, /^gave no whole answer/, /^UNKNOWN/],
    [
      { outcome: 'executed', status: undefined, settled: 'done' },
      /^gave no whole answer/,
      /^DONE. Its answer was lost/,
    ],
    [
      { outcome: 'refused', status: undefined, settled: 'not-done' },
      /^gave no whole answer/,
      /^NOT DONE, for certain. Its answer was lost/,
    ],
    [
      { outcome: 'executed', settled: 'not-done' },
      /^answered without/,
      /^DONE. A first try certainly was not/,
    ],
    [
      { outcome: 'not-sent', isReplayed: true, sends: [], upstreamMs: undefined },
      /^was not asked/,
      /^it had the same id/,
    ],
    [
      { outcome: 'unknown', endpoint: 'Balance' },
      /^answered/,
      /^a read without a good answer: nothing has changed/,
    ],
  ] satisfies [Partial<JournaledCall>, RegExp, RegExp][])(
    'says what it means for money: %j',
    async (over, kraken, means) => {
      const journal = await world.open();
      journal.call(callRecord(1, over));
      await journal.close();
      await explainCall(config(), '0a1b2c3d-1', terminal);
      expect(/^Kraken +(.*)$/m.exec(story())?.[1]).toMatch(kraken);
      expect(/^means +(.*)$/m.exec(story())?.[1]).toMatch(means);
    },
  );

  it('every nonce of a call leads to it, and the proxy’s own questions are told', async () => {
    const journal = await world.open();
    journal.call(callRecord(4, { requestId: '0a1b2c3d-1', client: 'proxy', endpoint: 'QueryOrders' }));
    journal.call(callRecord(1, { sends: [1, 2].map((draw) => ({ draw, nonce: nonceOf(draw) })) }));
    await journal.close();
    await explainCall(config(), nonceOf(1), terminal);
    expect(story()).toContain(`nonce        2 were drawn, one for each try: ${nonceOf(1)}, ${nonceOf(2)}`);
    expect(story()).toMatch(/own questions for it:\n .*proxy -> master {2}QueryOrders/);
  });

  it('what is not there is said, with where it was looked for', async () => {
    await expect(explainCall(config(), '17', terminal)).rejects.toThrow(
      `there is no journal at ${world.file}`,
    );
    await world.runs(3);
    const failure = explainCall(config(), 'OAAAAA-BBBBB-CCCCCC', terminal);
    await expect(failure).rejects.toThrow(CheckFailed);
    await expect(failure).rejects.toThrow(
      /no call has .* OAAAAA-BBBBB-CCCCCC: looked through 5 lines in 1 file at/,
    );
  });

  it('texts from outside cannot steer the terminal', async () => {
    const journal = await world.open();
    journal.call(callRecord(1, { outcome: 'refused', krakenError: 'E\u001b[2J\nall is well' }));
    await journal.close();
    await explainCall(config(), nonceOf(1), terminal);
    expect(story()).toContain('answered E?[2J?all is well');
  });

  it.each([
    ['an isolate that turns the direction', '\u2068'],
    ['a mark of direction', '\u061c'],
    ['a byte order mark', '\ufeff'],
    ['a space of no width', '\u200b'],
    ['a soft hyphen', '\u00ad'],
    ['a tag, of which a terminal shows nothing', '\u{e0041}'],
    ['a paragraph separator', '\u2029'],
    ['a character of private use', '\ue000'],
    ['a character that is none', '\ufdd0'],
    ['one half of a character', '\ud800'],
  ])('%s is not printed', async (_, odd) => {
    const journal = await world.open();
    journal.call(callRecord(1, { outcome: 'refused', krakenError: `E${odd}Ä€😀` }));
    await journal.close();
    await explainCall(config(), nonceOf(1), terminal);
    expect(story()).toContain('answered E?Ä€😀');
  });
});

describe('tail', () => {
  const tail = (lines: number): Promise<void> =>
    tailJournal(config(), { lines, follow: false, signal: noSignal }, terminal);

  it('shows the last lines for people, over files', async () => {
    await world.runs(2);
    renameSync(world.file, world.path('journal.000000000001.jsonl'));
    await world.runs(1);
    await tail(5);
    expect(printed).toHaveLength(5);
    expect(printed[0]).toContain(
      `call   0a1b2c3d-2  grid-bot -> master  AddOrder  executed  nonce ${nonceOf(2)}  22.0 ms`,
    );
    expect(printed.map((line) => line.slice(26, 31).trim())).toEqual(['call', 'end', 'begin', 'call', 'end']);
    printed = [];
    await tail(1_000);
    expect(printed).toHaveLength(7);
  });

  it('a line that is being written is left out, and a long file is read from its end', async () => {
    await world.runs(2_000);
    appendFileSync(world.file, '{"seq":');
    await tail(1_500);
    expect(printed).toHaveLength(1_500);
    expect(printed.at(-1)).toContain('end    stopped in order');
  });

  it('follows what is written, over a rotation, until it is told to stop', async () => {
    const journal = await world.open({ maxBytes: 2_000 });
    const stop = new AbortController();
    const following = tailJournal(config(), { lines: 1, follow: true, signal: stop.signal }, terminal);
    await until(() => printed.length === 1);
    journal.call(callRecord(1));
    await until(() => printed.length === 2);
    for (let draw = 2; draw <= 6; draw++) journal.call(callRecord(draw));
    await until(() => printed.some((line) => line.includes('0a1b2c3d-6 ')));
    expect(world.names).toHaveLength(2);
    expect(printed.filter((line) => line.includes('  call  '))).toHaveLength(6);
    stop.abort();
    await following;
  });
});
