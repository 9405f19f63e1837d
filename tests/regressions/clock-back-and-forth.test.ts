/*
 * The clock stepped back an hour under a running proxy, and the next renewal of the reservation wrote a floor
 * that was lower than the one before, though higher than all that had been used. The sequence went on to trust
 * the earlier, higher one: when the clock came back, it handed out nonces that the file no longer covered. A
 * crash in that moment, and a clock still wrong at the next start, and nonces would have been used twice.
 * A reservation now never goes back.
 */
import { NonceSequence } from '../../src/nonce/sequence.js';
import { MemoryDisk } from '../support/memory-store.js';

it('a clock that steps back and forth does not take back a floor that was durable', async () => {
  const disk = new MemoryDisk();
  const startMs = Date.UTC(2026, 10, 22);
  let clockMs = startMs;
  const sequence = await NonceSequence.open(disk.open(), { reserveMs: 10_000, now: () => clockMs });
  await sequence.draw('a');
  const covered = disk.state?.floor ?? 0n;

  clockMs = startMs - 3_600_000;
  await sequence.lift(1n); // changes nothing, but writes
  expect((disk.state?.floor ?? 0n) >= covered).toBe(true);

  clockMs = startMs + 3_000;
  const nonce = sequence.draw('a');
  expect(nonce).toBe(BigInt(clockMs) * 1_000_000n);
  expect((disk.state?.floor ?? 0n) >= (nonce as bigint)).toBe(true);
  await sequence.close();
});
