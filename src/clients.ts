import { timingSafeEqual } from 'node:crypto';
import { BlockList, isIPv4, isIPv6 } from 'node:net';
import { ProxyError } from './errors.js';
import type { Account } from './kraken/account.js';
import type { Signer } from './kraken/signature.js';
import type { Rules } from './policy/policy.js';
import { ReplayGuard } from './replay-guard.js';

/** How a request says who calls and for which account. */
export interface Credentials {
  readonly apiKey: string | undefined;
  readonly apiSign: string | undefined;
  /** The value of `Authorization`, whole. */
  readonly authorization: string | undefined;
  /** The account named by the path prefix `/accounts/<name>`. */
  readonly pathAccount: string | undefined;
  /** Where the connection comes from. */
  readonly address: string | undefined;
  /** The subject of the certificate that the connection was proven to hold. */
  readonly certificate: (() => Readonly<Record<string, string>> | undefined) | undefined;
}

/** What a client signed. */
export interface SignedCall {
  readonly apiSign: string | undefined;
  readonly pathAccount: string | undefined;
  /** `/0/private/<Name>` with its query. */
  readonly path: string;
}

/** Who calls, for which account, under which rules. */
export interface Caller {
  /** The client's bounded name for log and metrics. */
  readonly client: string;
  readonly account: Account;
  readonly rules: Rules;
  /**
   * Checks the caller's own signature, where it must have one, over the body as it came and with the nonce it wrote.
   * Throws ProxyError `invalid-signature`.
   */
  verify(call: SignedCall, body: Buffer, nonce: () => string | undefined): void;
}

/** A program that may call. What it names (secret, certSubject, sources, expires) has to hold, all of it. */
export interface Client {
  readonly name: string;
  readonly key: string;
  /** Made from the client's own secret. */
  readonly signer: Signer | undefined;
  readonly certSubject: Readonly<Record<string, string>> | undefined;
  /** Names. A call that names none is for the only one, or for `defaultAccount` if it is among them. */
  readonly accounts: readonly string[];
  readonly rules: Rules;
  readonly nonceWindow: bigint | 'off';
  readonly sources:
    | readonly { readonly address: string; readonly prefix: number; readonly family: 'ipv4' | 'ipv6' }[]
    | undefined;
  /** Wall clock, ms. */
  readonly expires: number | undefined;
}

/** Who may call. */
export interface Callers {
  readonly accounts: readonly Account[];
  readonly defaultAccount: string | undefined;
  /** Undefined: every caller is a program on this machine and may use any account. */
  readonly clients: readonly Client[] | undefined;
  /** For a caller that no client names. */
  readonly otherwise: Rules;
}

export interface ClientsParts extends Callers {
  /** Wall clock, ms. */
  readonly now?: () => number;
}

/** Without client keys every caller is a program on this machine. */
const LOCAL_CLIENT = 'local';
/** A caller that signs with an account's own secret. */
const OWNER = 'owner';

interface KnownClient extends Client {
  readonly replays: ReplayGuard | undefined;
  readonly comesFrom: (address: string | undefined) => boolean;
}

/** Says who calls (DESIGN 4): API-Key, then bearer, then certificate; then for which account. */
export class Clients {
  #accounts: ReadonlyMap<string, Account> = new Map();
  #accountByKey: ReadonlyMap<string, Account> = new Map();
  #defaultAccount: Account | undefined;
  #clients: ReadonlyMap<string, KnownClient> | undefined;
  #certified: readonly KnownClient[] = [];
  #otherwise: Rules;
  #generation = 0;
  readonly #now: () => number;

  constructor({ now = Date.now, ...callers }: ClientsParts) {
    this.#otherwise = callers.otherwise;
    this.#now = now;
    this.replace(callers);
  }

  /** From here on these may call. A client that is still there keeps the memory of the nonces it has used. */
  replace({ accounts, defaultAccount, clients, otherwise }: Callers): void {
    const former = this.#clients;
    this.#generation++;
    this.#accounts = new Map(accounts.map((account) => [account.name, account]));
    this.#accountByKey = new Map(accounts.map((account) => [account.key, account]));
    this.#defaultAccount = defaultAccount === undefined ? undefined : this.#accounts.get(defaultAccount);
    this.#clients =
      clients && new Map(clients.map((client) => [client.key, known(client, former?.get(client.key))]));
    this.#certified = [...(this.#clients?.values() ?? [])].filter(
      ({ certSubject }) => certSubject !== undefined,
    );
    this.#otherwise = otherwise;
  }

  /** Rises with every `replace`. */
  get generation(): number {
    return this.#generation;
  }

  /**
   * Who claims to call; whether it is true, `verify` of the caller tells. Throws ProxyError `invalid-key` for a key,
   * account or certificate that is not known: a wrong key is never served from the default account.
   * `permission-denied` when what is named does not go together: in doubt, no.
   */
  identify(credentials: Credentials): Caller {
    const { apiKey, authorization } = credentials;
    const key = apiKey ?? (authorization === undefined ? undefined : bearerOf(authorization));
    if (this.#clients === undefined) return this.#local(key, credentials);
    const client = this.#clientOf(this.#clients, key, credentials);
    if (client === undefined) return this.#owner(key, credentials);
    this.#admit(client, credentials);
    const account = this.#accountOf(client, credentials.pathAccount);
    const verify: Caller['verify'] = (call, body, nonce) => {
      if (client.signer === undefined) return;
      const signed = verifySignature(client.signer, call, body, nonce());
      if (client.replays?.accept(signed) === false)
        throw new ProxyError(
          'invalid-signature',
          `the nonce of ${client.name} is not fresh: used before, or too far below its highest`,
        );
    };
    return { client: client.name, account, rules: client.rules, verify };
  }

  #local(key: string | undefined, { pathAccount }: Credentials): Caller {
    const byKey = key === undefined ? undefined : this.#accountByKey.get(key);
    if (key !== undefined && byKey === undefined) throw unknownKey('no account has this key');
    const account = this.#fitting(byKey, pathAccount) ?? this.#defaultAccount;
    if (account === undefined) throw unknownKey('the call names no account and there is no defaultAccount');
    return { client: LOCAL_CLIENT, account, rules: this.#otherwise, verify: () => undefined };
  }

  /** Whoever signs with an account's own secret holds it: the key is as good here as at Kraken. */
  #owner(key: string | undefined, { pathAccount }: Credentials): Caller {
    if (key === undefined) throw unknownKey('the call carries no key and no certificate that a client has');
    const byKey = this.#accountByKey.get(key);
    if (byKey === undefined) throw unknownKey('no client and no account has this key');
    const account = this.#fitting(byKey, pathAccount) ?? byKey;
    return {
      client: OWNER,
      account,
      rules: this.#otherwise,
      verify: (call, body, nonce) => void verifySignature(account.signer, call, body, nonce()),
    };
  }

  #fitting(byKey: Account | undefined, pathAccount: string | undefined): Account | undefined {
    if (pathAccount === undefined) return byKey;
    const byPath = this.#accounts.get(pathAccount);
    if (byPath === undefined) throw unknownKey('no account has the name in the path');
    if (byKey !== undefined && byKey !== byPath)
      throw denied(`the key is ${byKey.name}'s, the path names ${byPath.name}`);
    return byPath;
  }

  /** The client that key and certificate name; undefined when neither names one. */
  #clientOf(
    clients: ReadonlyMap<string, KnownClient>,
    key: string | undefined,
    { certificate }: Credentials,
  ): KnownClient | undefined {
    const byKey = key === undefined ? undefined : clients.get(key);
    const subject = this.#certified.length === 0 ? undefined : certificate?.();
    const bearers =
      subject === undefined ? [] : this.#certified.filter(({ certSubject }) => fits(subject, certSubject));
    if (byKey?.certSubject !== undefined && !bearers.includes(byKey))
      throw unknownKey(`${byKey.name} must show its certificate`);
    if (key === undefined) {
      if (bearers.length > 1) throw denied('the certificate is that of several clients');
      return bearers[0];
    }
    if (bearers.length > 0 && (byKey === undefined || !bearers.includes(byKey)))
      throw denied('the certificate is that of another client than the key');
    return byKey;
  }

  #admit(client: KnownClient, { address }: Credentials): void {
    if (client.expires !== undefined && this.#now() >= client.expires)
      throw unknownKey(`the credentials of ${client.name} have expired`);
    // Told like a key nobody has: whoever tries keys from elsewhere learns nothing, and is slowed down.
    if (!client.comesFrom(address)) throw unknownKey(`${client.name} may not call from this address`);
    if (client.signer === undefined && client.certSubject === undefined && !isLocal(address))
      throw unknownKey(`${client.name} has no secret: it is served on loopback only`);
  }

  #accountOf({ name, accounts }: Client, pathAccount: string | undefined): Account {
    const fallback = accounts.length === 1 ? accounts[0] : this.#defaultAccount?.name;
    const wanted = pathAccount ?? fallback;
    const account = wanted === undefined ? undefined : this.#accounts.get(wanted);
    if (account === undefined || !accounts.includes(account.name)) {
      const which =
        pathAccount === undefined ? 'must name an account in the path' : 'may not use that account';
      throw denied(`${name} ${which}`);
    }
    return account;
  }
}

/**
 * Gives the nonce that was signed. A library signs the path it knows, which may or may not have the prefix of its
 * base URL.
 */
function verifySignature(
  signer: Signer,
  { path, apiSign, pathAccount }: SignedCall,
  body: Buffer,
  nonce: string | undefined,
): string {
  if (apiSign === undefined) throw badSignature('API-Sign is missing');
  if (nonce === undefined) throw badSignature('the body has no nonce, or more than one');
  const matches = (signed: string): boolean => sameText(signer.sign(signed, nonce, body), apiSign);
  if (!matches(path) && (pathAccount === undefined || !matches(`/accounts/${pathAccount}${path}`)))
    throw badSignature('API-Sign does not fit the call');
  return nonce;
}

/** In constant time for texts of the same length; a signature's length is no secret. */
function sameText(one: string, other: string): boolean {
  const [a, b] = [Buffer.from(one, 'latin1'), Buffer.from(other, 'latin1')];
  return a.length === b.length && timingSafeEqual(a, b);
}

/** The guard goes on, also with another window: a reload must not make calls good again that were used. */
function known(client: Client, former: KnownClient | undefined): KnownClient {
  const { nonceWindow: window } = client;
  const guard = former?.name === client.name ? former.replays : undefined;
  return {
    ...client,
    replays: window === 'off' ? undefined : (guard?.with(window) ?? new ReplayGuard(window)),
    comesFrom: addressCheck(client.sources),
  };
}

function addressCheck(sources: Client['sources']): (address: string | undefined) => boolean {
  if (sources === undefined) return () => true;
  const list = new BlockList();
  for (const { address, prefix, family } of sources) list.addSubnet(address, prefix, family);
  return (address) => isIn(list, address);
}

const isLocal = addressCheck([
  { address: '127.0.0.0', prefix: 8, family: 'ipv4' },
  { address: '::1', prefix: 128, family: 'ipv6' },
]);

function isIn(list: BlockList, address: string | undefined): boolean {
  // How a socket on `::` shows a caller that came by IPv4.
  const bare = address?.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '');
  if (bare === undefined) return false;
  return (isIPv4(bare) && list.check(bare, 'ipv4')) || (isIPv6(bare) && list.check(bare, 'ipv6'));
}

function fits(
  subject: Readonly<Record<string, string>>,
  wanted: Readonly<Record<string, string>> | undefined,
): boolean {
  return Object.entries(wanted ?? {}).every(
    ([name, value]) => Object.hasOwn(subject, name) && subject[name] === value,
  );
}

function bearerOf(authorization: string): string {
  const [, token] = /^Bearer +(\S+) *$/i.exec(authorization) ?? [];
  if (token === undefined) throw unknownKey('Authorization is not "Bearer <key>"');
  return token;
}

function unknownKey(reason: string): ProxyError {
  return new ProxyError('invalid-key', reason);
}

function badSignature(reason: string): ProxyError {
  return new ProxyError('invalid-signature', reason);
}

function denied(reason: string): ProxyError {
  return new ProxyError('permission-denied', reason);
}
