import { readLine, type JournalLine } from './journal-line.js';
import { journalFiles } from './journal-reader.js';

/** A line and where it stands. */
export interface FoundLine {
  readonly line: JournalLine;
  /** `file:line`. */
  readonly place: string;
}

/** What was found, and where it was looked for. */
export interface Search {
  /** The lines of calls, oldest first; at most 100. */
  readonly calls: readonly FoundLine[];
  readonly files: number;
  readonly lines: number;
  /** ISO times of the first and last line that was looked at. */
  readonly from: string | undefined;
  readonly to: string | undefined;
}

/** What happened while a call was under way and around that time. */
export interface Around {
  /** Acts, notes, starts, stops and lost lines, of that account or of none; at most 40. */
  readonly events: readonly FoundLine[];
  /** The proxy's own calls with its request id. */
  readonly questions: readonly FoundLine[];
  /** Other calls that left for Kraken while it waited. */
  readonly before: number;
}

const MOST_CALLS = 100;
const MOST_EVENTS = 40;
/** Events so long before a call and after it belong to its story. */
const AROUND_MS = 5 * 60_000;

/** Looks through the whole journal for the calls with a nonce, a request id or a transaction id. */
export async function findCalls(file: string, wanted: string): Promise<Search> {
  const needle = Buffer.from(JSON.stringify(wanted));
  const calls: FoundLine[] = [];
  let [files, lines] = [0, 0];
  let from: string | undefined;
  let to: string | undefined;
  for await (const each of journalFiles(file)) {
    files += 1;
    for await (const { bytes, number } of each.lines()) {
      lines += 1;
      to = timeOf(bytes) ?? to;
      from ??= to;
      if (!bytes.includes(needle)) continue;
      const line = readLine(bytes.toString());
      if (line?.kind !== 'call' || !isAbout(line, wanted) || calls.length === MOST_CALLS) continue;
      calls.push({ line, place: `${each.name}:${number}` });
    }
  }
  return { calls, files, lines, from, to };
}

/** Looks for what belongs to the story of a call that was found. */
export async function findAround(file: string, { line: call }: FoundLine): Promise<Around> {
  const arrived = Date.parse(call.at);
  const ended = arrived + numberOf(call.totalMs);
  const turn = arrived + numberOf(call.waitMs);
  const from = new Date(arrived - AROUND_MS).toISOString();
  const to = new Date(ended + AROUND_MS).toISOString();
  const events: FoundLine[] = [];
  const questions: FoundLine[] = [];
  let before = 0;
  for await (const each of journalFiles(file)) {
    for await (const { bytes, number } of each.lines()) {
      const at = timeOf(bytes);
      if (at === undefined || at < from || at > to) continue;
      const line = readLine(bytes.toString());
      if (line === undefined || line.seq === call.seq) continue;
      const found = { line, place: `${each.name}:${number}` };
      if (line.kind !== 'call') {
        if (concerns(line, call) && events.length < MOST_EVENTS) events.push(found);
        continue;
      }
      const left = Date.parse(line.at) + numberOf(line.waitMs);
      if (line.nonce !== undefined && left >= arrived && left < turn) before += 1;
      if (line.requestId === call.requestId && line.client === 'proxy' && questions.length < MOST_EVENTS)
        questions.push(found);
    }
  }
  return { events, questions, before };
}

/** The time of a line without reading the rest of it. */
function timeOf(bytes: Buffer): string | undefined {
  const head = bytes.toString('latin1', 0, 64);
  return /^\{"seq":\d+,"at":"([^"]{20,30})"/.exec(head)?.[1];
}

function isAbout({ requestId, nonce, sends, txids }: JournalLine, wanted: string): boolean {
  if (requestId === wanted || nonce === wanted) return true;
  if (Array.isArray(txids) && txids.includes(wanted)) return true;
  return Array.isArray(sends) && (sends as { nonce?: unknown }[]).some((send) => send.nonce === wanted);
}

/** Whether an event is about the call's account or client, or about everything. */
function concerns({ target, detail }: JournalLine, { account, client }: JournalLine): boolean {
  const about = typeof detail === 'object' && detail !== null ? (detail as Record<string, unknown>) : {};
  const named = [about.account, about.client].filter((name) => name !== undefined && name !== null);
  if (typeof target !== 'string')
    return named.length === 0 || named.some((name) => name === account || name === client);
  // As acts name them: `everything`, `account alice`, `client grid-bot, account alice`.
  return target
    .split(', ')
    .every(
      (part) =>
        part === 'everything' || part === `account ${String(account)}` || part === `client ${String(client)}`,
    );
}

function numberOf(value: unknown): number {
  return typeof value === 'number' ? value : 0;
}
