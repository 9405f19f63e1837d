import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Database, Session } from './database.js';

/** One step of the schema: plain SQL, which also inserts its own row into `kraken_proxy.migration`. */
export interface Migration {
  /** From 1 on, without gaps. */
  readonly version: number;
  readonly name: string;
  readonly sql: string;
}

/** The database's schema is not the one this program works with; the message says what to do. */
export class SchemaError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'SchemaError';
  }
}

/** From `src/postgres` and from `dist/postgres` alike. */
const FOLDER = fileURLToPath(new URL('../../migrations', import.meta.url));
const FILE = /^(\d{4})_(\w+)\.sql$/;
/** A migration, or the wait for one that another process makes, may take this long, ms. */
const PATIENCE_MS = 600_000;
const COMMAND = 'kraken-signing-proxy migrate';
/** PostgreSQL's insufficient_privilege. */
const FORBIDDEN = '42501';

const IS_THERE = "SELECT to_regclass('kraken_proxy.migration') IS NOT NULL AS there";
const VERSIONS = 'SELECT version FROM kraken_proxy.migration ORDER BY version';
/** Held to the end of the transaction: two programs that migrate at once do it one after the other. */
const LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('kraken_proxy.migration', 0))";

/**
 * What a proxy does with the schema, and no more. It may also take advisory locks and end its own transactions, which
 * need no right. A column that counts by itself (GENERATED ALWAYS AS IDENTITY) needs none for its sequence.
 */
const GRANTS: readonly (readonly [rights: string, on: string])[] = [
  ['USAGE', 'SCHEMA kraken_proxy'],
  ['SELECT', 'kraken_proxy.migration'],
  ['SELECT, INSERT, UPDATE', 'kraken_proxy.lane, kraken_proxy.key_floor'],
  [
    'SELECT, INSERT, UPDATE, DELETE',
    'kraken_proxy.answer, kraken_proxy.lost_reply, kraken_proxy.spending, kraken_proxy.hold, kraken_proxy.node',
  ],
];

/** The migrations of this package, in order. Throws Error when they are not there as they should be. */
export function readMigrations(folder = FOLDER): readonly Migration[] {
  const files = readdirSync(folder).filter((file) => FILE.test(file));
  const migrations = files.sort().map((file): Migration => {
    const [, number = '', name = ''] = FILE.exec(file) ?? [];
    return { version: Number(number), name, sql: readFileSync(join(folder, file), 'utf8') };
  });
  const isInOrder = migrations.every(({ version }, index) => version === index + 1);
  if (migrations.length === 0 || !isInOrder)
    throw new Error(`${folder}: the migrations are not numbered from 0001 on`);
  return migrations;
}

/**
 * Brings the schema up to what this program works with, each step in a transaction of its own; gives the steps it made.
 * Rejects with SchemaError for a schema that is newer, with DatabaseError otherwise: then the steps before stand.
 */
export async function migrate(
  database: Pick<Database, 'session'>,
  migrations: readonly Migration[] = readMigrations(),
): Promise<readonly Migration[]> {
  const made: Migration[] = [];
  const session = await database.session();
  try {
    for (;;) {
      const step = await makeNext(session, migrations);
      if (step === undefined) return made;
      made.push(step);
    }
  } catch (error) {
    session.destroy(); // and with it the transaction
    throw error;
  } finally {
    session.release();
  }
}

/** Makes the first step that is missing, if there is one. */
async function makeNext(session: Session, migrations: readonly Migration[]): Promise<Migration | undefined> {
  // Read committed, whatever the default is: what another process has made while this one waited has to be seen.
  await session.query(`BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; ${LOCK}`, undefined, PATIENCE_MS);
  const versions = await versionsOf(session);
  const newer = newerThan(migrations, versions);
  if (newer !== undefined) throw newer;
  const step = migrations.find(({ version }) => !versions.includes(version));
  if (step !== undefined) await session.query(step.sql, undefined, PATIENCE_MS);
  await session.query('COMMIT');
  return step;
}

/** Why a proxy cannot work with the database as it is; undefined when it can. Rejects with DatabaseError. */
export async function schemaProblem(
  database: Pick<Database, 'query'>,
  migrations: readonly Migration[] = readMigrations(),
): Promise<SchemaError | undefined> {
  let versions: readonly number[];
  try {
    versions = await versionsOf(database);
  } catch (error) {
    if ((error as { readonly sqlState?: string }).sqlState !== FORBIDDEN) throw error;
    return new SchemaError(
      `the database lets this role not read the schema kraken_proxy: its owner grants that with ${COMMAND} --grant <role>`,
    );
  }
  const newer = newerThan(migrations, versions);
  if (newer !== undefined) return newer;
  if (versions.length === 0)
    return new SchemaError(`the database has no schema of this proxy yet: run ${COMMAND}`);
  const missing = migrations.filter(({ version }) => !versions.includes(version));
  if (missing.length === 0) return undefined;
  return new SchemaError(
    `the database's schema is of version ${versions.at(-1)}, this proxy needs ${versionOf(migrations)}: run ${COMMAND}`,
  );
}

/** The version of the schema that this program works with. */
export function versionOf(migrations: readonly Migration[] = readMigrations()): number {
  return migrations.at(-1)?.version ?? 0;
}

/** The statements that give a role what a proxy needs, in plain SQL. */
export function grantStatements(role: string): readonly string[] {
  return GRANTS.map(([rights, on]) => `GRANT ${rights} ON ${on} TO ${identifier(role)};`);
}

/** Gives a role what a proxy needs. Rejects with SchemaError when there is no such role, else with DatabaseError. */
export async function grant(database: Pick<Database, 'query' | 'session'>, role: string): Promise<void> {
  const found = await database.query('SELECT FROM pg_catalog.pg_roles WHERE rolname = $1', [role]);
  if (found.length === 0) throw new SchemaError(`the database has no role ${JSON.stringify(role)}`);
  const session = await database.session();
  try {
    // Several statements in one text are one transaction.
    await session.query(grantStatements(role).join(' '));
  } finally {
    session.release();
  }
}

/** Ascending. */
async function versionsOf(database: Pick<Database, 'query'>): Promise<readonly number[]> {
  const [schema] = await database.query<{ readonly there: boolean }>(IS_THERE);
  if (schema?.there !== true) return [];
  const rows = await database.query<{ readonly version: number }>(VERSIONS);
  return rows.map(({ version }) => version);
}

function newerThan(migrations: readonly Migration[], versions: readonly number[]): SchemaError | undefined {
  const [there, known] = [versions.at(-1) ?? 0, versionOf(migrations)];
  if (there <= known) return undefined;
  return new SchemaError(
    `this database is of a newer version of the proxy (${there}, this one knows ${known}): update this node`,
  );
}

function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
