import { ENDPOINT_GROUPS, PRIVATE_ENDPOINTS } from '../kraken/endpoints.js';
import type { Rules } from '../policy/policy.js';
import { Secret } from '../secret.js';
import type { AccountConfig } from './accounts.js';
import { isLoopback, parseSource, type Source } from './addresses.js';
import type { ClientEntry } from './client-schema.js';
import { closestName, nameText, pathText, valueText } from './mistakes.js';
import { isBase64, isKeyText, isObject, KEY_TEXT, type References } from './references.js';

/** A program that may call, how it proves who it is, and what it may do. */
export interface ClientConfig {
  readonly name: string;
  readonly key: string;
  /** Base64. */
  readonly secret: Secret | undefined;
  /** Attributes its certificate's subject must have. */
  readonly certSubject: Readonly<Record<string, string>> | undefined;
  /** Names; the first that fits is taken when a call names none. */
  readonly accounts: readonly string[];
  readonly rules: Rules;
  readonly nonceWindow: bigint | 'off';
  readonly sources: readonly Source[] | undefined;
  /** Wall clock, ms since 1970. */
  readonly expires: number | undefined;
}

/** What the clients are checked against. */
export interface ClientsContext {
  readonly accounts: readonly AccountConfig[];
  /** Every account named in the config, readable or not. */
  readonly accountNames: readonly string[];
  readonly listenHost: string;
  readonly hasClientCa: boolean;
}

/** Labels that logs and metrics give to callers and calls that are no client of the config. */
const RESERVED = new Set(['local', 'owner', 'public', 'proxy', 'unknown', 'none']);
const MONEY = ['withdraw', 'transfer', 'subaccount', 'earn', 'otc', 'pay'];

/**
 * Reads the clients and what their references lead to. Shapes are the schema's matter: only what has the right
 * shape comes here.
 */
export function readClients(
  entries: Readonly<Record<string, unknown>>,
  shapes: Readonly<Record<string, ClientEntry>> | undefined,
  references: References,
  context: ClientsContext,
): ClientConfig[] {
  const reader = new ClientReader(references, context);
  return Object.entries(entries)
    .map(([name, raw]) => reader.client(name, isObject(raw) ? raw : {}, shapes?.[name]))
    .filter((client) => client !== undefined);
}

class ClientReader {
  readonly #references: References;
  readonly #context: ClientsContext;
  readonly #ownerOf: Map<string, string>;
  readonly #bySubject = new Map<string, string>();

  constructor(references: References, context: ClientsContext) {
    this.#references = references;
    this.#context = context;
    this.#ownerOf = new Map(context.accounts.map(({ name, key }) => [key, pathText(['accounts', name])]));
  }

  client(
    name: string,
    raw: Record<string, unknown>,
    entry: ClientEntry | undefined,
  ): ClientConfig | undefined {
    const at = ['clients', name];
    if (RESERVED.has(name))
      this.#mistake(at, `the name ${nameText(name)}`, 'a name the proxy does not use itself');
    const key = this.#key(raw.key, [...at, 'key']);
    const secret = raw.secret === undefined ? undefined : this.#secret(raw.secret, [...at, 'secret']);
    if (entry === undefined) return undefined;
    this.#checkAccounts(entry.accounts, [...at, 'accounts']);
    this.#checkSubject(entry.certSubject, [...at, 'certSubject']);
    for (const list of ['allow', 'deny'] as const) this.#checkNames(entry[list] ?? [], [...at, list]);
    this.#warn(at, entry);
    if (key === undefined) return undefined;
    return {
      name,
      key,
      secret: secret === undefined ? undefined : new Secret(secret),
      certSubject: entry.certSubject,
      accounts: entry.accounts,
      rules: rulesOf(entry),
      nonceWindow: entry.nonceWindow === 'off' ? 'off' : BigInt(entry.nonceWindow),
      sources: entry.sources?.map(parseSource).filter((source) => source !== undefined),
      expires: entry.expires === undefined ? undefined : Date.parse(entry.expires),
    };
  }

  #key(raw: unknown, at: readonly string[]): string | undefined {
    // No Kraken key: as a name for the client it may stand in the file.
    const key = this.#references.value(raw, at, { literal: true });
    if (key === undefined) return undefined;
    const owner = this.#ownerOf.get(key);
    if (!isKeyText(key)) {
      this.#mistake(at, 'text that cannot be a key', KEY_TEXT);
    } else if (owner !== undefined) {
      this.#mistake(at, `the same key as ${owner}`, 'a key of its own: API-Key tells callers apart');
    } else {
      this.#ownerOf.set(key, pathText(at.slice(0, 2)));
    }
    return key;
  }

  #secret(raw: unknown, at: readonly string[]): string | undefined {
    const secret = this.#references.value(raw, at);
    if (secret === undefined) return undefined;
    const account = this.#context.accounts.find((candidate) => candidate.secret.reveal() === secret);
    if (!isBase64(secret)) {
      this.#mistake(at, 'text that is not base64', 'a secret in base64; "client new" makes one');
    } else if (account !== undefined) {
      const found = `the secret of ${pathText(['accounts', account.name])}`;
      this.#mistake(at, found, "a secret of the client's own, which opens nothing at Kraken");
    } else if (Buffer.from(secret, 'base64').length < 16) {
      const weak = 'a secret shorter than 16 bytes can be guessed; "client new" makes one of 64';
      this.#references.warnings.push(`${pathText(at)}: ${weak}`);
    }
    return secret;
  }

  #checkAccounts(names: readonly string[], at: readonly string[]): void {
    const { accountNames } = this.#context;
    for (const [index, name] of names.entries()) {
      if (accountNames.includes(name)) continue;
      const known = accountNames.map(nameText).join(', ');
      this.#mistake([...at, String(index)], valueText(name), `one of the accounts: ${known}`);
    }
  }

  #checkSubject(subject: ClientEntry['certSubject'], at: readonly string[]): void {
    if (subject === undefined) return;
    if (!this.#context.hasClientCa)
      this.#mistake(at, 'an object', 'nothing, or listen.tls.clientCaFile beside it');
    const text = JSON.stringify(Object.entries(subject).sort());
    const owner = this.#bySubject.get(text);
    if (owner !== undefined) this.#mistake(at, `the same subject as ${owner}`, 'a subject of its own');
    this.#bySubject.set(text, pathText(at.slice(0, 2)));
  }

  /** Endpoints the proxy does not know may be named: Kraken adds some. What is surely a slip may not. */
  #checkNames(names: readonly string[], at: readonly string[]): void {
    for (const [index, name] of names.entries()) {
      if (KNOWN_NAMES.has(name)) continue;
      const place = [...at, String(index)];
      const meant = closestName(name, [...KNOWN_NAMES]);
      const isSlip = /^[a-z]/.test(name) || meant?.toLowerCase() === name.toLowerCase();
      if (isSlip) {
        this.#mistake(
          place,
          valueText(name),
          meant ?? `a group (${ENDPOINT_GROUPS.join(', ')}) or an endpoint`,
        );
      } else {
        const hint = meant === undefined ? '' : `; did you mean ${meant}?`;
        this.#references.warnings.push(
          `${pathText(place)}: ${valueText(name)} is no endpoint the proxy knows${hint}`,
        );
      }
    }
  }

  #warn(at: readonly string[], entry: ClientEntry): void {
    const warn = (text: string): void => void this.#references.warnings.push(`${pathText(at)}: ${text}`);
    const named = entry.allow ?? [];
    const money = MONEY.filter((group) => named.includes(group));
    if (money.length > 0) warn(`may move money out (${money.join(', ')})`);
    const token = named.includes('websocket') || named.includes('GetWebSocketsToken');
    if (token && entry.orders !== undefined)
      warn('a WebSocket token lets it trade past the limits of orders');
    else if (token && !named.some((name) => name === 'trade' || name === 'AddOrder'))
      warn('a WebSocket token lets it trade, although trade is not allowed');
    if (
      entry.secret === undefined &&
      entry.certSubject === undefined &&
      !isLoopback(this.#context.listenHost)
    )
      warn('has neither secret nor certSubject: served on loopback only');
    if (entry.nonceWindow !== 'off' && entry.secret === undefined)
      warn('nonceWindow does nothing without a secret: the nonce is not signed');
    if (entry.expires !== undefined && Date.parse(entry.expires) < Date.now())
      warn(`expired at ${entry.expires}: its calls are refused`);
  }

  #mistake(at: readonly string[], found: string, expected: string): void {
    this.#references.mistake(at, found, expected);
  }
}

const KNOWN_NAMES: ReadonlySet<string> = new Set([
  ...ENDPOINT_GROUPS,
  ...PRIVATE_ENDPOINTS.map(({ name }) => name),
]);

function rulesOf({ allow, deny, orders, report }: ClientEntry): Rules {
  return {
    allow,
    deny: deny ?? [],
    orders: orders === undefined ? undefined : { ...UNLIMITED, ...orders },
    report: report ?? [],
  };
}

const UNLIMITED = {
  pairs: undefined,
  sides: undefined,
  types: undefined,
  maxVolume: undefined,
  maxNotional: undefined,
  maxNotionalPerDay: undefined,
  maxOpenOrders: undefined,
};
