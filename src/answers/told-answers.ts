import { PlacedAnswers, type Placed } from './placed-answers.js';
import type { CanceledOrders } from '../orders/canceled-orders.js';

/** What became of a call, as this process has told it. */
export interface ToldAnswer {
  readonly key: string;
  /** Names what was sent to Kraken under that key; null: nobody knows. */
  readonly call: string | null;
  /** The encoded reply; undefined when it was too large to be kept. */
  readonly json: string | undefined;
  readonly placed: Placed | undefined;
}

interface Kept extends ToldAnswer {
  /** Monotonic ms. */
  readonly at: number;
}

/** Of these, and of so many characters of replies, the oldest go. */
const MOST = 20_000;
const MOST_CHARACTERS = 32 * 1024 * 1024;
const LASTS_MS = 24 * 60 * 60 * 1000;

/** The answers of the last day that this process has told, in memory: for when the database has lost that it took them. */
export class ToldAnswers {
  readonly #answers = new Map<string, Kept>();
  readonly #placed = new PlacedAnswers();
  #characters = 0;

  add(answer: ToldAnswer): void {
    this.forget(answer.key);
    this.#answers.set(answer.key, { ...answer, at: performance.now() });
    this.#characters += sizeOf(answer);
    if (answer.placed !== undefined) this.#placed.add(answer.placed, answer.key);
    for (const { key, at } of this.#answers.values()) {
      const isOld = performance.now() - at > LASTS_MS;
      if (!isOld && this.#answers.size <= MOST && this.#characters <= MOST_CHARACTERS) break;
      this.forget(key);
    }
  }

  /** What was told of that very call; not of one before it under the same key. */
  get(key: string, call: string | null): ToldAnswer | undefined {
    const told = this.#answers.get(key);
    return told?.call === call && call !== null ? told : undefined;
  }

  /** Drops, and gives, what was told of orders before a cancel of them was sent then, monotonic ms. */
  canceled(account: string, orders: CanceledOrders, sentAt: number): readonly ToldAnswer[] {
    const answers = this.#placed
      .canceled(account, orders)
      .map((key) => this.#answers.get(key))
      .filter((told) => told !== undefined)
      // A cancel of all leaves what was placed meanwhile; one that names an order means this very one.
      .filter(({ at }) => orders !== 'all' || at <= sentAt);
    for (const { key } of answers) this.forget(key);
    return answers;
  }

  forget(key: string): void {
    const told = this.#answers.get(key);
    if (told === undefined) return;
    this.#answers.delete(key);
    this.#characters -= sizeOf(told);
  }
}

function sizeOf({ key, json = '' }: ToldAnswer): number {
  return key.length + json.length;
}
