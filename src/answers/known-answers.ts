import { DurableLines, writtenInTime, type DurableLinesOptions } from '../durable-lines.js';
import type { ProxyError } from '../errors.js';
import { damagedAnswers, formatLine, parseLine, type AnswerLine } from './answer-lines.js';
import { endingOnce, type Begun, type Intent, type OpenRecord } from './begun.js';
import { identityOf, type CallId } from './call-id.js';
import { fateOf, KnownCalls, type KnownCall } from './known-calls.js';
import type { CanceledOrders } from '../orders/canceled-orders.js';
import { placedBy, PlacedAnswers } from './placed-answers.js';
import { LostReplies } from './lost-replies.js';
import { Outcome } from './outcome.js';
import { decodeReply, encodeReply, type StoredReply } from './stored-reply.js';

export interface KnownAnswersOptions extends Pick<DurableLinesOptions, 'assertOwned'> {
  /** Wall clock, ms: a day has to survive restarts. Default: the system's. */
  readonly now?: () => number;
  /** Estimated memory of calls and answers. Default 64 MiB. */
  readonly maxBytes?: number;
}

/** What the path of a call needs of the known answers, whether one process keeps them or several share them. */
export interface Answers {
  /**
   * A call begins: what is known of it, or a record for the caller to do it. Throws, or rejects with, ProxyError
   * `queue-full` when too many calls are open or in doubt, `not-owner` when nobody can tell: nothing may be sent then.
   * Of kind `body`, only calls whose replies were lost are known.
   */
  begin(id: CallId, intent: Intent, arrivedAt?: number): Begun | Promise<Begun>;
  /** Whether anything is known of such a call. Throws, or rejects with, ProxyError `not-owner`. */
  has(id: CallId, arrivedAt?: number): boolean | Promise<boolean>;
  /**
   * Orders of that account were canceled, by a call that was sent at `sentAt` (monotonic ms): what answers say of them
   * holds no longer, and the next such call is a new one. Not under an Idempotency-Key. A promise never rejects.
   */
  canceled(account: string, orders: CanceledOrders, sentAt: number): void | Promise<void>;
  /** Whether any call of kind `body` may be known: while there is none nobody has to look for his. */
  readonly hasBodies: boolean;
  /**
   * The reply to a call of kind `body` was lost, and its holder finds out what became of it. Only a call that arrived
   * after `since` (monotonic ms), when its client was gone or told, can be its repeat. With `arrivedAt`, of the call
   * itself: that it is gone may have been noticed late.
   */
  lost(id: CallId, intent: Intent, since?: number, arrivedAt?: number): OpenRecord;
}

const NAME = 'the file of known answers';
const MAX_BYTES = 64 * 1024 * 1024;

/**
 * The calls of the last 24 hours that must not be done twice, each with its answer as soon as there is one. What
 * began is on disk before it is sent; what has no answer after a restart or a crash is in doubt.
 */
export class KnownAnswers implements Answers {
  readonly #calls: KnownCalls;
  readonly #lost: LostReplies;
  readonly #lines: DurableLines;
  readonly #placed = new PlacedAnswers();

  private constructor(calls: KnownCalls, lines: DurableLines) {
    this.#calls = calls;
    this.#lost = new LostReplies(() => calls.time());
    this.#lines = lines;
    for (const { key, fate } of calls.lines())
      if (fate?.state === 'answered') this.#notePlaced(key, decodeReply(fate.json));
  }

  /**
   * Opens the file, made if there is none. Only one process may have it open. Rejects with AnswersError, which names
   * file, line and repair, when it is damaged.
   */
  static async open(
    file: string,
    { now = Date.now, maxBytes = MAX_BYTES, ...owner }: KnownAnswersOptions = {},
  ): Promise<KnownAnswers> {
    const calls = new KnownCalls(now, maxBytes);
    const lines = await DurableLines.open(file, {
      ...owner,
      name: NAME,
      read: (text) => {
        const line = parseLine(text);
        if (line !== undefined) calls.restore(line);
        return line !== undefined;
      },
      alive: () => formatted(calls.lines()),
      damaged: (line) => damagedAnswers(file, line),
    });
    return new KnownAnswers(calls, lines);
  }

  /** How many calls are remembered. */
  get count(): number {
    return this.#calls.count + this.#lost.count;
  }

  /** Estimated memory. */
  get bytes(): number {
    return this.#calls.bytes + this.#lost.bytes;
  }

  begin(id: CallId, intent: Intent, arrivedAt = Infinity): Begun {
    this.#calls.sweep();
    const { key, asked } = identityOf(id);
    if (id.kind === 'body') return this.#lost.begin(key, arrivedAt) ?? this.#beginWithoutId(key);
    const call = this.#calls.get(key);
    if (call === undefined) return { state: 'new', record: this.#beginNew(key, asked, intent) };
    if (call.asked !== asked) return { state: 'mismatch' };
    switch (call.state) {
      case 'answered':
        return { state: 'answered', reply: decodeReply(call.json) };
      case 'done':
        return { state: 'done' };
      case 'under-way':
        return { state: 'under-way', outcome: (call.outcome ??= new Outcome()).wait() };
      case 'in-doubt': {
        const former = JSON.parse(call.json) as Intent;
        // Its line is in the file as it is.
        this.#calls.move(call, 'under-way', call.json);
        return { state: 'in-doubt', record: this.#recordOf(call, Promise.resolve()), intent: former };
      }
    }
  }

  has(id: CallId, arrivedAt = Infinity): boolean {
    const { key } = identityOf(id);
    return id.kind === 'body' ? this.#lost.has(key, arrivedAt) : this.#calls.get(key) !== undefined;
  }

  canceled(account: string, orders: CanceledOrders): void {
    for (const key of this.#placed.canceled(account, orders)) {
      this.#lost.forget(key);
      const call = this.#calls.get(key);
      if (call?.state !== 'answered') continue;
      this.#calls.forget(call);
      const { asked, at } = call;
      this.#lines.note(formatLine({ key, asked, at, fate: undefined })).catch(() => undefined);
    }
  }

  get hasBodies(): boolean {
    return this.#lost.count > 0;
  }

  /** In memory only. */
  lost(id: CallId, intent: Intent, since = -Infinity): OpenRecord {
    const { key } = identityOf(id);
    const record = this.#lost.open(key, intent, since);
    return {
      ...record,
      answered: (reply) => {
        this.#notePlaced(key, reply);
        return record.answered(reply);
      },
    };
  }

  /** The reply to a call of kind `body` was lost, and nobody finds out: the next equal call has to. */
  doubtful(id: CallId, intent: Intent): void {
    this.#lost.add(identityOf(id).key, intent);
  }

  /** Writes what is still to be written. Nothing new can begin afterwards. */
  async close(): Promise<void> {
    await this.#lines.close();
  }

  #beginNew(key: string, asked: string | undefined, intent: Intent): OpenRecord {
    const call = this.#calls.begin(key, asked, JSON.stringify(intent), this.#lost.bytes);
    const written = this.#append(call).catch((error: unknown) => {
      record.forget();
      throw error;
    });
    // The reason is for whoever waits for it; nobody has to.
    written.catch(() => undefined);
    const record = this.#recordOf(call, written);
    return record;
  }

  #beginWithoutId(key: string): Begun {
    this.#calls.makeRoom(0, this.#lost.bytes);
    const record = endingOnce({
      written: Promise.resolve(),
      answered: () => Promise.resolve(undefined),
      forget: () => undefined,
      leaveInDoubt: (intent) => this.#lost.add(key, intent),
      update: () => Promise.resolve(),
    });
    return { state: 'new', record };
  }

  #recordOf(call: KnownCall, written: Promise<void>): OpenRecord {
    /** Who waited for it. */
    const end = (): Outcome | undefined => {
      const { outcome } = call;
      call.outcome = undefined;
      return outcome;
    };
    return endingOnce({
      written,
      answered: (reply) => {
        const json = encodeReply(reply);
        this.#calls.move(call, json === undefined ? 'done' : 'answered', json ?? '');
        this.#notePlaced(call.key, reply);
        end()?.tell(reply);
        return this.#note(call);
      },
      forget: () => {
        this.#calls.forget(call);
        const { key, asked, at } = call;
        this.#lines.note(formatLine({ key, asked, at, fate: undefined })).catch(() => undefined);
        end()?.tell(undefined);
      },
      leaveInDoubt: (intent) => {
        this.#calls.move(call, 'in-doubt', JSON.stringify(intent));
        void this.#note(call);
        end()?.tell(undefined);
      },
      update: (intent) => {
        this.#calls.move(call, 'under-way', JSON.stringify(intent));
        return this.#append(call);
      },
    });
  }

  #notePlaced(key: string, reply: StoredReply): void {
    const placed = placedBy(key, reply);
    if (placed !== undefined) this.#placed.add(placed, key);
  }

  #append(call: KnownCall): Promise<void> {
    return writtenInTime(this.#lines.append(lineOf(call)), NAME);
  }

  async #note(call: KnownCall): Promise<ProxyError | undefined> {
    try {
      await writtenInTime(this.#lines.note(lineOf(call)), NAME);
      return undefined;
    } catch (error) {
      return error as ProxyError;
    }
  }
}

function lineOf({ key, asked, at, state, json }: KnownCall): string {
  return formatLine({ key, asked, at, fate: fateOf(state, json) });
}

function* formatted(lines: Iterable<AnswerLine>): Generator<string> {
  for (const line of lines) yield formatLine(line);
}
