import { basename } from 'node:path';
import type { CallPath } from './call-path.js';
import type { KeyFinding } from './doctor/findings.js';
import type { NotReady } from './http/ops.js';
import type { Hold, HoldTarget } from './holds/holds.js';
import type { InForce } from './in-force.js';
import type { SystemStatus } from './kraken/system-status.js';
import type { StartupWindow } from './lane/startup.js';
import type { Metrics } from './metrics.js';
import type { AccountView, ClientView, FindingView, HoldView, Status } from './operator/views.js';
import type { OwnedState } from './owned-state.js';

export interface StatusParts {
  readonly version: string;
  /** Unix ms. */
  readonly startedAt: number;
  readonly inForce: InForce;
  readonly state: OwnedState;
  readonly path: CallPath;
  readonly startup: StartupWindow;
  readonly krakenStatus: Pick<SystemStatus, 'status'>;
  readonly metrics: Metrics;
  readonly findings: () => readonly KeyFinding[];
  readonly notReady: () => readonly NotReady[];
}

/** What the operator sees at a glance, as it is now. */
export function statusOf(parts: StatusParts): Status {
  const { inForce, state, path, startup, krakenStatus, metrics } = parts;
  const { config } = inForce;
  const { nonces, holds, journal } = state;
  const reasons = parts.notReady();
  const { mean, highest } = metrics.nonceRates();
  const { executed, refused, unknown, 'not-sent': notSent } = metrics.totals();
  return {
    version: parts.version,
    startedAt: iso(parts.startedAt),
    now: iso(Date.now()),
    upstream: config.upstream.url,
    mode: config.lanes,
    ready: reasons.length === 0,
    reasons,
    findings: parts.findings().map(findingView),
    krakenStatus: krakenStatus.status ?? null,
    startupWindow: { open: startup.isOpen },
    nonce: {
      floor: nonces.floorOf()?.toString() ?? null,
      leadSeconds: nonces.leadSeconds,
      perSecond: mean,
      burst: highest,
      issued: nonces.issued,
      problem: nonces.problem ?? null,
    },
    lanes: path.lanes(),
    accounts: accountViews(parts),
    clients: clientViews(parts),
    hold: holdOn(holds, {}),
    clockOffsetSeconds: path.clockOffsetMs / 1_000,
    calls: { total: executed + refused + unknown + notSent, executed, refused, unknown, notSent },
    journal: journal === undefined ? null : journalView(journal.state),
    config: {
      file: basename(config.file),
      loadedAt: iso(inForce.loadedAt),
      warnings: [...config.warnings, ...inForce.waiting.map((option) => `${option}: waits for a restart`)],
    },
  };
}

export function findingView({ account, since, code, severity, text, fix }: KeyFinding): FindingView {
  return { account: account ?? null, code, severity, text, fix, since: iso(since) };
}

export function holdView({ account, client, mode, since, who, why }: Hold): HoldView {
  const target = { ...(account !== undefined && { account }), ...(client !== undefined && { client }) };
  return { ...target, mode, since: iso(since), who, why };
}

function accountViews({ inForce, state, path }: StatusParts): AccountView[] {
  return inForce.config.accounts.flatMap(({ name, tier }) => {
    const account = inForce.accounts.named(name);
    if (account === undefined) return [];
    const { call, engine } = path.counterLimits(name);
    const why = path.breakerReason(name);
    return {
      name,
      tier,
      fingerprint: account.fingerprint,
      waiting: sum(path.waitingByClient(name)),
      callCounter: { level: path.callCounter(name), ...call },
      engineCounter: { level: path.engineCounter(name), max: engine.max },
      breaker: { open: why !== undefined, why: why ?? null, seconds: path.breakerSeconds(name) },
      hold: holdOn(state.holds, { account: name }),
      keyFloor: state.nonces.ownFloorOf(account.fingerprint)?.toString() ?? null,
    };
  });
}

/** Those of the config, and whoever else waits or is held. */
function clientViews({ inForce, state, path }: StatusParts): ClientView[] {
  const waiting = path.waitingByClient();
  const held = state.holds.all.flatMap(({ client }) => client ?? []);
  const configured = inForce.config.clients?.map(({ name }) => name) ?? ['local'];
  const names = new Set([...configured, ...waiting.keys(), ...held]);
  return [...names].map((name) => ({
    name,
    waiting: waiting.get(name) ?? 0,
    hold: holdOn(state.holds, { client: name }),
  }));
}

function holdOn(holds: OwnedState['holds'], target: HoldTarget): HoldView | null {
  const hold = holds.of(target);
  return hold === undefined ? null : holdView(hold);
}

function journalView({
  problem,
  head,
  ...state
}: NonNullable<OwnedState['journal']>['state']): Status['journal'] {
  return { ...state, file: basename(state.file), problem: problem ?? null, head: head ?? null };
}

function sum(counts: ReadonlyMap<string, number>): number {
  return [...counts.values()].reduce((total, count) => total + count, 0);
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
