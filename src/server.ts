import { randomBytes } from 'node:crypto';
import type { RequestListener } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { getRequestListener } from '@hono/node-server';
import { describeTuning, type Config } from './config.js';
import { mayWithdraw } from './doctor-ward.js';
import type { KeyFinding } from './doctor/findings.js';
import type { ProxyError } from './errors.js';
import { createApp } from './http/app.js';
import { Listener } from './http/listener.js';
import type { NotReady } from './http/ops.js';
import { openPage } from './http/page.js';
import { SlowDown } from './http/slow-down.js';
import { CertificateFiles } from './http/tls-certificates.js';
import type { Reloaded } from './in-force.js';
import type { Log } from './log.js';
import { openOperatorSide } from './operator-side.js';
import { needsLedger } from './owned-state.js';
import { openParts } from './parts.js';
import { ALL_PERMISSIONS } from './sandbox/key-endpoints.js';
import { openSandbox, type Sandbox } from './sandbox/sandbox.js';
import { holdView } from './status.js';
import { warmUp } from './warm-up.js';

export interface ServerOptions {
  readonly config: Config;
  readonly log: Log;
  readonly version: string;
  /** The proxy cannot go on: the nonce state was lost, or a standby could not take over. Nothing is signed any more. */
  readonly onFatal: (error: unknown) => void;
  /** Reads the config anew, for a reload; throws ConfigError. Default: there is none to be read. */
  readonly readConfig?: () => Config;
  /** False: nobody is served; for a look at the keys. Default true. */
  readonly listens?: boolean;
  /** An operator wants the process to stop in order. */
  readonly onStop?: () => void;
  /** Default: one by the process's own clock. */
  readonly slowDown?: SlowDown;
}

/** A running proxy. */
export interface Server {
  /** Where clients call, such as http://127.0.0.1:8787; empty while a standby waits for its port. */
  readonly url: string;
  readonly opsUrl: string;
  /** Calls are taken. */
  readonly isReady: boolean;
  /** Examines every key now. Never rejects. */
  examine(): Promise<readonly KeyFinding[]>;
  /** Puts the config as it is now on disk in force. Rejects, and changes nothing, when it is no good. */
  reload(): Promise<Reloaded>;
  /**
   * Stops in order: nothing new, what waits fails, what is in flight ends, the floor is written, the lock released. With
   * `drain` it goes on serving for `listen.drainMs` before that, while it says that it is not ready.
   */
  close(options?: { readonly drain?: boolean }): Promise<void>;
}

/** For answers that are written already to reach their clients. */
const LAST_ANSWERS_MS = 250;
/** Kraken's time may take so long at the start. */
const TIME_WITHIN_MS = 1_000;
/** Beyond an attempt's own timeout, for its answer to reach the client. */
const CLOSE_GRACE_MS = 1_000;

/**
 * Opens every part in order. Resolves when calls are served; with `nonce.standby`, when it has begun to wait
 * for the state. Rejects with the error of the part that could not be opened; then nothing is left open.
 */
export async function openServer(options: ServerOptions): Promise<Server> {
  const { config, log, version, onFatal, slowDown = new SlowDown() } = options;
  const page = await openPage();
  const run = randomBytes(4).toString('hex');
  const sandbox = config.upstream.url === 'sandbox' ? await openBuiltInSandbox(config) : undefined;
  const url = sandbox?.url ?? config.upstream.url;
  const userAgent = `kraken-signing-proxy/${version}`;
  const parts = openParts({ config, log, version, run, url, userAgent });
  const { inForce, metrics, state, startup, path, publicSide, publicApi, doctor } = parts;
  const { nonces, holds } = state;

  // What happens around it.
  const stop = new AbortController();
  const explained = new Map<NotReady['reason'], NotReady>();
  const explain = (reason: NotReady['reason'], detail: string): void => {
    explained.set(reason, { reason, detail });
    nonces.explain(detail);
  };
  const notReady = (): NotReady[] => reasonsOf(explained, state.problem);
  const refused = (requestId: string | undefined, error: ProxyError): void => {
    metrics.refusedRequest(error.code);
    log.warn({ requestId, error: error.code, reason: error.message }, 'refused');
  };
  const appParts = {
    ...config.listen,
    publicApi,
    userAgent,
    nextRequestId: createRequestIds(run),
    slowDown,
    refused,
    log,
  };
  const app = createApp({ ...appParts, proxy: path.proxy });
  const ops = openOperatorSide({
    ...{ parts, log, version, page, notReady },
    reload: () => reload(),
    stop: () => options.onStop?.(),
    refused: (error) => refused(undefined, error),
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
      [toListener(ops.app.fetch), { ...config.ops, tls: undefined }],
    ] as const) {
      listeners.push(await Listener.open(handle, { ...address, requestTimeoutMs, waitForPort }));
    }
    const [callUrl = '', opsUrl = ''] = listeners.map((listener) => listener.url);
    const tuning = describeTuning(inForce.config);
    log.info({ url: callUrl, ops: opsUrl, upstream: url, version, tuning }, 'listening');
    log.info(`the operator's page: ${opsUrl}/`);
    // With clients, or a certificate of one's own, curl needs more than a line can know.
    const account = config.defaultAccount === undefined ? `/accounts/${config.accounts[0]?.name}` : '';
    if (config.clients === undefined && tls === undefined)
      log.info(`try: curl -s -X POST ${callUrl}${account}/0/private/Balance`);
  };
  const own = async (): Promise<void> => {
    explain('starting', 'the nonce state is being opened');
    const { standby } = config.nonce;
    // A node that joins others has calls at once, and what it leaves behind others have to judge by Kraken's clock.
    const asked = config.nonce.store === 'postgres' ? parts.askTime().catch(() => undefined) : undefined;
    const { place, isShared, othersServe } = await state.own({
      signal: stop.signal,
      onWaiting: (holder) => {
        if (standby) explained.delete('starting');
        if (standby) explain('standby', `hot standby: the nonce state is owned by ${holder}`);
        log.info(
          { holder },
          standby ? 'standby: waiting to take over' : 'locked: watching whether its holder lives',
        );
      },
      onLost: (error) => {
        explain('not-owner', error.message);
        onFatal(error);
      },
    });
    await Promise.race([asked, delay(TIME_WITHIN_MS, undefined, { ref: false })]);
    startup.start();
    void othersServe.then((yes) => startup.settle(yes));
    explained.delete('starting');
    explained.delete('standby');
    log.info({ state: place }, isShared ? 'ready: the state is shared' : 'ready: the nonce state is ours');
    for (const hold of holds.all) log.warn({ ...holdView(hold) }, 'held since before the start');
  };
  // Last: the first call is not to wait for our questions, nor these for code that is cold.
  const startDoctor = (): void => {
    const isOurs = !explained.has('starting') && !explained.has('standby');
    if (inForce.config.doctor.enabled && isOurs && !stop.signal.aborted) void doctor.start();
    else doctor.rest();
  };

  const takeOver = async (): Promise<Reloaded> => {
    if (stop.signal.aborted) throw new Error('the proxy is stopping');
    if (options.readConfig === undefined) throw new Error('there is no config to be read anew');
    const next = options.readConfig(); // throws what is wrong with it
    const plan = inForce.plan(next);
    const { config: planned, ...reloaded } = plan;
    if (next.listen.tls !== undefined) await CertificateFiles.load(next.listen.tls);
    if (needsLedger(planned)) await state.openLedger();
    const { keys } = inForce;
    const changed = inForce.replace(plan);
    if (!isDeepStrictEqual(keys, inForce.keys)) state.journal?.newKeys(inForce.keys, nonces.issued);
    metrics.retuned(describeTuning(planned));
    path.refresh(changed);
    for (const warning of planned.warnings) log.warn(warning);
    log.info({ ...reloaded }, 'config reloaded');
    state.journal?.note('reload', { ...reloaded });
    log.level = planned.log.level; // after that was told
    for (const listener of listeners) await listener.checkCertificates();
    startDoctor(); // the keys may be others
    return reloaded;
  };
  let reloading: Promise<unknown> = Promise.resolve();
  const reload = (): Promise<Reloaded> => {
    const reloaded = reloading.then(takeOver);
    reloading = reloaded.catch((error: unknown) => {
      log.error({ err: error }, 'the config was not reloaded: the former one stays in force');
      state.journal?.note('not-reloaded', { reason: (error as Error).message });
    });
    return reloaded;
  };

  let closing: Promise<void> | undefined;
  const close = async (drainMs: number): Promise<void> => {
    explain('shutting-down', 'the proxy is stopping');
    // Whoever sends calls here by /readyz goes elsewhere first.
    if (drainMs > 0 && listeners.length > 0) await delay(drainMs);
    stop.abort();
    const graceMs = config.upstream.timeoutMs + CLOSE_GRACE_MS;
    ops.close();
    for (const listener of listeners) listener.stopAccepting();
    doctor.close();
    publicSide.stop();
    await path.close(graceMs);
    await new Promise(setImmediate); // the last calls are told
    await state.close().finally(async () => {
      await publicSide.close();
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
    get isReady() {
      return notReady().length === 0;
    },
    examine: () => doctor.examine(),
    reload,
    close: ({ drain = false } = {}) => (closing ??= close(drain ? config.listen.drainMs : 0)),
  };

  for (const warning of config.warnings) log.warn(warning);
  if (config.nonce.standby) {
    Promise.all([listen(), own()]).then(startDoctor, (error: unknown) => {
      if (!stop.signal.aborted) onFatal(error);
    });
    return server;
  }
  try {
    await own();
    if (options.listens === false) return server;
    await listen();
    startDoctor();
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

/** Its keys are made as one should make them: nothing for the doctor to find. */
function openBuiltInSandbox(config: Config): Promise<Sandbox> {
  const keys = config.accounts.map(({ name, key, secret, tier }) => ({
    account: name,
    key,
    secret: secret.reveal(),
    tier,
    permissions: ALL_PERMISSIONS.filter((one) => one !== 'withdraw-funds' || mayWithdraw(config, name)),
    ipAllowlist: ['127.0.0.1'],
  }));
  return openSandbox({ keys });
}

function reasonsOf(explained: ReadonlyMap<string, NotReady>, problem: string | undefined): NotReady[] {
  if (explained.size > 0) return [...explained.values()];
  return problem === undefined ? [] : [{ reason: 'not-owner', detail: problem }];
}

/** Unique among the runs of a proxy, short, and free of anything a client sent. */
function createRequestIds(run: string): () => string {
  let count = 0;
  return () => `${run}-${(++count).toString(36)}`;
}
