import { ProxyError } from '../errors.js';
import type { Job } from './job.js';
import { parseBody } from '../kraken/body.js';
import type { KrakenClock } from '../kraken/kraken-clock.js';
import type { Upstream, UpstreamReply } from '../kraken/transport.js';
import { isOver, type Deadline } from '../lane/deadlines.js';
import type { SharedReads } from '../lane/shared-reads.js';
import { LaneLost, TakenOver } from '../nonce/nonces.js';
import type { CallMemory } from './call-memory.js';
import type { DeadManSwitch } from '../orders/dead-man-switch.js';
import type { EngineCounter } from '../orders/engine-counter.js';
import type { RecentOrders } from '../orders/recent-orders.js';
import { unreachable, type Sender, type Sending, type Sent } from './sender.js';
import type { Doubt, Resolution, Settlement } from './settlement.js';

/** What follows a turn. */
export type Next =
  | { readonly kind: 'answer'; readonly reply: UpstreamReply }
  /** Certainly not executed, or harmless to repeat: it waits in the lane again, at least so long. */
  | { readonly kind: 'again'; readonly inMs: number }
  /** An equal call came to its end while this one waited: it may have its answer. */
  | { readonly kind: 'repeated' }
  /** Its reply was lost, and this is what became of it. */
  | { readonly kind: 'told'; readonly told: Resolution }
  /** Its reply was lost, and nothing tells yet what became of it. */
  | { readonly kind: 'in-doubt'; readonly doubt: Doubt };

export interface AttemptParts {
  readonly sender: Sender;
  readonly settlement: Settlement;
  readonly memory: CallMemory;
  readonly deadManSwitch: DeadManSwitch;
  readonly engine: EngineCounter;
  readonly orders: RecentOrders;
  readonly reads: SharedReads<UpstreamReply>;
  readonly clock: KrakenClock;
}

/** The slot of a lane while it is a call's. */
export interface Slot {
  readonly upstream: Upstream;
  /** When its wait ends. */
  readonly deadline: Deadline;
}

/** Repeats of a call that is harmless to repeat, without leaving its turn; then its fate is open. */
const REPEATS_MS = [0, 250, 1_000];
/** A read that found no answer goes to the lane again after so long, doubled each time. */
const AGAIN_MS = 100;
const LONGEST_AGAIN_MS = 2_000;
/** A question about a lost order must not hold the slot as long as the order did. */
const QUESTION_MS = 5_000;

/** What happens in a call's turn: it is sent, and its outcome is settled before the next call starts. */
export class Attempt {
  readonly #parts: AttemptParts;

  constructor(parts: AttemptParts) {
    this.#parts = parts;
  }

  async run(job: Job, slot: Slot): Promise<Next> {
    const { memory, reads, deadManSwitch } = this.#parts;
    const mayHave = memory.mayHave(job);
    if (mayHave instanceof Promise ? await mayHave : mayHave) return { kind: 'repeated' };
    // Only those that wait now: an answer is never older than its question.
    const companions = job.question === undefined ? [] : reads.companions(job.question, job);
    const strikeMs =
      job.endpoint.name === 'CancelAllOrdersAfter'
        ? deadManSwitch.strikeMs(job.account.name, job.caller.client)
        : 0;
    if (strikeMs > 0 && !isOver(slot.deadline)) return { kind: 'again', inMs: strikeMs };
    const arming = this.#arm(job);
    this.#report(job);
    const sending = this.#sendingOf(job, slot, companions.length > 0);
    let next: Next;
    let sent: Sent | Next;
    try {
      sent = await this.#send(job, slot, sending);
      if ('kind' in sent) return sent;
      next = await this.#judge(job, slot, sending, sent).finally(() => {
        // Also when nobody can tell: Kraken's timer may run.
        if (job.record.outcome === 'executed' || job.record.outcome === 'unknown') arming?.commit();
        return memory.beforeNext(job);
      });
    } finally {
      arming?.end();
    }
    if (next.kind === 'answer') {
      this.#learn(job, next.reply);
      if (sent.verdict.remedy.kind === 'none') for (const read of companions) read.answer(next.reply);
    }
    return next;
  }

  /** Sends it, unless other nodes share the lane and it is one of theirs by now: then nothing was sent. */
  async #send(job: Job, { deadline }: Slot, sending: Sending): Promise<Sent | Next> {
    try {
      return await this.#parts.sender.send(sending, job.record);
    } catch (error) {
      if (error instanceof TakenOver) {
        job.entry?.forget(); // that other node's record stays
        job.entry = undefined;
        return { kind: 'repeated' };
      }
      if (!(error instanceof LaneLost) || isOver(deadline)) throw error;
      job.failure = error;
      return { kind: 'again', inMs: 0 };
    }
  }

  async #judge(job: Job, slot: Slot, sending: Sending, sent: Sent): Promise<Next> {
    const { verdict } = sent;
    switch (verdict.remedy.kind) {
      case 'wait-for-room':
      case 'wait-until':
        // Once: if Kraken still sees no room, somebody else takes it, and the client should know.
        if (job.hasWaitedForRoom || isOver(slot.deadline)) return answer(job, sent);
        job.hasWaitedForRoom = true;
        return { kind: 'again', inMs: 0 };
      case 'try-again':
        return await this.#tryAgain(job, slot, sending, sent);
      case 'settle':
        return job.isHarmless
          ? await this.#tryAgain(job, slot, sending, sent)
          : await this.#settle(job, slot, sent);
      case 'none':
        // A deadline of ours that Kraken does not like must not cost an order.
        if (job.order?.dropDeadline(verdict.error) === true && !isOver(slot.deadline)) {
          await this.#parts.memory.changed(job);
          return { kind: 'again', inMs: 0 };
        }
        // Our first try is there after all: its id is taken.
        if (job.wasResent && job.order !== undefined && verdict.error?.includes(NOT_UNIQUE) === true)
          return await this.#settle(job, slot, sent);
        return answer(job, sent);
      case 'new-nonce':
      case 'engine-full':
      case 'open-breaker':
        return answer(job, sent);
    }
  }

  /** The call did not arrive, or may be repeated. */
  async #tryAgain(job: Job, slot: Slot, sending: Sending, first: Sent): Promise<Next> {
    const { endpoint, isHarmless } = job;
    job.failure = noAnswer(first);
    // Certainly not sent: its client knows best whether it still wants it.
    if (endpoint.class === 'exclusive' && !isHarmless) throw job.failure;
    if (endpoint.class === 'read' || isHarmless) {
      if (isOver(slot.deadline)) throw job.failure;
      return { kind: 'again', inMs: Math.min(AGAIN_MS * 2 ** job.failures++, LONGEST_AGAIN_MS) };
    }
    return await this.#repeat(job, slot, sending, first);
  }

  /**
   * Repeats a call that is harmless to repeat, before its turn ends: later, a cancel could hit orders that were placed
   * meanwhile, and a switch could arm what was disarmed. Also for a client that is gone: it wanted it done.
   */
  async #repeat(job: Job, slot: Slot, sending: Sending, first: Sent): Promise<Next> {
    const { record } = job;
    let sent = first;
    let mayHaveArrived = first.verdict.sent;
    try {
      for (const inMs of REPEATS_MS) {
        if (isOver(slot.deadline)) break;
        await new Promise((resolve) => setTimeout(resolve, inMs));
        const again = await this.#repeatOnce(sending, record);
        if (again instanceof LaneLost && !mayHaveArrived) throw again;
        if (again instanceof LaneLost) break;
        sent = again;
        const { remedy } = sent.verdict;
        if (remedy.kind === 'none') return answer(job, sent, REPEATED);
        // Refused for its moment, not for what it asks: that says nothing about the tries before.
        if (remedy.kind !== 'try-again' && !mayHaveArrived) return answer(job, sent, REPEATED);
        if (remedy.kind !== 'try-again') break;
        mayHaveArrived ||= sent.verdict.sent;
      }
    } finally {
      // One of the tries may have been executed, whatever became of the others.
      if (mayHaveArrived && record.outcome !== 'executed') record.outcome = 'unknown';
    }
    throw mayHaveArrived ? unknownOutcome(sent) : noAnswer(sent);
  }

  /** LaneLost when other nodes have the lane, or the call, by now: this try was not sent. */
  async #repeatOnce(sending: Sending, record: Job['record']): Promise<Sent | LaneLost> {
    try {
      return await this.#parts.sender.send({ ...sending, hungUp: () => false }, record);
    } catch (error) {
      if (error instanceof TakenOver) return new LaneLost(error.message);
      if (error instanceof LaneLost) return error;
      throw error;
    }
  }

  /** The reply to a call that must not be repeated is lost: the next call on its key is our own question. */
  async #settle(job: Job, slot: Slot, sent: Sent): Promise<Next> {
    const { settlement, memory, sender } = this.#parts;
    job.failure = unknownOutcome(sent);
    memory.inDoubt(job);
    if (job.order === undefined) throw job.failure;
    const doubt = job.order.doubt();
    const own = {
      upstream: slot.upstream,
      account: job.account,
      hungUp: () => false,
      timeoutMs: QUESTION_MS,
    };
    const until = performance.now() + QUESTION_MS;
    const told = await settlement
      .look(doubt, async (name, form) => {
        // The rest is asked through the lane: others wait for this slot.
        if (performance.now() > until) throw new Error('the questions take too long for one turn');
        return await sender.ask(name, form, own, job.record.requestId);
      })
      .catch(() => undefined); // no good answer: it is asked again, through the lane
    return told === undefined ? { kind: 'in-doubt', doubt } : { kind: 'told', told };
  }

  #sendingOf(job: Job, { upstream, deadline }: Slot, isShared: boolean): Sending {
    const { clock } = this.#parts;
    const { order, call, account, endpoint, charge } = job;
    const leftMs = (): number => deadline.steady - performance.now();
    return {
      ...{ upstream, account, path: call.path, headers: call.headers, endpoint, charge },
      body: order?.body ?? job.body,
      extra: order && (() => order.extra(clock, leftMs())),
      hungUp: () => job.record.hungUp && !isShared,
      claim: () => job.entry?.claim,
      hasOwnOtp: () => otpOf(job) !== '',
    };
  }

  /** The dead man's switch is everybody's: what one client asks for is put together with what others did. */
  #arm(job: Job): ReturnType<DeadManSwitch['ask']> | undefined {
    if (job.endpoint.name !== 'CancelAllOrdersAfter') return undefined;
    const timeout = job.fieldsIfAny()?.get('timeout');
    // What we cannot read may mean something to Kraken, and its timer is everybody's.
    if (typeof timeout !== 'string' || !/^0*\d{1,5}$/.test(timeout))
      throw new ProxyError(
        'invalid-body',
        'CancelAllOrdersAfter needs a timeout in whole seconds, and no query',
      );
    const seconds = Number(timeout);
    const arming = this.#parts.deadManSwitch.ask(job.account.name, job.caller.client, seconds);
    job.body =
      arming.seconds === seconds
        ? job.ownBody
        : parseBody(Buffer.from(`timeout=${arming.seconds}${otpOf(job)}`), undefined);
    return arming;
  }

  /** What the matching engine may refuse is told with the call. */
  #report({ charge, record }: Job): void {
    if (charge === undefined || this.#parts.engine.delayMs(charge) === 0) return;
    const reason = 'the matching engine may refuse it: its counter of this pair is full as far as we know';
    record.reported = [...record.reported, { rule: 'engine', reason }];
  }

  /** Orders that a reply names: their age counts for the matching engine, and they are no lost ones. */
  #learn(job: Job, reply: UpstreamReply): void {
    if (job.order === undefined || job.record.outcome !== 'executed') return;
    this.#parts.orders.learn(job.account.name, job.endpoint.name, job.fieldsIfAny(), reply.body);
  }
}

/** The client's own otp, where the account has none: as a field to add to a form. */
function otpOf(job: Job): string {
  const otp = job.account.otp === undefined ? job.fieldsIfAny()?.get('otp') : undefined;
  return typeof otp === 'string' ? `&otp=${encodeURIComponent(otp)}` : '';
}

/** The reply goes to the client, as it is but for what the proxy has to say about it. */
function answer(job: Job, { verdict, reply, failure }: Sent, own?: UpstreamReply['own']): Next {
  if (reply === undefined) throw failure ?? new Error('a call without a reply has no answer');
  job.verdict = verdict;
  const said = verdict.remedy.kind === 'new-nonce' ? { 'x-proxy-error-detail': HIGHER_NONCE } : own;
  return { kind: 'answer', reply: said === undefined ? reply : { ...reply, own: said } };
}

const NOT_UNIQUE = 'cl_ord_id not unique';
const REPEATED = { 'x-proxy-outcome': 'repeated' };
const HIGHER_NONCE =
  'another program has used a higher nonce on this key: look for one that shares it, or raise ours with nonce jump';

function noAnswer({ verdict, reply, failure }: Sent): ProxyError {
  const why = failure?.message ?? `HTTP ${reply?.status ?? 0}, ${verdict.error ?? 'no envelope'}`;
  return unreachable(why, failure);
}

function unknownOutcome({ verdict, reply, failure }: Sent): ProxyError {
  const why = failure?.message ?? verdict.error ?? `HTTP ${reply?.status ?? 0} without an envelope`;
  const detail = verdict.error === undefined ? {} : { detail: `Kraken: ${verdict.error}` };
  const options = failure === undefined ? detail : { cause: failure };
  return new ProxyError(
    'outcome-unknown',
    `Kraken's answer does not tell what became of it: ${why}`,
    options,
  );
}
