import { ProxyError } from '../errors.js';
import type { Answers } from './known-answers.js';

/** Known answers that end with their owner. */
type ClosableAnswers = Answers & { close(): Promise<void> };

/** The known answers from before this process owns the state on: until then all is refused with `not-owner`. */
export class OwnedAnswers implements Answers {
  #answers: ClosableAnswers | undefined;

  /** From here on `answers` are the known ones; they are closed with this. */
  own(answers: ClosableAnswers): void {
    this.#answers = answers;
  }

  begin(...begun: Parameters<Answers['begin']>): ReturnType<Answers['begin']> {
    return this.#owned().begin(...begun);
  }

  lost(...lost: Parameters<Answers['lost']>): ReturnType<Answers['lost']> {
    return this.#owned().lost(...lost);
  }

  has(...asked: Parameters<Answers['has']>): ReturnType<Answers['has']> {
    return this.#owned().has(...asked);
  }

  canceled(...canceled: Parameters<Answers['canceled']>): ReturnType<Answers['canceled']> {
    return this.#answers?.canceled(...canceled);
  }

  get hasBodies(): boolean {
    return this.#answers?.hasBodies === true;
  }

  async close(): Promise<void> {
    await this.#answers?.close();
  }

  #owned(): ClosableAnswers {
    if (this.#answers !== undefined) return this.#answers;
    throw new ProxyError('not-owner', 'the known answers are not ours (yet)', { retryAfterSeconds: 1 });
  }
}
