import { Clients, type Callers, type Client } from './clients.js';
import type { ClientConfig, Config } from './config.js';
import { isLoopback } from './config/addresses.js';
import { changesBetween } from './config/changes.js';
import { createAccount } from './kraken/account.js';
import { Accounts } from './kraken/accounts.js';
import { createSigner } from './kraken/signature.js';
import { UNNAMED_RULES } from './policy/unnamed-rules.js';

/** What came of a reload: dotted paths of options. */
export interface Reloaded {
  /** In force now. */
  readonly changed: readonly string[];
  /** In force after a restart. */
  readonly needsRestart: readonly string[];
}

/** The new config cannot be taken over by a process that runs; nothing has changed. */
export class ReloadError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'ReloadError';
  }
}

/** What a running process is bound to. */
const FIXED = ['file', 'listen', 'upstream', 'nonce', 'lanes', 'journal'] as const;

/**
 * The config that the process works by, and what is made of it for those who call. A reload puts another in its place, as a
 * whole and at once, but for what a running process is bound to.
 */
export class InForce {
  readonly accounts: Accounts;
  readonly clients: Clients;
  #config: Config;
  #waiting: readonly string[] = [];
  #loadedAt = Date.now();

  /** Throws Error for a secret that cannot sign. */
  constructor(config: Config) {
    this.#config = config;
    this.accounts = new Accounts(config.accounts.map(createAccount));
    this.clients = new Clients(callersOf(config, this.accounts.all));
  }

  get config(): Config {
    return this.#config;
  }

  /** The keys' fingerprints by account. */
  get keys(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.accounts.all.map(({ name, fingerprint }) => [name, fingerprint]));
  }

  /** Options of the config on disk that wait for a restart, as dotted paths. */
  get waiting(): readonly string[] {
    return this.#waiting;
  }

  /** Unix ms. */
  get loadedAt(): number {
    return this.#loadedAt;
  }

  /** The config as it would be in force. Throws ReloadError. */
  plan(next: Config): { readonly config: Config } & Reloaded {
    const former = this.#config;
    // Keys, clients and limits are for the place they were written for.
    if (former.upstream.url !== next.upstream.url)
      throw new ReloadError(
        'upstream.url is another: that needs a restart, and so does all that comes with it',
      );
    // The built-in stand-in for Kraken knows the keys it was started with.
    const areKeysBound = former.upstream.url === 'sandbox';
    const config: Config = {
      ...next,
      ...Object.fromEntries(FIXED.map((name) => [name, former[name]])),
      ops: { ...former.ops, token: next.ops.token },
      log: { ...former.log, level: next.log.level },
      accounts: areKeysBound ? withTiers(former.accounts, next.accounts) : next.accounts,
    };
    const all = changesBetween(comparable(former), comparable(next));
    const changed = changesBetween(comparable(former), comparable(config));
    const needsRestart = all.filter((path) => !changed.includes(path));
    if (config.clients === undefined && !isLoopback(config.listen.host))
      throw new ReloadError(
        'without "clients" the proxy serves loopback only: restart it with listen.host on loopback',
      );
    const account = config.defaultAccount;
    const names = new Set(config.accounts.map(({ name }) => name));
    const missing = [account, ...(config.clients ?? []).flatMap(({ accounts }) => accounts)].find(
      (name) => name !== undefined && !names.has(name),
    );
    if (missing !== undefined)
      throw new ReloadError(`account ${missing} is new: that needs a restart, and so does what names it`);
    return { config, changed, needsRestart };
  }

  /** Puts a planned config in force. Gives the fingerprints of keys that have another secret, or otp, now. */
  replace({ config, needsRestart }: { readonly config: Config } & Reloaded): readonly string[] {
    const former = new Set(this.accounts.all);
    // Whatever of it cannot be made throws here, before anything has changed.
    const accounts = config.accounts.map((account) => this.#unchanged(account) ?? createAccount(account));
    const callers = callersOf(config, accounts);
    this.accounts.replace(accounts);
    this.clients.replace(callers);
    this.#config = config;
    this.#waiting = needsRestart;
    this.#loadedAt = Date.now();
    return accounts.filter((account) => !former.has(account)).map(({ fingerprint }) => fingerprint);
  }

  /** What is under way knows an account by identity. */
  #unchanged(account: Config['accounts'][number]): ReturnType<typeof createAccount> | undefined {
    const former = this.#config.accounts.find(({ name }) => name === account.name);
    const changed = former === undefined ? ['name'] : changesBetween(former, account);
    return changed.some((option) => option !== 'tier') ? undefined : this.accounts.named(account.name);
  }
}

/** Without what no option says by itself. */
function comparable(config: Config): object {
  return { ...config, clients: config.clients ?? 'none', warnings: [] };
}

function withTiers(bound: Config['accounts'], next: Config['accounts']): Config['accounts'] {
  return bound.map((account) => ({
    ...account,
    tier: next.find(({ name }) => name === account.name)?.tier ?? account.tier,
  }));
}

function callersOf(config: Config, accounts: Callers['accounts']): Callers {
  return {
    accounts,
    defaultAccount: config.defaultAccount,
    clients: config.clients?.map(createClient),
    otherwise: UNNAMED_RULES,
  };
}

/** A client of the config, ready to check its signatures. */
function createClient({ secret, ...client }: ClientConfig): Client {
  return { ...client, signer: secret === undefined ? undefined : createSigner(secret.reveal()) };
}
