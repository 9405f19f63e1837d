import type { ProxyError } from '../errors.js';
import type { StoredReply } from './stored-reply.js';

/** What is needed to find out what became of a call: an object of JSON, kept with it until it has its answer. */
export interface Intent {
  /** Whom to ask, and for what; nothing secret. */
  readonly lookup: unknown;
  /** Wall clock, ms: when it can no longer be executed; undefined: nothing says when. */
  readonly until?: number | undefined;
  /** Wall clock, ms. */
  readonly sentAt?: number | undefined;
}

/**
 * Which row of a shared store has to be still this node's, `under-way`, when a nonce is handed out for the call: another
 * node may have taken it over from one that was cut off or frozen.
 */
export interface Claim {
  /** The key of a row in `answer`. */
  readonly answer?: string;
  /** The id of a row in `lost_reply`. */
  readonly lostReply?: string;
}

/**
 * A call that its holder does, or finds out about. It comes to exactly one end, `answered`, `forget` or
 * `leaveInDoubt`; later ones do nothing.
 */
export interface OpenRecord {
  /** Undefined where no other process can take it over. */
  readonly claim?: Claim;
  /**
   * Resolves once the intent is durable: nothing may be sent before. Rejects with ProxyError `not-owner` when it
   * cannot be written or takes longer than 5 s; the record has ended then, as if by `forget`.
   */
  readonly written: Promise<void>;
  /**
   * The reply is known from here on, and kept. Resolves once the operating system, or the database, has it; never
   * rejects, and takes no longer than 5 s: the reason, when it is only in memory and a crash would leave the call in doubt.
   */
  answered(reply: StoredReply): Promise<ProxyError | undefined>;
  /** Certainly nothing was done, or its refusal is not to be kept: the next one begins anew. */
  forget(): void;
  /**
   * Nobody knows what became of it, and nobody is finding out any more: the next one has to. A promise resolves once
   * other processes see it so; it never rejects, and takes no longer than 5 s.
   */
  leaveInDoubt(intent: Intent): void | Promise<void>;
  /** Another intent in the place of the former. Resolves and rejects like `written`, but the record stays open. */
  update(intent: Intent): Promise<void>;
}

/** How a call finds itself at its beginning. */
export type Begun =
  /** Nobody has done it: this caller does. */
  | { readonly state: 'new'; readonly record: OpenRecord }
  /** It was done. */
  | { readonly state: 'answered'; readonly reply: StoredReply }
  /** It was done, but its answer was too large to be kept: it must not be sent again. */
  | { readonly state: 'done' }
  /** It is being done: the reply, or undefined when it ended without one and may be begun again. */
  | { readonly state: 'under-way'; readonly outcome: Promise<StoredReply | undefined> }
  /** It may have been done: this caller has to find out first. */
  | { readonly state: 'in-doubt'; readonly record: OpenRecord; readonly intent: Intent }
  /** Its idempotency key belongs to a call of another endpoint or other parameters. */
  | { readonly state: 'mismatch' };

/** A record of which only the first end counts. */
export function endingOnce(record: OpenRecord): OpenRecord {
  let isOpen = true;
  const isFirst = (): boolean => {
    const was = isOpen;
    isOpen = false;
    return was;
  };
  return {
    ...(record.claim === undefined ? {} : { claim: record.claim }),
    written: record.written,
    answered: (reply) => (isFirst() ? record.answered(reply) : Promise.resolve(undefined)),
    forget: () => {
      if (isFirst()) record.forget();
    },
    leaveInDoubt: (intent) => (isFirst() ? record.leaveInDoubt(intent) : undefined),
    update: (intent) => (isOpen ? record.update(intent) : Promise.resolve()),
  };
}
