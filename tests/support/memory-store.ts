import {
  StateLostError,
  StateOwnedElsewhereError,
  type NonceState,
  type NonceStore,
} from '../../src/nonce/store.js';

/** What the next writes do: land, fail without a trace, fail though they landed, or stay under way. */
export type WriteFate = 'lands' | 'fails' | 'lands but fails' | 'hangs';

/**
 * A disk in memory. It outlives the stores opened on it, as a file outlives processes, and lets a test decide
 * what becomes of each write.
 */
export class MemoryDisk {
  /** What a restart would find now. */
  state: NonceState | undefined;
  fate: WriteFate = 'lands';
  writes = 0;
  #owner: MemoryStore | undefined;

  constructor(state?: NonceState) {
    this.state = state;
  }

  open(): MemoryStore {
    if (this.#owner?.owns === true) throw new StateOwnedElsewhereError('the disk has an owner');
    this.#owner = new MemoryStore(this);
    return this.#owner;
  }
}

export class MemoryStore implements NonceStore {
  readonly initial: NonceState | undefined;
  readonly #disk: MemoryDisk;
  #owns = true;
  #underWay: { land(): void; fail(error: Error): void } | undefined;

  constructor(disk: MemoryDisk) {
    this.#disk = disk;
    this.initial = disk.state;
  }

  get owns(): boolean {
    return this.#owns;
  }

  async write(state: NonceState): Promise<void> {
    this.assertOwned();
    if (this.#underWay !== undefined) throw new Error('two writes at the same time');
    this.#disk.writes++;
    const { fate } = this.#disk;
    const copy = { floor: state.floor, keyFloors: new Map(state.keyFloors) };
    if (fate === 'hangs') {
      await new Promise<void>((resolve, reject) => {
        this.#underWay = {
          land: () => {
            this.#disk.state = copy;
            resolve();
          },
          fail: reject,
        };
      });
      return;
    }
    await Promise.resolve();
    if (fate !== 'fails') this.#disk.state = copy;
    if (fate !== 'lands') throw Object.assign(new Error('the disk is full'), { code: 'ENOSPC' });
  }

  /** Lets the write under way, if any, come to its end. */
  settle(landed: boolean): void {
    const write = this.#underWay;
    this.#underWay = undefined;
    if (landed) write?.land();
    else write?.fail(Object.assign(new Error('the disk is full'), { code: 'ENOSPC' }));
  }

  /** The process dies here; the write under way has landed or not. */
  crash(landed: boolean): void {
    this.#owns = false;
    const write = this.#underWay;
    this.#underWay = undefined;
    if (landed) write?.land();
    else write?.fail(new StateLostError('the process is dead'));
  }

  assertOwned(): void {
    if (!this.#owns) throw new StateLostError('the state is not owned');
  }

  close(): Promise<void> {
    this.#owns = false;
    return Promise.resolve();
  }
}
