import type { IncomingMessage } from 'node:http';
import { Hono } from 'hono';
import type { ProxyError } from '../errors.js';
import { renderError } from '../errors.js';
import { refuseBrowsers } from './headers.js';

/** Why the proxy is not ready to take calls. */
export interface NotReady {
  /** Stable, for machines: `starting`, `standby`, `not-owner`, `shutting-down`. */
  readonly reason: string;
  /** For a person: what happened and what to do. */
  readonly detail: string;
}

export interface OpsParts {
  readonly hosts: readonly string[];
  readonly metrics: () => Promise<{ readonly text: string; readonly contentType: string }>;
  /** Empty when ready. */
  readonly notReady: () => readonly NotReady[];
  readonly startupWindow: { open(): void; close(): void; readonly isOpen: boolean };
  /** Whether acts are allowed on this listener: on loopback only, until acts carry a token. */
  readonly actsAllowed: boolean;
  readonly refused: (error: ProxyError) => void;
  readonly acted: (act: string) => void;
}

/** The operator's listener: health, readiness, metrics, and the startup window. */
export function createOps(parts: OpsParts): Hono<{ Bindings: { incoming: IncomingMessage } }> {
  const hosts = new Set(parts.hosts);
  const app = new Hono<{ Bindings: { incoming: IncomingMessage } }>();

  app.use(async (context, next) => {
    refuseBrowsers(context.env.incoming.headers, hosts);
    await next();
  });
  app.onError((error, context) => {
    if (error.name !== 'ProxyError') return context.json({ error: 'a bug; see the log' }, 500);
    parts.refused(error as ProxyError);
    const { headers, body } = renderError(error as ProxyError);
    return context.body(body.toString(), 403, headers);
  });
  app.get('/healthz', (context) => context.json({ status: 'alive' }));
  app.get('/readyz', (context) => {
    const reasons = parts.notReady();
    if (reasons.length === 0) return context.json({ status: 'ready', reasons });
    return context.json({ status: 'not ready', reasons }, 503);
  });
  app.get('/metrics', async (context) => {
    const { text, contentType } = await parts.metrics();
    return context.body(text, 200, { 'content-type': contentType });
  });
  app.get('/v1/startup-window', (context) => context.json({ open: parts.startupWindow.isOpen }));
  app.post('/v1/startup-window/:act{open|close}', (context) => {
    if (!parts.actsAllowed) return context.json({ error: 'acts are taken on loopback only' }, 403);
    const act = context.req.param('act') === 'open' ? 'open' : 'close';
    parts.startupWindow[act]();
    parts.acted(`startup-window ${act}`);
    return context.json({ open: parts.startupWindow.isOpen });
  });
  return app;
}
