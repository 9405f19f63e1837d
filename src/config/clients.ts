import type { Client } from '../clients.js';
import { ENDPOINT_GROUPS, endpointOf, PRIVATE_ENDPOINTS, type Endpoint } from '../kraken/endpoints.js';
import { decodeSecret } from '../kraken/signature.js';
import { deniesTrading, MONEY_STAYS } from '../policy/endpoint-rules.js';
import { rulesInForce, type Rules } from '../policy/policy.js';
import { Secret } from '../secret.js';
import type { AccountConfig } from './accounts.js';
import { isLoopback, parseSource } from './addresses.js';
import type { ClientEntry } from './client-schema.js';
import { closestName, nameText, pathText, valueText } from './mistakes.js';
import { isKeyText, isObject, KEY_TEXT, type References } from './references.js';

/** A program that may call, how it proves who it is, and what it may do. */
export interface ClientConfig extends Omit<Client, 'signer'> {
  /** Base64. */
  readonly secret: Secret | undefined;
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
export const RESERVED_NAMES: ReadonlySet<string> = new Set([
  'local',
  'owner',
  'public',
  'proxy',
  'unknown',
  'none',
]);

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
  readonly #bySecret = new Map<string, string>();

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
    if (RESERVED_NAMES.has(name))
      this.#mistake(at, `the name ${nameText(name)}`, 'a name the proxy does not use itself');
    const key = this.#key(raw.key, [...at, 'key']);
    const secret = raw.secret === undefined ? undefined : this.#secret(raw.secret, [...at, 'secret']);
    if (entry === undefined) return undefined;
    this.#checkAccounts(entry.accounts, [...at, 'accounts']);
    this.#checkSubject(entry.certSubject, [...at, 'certSubject']);
    for (const list of ['allow', 'deny'] as const) this.#checkNames(entry[list] ?? [], [...at, list]);
    this.#warnOfRules(at, entry);
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
    const owner = this.#bySecret.get(secret);
    const bytes = decodeSecret(secret)?.length;
    if (bytes === undefined) {
      this.#mistake(at, 'text that is not base64', 'a secret in base64; "client new" makes one');
    } else if (account !== undefined) {
      const found = `the secret of ${pathText(['accounts', account.name])}`;
      this.#mistake(at, found, "a secret of the client's own, which opens nothing at Kraken");
    } else if (owner !== undefined) {
      this.#mistake(at, `the same secret as ${owner}`, 'a secret of its own: who has it can call as both');
    } else if (bytes < 16) {
      const weak = 'a secret shorter than 16 bytes can be guessed; "client new" makes one of 64';
      this.#references.warnings.push(`${pathText(at)}: ${weak}`);
    }
    if (owner === undefined) this.#bySecret.set(secret, pathText(at.slice(0, 2)));
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

  /**
   * Endpoints the proxy does not know may be named: Kraken adds some. What is surely a slip may not, and in `deny`
   * neither what may be one: it would deny nothing.
   */
  #checkNames(names: readonly string[], at: readonly string[]): void {
    for (const [index, name] of names.entries()) {
      if (KNOWN_NAMES.has(name)) continue;
      const place = [...at, String(index)];
      const meant = closestName(name, [...KNOWN_NAMES]);
      const isSlip = /^[a-z]/.test(name) || meant?.toLowerCase() === name.toLowerCase();
      if (isSlip || (at.at(-1) === 'deny' && meant !== undefined)) {
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

  /** What the rules come to together may not be what was meant. */
  #warnOfRules(at: readonly string[], entry: ClientEntry): void {
    const warn = (text: string): void => void this.#references.warnings.push(`${pathText(at)}: ${text}`);
    const { opens, set, limitsOrders } = rulesInForce(rulesOf(entry));
    const named = entry.allow ?? [];
    const money = named.filter((name) => movers(name).some(opens));
    if (money.length > 0) warn(`may move money out (${money.join(', ')})`);
    if (opens(endpointOf('GetWebSocketsToken'))) {
      if (limitsOrders) warn('a WebSocket token lets it trade past the limits of orders');
      else if (deniesTrading(entry.deny ?? [])) warn('a WebSocket token lets it trade and cancel past deny');
      else if (!opens(endpointOf('AddOrder')))
        warn('a WebSocket token lets it trade, although trade is not allowed');
    }
    if (entry.orders !== undefined && !limitsOrders) warn('orders sets no limit');
    const evading = named.filter((name) => unseen(name).some(opens));
    if (limitsOrders && evading.length > 0) warn(`goes past the limits of orders with ${evading.join(', ')}`);
    const idle = [...new Set(entry.report ?? [])].filter((rule) => !set.has(rule));
    if (idle.length > 0) warn(`report names what is not set (${idle.join(', ')})`);
  }

  #warn(at: readonly string[], entry: ClientEntry): void {
    const warn = (text: string): void => void this.#references.warnings.push(`${pathText(at)}: ${text}`);
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

/** The endpoints that an entry of a list names. */
function endpointsOf(entry: string): readonly Endpoint[] {
  const group = PRIVATE_ENDPOINTS.filter((endpoint) => endpoint.group === entry);
  return group.length > 0 ? group : [endpointOf(entry)];
}

/** Those that move money out, or undo that: all of the table that does not only read. */
function movers(entry: string): readonly Endpoint[] {
  return endpointsOf(entry).filter(
    (endpoint) =>
      endpoint.class !== 'read' && endpoint.group !== undefined && !MONEY_STAYS.includes(endpoint.group),
  );
}

/** Those that may trade and whose calls the limits on orders do not read. */
function unseen(entry: string): readonly Endpoint[] {
  return endpointsOf(entry).filter(
    (endpoint) => endpoint.class !== 'read' && (endpoint.group === 'otc' || endpoint.group === undefined),
  );
}

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
