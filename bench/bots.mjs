import { createHash } from 'node:crypto';

/** The account the proxy signs for; everything that signs itself has keys of its own. */
export const PROXY_ACCOUNT = 'master';

/**
 * Keys for clients that sign their calls themselves, one a client: calls of one key from several connections
 * would overtake each other and be refused for their nonces. They open nothing but the bench's own sandbox.
 * @param {number} count
 * @returns {{ account: string, key: string, secret: string }[]}
 */
export function botKeys(count) {
  return Array.from({ length: count }, (_, index) => {
    const account = `bot-${index}`;
    const secret = createHash('sha512').update(`bench ${account}, opens nothing`).digest('base64');
    return { account, key: `bench-${account}`, secret };
  });
}

/** The most clients at once in any part of the bench. */
export const MOST_CLIENTS = 50;

/** The call every part of the bench makes. */
export const CALL_PATH = '/0/private/Balance';
