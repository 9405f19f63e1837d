import type { StoredReply } from './stored-reply.js';

/** How a call under way will end, for those who wait for it. */
export class Outcome {
  readonly #waiting: ((reply: StoredReply | undefined) => void)[] = [];

  /** Resolves with the reply, or with undefined when the call ended without one. */
  wait(): Promise<StoredReply | undefined> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  tell(reply: StoredReply | undefined): void {
    for (const resolve of this.#waiting.splice(0)) resolve(reply);
  }
}
