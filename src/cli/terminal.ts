/** What a command may do to the outside, so that tests can stand in for a person. */
export interface Terminal {
  print(line: string): void;
  /** Asks a yes-or-no question; false when nobody is there to answer. */
  confirm(question: string): Promise<boolean>;
  /** The wall clock, ms since 1970. */
  now(): number;
}

/** The command line asks for something that cannot be done; the message says what to do instead. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'UsageError';
  }
}

/** A check that a command made has found something wrong; the message says what. */
export class CheckFailed extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'CheckFailed';
  }
}

/** A check could not look at all it is about; the next one may. */
export class CheckUnfinished extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'CheckUnfinished';
  }
}
