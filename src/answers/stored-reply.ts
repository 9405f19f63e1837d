import { isUtf8 } from 'node:buffer';

/** An answer as a client got it and may get it again. */
export interface StoredReply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Not to be written into: others may hold it. */
  readonly body: Buffer;
}

/** Larger bodies are not kept. */
const MAX_BODY_BYTES = 256 * 1024;

/** The reply as JSON, its body as text where that is exact, else in base64; undefined when it is too large to be kept. */
export function encodeReply({ status, headers, body }: StoredReply): string | undefined {
  if (body.length > MAX_BODY_BYTES) return undefined;
  const content = isUtf8(body) ? { text: body.toString() } : { base64: body.toString('base64') };
  return JSON.stringify({ status, headers, ...content });
}

export function decodeReply(json: string): StoredReply {
  const { status, headers, text, base64 } = JSON.parse(json) as EncodedReply;
  return {
    status,
    headers,
    body: text === undefined ? Buffer.from(base64 ?? '', 'base64') : Buffer.from(text),
  };
}

interface EncodedReply {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly text?: string;
  readonly base64?: string;
}

/** Whether this is what `encodeReply` made, parsed. */
export function isEncodedReply(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const { status, headers, text, base64 } = value as Record<string, unknown>;
  if (!Number.isSafeInteger(status) || typeof headers !== 'object' || headers === null) return false;
  if (!Object.values(headers).every((header) => typeof header === 'string')) return false;
  return typeof (text ?? base64) === 'string';
}
