import type { Config } from '../config.js';
import { Database } from '../postgres/database.js';
import { schemaProblem } from '../postgres/migrations.js';
import type { Secret } from '../secret.js';

/** Opens a database for as long as an act takes. Rejects with DatabaseError, and with what the act rejects with. */
export async function withDatabase<T>(url: Secret, act: (database: Database) => Promise<T>): Promise<T> {
  const database = new Database({ url, lanes: 1, name: 'kraken-signing-proxy command' });
  try {
    return await act(database);
  } finally {
    await database.close();
  }
}

/** The same for the database that holds the config's state. Rejects with SchemaError when the schema does not fit. */
export async function withStateDatabase<T>(
  config: Config,
  act: (database: Database) => Promise<T>,
): Promise<T> {
  return await withDatabase(urlOf(config), async (database) => {
    const problem = await schemaProblem(database);
    if (problem !== undefined) throw problem;
    return await act(database);
  });
}

function urlOf({ nonce, file }: Config): Secret {
  if (nonce.url === undefined) throw new Error(`${file} names no database`); // the config checks it
  return nonce.url;
}
