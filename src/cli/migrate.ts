import { readFileSync } from 'node:fs';
import type { Config } from '../config.js';
import { DATABASE_URL, judgeDatabaseUrl } from '../config/database-url.js';
import type { DatabaseError } from '../postgres/database.js';
import { grant, migrate, readMigrations, schemaProblem, versionOf } from '../postgres/migrations.js';
import type { Secret } from '../secret.js';
import { withDatabase } from './state-database.js';
import { UsageError, type Terminal } from './terminal.js';

export interface MigrateOptions {
  /** A role that gets what a proxy needs, and no more. */
  readonly grant: string | undefined;
  /** Name of the variable with the url of a role that may change the schema; undefined: the config's own. */
  readonly urlEnv: string | undefined;
  readonly env: NodeJS.ProcessEnv;
}

/** PostgreSQL's insufficient_privilege. */
const FORBIDDEN = '42501';

/**
 * `migrate`: brings the schema of the shared state up to date; a proxy never does that by itself. With `urlEnv` the
 * config is not read, so that no key has to be there. Throws UsageError for a config with the state in a file, rejects
 * with SchemaError for a schema of a newer version.
 */
export async function migrateDatabase(
  readConfig: () => Config,
  options: MigrateOptions,
  terminal: Terminal,
): Promise<void> {
  const url =
    options.urlEnv === undefined ? urlOf(readConfig()) : fromVariable(options.urlEnv, options.env, terminal);
  const migrations = readMigrations();
  await withDatabase(url, async (database) => {
    try {
      const made = await migrate(database, migrations);
      for (const { version, name } of made) terminal.print(`applied      ${version} ${name}`);
      if (made.length === 0) terminal.print(`nothing to do: version ${versionOf(migrations)}`);
      if (options.grant === undefined) return;
      await grant(database, options.grant);
      terminal.print(`granted      what a proxy needs, to ${options.grant}`);
    } catch (error) {
      const { sqlState, message } = error as DatabaseError;
      if (sqlState !== FORBIDDEN) throw error;
      throw new UsageError(
        `${message}: changing the schema is its owner's; --url-env NAME takes the owner's url from a variable`,
      );
    }
  });
}

/** For `check`: whether the database can be reached is told, and is no mistake. Rejects with SchemaError. */
export async function checkDatabase(url: Secret, terminal: Terminal): Promise<void> {
  try {
    await withDatabase(url, async (database) => {
      const problem = await schemaProblem(database);
      if (problem !== undefined) throw problem;
      terminal.print(`the database was asked: its schema is of version ${versionOf()}, as it should be`);
    });
  } catch (error) {
    if ((error as DatabaseError).code !== 'not-owner') throw error;
    terminal.print(`warning: the schema was not checked: ${(error as Error).message}`);
  }
}

function urlOf({ file, nonce }: Config): Secret {
  if (nonce.url !== undefined) return nonce.url;
  throw new UsageError(
    `${file} keeps the state in a file, which needs no migration; nonce.store: "postgres" keeps it in a database`,
  );
}

function fromVariable(name: string, env: NodeJS.ProcessEnv, terminal: Terminal): Secret {
  const text = (Object.hasOwn(env, name) ? env[name] : undefined)?.trim() ?? '';
  if (text === '') throw new UsageError('--url-env takes the name of a variable that is set');
  const readFile = (path: string): string => readFileSync(path, 'utf8');
  const { url, faults, warnings } = judgeDatabaseUrl(text, { env, readFile });
  if (url === undefined)
    throw new UsageError(`--url-env ${name}: found ${faults.join(', ')}, expected ${DATABASE_URL}`);
  for (const warning of warnings) terminal.print(`warning: ${warning}`);
  return url;
}
