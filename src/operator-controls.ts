import type { CallPath } from './call-path.js';
import type { KeyDoctor } from './doctor/key-doctor.js';
import { describeTarget, type Hold, type HoldTarget } from './holds/holds.js';
import type { By, Controls } from './http/operator-api.js';
import type { InForce, Reloaded } from './in-force.js';
import type { StartupWindow } from './lane/startup.js';
import { JumpError, MEANING_OF_A_JUMP, type JumpPlan, type NonceJumps } from './nonce/nonce-jump.js';
import { ActRefused } from './operator/act-refused.js';
import type { CallHistory } from './operator/call-history.js';
import type { RecentCalls } from './operator/recent-calls.js';
import type { NonceJumpPlan, Status } from './operator/views.js';
import type { OwnedState } from './owned-state.js';
import { findingView, holdView } from './status.js';

export interface OperatorControlsParts {
  readonly inForce: InForce;
  readonly state: OwnedState;
  readonly path: CallPath;
  readonly startup: StartupWindow;
  readonly history: CallHistory;
  readonly recent: RecentCalls;
  readonly doctor: KeyDoctor;
  readonly jumps: NonceJumps;
  readonly status: () => Status;
  /** Rejects with an error whose message says what is wrong, and changes nothing then. */
  readonly reload: () => Promise<Reloaded>;
  /** Begins the stop of the process. */
  readonly stop: () => void;
}

const HERE_ONLY = 'in force at this proxy alone, and lifted by its end: the database does not take it yet';
const UNANSWERED = 'the database gave no answer: what is held now the list shows in a moment';

/** What an operator can see and do, on the parts of a running proxy. */
export class OperatorControls implements Controls {
  readonly #parts: OperatorControlsParts;

  constructor(parts: OperatorControlsParts) {
    this.#parts = parts;
  }

  status(): Status {
    return this.#parts.status();
  }

  calls(limit: number): ReturnType<Controls['calls']> {
    return this.#parts.recent.view(limit);
  }

  callsSince(count: number): ReturnType<Controls['callsSince']> {
    return this.#parts.recent.since(count);
  }

  history(): ReturnType<Controls['history']> {
    return this.#parts.history.view();
  }

  second(at: number): ReturnType<Controls['second']> {
    return this.#parts.history.second(at);
  }

  startupWindow(): ReturnType<Controls['startupWindow']> {
    return { open: this.#parts.startup.isOpen };
  }

  pause(target: HoldTarget, by: By): ReturnType<Controls['pause']> {
    return this.#hold('pause', target, by);
  }

  cancelOnly(target: HoldTarget, by: By): ReturnType<Controls['cancelOnly']> {
    return this.#hold('cancel-only', target, by);
  }

  async resume(target: HoldTarget): ReturnType<Controls['resume']> {
    const { holds } = this.#parts.state;
    let lifted = false;
    try {
      lifted = await holds.lift(target);
    } catch (error) {
      throw unavailable(
        this.#isShared ? UNANSWERED : 'nothing was resumed, because that could not be written',
        error,
      );
    }
    if (!lifted) {
      const held = holds.all.map(describeTarget).join(', ');
      const others = held === '' ? 'nothing else is' : `held are: ${held}`;
      throw new ActRefused('not-found', `${describeTarget(target)} is not held; ${others}`);
    }
    return this.#holds();
  }

  drop({ client, account }: Parameters<Controls['drop']>[0]): ReturnType<Controls['drop']> {
    this.#assertKnown(account === undefined ? {} : { account });
    return Promise.resolve({ dropped: this.#parts.path.drop(client, account) });
  }

  openStartupWindow(): ReturnType<Controls['openStartupWindow']> {
    this.#parts.startup.open();
    return Promise.resolve(this.startupWindow());
  }

  closeStartupWindow(): ReturnType<Controls['closeStartupWindow']> {
    this.#parts.startup.close();
    return Promise.resolve(this.startupWindow());
  }

  async planNonceJump({
    account,
    distance,
  }: Parameters<Controls['planNonceJump']>[0]): Promise<NonceJumpPlan> {
    const { doctor, jumps, inForce } = this.#parts;
    this.#assertKnown(account === undefined ? {} : { account });
    // What Kraken has seen is to be what it has seen now.
    await doctor.examine(account);
    const fingerprint = account === undefined ? undefined : inForce.accounts.named(account)?.fingerprint;
    const names = account === undefined ? inForce.accounts.all.map(({ name }) => name) : [account];
    const seen = names.map((name) => doctor.highestNonce(name)).filter((nonce) => nonce !== undefined);
    try {
      const highest =
        seen.length === 0 ? undefined : seen.reduce((one, other) => (one > other ? one : other));
      return planView(jumps.plan({ account, key: fingerprint, distance, seen: highest }));
    } catch (error) {
      throw refusal(error);
    }
  }

  async applyNonceJump(plan: string): Promise<{ readonly floor: string }> {
    try {
      const { accounts } = this.#parts.inForce;
      const { to } = await this.#parts.jumps.apply(plan, (name) => accounts.named(name)?.fingerprint);
      return { floor: to.toString() };
    } catch (error) {
      if (error instanceof JumpError) throw refusal(error);
      throw unavailable('not on disk; it comes into force as soon as the disk takes it', error);
    }
  }

  async reload(): Promise<Reloaded> {
    try {
      return await this.#parts.reload();
    } catch (error) {
      throw new ActRefused('conflict', (error as Error).message);
    }
  }

  async examineKeys(): ReturnType<Controls['examineKeys']> {
    const findings = await this.#parts.doctor.examine();
    return { findings: findings.map(findingView) };
  }

  /** Other nodes have the same holds. */
  get #isShared(): boolean {
    return this.#parts.inForce.config.nonce.store === 'postgres';
  }

  stop(): Promise<void> {
    // After its answer has left: the stop cuts what idles.
    setImmediate(this.#parts.stop);
    return Promise.resolve();
  }

  async #hold(mode: Hold['mode'], target: HoldTarget, { who, why }: By): ReturnType<Controls['pause']> {
    this.#assertKnown(target);
    try {
      await this.#parts.state.holds.set({ ...target, mode, since: Date.now(), who, why });
    } catch (error) {
      throw unavailable(
        this.#isShared ? HERE_ONLY : 'in force, but not on disk: a restart would lift it',
        error,
      );
    }
    return this.#holds();
  }

  #holds(): Awaited<ReturnType<Controls['pause']>> {
    return { holds: this.#parts.state.holds.all.map(holdView) };
  }

  /** Who calls without being a client of the config has a name as well. */
  #assertKnown({ account, client }: HoldTarget): void {
    const { accounts, config } = this.#parts.inForce;
    if (account !== undefined && accounts.named(account) === undefined)
      throw new ActRefused('not-found', 'there is no account of that name');
    const names =
      config.clients === undefined ? ['local'] : [...config.clients.map(({ name }) => name), 'owner'];
    if (client !== undefined && !names.includes(client))
      throw new ActRefused('not-found', 'there is no client of that name');
  }
}

function planView({ id, account, cause, from, to, expiresAt }: JumpPlan): NonceJumpPlan {
  const clock = BigInt(Date.now()) * 1_000_000n;
  return {
    plan: id,
    account: account ?? null,
    cause,
    from: from.toString(),
    to: to.toString(),
    distanceSeconds: seconds(to - from),
    leadSeconds: seconds(to - clock),
    meaning: MEANING_OF_A_JUMP,
    expiresAt: new Date(expiresAt).toISOString(),
  };
}

function seconds(ns: bigint): number {
  return Number(ns / 1_000_000n) / 1_000;
}

function refusal(error: unknown): unknown {
  return error instanceof JumpError ? new ActRefused('conflict', error.message) : error;
}

function unavailable(what: string, error: unknown): ActRefused {
  return new ActRefused('unavailable', `${what}: ${(error as Error).message}`);
}
