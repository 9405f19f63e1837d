import { z } from 'zod';

const TIERS = ['starter', 'intermediate', 'pro'] as const;

/** Kraken's verification tiers, which set the size and decay of the call counter. */
export type Tier = (typeof TIERS)[number];

/** What a choice between words expects. */
export function choice(values: readonly string[]): string {
  return `one of ${values.map((value) => `"${value}"`).join(', ')}`;
}

/** A path of a file, which may be relative to the folder of the config. */
export const pathSchema = z
  .string({ error: 'a path, at most 1024 characters' })
  .regex(/^[^\x00-\x1f]{1,1024}$/);

const REFERENCE = 'exactly one of { "env": "NAME" } and { "file": "path" }';

/** Where a key, secret or otp comes from. */
export const referenceSchema = z
  .union(
    [
      z.strictObject({
        env: z
          .string({ error: 'the name of an environment variable: letters, digits and _' })
          .regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/)
          .describe('Name of an environment variable. Set, and not empty.'),
      }),
      z.strictObject({
        file: pathSchema.describe(
          'Path of a file, relative to the folder of this config. ~ is not expanded.',
        ),
      }),
      z.string().describe('The value itself: only for the sandbox or an upstream on loopback.'),
    ],
    { error: REFERENCE },
  )
  .meta({ id: 'reference' });

/** The password that a key with two-factor authentication needs in every call. */
export const otpSchema = z.union(
  [
    z.strictObject({ static: referenceSchema.describe('A static password, sent as it is.') }),
    z.strictObject({
      totp: referenceSchema.describe(
        'The base32 secret of an authenticator app, from which each call gets its code (RFC 6238: 6 digits, 30 s).',
      ),
    }),
  ],
  {
    error:
      'exactly one of { "static": … } and { "totp": … }, each with { "env": "NAME" } or { "file": "path" }',
  },
);

/** Size and decay of the call counter. */
export const tierSchema = z
  .enum(TIERS, { error: choice(TIERS) })
  .default('intermediate')
  .describe(
    "The account's verification tier at Kraken, which sets how many REST calls its counter has room for: starter 15, " +
      'intermediate 20, pro 20 with the fastest decay. Too high a tier brings "Rate limit exceeded". Default intermediate.',
  );

const account = z.strictObject(
  {
    key: referenceSchema.describe(
      "The public API key, which Kraken calls API-Key; unique among the accounts, because a call with an account's " +
        'own key picks the account by it.',
    ),
    secret: referenceSchema.describe(
      'The private key, which Kraken shows once: base64, one line. It signs and is never sent, printed or logged.',
    ),
    otp: otpSchema
      .optional()
      .describe(
        'For a key with two-factor authentication: the otp that is added to every call. Without it such a key gets ' +
          '"Invalid signature". Leave it out for a key without.',
      ),
    tier: tierSchema,
  },
  { error: 'an object with "key" and "secret"' },
);

const ACCOUNT_NAME = 'an account name of 1 to 64 letters, digits, _ and -';

/** The accounts by name. */
export const accountsSchema = z
  .record(z.string({ error: ACCOUNT_NAME }).regex(/^[A-Za-z0-9_-]{1,64}$/), account, {
    error: 'an object with at least one account',
  })
  .refine((entries) => Object.keys(entries).length > 0)
  .meta({
    description:
      'The Kraken accounts by name, one API key each: at least one. The names show in paths, logs and metrics. ' +
      'Names are 1 to 64 letters, digits, _ and -.',
    minProperties: 1,
  });
