import { writtenInTime } from '../durable-lines.js';
import type { ProxyError } from '../errors.js';
import type { Reservation } from './spending.js';

/** Waits until it is on disk, which takes no longer than a call's patience; then, or when it fails, the reason. */
export async function writeFailure({ written }: Reservation): Promise<ProxyError | undefined> {
  try {
    await writtenInTime(written, 'the ledger of the day');
    return undefined;
  } catch (error) {
    return error as ProxyError;
  }
}
