import type { CallPath } from './call-path.js';
import type { Config } from './config.js';
import type { DoctorAccount, KeyDoctorParts } from './doctor/key-doctor.js';
import { KeyDoctor } from './doctor/key-doctor.js';
import type { TwinAlarm } from './doctor/twin-alarm.js';
import type { Holds } from './holds/holds.js';
import type { InForce } from './in-force.js';
import type { Journal } from './journal/journal.js';
import type { TripReason } from './kraken/outcome.js';
import { endpointOf } from './kraken/endpoints.js';
import { liveView } from './live-view.js';
import type { Log } from './log.js';
import { checkEndpoint, compileEndpointRules } from './policy/endpoint-rules.js';

export interface DoctorWardParts {
  readonly inForce: InForce;
  readonly path: CallPath;
  readonly holds: Holds;
  readonly twins: TwinAlarm;
  readonly askTime: () => Promise<Buffer>;
  readonly log: Log;
  readonly journal: () => Journal | undefined;
}

/** What Kraken said when it turned a key away. */
const TRIPPED_BY: Readonly<Record<TripReason, string>> = {
  key: 'EAPI:Invalid key',
  signature: 'EAPI:Invalid signature',
  lockout: 'EGeneral:Temporary lockout',
};
const TWIN = 'twin alarm';

/** The key doctor at work in a proxy: whom it examines and how, and what comes of what it finds. */
export function openDoctor(parts: DoctorWardParts): KeyDoctor {
  const { inForce, path, holds, twins, askTime, log, journal } = parts;
  const freeze = async (account: string, why: string): Promise<void> => {
    if (inForce.config.doctor.twin !== 'freeze' || holds.all.some((hold) => isFrozen(hold, account))) return;
    const frozen = holds.set({ account, mode: 'freeze', since: Date.now(), who: TWIN, why });
    journal()?.note('freeze', { account, why });
    log.error({ account, why }, 'frozen: only cancels and reads go, until an operator resumes it');
    await frozen.catch((error: unknown) =>
      log.error({ err: error, account }, 'the freeze is not on disk: a restart would lift it'),
    );
  };
  const doctorParts: KeyDoctorParts = {
    accounts: () => patientsOf(inForce),
    ask: async (account) => {
      const tripped = path.breakerReason(account);
      const answer =
        tripped === undefined
          ? await path.examine(account)
          : { nonces: [], error: TRIPPED_BY[tripped], answered: false, body: undefined };
      return { ...answer, at: Date.now() };
    },
    askTime,
    twins,
    onFinding: ({ account, code, severity, text, fix }, state) => {
      journal()?.note('finding', { account, code, severity, state });
      const level = state === 'gone' ? 'info' : severity === 'warning' ? 'warn' : severity;
      log[level]({ account, code, state, fix }, text);
    },
    onTwin: (account, { kind, nonce, from, to }) => {
      journal()?.note('twin', { account, kind, nonce: nonce?.toString(), from: iso(from), to: iso(to) });
      // What Kraken means by last_used is not confirmed (KRAKEN.md 1.4): enough to warn, not to stop trading.
      if (kind === 'last-used') return;
      void freeze(account, `another program used the key between ${iso(from)} and ${iso(to)}`);
    },
  };
  return new KeyDoctor(
    doctorParts,
    liveView(() => inForce.config.doctor),
  );
}

function isFrozen({ account, mode }: Holds['all'][number], name: string): boolean {
  return account === name && mode === 'freeze';
}

function patientsOf({ accounts, config }: InForce): DoctorAccount[] {
  return accounts.all.map(({ name, fingerprint }) => ({
    name,
    fingerprint,
    mayWithdraw: mayWithdraw(config, name),
  }));
}

/** Whether any client may withdraw from an account. Who is no client never may. */
export function mayWithdraw({ clients = [] }: Config, account: string): boolean {
  const withdraw = endpointOf('Withdraw');
  return clients.some(({ accounts, rules }) => {
    if (!accounts.includes(account)) return false;
    return checkEndpoint(compileEndpointRules(rules, []), withdraw)?.denied === undefined;
  });
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
