import { ProxyError } from '../errors.js';
import type { Reservation } from './spending.js';
import { doubtOf } from './verdict.js';

/** How long a call waits for the disk, as it does for its nonce. */
const WRITE_PATIENCE_MS = 5_000;

/** Waits until it is on disk, which takes no longer than the patience; then, or when it fails, the reason. */
export async function writeFailure({ written }: Reservation): Promise<ProxyError | undefined> {
  const retry = { retryAfterSeconds: 1 };
  let timer: NodeJS.Timeout | undefined;
  const patience = new Promise<ProxyError>((resolve) => {
    const late = `the ledger of the day was not written within ${WRITE_PATIENCE_MS} ms`;
    timer = setTimeout(() => resolve(new ProxyError('not-owner', late, retry)), WRITE_PATIENCE_MS);
  });
  try {
    return (await Promise.race([written, patience])) ?? undefined;
  } catch (cause) {
    const { message } = doubtOf('the ledger of the day cannot be written', cause);
    return new ProxyError('not-owner', message, { ...retry, cause });
  } finally {
    clearTimeout(timer);
  }
}
