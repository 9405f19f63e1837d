import { open, type FileHandle } from 'node:fs/promises';

type Call = 'appendFile' | 'datasync' | 'sync';

/** What one call of a file handle does while a test plays the disk; `healthy` is what it does otherwise. */
export type Stand = (healthy: () => Promise<void>, data: Buffer, handle: FileHandle) => Promise<void>;

/** Every file handle of the process, whose calls a test may let hang or fail. `mend` makes all as it was. */
export class Disk {
  readonly #handles: FileHandle;
  readonly #healthy = new Map<Call, unknown>();

  private constructor(handles: FileHandle) {
    this.#handles = handles;
  }

  /** `file`: any that exists. */
  static async of(file: string): Promise<Disk> {
    const probe = await open(file);
    const disk = new Disk(Object.getPrototypeOf(probe) as FileHandle);
    await probe.close();
    return disk;
  }

  replace(call: Call, stand: Stand): void {
    if (!this.#healthy.has(call)) this.#healthy.set(call, Reflect.get(this.#handles, call));
    const healthy = this.#healthy.get(call) as (...given: unknown[]) => Promise<void>;
    Reflect.set(this.#handles, call, function (this: FileHandle, ...given: unknown[]): Promise<void> {
      return stand(() => healthy.apply(this, given), given[0] as Buffer, this);
    });
  }

  mend(): void {
    for (const [call, healthy] of this.#healthy) Reflect.set(this.#handles, call, healthy);
    this.#healthy.clear();
  }
}
