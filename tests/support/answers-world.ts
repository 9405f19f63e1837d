import type { Begun, Intent, OpenRecord } from '../../src/answers/begun.js';
import type { CallId } from '../../src/answers/call-id.js';
import type { StoredReply } from '../../src/answers/stored-reply.js';

export const INTENT: Intent = { lookup: { cl_ord_id: 'mine' }, until: 1_800_000_060_000 };

/** A call under the key `k1` unless told otherwise. */
export function callId(changes: Partial<CallId> = {}): CallId {
  const call: CallId = {
    kind: 'key',
    client: 'bot',
    account: 'master',
    endpoint: 'AddOrder',
    id: 'k1',
    digest: 'd1',
  };
  return { ...call, ...changes };
}

export function replyOf(text: string): StoredReply {
  return { status: 200, headers: { 'content-type': 'application/json' }, body: Buffer.from(text) };
}

/** The record of a call that is new. */
export function newRecord(begun: Begun): OpenRecord {
  if (begun.state !== 'new') throw new Error(`it is ${begun.state}`);
  return begun.record;
}

/** The record and the intent of a call that is in doubt. */
export function doubtOf(begun: Begun): Extract<Begun, { state: 'in-doubt' }> {
  if (begun.state !== 'in-doubt') throw new Error(`it is ${begun.state}`);
  return begun;
}

/** The text of a reply that is replayed. */
export function replayed(begun: Begun): string {
  if (begun.state !== 'answered') throw new Error(`it is ${begun.state}`);
  return begun.reply.body.toString();
}

export function outcomeOf(begun: Begun): Promise<StoredReply | undefined> {
  if (begun.state !== 'under-way') throw new Error(`it is ${begun.state}`);
  return begun.outcome;
}

/** The first of these that is in that state. */
export function oneThatIs(state: Begun['state'], begun: readonly Begun[]): Begun {
  const found = begun.find((one) => one.state === state);
  if (found === undefined) throw new Error(`none of them is ${state}`);
  return found;
}
