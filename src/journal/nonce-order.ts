/** A nonce that was drawn for a call. */
export interface DrawnNonce {
  /** The fingerprint of its key, or the account's name where that is not known. */
  readonly key: string;
  /** Counts the draws of a run from 1. */
  readonly draw: number;
  readonly nonce: bigint;
  /** Seq of the line that tells of it. */
  readonly seq: number;
}

/** Draws side by side, 20 bytes each. */
interface Block {
  readonly nonces: BigInt64Array;
  readonly seqs: Float64Array;
  /** Number of the key; 0: the draw was not seen. */
  readonly keys: Uint32Array;
  seen: number;
}

const BLOCK = 1_024;
const MAX_NONCE = 2n ** 63n;

/**
 * Whether nonces only rose. Lines stand in the order in which calls ended, nonces were drawn in that of their draws: so
 * the draws of a run are put in order first, and every nonce has to be above all that its key has used before, in
 * this run or an earlier one. Takes 20 bytes for each nonce of a run from the first one on that no line tells of, or
 * from the first one of a run whose beginning is gone.
 */
export class NonceOrder {
  /** Nonces seen. */
  count = 0;
  /** Draws between the first and the last of their runs that no line tells of. */
  missing = 0;
  readonly #found: (problem: string, seq: number) => void;
  readonly #numbers = new Map<string, number>();
  /** By the number of the key. */
  readonly #highest: { nonce: bigint; seq: number }[] = [{ nonce: -1n, seq: 0 }];
  #blocks = new Map<number, Block>();
  /** Blocks below are complete, checked and let go. */
  #front: number | undefined;
  /** A draw below which the blocks are done with, and one above all. */
  #from = 1;
  #to = 1;

  /** `found`: told of each nonce that is out of order, and the seq of its line. */
  constructor(found: (problem: string, seq: number) => void) {
    this.#found = found;
  }

  /** Keys, or accounts, that nonces were seen of. */
  get keys(): number {
    return this.#numbers.size;
  }

  /** A run of the proxy begins; whatever came before belongs to an earlier one. */
  beginRun(): void {
    this.endRun();
    this.#front = 0;
    this.#from = 1;
    this.#to = 1;
  }

  add({ key, draw, nonce, seq }: DrawnNonce): void {
    this.count += 1;
    if (!Number.isSafeInteger(draw) || draw < 1 || nonce >= MAX_NONCE) {
      this.#found(`nonce ${nonce} with draw ${draw} is none that the proxy makes`, seq);
      return;
    }
    const number = Math.floor((draw - 1) / BLOCK);
    const at = (draw - 1) % BLOCK;
    const block = this.#blocks.get(number) ?? newBlock();
    if (number < (this.#front ?? 0) || block.keys[at] !== 0) {
      this.#found(`draw ${draw} (nonce ${nonce}) stands twice in the same run`, seq);
      return;
    }
    this.#blocks.set(number, block);
    block.nonces[at] = nonce;
    block.seqs[at] = seq;
    block.keys[at] = this.#numberOf(key);
    block.seen += 1;
    this.#to = Math.max(this.#to, draw + 1);
    this.#letGo();
  }

  /** Nothing more comes of the run that is being read. */
  endRun(): void {
    const numbers = [...this.#blocks.keys()].sort((one, other) => one - other);
    const first = this.#front === undefined ? this.#firstDraw(numbers[0]) : this.#from;
    let seen = 0;
    for (const number of numbers) {
      const block = this.#blocks.get(number);
      if (block === undefined) continue;
      seen += block.seen;
      this.#check(block);
    }
    if (numbers.length > 0) this.missing += this.#to - first - seen;
    this.#blocks = new Map();
    this.#front = undefined;
    this.#to = 1;
  }

  #firstDraw(number: number | undefined): number {
    const at = this.#blocks.get(number ?? -1)?.keys.findIndex((key) => key !== 0) ?? 0;
    return (number ?? 0) * BLOCK + at + 1;
  }

  /** Whole blocks need not wait for the end of their run. */
  #letGo(): void {
    if (this.#front === undefined) return;
    for (let block = this.#blocks.get(this.#front); block?.seen === BLOCK;) {
      this.#check(block);
      this.#blocks.delete(this.#front);
      this.#front += 1;
      this.#from = this.#front * BLOCK + 1;
      block = this.#blocks.get(this.#front);
    }
  }

  #check({ keys, nonces, seqs }: Block): void {
    for (const [at, key] of keys.entries()) {
      if (key === 0) continue;
      const nonce = nonces[at] ?? 0n;
      const seq = seqs[at] ?? 0;
      const highest = this.#highest[key];
      if (highest === undefined) continue;
      if (nonce > highest.nonce) {
        highest.nonce = nonce;
        highest.seq = seq;
      } else {
        const is = nonce === highest.nonce ? 'repeats that' : `is not above ${highest.nonce}`;
        this.#found(`nonce ${nonce} ${is} of the line with seq ${highest.seq}, which was drawn before`, seq);
      }
    }
  }

  #numberOf(key: string): number {
    let number = this.#numbers.get(key);
    if (number === undefined) {
      number = this.#highest.push({ nonce: -1n, seq: 0 }) - 1;
      this.#numbers.set(key, number);
    }
    return number;
  }
}

function newBlock(): Block {
  return {
    nonces: new BigInt64Array(BLOCK),
    seqs: new Float64Array(BLOCK),
    keys: new Uint32Array(BLOCK),
    seen: 0,
  };
}
