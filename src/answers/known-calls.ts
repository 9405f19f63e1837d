import { ProxyError } from '../errors.js';
import type { AnswerLine, Fate } from './answer-lines.js';
import { Outcome } from './outcome.js';

export type KnownState = 'under-way' | Fate['state'];

/** A call that must not be done twice. */
export interface KnownCall {
  readonly key: string;
  readonly asked: string | undefined;
  /** Wall clock, ms: when it began, or when it came to its state. */
  at: number;
  state: KnownState;
  /** Its intent; when it is answered, its reply; empty when it is done. */
  json: string;
  /** Only while it is under way, and somebody waits. */
  outcome: Outcome | undefined;
}

export const DAY_MS = 24 * 60 * 60 * 1000;

/** Of a call beyond its texts: measured with Node 20, 64-bit. */
const CALL_BYTES = 240;
/** What is old is looked for this often; what is asked for is checked in any case. */
const SWEEP_MS = 1_000;
/** So that one call does not pay for the forgetting of a busy day. */
const MOST_SWEPT = 1_000;

/**
 * The calls of the last 24 hours in memory. A clock that steps back makes them last longer, never shorter: a new one
 * is never older than those before it.
 */
export class KnownCalls {
  readonly #now: () => number;
  readonly #maxBytes: number;
  readonly #underWay = new Map<string, KnownCall>();
  // In the order of their times.
  readonly #inDoubt = new Map<string, KnownCall>();
  readonly #answered = new Map<string, KnownCall>();
  #bytes = 0;
  #latest = 0;
  #sweptAt = 0;

  constructor(now: () => number, maxBytes: number) {
    this.#now = now;
    this.#maxBytes = maxBytes;
  }

  /** Estimated memory. */
  get bytes(): number {
    return this.#bytes;
  }

  get count(): number {
    return this.#underWay.size + this.#inDoubt.size + this.#answered.size;
  }

  /** Now, and never before anything that has been. */
  time(): number {
    return (this.#latest = Math.max(this.#now(), this.#latest));
  }

  /** The call, unless it ended more than a day ago. */
  get(key: string): KnownCall | undefined {
    const call = this.#underWay.get(key) ?? this.#inDoubt.get(key) ?? this.#answered.get(key);
    if (call === undefined || call.state === 'under-way' || !this.#isOld(call)) return call;
    this.forget(call);
    return undefined;
  }

  /** Takes what a line of the file says; the calls of a process that has ended are in doubt. */
  restore({ key, asked, at, fate }: AnswerLine): void {
    const former = this.#inDoubt.get(key) ?? this.#answered.get(key);
    if (former !== undefined) this.forget(former);
    this.#latest = Math.max(this.#latest, at);
    if (fate === undefined || at <= this.#now() - DAY_MS) return;
    const json = fate.state === 'done' ? '' : fate.json;
    this.#add({ key, asked, at, state: fate.state, json, outcome: undefined });
    this.#evict(0);
  }

  /** A call begins. Throws as `makeRoom` does. */
  begin(key: string, asked: string | undefined, intent: string, besides: number): KnownCall {
    const call: KnownCall = {
      key,
      asked,
      at: this.time(),
      state: 'under-way',
      json: intent,
      outcome: undefined,
    };
    this.makeRoom(bytesOf(call), besides);
    this.#add(call);
    return call;
  }

  /** Makes it another state's; an intent or a reply comes with it. */
  move(call: KnownCall, state: KnownState, json: string): void {
    this.forget(call);
    call.at = this.time();
    call.state = state;
    call.json = json;
    this.#add(call);
    this.#evict(0);
  }

  forget(call: KnownCall): void {
    if (this.#of(call.state).delete(call.key)) this.#bytes -= bytesOf(call);
  }

  /**
   * Forgets the oldest answers until there is room for `bytes`, where `besides` are taken elsewhere. Throws ProxyError
   * `queue-full` when there is none even without answers.
   */
  makeRoom(bytes: number, besides: number): void {
    this.#evict(bytes + besides);
    const taken = this.#bytes + besides;
    if (taken + bytes <= this.#maxBytes) return;
    throw new ProxyError('queue-full', `too many calls are open or in doubt: ${taken} bytes of them`, {
      retryAfterSeconds: 1,
    });
  }

  /** Drops what is older than a day, now and then. */
  sweep(): void {
    const now = this.#now();
    if (Math.abs(now - this.#sweptAt) < SWEEP_MS) return;
    this.#sweptAt = now;
    let left = MOST_SWEPT;
    for (const calls of [this.#inDoubt, this.#answered]) {
      for (const call of calls.values()) {
        if (!this.#isOld(call) || left === 0) break;
        this.forget(call);
        left -= 1;
      }
    }
    // The rest of a day that ended all at once follows soon.
    if (left === 0) this.#sweptAt = 0;
  }

  /** All that has to be in the file: what is known now, as it is when its line is asked for. */
  lines(): Iterable<AnswerLine> {
    return this.#linesOf([...this.#inDoubt.values(), ...this.#underWay.values(), ...this.#answered.values()]);
  }

  *#linesOf(calls: readonly KnownCall[]): Generator<AnswerLine> {
    for (const call of calls) {
      const { key, asked, at, state, json } = call;
      if (this.#of(state).get(key) !== call || (state !== 'under-way' && this.#isOld(call))) continue;
      yield { key, asked, at, fate: fateOf(state, json) };
    }
  }

  #add(call: KnownCall): void {
    this.#of(call.state).set(call.key, call);
    this.#bytes += bytesOf(call);
  }

  #of(state: KnownState): Map<string, KnownCall> {
    if (state === 'under-way') return this.#underWay;
    return state === 'in-doubt' ? this.#inDoubt : this.#answered;
  }

  #isOld({ at }: KnownCall): boolean {
    return at <= this.#now() - DAY_MS;
  }

  #evict(bytes: number): void {
    if (this.#bytes + bytes <= this.#maxBytes) return;
    // More than is needed at once: the head of a map that has lost many is slow to find.
    const enough = this.#maxBytes - this.#maxBytes / 16;
    for (const call of this.#answered.values()) {
      if (this.#bytes + bytes <= enough) return;
      this.forget(call);
    }
  }
}

/** A call under way is in doubt for whoever reads the file. */
export function fateOf(state: KnownState, json: string): Fate {
  if (state === 'done') return { state };
  return { state: state === 'answered' ? state : 'in-doubt', json };
}

function bytesOf({ key, asked = '', json }: KnownCall): number {
  return CALL_BYTES + textBytes(key) + textBytes(asked) + textBytes(json);
}

/** A string of ASCII takes a byte for each character, others two. */
export function textBytes(text: string): number {
  return Buffer.byteLength(text) === text.length ? text.length : 2 * text.length;
}
