import { endingOnce, type Begun, type Intent, type OpenRecord } from './begun.js';
import { textBytes } from './known-calls.js';
import { Outcome } from './outcome.js';
import { decodeReply, encodeReply } from './stored-reply.js';

/** A call without an id whose reply was lost. */
interface LostReply {
  readonly key: string;
  /** Wall clock, ms: when it came to its state. */
  at: number;
  state: 'in-doubt' | 'under-way' | 'answered' | 'done';
  /** The intent, or the reply. */
  json: string;
  outcome: Outcome | undefined;
  /** Monotonic ms: only a call that arrived after it can be its repeat. */
  since: number;
}

/** After that, an equal call is meant anew. */
const REPLAY_MS = 10 * 60 * 1000;
const SWEEP_MS = 60_000;
/** Of an entry beyond its texts: an estimate. */
const ENTRY_BYTES = 320;

/**
 * Calls without an id whose replies were lost, in memory only: what became of each is told to one equal call that
 * comes after it. Several may be equal; each is found out, and told, for itself.
 */
export class LostReplies {
  readonly #time: () => number;
  readonly #calls = new Map<string, LostReply[]>();
  #bytes = 0;
  #count = 0;
  #sweptAt = 0;

  /** `time`: a wall clock that never steps back, ms. */
  constructor(time: () => number) {
    this.#time = time;
  }

  /** Estimated memory. */
  get bytes(): number {
    return this.#bytes;
  }

  get count(): number {
    return this.#count;
  }

  add(key: string, intent: Intent): void {
    this.#sweep();
    this.#keep(
      { key, at: 0, state: 'in-doubt', json: '', outcome: undefined, since: -Infinity },
      'in-doubt',
      JSON.stringify(intent),
    );
  }

  /** A call of that key whose holder finds out what became of it. */
  open(key: string, intent: Intent, since: number): OpenRecord {
    this.#sweep();
    const call: LostReply = { key, at: 0, state: 'under-way', json: '', outcome: undefined, since };
    this.#keep(call, 'under-way', JSON.stringify(intent));
    return this.#recordOf(call);
  }

  has(key: string, arrivedAt: number): boolean {
    return this.#of(key, arrivedAt).length > 0;
  }

  /** Nobody is told of it any more. */
  forget(key: string): void {
    const told = this.#calls.get(key)?.filter(({ state }) => state === 'answered') ?? [];
    for (const call of told) this.#drop(call);
  }

  /** A call of that key begins; undefined when no lost one concerns it. */
  begin(key: string, arrivedAt: number): Begun | undefined {
    const calls = this.#of(key, arrivedAt);
    const known = calls.find(({ state }) => state === 'answered' || state === 'done');
    if (known !== undefined) {
      this.#drop(known);
      return known.state === 'done'
        ? { state: 'done' }
        : { state: 'answered', reply: decodeReply(known.json) };
    }
    const doubt = calls.find(({ state }) => state === 'in-doubt');
    if (doubt !== undefined) {
      doubt.state = 'under-way';
      return { state: 'in-doubt', record: this.#recordOf(doubt), intent: JSON.parse(doubt.json) as Intent };
    }
    const [underWay] = calls;
    return underWay && { state: 'under-way', outcome: (underWay.outcome ??= new Outcome()).wait() };
  }

  /** Those of which a call that arrived then can be the repeat. */
  #of(key: string, arrivedAt: number): LostReply[] {
    this.#dropOld(key);
    return (this.#calls.get(key) ?? []).filter(({ since }) => since < arrivedAt);
  }

  #recordOf(call: LostReply): OpenRecord {
    /** Who waited for it. */
    const end = (): Outcome | undefined => {
      this.#drop(call);
      const { outcome } = call;
      call.outcome = undefined;
      return outcome;
    };
    return endingOnce({
      written: Promise.resolve(),
      answered: (reply) => {
        const waiting = end();
        const json = encodeReply(reply);
        this.#keep(call, json === undefined ? 'done' : 'answered', json ?? '');
        // One of those who wait takes it; the others are orders of their own.
        waiting?.tell(undefined);
        return Promise.resolve(undefined);
      },
      forget: () => end()?.tell(undefined),
      leaveInDoubt: (intent) => {
        const waiting = end();
        this.#keep(call, 'in-doubt', JSON.stringify(intent));
        waiting?.tell(undefined);
      },
      update: () => Promise.resolve(),
    });
  }

  #keep(call: LostReply, state: LostReply['state'], json: string): void {
    call.at = this.#time();
    call.state = state;
    call.json = json;
    const calls = this.#calls.get(call.key);
    if (calls === undefined) this.#calls.set(call.key, [call]);
    else calls.push(call);
    this.#bytes += bytesOf(call);
    this.#count += 1;
  }

  #drop(call: LostReply): void {
    const calls = this.#calls.get(call.key) ?? [];
    const index = calls.indexOf(call);
    if (index < 0) return;
    calls.splice(index, 1);
    if (calls.length === 0) this.#calls.delete(call.key);
    this.#bytes -= bytesOf(call);
    this.#count -= 1;
  }

  #dropOld(key: string): void {
    const now = this.#time();
    const isOld = ({ state, at }: LostReply): boolean => state !== 'under-way' && now - at >= REPLAY_MS;
    for (const call of this.#calls.get(key)?.filter(isOld) ?? []) this.#drop(call);
  }

  #sweep(): void {
    const now = this.#time();
    if (now - this.#sweptAt < SWEEP_MS) return;
    this.#sweptAt = now;
    for (const key of this.#calls.keys()) this.#dropOld(key);
  }
}

function bytesOf({ key, json }: LostReply): number {
  return ENTRY_BYTES + textBytes(key) + textBytes(json);
}
