/** A call refused with one of Kraken's `E<category>:<text>` strings (KRAKEN.md 4). */
export class Refusal extends Error {
  readonly envelope: string;

  constructor(envelope: string) {
    super(envelope);
    this.name = 'Refusal';
    this.envelope = envelope;
  }
}

/** `EGeneral:Invalid arguments`, with the field behind a colon where there is one (KRAKEN.md 4). */
export function invalidArguments(field?: string): Refusal {
  return new Refusal(
    field === undefined ? 'EGeneral:Invalid arguments' : `EGeneral:Invalid arguments:${field}`,
  );
}

/** A result that is JSON text already (19-digit integers, cached data), with warnings to put beside it. */
export class JsonText {
  readonly text: string;
  readonly warnings: readonly string[];

  constructor(text: string, warnings: readonly string[] = []) {
    this.text = text;
    this.warnings = warnings;
  }
}

/** A result that is not JSON: the zip of RetrieveExport, sent as application/octet-stream (KRAKEN.md 2.2). */
export class BinaryResult {
  readonly bytes: Buffer;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }
}

/** What goes out for a call, before any fault spoils it. */
export interface Reply {
  readonly status: number;
  readonly contentType: string;
  /** Text where it can be: node:http sends it in one write with the headers. */
  readonly body: Buffer | string;
  /** The first E-string in it. */
  readonly error: string | undefined;
}

const JSON_TYPE = 'application/json; charset=utf-8';

/** Kraken refuses with HTTP 200 and an error array, always (KRAKEN.md 3.3). */
export function refusalReply(envelope: string): Reply {
  const body = `{"error":[${JSON.stringify(envelope)}]}`;
  const error = envelope.startsWith('W') ? undefined : envelope;
  return { status: 200, contentType: JSON_TYPE, body, error };
}

/**
 * The reply to an endpoint that threw: its refusal, or, for a bug of the sandbox's own, Kraken's
 * `EGeneral:Internal error[:detail]` with what went wrong, so that the call never hangs for it.
 */
export function thrownReply(error: unknown): Reply {
  if (error instanceof Refusal) return refusalReply(error.envelope);
  return refusalReply(`EGeneral:Internal error:${String(error)}`);
}

/** Kraken's success envelope around a result, warnings in the error array. */
export function resultReply(result: unknown): Reply {
  if (result instanceof BinaryResult) {
    return { status: 200, contentType: 'application/octet-stream', body: result.bytes, error: undefined };
  }
  const ready = result instanceof JsonText ? result : new JsonText(JSON.stringify(result));
  const warnings = ready.warnings.length === 0 ? '[]' : JSON.stringify(ready.warnings);
  const body = `{"error":${warnings},"result":${ready.text}}`;
  return { status: 200, contentType: JSON_TYPE, body, error: undefined };
}
