import { randomBytes } from 'node:crypto';
import type { RequestListener } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import { KnownAnswers } from './answers/known-answers.js';
import { OwnedAnswers } from './answers/owned-answers.js';
import { openCallPath, type CallPathEvents } from './call-path.js';
import { Clients, type Client } from './clients.js';
import { describeTuning, type ClientConfig, type Config } from './config.js';
import { isLoopback } from './config/addresses.js';
import type { ProxyError } from './errors.js';
import { createApp } from './http/app.js';
import { Listener } from './http/listener.js';
import { createOps, type NotReady } from './http/ops.js';
import { SlowDown } from './http/slow-down.js';
import { createAccount } from './kraken/account.js';
import { KrakenMarket } from './kraken/market.js';
import { errorClass } from './kraken/outcome.js';
import { createSigner } from './kraken/signature.js';
import { SystemStatus } from './kraken/system-status.js';
import { Upstream } from './kraken/transport.js';
import { PublicBudget } from './lane/public-budget.js';
import { StartupWindow } from './lane/startup.js';
import { logCall, type CallRecord, type Log } from './log.js';
import { createMetrics, type Metrics } from './metrics.js';
import { FileStore } from './nonce/file-store.js';
import { OwnedNonces } from './nonce/owned-nonces.js';
import { NonceSequence } from './nonce/sequence.js';
import { OwnedLedger } from './policy/owned-ledger.js';
import { Policy } from './policy/policy.js';
import { Spending } from './policy/spending.js';
import { UNNAMED_RULES } from './policy/unnamed-rules.js';
import { PublicApi } from './public-api.js';
import { openSandbox, type Sandbox } from './sandbox/sandbox.js';
import { warmUp } from './warm-up.js';

export interface ServerOptions {
  readonly config: Config;
  readonly log: Log;
  readonly version: string;
  /** The proxy cannot go on: the nonce state was lost, or a standby could not take over. Nothing is signed any more. */
  readonly onFatal: (error: unknown) => void;
  /** Default: one by the process's own clock. */
  readonly slowDown?: SlowDown;
}

/** A running proxy. */
export interface Server {
  /** Where clients call, such as http://127.0.0.1:8787; empty while a standby waits for its port. */
  readonly url: string;
  readonly opsUrl: string;
  /** Stops in order: nothing new, what waits fails, what is in flight ends, the floor is written, the lock released. */
  close(): Promise<void>;
}

const PUBLIC_CONNECTIONS = 8;
/** For answers that are written already to reach their clients. */
const LAST_ANSWERS_MS = 250;
/** Beyond an attempt's own timeout, for its answer to reach the client. */
const CLOSE_GRACE_MS = 1_000;

/**
 * Opens every part in order. Resolves when calls are served; with `nonce.standby`, when it has begun to wait
 * for the state. Rejects with the error of the part that could not be opened; then nothing is left open.
 */
export async function openServer(options: ServerOptions): Promise<Server> {
  const { config, log, version, onFatal, slowDown = new SlowDown() } = options;
  const tuning = describeTuning(config);
  const metrics = createMetrics({ version, tuning });
  const sandbox = config.upstream.url === 'sandbox' ? await openBuiltInSandbox(config) : undefined;
  const url = sandbox?.url ?? config.upstream.url;

  // The parts of a call's path, in the order in which it meets them.
  const accounts = config.accounts.map(createAccount);
  const clients = new Clients({
    accounts,
    defaultAccount: config.defaultAccount,
    clients: config.clients?.map(createClient),
    otherwise: UNNAMED_RULES,
  });
  const startup = new StartupWindow(config.startup);
  const nonces = new OwnedNonces(metrics.nonceIssued, config.nonce.liftMs);
  const userAgent = `kraken-signing-proxy/${version}`;
  const budget = new PublicBudget({ ...config.publicCalls, maxWaitMs: config.queue.maxWaitMs });
  const publicUpstream = new Upstream({ ...config.upstream, url, connections: PUBLIC_CONNECTIONS });
  // Of its own: a flood of public calls must not hold up the price that an order waits for.
  const ownUpstream = new Upstream({ ...config.upstream, url, connections: 2 });
  const askPublic = (path: string): Promise<Buffer> => {
    budget.takeNow();
    return getPublic(ownUpstream, path, userAgent);
  };
  const market = new KrakenMarket({ send: askPublic });
  const status = new SystemStatus({
    ask: () => askPublic('/0/public/SystemStatus'),
    onChange: (is) =>
      log[is === undefined || is === 'online' ? 'info' : 'warn'](
        { status: is },
        'what Kraken says about itself',
      ),
  });
  const ledger = new OwnedLedger();
  const answers = new OwnedAnswers();
  const policy = new Policy({ market, spending: ledger });
  const events = createEvents(log, metrics);
  const path = openCallPath({
    ...{ config, accounts, clients, policy, nonces, answers, startup, status, events },
    connect: () => new Upstream({ ...config.upstream, url, connections: 1 }),
  });
  const publicApi = new PublicApi({ upstream: publicUpstream, record: events.record, budget });

  // What happens around it.
  const stop = new AbortController();
  const notReady = new Map<NotReady['reason'], NotReady>();
  const explain = (reason: NotReady['reason'], detail: string): void => {
    notReady.set(reason, { reason, detail });
    nonces.explain(detail);
  };
  const refused = (requestId: string | undefined, error: ProxyError): void => {
    metrics.refusedRequest(error.code);
    log.warn({ requestId, error: error.code, reason: error.message }, 'refused');
  };
  const appParts = {
    ...config.listen,
    publicApi,
    userAgent,
    nextRequestId: createRequestIds(),
    slowDown,
    refused,
    log,
  };
  const app = createApp({ ...appParts, proxy: path.proxy });
  const ops = createOps({
    hosts: config.ops.hosts,
    metrics: async () => ({ text: await metrics.text(), contentType: metrics.contentType }),
    notReady: () => reasonsOf(notReady, nonces.problem),
    startupWindow: startup,
    actsAllowed: isLoopback(config.ops.host),
    refused: (error) => refused(undefined, error),
    acted: (act) => log.info({ act }, 'operator'),
  });
  metrics.watch({
    accounts: accounts.map(({ name }) => name),
    laneWaiting: () => path.waiting,
    laneInFlight: () => path.inFlight,
    callCounter: path.callCounter,
    engineCounter: path.engineCounter,
    breakerSeconds: path.breakerSeconds,
    clockOffsetSeconds: () => path.clockOffsetMs / 1_000,
    nonceLeadSeconds: () => nonces.leadSeconds,
    startupWindowOpen: () => startup.isOpen,
  });

  const listeners: Listener[] = [];
  const listen = async (): Promise<void> => {
    const waitForPort = config.nonce.standby ? stop.signal : undefined;
    const requestTimeoutMs = config.listen.bodyTimeoutMs + 5_000;
    await warmUp(config, (standIn) => createApp({ ...appParts, hosts: ['localhost'], proxy: standIn })).catch(
      (error: unknown) => log.warn({ err: error }, 'not warmed up: the first calls take longer'),
    );
    const onReload = (error: Error | undefined): void => {
      if (error === undefined) log.info('certificates reloaded');
      else log.error({ err: error }, 'the new certificates are no good: the former ones stay in force');
    };
    const tls = config.listen.tls && { ...config.listen.tls, onReload };
    for (const [handle, address] of [
      [app, { ...config.listen, tls }],
      [toListener(ops.fetch), { ...config.ops, tls: undefined }],
    ] as const) {
      listeners.push(await Listener.open(handle, { ...address, requestTimeoutMs, waitForPort }));
    }
    const [callUrl = '', opsUrl = ''] = listeners.map((listener) => listener.url);
    log.info({ url: callUrl, ops: opsUrl, upstream: url, version, tuning }, 'listening');
    // With clients, or a certificate of one's own, curl needs more than a line can know.
    if (config.clients === undefined && tls === undefined)
      log.info(`try: curl -s -X POST ${callUrl}/0/private/Balance`);
  };
  const own = async (): Promise<void> => {
    explain('starting', 'the nonce state is being opened');
    const store = await FileStore.open(config.nonce.file, {
      standby: config.nonce.standby,
      signal: stop.signal,
      onWaiting: (holder) => {
        if (config.nonce.standby) notReady.delete('starting');
        if (config.nonce.standby) explain('standby', `hot standby: the nonce state is owned by ${holder}`);
        const waitsFor = config.nonce.standby
          ? 'standby: waiting to take over'
          : 'locked: watching whether its holder lives';
        log.info({ holder }, waitsFor);
      },
      onLost: (error) => {
        explain('not-owner', error.message);
        onFatal(error);
      },
    });
    if (store.initial === undefined)
      log.warn({ file: store.file }, 'no nonce state yet: starting from the clock');
    const onWrite = (seconds: number, error: unknown): void => {
      metrics.stateWrite(seconds, error);
      if (error !== undefined)
        log.error({ err: error }, 'the nonce state was not written: the lanes stand still');
    };
    try {
      // Beside the state and under its lock, so that only one process keeps it.
      answers.own(await KnownAnswers.open(`${store.file}.answers`));
      if (needsLedger(config)) ledger.own(await Spending.open(`${store.file}.spending`));
      nonces.own(await NonceSequence.open(store, { reserveMs: config.nonce.reserveMs, onWrite }));
    } catch (error) {
      await Promise.allSettled([answers.close(), ledger.close()]);
      await store.close();
      throw error;
    }
    if (stop.signal.aborted) await nonces.close(); // asked to stop in the meantime
    startup.open();
    notReady.delete('starting');
    notReady.delete('standby');
    log.info({ file: store.file }, 'ready: the nonce state is ours');
  };

  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    explain('shutting-down', 'the proxy is stopping');
    stop.abort();
    const graceMs = config.upstream.timeoutMs + CLOSE_GRACE_MS;
    for (const listener of listeners) listener.stopAccepting();
    budget.close();
    status.close();
    await path.close(graceMs);
    for (const [what, file] of [
      ['the day’s ledger', ledger],
      ['the known answers', answers],
    ] as const) {
      await file.close().catch((error: unknown) => log.error({ err: error }, `${what}: not closed`));
    }
    await nonces.close().finally(async () => {
      await Promise.all([publicUpstream.close(), ownUpstream.close()]);
      await Promise.all(listeners.map((listener) => listener.close(LAST_ANSWERS_MS)));
      await sandbox?.close();
    });
  };
  const server: Server = {
    get url() {
      return listeners[0]?.url ?? '';
    },
    get opsUrl() {
      return listeners[1]?.url ?? '';
    },
    close: () => (closing ??= close()),
  };

  for (const warning of config.warnings) log.warn(warning);
  if (config.nonce.standby) {
    Promise.all([listen(), own()]).catch((error: unknown) => {
      if (!stop.signal.aborted) onFatal(error);
    });
    return server;
  }
  try {
    await own();
    await listen();
    return server;
  } catch (error) {
    await server.close().catch(() => undefined);
    throw error;
  }
}

/** Hono's app as node:http takes it. Its own Response stays out of our globals. */
function toListener(fetch: Parameters<typeof getRequestListener>[0]): RequestListener {
  const handle = getRequestListener(fetch, { overrideGlobalObjects: false });
  return (request, response) => void handle(request, response);
}

function needsLedger({ clients = [] }: Config): boolean {
  return clients.some(({ rules }) => rules.orders?.maxNotionalPerDay !== undefined);
}

/** A client of the config, ready to check its signatures. */
function createClient({ secret, ...client }: ClientConfig): Client {
  return { ...client, signer: secret === undefined ? undefined : createSigner(secret.reveal()) };
}

/** The proxy's own public reads: the whole body. Rejects on any status but 200. */
async function getPublic(upstream: Upstream, path: string, userAgent: string): Promise<Buffer> {
  const headers = { 'user-agent': userAgent };
  const { status, body } = await upstream.send({ method: 'GET', path, headers, body: null });
  if (status !== 200) throw new Error(`${path} was answered with HTTP ${status}`);
  return body;
}

function openBuiltInSandbox(config: Config): Promise<Sandbox> {
  const keys = config.accounts.map(({ name, key, secret, tier }) => ({
    account: name,
    key,
    secret: secret.reveal(),
    tier,
  }));
  return openSandbox({ keys });
}

function reasonsOf(explained: ReadonlyMap<string, NotReady>, problem: string | undefined): NotReady[] {
  if (explained.size > 0) return [...explained.values()];
  return problem === undefined ? [] : [{ reason: 'not-owner', detail: problem }];
}

/** What the operator hears of the path of calls. */
function createEvents(log: Log, metrics: Metrics): CallPathEvents {
  return {
    record: (call) => {
      metrics.call(call, upstreamErrorOf(call));
      logCall(log, call);
    },
    breaker: (account, state) => {
      if (state === 'closed') log.info({ account }, 'Kraken takes this key again');
      else log.error({ account, why: state }, 'the key is not used for a while: Kraken turns it away');
    },
    settled: (account, { kind, ...told }) => {
      metrics.settled(account, kind);
      const reason = 'reason' in told ? told.reason : undefined;
      log.warn({ account, settled: kind, reason }, 'a call whose reply was lost');
    },
    skew: (offsetMs) =>
      log.error(
        { offsetMs },
        'this machine’s clock and Kraken’s differ: set it (NTP), deadlines depend on it',
      ),
    invalidNonce: (account, nonce) =>
      log.error(
        { account, nonce },
        'Kraken calls our nonces invalid: another program has used a higher one on this key. Look for a bot that has ' +
          'this key still, with a clock that is ahead or a larger unit; then nonce jump raises ours above it',
      ),
    trouble: (what, error) => log.error({ err: error }, `not kept, or not done: ${what}`),
  };
}

/** Kraken's class of the error a call ended with; undefined when it ended well or never left. */
function upstreamErrorOf(call: CallRecord): string | undefined {
  if (call.krakenError?.startsWith('E') === true) return errorClass(call.krakenError);
  if (call.upstreamMs === undefined) return undefined;
  return call.ownError !== undefined || call.outcome === 'unknown' ? 'transport' : undefined;
}

/** Unique among the runs of a proxy, short, and free of anything a client sent. */
function createRequestIds(): () => string {
  const run = randomBytes(4).toString('hex');
  let count = 0;
  return () => `${run}-${(++count).toString(36)}`;
}
