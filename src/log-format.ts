/**
 * How log lines leave: `json` as they are; `text` for people at a terminal; `journald` as JSON behind the priority
 * that journald takes off again (sd-daemon(3)). `auto` chooses by who reads.
 */
export type LogFormat = 'auto' | 'json' | 'text' | 'journald';

export interface LogFormatOptions {
  readonly format: LogFormat;
  /** Whether the lines go to a terminal. */
  readonly isTTY: boolean;
  /** `NO_COLOR`, `TERM` and `JOURNAL_STREAM` are read from it. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /**
   * `<device>:<inode>` of what the lines go to, to be sure that `JOURNAL_STREAM` speaks of it: a pipe within a service
   * is not the journal. Without it the variable alone decides.
   */
  readonly output?: string | undefined;
}

/** Turns one line of pino's JSON, with or without its newline, into what is written. Never throws. */
export type LineFormat = (jsonLine: string) => string;

/** The formatter for whoever reads the log. */
export function formatFor(options: LogFormatOptions): LineFormat {
  switch (options.format === 'auto' ? formatOfReader(options) : options.format) {
    case 'text': {
      const paint = hasColors(options) ? inColor : plainly;
      return (line) => `${textOf(withoutNewline(line), paint)}\n`;
    }
    case 'journald':
      return (line) => `<${priorityOf(line)}>${escaped(withoutNewline(line))}\n`;
    case 'json':
      return (line) => line;
  }
}

function formatOfReader({ isTTY, env, output }: LogFormatOptions): Exclude<LogFormat, 'auto'> {
  if (isTTY) return 'text';
  const { JOURNAL_STREAM: journal } = env;
  if (journal === undefined || journal === '') return 'json';
  return output === undefined || output === journal ? 'journald' : 'json';
}

/** https://no-color.org: any text in NO_COLOR turns colors off. */
function hasColors({ isTTY, env }: LogFormatOptions): boolean {
  return isTTY && (env.NO_COLOR ?? '') === '' && env.TERM !== 'dumb';
}

function withoutNewline(line: string): string {
  return line.endsWith('\n') ? line.slice(0, -1) : line;
}

// Control characters would act on the terminal that shows them, line separators would forge log lines, and format
// characters (direction marks among them) and lone surrogates would show something else than stands there.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
const SHORT: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** As JSON escapes them: within JSON the text stays the same value. */
function escaped(text: string): string {
  return text.replace(UNSEEN, (found) => SHORT[found] ?? found.split('').map(escapeUnit).join(''));
}

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

/** Syslog's: 3 error, 4 warning, 6 information, 7 debug. */
function priorityOf(line: string): 3 | 4 | 6 | 7 {
  // pino puts the level first; what does not begin so is no line of ours.
  const level = Number(/^\{"level":(\d{1,3})[,}]/.exec(line)?.[1] ?? LEVEL.info);
  if (level >= LEVEL.error) return 3;
  if (level >= LEVEL.warn) return 4;
  return level >= LEVEL.info ? 6 : 7;
}

const LEVEL = { trace: 10, debug: 20, info: 30, warn: 40, error: 50, fatal: 60 } as const;

type Color = 'dim' | 'red' | 'yellow' | 'green' | 'cyan' | 'bold';
type Paint = (color: Color, text: string) => string;

const SGR: Readonly<Record<Color, number>> = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 };
const inColor: Paint = (color, text) => `\u001b[${SGR[color]}m${text}\u001b[0m`;
const plainly: Paint = (_, text) => text;

type Fields = Readonly<Record<string, unknown>>;

/** One line for a person, and the lines of an error's stack indented below it. */
function textOf(line: string, paint: Paint): string {
  try {
    const fields: unknown = JSON.parse(line);
    if (typeof fields !== 'object' || fields === null || Array.isArray(fields)) return escaped(line);
    return lineOf(fields as Fields, paint);
  } catch {
    return escaped(line); // no JSON, or nested beyond all measure
  }
}

function lineOf(fields: Fields, paint: Paint): string {
  const { level, time, msg, err, ...rest } = fields;
  const start = paint('dim', clockTime(time));
  if (msg === 'call' && typeof rest.endpoint === 'string' && typeof rest.outcome === 'string')
    return [start, levelText(level, paint, 'call'), callText(rest, paint)].join(' ');
  const texts = [start, levelText(level, paint), escaped(plainText(msg)), ...pairsOf(rest, paint)];
  const [problem, stack] = errorTexts(err);
  if (problem !== '') texts.push(paint('red', problem));
  return [texts.filter((text) => text !== '').join(' '), ...stack].join('\n');
}

/** Local time of day. */
function clockTime(time: unknown): string {
  const at = new Date(typeof time === 'string' || typeof time === 'number' ? time : Number.NaN);
  if (Number.isNaN(at.getTime())) return '--:--:--.---';
  const two = (part: number): string => String(part).padStart(2, '0');
  const ms = String(at.getMilliseconds()).padStart(3, '0');
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${ms}`;
}

const LEVELS: readonly (readonly [from: number, name: string, color: Color])[] = [
  [LEVEL.fatal, 'fatal', 'red'],
  [LEVEL.error, 'error', 'red'],
  [LEVEL.warn, 'warn', 'yellow'],
  [LEVEL.info, 'info', 'green'],
  [LEVEL.debug, 'debug', 'dim'],
  [Number.NEGATIVE_INFINITY, 'trace', 'dim'],
];

function levelText(level: unknown, paint: Paint, word?: string): string {
  const value = typeof level === 'number' ? level : LEVEL.info;
  const [, name, color] = LEVELS.find(([from]) => value >= from) ?? [0, 'info', 'green' as const];
  return paint(color, (word ?? name).padEnd(5));
}

/** What a call's line says beyond its compact form, and only when there is something to say. */
const CALL_EXTRAS = ['error', 'rule', 'reason', 'settled', 'reported'] as const;
const CALL_MARKS = ['replayed', 'merged', 'hungUp'] as const;

/** `grid-bot→master AddOrder executed 12.3 ms (wait 0.1, Kraken 11.9)`, then what is not as usual. */
function callText(call: Fields, paint: Paint): string {
  const { client, account, endpoint, outcome, krakenError, status, requestId } = call;
  const waits = [msText('wait ', call.waitMs), msText('Kraken ', call.upstreamMs)].filter(
    (text) => text !== '',
  );
  const texts = [
    `${escaped(plainText(client))}→${escaped(plainText(account))}`,
    paint('bold', escaped(plainText(endpoint))),
    paint(outcome === 'executed' ? 'green' : 'yellow', escaped(plainText(outcome))),
    msText('', call.totalMs, ' ms'),
    waits.length === 0 ? '' : paint('dim', `(${waits.join(', ')})`),
    krakenError === undefined ? '' : paint('red', escaped(plainText(krakenError))),
    ...pairsOf(pick(call, CALL_EXTRAS), paint),
    ...CALL_MARKS.filter((mark) => call[mark] === true),
    ...(status === undefined || status === 200 ? [] : pairsOf({ status }, paint)),
    // Who looks further into this call needs its id.
    ...(outcome === 'executed' ? [] : pairsOf({ requestId }, paint)),
  ];
  return texts.filter((text) => text !== '').join(' ');
}

function pick(fields: Fields, names: readonly string[]): Fields {
  return Object.fromEntries(names.map((name) => [name, fields[name]]));
}

/** Milliseconds to a tenth. */
function msText(before: string, ms: unknown, after = ''): string {
  return typeof ms === 'number' ? `${before}${Math.round(ms * 10) / 10}${after}` : '';
}

/** Long, and the same at every start: the metric `config_info` shows it. */
const LEFT_OUT = new Set(['tuning']);

/** `key=value`; texts with blanks or quotes are quoted. */
function pairsOf(fields: Fields, paint: Paint): string[] {
  return Object.entries(fields)
    .filter(([name, value]) => value !== undefined && !LEFT_OUT.has(name))
    .map(([name, value]) => `${paint('cyan', escaped(name))}=${valueText(value)}`);
}

function valueText(value: unknown): string {
  const isBare = typeof value === 'string' && /^[^\s"\\=]+$/.test(value);
  return escaped(isBare ? value : JSON.stringify(value));
}

function plainText(value: unknown): string {
  return typeof value === 'string' ? value : value === undefined ? '' : JSON.stringify(value);
}

/** The message for the line, and its stack below. */
function errorTexts(err: unknown): [problem: string, stack: readonly string[]] {
  if (err === undefined) return ['', []];
  if (typeof err !== 'object' || err === null) return [escaped(plainText(err)), []];
  const { type, message, stack } = err as Fields;
  if (typeof stack !== 'string') return [escaped(plainText(message ?? err)), []];
  const lines = stack.split('\n');
  // The stack begins with the message, which the line has.
  const problem = typeof message === 'string' ? message : plainText(lines[0]);
  const frames = lines.filter((text) => /^\s+at /.test(text) || text.startsWith('caused by:'));
  return [
    escaped(`${typeof type === 'string' ? `${type}: ` : ''}${problem}`),
    frames.map((text) => `    ${escaped(text.trim())}`),
  ];
}
