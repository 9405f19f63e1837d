import { z } from 'zod';
import { ENDPOINT_NAMES } from '../kraken/endpoints.js';
import { choice } from './account-schema.js';
import { decimalNumber, whole } from './numbers.js';

// As in schema.ts: `error` is what the option expects.

const OBJECT = { error: 'an object' };

const wait = z
  .int({ error: 'a whole number of milliseconds, 100 to 600000' })
  .min(100)
  .max(600_000)
  .optional();

/** The wait limit of each class of calls. */
export const classWaits = z
  .strictObject(
    {
      cancel: wait.describe('Of cancels.'),
      change: wait.describe('Of AmendOrder and EditOrder.'),
      order: wait.describe('Of AddOrder and AddOrderBatch.'),
      other: wait.describe('Of everything that is neither an order nor a read.'),
      read: wait.describe('Of reads.'),
      history: wait.describe('Of closed orders, past trades and ledgers.'),
    },
    OBJECT,
  )
  .prefault({})
  .describe('Other wait limits in milliseconds for classes of calls. Default: maxWaitMs for all.');

const tier = (what: string, max: number, decayPerSecond: number) =>
  z
    .strictObject(
      {
        max: whole('How far the counter may rise.', { unit: '', min: 1, max: 10_000, otherwise: max }),
        decayPerSecond: decimalNumber('What the counter loses in a second.', {
          unit: '',
          min: 0.01,
          max: 1_000,
          otherwise: decayPerSecond,
        }),
      },
      OBJECT,
    )
    .prefault({})
    .describe(what);

/** Kraken's own figures by tier (KRAKEN.md 3.1, 3.2). */
const tiers = (figures: Readonly<Record<'starter' | 'intermediate' | 'pro', readonly [number, number]>>) =>
  z
    .strictObject(
      {
        starter: tier('Of tier starter.', ...figures.starter),
        intermediate: tier('Of tier intermediate.', ...figures.intermediate),
        pro: tier('Of tier pro.', ...figures.pro),
      },
      OBJECT,
    )
    .prefault({});

const ENGINE = ['off', 'report', 'enforce'] as const;
const COSTS = 'an object of endpoint names with whole numbers, such as { "Ledgers": 2 }';

/** Kraken's rate limits as the proxy keeps them. */
export const pacingSchema = z
  .strictObject(
    {
      enabled: z
        .boolean({ error: 'true or false' })
        .default(true)
        .describe(
          "Whether calls wait until their key's call counter has room, so that Kraken never answers " +
            '"Rate limit exceeded". Default true.',
        ),
      tiers: tiers({ starter: [15, 0.33], intermediate: [20, 0.5], pro: [20, 1] }).describe(
        "Size and decay of the REST call counter by the account's tier.",
      ),
      costs: z
        .partialRecord(
          z.enum(ENDPOINT_NAMES, { error: 'the name of an endpoint, such as "Ledgers"' }),
          z.int({ error: 'a whole number, 0 to 100' }).min(0).max(100),
          { error: COSTS },
        )
        .prefault({})
        .describe(
          "What a call adds to its key's counter, where Kraken counts otherwise than this proxy does: by default " +
            'ledgers and trade history 4 (2 in another copy of its page), orders and cancels 0, everything else 1.',
        ),
      headroom: whole("Points of the counter that are never used, because Kraken's own may decay in steps.", {
        unit: '',
        min: 0,
        max: 1_000,
        otherwise: 1,
      }),
      reserve: whole(
        "Points of the counter that only cancels and the proxy's own questions about an order may use.",
        { unit: '', min: 0, max: 1_000, otherwise: 2 },
      ),
      engine: z
        .enum(ENGINE, { error: choice(ENGINE) })
        .default('report')
        .describe(
          'What to do about the matching engine’s counter of an account and pair: "off" nothing; "report" counts and ' +
            'logs orders that it may refuse; "enforce" lets them wait for room. Cancels never wait for it. Kraken does ' +
            'not tell this counter over REST, so it is only as good as what passes through the proxy. Default report.',
        ),
      engineTiers: tiers({ starter: [60, 1], intermediate: [125, 2.34], pro: [180, 3.75] }).describe(
        "Threshold and decay of the matching engine's counter by the account's tier.",
      ),
      merge: z
        .boolean({ error: 'true or false' })
        .default(true)
        .describe(
          'Whether equal reads that wait share one call to Kraken. An answer is never older than its question. A client ' +
            'opts out per call with the header X-Proxy-Merge: no. Default true.',
        ),
      shareTokensMs: whole(
        'How long in milliseconds a WebSocket token is handed to other clients of the account that are allowed one, ' +
          'instead of asking Kraken for another; it is good for 900 s. 0 asks each time. That Kraken takes one token ' +
          'for several connections is not documented.',
        { unit: 'milliseconds', min: 0, max: 840_000, otherwise: 0 },
      ),
    },
    OBJECT,
  )
  .prefault({})
  .describe("Kraken's rate limits and how calls keep to them.");

/** The budget of public calls. */
export const publicCallsSchema = z
  .strictObject(
    {
      perSecond: decimalNumber(
        'Public calls per second that go to Kraken, which counts them by IP address.',
        {
          unit: '',
          min: 0.01,
          max: 1_000,
          otherwise: 1,
        },
      ),
      burst: whole('Public calls that may go at once after a quiet time.', {
        unit: '',
        min: 1,
        max: 1_000,
        otherwise: 5,
      }),
    },
    OBJECT,
  )
  .prefault({})
  .describe('The budget of public calls; one over it waits, for queue.maxWaitMs at most.');

/** What becomes of orders whose reply is lost. */
export const ordersSchema = z
  .strictObject(
    {
      settle: z
        .boolean({ error: 'true or false' })
        .default(true)
        .describe(
          'Whether the proxy finds out what became of an order whose reply was lost, before it answers. For that each ' +
            'order gets a cl_ord_id, where it has neither that nor a userref, and a deadline, where it has none. ' +
            'false sends orders as they came and answers EProxy:Outcome unknown. Default true.',
        ),
      resend: z
        .boolean({ error: 'true or false' })
        .default(true)
        .describe(
          'Whether an order that certainly was not executed is sent once more while its client still waits. ' +
            'Otherwise it is answered EService:Busy. Default true.',
        ),
    },
    OBJECT,
  )
  .prefault({})
  .describe('Order safety: what happens when the line is cut.');

/** The pauses of a key that Kraken turns away. */
export const breakerSchema = z
  .strictObject(
    {
      pauseMs: whole(
        'How long in milliseconds nothing is sent on a key after Kraken has called it or its signature invalid; then ' +
          'one GetApiKeyInfo tries. Each try that fails doubles the pause.',
        { unit: 'milliseconds', min: 1_000, max: 3_600_000, otherwise: 60_000 },
      ),
      lockoutMs: whole('Likewise after EGeneral:Temporary lockout.', {
        unit: 'milliseconds',
        min: 1_000,
        max: 3_600_000,
        otherwise: 300_000,
      }),
      maxPauseMs: whole('The longest pause, however often it was doubled.', {
        unit: 'milliseconds',
        min: 1_000,
        max: 86_400_000,
        otherwise: 1_800_000,
      }),
    },
    OBJECT,
  )
  .prefault({})
  .describe('What keeps a key that Kraken turns away from being locked out for longer.');
