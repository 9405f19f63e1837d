/** @typedef {import('../dist/sandbox/sandbox.js').Sandbox} Sandbox */
/** @typedef {import('../dist/sandbox/sandbox.js').Fault} Fault */
/** @typedef {import('./chance.mjs').Chance} Chance */

/** The share of all private calls that each kind hits, in hundredths; the proxy's own questions are hit like orders. */
const PERCENT = /** @type {const} */ ({
  'reset-before': 1.2,
  'reset-after': 1.2,
  hang: 1,
  'hang-after': 1,
  html: 1.2,
  'html-after': 1.2,
  cut: 1.2,
  error: 1.2,
  'error-after': 1.2,
  late: 1.5,
  'slow-engine': 1.5,
});
const ERRORS = ['EService:Unavailable', 'EService:Busy', 'EGeneral:Internal error'];
const HTTP = [502, 504, 520, 522];
/** From a moment that the next question overtakes to one that no deadline reaches. */
const LATE_MS = [2, 30, 300, 1_500, 4_000];
const SLOW_MS = [100, 700, 2_000, 3_500, 7_000];
/** Whatever is still on its way when the faults end has arrived after this. */
export const LONGEST_MS = Math.max(...LATE_MS, ...SLOW_MS);
/** After these the sandbox still holds a call that its sender has given up. */
const ORPHANING = new Set([
  'hang',
  'hang-after',
  'reset-before',
  'reset-after',
  'cut',
  'late',
  'slow-engine',
]);

/** @typedef {{ fault: Fault, percent: number }} Share */

/** @returns {Share[]} */
function shares() {
  return Object.entries(PERCENT).flatMap(([kind, percent]) => {
    const variants = variantsOf(/** @type {keyof typeof PERCENT} */ (kind));
    return variants.map((variant) => ({ fault: { kind, ...variant }, percent: percent / variants.length }));
  });
}

/** @param {keyof typeof PERCENT} kind @returns {object[]} */
function variantsOf(kind) {
  if (kind === 'late') return LATE_MS.map((delayMs) => ({ delayMs }));
  if (kind === 'slow-engine') return SLOW_MS.map((delayMs) => ({ delayMs }));
  if (kind === 'error') return [...ERRORS, 'EAPI:Rate limit exceeded'].map((error) => ({ error }));
  if (kind === 'error-after') return ERRORS.map((error) => ({ error }));
  return kind.startsWith('html') ? HTTP.map((status) => ({ status })) : [{}];
}

/**
 * Decides what happens to each private call. The sandbox asks for a random number for each armed fault in turn until
 * one hits; so the first question of a call is the moment to draw, and to note which call it is.
 */
export class Trouble {
  /** The fault that hit a call, by its `seq`. @type {Map<number, Fault>} */
  #hits = new Map();
  /** @type {Map<string, number>} */
  counts = new Map();
  /** Calls that met another one of their key in flight that nothing had orphaned, by `seq`. @type {number[]} */
  overlaps = [];
  /** Told of each private call as it arrives, before it is executed. */
  onArrival = (/** @type {number} */ _seq) => undefined;
  #chance;
  #shares = shares();
  #at = 0;
  #chosen = -1;
  /** @type {Sandbox | undefined} */
  #sandbox;
  /** @type {Map<string, string | undefined>} */
  #lastOf = new Map();

  /** @param {Chance} chance */
  constructor(chance) {
    this.#chance = chance;
  }

  /** For the sandbox's `random`. */
  random = () => {
    if (this.#at === 0) this.#arrived();
    const isHit = this.#at === this.#chosen;
    this.#at = isHit || this.#at === this.#shares.length - 1 ? 0 : this.#at + 1;
    return isHit ? 0 : 1;
  };

  /** @param {Sandbox} sandbox */
  arm(sandbox) {
    this.#sandbox = sandbox;
    for (const { fault } of this.#shares) sandbox.fault({ ...fault, times: Infinity, probability: 0.5 });
  }

  /** The sender of whatever is in flight was killed: the sandbox may hold it yet when the next call comes. */
  orphaned() {
    for (const key of this.#lastOf.keys()) this.#lastOf.set(key, 'reset-before');
  }

  /** The fault that hit a call. @param {number} seq */
  faultOf(seq) {
    return this.#hits.get(seq);
  }

  #arrived() {
    const sandbox = this.#sandbox;
    if (sandbox === undefined) return;
    const seq = sandbox.receivedCount;
    const fault = this.#draw();
    if (fault !== undefined) {
      this.#hits.set(seq, fault);
      this.counts.set(fault.kind, (this.counts.get(fault.kind) ?? 0) + 1);
    }
    const key = sandbox.received.at(-1)?.key ?? '';
    if (sandbox.inFlightOf(key) > 1 && !ORPHANING.has(this.#lastOf.get(key) ?? '')) this.overlaps.push(seq);
    this.#lastOf.set(key, fault?.kind);
    this.onArrival(seq);
  }

  #draw() {
    let left = this.#chance.next() * 100;
    this.#chosen = this.#shares.findIndex(({ percent }) => (left -= percent) < 0);
    return this.#shares[this.#chosen]?.fault;
  }
}
