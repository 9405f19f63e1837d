import { ExaminationAllowance } from './examination-allowance.js';
import type { ClockSpan, Examination } from './examination.js';
import {
  bySeverity,
  clockOff,
  diagnose,
  twinFinding,
  type FindingCode,
  type KeyFinding,
} from './findings.js';
import { readKeyInfo, readTime, type KeyInfo } from './key-info.js';
import type { TwinAlarm, TwinEvidence } from './twin-alarm.js';

/** An account whose key is examined. */
export interface DoctorAccount {
  readonly name: string;
  /** Names the key without showing it. */
  readonly fingerprint: string;
  /** Whether a client may withdraw with it. */
  readonly mayWithdraw: boolean;
}

export interface KeyDoctorParts {
  /** Those of now: a reload may change them. */
  readonly accounts: () => readonly DoctorAccount[];
  /**
   * Asks GetApiKeyInfo with the account's key, in its turn among the other calls. Has to settle some time. A key whose
   * breaker is open is not asked: then `error` is the E-string that opened it. A rejection is an examination without an answer.
   */
  readonly ask: (account: string) => Promise<Examination>;
  /** GETs `/0/public/Time`; resolves with the whole reply's body. Has to settle some time. */
  readonly askTime: () => Promise<Buffer>;
  /** It has to be told of every nonce drawn, and to run by the same monotonic clock. */
  readonly twins: TwinAlarm;
  /** Must not throw. Told what comes, goes, or becomes more or less severe; figures in texts change untold. */
  readonly onFinding?: (finding: KeyFinding, state: 'new' | 'gone' | 'changed') => void;
  /** Must not throw. Told of each new proof that another program uses the account's key. */
  readonly onTwin?: (account: string, evidence: TwinEvidence) => void;
}

/** `intervalMs` and `expiryDays` are read anew each time, so that they may change. */
export interface KeyDoctorOptions {
  /** From the end of one round to the next, ms; 0: only at the start and on demand; then there are no rounds any more. */
  readonly intervalMs: number;
  readonly expiryDays: number;
  /** From one key's examination to the next key's, ms. Default 250. */
  readonly gapMs?: number;
  /** A monotonic clock, ms. Default: the process's own. */
  readonly now?: () => number;
  /** Unix ms. Default: the system's. */
  readonly wallNow?: () => number;
}

/** What is known of one key. */
interface Patient {
  account: string;
  findings: ReadonlyMap<FindingCode, KeyFinding>;
  failures: number;
  validUntil: number | undefined;
  /** The highest nonce that Kraken has told of. */
  highest: bigint | undefined;
  /** When the latest proof of a twin came, by the monotonic clock. */
  twinAt: number;
}

const GAP_MS = 250;
/** A twin that shows itself no more is told of for so long. */
const TWIN_STAYS_MS = 3_600_000;
/** A longer timer would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Examines every key with GetApiKeyInfo (KRAKEN.md 1.4), which needs no permission and costs a point of the key's call
 * counter: at the start, every few minutes, and on demand. One key after another, with a gap, so that it never bursts; and
 * on demand not more often than its allowance lets.
 */
export class KeyDoctor {
  readonly #parts: KeyDoctorParts;
  readonly #options: KeyDoctorOptions;
  readonly #gapMs: number;
  readonly #now: () => number;
  readonly #wallNow: () => number;
  readonly #patients = new Map<string, Patient>();
  /** For those who ask, by fingerprint. */
  readonly #allowances = new Map<string, ExaminationAllowance>();
  /** The fingerprints in use when last looked at. */
  #inUse: ReadonlySet<string> = new Set();
  /** Examinations that wait or run, by fingerprint: who asks meanwhile gets the same. */
  readonly #pending = new Map<string, Promise<void>>();
  /** The end of the latest examination asked for. */
  #last: Promise<void> = Promise.resolve();
  #lastEndedAt = -Infinity;
  #clockFinding: KeyFinding | undefined;
  /** What to add to the monotonic clock to get Kraken's. */
  #offset: ClockSpan | undefined;
  #measuring: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #endGap: (() => void) | undefined;
  /** Counts `start` and `rest`: rounds of a former one are over. */
  #era = 0;
  #hasStarted = false;
  #closed = false;

  constructor(parts: KeyDoctorParts, options: KeyDoctorOptions) {
    this.#parts = parts;
    this.#options = options;
    this.#gapMs = options.gapMs ?? GAP_MS;
    this.#now = options.now ?? (() => performance.now());
    this.#wallNow = options.wallNow ?? Date.now;
  }

  /** What is known now of the accounts there are, errors first. */
  get findings(): readonly KeyFinding[] {
    const found = this.#parts.accounts().flatMap((account) => this.#findingsOf(account));
    return (this.#clockFinding === undefined ? found : [this.#clockFinding, ...found]).sort(bySeverity);
  }

  /**
   * Examines every key, and goes on doing so. Resolves after the first round. Again, after options or accounts have
   * changed, it takes the place of the former rounds; the keys are then examined at once as on demand.
   */
  async start(): Promise<void> {
    const isAgain = this.#hasStarted;
    this.#hasStarted = true;
    clearTimeout(this.#timer);
    await this.#round(++this.#era, isAgain);
  }

  /** No more rounds until `start`; one that is under way ends as it would. On demand keys are examined all the same. */
  rest(): void {
    if (this.#closed) return;
    this.#era++;
    clearTimeout(this.#timer);
    this.#forgetRemoved();
  }

  /**
   * Examines every key now, or one account's; what is known then. Eight times at once and then once in ten seconds: a
   * key that is asked for more often is not examined again. Never rejects.
   */
  async examine(account?: string): Promise<readonly KeyFinding[]> {
    await this.#examineKeys(account, true);
    return this.findings;
  }

  /** The highest nonce that Kraken has seen on an account's key, as it said at the latest examination. */
  highestNonce(account: string): bigint | undefined {
    const one = this.#parts.accounts().find(({ name }) => name === account);
    return one && this.#patients.get(one.fingerprint)?.highest;
  }

  /**
   * Kraken has called every nonce of a call invalid; `nonce` is the latest of them. To be told before the next one is
   * drawn for the key.
   */
  refused(fingerprint: string, nonce: bigint): void {
    const account = this.#accountOf(fingerprint);
    const evidence = this.#parts.twins.refused(fingerprint, nonce, this.#wallNow());
    if (evidence === undefined || account === undefined) return;
    const patient = this.#patientOf(account);
    this.#set(patient, [...without(patient, 'twin'), this.#proven(patient, evidence)]);
    this.#parts.onTwin?.(account.name, evidence);
  }

  /** Examines no more. An examination that is under way changes nothing any more. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#endGap?.();
  }

  async #round(era: number, isAskedFor: boolean): Promise<void> {
    await this.#examineKeys(undefined, isAskedFor);
    const { intervalMs } = this.#options;
    if (this.#closed || era !== this.#era || intervalMs === 0) return;
    const again = (): void => void this.#round(era, false);
    this.#timer = setTimeout(again, Math.min(intervalMs, MAX_TIMER_MS)).unref();
  }

  async #examineKeys(account: string | undefined, isAskedFor: boolean): Promise<void> {
    if (this.#closed) return;
    this.#forgetRemoved();
    const wanted = this.#parts.accounts().filter(({ name }) => account === undefined || name === account);
    const isDue = wanted.some(
      ({ fingerprint }) =>
        !this.#pending.has(fingerprint) && (!isAskedFor || this.#allowanceOf(fingerprint).isOpen),
    );
    if (isDue) {
      this.#measuring ??= this.#measure().finally(() => (this.#measuring = undefined));
      await this.#measuring;
    }
    await Promise.all(wanted.map((one) => this.#examination(one, isAskedFor)));
  }

  async #examination({ fingerprint }: DoctorAccount, isAskedFor: boolean): Promise<void> {
    const pending = this.#pending.get(fingerprint);
    if (pending !== undefined) {
      await pending;
      return;
    }
    if (isAskedFor && !this.#allowanceOf(fingerprint).take()) return;
    const begun = this.#last
      .then(() => this.#gap())
      .then(() => this.#examineKey(fingerprint))
      .finally(() => {
        this.#lastEndedAt = this.#now();
        this.#pending.delete(fingerprint);
      });
    // One that fails keeps no other from its turn.
    this.#last = begun.catch(() => undefined);
    this.#pending.set(fingerprint, begun);
    await begun;
  }

  #allowanceOf(fingerprint: string): ExaminationAllowance {
    const known = this.#allowances.get(fingerprint);
    if (known !== undefined) return known;
    const allowance = new ExaminationAllowance(this.#now);
    this.#allowances.set(fingerprint, allowance);
    return allowance;
  }

  /** Somebody waits for what comes after it, so this timer keeps the process alive; `close` ends it. */
  async #gap(): Promise<void> {
    const leftMs = this.#lastEndedAt + this.#gapMs - this.#now();
    if (this.#closed || leftMs <= 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, leftMs);
      this.#endGap = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#endGap = undefined;
  }

  async #examineKey(fingerprint: string): Promise<void> {
    const account = this.#accountOf(fingerprint);
    if (account === undefined) return;
    const asked = (async () => await this.#parts.ask(account.name))();
    const examination = await asked.catch((error: unknown): Examination => {
      const why = error instanceof Error ? error.message : 'no answer';
      return { nonces: [], error: why, answered: false, body: undefined, at: this.#wallNow() };
    });
    const still = this.#accountOf(fingerprint);
    if (still !== undefined) this.#weigh(still, examination);
  }

  /** As it is now; undefined when nothing is to be found out about the key any more. */
  #accountOf(fingerprint: string): DoctorAccount | undefined {
    return this.#closed ? undefined : this.#parts.accounts().find((one) => one.fingerprint === fingerprint);
  }

  #weigh(account: DoctorAccount, examination: Examination): void {
    const { expiryDays } = this.#options;
    const patient = this.#patientOf(account);
    const info = examination.body === undefined ? undefined : readKeyInfo(examination.body);
    patient.failures = info === undefined ? patient.failures + 1 : 0;
    if (info?.nonce !== undefined) patient.highest = info.nonce;
    const { name, mayWithdraw } = account;
    const { failures, validUntil } = patient;
    const known = { account: name, mayWithdraw, examination, info, validUntil, failures, expiryDays };
    const { findings, isWhole } = diagnose(known);
    if (info !== undefined) patient.validUntil = momentOf(info.validUntil);
    const kept = isWhole ? [] : [...patient.findings.values()].filter(({ code }) => !PASSING.has(code));
    const evidence = this.#twinOf(account.fingerprint, examination, info);
    const twin = evidence === undefined ? this.#twinBefore(patient, info) : this.#proven(patient, evidence);
    this.#set(patient, [
      ...kept.filter(({ code }) => code !== 'twin'),
      ...findings,
      ...(twin === undefined ? [] : [twin]),
    ]);
    if (evidence !== undefined) this.#parts.onTwin?.(account.name, evidence);
  }

  #twinOf(
    fingerprint: string,
    { nonces, at }: Examination,
    info: KeyInfo | undefined,
  ): TwinEvidence | undefined {
    if (info === undefined) return undefined;
    return this.#parts.twins.examined(fingerprint, { nonces, info, at, offset: this.#offset });
  }

  #proven(patient: Patient, evidence: TwinEvidence): KeyFinding {
    patient.twinAt = this.#now();
    return twinFinding(patient.account, evidence);
  }

  /** Without a new proof: the old one, for a while, and as long as nothing is known. */
  #twinBefore(patient: Patient, info: KeyInfo | undefined): KeyFinding | undefined {
    const isOver = info !== undefined && this.#now() - patient.twinAt >= TWIN_STAYS_MS;
    return isOver ? undefined : patient.findings.get('twin');
  }

  #patientOf({ fingerprint, name }: DoctorAccount): Patient {
    const known = this.#patients.get(fingerprint);
    if (known?.account === name) return known;
    // The key has another account's name now.
    if (known !== undefined) this.#set(known, []);
    const patient: Patient = {
      ...{ account: name, findings: new Map<FindingCode, KeyFinding>() },
      ...{ failures: 0, validUntil: undefined, highest: undefined, twinAt: -Infinity },
    };
    this.#patients.set(fingerprint, patient);
    return patient;
  }

  #findingsOf({ fingerprint, name }: DoctorAccount): readonly KeyFinding[] {
    const patient = this.#patients.get(fingerprint);
    return patient?.account === name ? [...patient.findings.values()] : [];
  }

  #forgetRemoved(): void {
    const names = new Map(this.#parts.accounts().map(({ fingerprint, name }) => [fingerprint, name]));
    for (const [fingerprint, patient] of this.#patients) {
      if (names.get(fingerprint) === patient.account) continue;
      this.#patients.delete(fingerprint);
      this.#set(patient, []);
    }
    for (const fingerprint of this.#inUse) {
      if (names.has(fingerprint)) continue;
      // Whoever has the key may use it now.
      this.#parts.twins.forget(fingerprint);
      this.#allowances.delete(fingerprint);
    }
    this.#inUse = new Set(names.keys());
  }

  #set(patient: Patient, found: readonly KeyFinding[]): void {
    const before = patient.findings;
    const after = new Map(found.map((one) => [one.code, this.#tell(before.get(one.code), one)]));
    patient.findings = after;
    for (const [code, one] of before) if (!after.has(code)) this.#parts.onFinding?.(one, 'gone');
  }

  /** The finding with its beginning. */
  #tell(before: KeyFinding | undefined, one: KeyFinding): KeyFinding {
    const kept = before === undefined ? one : { ...one, since: before.since };
    if (before === undefined) this.#parts.onFinding?.(kept, 'new');
    else if (before.severity !== one.severity) this.#parts.onFinding?.(kept, 'changed');
    return kept;
  }

  /** Compares our clocks with Kraken's. Without an answer nothing is known of them now, and nothing new is found. */
  async #measure(): Promise<void> {
    const sent = { steady: this.#now(), wall: this.#wallNow() };
    const body = await (async () => await this.#parts.askTime())().catch(() => undefined);
    const received = { steady: this.#now(), wall: this.#wallNow() };
    const seconds = body === undefined ? undefined : readTime(body);
    if (this.#closed) return;
    this.#offset = spanOf(seconds, sent.steady, received.steady);
    const wall = spanOf(seconds, sent.wall, received.wall);
    if (wall === undefined) return;
    const before = this.#clockFinding;
    const found = clockOff(wall, received.wall);
    this.#clockFinding = found === undefined ? undefined : this.#tell(before, found);
    if (before !== undefined && found === undefined) this.#parts.onFinding?.(before, 'gone');
  }
}

/** These are over, or are found again, when an examination has come to anything. */
const PASSING: ReadonlySet<FindingCode> = new Set(['not-examined', 'key-locked-out']);

function without(patient: Patient, code: FindingCode): readonly KeyFinding[] {
  return [...patient.findings.values()].filter((one) => one.code !== code);
}

function momentOf(validUntil: number | 'never' | undefined): number | undefined {
  return typeof validUntil === 'number' ? validUntil : undefined;
}

/** Kraken's second, cut off, was told between these two moments; undefined when our clock was set back meanwhile. */
function spanOf(seconds: number | undefined, sentAt: number, receivedAt: number): ClockSpan | undefined {
  if (seconds === undefined || !(sentAt <= receivedAt)) return undefined;
  return { low: seconds * 1_000 - receivedAt, high: (seconds + 1) * 1_000 - sentAt };
}
