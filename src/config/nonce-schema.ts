import { z } from 'zod';
import { choice, pathSchema, referenceSchema } from './account-schema.js';
import { whole } from './numbers.js';

const STORES = ['file', 'postgres'] as const;

/** Where the nonce floors, and all else that must survive, are kept. */
export const nonceSchema = z
  .strictObject(
    {
      store: z
        .enum(STORES, { error: choice(STORES) })
        .default('file')
        .describe(
          'Where the state is kept: "file", beside the proxy, for one process at a time; "postgres", in a database ' +
            'that several proxies share: all of them serve, and a key still never has two calls in flight. Default file.',
        ),
      file: pathSchema
        .default('data/kraken_global_nonce.txt')
        .describe(
          'The state file that holds the nonce floor, relative to the folder of this config. One file for one set ' +
            'of keys; copying or restoring an older one brings "Invalid nonce". ~ is not expanded. With store ' +
            '"postgres" it is not made, but the journal lies beside its path unless journal.file says otherwise. ' +
            'Default data/kraken_global_nonce.txt.',
        ),
      url: referenceSchema
        .optional()
        .describe(
          'The database for store "postgres": postgres://user:password@host:port/database, with ' +
            '?sslmode=verify-full where it is on another machine. A literal is accepted only for a host on loopback; ' +
            'it takes no path of a socket. The schema is made by the command migrate. No default.',
        ),
      connections: whole(
        'Connections to the database for lanes that are held, one each for as long as a call takes; a call that finds ' +
          'none free waits in its lane. A few more are used for short statements. Only for store "postgres".',
        { unit: 'connections', min: 1, max: 500, otherwise: 20 },
      ),
      reserveMs: whole(
        'How much nonce space, as milliseconds of clock time, is made durable ahead of use; after a crash the next ' +
          'start skips at most this much. More means fewer writes. It delays no call. Without effect with store ' +
          '"postgres", where each nonce is durable by itself.',
        { unit: 'milliseconds', min: 1000, max: 60_000, otherwise: 10_000 },
      ),
      liftMs: whole(
        'How far a key’s own floor is lifted, as milliseconds of clock time, when Kraken has twice in a row called a ' +
          'new nonce invalid: another program has used a higher one on this key. Only this key is lifted, at most once ' +
          'for each call. 0 never lifts; nonce jump lifts further.',
        { unit: 'milliseconds', min: 0, max: 86_400_000, otherwise: 60_000 },
      ),
      standby: z
        .boolean({ error: 'true or false' })
        .default(false)
        .describe(
          'Whether a second process on the same state file waits as a hot standby and takes over when the owner ends; ' +
            'otherwise it exits with 75. It does not share load: only the owner sends. Only for store "file": with ' +
            '"postgres" every proxy serves. Default false.',
        ),
    },
    { error: 'an object' },
  )
  .prefault({})
  .describe('The nonce sequence and its durable state.');
