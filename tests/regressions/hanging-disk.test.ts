/*
 * The state lay on a network disk whose server went away: a write neither succeeded nor failed. The call that needed
 * it held its lane's slot for as long as that took, with all others behind it, and they were told nothing but
 * queue-timeout; at a stop the process waited for the same write, state locked, until the supervisor killed it.
 * A call and a stop now have patience with a write for 5 s, and the end of the process has a limit as a whole.
 */
import { jest } from '@jest/globals';
import { ProxyError } from '../../src/errors.js';
import { NonceSequence } from '../../src/nonce/sequence.js';
import { MemoryDisk, type MemoryStore } from '../support/memory-store.js';

const NS_PER_MS = 1_000_000n;
const RESERVE_MS = 10_000;
const PATIENCE_MS = 5_000;

describe('a write that does not come to its end', () => {
  let disk: MemoryDisk;
  let store: MemoryStore;
  let sequence: NonceSequence;
  let clockMs: number;
  beforeEach(async () => {
    // Timers only: promises, and the clock of the nonces, which is set by hand, go on as they are.
    jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate', 'performance', 'Date'] });
    disk = new MemoryDisk();
    store = disk.open();
    clockMs = Date.UTC(2026, 10, 22);
    sequence = await NonceSequence.open(store, { reserveMs: RESERVE_MS, now: () => clockMs });
  });
  afterEach(async () => {
    store.crash(false);
    await sequence.close().catch(() => undefined); // only its timers are left to stop
    expect(jest.getTimerCount()).toBe(0);
    jest.useRealTimers();
  });

  /** The disk hangs from now on, and what is reserved is used up. */
  function hang(): void {
    disk.fate = 'hangs';
    clockMs += 2 * RESERVE_MS;
  }

  /** A draw that waits for the disk, and what became of it so far. */
  function drawWaiting(): { outcome: unknown } {
    const waiting: { outcome: unknown } = { outcome: 'waits' };
    const drawn = sequence.draw('a');
    if (typeof drawn === 'bigint') throw new Error('did not have to wait for the disk');
    drawn.then(
      (nonce) => (waiting.outcome = nonce),
      (error: unknown) => (waiting.outcome = error),
    );
    return waiting;
  }

  async function hangPastThePatience(): Promise<void> {
    hang();
    const waiting = drawWaiting();
    await jest.advanceTimersByTimeAsync(PATIENCE_MS);
    expect(waiting.outcome).toBeInstanceOf(ProxyError);
  }

  it('is waited for by all who need it for 5 s, and then they are refused as not-owner; no nonce is spent', async () => {
    hang();
    const waiting = [drawWaiting(), drawWaiting()];
    await jest.advanceTimersByTimeAsync(PATIENCE_MS - 1);
    expect(waiting).toEqual([{ outcome: 'waits' }, { outcome: 'waits' }]);
    await jest.advanceTimersByTimeAsync(1);
    for (const { outcome } of waiting) {
      expect(outcome).toBeInstanceOf(ProxyError);
      expect(outcome).toMatchObject({ code: 'not-owner' });
    }
    expect(sequence.issued).toBe(0);
    expect(disk.writes).toBe(2); // never a second one beside the one that hangs
  });

  it('lets nobody else wait: the next draws are refused at once, and the reason is told', async () => {
    await hangPastThePatience();
    for (const key of ['a', 'b']) expect(() => sequence.draw(key)).toThrow(ProxyError);
    expect(() => sequence.draw('a')).toThrow('cannot be written');
    expect(sequence.problem).toContain('cannot be written');
    expect(disk.writes).toBe(2);
  });

  it('that succeeds after all opens the sequence again, above all that was handed out and within what is durable', async () => {
    const before = await sequence.draw('a');
    await hangPastThePatience();
    disk.fate = 'lands';
    store.settle(true);
    await jest.advanceTimersByTimeAsync(0);
    expect(sequence.problem).toBeUndefined();
    const after = sequence.draw('a');
    expect(typeof after).toBe('bigint'); // at once
    expect((await after) > before && (await after) <= (disk.state?.floor ?? 0n)).toBe(true);
  });

  it('that fails after all is tried again, and opens the sequence when that succeeds', async () => {
    await hangPastThePatience();
    disk.fate = 'lands';
    store.settle(false);
    await jest.advanceTimersByTimeAsync(0);
    expect(sequence.problem).toContain('ENOSPC');
    await jest.advanceTimersByTimeAsync(1_000);
    expect(sequence.problem).toBeUndefined();
    expect(await sequence.draw('a')).toBe(BigInt(clockMs) * NS_PER_MS);
  });

  it('that succeeds within the patience serves those who waited for it', async () => {
    hang();
    const waiting = drawWaiting();
    await jest.advanceTimersByTimeAsync(PATIENCE_MS - 1);
    disk.fate = 'lands';
    store.settle(true);
    await jest.advanceTimersByTimeAsync(0);
    expect(waiting.outcome).toBe(BigInt(clockMs) * NS_PER_MS);
  });

  it('holds a close up for no longer than 5 s; then the state is given up all the same', async () => {
    hang();
    const waiting = drawWaiting();
    const closed = expect(sequence.close()).rejects.toMatchObject({ code: 'not-owner' });
    expect(() => sequence.draw('a')).toThrow('is closed');
    await jest.advanceTimersByTimeAsync(PATIENCE_MS - 1);
    expect(store.owns).toBe(true);
    await jest.advanceTimersByTimeAsync(1);
    await closed;
    expect(store.owns).toBe(false);
    expect(waiting.outcome).toMatchObject({ code: 'not-owner' });
    disk.fate = 'lands';
    disk.open(); // another process has the state at once
  });
});
