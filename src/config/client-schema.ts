import { z } from 'zod';
import { choice, pathSchema, referenceSchema } from './account-schema.js';
import { parseSource } from './addresses.js';
import { ORDER_TYPES } from '../policy/order.js';
import { RULE_NAMES } from '../policy/policy.js';

// As in schema.ts: `error` is what the option expects.

const ENDPOINTS =
  'a list of endpoint groups (such as "read", "trade") and endpoint names (such as "AddOrder"), at least one';

const endpoints = z
  .array(z.string({ error: ENDPOINTS }).regex(/^[A-Za-z0-9]{1,64}(?:\/[A-Za-z0-9]{1,64}){0,3}$/), {
    error: ENDPOINTS,
  })
  .min(1)
  .max(200);

const DECIMAL =
  'a positive decimal number as text, such as "0.5": at most 20 digits before the point and 18 after';

/** Decimal numbers are texts: 0.1 as a JSON number is not one tenth. */
const decimal = z
  .string({ error: DECIMAL })
  .regex(/^\d{1,20}(?:\.\d{1,18})?$/)
  .refine((text) => /[1-9]/.test(text));

const NOTIONAL = 'an object of quote currencies with decimal texts, such as { "USD": "10000" }';

const notional = z
  .record(
    z
      .string({ error: 'a currency as the part after the slash of wsname, such as "USD"' })
      .regex(/^[A-Za-z0-9.]{1,16}$/),
    decimal,
    { error: NOTIONAL },
  )
  .refine((entries) => Object.keys(entries).length > 0);

const words = <T extends z.ZodType>(item: T, expected: string): z.ZodArray<T> =>
  z.array(item, { error: expected }).min(1).max(1_000);

const PAIRS = 'a list of pairs as Kraken spells them, such as "XBTUSD" or "XBT/USD"';

const orders = z
  .strictObject(
    {
      pairs: words(z.string({ error: PAIRS }).regex(/^[A-Za-z0-9./]{1,32}$/), PAIRS)
        .optional()
        .describe('Pairs it may trade, as Kraken spells them (name, altname or wsname). Default: all.'),
      sides: words(z.enum(['buy', 'sell'], { error: choice(['buy', 'sell']) }), 'a list of "buy" and "sell"')
        .optional()
        .describe('Sides it may take. Default: both.'),
      types: words(
        z.enum(ORDER_TYPES, { error: choice(ORDER_TYPES) }),
        'a list of Kraken\'s order types, such as "limit"',
      )
        .optional()
        .describe(
          "Kraken's order types it may use; a conditional close counts by its own type. Default: all.",
        ),
      maxVolume: decimal
        .optional()
        .describe('Largest volume of an order, in the base currency, as decimal text. Default: no limit.'),
      maxNotional: notional
        .optional()
        .describe(
          'Largest worth of an order, by quote currency: { "USD": "10000" }. Other quote currencies are refused. A ' +
            'market order, and every sale, is worth what the last public ticker says, refused when that is older ' +
            'than a minute. Default: no limit.',
        ),
      maxNotionalPerDay: notional
        .optional()
        .describe(
          'Largest worth of all orders sent within any 24 hours, by quote currency. An order counts when it is sent, ' +
            'filled or not; a change of price or volume counts like a new order, for all that is still open. What was ' +
            'certainly not placed or changed does not count. Default: no limit.',
        ),
      maxOpenOrders: z
        .int({ error: 'a whole number, 1 to 10000' })
        .min(1)
        .max(10_000)
        .optional()
        .describe(
          'Most open orders the account may have after its order, whoever placed them; asked from Kraken where the ' +
            'proxy does not know. Orders placed elsewhere (at Kraken, with other keys, over a WebSocket) may be noticed ' +
            'up to 30 s late. 1 to 10000. Default: no limit.',
        ),
      reduceOnly: z
        .boolean({ error: 'true or false' })
        .default(false)
        .describe('Whether each order must carry reduce_only. Default false.'),
      postOnly: z
        .boolean({ error: 'true or false' })
        .default(false)
        .describe('Whether each order must be a limit order with the flag post. Default false.'),
    },
    { error: 'an object' },
  )
  .describe(
    'Limits on the orders it places or changes. What cannot be read or judged is refused. They bind orders that come ' +
      'through the proxy only, so with them a WebSocket token must be allowed by name.',
  );

const SUBJECT = 'an object of attributes of a certificate\'s subject, such as { "CN": "grid-bot" }';
const SOURCE = 'an IP address or a network such as 10.0.0.0/8';
const WINDOW = '"off", or a whole number: how far below the highest a nonce may lie';
const EXPIRES = 'a time in UTC such as 2027-01-31T00:00:00Z';

const client = z.strictObject(
  {
    key: referenceSchema.describe(
      'What the client sends as API-Key, or as Authorization: Bearer. Unique; may stand here as it is.',
    ),
    secret: referenceSchema
      .optional()
      .describe(
        "The client's own secret in base64, with which its Kraken library signs; every call is checked against it. Not " +
          "an account's secret. A client without secret and certSubject is served on loopback only.",
      ),
    certSubject: z
      .record(
        z.string({ error: SUBJECT }).regex(/^[A-Za-z]{1,32}$/),
        z.string({ error: SUBJECT }).min(1).max(256),
        {
          error: SUBJECT,
        },
      )
      .refine((attributes) => Object.keys(attributes).length > 0)
      .optional()
      .describe(
        'Attributes that the subject of its TLS certificate has, all of them: { "CN": "grid-bot" }. Needs ' +
          'listen.tls.clientCaFile. With it, no call is taken without that certificate.',
      ),
    accounts: words(
      z.string({ error: 'a list of account names' }),
      'a list of account names, at least one',
    ).describe(
      'Accounts it may use. With several, a call names one in its path (/accounts/<name>), or defaultAccount is taken.',
    ),
    allow: endpoints
      .optional()
      .describe(
        'What it may call: groups and endpoint names. Default: read, trade, cancel, history, websocket. What moves money ' +
          '(withdraw, transfer, subaccount, earn, otc, pay) and endpoints the proxy does not know must be named, and so ' +
          'must a WebSocket token, which trades and cancels past the proxy, where orders has limits or deny names ' +
          'anything of trade or cancel.',
      ),
    deny: endpoints.optional().describe('What it may not call, whatever allow says. Default: nothing.'),
    orders: orders.optional(),
    report: words(z.enum(RULE_NAMES, { error: choice(RULE_NAMES) }), `a list of rules: ${choice(RULE_NAMES)}`)
      .optional()
      .describe(
        'Rules that only count and log what they would refuse, for trying them. allow stays enforced for what moves ' +
          'money and for endpoints the proxy does not know. Default: none.',
      ),
    nonceWindow: z
      .union([z.literal('off'), z.int({ error: WINDOW }).min(0, { error: WINDOW })], { error: WINDOW })
      .default('off')
      .describe(
        "Guard against replayed calls, in units of the client's own nonce: a number refuses a nonce seen before, or " +
          'lying more than so much below the highest. 0 wants them strictly rising, as Kraken does. Only for a client ' +
          'with a secret that is one program; kept in memory. Default off.',
      ),
    sources: words(
      z.string({ error: SOURCE }).refine((text) => parseSource(text) !== undefined),
      'a list of IP addresses and networks',
    )
      .optional()
      .describe('Addresses it may call from. Default: any.'),
    expires: z
      .string({ error: EXPIRES })
      .regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
      // Date.parse takes 31 February for a day in March.
      .refine((text) => isTime(text))
      .optional()
      .describe('When its credentials end, UTC. Default: never.'),
  },
  { error: 'an object with "key" and "accounts"' },
);

function isTime(text: string): boolean {
  const time = new Date(text);
  return !Number.isNaN(time.getTime()) && time.toISOString() === text.replace('Z', '.000Z');
}

const CLIENT_NAME = 'a client name of 1 to 64 letters, digits, _ and -';

/** The clients by name. */
export const clientsSchema = z
  .record(z.string({ error: CLIENT_NAME }).regex(/^[A-Za-z0-9_-]{1,64}$/), client, {
    error: 'an object with at least one client',
  })
  .refine((entries) => Object.keys(entries).length > 0)
  .meta({
    description:
      'The programs that may call, by name. With clients every private call must prove who it is. Without, any program ' +
      'on this machine may use any account, and the proxy serves loopback only. Names are 1 to 64 letters, digits, _ ' +
      'and -, and show in logs and metrics.',
    minProperties: 1,
  })
  .optional();

/** The TLS files of the listener for bots. */
export const tlsSchema = z
  .strictObject(
    {
      certFile: pathSchema.describe('PEM file of the certificate, its chain included.'),
      keyFile: pathSchema.describe("PEM file of the certificate's private key."),
      clientCaFile: pathSchema
        .optional()
        .describe(
          'PEM file of the authority that vouches for client certificates. A certificate is asked for, and needed only ' +
            'by clients with certSubject.',
        ),
    },
    { error: 'an object with "certFile" and "keyFile"' },
  )
  .optional()
  .describe(
    'Serves bots over TLS, HTTP/1.1 and HTTP/2, in place of plain HTTP. The files are read again when they change.',
  );

export type ClientEntry = z.infer<typeof client>;
