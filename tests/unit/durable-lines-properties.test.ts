import { mkdtempSync, readdirSync, rmSync, statSync, truncateSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { DurableLines } from '../../src/durable-lines.js';
import { Disk } from '../support/disk.js';
import { propertyRuns } from '../support/property-runs.js';
import { until } from '../support/until.js';

/** What one burst adds: how many lines of how many bytes, and how many turns of the event loop come before the next. */
interface Burst {
  readonly lines: number;
  readonly bytes: number;
  readonly forget: number;
  readonly turns: number;
}

const burst: fc.Arbitrary<Burst> = fc.record({
  lines: fc.integer({ min: 1, max: 8 }),
  bytes: fc.constantFrom(10, 10_000, 100_000),
  forget: fc.integer({ min: 0, max: 6 }),
  turns: fc.integer({ min: 0, max: 12 }),
});

/** Takes its time over each call, and fails some: a sync that fails loses all since the last one. */
class StrictDisk {
  readonly #disk: Disk;
  readonly #synced = new WeakMap<FileHandle, number>();
  readonly #syncedByInode = new Map<number, number>();
  readonly #random: () => number;
  /** How many of the calls fail, from 0 to 1. */
  failing: number;

  /** `random`: from 0 to 1. */
  constructor(disk: Disk, random: () => number, failing: number) {
    this.#disk = disk;
    this.#random = random;
    this.failing = failing;
  }

  takeOver(): void {
    this.#disk.replace('appendFile', async (healthy, data, handle) => {
      await this.#pause();
      if (this.#fails()) {
        await handle.write(data, 0, Math.floor(data.length * this.#random()));
        throw new Error('ENOSPC');
      }
      await healthy();
      await this.#pause();
    });
    for (const call of ['datasync', 'sync'] as const) {
      this.#disk.replace(call, async (healthy, _, handle) => {
        const { size, ino } = await handle.stat();
        await this.#pause();
        if (this.#fails()) {
          if ((await handle.stat()).isFile()) await handle.truncate(this.#synced.get(handle) ?? 0);
          throw new Error('EIO');
        }
        await healthy();
        this.#synced.set(handle, size);
        this.#syncedByInode.set(ino, size);
        await this.#pause();
      });
    }
  }

  /** Leaves of the file what a power cut is sure to leave. */
  cutPower(file: string): void {
    truncateSync(file, this.#syncedByInode.get(statSync(file).ino));
  }

  #fails(): boolean {
    return this.#random() < this.failing;
  }

  async #pause(): Promise<void> {
    for (let turns = Math.floor(this.#random() * 8); turns > 0; turns--) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

/** A small generator of numbers from 0 to 1 (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

function reader(alive: Map<number, string>): (line: string) => boolean {
  return (line) => {
    const [number, text] = JSON.parse(line) as [number, string];
    if (text === '') alive.delete(number);
    else alive.set(number, text);
    return true;
  };
}

function openLines(file: string, alive: Map<number, string>): Promise<DurableLines> {
  return DurableLines.open(file, {
    name: 'the test’s file',
    read: reader(alive),
    alive: () => [...alive].map((line) => JSON.stringify(line)),
    damaged: (line) => new Error(`line ${line}`),
  });
}

it.each([
  { name: 'that works', failing: 0, isCut: false },
  { name: 'that works until the power is cut', failing: 0, isCut: true },
  { name: 'that fails now and then', failing: 0.06, isCut: false },
  { name: 'that fails now and then, until the power is cut', failing: 0.06, isCut: true },
])(
  'on a disk $name, at whatever pace: what was durable is read again',
  async ({ failing, isCut }) => {
    const disk = await Disk.of(process.execPath);
    await fc.assert(
      fc.asyncProperty(
        fc.array(burst, { minLength: 5, maxLength: 25 }),
        fc.integer(),
        async (bursts, seed) => {
          const folder = mkdtempSync(join(tmpdir(), 'lines-'));
          const file = join(folder, 'lines');
          const alive = new Map<number, string>();
          const durable = new Set<number>();
          const lines = await openLines(file, alive);
          const strict = new StrictDisk(disk, randomFrom(seed), failing);
          strict.takeOver();
          try {
            const written: Promise<unknown>[] = [];
            let last = 0;
            for (const { lines: count, bytes, forget, turns } of bursts) {
              for (let left = count; left > 0; left--) {
                const number = ++last;
                const text = 'x'.repeat(bytes);
                alive.set(number, text);
                written.push(
                  lines.append(JSON.stringify([number, text])).then(
                    () => durable.add(number),
                    () => alive.delete(number),
                  ),
                );
              }
              for (const number of [...durable].slice(0, forget)) {
                durable.delete(number);
                alive.delete(number);
                written.push(lines.note(JSON.stringify([number, ''])).catch(() => undefined));
              }
              for (let left = turns; left > 0; left--) await new Promise((resolve) => setImmediate(resolve));
            }
            await Promise.all(written);
            // What a sync has lost is mended with the next line.
            strict.failing = 0;
            alive.set(0, 'x');
            await lines.append('[0,"x"]');
            durable.add(0);
            await until(() => readdirSync(folder).length === 1);
            disk.mend();
            // Not closed: the process ends here.
            if (isCut) strict.cutPower(file);
            const read = new Map<number, string>();
            const next = await openLines(file, read);
            expect([...durable].filter((number) => !read.has(number))).toEqual([]);
            if (failing === 0 && !isCut)
              expect([...read.keys()].sort((a, b) => a - b)).toEqual([...alive.keys()].sort((a, b) => a - b));
            await next.close();
          } finally {
            disk.mend();
            await lines.close();
            rmSync(folder, { recursive: true });
          }
        },
      ),
      { numRuns: propertyRuns(20) },
    );
  },
  60_000,
);
