import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { openPage, type Page } from '../../src/http/page.js';
import type { Call, HistoryReply, Second, Status } from '../../page/types.js';

/** One act as the stand-in got it. */
export interface ReceivedAct {
  readonly path: string;
  readonly contentType: string | undefined;
  readonly body: Readonly<Record<string, unknown>>;
}

/** What the stand-in answers to an act. */
export interface ActAnswer {
  readonly status: number;
  readonly body: unknown;
}

const TICK_MS = 250;
const HOUR = 3_600;

/**
 * The operator's listener without a proxy: serves the page and the admin API's shapes with data that a test sets, so
 * that states can be seen that are hard to reach. Time runs four times as fast as the real one's ticks.
 */
export class PageStandIn {
  /** Sent as it is; `now` is set with every answer. */
  status: Status = quietStatus();
  /** Newest first. */
  calls: Call[] = [];
  history: HistoryReply = quietHistory();
  /** Answers to acts, by path; without one: 404. */
  readonly answers = new Map<string, ActAnswer>();
  readonly acts: ReceivedAct[] = [];
  readonly #page: Page;
  readonly #streams = new Set<ServerResponse>();
  readonly #server: Server;
  #timer: NodeJS.Timeout | undefined;
  #second = 0;
  #newCalls: Call[] = [];

  private constructor(page: Page) {
    this.#page = page;
    this.#server = createServer((request, response) => void this.#answer(request, response));
  }

  static async open(): Promise<PageStandIn> {
    const standIn = new PageStandIn(await openPage());
    await new Promise<void>((resolve) => standIn.#server.listen(0, '127.0.0.1', resolve));
    standIn.speak();
    return standIn;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** How many pages listen. */
  get listeners(): number {
    return this.#streams.size;
  }

  /** Calls that have just come: in the next tick, and in the list from now on. Newest first. */
  arrive(calls: readonly Call[]): void {
    this.#newCalls = [...calls, ...this.#newCalls];
    this.calls = [...calls, ...this.calls].slice(0, 200);
  }

  /** Connections stay, but nothing comes through them. */
  silence(): void {
    clearInterval(this.#timer);
  }

  /** Ticks (again). */
  speak(): void {
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.tick(), TICK_MS);
  }

  async close(): Promise<void> {
    this.silence();
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  /** Sends a tick now, besides those that come by themselves. */
  tick(second: Partial<Second> = {}, skipped = 0): void {
    this.#second = Math.max(this.#second, this.history.from + HOUR - 1) + 1;
    const whole = { at: this.#second, calls: 0, errors: 0, waitMs: null, waitMaxMs: null, upstreamMs: null };
    const data = {
      status: this.#now(),
      second: { ...whole, upstreamMaxMs: null, ...second },
      calls: this.#newCalls,
      skipped,
    };
    this.#newCalls = [];
    for (const stream of this.#streams) stream.write(`event: tick\ndata: ${JSON.stringify(data)}\n\n`);
  }

  #now(): Status {
    return { ...this.status, now: new Date().toISOString() };
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = (request.url ?? '/').split('?')[0] ?? '/';
    const file = this.#page.get(path, request.headers['if-none-match']);
    if (file !== undefined) {
      response.writeHead(file.status, file.headers).end(file.body);
      return;
    }
    if (request.method === 'POST') {
      const text = await textOf(request);
      const { 'content-type': contentType } = request.headers;
      this.acts.push({ path, contentType, body: JSON.parse(text) as Record<string, unknown> });
      const answer = this.answers.get(path);
      if (answer === undefined)
        send(response, 404, { error: { code: 'not-found', message: `no ${path} here` } });
      else send(response, answer.status, answer.body);
      return;
    }
    if (path === '/v1/status') send(response, 200, this.#now());
    else if (path === '/v1/calls') send(response, 200, { calls: this.calls });
    else if (path === '/v1/history') send(response, 200, this.history);
    else if (path === '/v1/events') this.#listen(response);
    else send(response, 404, { error: { code: 'not-found', message: `no ${path} here` } });
  }

  #listen(response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    response.write(': hello\n\n');
    this.#streams.add(response);
    response.on('close', () => this.#streams.delete(response));
  }
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of request) text += String(chunk);
  return text;
}

/** A proxy that has just started and has nothing to do. */
export function quietStatus(): Status {
  return {
    version: '0.1.0',
    startedAt: new Date(Date.now() - 93_000_000).toISOString(),
    now: new Date().toISOString(),
    upstream: 'sandbox',
    mode: 'global',
    ready: true,
    reasons: [],
    findings: [],
    krakenStatus: 'online',
    startupWindow: { open: false },
    nonce: { floor: null, leadSeconds: 0, perSecond: 0, burst: 0, issued: 0, problem: null },
    lanes: [{ name: 'global', inFlight: 0, waiting: 0, byClass: {} }],
    accounts: [account('master')],
    clients: [{ name: 'grid-bot', waiting: 0, hold: null }],
    hold: null,
    clockOffsetSeconds: 0,
    calls: { total: 0, executed: 0, refused: 0, unknown: 0, notSent: 0 },
    journal: null,
    config: {
      file: 'proxy.config.json',
      loadedAt: new Date(Date.now() - 7_200_000).toISOString(),
      warnings: [],
    },
  };
}

/** An account at rest, but for what is given. */
export function account(
  name: string,
  parts: Partial<Status['accounts'][number]> = {},
): Status['accounts'][number] {
  return {
    name,
    tier: 'intermediate',
    fingerprint: '3f9a1c07',
    waiting: 0,
    callCounter: { level: 0, max: 20, decayPerSecond: 0.5 },
    engineCounter: { level: 0, max: 125 },
    breaker: { open: false, why: null, seconds: 0 },
    hold: null,
    keyFloor: null,
    ...parts,
  };
}

/** A call that went well, but for what is given. */
export function call(parts: Partial<Call> = {}): Call {
  return {
    at: new Date().toISOString(),
    requestId: '7d1e09ab-1',
    client: 'grid-bot',
    account: 'master',
    endpoint: 'AddOrder',
    outcome: 'executed',
    nonce: '1795356896833004847',
    waitMs: 0.4,
    upstreamMs: 31.2,
    totalMs: 33,
    status: 200,
    krakenError: null,
    error: null,
    reason: null,
    rule: null,
    txids: [],
    settled: null,
    replayed: false,
    merged: false,
    hungUp: false,
    ...parts,
  };
}

/** An hour without a call. */
export function quietHistory(): HistoryReply {
  return historyOf(() => undefined);
}

/** The last hour, second by second; `of` gets 0 for the oldest and says what differs from a quiet second. */
export function historyOf(of: (index: number) => Partial<Omit<Second, 'at'>> | undefined): HistoryReply {
  const quiet = { calls: 0, errors: 0, waitMs: null, waitMaxMs: null, upstreamMs: null, upstreamMaxMs: null };
  const seconds = Array.from({ length: HOUR }, (_, index) => ({ ...quiet, ...of(index) }));
  return {
    from: Math.floor(Date.now() / 1_000) - HOUR,
    seconds: HOUR,
    calls: seconds.map(({ calls }) => calls),
    errors: seconds.map(({ errors }) => errors),
    waitMs: seconds.map(({ waitMs }) => waitMs),
    waitMaxMs: seconds.map(({ waitMaxMs }) => waitMaxMs),
    upstreamMs: seconds.map(({ upstreamMs }) => upstreamMs),
    upstreamMaxMs: seconds.map(({ upstreamMaxMs }) => upstreamMaxMs),
  };
}
