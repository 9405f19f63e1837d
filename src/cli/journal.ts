import type { Config } from '../config.js';
import { checkJournal, type CheckReport } from '../journal/journal-check.js';
import { readLine, type JournalLine } from '../journal/journal-line.js';
import {
  findAround,
  findCalls,
  type Around,
  type FoundLine,
  type Search,
} from '../journal/journal-search.js';
import { tailLines } from '../journal/journal-tail.js';
import { endpointOf } from '../kraken/endpoints.js';
import { CheckFailed, UsageError, type Terminal } from './terminal.js';

type JournalConfig = Pick<Config, 'journal'>;

export interface VerifyOptions {
  /** A hash noted earlier, hex: the journal must still hold the line that it is of. */
  readonly head: string | undefined;
}

export interface TailJournalOptions {
  readonly lines: number;
  readonly follow: boolean;
  /** Ends `follow`. */
  readonly signal: AbortSignal;
}

/** `journal verify`: whether anything was changed, removed or put in, and whether nonces only rose. Throws CheckFailed. */
export async function verifyJournal(
  { journal }: JournalConfig,
  { head }: VerifyOptions,
  terminal: Terminal,
): Promise<void> {
  if (head !== undefined && !/^[0-9a-f]{64}$/i.test(head))
    throw new UsageError(
      '--head takes a hash of 64 hex digits, as journal verify, /v1/status and the log show it',
    );
  const report = await checkJournal(journal.file, head);
  if (report.files.length === 0) throw new CheckFailed(`there is no journal at ${journal.file}`);
  printReport(report, head, terminal);
  const { damageCount, linesAfterHead } = report;
  if (damageCount > 0)
    throw new CheckFailed(`the journal is damaged: ${count(damageCount, 'finding')}, see above`);
  if (head !== undefined && linesAfterHead === undefined)
    throw new CheckFailed(`no line has the hash ${head}: the journal was cut off before it, or written anew`);
}

function printReport(report: CheckReport, head: string | undefined, terminal: Terminal): void {
  const { files, first, last, damages, damageCount, notices, noticeCount, linesAfterHead } = report;
  const say = (title: string, text: string): void => terminal.print(`${title.padEnd(13)}${shown(text)}`);
  for (const { place, what } of damages) say('damage', `${place}  ${what}`);
  if (damageCount > damages.length) say('damage', `and ${damageCount - damages.length} more`);
  for (const notice of notices) say('note', notice);
  if (noticeCount > notices.length) say('note', `and ${noticeCount - notices.length} more`);
  say('files', `${files.length}, ${[...new Set([files[0], files.at(-1)])].join(' to ')}`);
  say(
    'lines',
    `${report.lines}, seq ${first?.seq ?? '-'} to ${last?.seq ?? '-'}, ${first?.at ?? '-'} to ${last?.at ?? '-'}`,
  );
  say('runs', String(report.runs));
  const missing = report.missingDraws === 0 ? '' : `; ${report.missingDraws} that were drawn have no line`;
  say('nonces', `${report.nonces} of ${count(report.keys, 'key')}${missing}`);
  if (report.lost > 0) say('lost', `${count(report.lost, 'line')}, as the journal itself says`);
  if (report.head !== undefined) say('head', report.head);
  if (head !== undefined && linesAfterHead !== undefined)
    say(
      'since head',
      `${count(linesAfterHead, 'line')} ${linesAfterHead === 1 ? 'follows' : 'follow'} the line with that hash`,
    );
  if (damageCount === 0)
    say(
      'result',
      'verifies up to its last whole line; nonces only rose. Note the head elsewhere: it vouches for the end',
    );
}

/** `journal explain`: the story of one call, for a person woken at night. Throws CheckFailed when there is none. */
export async function explainCall(
  { journal }: JournalConfig,
  wanted: string,
  terminal: Terminal,
): Promise<void> {
  const search = await findCalls(journal.file, wanted);
  // Of a call whose answer was lost the proxy's own question for it is on record first.
  const found = search.calls.find(({ line }) => line.client !== 'proxy') ?? search.calls[0];
  if (found === undefined) throw new CheckFailed(notFound(journal.file, wanted, search));
  printStory(found, await findAround(journal.file, found), terminal);
  const others = search.calls.filter((each) => each !== found);
  if (others.length === 0) return;
  terminal.print('');
  terminal.print(`${others.length} more of ${shown(wanted)}:`);
  for (const { line, place } of others) terminal.print(`  ${describe(line)}  (${place})`);
}

function notFound(file: string, wanted: string, { files, lines, from, to }: Search): string {
  if (files === 0) return `there is no journal at ${file}`;
  const span = from === undefined ? '' : `, from ${from} to ${to ?? from}`;
  return (
    `no call has the nonce, request id or transaction id ${shown(wanted)}: looked through ${count(lines, 'line')} in ` +
    `${count(files, 'file')} at ${file}${span}. A call is on record a moment after its end; a transaction id is known ` +
    'from the answer that named it first'
  );
}

function printStory({ line, place }: FoundLine, around: Around, terminal: Terminal): void {
  const say = (title: string, text: string): void => terminal.print(`${title.padEnd(13)}${shown(text)}`);
  say('call', `${text(line.requestId)}  (${place}, seq ${line.seq})`);
  say('came', `${line.at}, from ${text(line.client)}, for account ${text(line.account)}`);
  say('asked for', `${text(line.endpoint)}${natureOf(line)}`);
  say('waited', waitOf(line, around));
  say('nonce', nonceOf(line));
  say('Kraken', krakenOf(line));
  if (line.error !== undefined)
    say(
      'answered',
      `by the proxy itself: ${text(line.error)}${line.rule === undefined ? '' : ` (rule ${text(line.rule)})`}`,
    );
  if (line.reason !== undefined) say('because', text(line.reason));
  say('took', `${msOf(line.totalMs)} in all`);
  if (line.hungUp === true) say('client', 'it hung up before it had its answer');
  if (Array.isArray(line.txids)) say('txids', line.txids.join(', '));
  if (line.bodySha256 !== undefined) say('body', `SHA-256 ${text(line.bodySha256)}`);
  say('means', meaningOf(line));
  const { questions, events } = around;
  if (questions.length > 0) {
    terminal.print('');
    terminal.print("The proxy's own questions for it:");
    for (const { line: question, place: at } of questions) terminal.print(`  ${describe(question)}  (${at})`);
  }
  if (events.length > 0) {
    terminal.print('');
    terminal.print('Around it:');
    for (const { line: event } of events) terminal.print(`  ${describe(event)}`);
  }
}

function natureOf({ endpoint }: JournalLine): string {
  switch (endpointOf(text(endpoint)).class) {
    case 'read':
      return ', which only reads';
    case 'idempotent':
      return ', which changes something and may be repeated';
    case 'exclusive':
      return ', which must not be repeated blindly';
  }
}

function waitOf({ waitMs }: JournalLine, { before }: Around): string {
  if (typeof waitMs !== 'number') return 'not at all: its turn never came';
  const others =
    before === 0
      ? waitMs < 50
        ? ''
        : '; no other call left meanwhile: it was held back (pacing, the startup window or a pause) or waited for a call in flight'
      : `; ${count(before, 'other call')} left for Kraken meanwhile`;
  return `${msOf(waitMs)} for its turn${others}`;
}

function nonceOf({ nonce, draw, sends }: JournalLine): string {
  if (nonce === undefined) return 'none was drawn: nothing left the proxy';
  if (!Array.isArray(sends)) return `${text(nonce)} (draw ${text(draw)} of its run)`;
  const all = (sends as { nonce?: unknown }[]).map((send) => text(send.nonce));
  return `${all.length} were drawn, one for each try: ${all.join(', ')}`;
}

function krakenOf({ krakenError, status, upstreamMs, nonce }: JournalLine): string {
  if (nonce === undefined && upstreamMs === undefined) return 'was not asked';
  const took = typeof upstreamMs === 'number' ? ` after ${msOf(upstreamMs)}` : '';
  if (status === undefined) return `gave no whole answer${took}`;
  const http = status === 200 ? '' : `, HTTP ${text(status)}`;
  if (krakenError === undefined) return `answered without an error${took}${http}`;
  return `answered ${text(krakenError)}${took}${http}${hintOf(text(krakenError))}`;
}

const HINTS: readonly (readonly [start: string, hint: string])[] = [
  ['EAPI:Invalid nonce', 'another program has used a higher nonce on this key'],
  ['EAPI:Invalid key', 'Kraken does not know the key, or not from this address'],
  ['EAPI:Invalid signature', "the account's secret or otp is wrong"],
  ['EAPI:Rate limit', 'the call counter of the key was full: too many calls'],
  ['EGeneral:Temporary lockout', 'Kraken has locked the key out for a while'],
  ['EGeneral:Permission denied', 'the key lacks the permission at Kraken'],
  ['EService', 'Kraken itself was not available'],
];

function hintOf(error: string): string {
  const hint = HINTS.find(([start]) => error.startsWith(start))?.[1];
  return hint === undefined ? '' : `: ${hint}`;
}

/** What a person needs to know first: was money moved? */
function meaningOf(line: JournalLine): string {
  const { outcome, settled, endpoint } = line;
  if (line.replayed === true)
    return 'it had the same id as an earlier call and got that one’s answer; nothing was sent for it';
  if (endpointOf(text(endpoint)).class === 'read') {
    const with_ = line.merged === true ? ' (together with an equal one)' : '';
    return outcome === 'executed'
      ? `a read that was answered${with_}`
      : 'a read without a good answer: nothing has changed at Kraken';
  }
  if (settled === 'done')
    return 'DONE. Its answer was lost on the way; asked for it, Kraken showed that it was executed';
  if (settled === 'not-done' && outcome !== 'executed')
    return 'NOT DONE, for certain. Its answer was lost on the way; asked for it, Kraken showed that it was not executed and cannot be any more';
  switch (outcome) {
    case 'executed':
      return settled === 'not-done'
        ? 'DONE. A first try certainly was not executed, and it was sent once more'
        : 'DONE. Kraken executed it';
    case 'refused':
      return 'NOT DONE, for certain: Kraken refused it';
    case 'not-sent':
      return 'NOT DONE, for certain: it did not get through to Kraken';
    default:
      return (
        'UNKNOWN: it may have been executed, and nothing in this line tells. Look at Kraken (open and closed orders, ' +
        'withdrawals) before anybody repeats it; a later note "settled" below may tell what became of it'
      );
  }
}

/** `journal tail`: the last lines for people; with `follow` also those to come. */
export async function tailJournal(
  { journal }: JournalConfig,
  { lines, follow, signal }: TailJournalOptions,
  terminal: Terminal,
): Promise<void> {
  let printed = 0;
  for await (const bytes of tailLines(journal.file, { count: lines, follow: follow ? signal : undefined })) {
    const line = readLine(bytes);
    terminal.print(
      line === undefined ? `(not a line of the journal) ${shown(bytes.slice(0, 100))}` : describe(line),
    );
    printed += 1;
  }
  if (printed === 0 && lines > 0 && !follow) throw new CheckFailed(`there is no journal at ${journal.file}`);
}

/** One line for people. */
function describe(line: JournalLine): string {
  return shown(`${line.at}  ${describeKind(line)}`);
}

function describeKind(line: JournalLine): string {
  switch (line.kind) {
    case 'call': {
      const { client, account, endpoint, outcome, nonce, settled, error, krakenError, requestId } = line;
      const parts = [
        `call   ${text(requestId)}  ${text(client)} -> ${text(account)}  ${text(endpoint)}  ${text(outcome)}`,
      ];
      if (settled !== undefined) parts.push(`settled ${text(settled)}`);
      if (krakenError !== undefined) parts.push(text(krakenError));
      if (error !== undefined) parts.push(`(${text(error)})`);
      if (nonce !== undefined) parts.push(`nonce ${text(nonce)}`);
      parts.push(msOf(line.totalMs));
      return parts.join('  ');
    }
    case 'act': {
      const { act, target, who, why, result, detail } = line;
      const of = target === undefined ? '' : ` ${text(target)}`;
      return `act    ${text(act)}${of}: ${text(result)}, by ${text(who)}, because: ${text(why)}${detailOf(detail)}`;
    }
    case 'note':
      return `note   ${text(line.what)}${detailOf(line.detail)}`;
    case 'begin':
      return `begin  run ${text(line.run)}, version ${text(line.version)} (${text(line.why)})`;
    case 'lost':
      return `lost   ${text(line.lines)} lines were lost before this one`;
    case 'end':
      return 'end    stopped in order';
  }
}

function detailOf(detail: unknown): string {
  return detail === undefined ? '' : `  ${JSON.stringify(detail)}`;
}

function msOf(ms: unknown): string {
  if (typeof ms !== 'number') return '-';
  return ms < 1_000 ? `${ms.toFixed(1)} ms` : `${(ms / 1_000).toFixed(2)} s`;
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

function text(value: unknown): string {
  if (typeof value === 'string') return value;
  return value === undefined ? '-' : JSON.stringify(value);
}

// Control and format characters, marks of direction among them, lone surrogates, private use, what is no character,
// and separators of lines.
const UNSEEN = /[\p{C}\p{Zl}\p{Zp}]/gu;

/** What came from outside must not steer the terminal, nor show something else than stands there. */
function shown(text: string): string {
  return text.replace(UNSEEN, '?');
}
