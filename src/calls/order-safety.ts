import { randomUUID } from 'node:crypto';
import { parseBody, type BodyTemplate, type ExtraField } from '../kraken/body.js';
import type { Fields } from '../kraken/fields.js';
import type { KrakenClock } from '../kraken/kraken-clock.js';
import { putOrderIds } from '../kraken/order-body.js';
import { clientDeadline, identifyOrder, type OrderIdentity } from '../orders/order-identity.js';
import type { Job } from './job.js';
import type { EngineCharge } from '../orders/engine-counter.js';
import type { Doubt } from './settlement.js';

/** Kraken takes a deadline 2 to 60 s ahead when the call arrives (KRAKEN.md 5): a second more or less for the way. */
const LEAST_MS = 3_000;
const MOST_MS = 57_000;
/** What is to be kept of a call may take so long to be written before it begins to wait. */
const DISK_MS = 5_000;

export interface OrderSafetyOptions {
  /** Orders are given what they need to be found again. */
  readonly settle: boolean;
  /** Equal reads that wait share an answer. */
  readonly merge: boolean;
  /** What the matching engine counts for a call; undefined when nobody asks. */
  readonly chargeOf:
    ((account: string, endpoint: string, fields: Fields) => EngineCharge | undefined) | undefined;
}

/** Prepares calls for what may happen to them: orders for the loss of their reply, reads for being shared. */
export class OrderSafety {
  readonly #options: OrderSafetyOptions;

  constructor(options: OrderSafetyOptions) {
    this.#options = options;
  }

  /** An order that could not be told from others goes as it came. Throws ProxyError `invalid-body` for what is no JSON. */
  prepare(job: Job): void {
    const { settle, merge, chargeOf } = this.#options;
    const { endpoint, account, call } = job;
    if (merge && endpoint.class === 'read' && call.noMerge !== true && call.idempotencyKey === undefined)
      job.askForAll();
    const { callClass, name } = endpoint;
    const isOrder = callClass === 'order' || callClass === 'change';
    if (!isOrder && callClass !== 'cancel' && name !== 'Withdraw') return;
    const fields = job.fieldsIfAny();
    if (fields === undefined) return;
    job.charge = chargeOf?.(account.name, name, fields);
    const known = callClass === 'cancel' ? undefined : identifyOrder(name, fields, randomUUID);
    if (known === undefined) return;
    job.isHarmless = known.identity.isTest;
    // With an otp that only the client has, Kraken would take no question of ours.
    if (!settle || job.isHarmless || (fields.has('otp') && account.otp === undefined)) return;
    const body = known.orderIds.some((id) => id !== undefined)
      ? parseBody(putOrderIds(job.bytes, job.body.format, known.orderIds), job.call.contentType, {
          dropOtp: account.otp !== undefined,
        })
      : job.body;
    job.order = new SafeOrder(account.name, body, known.identity, known.extra, clientDeadline(fields));
  }
}

/** An order call that can be looked for when its reply is lost: it carries an id, and a deadline past which it is void. */
export class SafeOrder {
  /** What goes to Kraken but for nonce, otp and the fields of `extra`. */
  readonly body: BodyTemplate;
  readonly identity: OrderIdentity;
  readonly #account: string;
  readonly #ids: readonly ExtraField[];
  readonly #clientDeadline: number | 'unreadable' | undefined;
  #addsDeadline: boolean;
  #until: number | undefined;
  #sentAt = 0;

  constructor(
    account: string,
    body: BodyTemplate,
    identity: OrderIdentity,
    ids: readonly ExtraField[],
    deadline: number | 'unreadable' | undefined,
  ) {
    this.#account = account;
    this.body = body;
    this.identity = identity;
    this.#ids = ids;
    this.#clientDeadline = deadline;
    this.#addsDeadline = deadline === undefined && identity.endpoint !== 'Withdraw';
  }

  /**
   * The fields to add for a try that leaves now, when its client waits for so many ms yet. Half of that is the order's;
   * the other half is left for finding out and sending it once more.
   */
  extra(clock: Pick<KrakenClock, 'earliest' | 'latest'>, leftMs: number): readonly ExtraField[] {
    this.#sentAt = clock.earliest();
    this.#until = typeof this.#clientDeadline === 'number' ? this.#clientDeadline : undefined;
    if (!this.#addsDeadline) return this.#ids;
    const until = clock.latest() + Math.min(Math.max(leftMs / 2, LEAST_MS), MOST_MS);
    this.#until = until;
    return [...this.#ids, ['deadline', new Date(until).toISOString()]];
  }

  /**
   * Whether Kraken refused the call for a deadline that was ours, which only clocks that differ bring about. Then
   * it goes without one from here on.
   */
  dropDeadline(error: string | undefined): boolean {
    if (!this.#addsDeadline || error === undefined || !DEADLINE_REFUSED.test(error)) return false;
    this.#addsDeadline = false;
    return true;
  }

  /** Whether it may be sent again once it is void: the client's own deadline has passed as well then. */
  get mayGoAgain(): boolean {
    return this.#clientDeadline === undefined;
  }

  /** What is in doubt about the latest try. */
  doubt(): Doubt {
    return { account: this.#account, identity: this.identity, sentAt: this.#sentAt, until: this.#until };
  }

  /**
   * What is in doubt about a call that may have been sent by a process that is no more: it was to be sent within
   * `withinMs`.
   */
  doubtFrom(clock: Pick<KrakenClock, 'leastThinkable' | 'latest'>, withinMs: number): Doubt {
    const last = clock.latest() + DISK_MS + withinMs + LEAST_MS;
    const until = this.#addsDeadline ? last : this.#clientDeadline;
    const { identity } = this;
    const account = this.#account;
    // Before Kraken has shown its clock ours may be wrong by more than is assumed: an order that is there must be found.
    return {
      account,
      identity,
      sentAt: clock.leastThinkable(),
      until: typeof until === 'number' ? until : undefined,
    };
  }
}

const DEADLINE_REFUSED = /^EGeneral: ?Invalid arguments: ?deadline/;
