import { Hono } from 'hono';
import { ProxyError } from '../errors.js';
import type { ActRecord } from '../journal/journal-line.js';
import { ActRefused } from '../operator/act-refused.js';
import type { FindingView } from '../operator/views.js';
import type { Secret } from '../secret.js';
import { ApiError, renderApiError } from './api-error.js';
import { LiveEvents, type LiveEventsOptions } from './live-events.js';
import { OperatorAccess, type BadToken } from './operator-access.js';
import { addOperatorApi, type Controls, type OpsEnv } from './operator-api.js';

/** Why the proxy is not ready to take calls. */
export interface NotReady {
  /** Stable, for machines: `starting`, `standby`, `not-owner`, `shutting-down`. */
  readonly reason: string;
  /** For a person: what happened and what to do. */
  readonly detail: string;
}

/** A file of the page, or the answer to a path it knows. */
export interface PageAnswer {
  readonly status?: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Buffer;
}

export interface OpsParts {
  /** Names the listener answers to. */
  readonly hosts: readonly string[];
  /** Nobody from another machine can connect. Elsewhere the page and the API need a token. */
  readonly onLoopback: boolean;
  /** The token in force (`ops.token`); undefined: none is configured. Asked anew for each request. */
  readonly token: () => Secret | undefined;
  readonly metrics: () => Promise<{ readonly text: string; readonly contentType: string }>;
  /** Empty when ready. */
  readonly notReady: () => readonly NotReady[];
  /** What the key doctor found; it makes nothing unready by itself. */
  readonly findings: () => readonly Pick<FindingView, 'account' | 'code' | 'severity' | 'text'>[];
  /** What is paused, cancel-only or frozen, such as `account alice: pause`; calls are taken all the same. */
  readonly held: () => readonly string[];
  readonly controls: Controls;
  readonly version: string;
  /**
   * The page's answer to a path, given the request's If-None-Match; undefined: not one of its own. Nothing in it may
   * need a token.
   */
  readonly page: (path: string, ifNoneMatch?: string) => PageAnswer | undefined;
  /** A web page that is not ours, or a foreign Host, was turned away. */
  readonly refused: (error: ProxyError) => void;
  /** Told of some of the bad tokens, so that a flood of them does not fill the log. */
  readonly badToken: (attempt: BadToken) => void;
  /** Told of each act that was let in, whatever became of it. Must not throw. */
  readonly acted: (act: ActRecord) => void;
  /** A bug: a request was answered with 500, or the live news could not be gathered. */
  readonly failed: (error: unknown) => void;
  /** For the limits, monotonic ms. Default: the process's own clock. */
  readonly now?: () => number;
  /** Default: the system's clock and timers. */
  readonly ticks?: Pick<LiveEventsOptions, 'now' | 'after'>;
}

/** The operator's listener. */
export interface Ops {
  readonly app: Hono<OpsEnv>;
  /** Ends the live streams, which would otherwise hold up a stop. */
  close(): void;
}

/** Answers are for whoever asked: not kept, not guessed at, and not to be built into other pages. */
const GUARDED = {
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'cross-origin-resource-policy': 'same-origin',
} as const;

const NO_SUCH_PATH = new ApiError('not-found', 'there is no such path, or not with this method');

/** The operator's listener: health, readiness and metrics for everybody; the page and the admin API. */
export function createOps(parts: OpsParts): Ops {
  const { controls, failed, now, onLoopback, page } = parts;
  const access = new OperatorAccess({ ...parts, now, isPage: (path) => page(path) !== undefined });
  const events = new LiveEvents({ source: controls, failed, ...parts.ticks });
  const app = new Hono<OpsEnv>();

  app.use(async (context, next) => {
    for (const [name, value] of Object.entries(GUARDED)) context.header(name, value);
    access.admit(context.env.incoming, context.req.path);
    await next();
  });
  app.onError((error, context) => {
    if (error instanceof ProxyError) {
      parts.refused(error);
      context.header('x-proxy-error', error.code);
    }
    const { status, headers, body } = renderApiError(apiErrorOf(error));
    if (status === 500) failed(error);
    return context.json(body, status, headers);
  });
  app.get('/healthz', (context) => context.json({ status: 'alive' }));
  app.get('/readyz', (context) => {
    const reasons = parts.notReady();
    const findings = parts.findings().map(({ account, code, severity, text }) => {
      // Whoever reaches the listener may ask: elsewhere nonces, dates and the like are for who has the token.
      return { account, code, severity, ...(onLoopback ? { text } : {}) };
    });
    const isReady = reasons.length === 0;
    const status = isReady ? 'ready' : 'not ready';
    return context.json({ status, reasons, held: parts.held(), findings }, isReady ? 200 : 503);
  });
  app.get('/metrics', async (context) => {
    const { text, contentType } = await parts.metrics();
    return context.body(text, 200, { 'content-type': contentType });
  });
  const { acted, version } = parts;
  const stillAdmits = access.stillAdmits.bind(access);
  addOperatorApi(app, { controls, version, events, stillAdmits, acted });
  // Last, so that the page has what nobody else has.
  app.notFound((context) => {
    const { method, path } = context.req;
    const found =
      method === 'GET' || method === 'HEAD' ? page(path, context.req.header('if-none-match')) : undefined;
    if (found === undefined) {
      const { status, body } = renderApiError(NO_SUCH_PATH);
      return context.json(body, status);
    }
    const headers = new Headers(GUARDED);
    for (const [name, value] of Object.entries(found.headers)) headers.set(name, value);
    const { status = 200, body } = found;
    return new Response(status === 304 ? null : body, { status, headers });
  });
  return { app, close: () => events.close() };
}

function apiErrorOf(error: Error): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof ActRefused) return new ApiError(error.code, error.message);
  if (error instanceof ProxyError) return new ApiError('forbidden', error.message);
  return new ApiError('internal', 'a bug; see the log');
}
