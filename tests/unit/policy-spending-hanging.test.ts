import { mkdtempSync, rmSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { Spending } from '../../src/policy/spending.js';
import { openOrder, PolicyWorld, rulesWith, TXID } from '../support/policy-world.js';

const PATIENCE_MS = 5_000;
const ORDER = 'pair=XBTUSD&type=buy&ordertype=limit&price=100&volume=1';
const orders = { maxNotionalPerDay: { USD: '250' } };

let folder: string;
let file: string;
let spending: Spending;
let handles: FileHandle;
let healthy: unknown;
/** Ends the syncs that hang. */
let wake: () => void;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'spending-'));
  file = join(folder, 'spending.jsonl');
  spending = await Spending.open(file);
  const probe = await open(file);
  handles = Object.getPrototypeOf(probe) as FileHandle;
  await probe.close();
  healthy = Reflect.get(handles, 'datasync');
  const awake = new Promise<void>((resolve) => (wake = resolve));
  handles.datasync = async function (): Promise<void> {
    await awake;
  };
  // Timers only: the disk and the ages of the ledger go on as they are.
  jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate', 'performance', 'Date'] });
});

afterEach(async () => {
  wake();
  Reflect.set(handles, 'datasync', healthy);
  expect(jest.getTimerCount()).toBe(0);
  jest.useRealTimers();
  await spending.close();
  rmSync(folder, { recursive: true });
});

/** What became of a call so far. */
function watch(outcome: Promise<unknown>): { became: unknown } {
  const call: { became: unknown } = { became: 'waits' };
  outcome.then(
    (value) => (call.became = value),
    (error: unknown) => (call.became = error),
  );
  return call;
}

const waiting = async (count: number): Promise<void> => {
  while (jest.getTimerCount() < count) await new Promise((resolve) => setImmediate(resolve));
};
const expired = {
  code: 'not-owner',
  message: 'the ledger of the day was not written within 5000 ms',
  retryAfterSeconds: 1,
};

it('calls wait 5 s for a disk that hangs, in turn or before; then they are refused and count nothing', async () => {
  const world = new PolicyWorld(spending);
  world.orders = { [TXID]: openOrder() };
  const calls = [
    watch(world.outcome(rulesWith(orders), 'AddOrder', ORDER)),
    watch(world.outcome(rulesWith(orders), 'AmendOrder', `txid=${TXID}&order_qty=1`)),
  ];
  await waiting(2);
  expect(spending.spent('bot', 'USD').toFixed()).toBe('200');
  await jest.advanceTimersByTimeAsync(PATIENCE_MS - 1);
  expect(calls).toEqual([{ became: 'waits' }, { became: 'waits' }]);
  await jest.advanceTimersByTimeAsync(1);
  expect(calls).toMatchObject([{ became: expired }, { became: expired }]);
  expect(spending.spent('bot', 'USD').toFixed()).toBe('0');
  // The writes come to their end after all, and what was given back stays so.
  wake();
  await spending.close();
  expect((await Spending.open(file)).spent('bot', 'USD').toFixed()).toBe('0');
});

it('a disk that answers within 5 s serves the call, and leaves no timer', async () => {
  const world = new PolicyWorld(spending);
  const call = watch(world.outcome(rulesWith(orders), 'AddOrder', ORDER));
  await waiting(1);
  await jest.advanceTimersByTimeAsync(PATIENCE_MS - 1);
  wake();
  while (call.became === 'waits') await new Promise((resolve) => setImmediate(resolve));
  expect(call.became).toBe('allowed');
  expect(spending.spent('bot', 'USD').toFixed()).toBe('100');
});

it('in report mode the order passes after 5 s, and the reason is told', async () => {
  const rules = rulesWith(orders, { report: ['orders.maxNotionalPerDay'] });
  const call = watch(Promise.resolve(new PolicyWorld(spending).decide(rules, 'AddOrder', ORDER)));
  await waiting(1);
  await jest.advanceTimersByTimeAsync(PATIENCE_MS);
  expect(call.became).toMatchObject({ denied: undefined, reported: [{ reason: expired.message }] });
});
