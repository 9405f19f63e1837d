import { once } from 'node:events';
import { createServer, request, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import type { BadToken } from '../../src/http/operator-access.js';
import type { By, Controls, Holds } from '../../src/http/operator-api.js';
import type { ActRecord } from '../../src/journal/journal-line.js';
import { createOps, type OpsParts } from '../../src/http/ops.js';
import { newCallRecord } from '../../src/log.js';
import { ActRefused } from '../../src/operator/act-refused.js';
import { CallHistory } from '../../src/operator/call-history.js';
import { RecentCalls } from '../../src/operator/recent-calls.js';
import type { FindingView, HoldView, Status } from '../../src/operator/views.js';
import { Secret } from '../../src/secret.js';

/** The wall clock of the world, unix ms. */
export const NOON = Date.UTC(2026, 0, 2, 12);
const SINCE = new Date(NOON).toISOString();

const FINDING: FindingView = {
  account: 'alice',
  code: 'key-expiring',
  severity: 'warning',
  text: 'the key ends in 3 days',
  fix: 'make a new one',
  since: SINCE,
};

export interface OperatorWorld {
  /** Base URL of the ops listener. */
  readonly url: string;
  readonly port: number;
  readonly controls: FakeControls;
  readonly acted: readonly ActRecord[];
  /** Reasons of what was refused as a web page's. */
  readonly refused: readonly string[];
  readonly badTokens: readonly BadToken[];
  readonly failed: readonly unknown[];
  /** Monotonic ms of the limits, and unix ms of the live news. */
  readonly clock: { ms: number; wall: number };
  /** The token in force. */
  token: Secret | undefined;
  /** Live news wait for their timer. */
  readonly ticking: boolean;
  /** Lets the timer of the live news fire. */
  tick(): void;
  ask(method: string, path: string, options?: AskOptions): Promise<OpsReply>;
  /** An act, signed by ana, as JSON. */
  act(name: string, fields?: object, options?: AskOptions): Promise<OpsReply>;
  /** Opens the live events; resolves with the answer's head. */
  watch(options?: AskOptions): Promise<IncomingMessage>;
  /** As the server does when it stops. */
  stop(): void;
  close(): Promise<void>;
}

export interface AskOptions {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
  /** The address to call from. */
  readonly from?: string;
}

export interface OpsReply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** Undefined when the body is none. */
  readonly json: unknown;
  /** The code of an error. */
  readonly code: string | undefined;
}

export interface OperatorWorldOptions extends Partial<Pick<OpsParts, 'page' | 'onLoopback' | 'notReady'>> {
  readonly token?: string;
  readonly hosts?: readonly string[];
}

/** The operator's listener over real sockets, in front of controls that only note what they are told. */
export async function openOperatorWorld(options: OperatorWorldOptions = {}): Promise<OperatorWorld> {
  const controls = new FakeControls();
  const acted: ActRecord[] = [];
  const refused: string[] = [];
  const badTokens: BadToken[] = [];
  const failed: unknown[] = [];
  const clock = { ms: 1_000, wall: NOON };
  let token = options.token === undefined ? undefined : new Secret(options.token);
  let timer: (() => void) | undefined;
  const ops = createOps({
    hosts: options.hosts ?? ['localhost', '127.0.0.1', '[::1]'],
    onLoopback: options.onLoopback ?? true,
    token: () => token,
    metrics: () => Promise.resolve({ text: 'up 1\n', contentType: 'text/plain; version=0.0.4' }),
    notReady: options.notReady ?? (() => []),
    held: () => [],
    findings: () => [FINDING],
    controls,
    version: '0.0.0-test',
    page: options.page ?? (() => undefined),
    refused: (error) => refused.push(error.message),
    badToken: (attempt) => badTokens.push(attempt),
    acted: (act) => acted.push(act),
    failed: (error) => failed.push(error),
    now: () => clock.ms,
    ticks: {
      now: () => clock.wall,
      after: (_ms, run) => {
        timer = run;
        return () => (timer = undefined);
      },
    },
  });
  const handle = getRequestListener(ops.app.fetch, { overrideGlobalObjects: false });
  const server = createServer((incoming, outgoing) => void handle(incoming, outgoing));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;

  const send = (method: string, path: string, { headers = {}, body = '', from }: AskOptions) =>
    new Promise<IncomingMessage>((resolve, reject) => {
      const outgoing = request(
        { hostname: '127.0.0.1', port, method, path, headers, agent: false, localAddress: from },
        resolve,
      );
      outgoing.on('error', reject);
      outgoing.end(body);
    });
  const ask: OperatorWorld['ask'] = async (method, path, asked = {}) => {
    const incoming = await send(method, path, asked);
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const json = jsonOf(text);
    const { code } = (json as { error?: { code?: string } } | undefined)?.error ?? {};
    return { status: incoming.statusCode ?? 0, headers: incoming.headers, text, json, code };
  };
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    controls,
    acted,
    refused,
    badTokens,
    failed,
    clock,
    get token() {
      return token;
    },
    set token(to) {
      token = to;
    },
    get ticking() {
      return timer !== undefined;
    },
    tick: () => {
      const run = timer;
      timer = undefined;
      run?.();
    },
    ask,
    act: (name, fields = {}, { headers, ...rest } = {}) =>
      ask('POST', `/v1/${name}`, {
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify({ who: 'ana', why: 'Kraken refuses us', ...fields }),
        ...rest,
      }),
    watch: (asked = {}) => send('GET', '/v1/events', asked),
    stop: () => ops.close(),
    close: async () => {
      ops.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Notes what it is told to do, and does as little of it as its answers need. */
export class FakeControls implements Controls {
  readonly recent = new RecentCalls();
  readonly past = new CallHistory(() => NOON);
  /** Each act: its name, what it was given, and by whom. */
  readonly told: { readonly act: string; readonly what: unknown; readonly by: By }[] = [];
  /** What the next act rejects with. */
  trouble: Error | undefined;
  /** What reads throw. */
  broken: Error | undefined;
  /** Makes the status as large as this, bytes. */
  padding = 0;
  #open = true;
  #hold: HoldView | undefined;

  constructor() {
    this.end('1');
    this.end('2', {
      nonce: '1795000000000000001',
      waitMs: 1.5,
      upstreamMs: 20,
      txids: ['OABC'],
      status: 200,
    });
  }

  /** A call ends. */
  end(requestId: string, facts: Partial<ReturnType<typeof newCallRecord>> = {}): void {
    const record = { ...newCallRecord(requestId, 'AddOrder'), ...facts };
    this.recent.add(record);
    this.past.add(record);
  }

  status(): Status {
    if (this.broken !== undefined) throw this.broken;
    const hold = this.#hold ?? null;
    return {
      version: '0.0.0-test',
      startedAt: SINCE,
      now: SINCE,
      upstream: 'x'.repeat(this.padding) || 'sandbox',
      mode: 'global',
      ready: true,
      reasons: [{ reason: 'starting', detail: 'the nonce state is being opened' }],
      findings: [FINDING, { ...FINDING, account: null }],
      krakenStatus: null,
      startupWindow: { open: this.#open },
      nonce: {
        ...{ floor: '1795000000000000001', leadSeconds: 0.1, perSecond: 1.5, burst: 4, issued: 2 },
        problem: null,
      },
      lanes: [{ name: 'global', inFlight: 1, waiting: 2, byClass: { order: 2 } }],
      accounts: [
        {
          ...{ name: 'alice', tier: 'starter', fingerprint: 'abcd', waiting: 2 },
          callCounter: { level: 1.2, max: 15, decayPerSecond: 0.33 },
          engineCounter: { level: 0, max: 60 },
          breaker: { open: true, why: 'lockout', seconds: 12.5 },
          hold,
          keyFloor: null,
        },
      ],
      clients: [{ name: 'grid-bot', waiting: 0, hold: null }],
      hold,
      clockOffsetSeconds: 0,
      calls: { total: 2, executed: 1, refused: 0, unknown: 0, notSent: 1 },
      journal: { file: 'j.jsonl', lines: 2, lost: 0, problem: null, head: 'ab'.repeat(32), bytes: 10 },
      config: { file: 'proxy.config.json', loadedAt: SINCE, warnings: ['a warning'] },
    };
  }

  calls(limit: number): ReturnType<Controls['calls']> {
    return this.recent.view(limit);
  }

  callsSince(count: number): ReturnType<Controls['callsSince']> {
    return this.recent.since(count);
  }

  history(): ReturnType<Controls['history']> {
    return this.past.view();
  }

  second(at: number): ReturnType<Controls['second']> {
    return this.past.second(at);
  }

  startupWindow(): { readonly open: boolean } {
    return { open: this.#open };
  }

  pause(target: object, by: By): Promise<Holds> {
    return this.#holding('pause', target, by);
  }

  cancelOnly(target: object, by: By): Promise<Holds> {
    return this.#holding('cancel-only', target, by);
  }

  async resume(target: object, by: By): Promise<Holds> {
    await this.#note('resume', target, by);
    this.#hold = undefined;
    return { holds: [] };
  }

  async drop(what: object, by: By): Promise<{ readonly dropped: number }> {
    await this.#note('drop', what, by);
    return { dropped: 3 };
  }

  async openStartupWindow(by: By): Promise<{ readonly open: boolean }> {
    await this.#note('startup-window/open', {}, by);
    return { open: (this.#open = true) };
  }

  async closeStartupWindow(by: By): Promise<{ readonly open: boolean }> {
    await this.#note('startup-window/close', {}, by);
    return { open: (this.#open = false) };
  }

  async planNonceJump(what: object, by: By): ReturnType<Controls['planNonceJump']> {
    await this.#note('nonce-jump/plan', what, by);
    const size = { from: '1795000000000000001', to: '1795003600000000001', distanceSeconds: 3_600 };
    const words = {
      cause: 'a nonce above ours',
      meaning: 'lower ones are refused for ever',
      expiresAt: SINCE,
    };
    return { plan: 'p-1', account: null, ...size, leadSeconds: 3_600.1, ...words };
  }

  async applyNonceJump(plan: string, by: By): Promise<{ readonly floor: string }> {
    await this.#note('nonce-jump/apply', { plan }, by);
    if (plan !== 'p-1') throw new ActRefused('not-found', 'there is no such plan, or it is too old');
    return { floor: '1795003600000000001' };
  }

  async reload(by: By): ReturnType<Controls['reload']> {
    await this.#note('reload', {}, by);
    return { changed: ['clients.grid-bot.allow'], needsRestart: ['listen.port'] };
  }

  async examineKeys(by: By): Promise<{ readonly findings: readonly FindingView[] }> {
    await this.#note('doctor', {}, by);
    return { findings: [FINDING] };
  }

  async stop(by: By): Promise<void> {
    await this.#note('stop', {}, by);
  }

  async #holding(mode: 'pause' | 'cancel-only', target: object, by: By): Promise<Holds> {
    await this.#note(mode, target, by);
    this.#hold = { ...target, mode, since: SINCE, who: by.who, why: by.why };
    return { holds: [this.#hold] };
  }

  #note(act: string, what: object, by: By): Promise<void> {
    this.told.push({ act, what: { ...what }, by });
    const { trouble } = this;
    this.trouble = undefined;
    return trouble === undefined ? Promise.resolve() : Promise.reject(trouble);
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
