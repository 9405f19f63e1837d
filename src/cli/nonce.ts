import { existsSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Config } from '../config.js';
import { keyFingerprint } from '../kraken/account.js';
import { FileStore, MAX_NONCE, parseState, readState, resolveLinks } from '../nonce/file-store.js';
import { describeHolder, judge, readHolder } from '../nonce/holder.js';
import { MEANING_OF_A_JUMP, parseDistance } from '../nonce/nonce-jump.js';
import type { NonceState } from '../nonce/store.js';
import { refuseStranger, type Uid } from './state-owner.js';
import { UsageError, type Terminal } from './terminal.js';

const NS_PER_MS = 1_000_000n;

/** `nonce show`: the state as it is on disk. Takes no lock and changes nothing. */
export function showNonce(config: Config, terminal: Terminal): void {
  // Lock and holder record lie beside the file itself, not beside a link to it.
  const file = existsSync(dirname(config.nonce.file)) ? resolveLinks(config.nonce.file) : config.nonce.file;
  const state = readState(file);
  terminal.print(`state file   ${file}`);
  if (state === undefined) {
    terminal.print('floor        none yet: the first start begins at the clock');
    return;
  }
  const record = readHolder(`${file}.holder`);
  const holder = judge(record) === 'dead' ? undefined : record;
  const killed = record === undefined ? '' : ` (it was ${describeHolder(record)}, which was killed)`;
  terminal.print(`owner        ${holder === undefined ? `none${killed}` : describeHolder(holder)}`);
  terminal.print(`floor        ${state.floor}  ${describeLead(state.floor, terminal)}`);
  const names = accountNames(config);
  for (const [fingerprint, floor] of state.keyFloors) {
    const name = names.get(fingerprint) ?? 'a key not in the config';
    terminal.print(`key floor    ${floor}  ${describeLead(floor, terminal)}  ${fingerprint} (${name})`);
  }
  if (record !== undefined)
    terminal.print('Until its owner stops in order, the floor on disk is ahead of what has been used.');
}

/**
 * `nonce import FILE`: takes a floor over, from the seed system or another machine. Never goes down. Throws UsageError
 * for another user than the state's.
 */
export async function importNonce(
  config: Config,
  source: string,
  terminal: Terminal,
  uid?: Uid,
): Promise<void> {
  refuseStranger(config.nonce.file, uid);
  const imported = parseState(readImport(source), source);
  await withState(config, async (current, write) => {
    if (current !== undefined && current.floor > imported.floor) {
      throw new UsageError(
        `refused: the state's floor ${current.floor} is above ${imported.floor} in ${source}; a floor never goes down`,
      );
    }
    const keyFloors = new Map(current?.keyFloors);
    for (const [key, floor] of imported.keyFloors) {
      if (floor > (keyFloors.get(key) ?? 0n)) keyFloors.set(key, floor);
    }
    await write({ floor: imported.floor, keyFloors });
    terminal.print(`imported     floor ${imported.floor}  ${describeLead(imported.floor, terminal)}`);
    terminal.print(`state file   ${config.nonce.file}`);
  });
}

function readImport(source: string): string {
  try {
    return readFileSync(source, 'latin1');
  } catch (error) {
    throw new UsageError(`nothing to import: ${(error as Error).message}`);
  }
}

export interface JumpOptions {
  readonly by: string | undefined;
  /** Only this account's key; all keys without it. */
  readonly account: string | undefined;
  /** For scripts: do not ask. */
  readonly yes: boolean;
}

/**
 * `nonce jump --by <duration>`: lifts the floor. Says what becomes of the key before it asks. Throws UsageError for
 * another user than the state's.
 */
export async function jumpNonce(
  config: Config,
  options: JumpOptions,
  terminal: Terminal,
  uid?: Uid,
): Promise<void> {
  refuseStranger(config.nonce.file, uid);
  const byMs = parseDuration(options.by);
  const account = config.accounts.find(({ name }) => name === options.account);
  if (options.account !== undefined && account === undefined) {
    throw new UsageError(`--account must be one of: ${config.accounts.map(({ name }) => name).join(', ')}`);
  }
  await withState(config, async (current, write) => {
    const clock = BigInt(terminal.now()) * NS_PER_MS;
    const keyFloors = new Map(current?.keyFloors);
    const fingerprint = account === undefined ? undefined : keyFingerprint(account.key);
    const common = max(current?.floor ?? 0n, clock);
    const from = fingerprint === undefined ? common : max(common, keyFloors.get(fingerprint) ?? 0n);
    const to = from + byMs * NS_PER_MS;
    if (to >= MAX_NONCE)
      throw new UsageError('refused: the jump would pass the last nonce Kraken takes (2^63 - 1)');
    terminal.print(`jump         ${from} -> ${to}  ${describeLead(to, terminal)}`);
    terminal.print(`for          ${account === undefined ? 'all keys' : `the key of ${account.name}`}`);
    terminal.print(`What becomes of the key: ${MEANING_OF_A_JUMP}`);
    if (!options.yes && !(await terminal.confirm('Jump? [y/N] '))) {
      terminal.print('nothing was changed');
      return;
    }
    if (fingerprint === undefined) await write({ floor: to, keyFloors });
    else await write({ floor: current?.floor ?? clock, keyFloors: keyFloors.set(fingerprint, to) });
    terminal.print(`done         the next start goes on above ${to}`);
  });
}

/** Owns the state for the time of an act: a running proxy makes this fail and is named. */
async function withState(
  config: Config,
  act: (current: NonceState | undefined, write: (state: NonceState) => Promise<void>) => Promise<void>,
): Promise<void> {
  const store = await FileStore.open(config.nonce.file);
  try {
    await act(store.initial, (state) => store.write(state));
  } finally {
    await store.close();
  }
}

function parseDuration(text: string | undefined): bigint {
  const ms = parseDistance(text);
  if (ms === undefined)
    throw new UsageError('--by needs a duration such as 500ms, 30s, 10m, 1h or 2d, at most 7d');
  return ms;
}

function describeLead(floor: bigint, terminal: Terminal): string {
  const seconds = Number(floor / NS_PER_MS - BigInt(terminal.now())) / 1_000;
  const when = new Date(Number(floor / NS_PER_MS)).toISOString();
  const distance = `${Math.abs(seconds).toFixed(1)} s`;
  return `(${when}, ${seconds > 0 ? `${distance} ahead of the clock` : `${distance} behind the clock`})`;
}

function accountNames(config: Config): Map<string, string> {
  return new Map(config.accounts.map(({ name, key }) => [keyFingerprint(key), name]));
}

function max(one: bigint, other: bigint): bigint {
  return one > other ? one : other;
}
