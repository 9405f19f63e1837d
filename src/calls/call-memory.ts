import type { CallId } from '../answers/call-id.js';
import type { Intent, OpenRecord } from '../answers/begun.js';
import type { Answers } from '../answers/known-answers.js';
import type { StoredReply } from '../answers/stored-reply.js';
import { ProxyError } from '../errors.js';
import type { Job } from './job.js';
import type { Account } from '../kraken/account.js';
import type { KrakenClock } from '../kraken/kraken-clock.js';
import type { UpstreamReply } from '../kraken/transport.js';
import type { OrderIdentity } from '../orders/order-identity.js';
import type { AskKraken } from '../orders/order-lookup.js';
import { canceledOrders } from '../orders/canceled-orders.js';
import type { Doubt, Resolution, Settlement } from './settlement.js';

export interface CallMemoryParts {
  readonly answers: Answers;
  readonly settlement: Settlement;
  readonly clock: KrakenClock;
  /** The proxy's own questions on an account, through its lane before all others. */
  readonly askFor: (account: Account) => AskKraken;
  /** How long a call that waits for the end of an equal one does so, ms. */
  readonly maxWaitMs: () => number;
  /** Something could not be kept; trading goes on. */
  readonly onTrouble: (what: string, error: unknown) => void;
}

/** For a client that still waits when its call is in doubt: Kraken gets at least so long to tell, ms. */
const PATIENCE_MS = 3_000;
/** An intent that took longer to be kept is made anew, ms: the orders' deadlines reckon with 5 s. */
const LONG_MS = 2_000;
/** An answer does not wait longer than this for the disk, ms. */
const KEEP_PATIENCE_MS = 1_000;

/**
 * What was asked before and must not be done twice: answers by Idempotency-Key and by the client's `cl_ord_id`, and calls
 * whose client does not know what became of them.
 */
export class CallMemory {
  readonly #parts: CallMemoryParts;

  constructor(parts: CallMemoryParts) {
    this.#parts = parts;
  }

  /** Whether there may be an answer to this call: only such a call needs `answerTo` although it may not be made. */
  knows(job: Job): boolean | Promise<boolean> {
    const id = job.idOfClient();
    return id === undefined ? false : this.#parts.answers.has(id);
  }

  /** Whether an equal call without an id has come to its end, or into doubt, since this one began to wait. */
  mayHave(job: Job): boolean | Promise<boolean> {
    const { answers } = this.#parts;
    if (job.entry !== undefined || !answers.hasBodies || !isRepeatable(job)) return false;
    return answers.has(job.idOfBody(), job.arrivedAt);
  }

  /**
   * The answer to an earlier call that this one repeats, undefined when there was none: then the call's own entry is on
   * disk. Waits for one that is under way, and finds out about one that is in doubt.
   *
   * Throws ProxyError `invalid-body` (another body under the same key), `outcome-unknown` (also while the first is still
   * under way), `not-owner`, `queue-full`.
   */
  async answerTo(job: Job): Promise<UpstreamReply | undefined> {
    const { answers } = this.#parts;
    const id = job.idOfClient() ?? (isRepeatable(job) && answers.hasBodies ? job.idOfBody() : undefined);
    if (id === undefined) return undefined;
    for (;;) {
      const asked = performance.now();
      const beginning = answers.begin(id, this.#intentOf(job), job.arrivedAt);
      const begun = beginning instanceof Promise ? await beginning : beginning;
      switch (begun.state) {
        case 'new':
          // One without an id is only remembered once its client is left without an answer.
          if (id.kind === 'body') return undefined;
          job.entry = begun.record;
          await begun.record.written;
          // Its time has begun to run before: what is sent now may be executed later than it says.
          if (performance.now() - asked > LONG_MS) await begun.record.update(this.#intentOf(job));
          return undefined;
        case 'answered':
          return this.#replay(job, begun.reply, id);
        case 'under-way': {
          const reply = await within(begun.outcome, this.#parts.maxWaitMs(), TOO_LATE);
          if (reply === TOO_LATE) throw stillUnderWay();
          if (reply !== undefined) return this.#replay(job, reply, id);
          break;
        }
        case 'in-doubt': {
          job.entry = begun.record;
          const reply = await this.#settleEarlier(job, begun.intent, id);
          // Without an id it is told to one that asks the same, and to no other.
          const isTold = id.kind === 'body' && !job.record.hungUp;
          if (isTold) this.#drop(job);
          if (reply !== undefined) return this.#replay(job, await this.#keepReply(job, reply), id);
          // What is sent now is another order than the one that was in doubt: a crash must look for this one.
          if (!isTold) await begun.record.update(this.#intentOf(job));
          return undefined;
        }
        case 'done':
          throw new ProxyError('outcome-unknown', 'it was done before; its answer was too large to be kept', {
            detail: 'done before; the answer was too large to be kept',
          });
        case 'mismatch': {
          const detail = 'this Idempotency-Key was used for another call';
          throw new ProxyError('invalid-body', detail, { detail });
        }
      }
    }
  }

  /** The reply to a call of its own, before its client gets it. */
  async keep(job: Job, reply: UpstreamReply): Promise<void> {
    const { outcome } = job.record;
    job.onHangUp = () => undefined;
    if (job.endpoint.callClass === 'cancel' && outcome !== 'refused') await this.#forgetCanceled(job);
    if (outcome !== 'executed' && !isLastingRefusal(job)) {
      this.#drop(job);
      return;
    }
    // Nobody is there to get it: whoever asks the same again means the same.
    if (job.record.hungUp) this.#remember(job);
    if (job.entry === undefined) return;
    await this.#keepReply(job, reply);
  }

  /** An order that was canceled may be placed anew. An Idempotency-Key stands for its one call all the same. */
  async #forgetCanceled(job: Job): Promise<void> {
    const { account, endpoint, record } = job;
    const orders = canceledOrders(endpoint.name, job.fieldsIfAny());
    if (orders.length === 0) return;
    const sentAt = performance.now() - (record.upstreamMs ?? 0);
    const forgetting = this.#parts.answers.canceled(account.name, orders, sentAt);
    if (forgetting instanceof Promise) await within(forgetting, KEEP_PATIENCE_MS, TOO_LATE);
  }

  /** The call ended without an answer. Its client may be told so afterwards: it may ask again at once, and elsewhere. */
  failed(job: Job): void | Promise<void> {
    job.onHangUp = () => undefined;
    if (job.record.outcome === 'unknown' && isUndoable(job)) return this.#leaveInDoubt(job);
    this.#drop(job);
  }

  /**
   * The slot of its lane is about to be given up. A client that is gone may have asked the same elsewhere: the next turn
   * is that call's, and has to see this one. Never rejects.
   */
  beforeNext(job: Job): void | Promise<void> {
    const { hungUp, outcome } = job.record;
    const isLost = outcome === 'executed' || (outcome === 'unknown' && job.order !== undefined);
    if (!hungUp || !isLost) return;
    this.#remember(job);
    return this.#written(job.entry);
  }

  /** It is another order now, in what tells its fate: a crash must look for this one. Rejects with ProxyError `not-owner`. */
  async changed(job: Job): Promise<void> {
    await job.entry?.update(this.#intentOf(job));
  }

  /** Its reply is lost. A client that is gone may ask the same again at any moment. */
  inDoubt(job: Job): void {
    if (job.order === undefined) return; // nobody could find out: whoever asks again has to know
    if (job.record.hungUp) this.#remember(job);
    else job.onHangUp = () => this.#remember(job);
  }

  /**
   * Waits until it can be told what became of it, for as long as its client may. If that is too short it is found out
   * all the same, and kept for when the client asks again.
   */
  async untilTold(job: Job, doubt: Doubt, deadlineMs: number): Promise<Resolution> {
    const { settlement, askFor, clock } = this.#parts;
    const following = settlement.follow(doubt, askFor(job.account));
    const patienceMs = Math.max(deadlineMs, (doubt.until ?? 0) - clock.earliest() + PATIENCE_MS, PATIENCE_MS);
    const told = await within(following, patienceMs, TOO_LATE);
    if (told !== TOO_LATE) return told;
    this.#remember(job);
    const { entry } = job;
    job.entry = undefined;
    job.isHandedOver = true;
    await this.#written(entry);
    void following.then((later) => this.#conclude(entry, later, this.#intentOf(job, doubt)));
    return { kind: 'untold', reason: 'Kraken did not tell in time; it is being found out' };
  }

  /** Certainly nothing was done: the next such call is a new one. */
  #drop(job: Job): void {
    job.entry?.forget();
    job.entry = undefined;
  }

  /** Its client is told that its outcome is unknown. */
  #leaveInDoubt(job: Job, intent = this.#intentOf(job, job.order?.doubt())): void | Promise<void> {
    if (job.order !== undefined) this.#remember(job);
    const { entry } = job;
    job.entry = undefined;
    job.isHandedOver = true;
    return entry?.leaveInDoubt(intent);
  }

  async #written(entry: OpenRecord | undefined): Promise<void> {
    await entry?.written.catch((error: unknown) => this.#parts.onTrouble('a lost reply', error));
  }

  async #conclude(entry: OpenRecord | undefined, told: Resolution, intent: Intent): Promise<void> {
    if (told.kind === 'not-done') entry?.forget();
    else if (told.kind === 'untold') await entry?.leaveInDoubt(intent);
    else await entry?.answered(storedReply(told.reply));
  }

  /** An earlier call of the same id may have been done: by a process that ended in between, or when Kraken was silent. */
  async #settleEarlier(job: Job, intent: Intent, id: CallId): Promise<UpstreamReply | undefined> {
    const doubt = doubtOf(intent, job.account.name);
    if (doubt === undefined) {
      if (!isUndoable(job)) return undefined; // harmless to repeat: its client gets an answer, not a doubt for ever
      await this.#leaveInDoubt(job, intent);
      throw new ProxyError('outcome-unknown', 'an earlier call of the same id may have been done');
    }
    const resolution = await this.#find(job, doubt, keyOf(intent));
    if (resolution.kind === 'done') return resolution.reply;
    if (resolution.kind === 'not-done') return undefined;
    // Told a second time, and another look would tell no more: whoever asks again has decided.
    if (id.kind === 'body' && doubt.until !== undefined) this.#drop(job);
    else await this.#leaveInDoubt(job, intent);
    throw new ProxyError('outcome-unknown', resolution.reason);
  }

  async #find(job: Job, doubt: Doubt, key: string | undefined): Promise<Resolution> {
    // Another key may be another account's, which knows of no such order: that would say nothing.
    if (key !== undefined && key !== job.account.fingerprint)
      return { kind: 'untold', reason: 'the account has another key since: look at its orders yourself' };
    const { settlement, askFor, maxWaitMs } = this.#parts;
    const told = await settlement.look(doubt, askFor(job.account)).catch(() => undefined);
    return told ?? (await this.untilTold(job, doubt, maxWaitMs()));
  }

  #replay(job: Job, reply: StoredReply, id: CallId): UpstreamReply {
    job.record.isReplayed = true;
    if (job.entry !== undefined && id.kind === 'body') job.entry = undefined;
    const { status, headers, body } = reply;
    const { [OUTCOME]: outcome, ...kraken } = headers;
    const own = { 'idempotent-replayed': 'true', ...(outcome === undefined ? {} : { [OUTCOME]: outcome }) };
    return { status, headers: kraken, body, own };
  }

  async #keepReply(job: Job, reply: UpstreamReply): Promise<StoredReply> {
    const stored = storedReply(reply);
    const { entry } = job;
    job.entry = undefined;
    if (entry === undefined) return stored;
    const failure = await within(entry.answered(stored), KEEP_PATIENCE_MS, TOO_LATE);
    if (failure !== undefined) this.#parts.onTrouble('an answer', failure === TOO_LATE ? undefined : failure);
    return stored;
  }

  /** A call that gave no id and whose client knows nothing: remembered by its body. */
  #remember(job: Job): void {
    job.onHangUp = () => undefined;
    if (job.entry !== undefined || job.isHandedOver || !isRepeatable(job)) return;
    job.entry = this.#parts.answers.lost(
      job.idOfBody(),
      this.#intentOf(job, job.order?.doubt()),
      job.hungUpAt ?? performance.now(),
      job.hungUpAt === undefined ? undefined : job.arrivedAt,
    );
  }

  #intentOf(job: Job, doubt = job.order?.doubtFrom(this.#parts.clock, this.#parts.maxWaitMs())): Intent {
    const key = job.account.fingerprint;
    return { lookup: doubt ? { ...doubt.identity, key } : null, sentAt: doubt?.sentAt, until: doubt?.until };
  }
}

const TOO_LATE = Symbol('too late');

async function within<T, L>(work: Promise<T>, ms: number, late: L): Promise<T | L> {
  let timer: NodeJS.Timeout | undefined;
  const patience = new Promise<L>((resolve) => {
    timer = setTimeout(() => resolve(late), ms);
  });
  try {
    return await Promise.race([work, patience]);
  } finally {
    clearTimeout(timer);
  }
}

/** Done twice it would be twice there. */
function isUndoable({ endpoint, isHarmless }: Job): boolean {
  return endpoint.class === 'exclusive' && !isHarmless;
}

/** Likewise, and known well enough to take an equal one for its repeat. */
function isRepeatable(job: Job): boolean {
  const { group } = job.endpoint;
  return isUndoable(job) && group !== undefined && group !== 'deposit' && group !== 'export';
}

/** Kraken's no to the call itself, which the same call would get again; not to its moment. By Stripe's rules it is kept. */
function isLastingRefusal({ record, verdict, call }: Job): boolean {
  return (
    call.idempotencyKey !== undefined &&
    record.outcome === 'refused' &&
    verdict?.remedy.kind === 'none' &&
    LASTING.test(record.krakenError ?? '')
  );
}

const LASTING = /^E(?:Order|Query|Funding|Trade|Earnings|BM):|^EGeneral: ?Invalid arguments/;

const OUTCOME = 'x-proxy-outcome';

function storedReply({ status, headers, body, own }: UpstreamReply): StoredReply {
  const kept: Record<string, string> = {};
  const type = headers['content-type'];
  if (typeof type === 'string') kept['content-type'] = type;
  if (own?.[OUTCOME] !== undefined) kept[OUTCOME] = own[OUTCOME];
  return { status, headers: kept, body };
}

/** What an intent says about a lost call; undefined when it cannot be looked for. */
function doubtOf({ lookup, sentAt, until }: Intent, account: string): Doubt | undefined {
  if (typeof lookup !== 'object' || lookup === null || sentAt === undefined) return undefined;
  return { account, identity: lookup as OrderIdentity, sentAt, until };
}

/** The key that a lost call was sent with. */
function keyOf({ lookup }: Intent): string | undefined {
  const key = (lookup as { readonly key?: unknown } | null)?.key;
  return typeof key === 'string' ? key : undefined;
}

function stillUnderWay(): ProxyError {
  const detail = 'the first call of this id is still under way';
  // Not that it is busy: that would say that nothing was done.
  return new ProxyError('outcome-unknown', detail, { retryAfterSeconds: 1, detail });
}
