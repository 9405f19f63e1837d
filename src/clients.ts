import { ProxyError } from './errors.js';
import type { Account } from './kraken/account.js';

/** How a request says who calls and for which account. */
export interface Credentials {
  readonly apiKey: string | undefined;
  /** The value of `Authorization`, whole. */
  readonly authorization: string | undefined;
  /** The account named by the path prefix `/accounts/<name>`. */
  readonly pathAccount: string | undefined;
}

export interface Caller {
  /** The client's bounded name for log and metrics. */
  readonly client: string;
  readonly account: Account;
}

/** Without client keys every caller is a program on this machine. */
const LOCAL_CLIENT = 'local';

/** Says who calls (DESIGN 4): API-Key, then bearer, then path, then the default account. */
export class Clients {
  readonly #byName: ReadonlyMap<string, Account>;
  readonly #byKey: ReadonlyMap<string, Account>;
  readonly #defaultAccount: Account | undefined;

  constructor(accounts: readonly Account[], defaultAccount: string | undefined) {
    this.#byName = new Map(accounts.map((account) => [account.name, account]));
    this.#byKey = new Map(accounts.map((account) => [account.key, account]));
    this.#defaultAccount = defaultAccount === undefined ? undefined : this.#byName.get(defaultAccount);
  }

  /**
   * Throws ProxyError `invalid-key` for a key or account nobody knows: a wrong key is never served from the
   * default account. `permission-denied` when key and path name different accounts: in doubt, no.
   */
  identify({ apiKey, authorization, pathAccount }: Credentials): Caller {
    const key = apiKey ?? bearerOf(authorization);
    const byKey = key === undefined ? undefined : this.#byKey.get(key);
    if (key !== undefined && byKey === undefined)
      throw new ProxyError('invalid-key', 'no account has this key');
    const byPath = pathAccount === undefined ? undefined : this.#byName.get(pathAccount);
    if (pathAccount !== undefined && byPath === undefined) {
      throw new ProxyError('invalid-key', 'no account has the name in the path');
    }
    if (byKey !== undefined && byPath !== undefined && byKey !== byPath) {
      throw new ProxyError('permission-denied', `the key is ${byKey.name}'s, the path names ${byPath.name}`);
    }
    const account = byKey ?? byPath ?? this.#defaultAccount;
    if (account === undefined) {
      throw new ProxyError('invalid-key', 'the call names no account and there is no defaultAccount');
    }
    return { client: LOCAL_CLIENT, account };
  }
}

function bearerOf(authorization: string | undefined): string | undefined {
  if (authorization === undefined) return undefined;
  const [, token] = /^Bearer +(\S+) *$/i.exec(authorization) ?? [];
  if (token === undefined) throw new ProxyError('invalid-key', 'Authorization is not "Bearer <key>"');
  return token;
}
