import { readFileSync } from 'node:fs';
import type { Config } from '../config.js';
import { keyFingerprint } from '../kraken/account.js';
import { MAX_NONCE, parseState } from '../nonce/file-store.js';
import { MEANING_OF_A_JUMP, parseDistance } from '../nonce/nonce-jump.js';
import type { NonceState } from '../nonce/store.js';
import { UsageError, type Terminal } from './terminal.js';

export interface JumpOptions {
  readonly by: string | undefined;
  /** Only this account's key; all keys without it. */
  readonly account: string | undefined;
  /** For scripts: do not ask. */
  readonly yes: boolean;
}

/** A jump as the command line asks for it. */
export interface Jump {
  readonly byNs: bigint;
  /** Undefined: all keys. */
  readonly account: { readonly name: string; readonly fingerprint: string } | undefined;
  readonly yes: boolean;
}

const NS_PER_MS = 1_000_000n;

/** Throws UsageError for what is no duration, and for an account that the config does not have. */
export function readJump(options: JumpOptions, { accounts }: Config): Jump {
  const byMs = parseDistance(options.by);
  if (byMs === undefined)
    throw new UsageError('--by needs a duration such as 500ms, 30s, 10m, 1h or 2d, at most 7d');
  const found = accounts.find(({ name }) => name === options.account);
  if (options.account !== undefined && found === undefined)
    throw new UsageError(`--account must be one of: ${accounts.map(({ name }) => name).join(', ')}`);
  const account = found && { name: found.name, fingerprint: keyFingerprint(found.key) };
  return { byNs: byMs * NS_PER_MS, account, yes: options.yes };
}

/**
 * Where a jump from this floor leads, or from the clock where that is higher; undefined when the person does not want it
 * once told what it means. Throws UsageError when there is no room for it.
 */
export async function agreedJump(jump: Jump, floor: bigint, terminal: Terminal): Promise<bigint | undefined> {
  const from = max(floor, clockNs(terminal));
  const to = from + jump.byNs;
  if (to >= MAX_NONCE)
    throw new UsageError('refused: the jump would pass the last nonce Kraken takes (2^63 - 1)');
  terminal.print(`jump         ${from} -> ${to}  ${describeLead(to, terminal)}`);
  terminal.print(
    `for          ${jump.account === undefined ? 'all keys' : `the key of ${jump.account.name}`}`,
  );
  terminal.print(`What becomes of the key: ${MEANING_OF_A_JUMP}`);
  if (jump.yes || (await terminal.confirm('Jump? [y/N] '))) return to;
  terminal.print('nothing was changed');
  return undefined;
}

/** The state in a file that is to be taken over. Throws UsageError, or CorruptStateError. */
export function readImport(source: string): NonceState {
  let text: string;
  try {
    text = readFileSync(source, 'latin1');
  } catch (error) {
    throw new UsageError(`nothing to import: ${(error as Error).message}`);
  }
  return parseState(text, source);
}

/** Throws UsageError when an import would lower the floor. */
export function refuseLower(floor: bigint, imported: NonceState, source: string): void {
  if (floor <= imported.floor) return;
  throw new UsageError(
    `refused: the state's floor ${floor} is above ${imported.floor} in ${source}; a floor never goes down`,
  );
}

export function describeLead(floor: bigint, terminal: Terminal): string {
  const seconds = Number(floor / NS_PER_MS - BigInt(terminal.now())) / 1_000;
  const when = new Date(Number(floor / NS_PER_MS)).toISOString();
  const distance = `${Math.abs(seconds).toFixed(1)} s`;
  return `(${when}, ${seconds > 0 ? `${distance} ahead of the clock` : `${distance} behind the clock`})`;
}

/** By the fingerprints of their keys. */
export function accountNames({ accounts }: Config): ReadonlyMap<string, string> {
  return new Map(accounts.map(({ name, key }) => [keyFingerprint(key), name]));
}

export function clockNs(terminal: Terminal): bigint {
  return BigInt(terminal.now()) * NS_PER_MS;
}

export function max(one: bigint, other: bigint): bigint {
  return one > other ? one : other;
}
