import { isDeepStrictEqual } from 'node:util';
import type { Attempt, Next } from './calls/attempt.js';
import type { CallMemory } from './calls/call-memory.js';
import type { Clients } from './clients.js';
import { ProxyError } from './errors.js';
import { Job, type PrivateCall } from './calls/job.js';
import type { Holds } from './holds/holds.js';
import type { Account } from './kraken/account.js';
import { parseBody } from './kraken/body.js';
import { endpointOf, type Endpoint } from './kraken/endpoints.js';
import { outcomeOf } from './kraken/outcome.js';
import { UpstreamError, type Upstream, type UpstreamReply } from './kraken/transport.js';
import type { Breakers } from './lane/breaker.js';
import { deadlineIn, isOver, type Deadline } from './lane/deadlines.js';
import type { Lane } from './lane/lane.js';
import type { SharedReads } from './lane/shared-reads.js';
import { newCallRecord, type CallRecord } from './log.js';
import type { OrderSafety } from './calls/order-safety.js';
import type { EngineCounter } from './orders/engine-counter.js';
import { txidsOf } from './named-orders.js';
import type { Decision, Finding, Policy, Rules } from './policy/policy.js';
import type { SharedTokens } from './calls/shared-tokens.js';
import { HungUp, unreachable, type Sender, type Sending } from './calls/sender.js';
import type { Resolution } from './calls/settlement.js';

/** Where an account's private calls wait and through which connection they leave. */
export interface Route {
  readonly lane: Lane;
  readonly upstream: Upstream;
}

export interface ProxyParts {
  readonly clients: Pick<Clients, 'identify' | 'generation'>;
  readonly policy: Pick<Policy, 'decide'>;
  readonly safety: OrderSafety;
  readonly memory: CallMemory;
  readonly holds: Pick<Holds, 'assertAllowed' | 'pauseOf'>;
  readonly tokens: SharedTokens;
  readonly routeOf: (account: Account) => Route;
  /** The account with the key that its calls in this lane are signed with from now on; undefined when it is gone. */
  readonly inForce: (account: Account) => Account | undefined;
  readonly breakers: Pick<Breakers, 'assertClosed'>;
  /** Why Kraken takes no calls now, as it says itself. */
  readonly problem: () => string | undefined;
  readonly engine: EngineCounter;
  readonly attempt: Attempt;
  readonly sender: Pick<Sender, 'ask'>;
  readonly reads: SharedReads<UpstreamReply>;
  readonly costOf: (endpoint: Endpoint) => number;
  readonly options: ProxyOptions;
  /** Told of every call once it has ended. */
  readonly record: (call: CallRecord) => void;
}

export interface ProxyOptions {
  /** How long a call of an endpoint waits for its turns, ms. */
  readonly maxWaitMs: (endpoint: Endpoint) => number;
  /** What the matching engine's counter says is told, or waited for. */
  readonly engine: 'off' | 'report' | 'enforce';
  /** An order that certainly was not executed is sent once more. */
  readonly resend: boolean;
}

/** What was decided about a call, by which rules, and at which reload. */
interface Decided {
  decision: Decision;
  rules: Rules;
  generation: number;
}

/** A batch has 15 orders. */
const MOST_TXIDS = 15;

/** A call under way. */
export interface Answer {
  /** Kraken's reply, or a ProxyError, or HungUp. */
  readonly reply: Promise<UpstreamReply>;
  /** The client is gone: a call that waits leaves the lane; one in flight goes on to its end. */
  hangUp(): void;
}

/** The path of a private call (DESIGN 2). The order of its steps is what keeps money safe. */
export class Proxy {
  readonly #parts: ProxyParts;

  constructor(parts: ProxyParts) {
    this.#parts = parts;
  }

  call(call: PrivateCall): Answer {
    const endpoint = endpointOf(call.endpoint);
    const record = newCallRecord(call.requestId, endpoint.label);
    let job: Job | undefined;
    const reply = this.#handle(call, endpoint, record, (made) => (job = made));
    const hangUp = (): void => {
      record.hungUp = true;
      if (job !== undefined) job.hungUpAt ??= performance.now();
      job?.leave(new HungUp());
      job?.onHangUp();
    };
    return { reply, hangUp };
  }

  async #handle(
    call: PrivateCall,
    endpoint: Endpoint,
    record: CallRecord,
    onJob: (job: Job) => void,
  ): Promise<UpstreamReply> {
    const { clients, safety, memory, tokens, holds } = this.#parts;
    const started = performance.now();
    let decided: Decided | undefined;
    let job: Job | undefined;
    let answer: UpstreamReply | undefined;
    try {
      const { generation } = clients;
      const caller = clients.identify(call);
      const { client, rules, account } = caller;
      record.client = client;
      record.account = account.name;
      const bytes = await call.readBody();
      record.body = bytes;
      const body = parseBody(bytes, call.contentType, { dropOtp: account.otp !== undefined });
      caller.verify(call, bytes, body.clientNonce);

      const made = new Job(call, endpoint, caller, bytes, body, record);
      onJob((job = made));
      const asked = this.#decide(made, rules);
      const decision = asked instanceof Promise ? await asked : asked;
      decided = { decision, rules, generation };
      if (decision.denied === undefined || !(await memory.knows(job))) enforce(decision, record); // before anything is queued

      safety.prepare(job);
      const earlier = await memory.answerTo(job);
      if (earlier !== undefined) return (answer = earlier);
      enforce(decision, record);

      holds.assertAllowed(client, account.name, endpoint);
      const token = holds.pauseOf(client, account.name) === undefined ? tokens.find(job) : undefined;
      if (token !== undefined) return token;

      answer = await this.#untilAnswered(job, decided);
      await memory.keep(job, answer);
      tokens.keep(job, answer, started);
      return answer;
    } catch (error) {
      if (error instanceof ProxyError) {
        record.ownError = error.code;
        record.reason = error.message;
      }
      if (job !== undefined) await memory.failed(job);
      throw error;
    } finally {
      record.totalMs = performance.now() - started;
      decided?.decision.settle(
        record.outcome === 'executed' || record.outcome === 'unknown' ? 'maybe' : 'nothing',
      );
      // Once the answer is on its way: the client does not wait for our bookkeeping.
      setImmediate(() => {
        if (answer !== undefined && endpoint.class !== 'read' && record.outcome === 'executed')
          record.txids = txidsOf(answer.body).slice(0, MOST_TXIDS);
        this.#parts.record(record);
      });
    }
  }

  /** Waits in the lane and has its turn, as often as it takes within the wait limit. */
  async #untilAnswered(job: Job, decided: Decided): Promise<UpstreamReply> {
    const { memory, options } = this.#parts;
    const deadline = deadlineIn(options.maxWaitMs(job.endpoint));
    let heldUntil = 0;
    for (;;) {
      const next = await this.#turn(job, decided, deadline, heldUntil);
      switch (next.kind) {
        case 'answer':
          return next.reply;
        case 'again':
          heldUntil = performance.now() + next.inMs;
          break;
        case 'repeated': {
          const earlier = await memory.answerTo(job);
          if (earlier !== undefined) return earlier;
          break;
        }
        case 'in-doubt':
        case 'told': {
          const leftMs = deadline.steady - performance.now();
          const told = next.kind === 'told' ? next.told : await memory.untilTold(job, next.doubt, leftMs);
          const reply = settledReply(job, told);
          if (reply !== undefined) return reply;
          const mayGoAgain = options.resend && !job.wasResent && job.order?.mayGoAgain === true;
          job.failure = notExecuted();
          if (!mayGoAgain || job.record.hungUp || isOver(deadline)) throw job.failure;
          job.wasResent = true;
        }
      }
    }
  }

  /** One wait in the lane, and what came of the turn. */
  async #turn(job: Job, decided: Decided, deadline: Deadline, heldUntil: number): Promise<Next> {
    const { routeOf, attempt, reads, engine, options, costOf } = this.#parts;
    const { record, account, endpoint, charge } = job;
    const { lane, upstream } = routeOf(account);
    this.#assertMayGo(job);
    const joined = performance.now();
    const inTurn = async (): Promise<Next> => {
      record.waitMs = (record.waitMs ?? 0) + performance.now() - joined;
      if (record.hungUp) throw new HungUp();
      if (decided.generation !== this.#parts.clients.generation) await this.#afterReload(job, decided);
      this.#assertMayGo(job);
      if (!job.isDecided) {
        job.isDecided = true;
        const hungUp = (): boolean => record.hungUp;
        const own = { upstream, account: job.account, hungUp };
        const { inTurn: ask } = decided.decision;
        if (ask !== undefined) await this.#decideInTurn(ask, own, record);
      }
      return await attempt.run(job, { upstream, deadline });
    };
    const isHeld = options.engine === 'enforce' && endpoint.callClass !== 'cancel' && charge !== undefined;
    const turn = lane.join(inTurn, {
      class: endpoint.callClass,
      client: job.caller.client,
      account: account.name,
      key: account.fingerprint,
      cost: costOf(endpoint),
      exempt: endpoint.callClass === 'cancel' || job.call.skipStartup,
      deadline,
      ...(heldUntil > joined ? { group: record.requestId } : isHeld ? { group: charge.pair } : {}),
      ...(heldUntil > joined || isHeld
        ? {
            heldMs: () => Math.max(0, heldUntil - performance.now(), isHeld ? engine.delayMs(charge) : 0),
          }
        : {}),
    });
    job.leave = (error) => turn.leave(error);
    const stopSharing = job.question === undefined ? undefined : reads.join(job.question, job);
    try {
      return await turn.result;
    } catch (error) {
      if (job.shared !== undefined) return sharedAnswer(job, job.shared);
      // It had its turn before: how that ended tells the client more than that there was no other.
      const isTimeout = error instanceof ProxyError && error.code === 'queue-timeout';
      throw isTimeout && job.failure !== undefined ? job.failure : error;
    } finally {
      stopSharing?.();
    }
  }

  #decide(job: Job, rules: Rules): Decision | Promise<Decision> {
    const { caller, account, endpoint } = job;
    const fields = (): ReturnType<Job['fields']> => job.fields();
    return this.#parts.policy.decide({
      client: caller.client,
      rules,
      account: account.name,
      endpoint,
      fields,
    });
  }

  /**
   * The config has changed while the call waited: who it is from and what that client may do is asked again, before
   * anything is sent. Throws ProxyError `invalid-key` or `permission-denied`.
   */
  async #afterReload(job: Job, decided: Decided): Promise<void> {
    const { clients, inForce } = this.#parts;
    const { generation } = clients;
    const caller = clients.identify(job.call);
    if (caller.client !== job.caller.client || caller.account.name !== job.account.name) throw changed();
    const account = inForce(job.account);
    if (account === undefined) throw changed();
    // What was sent once is looked for, and sent again, with the key that it was sent with.
    if (job.record.sends.length === 0) job.account = account;
    if (!isDeepStrictEqual(caller.rules, decided.rules)) {
      decided.decision.settle('nothing');
      decided.decision = await this.#decide(job, caller.rules);
      decided.rules = caller.rules;
      job.isDecided = false;
      enforce(decided.decision, job.record);
    }
    decided.generation = generation;
  }

  /**
   * Throws ProxyError `permission-denied` for what an operator lets not through, `locked-out`, or `upstream-unreachable`
   * while Kraken itself says that it takes no calls.
   */
  #assertMayGo({ account, caller, endpoint }: Job): void {
    this.#parts.holds.assertAllowed(caller.client, account.name, endpoint);
    this.#parts.breakers.assertClosed(account.fingerprint);
    const problem = this.#parts.problem();
    if (problem === undefined) return;
    throw new ProxyError('upstream-unreachable', problem, { retryAfterSeconds: 10, detail: problem });
  }

  /** What rules want to know from Kraken about the account, asked in the turn of the call they are for. */
  async #decideInTurn(
    decide: NonNullable<Decision['inTurn']>,
    own: Pick<Sending, 'upstream' | 'account' | 'hungUp'>,
    record: CallRecord,
  ): Promise<void> {
    let failure: unknown;
    const verdict = await decide(async (name, form) => {
      try {
        return await this.#parts.sender.ask(name, form, own, record.requestId);
      } catch (error) {
        failure = error instanceof UpstreamError ? unreachable(error.message, error) : error;
        throw error;
      }
    });
    // Not the client's fault: it is told what really stands in the way.
    if (verdict.denied !== undefined && (failure instanceof ProxyError || failure instanceof HungUp))
      throw failure;
    enforce(verdict, record);
  }
}

/** The reply to a call whose first one was lost; undefined when it certainly was not executed. Throws `outcome-unknown`. */
function settledReply(job: Job, told: Resolution): UpstreamReply | undefined {
  const { record } = job;
  record.settled = told.kind;
  if (told.kind === 'untold') throw new ProxyError('outcome-unknown', told.reason, { detail: told.reason });
  record.outcome = told.kind === 'done' ? 'executed' : 'refused';
  return told.kind === 'done' ? told.reply : undefined;
}

function changed(): ProxyError {
  const detail = 'the config has changed while the call waited: certainly not sent';
  return new ProxyError('permission-denied', detail, { detail });
}

function notExecuted(): ProxyError {
  const detail = 'Kraken gave no answer, and certainly did not execute the call';
  return new ProxyError('queue-timeout', detail, { retryAfterSeconds: 1, detail });
}

/** The answer to an equal read that was sent while this one waited. */
function sharedAnswer({ record, endpoint }: Job, reply: UpstreamReply): Next {
  const { outcome, error } = outcomeOf(reply, endpoint);
  Object.assign(record, { outcome, status: reply.status, krakenError: error, isMerged: true });
  return { kind: 'answer', reply };
}

/** Notes what rules found; throws ProxyError `permission-denied` when one of them refuses. */
function enforce(
  { denied, reported }: { readonly denied: Finding | undefined; readonly reported: readonly Finding[] },
  record: CallRecord,
): void {
  for (const finding of reported)
    if (!record.reported.includes(finding)) record.reported = [...record.reported, finding];
  if (denied === undefined) return;
  record.rule = denied.rule;
  throw new ProxyError('permission-denied', denied.reason, { detail: `${denied.rule}: ${denied.reason}` });
}
