import type { Config } from '../config.js';
import { GLOBAL, LIFT_ALL, LIFT_KEY, MAKE_LANE } from '../nonce/lane-row.js';
import type { Database, Session, Values } from '../postgres/database.js';
import {
  accountNames,
  agreedJump,
  describeLead,
  max,
  readImport,
  readJump,
  refuseLower,
  type JumpOptions,
} from './nonce-words.js';
import { withStateDatabase } from './state-database.js';
import type { Terminal } from './terminal.js';

interface LaneLine {
  readonly name: string;
  readonly floor: string;
  readonly node: string | null;
  /** Of the node, when it still runs or has been killed. */
  readonly host: string | null;
  readonly is_free: boolean;
  readonly drawn_at: Date | null;
}

interface NodeLine {
  readonly run: string;
  readonly host: string;
  readonly version: string;
  readonly started_at: Date;
  readonly silent_ms: number;
}

interface KeyFloor {
  readonly fingerprint: string;
  readonly floor: string;
}

const WHERE = 'SELECT current_database() AS name, current_user AS role';
const LANES = `
  SELECT name, floor, node, host, is_free, nullif(drawn_at, '-infinity') AS drawn_at
  FROM kraken_proxy.lane LEFT JOIN kraken_proxy.node ON node.run = lane.node
  ORDER BY name <> '${GLOBAL}', name`;
const KEY_FLOORS = 'SELECT fingerprint, floor FROM kraken_proxy.key_floor ORDER BY fingerprint';
const NODES = `
  SELECT run, host, version, started_at, extract(epoch FROM clock_timestamp() - seen_at)::float8 * 1000 AS silent_ms
  FROM kraken_proxy.node ORDER BY started_at, run`;
/** A node that has said nothing for so long is taken to be dead, ms. */
const DEAD_MS = 5_000;

/** `nonce show`, of a state that several proxies share. */
export async function showSharedNonces(config: Config, terminal: Terminal): Promise<void> {
  await withStateDatabase(config, async (database) => {
    const names = accountNames(config);
    const nameOf = (fingerprint: string): string => names.get(fingerprint) ?? 'a key not in the config';
    const figure = (what: string, floor: string): string =>
      `${what.padEnd(12)} ${floor}  ${describeLead(BigInt(floor), terminal)}`;
    const [where] = await database.query<{ readonly name: string; readonly role: string }>(WHERE);
    terminal.print(`database     ${where?.name}, as role ${where?.role}`);
    const lanes = await database.query<LaneLine>(LANES);
    if (lanes.length === 0) terminal.print('floor        none yet: the first call begins at the clock');
    for (const lane of lanes) {
      const whose = lane.name === GLOBAL ? 'all keys' : `${lane.name} (${nameOf(lane.name)})`;
      terminal.print(`${figure('lane', lane.floor)}  ${whose}, ${describeTenure(lane)}`);
    }
    for (const { fingerprint, floor } of await database.query<KeyFloor>(KEY_FLOORS))
      terminal.print(`${figure('key floor', floor)}  ${fingerprint} (${nameOf(fingerprint)})`);
    const nodes = await database.query<NodeLine>(NODES);
    if (nodes.length === 0) terminal.print('node         none runs');
    for (const node of nodes) terminal.print(`node         ${describeNode(node)}`);
  });
}

/** `nonce import FILE`, into the database: nonces go on above the file's. Proxies may run meanwhile. */
export async function importSharedNonces(config: Config, source: string, terminal: Terminal): Promise<void> {
  const imported = readImport(source);
  await withStateDatabase(config, async (database) => {
    refuseLower(await highestFloor(database), imported, source);
    await inTransaction(database, [
      // In the order in which a proxy takes these rows.
      [MAKE_LANE, [GLOBAL]],
      [LIFT_ALL, [imported.floor]],
      ...[...imported.keyFloors].sort().map((own) => [LIFT_KEY, own] as const),
    ]);
    terminal.print(`imported     floor ${imported.floor}  ${describeLead(imported.floor, terminal)}`);
    const names = accountNames(config);
    for (const [fingerprint, floor] of imported.keyFloors) {
      const name = names.get(fingerprint) ?? 'a key not in the config';
      terminal.print(`key floor    ${floor}  ${describeLead(floor, terminal)}  ${fingerprint} (${name})`);
    }
  });
}

/** `nonce jump --by <duration>`, in the database. Proxies may run meanwhile: floors only rise. */
export async function jumpSharedNonces(
  config: Config,
  options: JumpOptions,
  terminal: Terminal,
): Promise<void> {
  const jump = readJump(options, config);
  await withStateDatabase(config, async (database) => {
    const { account } = jump;
    const floor = account === undefined ? highestFloor(database) : floorOf(database, account.fingerprint);
    const to = await agreedJump(jump, await floor, terminal);
    if (to === undefined) return;
    await inTransaction(
      database,
      account === undefined
        ? [
            [MAKE_LANE, [GLOBAL]],
            [LIFT_ALL, [to]],
          ]
        : [[LIFT_KEY, [account.fingerprint, to]]],
    );
    terminal.print(`done         every proxy goes on above ${to}`);
  });
}

/** Of all lanes. */
async function highestFloor(database: Pick<Database, 'query'>): Promise<bigint> {
  const [row] = await database.query<{ readonly floor: string | null }>(
    'SELECT max(floor) AS floor FROM kraken_proxy.lane',
  );
  return BigInt(row?.floor ?? 0);
}

/** Of a key: its own, or the lanes'. */
async function floorOf(database: Pick<Database, 'query'>, fingerprint: string): Promise<bigint> {
  const [row] = await database.query<KeyFloor>(
    'SELECT fingerprint, floor FROM kraken_proxy.key_floor WHERE fingerprint = $1',
    [fingerprint],
  );
  return max(await highestFloor(database), BigInt(row?.floor ?? 0));
}

/** All of it or nothing. */
async function inTransaction(
  database: Pick<Database, 'session'>,
  statements: readonly (readonly [text: string, values: Values])[],
): Promise<void> {
  const session: Session = await database.session();
  try {
    await session.query('BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE');
    for (const [text, values] of statements) await session.query(text, values);
    await session.query('COMMIT');
  } catch (error) {
    session.destroy(); // and with it the transaction
    throw error;
  } finally {
    session.release();
  }
}

function describeTenure({ node, host, is_free: isFree, drawn_at: drawnAt }: LaneLine): string {
  if (node === null) return 'not used yet';
  const by = host === null ? `node ${node}, which has ended` : `node ${node} on ${host}`;
  const last = drawnAt === null ? '' : `, last nonce ${drawnAt.toISOString()}`;
  return `${isFree ? 'free, last held by' : 'held by'} ${by}${last}`;
}

function describeNode({ run, host, version, started_at: startedAt, silent_ms: silentMs }: NodeLine): string {
  const since = `since ${startedAt.toISOString()}`;
  const life = silentMs < DEAD_MS ? 'alive' : `dead: silent for ${(silentMs / 1_000).toFixed(1)} s`;
  return `${run} on ${host}, version ${version}, ${since}, ${life}`;
}
