import type { ProxyError } from '../errors.js';

/**
 * The right to send in a lane. Where several nodes share it, one at a time has it; between its turns calls wait as they
 * do for room in a counter. A node that is alone with its state has it always: `ALWAYS_OURS`.
 */
export interface Tenure {
  /** Calls may have the slot now. */
  readonly isOurs: boolean;
  /** It cannot be had and nobody knows when: calls need not wait. Undefined while it can be waited for. */
  readonly problem: ProxyError | undefined;
  /** A call is next that would wait for so many ms more. Nothing happens when it is ours. */
  want(ms: number): void;
  /** A call has the slot. Until its turn has ended the lane is given to no other node. */
  turnBegan(): void;
  turnEnded(): void;
  /** Nobody is there who could have the slot: another node may have it. */
  rest(): void;
  /** Calls back when `isOurs` or `problem` has changed. */
  onChange(listener: () => void): void;
}

/** Those of all lanes, by the lane's name. */
export interface Tenures {
  of(lane: string): Tenure;
  /** What goes from each node to the next with a lane. Told once, before the first tenure. */
  share(state: SharedState): void;
}

/** What the nodes that share a lane tell each other about its keys: each takes up what the one before has left. */
export interface SharedState {
  /** Another node had the lane, and has left this. */
  takeUp(lane: string, left: LaneState, clock: SharedClock): void;
  /** What the next one has to know. */
  leave(lane: string, clock: SharedClock): LaneState;
}

/** An object of JSON; all times in it are of the shared clock. */
export type LaneState = Readonly<Record<string, unknown>>;

/** Between this process's monotonic ms and the clock that the nodes share. */
export interface SharedClock {
  toLocal(sharedMs: number): number;
  toShared(localMs: number): number;
}

export const ALWAYS_OURS: Tenure = Object.freeze({
  isOurs: true,
  problem: undefined,
  want: () => undefined,
  turnBegan: () => undefined,
  turnEnded: () => undefined,
  rest: () => undefined,
  onChange: () => undefined,
});

/** For a node that is alone with its state. */
export const SOLE_TENURES: Tenures = Object.freeze({ of: () => ALWAYS_OURS, share: () => undefined });
