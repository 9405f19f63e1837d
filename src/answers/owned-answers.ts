import { ProxyError } from '../errors.js';
import type { Answers, KnownAnswers } from './known-answers.js';

/** The known answers from before this process owns the state on: until then all is refused with `not-owner`. */
export class OwnedAnswers implements Answers {
  #answers: KnownAnswers | undefined;

  /** From here on `answers` are the known ones; they are closed with this. */
  own(answers: KnownAnswers): void {
    this.#answers = answers;
  }

  begin(...begun: Parameters<Answers['begin']>): ReturnType<Answers['begin']> {
    return this.#owned().begin(...begun);
  }

  lost(...lost: Parameters<Answers['lost']>): ReturnType<Answers['lost']> {
    return this.#owned().lost(...lost);
  }

  has(...asked: Parameters<Answers['has']>): boolean {
    return this.#owned().has(...asked);
  }

  forget(id: Parameters<Answers['forget']>[0]): void {
    this.#answers?.forget(id);
  }

  get hasBodies(): boolean {
    return this.#answers?.hasBodies === true;
  }

  async close(): Promise<void> {
    await this.#answers?.close();
  }

  #owned(): KnownAnswers {
    if (this.#answers !== undefined) return this.#answers;
    throw new ProxyError('not-owner', 'the known answers are not ours (yet)', { retryAfterSeconds: 1 });
  }
}
