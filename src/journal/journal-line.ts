import { hash } from 'node:crypto';
import type { CallRecord } from '../log.js';

/** What the journal takes from the record of a call. Of the body it takes the digest only. */
export type JournaledCall = Pick<
  CallRecord,
  | 'requestId'
  | 'arrivedAt'
  | 'client'
  | 'account'
  | 'endpoint'
  | 'body'
  | 'sends'
  | 'waitMs'
  | 'upstreamMs'
  | 'totalMs'
  | 'outcome'
  | 'status'
  | 'krakenError'
  | 'ownError'
  | 'rule'
  | 'reason'
  | 'settled'
  | 'isReplayed'
  | 'isMerged'
  | 'hungUp'
  | 'txids'
> & {
  /** Fingerprint of the key that signed it. */
  readonly key?: string | undefined;
};

/** What an operator did, or was refused. */
export interface ActRecord {
  /** As in its path: `pause`, `startup-window/close`. */
  readonly act: string;
  readonly who: string;
  readonly why: string;
  /** Where the operator called from. */
  readonly address: string | undefined;
  /** The account or client it was about; everything without it. */
  readonly target?: string;
  readonly detail?: Readonly<Record<string, unknown>>;
  /** `refused`: nothing was done. `failed`: it went wrong; see the log. */
  readonly result: 'done' | 'refused' | 'failed';
}

/**
 * What a line tells: `begin` the first line of a file or of a run of the process, `call`, `act`, `note` what the proxy
 * noticed, `lost` that lines before it were lost, `end` a clean stop.
 */
export type LineKind = 'begin' | 'call' | 'act' | 'note' | 'lost' | 'end';

/** A line as read; what else it holds is by its kind, and to be looked at with care. */
export interface JournalLine extends Readonly<Record<string, unknown>> {
  readonly seq: number;
  /** ISO time: when a call arrived, when anything else happened. Calls stand in the order of their ends. */
  readonly at: string;
  readonly kind: LineKind;
  /** SHA-256 of the whole line before without its newline, hex; zeros in the very first line. */
  readonly prev: string;
}

/** A line in the chain. */
export interface Link {
  readonly seq: number;
  /** SHA-256 of the whole line, hex. */
  readonly hash: string;
}

/** What stands before the very first line. */
export const NOTHING: Link = { seq: 0, hash: '0'.repeat(64) };
/** No line is longer: a reader need not look further for its end. */
export const MAX_LINE_BYTES = 128 * 1024;

/** Texts from outside have at most so many characters. */
const MAX_TEXT = 512;
/** What an act or a note tells beside its own words has at most so many characters. */
const MAX_DETAIL = 8_192;
/** Kraken takes 15 orders a batch; nothing makes so many tries. */
const MAX_LIST = 1_000;

const KINDS: ReadonlySet<unknown> = new Set<LineKind>(['begin', 'call', 'act', 'note', 'lost', 'end']);

/** The whole line, without newline. `content`: its members as JSON text, without braces; may be empty. */
export function formLine(seq: number, at: string, kind: LineKind, content: string, prev: string): string {
  const members = content === '' ? '' : `,${content}`;
  return `{"seq":${seq},"at":"${at}","kind":"${kind}"${members},"prev":"${prev}"}`;
}

/** Hex SHA-256; far quicker than a hash object for texts as short as lines. */
export function digest(data: string | Buffer): string {
  return hash('sha256', data, 'hex');
}

/** What a call's line says, as JSON members. What is absent is left out. */
export function callContent(call: JournaledCall): string {
  const { body, sends, txids } = call;
  let text = `"requestId":${quoted(call.requestId)},"client":${quoted(call.client)},"account":${quoted(call.account)}`;
  if (call.key !== undefined) text += `,"key":${quoted(call.key)}`;
  text += `,"endpoint":${quoted(call.endpoint)}`;
  if (body !== undefined) text += `,"bodySha256":"${digest(body)}"`;
  const last = sends[sends.length - 1];
  if (last !== undefined) text += `,"draw":${last.draw},"nonce":"${last.nonce}"`;
  // Every nonce that was drawn is on record: who checks the order must miss none.
  if (sends.length > 1) text += `,"sends":${JSON.stringify(sends.slice(-MAX_LIST))}`;
  text += ms('waitMs', call.waitMs) + ms('upstreamMs', call.upstreamMs) + ms('totalMs', call.totalMs);
  text += `,"outcome":"${call.outcome}"`;
  if (call.status !== undefined) text += `,"status":${call.status}`;
  if (call.krakenError !== undefined) text += `,"krakenError":${quoted(call.krakenError)}`;
  if (call.ownError !== undefined) text += `,"error":"${call.ownError}"`;
  if (call.rule !== undefined) text += `,"rule":${quoted(call.rule)}`;
  if (call.reason !== undefined) text += `,"reason":${quoted(call.reason)}`;
  if (call.settled !== undefined) text += `,"settled":"${call.settled}"`;
  if (call.isReplayed) text += ',"replayed":true';
  if (call.isMerged) text += ',"merged":true';
  if (call.hungUp) text += ',"hungUp":true';
  if (txids.length > 0) text += `,"txids":[${txids.slice(0, MAX_LIST).map(shortQuoted).join(',')}]`;
  return text;
}

/** What the line of an act says, as JSON members. */
export function actContent({ act, who, why, address, target, detail, result }: ActRecord): string {
  const words = { act, who, why, address, target, result };
  return bounded({ ...mapValues(words, cut), ...(detail === undefined ? {} : { detail }) });
}

/** What the line of a note says, as JSON members. */
export function noteContent(what: string, detail: Readonly<Record<string, unknown>>): string {
  return bounded({ what: cut(what), ...(Object.keys(detail).length === 0 ? {} : { detail }) });
}

/** Any members as JSON text, without braces. */
export function contentOf(members: Readonly<Record<string, unknown>>): string {
  return JSON.stringify(members, plain).slice(1, -1);
}

/** Reads a whole line. Undefined when it does not have the form of one. */
export function readLine(text: string): JournalLine | undefined {
  let line: Record<string, unknown>;
  try {
    line = JSON.parse(text) as Record<string, unknown>;
  } catch {
    return undefined;
  }
  if (typeof line !== 'object' || (line as unknown) === null) return undefined;
  const { seq, at, kind, prev } = line;
  const isWhole =
    Number.isSafeInteger(seq) &&
    (seq as number) > 0 &&
    typeof at === 'string' &&
    !Number.isNaN(Date.parse(at)) &&
    KINDS.has(kind) &&
    typeof prev === 'string' &&
    // The order of the members is part of the form: nothing follows `prev`, and nothing precedes `seq`.
    text.startsWith(`{"seq":${String(seq)},"at":"`) &&
    text.endsWith(`,"prev":"${prev}"}`) &&
    /^[0-9a-f]{64}$/.test(prev);
  return isWhole ? (line as JournalLine) : undefined;
}

function quoted(text: string): string {
  return JSON.stringify(text.length > MAX_TEXT ? cut(text) : text);
}

/** Transaction ids are short. */
function shortQuoted(text: string): string {
  return JSON.stringify(text.slice(0, 64));
}

function cut(text: string): string;
function cut(text: string | undefined): string | undefined;
function cut(text: string | undefined): string | undefined {
  return text !== undefined && text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text;
}

function ms(name: string, value: number | undefined): string {
  return value === undefined || !Number.isFinite(value)
    ? ''
    : `,"${name}":${Math.round(value * 1_000) / 1_000}`;
}

/** The members, without the detail where that is too long or cannot be told in JSON. */
function bounded(members: Readonly<Record<string, unknown>>): string {
  try {
    const text = contentOf(members);
    if (text.length <= MAX_DETAIL) return text;
  } catch {
    // A detail that refers to itself, or whose toJSON throws.
  }
  return contentOf({ ...members, detail: 'left out: too long, or not to be told in JSON' });
}

function plain(_: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value;
}

function mapValues(
  members: Readonly<Record<string, string | undefined>>,
  change: (value: string | undefined) => string | undefined,
): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(members).map(([name, value]) => [name, change(value)]));
}
