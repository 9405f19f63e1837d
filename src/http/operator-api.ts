import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Context, Hono } from 'hono';
import type { ActRecord } from '../journal/journal-line.js';
import { ActRefused } from '../operator/act-refused.js';
import type { HistoryView } from '../operator/call-history.js';
import type { CallView } from '../operator/recent-calls.js';
import type { FindingView, HoldView, NonceJumpPlan } from '../operator/views.js';
import {
  fieldsOf,
  readAct,
  signatureOf,
  type ActField,
  type ActFields,
  type Signature,
} from './act-fields.js';
import { ApiError } from './api-error.js';
import { BodyBudget, RequestAbandoned } from './body.js';
import type { LiveEvents, NewsSource } from './live-events.js';
import { openApi } from './openapi.js';

/** Who acts, why, and from which address. */
export interface By extends Signature {
  readonly address: string | undefined;
}

/** Everything, one account, or one client; never both of these. */
export interface Target {
  readonly account?: string;
  readonly client?: string;
}

/**
 * What the operator's API shows and steers. Reads are cheap and must not throw. Acts may be called at any time, several
 * at once; they resolve when what they did holds, and reject with ActRefused when they are not done: `not-found` for a
 * name or plan nobody knows, `conflict` and `bad-request` for what does not fit, `unavailable` for what cannot be now.
 * The API has checked the shape of what they are given, and reports what they did.
 */
export interface Controls extends NewsSource {
  /** The last calls, newest first, 200 at most. */
  calls(limit: number): readonly CallView[];
  history(): HistoryView;
  startupWindow(): { readonly open: boolean };
  /** All three give every hold in force afterwards. */
  pause(target: Target, by: By): Promise<Holds>;
  cancelOnly(target: Target, by: By): Promise<Holds>;
  resume(target: Target, by: By): Promise<Holds>;
  /** Fails the calls of a client that wait, for one account or all; gives how many. */
  drop(
    what: { readonly client: string; readonly account?: string },
    by: By,
  ): Promise<{ readonly dropped: number }>;
  openStartupWindow(by: By): Promise<{ readonly open: boolean }>;
  closeStartupWindow(by: By): Promise<{ readonly open: boolean }>;
  /** `distance` as `1h`. Changes nothing. */
  planNonceJump(
    what: { readonly account?: string; readonly distance?: string },
    by: By,
  ): Promise<NonceJumpPlan>;
  /** Applies a plan, once. Gives the new floor. */
  applyNonceJump(plan: string, by: By): Promise<{ readonly floor: string }>;
  /** Gives paths of options. */
  reload(by: By): Promise<{ readonly changed: readonly string[]; readonly needsRestart: readonly string[] }>;
  /** Examines every key now. */
  examineKeys(by: By): Promise<{ readonly findings: readonly FindingView[] }>;
  /** Resolves as soon as the stop has begun: the answer is to go out before the listener closes. */
  stop(by: By): Promise<void>;
}

export interface Holds {
  readonly holds: readonly HoldView[];
}

export interface OperatorApiParts {
  readonly controls: Controls;
  readonly version: string;
  readonly events: LiveEvents;
  /** Whether whoever was let in with this Authorization would be now. */
  readonly stillAdmits: (authorization: string | undefined) => boolean;
  /** Told of each act that was let in, whatever became of it. Must not throw. */
  readonly acted: (act: ActRecord) => void;
}

export interface OpsEnv {
  Bindings: { readonly incoming: IncomingMessage; readonly outgoing: ServerResponse };
}

interface Act {
  readonly takes: readonly ActField[];
  readonly needs?: readonly ActField[];
  readonly status?: 202;
  readonly run: (controls: Controls, fields: ActFields, by: By) => Promise<object>;
  /** What of the answer is worth keeping in the journal. */
  readonly worthKeeping?: readonly string[];
}

const MAX_CALLS = 200;
/** All bodies of acts under way together. */
const MAX_BODIES_BYTES = 1024 * 1024;
const TARGET: readonly ActField[] = ['account', 'client'];
/** What the journal says who acted where the request did not. */
const UNNAMED: Signature = { who: 'unknown', why: '' };

const ACTS: Readonly<Record<string, Act>> = {
  pause: { takes: TARGET, run: (controls, fields, by) => controls.pause(targetOf(fields), by) },
  'cancel-only': { takes: TARGET, run: (controls, fields, by) => controls.cancelOnly(targetOf(fields), by) },
  resume: { takes: TARGET, run: (controls, fields, by) => controls.resume(targetOf(fields), by) },
  drop: {
    takes: TARGET,
    needs: ['client'],
    run: (controls, { client = '', account }, by) =>
      controls.drop(account === undefined ? { client } : { client, account }, by),
    worthKeeping: ['dropped'],
  },
  'startup-window/open': { takes: [], run: (controls, _, by) => controls.openStartupWindow(by) },
  'startup-window/close': { takes: [], run: (controls, _, by) => controls.closeStartupWindow(by) },
  'nonce-jump/plan': {
    takes: ['account', 'distance'],
    run: (controls, fields, by) => controls.planNonceJump(fields, by),
    worthKeeping: ['plan', 'from', 'to'],
  },
  'nonce-jump/apply': {
    takes: ['plan'],
    needs: ['plan'],
    run: (controls, { plan = '' }, by) => controls.applyNonceJump(plan, by),
    worthKeeping: ['floor'],
  },
  reload: {
    takes: [],
    run: (controls, _, by) => controls.reload(by),
    worthKeeping: ['changed', 'needsRestart'],
  },
  doctor: { takes: [], run: (controls, _, by) => controls.examineKeys(by) },
  stop: {
    takes: [],
    status: 202,
    run: async (controls, _, by) => {
      await controls.stop(by);
      return { stopping: true };
    },
  },
};

/** Adds the operator's API to the app. Who may use it was decided before (OperatorAccess). */
export function addOperatorApi(app: Hono<OpsEnv>, parts: OperatorApiParts): void {
  const { controls, events, version } = parts;
  const budget = new BodyBudget(MAX_BODIES_BYTES);

  app.get('/v1/status', (context) => context.json(controls.status()));
  app.get('/v1/calls', (context) =>
    context.json({ calls: controls.calls(limitOf(context.req.query('limit'))) }),
  );
  app.get('/v1/history', (context) => context.json(controls.history()));
  app.get('/v1/startup-window', (context) => context.json(controls.startupWindow()));
  app.get('/v1/openapi.json', (context) => context.json(openApi(version)));
  app.get('/v1/events', (context) => watch(context, events, parts.stillAdmits));
  for (const [name, act] of Object.entries(ACTS)) {
    app.post(`/v1/${name}`, async (context) => {
      const answer = await perform(name, act, context.env.incoming, parts, budget);
      return answer === undefined ? context.body(null, 400) : context.json(answer, act.status ?? 200);
    });
  }
}

/** Does an act and reports it. Undefined: the client went away before it had said what to do. */
async function perform(
  name: string,
  act: Act,
  incoming: IncomingMessage,
  { controls, acted }: OperatorApiParts,
  budget: BodyBudget,
): Promise<object | undefined> {
  const { remoteAddress: address } = incoming.socket;
  let signature = UNNAMED;
  let fields: ActFields | undefined;
  const report = (result: ActRecord['result'], more: Readonly<Record<string, unknown>>): void => {
    const { plan, distance, ...target } = fields ?? {};
    const asked = { ...(plan !== undefined && { plan }), ...(distance !== undefined && { distance }) };
    const detail = { ...asked, ...more };
    acted({
      ...{ act: name, ...signature, address, result },
      ...(fields !== undefined && takesTarget(act) && { target: describe(target) }),
      ...(Object.keys(detail).length > 0 && { detail }),
    });
  };
  try {
    const body = await readAct(incoming, budget);
    signature = signatureOf(body);
    fields = fieldsOf(body, act.takes, act.needs ?? []);
    const answer = await act.run(controls, fields, { ...signature, address });
    report('done', pick(answer, act.worthKeeping ?? []));
    return answer;
  } catch (error) {
    if (error instanceof RequestAbandoned) return undefined;
    const isRefusal = error instanceof ApiError || error instanceof ActRefused;
    if (isRefusal) report('refused', { reason: error.message });
    else report('failed', {});
    throw error;
  }
}

function watch(
  context: Context<OpsEnv>,
  events: LiveEvents,
  stillAdmits: OperatorApiParts['stillAdmits'],
): Response {
  const headers = { 'content-type': 'text/event-stream; charset=utf-8', 'x-accel-buffering': 'no' };
  // Nobody would read the stream of an answer that has no body.
  if (context.req.method === 'HEAD') return context.body(null, 200, headers);
  const { incoming, outgoing } = context.env;
  const { authorization } = incoming.headers;
  const stream = events.watch({
    isAllowed: () => stillAdmits(authorization),
    drop: () => void outgoing.destroy(),
  });
  if (stream === undefined) throw new ApiError('unavailable', 'as many watch already as may', 5);
  return context.body(stream, 200, headers);
}

function limitOf(text: string | undefined): number {
  if (text === undefined) return MAX_CALLS;
  const limit = /^\d{1,3}$/.test(text) ? Number(text) : 0;
  if (limit < 1 || limit > MAX_CALLS) {
    throw new ApiError('bad-request', `limit is to be a number from 1 to ${MAX_CALLS}`);
  }
  return limit;
}

function targetOf({ account, client }: ActFields): Target {
  if (account !== undefined && client !== undefined) {
    throw new ApiError('bad-request', 'name an account or a client, not both');
  }
  return { ...(account !== undefined && { account }), ...(client !== undefined && { client }) };
}

function takesTarget({ takes }: Act): boolean {
  return takes.includes('account');
}

function describe({ account, client }: Target): string {
  const named = [client !== undefined && `client ${client}`, account !== undefined && `account ${account}`];
  return named.filter((each) => each !== false).join(', ') || 'everything';
}

function pick(answer: object, names: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(answer).filter(([name]) => names.includes(name)));
}
