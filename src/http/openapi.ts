import { API_ERROR_CODES } from './api-error.js';

/** A JSON Schema as OpenAPI 3.1 takes it, as far as this document uses it. */
export interface Schema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: Schema | false;
  readonly items?: Schema;
  readonly enum?: readonly (string | null)[];
  readonly anyOf?: readonly Schema[];
  readonly const?: boolean;
  readonly pattern?: string;
  readonly format?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly maxItems?: number;
}

export interface Operation {
  readonly summary: string;
  readonly description?: string;
  readonly security: readonly Readonly<Record<string, readonly string[]>>[];
  readonly parameters?: readonly {
    readonly name: string;
    readonly in: 'query';
    readonly description: string;
    readonly schema: Schema;
  }[];
  readonly requestBody?: {
    readonly required: true;
    readonly content: { readonly 'application/json': { readonly schema: Schema } };
  };
  readonly responses: Readonly<Record<string, ResponseObject>>;
}

interface ResponseObject {
  readonly description: string;
  readonly content: Readonly<Record<string, { readonly schema: Schema }>>;
}

export interface OpenApi {
  readonly openapi: '3.1.0';
  readonly info: { readonly title: string; readonly version: string; readonly description: string };
  readonly paths: Readonly<Record<string, Readonly<Partial<Record<'get' | 'post', Operation>>>>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, Schema>>;
    readonly securitySchemes: Readonly<Record<string, object>>;
  };
}

const TEXT: Schema = { type: 'string' };
const COUNT: Schema = { type: 'integer', minimum: 0 };
const NUMBER: Schema = { type: 'number' };
const FLAG: Schema = { type: 'boolean' };
const TIME: Schema = { type: 'string', format: 'date-time' };
const NAME: Schema = { type: 'string', pattern: '^[A-Za-z0-9_-]{1,64}$' };
const NONCE: Schema = { type: 'string', pattern: '^\\d{1,19}$', description: 'Decimal text.' };
const MS: Schema = { type: ['number', 'null'], description: 'ms; null where no call had such a time.' };
const HOLD: Schema = { anyOf: [ref('Hold'), { type: 'null' }] };

const REFUSALS = {
  400: 'The request is not as it should be.',
  401: 'The token is missing or wrong.',
  403: 'A web page of another origin, a foreign Host, or a listener beyond loopback without a token.',
  404: 'Nobody knows this name or plan.',
  409: 'It does not fit what is.',
  413: 'The body is larger than 16 KiB.',
  415: 'The body is not application/json.',
  429: 'Too many acts or reads, or wrong tokens; Retry-After says how long to wait.',
  500: 'A bug; see the log.',
  503: 'It cannot be now.',
} as const;
const ACT_REFUSALS = refusals(400, 401, 403, 409, 413, 415, 429, 500, 503);

const WHO: Schema = {
  ...TEXT,
  minLength: 1,
  maxLength: 200,
  description: 'Who acts. No control characters.',
};
const WHY: Schema = { ...TEXT, minLength: 1, maxLength: 200, description: 'Why. No control characters.' };
const TARGET = {
  account: { ...NAME, description: 'Only this account.' },
  client: { ...NAME, description: 'Only this client. Not together with an account.' },
};

const SCHEMAS: Readonly<Record<string, Schema>> = {
  Error: object({ error: object({ code: { ...TEXT, enum: API_ERROR_CODES }, message: TEXT }) }),
  Ready: object({
    status: { ...TEXT, enum: ['ready', 'not ready'] },
    reasons: list(ref('Reason')),
    held: list({
      ...TEXT,
      description: 'What is paused, cancel-only or frozen: calls are taken, and held back.',
    }),
    findings: list(
      object(
        {
          account: nullable(NAME),
          code: TEXT,
          severity: { ...TEXT, enum: ['error', 'warning', 'info'] },
          text: { ...TEXT, description: 'On loopback only.' },
        },
        ['text'],
      ),
    ),
  }),
  Reason: object({ reason: TEXT, detail: TEXT }),
  Hold: object(
    {
      account: NAME,
      client: NAME,
      mode: { ...TEXT, enum: ['pause', 'cancel-only', 'freeze'] },
      since: TIME,
      who: TEXT,
      why: TEXT,
    },
    ['account', 'client'],
  ),
  Holds: object({ holds: list(ref('Hold')) }),
  Finding: object({
    account: nullable(NAME),
    code: TEXT,
    severity: { ...TEXT, enum: ['error', 'warning', 'info'] },
    text: TEXT,
    fix: { ...TEXT, description: 'What to do about it.' },
    since: TIME,
  }),
  StartupWindow: object({ open: FLAG }),
  Status: object({
    version: TEXT,
    startedAt: TIME,
    now: TIME,
    upstream: { ...TEXT, description: 'sandbox, or an origin.' },
    mode: { ...TEXT, enum: ['global', 'key'] },
    ready: FLAG,
    reasons: list(ref('Reason')),
    findings: list(ref('Finding')),
    krakenStatus: nullable(TEXT),
    startupWindow: ref('StartupWindow'),
    nonce: object({
      floor: nullable(NONCE),
      leadSeconds: NUMBER,
      perSecond: NUMBER,
      burst: NUMBER,
      issued: COUNT,
      problem: nullable(TEXT),
    }),
    lanes: list(
      object({
        name: TEXT,
        inFlight: COUNT,
        waiting: COUNT,
        byClass: { type: 'object', additionalProperties: COUNT },
      }),
    ),
    accounts: list(
      object({
        name: NAME,
        tier: TEXT,
        fingerprint: TEXT,
        waiting: COUNT,
        callCounter: object({ level: NUMBER, max: NUMBER, decayPerSecond: NUMBER }),
        engineCounter: object({ level: NUMBER, max: NUMBER }),
        breaker: object({
          open: FLAG,
          why: { type: ['string', 'null'], enum: ['key', 'signature', 'lockout', null] },
          seconds: { ...NUMBER, minimum: 0 },
        }),
        hold: HOLD,
        keyFloor: nullable(NONCE),
      }),
    ),
    clients: list(object({ name: NAME, waiting: COUNT, hold: HOLD })),
    hold: HOLD,
    clockOffsetSeconds: NUMBER,
    calls: object({ total: COUNT, executed: COUNT, refused: COUNT, unknown: COUNT, notSent: COUNT }),
    journal: {
      anyOf: [
        object({
          file: TEXT,
          lines: COUNT,
          lost: COUNT,
          problem: nullable(TEXT),
          head: nullable({ ...TEXT, pattern: '^[0-9a-f]{64}$' }),
          bytes: COUNT,
        }),
        { type: 'null' },
      ],
    },
    config: object({ file: TEXT, loadedAt: TIME, warnings: list(TEXT) }),
  }),
  Call: object({
    at: TIME,
    requestId: TEXT,
    client: TEXT,
    account: TEXT,
    endpoint: TEXT,
    outcome: { ...TEXT, enum: ['executed', 'refused', 'unknown', 'not-sent'] },
    nonce: nullable(NONCE),
    waitMs: MS,
    upstreamMs: MS,
    totalMs: NUMBER,
    status: { type: ['integer', 'null'] },
    krakenError: nullable(TEXT),
    error: { type: ['string', 'null'], description: "The proxy's own error." },
    reason: nullable(TEXT),
    rule: nullable(TEXT),
    txids: list(TEXT),
    settled: { type: ['string', 'null'], enum: ['done', 'not-done', 'untold', null] },
    replayed: FLAG,
    merged: FLAG,
    hungUp: FLAG,
  }),
  Calls: object({ calls: { ...list(ref('Call')), maxItems: 200 } }),
  History: object({
    from: { ...COUNT, description: 'Unix seconds; entry i of each list is second from + i.' },
    seconds: COUNT,
    calls: list(COUNT),
    errors: list(COUNT),
    waitMs: list(MS),
    waitMaxMs: list(MS),
    upstreamMs: list(MS),
    upstreamMaxMs: list(MS),
  }),
  Second: object({
    at: { ...COUNT, description: 'Unix seconds.' },
    calls: COUNT,
    errors: { ...COUNT, description: "Refused, of unknown outcome, or answered with the proxy's own error." },
    waitMs: MS,
    waitMaxMs: MS,
    upstreamMs: MS,
    upstreamMaxMs: MS,
  }),
  Tick: object({
    status: ref('Status'),
    second: ref('Second'),
    calls: { ...list(ref('Call')), maxItems: 200, description: 'New since the last tick, newest first.' },
    skipped: { ...COUNT, description: 'New calls that are not among them.' },
  }),
  Plan: object({
    plan: { ...NAME, description: 'The id to apply it by.' },
    account: nullable(NAME),
    cause: TEXT,
    from: NONCE,
    to: NONCE,
    distanceSeconds: NUMBER,
    leadSeconds: { ...NUMBER, description: 'Of the new floor over the clock.' },
    meaning: { ...TEXT, description: 'What becomes of the key.' },
    expiresAt: TIME,
  }),
};

const PATHS: OpenApi['paths'] = {
  '/healthz': { get: open('Whether the process lives', object({ status: { ...TEXT, enum: ['alive'] } })) },
  '/readyz': {
    get: {
      ...open('Whether calls are served, and what the key doctor found', ref('Ready')),
      responses: {
        200: json('Calls are served.', ref('Ready')),
        503: json('They are not, for the reasons given.', ref('Ready')),
      },
    },
  },
  '/metrics': {
    get: {
      summary: 'Metrics for Prometheus',
      security: [],
      responses: {
        200: { description: 'The text format 0.0.4.', content: { 'text/plain': { schema: TEXT } } },
        403: json('A web page of another origin, or a foreign Host.', ref('Error')),
      },
    },
  },
  '/v1/status': { get: read('Everything at a glance', ref('Status')) },
  '/v1/calls': {
    get: {
      ...read('The last calls, newest first', ref('Calls')),
      parameters: [
        {
          name: 'limit',
          in: 'query',
          description: 'How many at most. Default 200.',
          schema: { type: 'integer', minimum: 1, maximum: 200 },
        },
      ],
    },
  },
  '/v1/history': { get: read('The last hour by the second', ref('History')) },
  '/v1/events': {
    get: {
      summary: 'What is new, once a second',
      description:
        'Server-sent events: `event: tick` with a Tick as its data. Who reads slowly misses ticks. At most 16 watch.',
      security: [{ token: [] }],
      responses: {
        200: {
          description: 'The stream; it ends when the proxy stops.',
          content: { 'text/event-stream': { schema: ref('Tick') } },
        },
        ...refusals(401, 403, 429, 503),
      },
    },
  },
  '/v1/startup-window': { get: read('Whether the startup window is open', ref('StartupWindow')) },
  '/v1/openapi.json': { get: read('This document', { type: 'object' }) },
  '/v1/pause': {
    post: act('Lets nothing go: of everything, an account or a client', TARGET, [], ref('Holds'), 404),
  },
  '/v1/cancel-only': {
    post: act('Lets only cancels and reads go; the rest is refused', TARGET, [], ref('Holds'), 404),
  },
  '/v1/resume': { post: act('Lifts a hold', TARGET, [], ref('Holds'), 404) },
  '/v1/drop': {
    post: act(
      "Fails a client's waiting calls",
      { client: NAME, account: { ...NAME, description: 'Only those for this account.' } },
      ['client'],
      object({ dropped: COUNT }),
      404,
    ),
  },
  '/v1/startup-window/open': { post: act('Begins the startup window anew', {}, [], ref('StartupWindow')) },
  '/v1/startup-window/close': { post: act('Leaves the startup window early', {}, [], ref('StartupWindow')) },
  '/v1/nonce-jump/plan': {
    post: act(
      'Says what lifting the floor would do; changes nothing',
      {
        account: { ...NAME, description: "Only this account's key. Default: all." },
        distance: {
          ...TEXT,
          pattern: '^[1-9]\\d{0,11}(?:ms|s|m|h|d)$',
          description: 'How far, such as 1h.',
        },
      },
      [],
      ref('Plan'),
      404,
    ),
  },
  '/v1/nonce-jump/apply': {
    post: act(
      'Lifts the floor as planned; it never comes down again',
      { plan: NAME },
      ['plan'],
      object({ floor: NONCE }),
      404,
    ),
  },
  '/v1/reload': {
    post: act(
      'Reads the config again',
      {},
      [],
      object({
        changed: { ...list(TEXT), description: 'Options that are in force now.' },
        needsRestart: { ...list(TEXT), description: 'Options that are not until the next start.' },
      }),
    ),
  },
  '/v1/doctor': { post: act('Examines every key now', {}, [], object({ findings: list(ref('Finding')) })) },
  '/v1/stop': { post: stopAct() },
};

/** What the operator's listener answers, as `/v1/openapi.json` gives it. */
export function openApi(version: string): OpenApi {
  return {
    openapi: '3.1.0',
    info: {
      title: 'kraken-signing-proxy: admin API',
      version,
      description:
        'On the ops listener. With ops.token every path under /v1 needs it as a bearer token; without, they are ' +
        'served on loopback only. Acts say who and why, and are journaled. Web pages of other origins are refused.',
    },
    paths: PATHS,
    components: {
      schemas: SCHEMAS,
      securitySchemes: { token: { type: 'http', scheme: 'bearer', description: 'ops.token of the config.' } },
    },
  };
}

function object(properties: Readonly<Record<string, Schema>>, optional: readonly string[] = []): Schema {
  const required = Object.keys(properties).filter((name) => !optional.includes(name));
  return { type: 'object', properties, required, additionalProperties: false };
}

function list(items: Schema): Schema {
  return { type: 'array', items };
}

function nullable(schema: Schema): Schema {
  return { ...schema, type: [schema.type, 'null'].flat().filter((type) => type !== undefined) };
}

function ref(name: string): Schema {
  return { $ref: `#/components/schemas/${name}` };
}

function json(description: string, schema: Schema): ResponseObject {
  return { description, content: { 'application/json': { schema } } };
}

function refusals(...statuses: readonly (keyof typeof REFUSALS)[]): Record<string, ResponseObject> {
  return Object.fromEntries(statuses.map((status) => [status, json(REFUSALS[status], ref('Error'))]));
}

function open(summary: string, schema: Schema): Operation {
  return { summary, security: [], responses: { 200: json('As asked.', schema), ...refusals(403) } };
}

function read(summary: string, schema: Schema): Operation {
  return {
    summary,
    security: [{ token: [] }],
    responses: { 200: json('As asked.', schema), ...refusals(400, 401, 403, 429, 500) },
  };
}

function act(
  summary: string,
  fields: Readonly<Record<string, Schema>>,
  required: readonly string[],
  answer: Schema,
  ...more: readonly 404[]
): Operation {
  const optional = Object.keys(fields).filter((name) => !required.includes(name));
  const schema = object({ ...fields, who: WHO, why: WHY }, optional);
  return {
    summary,
    security: [{ token: [] }],
    requestBody: { required: true, content: { 'application/json': { schema } } },
    responses: {
      200: json('Done.', answer),
      ...refusals(...more),
      ...ACT_REFUSALS,
    },
  };
}

function stopAct(): Operation {
  const stop = act('Stops: nothing new, what waits fails, what is in flight ends', {}, [], TEXT);
  const answer = object({ stopping: { type: 'boolean', const: true } });
  const responses = { 202: json('It has begun to stop.', answer), ...ACT_REFUSALS };
  return { ...stop, responses };
}
