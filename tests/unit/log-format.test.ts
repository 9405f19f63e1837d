import fc from 'fast-check';
import { createLog, logCall, newCallRecord, type CallRecord } from '../../src/log.js';
import { formatFor, type LineFormat, type LogFormatOptions } from '../../src/log-format.js';

const format = (options: Partial<LogFormatOptions>): LineFormat =>
  formatFor({ format: 'auto', isTTY: false, env: {}, ...options });
const text = format({ format: 'text' });

const line = (fields: Readonly<Record<string, unknown>>): string =>
  `${JSON.stringify({ level: 30, time: '2026-11-22T20:00:01.123Z', ...fields })}\n`;

/** What a log of ours writes, in this format. */
function written(through: LineFormat, write: (log: ReturnType<typeof createLog>) => void): string {
  let out = '';
  write(createLog({ level: 'trace', destination: { write: (each) => void (out += through(each)) } }));
  return out;
}

const callOf = (facts: Partial<CallRecord>): CallRecord =>
  Object.assign(newCallRecord('5f2e9a01-1', 'AddOrder'), { client: 'grid-bot', account: 'master', ...facts });

const FINE = { outcome: 'executed', status: 200, waitMs: 0.1, upstreamMs: 11.94, totalMs: 12.31 } as const;

/** Everything but what a reader sees: colors that are ours are taken off before. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;
const COLORS = /\u001b\[(?:0|1|2|31|32|33|36)m/g;

describe('which format', () => {
  const journal = { JOURNAL_STREAM: '8:1234' };

  it.each([
    ['a terminal reads text', { isTTY: true }, /^\S+ info {2}ready\n$/],
    ['a pipe reads JSON', {}, /^\{"level":30/],
    ['the journal reads JSON behind a priority', { env: journal }, /^<6>\{"level":30/],
    ['the journal itself, by device and inode', { env: journal, output: '8:1234' }, /^<6>\{/],
    ['a pipe within a service is not the journal', { env: journal, output: '13:99' }, /^\{/],
    ['a terminal can be told to show JSON', { isTTY: true, format: 'json' }, /^\{/],
    ['a pipe can be told to carry text', { format: 'text' }, /^\S+ info {2}ready\n$/],
    ['a pipe can be told to carry priorities', { format: 'journald' }, /^<6>\{/],
  ] as const)('%s', (_, options, expected) => {
    const shown = format(options)(line({ msg: 'ready' })).replaceAll(COLORS, '');
    expect(shown).toMatch(expected);
  });

  it('JSON passes byte for byte', () => {
    const odd = 'no JSON \u001b[31m at all';
    expect(format({})(odd)).toBe(odd);
  });
});

describe('for the journal', () => {
  const journald = format({ format: 'journald' });

  it.each([
    ['trace', 7],
    ['debug', 7],
    ['info', 6],
    ['warn', 4],
    ['error', 3],
    ['fatal', 3],
  ] as const)('%s has priority %i', (level, priority) => {
    const out = written(journald, (log) => log[level]({ account: 'master' }, 'x'));
    expect(out).toMatch(new RegExp(`^<${priority}>\\{.*"account":"master".*\\}\n$`));
  });

  it('a line that is none of ours cannot choose its priority nor begin a second line', () => {
    expect(journald('<0>panic\n<0>again')).toBe('<6><0>panic\\n<0>again\n');
  });

  it('what is escaped stays the same value', () => {
    const told = { reason: 'a\u0085b\u202ec\u2028d\ud800 👍🏽' };
    const out = journald(line(told));
    expect(UNSEEN.test(out.slice(0, -1))).toBe(false);
    expect(JSON.parse(out.slice(3))).toMatchObject(told);
  });
});

describe('for a terminal', () => {
  it('a call is one short line', () => {
    const out = written(text, (log) => logCall(log, callOf(FINE)));
    expect(out).toMatch(
      /^\d\d:\d\d:\d\d\.\d{3} call {2}grid-bot→master AddOrder executed 12\.3 ms \(wait 0\.1, Kraken 11\.9\)\n$/,
    );
  });

  it('a call that went wrong says why, and by which id it is found', () => {
    const refused = callOf({ ...FINE, outcome: 'refused', krakenError: 'EOrder:Insufficient funds' });
    expect(written(text, (log) => logCall(log, refused))).toMatch(
      /refused 12\.3 ms \(.*\) EOrder:Insufficient funds requestId=5f2e9a01-1\n$/,
    );
    const denied = callOf({
      ownError: 'permission-denied',
      rule: 'allow',
      reason: 'not in allow',
      hungUp: true,
    });
    expect(written(text, (log) => logCall(log, denied))).toMatch(
      /not-sent 0 ms error=permission-denied rule=allow reason="not in allow" hungUp requestId=5f2e9a01-1\n$/,
    );
  });

  it('the time is that of the clock on the wall here', () => {
    const at = new Date(2026, 10, 22, 7, 8, 9, 45);
    expect(text(line({ time: at.toISOString(), msg: 'x' }))).toBe('07:08:09.045 info  x\n');
  });

  it('fields follow as key=value, quoted where a blank would mislead', () => {
    const told = { account: 'master', detail: 'two words', n: 3, list: ['a'], tuning: { lanes: 'global' } };
    expect(text(line({ msg: 'what is', ...told }))).toMatch(
      / info {2}what is account=master detail="two words" n=3 list=\["a"\]\n$/,
    );
  });

  it('the stack of an error and of its cause is indented below its line', () => {
    const error = new Error('the disk\nis full', { cause: new Error('ENOSPC') });
    const [first = '', ...below] = written(text, (log) => log.error({ err: error }, 'not written'))
      .slice(0, -1)
      .split('\n');
    expect(first).toMatch(/ error not written Error: the disk\\nis full: ENOSPC$/);
    expect(below.length).toBeGreaterThan(2);
    expect(below.filter((each) => !/^ {4}(?:at |caused by: )/.test(each))).toEqual([]);
    expect(below.join('\n')).toContain('caused by: Error: ENOSPC');
  });

  it('has colors on a terminal, and none where NO_COLOR or a dumb terminal asks for it', () => {
    const shown = (env: Record<string, string>, isTTY = true): string =>
      formatFor({ format: 'text', isTTY, env })(line({ level: 50, msg: 'x' }));
    expect(shown({})).toContain('\u001b[31merror\u001b[0m');
    expect(shown({ NO_COLOR: '' })).toContain('\u001b[31m');
    for (const plain of [shown({ NO_COLOR: '1' }), shown({ TERM: 'dumb' }), shown({}, false)])
      expect(plain).toMatch(/^\S+ error x\n$/);
  });

  it('a text from outside moves no cursor and forges no line', () => {
    const evil = '\u001b[2J\u001b]0;title\u0007\r\n12:00:00.000 info all is well\u009b31m\u202e';
    const out = text(line({ msg: evil, client: evil, [evil]: evil, err: { message: evil, stack: evil } }));
    expect(UNSEEN.test(out.slice(0, -1))).toBe(false);
    expect(out).toContain('\\u001b[2J');
  });

  it.each(['', '{', '[1]', '"text"', 'null', '7', '{}', '{"level":"x","time":{},"msg":[]}', '{"err":null}'])(
    'an odd line is one line: %s',
    (odd) => {
      expect(text(`${odd}\n`).match(/\n/g)).toHaveLength(1);
    },
  );

  it('JSON nested beyond all measure is one line', () => {
    const deep = `{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`;
    expect(text(deep).match(/\n/g)).toHaveLength(1);
  });
});

describe('whatever comes', () => {
  const formats = {
    text,
    journald: format({ format: 'journald' }),
    color: format({ isTTY: true }),
  };
  const nasty = fc.string({
    unit: fc.oneof(
      fc.constantFrom('\n', '\r', '\u001b', '\u0000', '\u0085', '\u2028', '\u202e', '"', '\\'),
      fc.string(),
    ),
  });
  const call = fc.record(
    {
      level: fc.constantFrom(20, 30, 40, 50),
      time: fc.oneof(nasty, fc.constant('2026-11-22T20:00:01.123Z')),
      msg: fc.oneof(fc.constant('call'), nasty),
      client: nasty,
      endpoint: nasty,
      outcome: nasty,
      reason: fc.oneof(nasty, fc.jsonValue()),
      err: fc.record({ type: nasty, message: nasty, stack: nasty }, { requiredKeys: [] }),
    },
    { requiredKeys: [] },
  );
  const anyLine = fc.oneof(
    nasty,
    fc.jsonValue().map((value) => JSON.stringify(value)),
    call.map((value) => JSON.stringify(value)),
    fc.dictionary(nasty, fc.jsonValue()).map((value) => JSON.stringify(value)),
  );

  it.each(Object.entries(formats))(
    'one line in is one line out, stacks aside, and shows all: %s',
    (name, through) => {
      fc.assert(
        fc.property(anyLine, (input) => {
          const out = through(`${input}\n`).replaceAll(name === 'color' ? COLORS : /$^/g, '');
          expect(out.endsWith('\n')).toBe(true);
          const [first = '', ...below] = out.slice(0, -1).split('\n');
          expect(UNSEEN.test(first)).toBe(false);
          expect(below.filter((each) => !each.startsWith('    ') || UNSEEN.test(each))).toEqual([]);
          if (name === 'journald') expect(below).toEqual([]);
        }),
        { numRuns: 300 },
      );
    },
  );
});
