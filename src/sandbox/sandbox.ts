import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

import type { Account, Payment } from './account.js';
import type { Reply } from './answer.js';
import { answerControl, isControlPath } from './control.js';
import { DEFAULT_FAULT_ERROR, Delivery } from './delivery.js';
import { EngineCounters } from './engine-counter.js';
import { Exchange } from './exchange.js';
import { FaultPlan, type Fault } from './faults.js';
import { findPair } from './market-data.js';
import { orderView, type SandboxOrder } from './order.js';
import { PrivateCalls } from './private-calls.js';
import type { SystemStatus } from './private-endpoint.js';
import { PublicCalls, type PublicLimit } from './public-calls.js';
import { RequestChecks, type KeySettings, type KeyState, type SandboxKey } from './request-checks.js';
import { readRequestBody } from './request-body.js';
import { SlowEngine } from './slow-engine.js';
import { Traffic, type ReceivedCall } from './traffic.js';

export type {
  Fault,
  KeySettings,
  Payment,
  PublicLimit,
  ReceivedCall,
  SandboxKey,
  SandboxOrder,
  SystemStatus,
};

/** How a sandbox is set up. */
export interface SandboxOptions {
  readonly keys: readonly SandboxKey[];
  /** The clock, ms; default Date.now. Delays and faults take real time, but for `slow-engine`. */
  readonly now?: () => number;
  /** Whether the REST call counter is enforced; default true. */
  readonly callCounter?: boolean;
  /** Whether the matching engine's counter by account and pair is enforced; default false. */
  readonly engineCounter?: boolean;
  /** The most public calls; over it, `EAPI:Rate limit exceeded`. Default: as many as come. */
  readonly publicLimit?: PublicLimit;
  /** Every answer waits so long, to stand for the way to Kraken; default 0. */
  readonly delayMs?: number;
  /** How many received calls are kept; default 10000. */
  readonly keepReceived?: number;
  /** For faults with a probability, [0, 1); default Math.random. */
  readonly random?: () => number;
}

/** A stand-in for Kraken's Spot REST API on a real socket; what tests ask and tell it. */
export interface Sandbox {
  /** `http://127.0.0.1:port`. */
  readonly url: string;
  readonly port: number;
  /** The latest `keepReceived` calls in order of arrival, private and public. */
  readonly received: readonly ReceivedCall[];
  readonly receivedCount: number;
  /**
   * Private calls in flight: from the arrival of the headers until the answer's last byte is handed over
   * or the socket is closed. A call that hangs stays in flight.
   */
  readonly inFlight: number;
  readonly maxInFlight: number;
  inFlightOf(key: string): number;
  maxInFlightOf(key: string): number;
  fault(fault: Fault): void;
  clearFaults(): void;
  /** As if another program had used the key: the highest nonce seen becomes this, unless it is higher. */
  raiseNonce(key: string, nonce: bigint): void;
  highestNonce(key: string): bigint | undefined;
  /** As if its owner had edited the key at Kraken, and how GetApiKeyInfo tells of it; what is not given stays. */
  setKey(key: string, settings: KeySettings): void;
  /** Every order there is, open, closed or canceled, oldest first. */
  orders(account: string): readonly SandboxOrder[];
  withdrawals(account: string): readonly Payment[];
  transfers(account: string): readonly Payment[];
  /** The REST call counter of a key now. */
  counter(key: string): number;
  setCallCounter(enabled: boolean): void;
  /**
   * The matching engine's counter of an account's pair (`XBTUSD`, `XBT/USD`) now, without what was done
   * while it was off.
   */
  engineCounter(account: string, pair: string): number;
  setEngineCounter(enabled: boolean): void;
  /**
   * How many private calls the call counter refused with `EAPI:Rate limit exceeded`, whether or not the
   * answer got through; without those that a fault answered so.
   */
  readonly rateLimited: number;
  /** How many private calls were refused with `EAPI:Invalid nonce`, likewise. */
  readonly invalidNonces: number;
  systemStatus: SystemStatus;
  /** Ends every connection; resolved when the port is free. May be called twice. */
  close(): Promise<void>;
}

const PRIVATE = '/0/private/';
const PUBLIC = '/0/public/';
// Far above what a proxy lets through; the sandbox does not know Kraken's own limit.
const MAX_BODY_BYTES = 16 * 1024 * 1024;
// Long enough that no client meets a connection that closes while it sends.
const KEEP_ALIVE_MS = 75_000;
const NOT_FOUND: Reply = {
  status: 404,
  contentType: 'text/plain',
  body: 'not found\n',
  error: undefined,
};

/**
 * Opens a sandbox: as strict as Kraken, by KRAKEN.md 1 to 5, and with its own idea of signatures and
 * nonces, so that what passes here was not merely agreed with itself. Default host 127.0.0.1, port 0 (any).
 */
export async function openSandbox(
  options: SandboxOptions & { readonly host?: string; readonly port?: number },
): Promise<Sandbox> {
  const now = options.now ?? Date.now;
  const checks = new RequestChecks(options.keys);
  const engine = new SlowEngine(now);
  const exchange = new Exchange(engine.now);
  const engineCounters = new EngineCounters(options.engineCounter ?? false, engine.now);
  // Accounts are there from the start, so that a test may ask for the orders of one that never called.
  for (const key of options.keys) exchange.account(key.account, key.tier);
  const faults = new FaultPlan(options.random ?? Math.random);
  const traffic = new Traffic(options.keepReceived ?? 10_000);
  const delivery = new Delivery(options.delayMs ?? 0);
  let callCounter = options.callCounter ?? true;
  let systemStatus: SystemStatus = 'online';
  const privateCalls = new PrivateCalls({
    checks,
    exchange,
    engineCounters,
    now: engine.now,
    callCounter: () => callCounter,
    systemStatus: () => systemStatus,
  });
  const publicCalls = new PublicCalls({
    now,
    limit: options.publicLimit,
    systemStatus: () => systemStatus,
  });

  function onRequest(req: IncomingMessage, res: ServerResponse): void {
    const target = req.url ?? '';
    if (isControlPath(target)) {
      readBody(req, res, (body) => answerControl(sandbox, options.keys, req, res, body));
      return;
    }
    if (target.startsWith(PRIVATE)) {
      const flight = traffic.begun(req.socket, textOf(req.headers['api-key']));
      res.once('close', () => traffic.ended(flight));
    }
    readBody(req, res, (body) => answerCall(req, res, target, body));
  }

  function answerCall(req: IncomingMessage, res: ServerResponse, target: string, rawBody: Buffer): void {
    const query = target.indexOf('?');
    const path = query < 0 ? target : target.slice(0, query);
    const isPrivate = path.startsWith(PRIVATE);
    const isPublic = path.startsWith(PUBLIC);
    const endpoint = isPrivate || isPublic ? path.slice((isPrivate ? PRIVATE : PUBLIC).length) : undefined;
    const key = textOf(req.headers['api-key']);
    const body = isPrivate ? readRequestBody(req.headers['content-type'], rawBody) : undefined;
    const received: ReceivedCall = {
      at: now(),
      seq: traffic.nextSeq(),
      method: req.method ?? '',
      path: target,
      headers: req.headers,
      rawBody,
      key,
      nonce: body?.nonce,
      endpoint,
      executed: false,
      error: undefined,
    };
    traffic.keep(received);
    if (endpoint === undefined) {
      delivery.send(res, NOT_FOUND);
      return;
    }
    // What a slow engine was due to do comes before this call.
    engine.catchUp();
    const sign = textOf(req.headers['api-sign']);
    const address = req.socket.remoteAddress;
    const run = (instead?: string): Reply =>
      body === undefined
        ? publicCalls.answer(received, query < 0 ? '' : target.slice(query + 1), instead)
        : privateCalls.answer({ key, sign, address, path: target, rawBody, body }, received, instead);
    const fault = faults.take(endpoint, isPrivate, key);
    if (fault === undefined) {
      delivery.send(res, run());
      return;
    }
    const runSlowly = (delayMs: number): void => {
      const execute =
        body === undefined
          ? run
          : privateCalls.accept({ key, sign, address, path: target, rawBody, body }, received);
      if (execute !== undefined) engine.add(delayMs, execute);
    };
    delivery.spoil(fault, req, res, { run, runSlowly });
    if (fault.kind === 'error-after') received.error = fault.error ?? DEFAULT_FAULT_ERROR;
  }

  function stateOf(key: string): KeyState {
    const state = checks.key(key);
    if (state === undefined) throw new TypeError(`the sandbox has no key ${key}`);
    return state;
  }

  /** The account as it is now. */
  function accountOf(name: string): Account | undefined {
    engine.catchUp();
    return exchange.find(name);
  }

  const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS, requestTimeout: 0 }, onRequest);
  server.on('connection', (socket) => traffic.opened(socket));
  const host = options.host ?? '127.0.0.1';
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, host, resolve);
  });
  const { port } = server.address() as AddressInfo;
  let closing: Promise<void> | undefined;

  const sandbox: Sandbox = {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    port,
    get received() {
      engine.catchUp();
      return traffic.received;
    },
    get receivedCount() {
      return traffic.receivedCount;
    },
    get inFlight() {
      return traffic.inFlight;
    },
    get maxInFlight() {
      return traffic.maxInFlight;
    },
    inFlightOf: (key) => traffic.inFlightOf(key),
    maxInFlightOf: (key) => traffic.maxInFlightOf(key),
    fault: (fault) => faults.add(fault),
    clearFaults: () => faults.clear(),
    raiseNonce: (key, nonce) => stateOf(key).nonces.raise(nonce),
    highestNonce: (key) => stateOf(key).nonces.highest,
    setKey: (key, settings) => checks.change(stateOf(key), settings),
    orders: (account) => [...(accountOf(account)?.orders.values() ?? [])].map(orderView),
    withdrawals: (account) => accountOf(account)?.withdrawals ?? [],
    transfers: (account) => accountOf(account)?.transfers ?? [],
    counter: (key) => stateOf(key).counter.level(now()),
    setCallCounter: (enabled) => {
      callCounter = enabled;
    },
    engineCounter: (name, pair) => {
      const account = accountOf(name);
      if (account === undefined) throw new TypeError(`the sandbox has no account ${name}`);
      return engineCounters.level(account, findPair(pair));
    },
    setEngineCounter: (enabled) => {
      engineCounters.enabled = enabled;
    },
    get rateLimited() {
      return privateCalls.rateLimited;
    },
    get invalidNonces() {
      return privateCalls.invalidNonces;
    },
    get systemStatus() {
      return systemStatus;
    },
    set systemStatus(status) {
      systemStatus = status;
    },
    close: () => {
      closing ??= new Promise((resolve) => {
        delivery.close();
        engine.close();
        exchange.close();
        server.close(() => resolve());
        for (const socket of traffic.sockets) socket.destroy();
      });
      return closing;
    },
  };
  return sandbox;
}

function textOf(header: string | string[] | undefined): string | undefined {
  return typeof header === 'string' ? header : undefined;
}

/** The whole body, once; never, if the client goes away first. */
function readBody(req: IncomingMessage, res: ServerResponse, done: (body: Buffer) => void): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  req.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes <= MAX_BODY_BYTES) chunks.push(chunk);
  });
  req.on('end', () => {
    if (bytes > MAX_BODY_BYTES) {
      res.writeHead(413).end();
      return;
    }
    const [first] = chunks;
    done(first !== undefined && chunks.length === 1 ? first : Buffer.concat(chunks));
  });
}
