/** A read that waits in its lane and may be answered by an equal one. */
export interface WaitingRead<Reply> {
  /** Leaves the lane with this answer, unless its own turn has come. */
  answer(reply: Reply): void;
}

/**
 * Equal reads that wait: when the turn of one of them comes, its answer is everybody's who was waiting when it was sent,
 * so that no answer is older than its question. Each keeps its own place, client and wait limit in the lane; when the
 * one that was sent fails, the others simply go on waiting.
 */
export class SharedReads<Reply> {
  readonly #waiting = new Map<string, Set<WaitingRead<Reply>>>();

  /** Adds one; what is returned takes it away again. `question` tells equal reads: key, path and body. */
  join(question: string, read: WaitingRead<Reply>): () => void {
    let others = this.#waiting.get(question);
    if (others === undefined) this.#waiting.set(question, (others = new Set()));
    const all = others;
    all.add(read);
    return () => {
      all.delete(read);
      if (all.size === 0 && this.#waiting.get(question) === all) this.#waiting.delete(question);
    };
  }

  /** Those that wait for the answer of a read which is sent now. */
  companions(question: string, except: WaitingRead<Reply> | undefined): readonly WaitingRead<Reply>[] {
    const all = this.#waiting.get(question);
    return all === undefined ? [] : [...all].filter((read) => read !== except);
  }
}
