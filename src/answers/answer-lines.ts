import { crc32 } from 'node:zlib';
import { isEncodedReply } from './stored-reply.js';

/** What became of a call so far; `json` is its intent, or the reply to be replayed. */
export type Fate =
  | { readonly state: 'in-doubt'; readonly json: string }
  | { readonly state: 'answered'; readonly json: string }
  /** The answer was too large to be kept. */
  | { readonly state: 'done' };

/** What one line of the file says of a call. */
export interface AnswerLine {
  /** Identity's `key` and `asked`. */
  readonly key: string;
  readonly asked: string | undefined;
  /** Wall clock, ms. */
  readonly at: number;
  /** Undefined: it is as if the call had never been. */
  readonly fate: Fate | undefined;
}

/** The file of answers is damaged; the message names file, line and repair. */
export class AnswersError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'AnswersError';
  }
}

/**
 * A line of JSON: `["<crc32 of the rest>",{"call":[…],"asked":[…],"at":…,"intent":{…}}]`, or instead of the intent
 * `"reply":{…}`, `"done":true` or `"forgotten":true`. Each says all there is to say of its call; the last one counts.
 * A reply that a disk has changed would be believed: hence the check sum.
 */
export function formatLine({ key, asked, at, fate }: AnswerLine): string {
  const said = asked === undefined ? '' : `,"asked":${asked}`;
  const json = `{"call":${key}${said},"at":${at},${formatFate(fate)}}`;
  return `["${sumOf(json)}",${json}]`;
}

function formatFate(fate: Fate | undefined): string {
  switch (fate?.state) {
    case 'in-doubt':
      return `"intent":${fate.json}`;
    case 'answered':
      return `"reply":${fate.json}`;
    case 'done':
      return '"done":true';
    case undefined:
      return '"forgotten":true';
  }
}

/** Undefined for anything but what `formatLine` makes. */
export function parseLine(line: string): AnswerLine | undefined {
  const json = line.slice(SUM_PREFIX, -1);
  if (line !== `["${sumOf(json)}",${json}]`) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return undefined;
  }
  const { call, asked, at, ...rest } = value as Record<string, unknown>;
  if (!isTexts(call) || !(asked === undefined || isTexts(asked))) return undefined;
  if (typeof at !== 'number' || !Number.isFinite(at)) return undefined;
  const saying = asked === undefined ? undefined : JSON.stringify(asked);
  const common = { key: JSON.stringify(call), asked: saying, at };
  if (isObject(rest.intent))
    return { ...common, fate: { state: 'in-doubt', json: JSON.stringify(rest.intent) } };
  if (isEncodedReply(rest.reply))
    return { ...common, fate: { state: 'answered', json: JSON.stringify(rest.reply) } };
  if (rest.done === true) return { ...common, fate: { state: 'done' } };
  return rest.forgotten === true ? { ...common, fate: undefined } : undefined;
}

/** Length of `["0123abcd",`. */
const SUM_PREFIX = 12;

function sumOf(json: string): string {
  return crc32(json).toString(16).padStart(8, '0');
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((text) => typeof text === 'string');
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null;
}

export function damagedAnswers(path: string, line: number): AnswersError {
  return new AnswersError(
    `${path} is not a file of known answers: line ${line} cannot be read. Nothing was changed. Repair: restore the ` +
      `file from a backup, or move the file away: calls of the last 24 hours that come again are then sent again.`,
  );
}
