import { z } from 'zod';
import { choice, pathSchema } from './account-schema.js';
import { whole } from './numbers.js';

// As in schema.ts: `error` is what the option expects.

const OBJECT = { error: 'an object' };
const TWIN = ['warn', 'freeze'] as const;

/** What is done when another program uses a key. */
export type TwinMode = (typeof TWIN)[number];

/** The key doctor. */
export const doctorSchema = z
  .strictObject(
    {
      enabled: z
        .boolean({ error: 'true or false' })
        .default(true)
        .describe('Whether keys are examined by themselves; an operator can always ask. Default true.'),
      intervalMs: whole(
        'How often each key is examined with GetApiKeyInfo, in milliseconds; it costs one point of the call counter ' +
          'each time. 0: only at the start and when somebody asks.',
        { unit: 'milliseconds', min: 0, max: 86_400_000, otherwise: 300_000 },
      ),
      twin: z
        .enum(TWIN, { error: choice(TWIN) })
        .default('warn')
        .describe(
          'What happens when another program is seen to use a key: "warn" tells; "freeze" also lets only cancels and ' +
            'reads of that account through until an operator resumes it, once Kraken’s nonce for the key proves it. ' +
            'Default warn.',
        ),
      expiryDays: whole('How many days before a key expires it is told.', {
        unit: 'days',
        min: 1,
        max: 365,
        otherwise: 14,
      }),
    },
    OBJECT,
  )
  .prefault({})
  .describe('The key doctor: what it asks Kraken about the keys, and how often.');

/** The journal. */
export const journalSchema = z
  .strictObject(
    {
      enabled: z
        .boolean({ error: 'true or false' })
        .default(true)
        .describe('Whether it is kept. Default true.'),
      file: pathSchema
        .optional()
        .describe(
          'Where every call and every act of an operator is written, one JSON line each, relative to the folder of this ' +
            'config; older parts lie beside it. No two proxies may share one; a file that is no journal is left alone. Default: nonce.file with .journal.jsonl ' +
            'behind it.',
        ),
      maxBytes: whole('Size in bytes at which a new file is begun.', {
        unit: 'bytes',
        min: 65_536,
        max: 1_099_511_627_776,
        otherwise: 67_108_864,
      }),
      maxAgeMs: whole('Age in milliseconds at which a new file is begun.', {
        unit: 'milliseconds',
        min: 60_000,
        max: 31_622_400_000,
        otherwise: 86_400_000,
      }),
      keep: whole('How many older files are kept; 0 keeps all.', {
        unit: '',
        min: 0,
        max: 100_000,
        otherwise: 30,
      }),
    },
    OBJECT,
  )
  .prefault({})
  .describe('The journal: what happened to every call, so that it can be proven later.');
