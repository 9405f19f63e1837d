import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

import type { Payment } from './account.js';
import { Refusal, resultReply, thrownReply, type Reply } from './answer.js';
import { answerControl, isControlPath } from './control.js';
import { DEFAULT_FAULT_ERROR, Delivery } from './delivery.js';
import { Exchange } from './exchange.js';
import { FaultPlan, type Fault } from './faults.js';
import { orderView, type SandboxOrder } from './order.js';
import { PrivateCalls } from './private-calls.js';
import type { SystemStatus } from './private-endpoint.js';
import { publicEndpoints } from './public-endpoints.js';
import { RequestChecks, type KeyState, type SandboxKey } from './request-checks.js';
import { readRequestBody } from './request-body.js';
import { Traffic, type ReceivedCall } from './traffic.js';

export type { Fault, Payment, ReceivedCall, SandboxKey, SandboxOrder, SystemStatus };

/** How a sandbox is set up. */
export interface SandboxOptions {
  readonly keys: readonly SandboxKey[];
  /** The clock, ms; default Date.now. Delays and faults take real time. */
  readonly now?: () => number;
  /** Whether the REST call counter is enforced; default true. */
  readonly callCounter?: boolean;
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
  /** Every order there is, open, closed or canceled, oldest first. */
  orders(account: string): readonly SandboxOrder[];
  withdrawals(account: string): readonly Payment[];
  transfers(account: string): readonly Payment[];
  /** The REST call counter of a key now. */
  counter(key: string): number;
  setCallCounter(enabled: boolean): void;
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
  const exchange = new Exchange(now);
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
    now,
    callCounter: () => callCounter,
    systemStatus: () => systemStatus,
  });
  const publicByName = publicEndpoints();

  function onRequest(req: IncomingMessage, res: ServerResponse): void {
    const target = req.url ?? '';
    if (isControlPath(target)) {
      const keys = options.keys.map(({ key }) => key);
      readBody(req, res, (body) => answerControl(sandbox, keys, req, res, body));
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
    const sign = textOf(req.headers['api-sign']);
    const run = (instead?: string): Reply =>
      body === undefined
        ? answerPublic(received, query < 0 ? '' : target.slice(query + 1), instead)
        : privateCalls.answer({ key, sign, path: target, rawBody, body }, received, instead);
    const fault = faults.take(endpoint, isPrivate, key);
    if (fault === undefined) {
      delivery.send(res, run());
      return;
    }
    delivery.spoil(fault, req, res, run);
    if (fault.kind === 'error-after') received.error = fault.error ?? DEFAULT_FAULT_ERROR;
  }

  /** GET only (KRAKEN.md 1.1); that anything else is an unknown method is the sandbox's choice. */
  function answerPublic(received: ReceivedCall, query: string, instead?: string): Reply {
    const endpoint = publicByName.get(received.endpoint ?? '');
    let reply: Reply;
    try {
      if (instead !== undefined) throw new Refusal(instead);
      if (received.method !== 'GET' || endpoint === undefined) throw new Refusal('EGeneral:Unknown method');
      received.executed = true;
      reply = resultReply(endpoint({ query: new URLSearchParams(query), now: now(), systemStatus }));
    } catch (error) {
      reply = thrownReply(error);
    }
    received.error = reply.error;
    return reply;
  }

  function stateOf(key: string): KeyState {
    const state = checks.key(key);
    if (state === undefined) throw new TypeError(`the sandbox has no key ${key}`);
    return state;
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
    orders: (account) => [...(exchange.find(account)?.orders.values() ?? [])].map(orderView),
    withdrawals: (account) => exchange.find(account)?.withdrawals ?? [],
    transfers: (account) => exchange.find(account)?.transfers ?? [],
    counter: (key) => stateOf(key).counter.level(now()),
    setCallCounter: (enabled) => {
      callCounter = enabled;
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
