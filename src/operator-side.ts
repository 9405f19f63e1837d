import { isLoopback } from './config/addresses.js';
import type { ProxyError } from './errors.js';
import { describeTarget } from './holds/holds.js';
import { createOps, type NotReady, type Ops } from './http/ops.js';
import type { Page } from './http/page.js';
import type { Reloaded } from './in-force.js';
import type { ActRecord } from './journal/journal-line.js';
import type { Log } from './log.js';
import { NonceJumps } from './nonce/nonce-jump.js';
import { OperatorControls } from './operator-controls.js';
import type { Parts } from './parts.js';
import { statusOf } from './status.js';

export interface OperatorSideOptions {
  readonly parts: Parts;
  readonly log: Log;
  readonly version: string;
  readonly page: Page;
  readonly notReady: () => readonly NotReady[];
  readonly reload: () => Promise<Reloaded>;
  readonly stop: () => void;
  /** A request was refused before it was anything. */
  readonly refused: (error: ProxyError) => void;
}

/** What operators reach: metrics, health, the admin API and the page. */
export function openOperatorSide(options: OperatorSideOptions): Ops {
  const { parts, log, version, page, notReady, reload, stop, refused } = options;
  const { inForce, metrics, state, path, startup, doctor, publicSide } = parts;
  const { nonces, holds } = state;
  const { host, hosts } = inForce.config.ops;
  const startedAt = Date.now();
  const findings = (): typeof doctor.findings => doctor.findings;
  const krakenStatus = publicSide.status;
  const controls = new OperatorControls({
    ...parts,
    ...{ reload, stop },
    jumps: new NonceJumps({ nonces }),
    status: () => statusOf({ ...parts, version, startedAt, findings, notReady, krakenStatus }),
  });
  const acted = (act: ActRecord): void => {
    state.journal?.act(act);
    log.info({ ...act }, 'operator');
  };
  metrics.watch({
    accounts: () => inForce.accounts.all.map(({ name }) => name),
    laneWaiting: () => path.waiting,
    laneInFlight: () => path.inFlight,
    callCounter: path.callCounter,
    engineCounter: path.engineCounter,
    breakerSeconds: path.breakerSeconds,
    clockOffsetSeconds: () => path.clockOffsetMs / 1_000,
    nonceLeadSeconds: () => nonces.leadSeconds,
    startupWindowOpen: () => startup.isOpen,
    ready: () => notReady().length === 0,
    findings,
    holds: () => holds.all,
    journal: () => state.journal?.state,
  });
  return createOps({
    ...{ controls, version, hosts, notReady, acted, refused },
    onLoopback: isLoopback(host),
    token: () => inForce.config.ops.token,
    metrics: async () => ({ text: await metrics.text(), contentType: metrics.contentType }),
    held: () => holds.all.map((hold) => `${describeTarget(hold)}: ${hold.mode}`),
    findings: () => doctor.findings.map((one) => ({ ...one, account: one.account ?? null })),
    page: (asked, ifNoneMatch) => page.get(asked, ifNoneMatch),
    badToken: (attempt) => log.warn({ ...attempt }, 'a wrong token on the operator’s listener'),
    failed: (error) => log.error({ err: error }, 'a bug: the operator’s listener failed'),
  });
}
