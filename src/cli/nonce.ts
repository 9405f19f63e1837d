import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Config } from '../config.js';
import { FileStore, readState, resolveLinks } from '../nonce/file-store.js';
import { describeHolder, judge, readHolder } from '../nonce/holder.js';
import type { NonceState } from '../nonce/store.js';
import { importSharedNonces, jumpSharedNonces, showSharedNonces } from './nonce-database.js';
import {
  accountNames,
  agreedJump,
  clockNs,
  describeLead,
  max,
  readImport,
  readJump,
  refuseLower,
  type JumpOptions,
} from './nonce-words.js';
import { refuseStranger, type Uid } from './state-owner.js';
import type { Terminal } from './terminal.js';

/** `nonce show`: the state as it is on disk, or in the database. Takes no lock and changes nothing. */
export async function showNonce(config: Config, terminal: Terminal): Promise<void> {
  if (config.nonce.store === 'postgres') await showSharedNonces(config, terminal);
  else showFile(config, terminal);
}

function showFile(config: Config, terminal: Terminal): void {
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
 * `nonce import FILE`: takes a floor over, from the seed system or another machine, or from the file into the database.
 * Never goes down. Throws UsageError for another user than the state's.
 */
export async function importNonce(
  config: Config,
  source: string,
  terminal: Terminal,
  uid?: Uid,
): Promise<void> {
  if (config.nonce.store === 'postgres') {
    await importSharedNonces(config, source, terminal);
    return;
  }
  refuseStranger(config.nonce.file, uid);
  const imported = readImport(source);
  await withState(config, async (current, write) => {
    refuseLower(current?.floor ?? 0n, imported, source);
    const keyFloors = new Map(current?.keyFloors);
    for (const [key, floor] of imported.keyFloors) {
      if (floor > (keyFloors.get(key) ?? 0n)) keyFloors.set(key, floor);
    }
    await write({ floor: imported.floor, keyFloors });
    terminal.print(`imported     floor ${imported.floor}  ${describeLead(imported.floor, terminal)}`);
    terminal.print(`state file   ${config.nonce.file}`);
  });
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
  if (config.nonce.store === 'postgres') {
    await jumpSharedNonces(config, options, terminal);
    return;
  }
  refuseStranger(config.nonce.file, uid);
  const jump = readJump(options, config);
  await withState(config, async (current, write) => {
    const keyFloors = new Map(current?.keyFloors);
    const own = jump.account === undefined ? 0n : (keyFloors.get(jump.account.fingerprint) ?? 0n);
    const to = await agreedJump(jump, max(current?.floor ?? 0n, own), terminal);
    if (to === undefined) return;
    if (jump.account === undefined) await write({ floor: to, keyFloors });
    else {
      keyFloors.set(jump.account.fingerprint, to);
      await write({ floor: current?.floor ?? clockNs(terminal), keyFloors });
    }
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
