import type { Claim } from '../answers/begun.js';
import { steadyWallNow } from '../clocks.js';
import type { Examination } from '../doctor/examination.js';
import { ProxyError } from '../errors.js';
import { parseBody, type BodyTemplate } from '../kraken/body.js';
import type { Account } from '../kraken/account.js';
import { endpointOf, type Endpoint } from '../kraken/endpoints.js';
import type { KrakenClock } from '../kraken/kraken-clock.js';
import { outcomeOf, type Verdict } from '../kraken/outcome.js';
import type { SystemStatus } from '../kraken/system-status.js';
import { UpstreamError, type Upstream, type UpstreamReply } from '../kraken/transport.js';
import type { Breakers, ProbeAnswer } from '../lane/breaker.js';
import type { Pacer } from '../lane/pacer.js';
import { newCallRecord, type CallRecord } from '../log.js';
import type { EngineCharge, EngineCounter } from '../orders/engine-counter.js';

/** Hands out nonces that are durable. */
export interface NonceSource {
  /** Throws or rejects with ProxyError `not-owner`, or with TakenOver when the call is not ours any more, by its claim. */
  draw(fingerprint: string, claim?: Claim): bigint | Promise<bigint>;
  /**
   * Lifts the floor of one key by so much above a nonce that Kraken called invalid, unless that leads too far from the
   * clock. Resolves when it is durable. Rejects with ProxyError `not-owner`.
   */
  lift(fingerprint: string, above: bigint): Promise<void>;
  /** Throws ProxyError `not-owner`: the nonce that was drawn last for the key must not be used any more. */
  assertOwned(fingerprint: string): void;
}

export interface SenderParts {
  readonly nonces: NonceSource;
  readonly pacer: Pick<Pacer, 'begin' | 'end' | 'full' | 'holdUntil'>;
  readonly breakers: Pick<Breakers, 'assertClosed' | 'trip'>;
  readonly engine: Pick<EngineCounter, 'add' | 'full'>;
  readonly clock: KrakenClock;
  readonly status: Pick<SystemStatus, 'suspect'>;
  /** What a call adds to its key's counter. */
  readonly costOf: (endpoint: Endpoint) => number;
  /** Kraken has called every nonce of a call invalid. */
  readonly onInvalidNonce: (account: Account, nonce: string) => void;
  /** Told of every call of the proxy's own once it has ended. */
  readonly record: (call: CallRecord) => void;
}

/** One signed call on its way. */
export interface Sending {
  readonly upstream: Upstream;
  readonly account: Account;
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body: BodyTemplate;
  readonly endpoint: Endpoint;
  /** Fields that the proxy adds beside the nonce, made anew for each try. */
  readonly extra?: (() => readonly (readonly [name: string, value: string])[]) | undefined;
  /** What it adds to the matching engine's counter. */
  readonly charge?: EngineCharge | undefined;
  /** Nobody waits for the answer any more: what has not left need not leave. */
  readonly hungUp: () => boolean;
  /** It carries an otp that its client made: a wrong one is the client's affair, not the key's. */
  readonly hasOwnOtp?: () => boolean;
  /** It finds out whether Kraken takes the key again, so it goes though the key's breaker is open. */
  readonly isProbe?: boolean;
  /** What must still be this node's when the nonce is handed out. */
  readonly claim?: (() => Claim | undefined) | undefined;
  /** Instead of the upstream's own, when that is longer; ms. */
  readonly timeoutMs?: number;
}

/** What came of an examination of a key. */
export type KeyAnswer = Omit<Examination, 'at'>;

/** Where a call of the proxy's own goes. */
export type Own = Pick<Sending, 'upstream' | 'account' | 'hungUp' | 'timeoutMs' | 'isProbe'>;

/** What came of a call: a whole reply, or how it failed. */
export interface Sent {
  readonly verdict: Verdict;
  readonly reply: UpstreamReply | undefined;
  readonly failure: UpstreamError | undefined;
}

/** The client hung up before its turn came: its call was not sent, and nobody is left to answer. */
export class HungUp extends Error {
  constructor() {
    super('the client hung up while its call waited');
    this.name = 'HungUp';
  }
}

/** Kraken's error texts are short; whatever else comes does not fill the log. */
const MAX_ERROR_TEXT = 200;
/** A new nonce, then a lift of the key's floor. */
const NONCE_TRIES = 3;
/** Needs no permission (KRAKEN.md 1.4). */
const KEY_INFO = 'GetApiKeyInfo';

/** Signs and sends calls in their turn, and tells pacer, breaker and clock what came of them. */
export class Sender {
  readonly #parts: SenderParts;
  #draws = 0;

  constructor(parts: SenderParts) {
    this.#parts = parts;
  }

  /**
   * Sends a call, again with a new nonce where Kraken calls the nonce invalid: nothing was executed then. The lane's
   * slot is the caller's until this settles. Rejects with ProxyError `not-owner` or HungUp, both before anything left.
   */
  async send(sending: Sending, record: CallRecord): Promise<Sent> {
    const { nonces, breakers, onInvalidNonce } = this.#parts;
    const { account } = sending;
    if (sending.isProbe !== true) breakers.assertClosed(account.fingerprint);
    for (let tries = 1; ; tries++) {
      const sent = await this.#sendOnce(sending, record);
      if (sent.verdict.remedy.kind !== 'new-nonce') return sent;
      const nonce = record.nonce ?? '0';
      if (tries === NONCE_TRIES) {
        onInvalidNonce(account, nonce);
        return sent;
      }
      if (tries === NONCE_TRIES - 1) await nonces.lift(account.fingerprint, BigInt(nonce));
    }
  }

  /** Whether Kraken takes a key again whose breaker is open, asked with a call that needs no permission. */
  async probe(own: Own): Promise<ProbeAnswer> {
    const { verdict } = await this.#own(KEY_INFO, '', { ...own, isProbe: true }, 'probe');
    if (verdict.remedy.kind === 'open-breaker') return verdict.remedy.why === 'lockout' ? 'lockout' : 'open';
    const isTaken = verdict.outcome === 'executed' || (verdict.sent && verdict.outcome === 'refused');
    return isTaken && verdict.remedy.kind === 'none' ? 'closed' : 'no-answer';
  }

  /** The proxy's own read. Rejects when there is no good answer. */
  async ask(name: string, form: string, own: Own, requestId: string): Promise<Buffer> {
    const { reply, failure, verdict } = await this.#own(name, form, own, requestId);
    if (reply === undefined) throw failure ?? new Error(`${name} got no reply`);
    if (verdict.outcome === 'executed') return reply.body;
    throw new Error(`${name} was answered ${verdict.error ?? `with HTTP ${reply.status}`}`);
  }

  /** Asks Kraken about the key itself. Rejects with ProxyError when nothing could be sent. */
  async examine(own: Own): Promise<KeyAnswer> {
    const record = newCallRecord('doctor', KEY_INFO);
    const { verdict, reply, failure } = await this.#own(KEY_INFO, '', own, record.requestId, record);
    const isGood = reply !== undefined && verdict.outcome === 'executed';
    return {
      nonces: record.sends.map(({ nonce }) => BigInt(nonce)),
      error: isGood ? undefined : (verdict.error ?? failure?.message ?? `HTTP ${reply?.status ?? 0}`),
      answered: reply !== undefined && (isGood || verdict.error !== undefined),
      body: isGood ? reply.body : undefined,
    };
  }

  async #own(
    name: string,
    form: string,
    own: Own,
    requestId: string,
    record = newCallRecord(requestId, endpointOf(name).label),
  ): Promise<Sent> {
    const started = performance.now();
    const endpoint = endpointOf(name);
    record.client = 'proxy';
    record.account = own.account.name;
    const body = parseBody(Buffer.from(form), undefined);
    try {
      const path = `/0/private/${name}`;
      return await this.send({ ...own, path, headers: {}, body, endpoint }, record);
    } finally {
      record.totalMs = performance.now() - started;
      setImmediate(this.#parts.record, record);
    }
  }

  async #sendOnce(sending: Sending, record: CallRecord): Promise<Sent> {
    const { pacer, costOf } = this.#parts;
    // Before the nonce: with that, other nodes that share the key are told of the cost.
    const spent = pacer.begin(sending.account.fingerprint, costOf(sending.endpoint));
    let counted = false;
    try {
      const sent = await this.#signAndSend(sending, record);
      counted = sent.verdict.sent;
      return sent;
    } finally {
      pacer.end(spent, counted);
    }
  }

  async #signAndSend(sending: Sending, record: CallRecord): Promise<Sent> {
    const { nonces, engine, clock } = this.#parts;
    const { account, upstream, path, body, endpoint, charge } = sending;
    const drawn = nonces.draw(account.fingerprint, sending.claim?.()); // durable before it is used
    record.nonce = (typeof drawn === 'bigint' ? drawn : await drawn).toString();
    record.sends.push({ draw: ++this.#draws, nonce: record.nonce });
    const bytes = body.complete(record.nonce, account.otp?.(), sending.extra?.());
    record.key = account.fingerprint;
    if (account.otp === undefined) record.body = bytes;
    const signature = account.signer.sign(path, record.nonce, bytes); // exactly the bytes that leave
    const headers = {
      ...sending.headers,
      'content-type': body.contentType,
      'api-key': account.key,
      'api-sign': signature,
    };
    const mayLeave = (): void => {
      nonces.assertOwned(account.fingerprint); // a process frozen since the draw may have lost the state
      if (sending.hungUp()) throw new HungUp(); // while the call waited for the disk or a connection
    };
    if (charge !== undefined) engine.add(charge);
    const sentAt = steadyWallNow();
    const started = performance.now();
    try {
      const { timeoutMs } = sending;
      const request = { method: 'POST', path, headers, body: bytes, mayLeave } as const;
      const result = await upstream
        .send(timeoutMs === undefined ? request : { ...request, timeoutMs })
        .catch(failureOf);
      const verdict = outcomeOf(result, endpoint, () => clock.now());
      const reply = result instanceof UpstreamError ? undefined : result;
      if (reply !== undefined) clock.observe(textOf(reply.headers.date), sentAt, steadyWallNow());
      record.outcome = verdict.sent ? verdict.outcome : 'not-sent';
      record.status = reply?.status;
      record.krakenError = verdict.error?.slice(0, MAX_ERROR_TEXT);
      this.#tell(sending, verdict);
      return { verdict, reply, failure: result instanceof UpstreamError ? result : undefined };
    } finally {
      record.upstreamMs = (record.upstreamMs ?? 0) + (performance.now() - started);
    }
  }

  #tell({ account, charge, hasOwnOtp }: Sending, { remedy, unavailable }: Verdict): void {
    const { pacer, breakers, engine, clock, status } = this.#parts;
    if (unavailable) status.suspect();
    switch (remedy.kind) {
      case 'wait-for-room':
        pacer.full(account.fingerprint); // somebody else spends on this key too
        return;
      case 'wait-until':
        pacer.holdUntil(account.fingerprint, performance.now() + remedy.at - clock.now());
        return;
      case 'open-breaker':
        if (remedy.why !== 'signature' || hasOwnOtp?.() !== true)
          breakers.trip(account.fingerprint, remedy.why);
        return;
      case 'engine-full':
        if (charge !== undefined) engine.full(charge.account, charge.pair);
        return;
      case 'none':
      case 'new-nonce':
      case 'try-again':
      case 'settle':
        return;
    }
  }
}

/** Nothing came back, and nothing was changed by it; `why` is for the log. */
export function unreachable(why: string, cause: UpstreamError | undefined): ProxyError {
  const options = { retryAfterSeconds: 1, ...(cause === undefined ? {} : { cause }) };
  return new ProxyError('upstream-unreachable', `no answer from Kraken: ${why}`, options);
}

/** A failure to send or to hear is an outcome like others; anything else (a call forbidden to leave) is not. */
function failureOf(error: unknown): UpstreamError {
  if (error instanceof UpstreamError) return error;
  throw error;
}

function textOf(header: string | string[] | undefined): string | undefined {
  return typeof header === 'string' ? header : undefined;
}
