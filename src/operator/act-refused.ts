export type ActRefusal = 'conflict' | 'not-found' | 'bad-request' | 'unavailable';

/** An operator's act that is not done. `message` goes out as it is: what is in the way, and what to do. */
export class ActRefused extends Error {
  readonly code: ActRefusal;

  constructor(code: ActRefusal, message: string) {
    super(message);
    this.name = 'ActRefused';
    this.code = code;
  }
}
