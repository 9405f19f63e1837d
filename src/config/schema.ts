import { z } from 'zod';
import { accountsSchema, choice, referenceSchema } from './account-schema.js';
import { bindHost, hostHeaderName, LOOPBACK_NAMES, upstreamOrigin } from './addresses.js';
import { clientsSchema, tlsSchema } from './client-schema.js';
import { breakerSchema, classWaits, ordersSchema, pacingSchema, publicCallsSchema } from './limits-schema.js';
import { nonceSchema } from './nonce-schema.js';
import { whole } from './numbers.js';
import { doctorSchema, journalSchema } from './operator-schema.js';

const LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;
const LANES = ['global', 'key'] as const;
const LOG_FORMATS = ['auto', 'json', 'text', 'journald'] as const;

/** How much the log tells. */
export type LogLevel = (typeof LEVELS)[number];
/** How it is written. */
export type LogFormat = (typeof LOG_FORMATS)[number];

// In every schema below `error` is what the option expects, and ends up in the operator's report. Zod's
// own messages are never shown: they speak of patterns and unions.

const OBJECT = { error: 'an object' };
const HOST = 'an IP address or a host name';

const port = (description: string, otherwise: number): z.ZodDefault<z.ZodInt> =>
  whole(`${description} 0 takes a free port, which the first log line after start names.`, {
    unit: '',
    min: 0,
    max: 65535,
    otherwise,
  });

const hosts = (listener: string): z.ZodOptional<z.ZodArray<z.ZodString>> =>
  z
    .array(
      z
        .string({ error: 'a host name or IP address without port, IPv6 in brackets' })
        .refine((text) => hostHeaderName(text) !== undefined),
      { error: 'a list of 1 to 100 host names' },
    )
    .min(1)
    .max(100)
    .optional()
    .describe(
      'Host names this listener answers to in the Host header, without port; a call for any other name is refused, ' +
        'which keeps web pages out (DNS rebinding). Replaces the default rather than adding to it. Default: ' +
        `${LOOPBACK_NAMES.join(', ')} and ${listener}.host unless that is a wildcard. It does not choose the ` +
        `address to listen on (${listener}.host does) and is no access control against programs.`,
    );

const listen = z
  .strictObject(
    {
      host: z
        .string({ error: HOST })
        .refine((text) => bindHost(text) !== undefined)
        .default('127.0.0.1')
        .describe(
          'Address to serve bots on. Beyond loopback it needs clients, and listen.tls or listen.insecure; then name in ' +
            'listen.hosts what the bots call this host. Default 127.0.0.1.',
        ),
      port: port('Port to serve bots on.', 8787),
      maxBodyBytes: whole(
        'Largest request body in bytes; a larger one is refused and nothing is sent. It does not limit replies.',
        {
          unit: 'bytes',
          min: 1024,
          max: 67_108_864,
          otherwise: 1_048_576,
        },
      ),
      hosts: hosts('listen'),
      bodyTimeoutMs: whole(
        'Longest time in milliseconds a client may take to send its body, from the first byte of the request; then ' +
          'the call is refused and nothing is sent. It does not limit waiting in the lane (queue.maxWaitMs).',
        { unit: 'milliseconds', min: 100, max: 600_000, otherwise: 10_000 },
      ),
      drainMs: whole(
        'After the signal to stop the proxy goes on serving for so many milliseconds while /readyz says 503, so that a ' +
          'load balancer has moved on before calls are refused. A second signal stops at once.',
        { unit: 'milliseconds', min: 0, max: 600_000, otherwise: 0 },
      ),
      tls: tlsSchema,
      insecure: z
        .boolean({ error: 'true or false' })
        .default(false)
        .describe(
          'Whether to serve plain HTTP beyond loopback. Who listens on the network then sees every call and can repeat ' +
            'it; secrets are not sent, orders are. Default false.',
        ),
    },
    OBJECT,
  )
  .prefault({})
  .describe('The listener for bots.');

const ops = z
  .strictObject(
    {
      host: z
        .string({ error: HOST })
        .refine((text) => bindHost(text) !== undefined)
        .default('127.0.0.1')
        .describe(
          'Address to serve metrics and health on. May lie beyond loopback, for a scraper in another container; ' +
            'whoever reaches it can read account names and figures, never keys. Then name in ops.hosts what the ' +
            'scraper calls it. Default 127.0.0.1.',
        ),
      port: port('Port to serve metrics and health on.', 8788),
      hosts: hosts('ops'),
      token: referenceSchema
        .optional()
        .describe(
          'What whoever steers the proxy sends as Authorization: Bearer, at least 16 characters: with it every path ' +
            'under /v1 and what the page shows need it. Without it these are served on loopback only. /metrics, ' +
            '/healthz and /readyz never need it. No default.',
        ),
    },
    OBJECT,
  )
  .prefault({})
  .describe('The listener for operators: the page, the admin API, /metrics, /healthz, /readyz.');

const UPSTREAM =
  '"sandbox", an https origin such as https://api.kraken.com, or an http origin on loopback; no path, query, ' +
  'fragment, user name or password';

const upstream = z
  .strictObject(
    {
      url: z
        .string({ error: UPSTREAM })
        .refine((text) => upstreamOrigin(text) !== undefined)
        .default('sandbox')
        .describe(
          'Where calls go: "sandbox" (the built-in stand-in for Kraken), an https origin (live: ' +
            'https://api.kraken.com), or plain http on loopback. Origin only: no path, query, fragment, user name ' +
            'or password. Default sandbox.',
        ),
      timeoutMs: whole(
        'Longest time in milliseconds one call to the upstream may take, until its reply is whole. It does ' +
          'not cancel an order whose reply did not come: that call ends with EProxy:Outcome unknown.',
        { unit: 'milliseconds', min: 100, max: 600_000, otherwise: 15_000 },
      ),
    },
    OBJECT,
  )
  .prefault({})
  .describe('Kraken, or what stands in for it.');

const startup = z
  .strictObject(
    {
      windowMs: whole(
        'Length in milliseconds of the startup window, in which bots that all wake at once are slowed down; 0 turns ' +
          'it off. Cancels are exempt.',
        { unit: 'milliseconds', min: 0, max: 3_600_000, otherwise: 10_000 },
      ),
      maxPerSecond: whole(
        'Private calls in any second of the startup window before minIntervalMs applies. It does not limit anything ' +
          'after the window.',
        { unit: 'calls', min: 1, max: 1000, otherwise: 20 },
      ),
      minIntervalMs: whole(
        'Distance in milliseconds that a call over maxPerSecond keeps from the one before, in the startup window.',
        { unit: 'milliseconds', min: 0, max: 60_000, otherwise: 500 },
      ),
    },
    OBJECT,
  )
  .prefault({})
  .describe('The startup window: a gentle start for a crowd of bots.');

const queue = z
  .strictObject(
    {
      maxWaiting: whole(
        'Private calls that may wait in one lane; one more is answered EService:Busy at once and certainly not sent.',
        { unit: 'calls', min: 1, max: 100_000, otherwise: 1000 },
      ),
      maxWaitMs: whole(
        'Longest time in milliseconds a call waits for its turn; then it is answered EService:Busy and certainly not ' +
          'sent. It does not limit a call in flight (upstream.timeoutMs).',
        { unit: 'milliseconds', min: 100, max: 600_000, otherwise: 8000 },
      ),
      maxWaitMsOf: classWaits,
    },
    OBJECT,
  )
  .prefault({})
  .describe('The bounds of waiting in a lane.');

const log = z
  .strictObject(
    {
      level: z
        .enum(LEVELS, { error: choice(LEVELS) })
        .default('info')
        .describe(
          'How much the log tells, one JSON line a call at info; no level shows a secret, a signature or a body. ' +
            'Default info.',
        ),
      format: z
        .enum(LOG_FORMATS, { error: choice(LOG_FORMATS) })
        .default('auto')
        .describe(
          'How the log is written: "json", one object a line; "text", for people; "journald", JSON behind the ' +
            'priority that systemd\'s journal reads; "auto": text on a terminal, journald where standard output is the ' +
            'journal, else json. Default auto.',
        ),
    },
    OBJECT,
  )
  .prefault({})
  .describe('The log, on standard output.');

/** The shape of proxy.config.json. What one option says about another is checked in `config.ts`. */
export const configSchema = z
  .strictObject(
    {
      $schema: z
        .string({ error: 'a string' })
        .optional()
        .describe('Path of the JSON schema, for editors; not read.'),
      listen,
      ops,
      upstream,
      nonce: nonceSchema,
      startup,
      lanes: z
        .enum(LANES, { error: choice(LANES) })
        .default('global')
        .describe(
          'What waits for what: "global" has one call in flight in all, "key" one for each API key, which is faster ' +
            'with several accounts. Either way a key never has two calls in flight. Default global.',
        ),
      queue,
      pacing: pacingSchema,
      publicCalls: publicCallsSchema,
      orders: ordersSchema,
      breaker: breakerSchema,
      accounts: accountsSchema,
      defaultAccount: z
        .string({ error: 'the name of one of the accounts' })
        .optional()
        .describe(
          'The account of a call that names none. Without this option such a call is refused with EAPI:Invalid key. ' +
            'It never serves a call whose API-Key is unknown. No default.',
        ),
      clients: clientsSchema,
      doctor: doctorSchema,
      journal: journalSchema,
      log,
    },
    { error: 'an object' },
  )
  .meta({
    title: 'proxy.config.json of kraken-signing-proxy',
    description:
      'Durations end in Ms (milliseconds), sizes in Bytes; both are whole numbers. Paths are relative to the folder ' +
      'of the config. Unknown keys are refused.',
  });

/** What editors check and complete proxy.config.json by; kept as proxy.config.schema.json. */
export function configJsonSchema(): object {
  return z.toJSONSchema(configSchema, { io: 'input' });
}
