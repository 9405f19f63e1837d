import { DurableLines, type DurableLinesOptions } from '../durable-lines.js';
import { parseAmount } from './decimal.js';
import type { Entry } from './spending.js';

/** The ledger on disk is damaged; the message names file, line and repair. */
export class SpendingError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'SpendingError';
  }
}

/** The day's ledger as a text file: a JSON line for each entry and for each entry that was given back. */
export class SpendingFile {
  /** What the file held that is younger than a day, in the order of their times. */
  readonly initial: readonly Entry[];
  readonly #ledger: LiveEntries;
  readonly #lines: DurableLines;

  private constructor(ledger: LiveEntries, lines: DurableLines) {
    this.#ledger = ledger;
    this.#lines = lines;
    this.initial = [...ledger.entries.values()].sort((a, b) => a.at - b.at);
  }

  /** Entries of `oldest` or before are dropped. Rejects with SpendingError when the file is damaged. */
  static async open(
    path: string,
    oldest: number,
    owner: Pick<DurableLinesOptions, 'assertOwned'> = {},
  ): Promise<SpendingFile> {
    const ledger = new LiveEntries(oldest);
    const lines = await DurableLines.open(path, {
      ...owner,
      name: 'the ledger of the day',
      read: (line) => ledger.read(line),
      alive: () => ledger.lines(),
      damaged: (line) => damaged(path, line),
    });
    return new SpendingFile(ledger, lines);
  }

  /** Resolves once the entry is on disk. `oldest`: entries of that time or before need not be kept any more. */
  async append(entry: Entry, oldest: number): Promise<void> {
    this.#ledger.oldest = oldest;
    this.#ledger.entries.set(entry.id, entry);
    try {
      await this.#lines.append(entryLine(entry));
    } catch (error) {
      this.#ledger.entries.delete(entry.id);
      throw error;
    }
  }

  /** The entry counts no more. A crash before that is on disk lets it count again. */
  giveBack(id: number): void {
    this.#ledger.entries.delete(id);
    this.#lines.note(backLine(id)).catch(() => undefined);
  }

  /** Writes what waits. */
  async close(): Promise<void> {
    await this.#lines.close();
  }
}

/** What counts of the lines so far. */
class LiveEntries {
  readonly entries = new Map<number, Entry>();
  /** Entries of this time or before need not be kept. */
  oldest: number;

  constructor(oldest: number) {
    this.oldest = oldest;
  }

  read(line: string): boolean {
    const read = parseLine(line);
    if (read === undefined) return false;
    if (typeof read === 'number') this.entries.delete(read);
    else this.entries.set(read.id, read);
    return true;
  }

  lines(): Iterable<string> {
    for (const { id, at } of this.entries.values()) if (at <= this.oldest) this.entries.delete(id);
    return [...this.entries.values()].map(entryLine);
  }
}

function entryLine({ id, at, client, quote, amount }: Entry): string {
  return JSON.stringify({ id, at, client, quote, amount: amount.toFixed() });
}

function backLine(id: number): string {
  return JSON.stringify({ back: id });
}

/** An entry, or the id of one that was given back; undefined for anything else. */
function parseLine(line: string): Entry | number | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { id, at, client, quote, amount, back } = value as Record<string, unknown>;
  if (isWhole(back)) return back;
  if (!isWhole(id) || !isTime(at) || typeof client !== 'string' || typeof quote !== 'string')
    return undefined;
  const decimal = typeof amount === 'string' ? parseAmount(amount) : undefined;
  return decimal === undefined ? undefined : { id, at, client, quote, amount: decimal };
}

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0;
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}

function damaged(path: string, line: number): SpendingError {
  return new SpendingError(
    `${path} is not a ledger of spending: line ${line} cannot be read. Nothing was changed. Repair: restore the ` +
      `file from a backup, or move the file away: the day then starts at zero.`,
  );
}
