import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import { UsageError } from './terminal.js';

/** The user that this process acts as (geteuid(2)); undefined where there is no such thing. */
export type Uid = () => number | undefined;

/**
 * Throws UsageError when this process is another user than the state's: what it leaves there the service could not
 * read, and would not start again. Touches nothing.
 */
export function refuseStranger(file: string, uid?: Uid): void {
  const refusal = strangerTo(file, uid);
  if (refusal !== undefined) throw refusal;
}

/** Why this process must not own the state; undefined when it may. */
export function strangerTo(file: string, uid: Uid = () => process.geteuid?.()): UsageError | undefined {
  const own = uid();
  const owner = ownerOf(file);
  if (own === undefined || owner === undefined || own === owner) return undefined;
  return new UsageError(
    `the state belongs to uid ${owner}: run this as that user (sudo -u '#${owner}' …), or ask the running proxy ` +
      'through its page',
  );
}

/** Of the state's file; without one, of the folder it will be in. Undefined when neither says whose it is. */
function ownerOf(file: string): number | undefined {
  const owner = uidOf(file);
  if (owner !== undefined) return owner;
  const folder = uidOf(dirname(file));
  // Volumes are often root's and shared with the service by their group.
  return folder === 0 ? undefined : folder;
}

function uidOf(path: string): number | undefined {
  try {
    return statSync(path).uid;
  } catch {
    return undefined; // not there, or not for us to see
  }
}
