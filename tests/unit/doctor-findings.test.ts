import {
  bySeverity,
  clockOff,
  diagnose,
  FINDING_CODES,
  twinFinding,
  type FindingCode,
  type KeyFinding,
  type KnownKey,
} from '../../src/doctor/findings.js';
import type { KeyInfo } from '../../src/doctor/key-info.js';

const AT = Date.UTC(2026, 10, 22, 12);
const NOW_NS = BigInt(AT) * 1_000_000n;
const DAY_MS = 86_400_000;

const HEALTHY: KeyInfo = {
  nonce: NOW_NS - 5n,
  nonceWindow: 0n,
  permissions: ['query-funds', 'modify-trades'],
  ipAllowlist: ['198.51.100.7'],
  validUntil: 'never',
  lastUsed: AT - 1_000,
};
const UNKNOWN: KeyInfo = {
  ...{ nonce: undefined, nonceWindow: undefined, permissions: undefined },
  ...{ ipAllowlist: undefined, validUntil: undefined, lastUsed: undefined },
};

function known(info: KeyInfo | undefined, others: Partial<KnownKey> = {}, error?: string): KnownKey {
  const examination = { nonces: [NOW_NS], error, answered: true, body: undefined, at: AT };
  return {
    ...{ account: 'master', mayWithdraw: false, examination, info },
    ...{ validUntil: undefined, failures: 0, expiryDays: 14, ...others },
  };
}

const find = (info: Partial<KeyInfo>, others?: Partial<KnownKey>): readonly KeyFinding[] =>
  diagnose(known({ ...HEALTHY, ...info }, others)).findings;
const kinds = (found: readonly KeyFinding[]): string[] =>
  found.map(({ code, severity }) => `${code} ${severity}`);
const only = (found: readonly KeyFinding[]): KeyFinding => {
  const [one, ...others] = found;
  if (one === undefined || others.length > 0)
    throw new Error(`one finding was expected, not ${found.length}`);
  return one;
};

it('a healthy key, and one of which nothing is known, has no findings', () => {
  expect(find({})).toEqual([]);
  expect(diagnose(known(UNKNOWN))).toEqual({ findings: [], isWhole: true });
});

describe('what Kraken answers instead', () => {
  it.each([
    ['EAPI:Invalid key', 'key-unknown', 'error', true],
    ['EAPI:Invalid signature', 'signature-wrong', 'error', true],
    ['EGeneral:Permission denied', 'ip-not-allowed', 'error', true],
    ['EGeneral:Temporary lockout', 'key-locked-out', 'error', false],
    ['EAPI:Invalid nonce', 'nonce-ahead', 'error', false],
    ['EAPI: Invalid nonce: of some kind', 'nonce-ahead', 'error', false],
    ['EService:Unavailable', 'not-examined', 'info', false],
    ['EAPI:Invalid keyboard', 'not-examined', 'info', false],
    [undefined, 'not-examined', 'info', false],
  ] as const)('%s is %s', (error, code, severity, isWhole) => {
    const { findings, isWhole: whole } = diagnose(known(undefined, { failures: 1 }, error));
    expect([only(findings), whole]).toMatchObject([
      { account: 'master', code, severity, since: AT },
      isWhole,
    ]);
  });

  it('is a guess where Kraken denies what needs no permission', () => {
    expect(only(diagnose(known(undefined, {}, 'EGeneral:Permission denied')).findings).text).toMatch(
      /inference/,
    );
  });

  it('is a warning when it is nothing three times', () => {
    const severities = [1, 2, 3, 9].map(
      (failures) => only(diagnose(known(undefined, { failures }, 'no reply')).findings).severity,
    );
    expect(severities).toEqual(['info', 'info', 'warning', 'warning']);
  });

  it('is an expiry where the key had an end that is past', () => {
    const invalid = (validUntil: number): string =>
      only(diagnose(known(undefined, { validUntil }, 'EAPI:Invalid key')).findings).code;
    expect(invalid(AT - 1)).toBe('key-expired');
    expect(invalid(AT + 1)).toBe('key-unknown');
  });

  it('is shown without addresses and without what might be a key', () => {
    const secret = Buffer.alloc(64, 7).toString('base64');
    const error = `connect EHOSTUNREACH 203.0.113.9:443 - Local (10.1.2.3:5000) [2001:db8::1]:443 ${secret}\n`;
    const { text } = only(diagnose(known(undefined, { failures: 1 }, error)).findings);
    expect(text).toContain('connect EHOSTUNREACH [address]');
    expect(text).not.toMatch(/203\.0|10\.1\.2|2001|BwcH|\n/);
  });

  it('tells the time of day that a reason names', () => {
    const error = 'owned by process 7, since 2026-11-23T00:41:37.809Z';
    expect(only(diagnose(known(undefined, { failures: 1 }, error)).findings).text).toContain(error);
  });
});

describe('the end of a key', () => {
  it.each([
    [-1, 'key-expired error'],
    [0, 'key-expired error'],
    [DAY_MS, 'key-expiring error'],
    [DAY_MS + 1, 'key-expiring warning'],
    [14 * DAY_MS, 'key-expiring warning'],
    [14 * DAY_MS + 1, undefined],
  ])('in %s ms is %s', (leftMs, kind) => {
    expect(kinds(find({ validUntil: AT + leftMs }))).toEqual(kind === undefined ? [] : [kind]);
  });

  it('is told with its date and how long it is', () => {
    expect(only(find({ validUntil: AT + 9 * DAY_MS })).text).toContain('2026-12-01T12:00:00Z, in 9 days');
  });
});

it('a nonce window is told in units and in time', () => {
  const { code, text } = only(find({ nonceWindow: 10_000_000_000n }));
  expect([code, text]).toEqual([
    'nonce-window',
    expect.stringMatching(/10000000000, which is 10 s of our nonces/),
  ]);
});

describe('the permission to withdraw', () => {
  it.each(['withdraw', 'withdraw-funds', 'funds-withdraw'])('as %s is told where no client may', (name) => {
    expect(kinds(find({ permissions: ['query-funds', name] }))).toEqual(['withdraw-allowed warning']);
    expect(find({ permissions: [name] }, { mayWithdraw: true })).toEqual([]);
  });

  it('does not make transfers to the futures wallet safe, and says so', () => {
    expect(only(find({ permissions: ['withdraw'] })).fix).toContain('WalletTransfer');
  });
});

it('an empty allow-list is told, an unknown one is not', () => {
  expect(kinds(find({ ipAllowlist: [] }))).toEqual(['ip-open warning']);
  expect(find({ ipAllowlist: undefined })).toEqual([]);
});

describe('a nonce ahead of the clock', () => {
  const ahead = (ns: bigint, ours = NOW_NS): KeyFinding[] => [
    ...diagnose({ ...known({ ...HEALTHY, nonce: NOW_NS + ns }), examination: examinationWith(ours) })
      .findings,
  ];
  const examinationWith = (ours: bigint): KnownKey['examination'] => ({
    ...{ nonces: [ours], error: undefined, answered: true, body: undefined, at: AT },
  });

  it('is told beyond a second', () => {
    expect(ahead(1_000_000_000n)).toEqual([]);
    expect(kinds(ahead(1_000_000_001n))).toEqual(['nonce-ahead warning']);
  });

  it('does no harm while ours are above', () => {
    const found = only(ahead(3_600_000_000_000n, NOW_NS + 3_600_000_000_001n));
    expect(found.severity).toBe('info');
    expect(found.text).toContain(
      '60 min ahead of our clock; it looks like nanoseconds, read so it is 2026-11-22T13:00:00Z',
    );
  });

  it('tells which unit it looks like, and that it cannot be lowered', () => {
    const shifted = (BigInt(AT) * 1_000n) << 10n;
    const { text, fix } = only(ahead(shifted - NOW_NS));
    expect(text).toMatch(/ahead of our clock; it looks like microseconds shifted left by 10 bits/);
    expect(text).toContain('can never be lowered');
    expect(fix).toMatch(/nonce jump.*new key/);
    expect(only(ahead(2n ** 62n)).text).toContain('no clock known');
  });
});

describe('our clock', () => {
  const second = (ms: number): { low: number; high: number } => ({ low: ms - 520, high: ms + 520 });

  it.each([
    [0, undefined],
    [1_519, undefined],
    [-1_519, undefined],
    [1_521, 'warning'],
    [-1_521, 'warning'],
    [30_520, 'error'],
    [-30_520, 'error'],
  ])('with %s ms to Kraken is %s', (ms, severity) => {
    expect(clockOff(second(ms), AT)?.severity).toBe(severity);
  });

  it('is told with what it is off at least, and no account', () => {
    expect(clockOff(second(5_520), AT)).toMatchObject({
      account: undefined,
      code: 'clock-off',
      text: expect.stringContaining("behind Kraken's by 5 s at least (measured to within 1 s)") as string,
    });
    expect(clockOff(second(-5_520), AT)?.text).toContain('nonces made from it are ahead');
  });
});

describe('a twin', () => {
  const seen = { from: AT - 300_000, to: AT };

  it('is told by its nonce, and by what that reads as', () => {
    const nonce = NOW_NS - 60_000_000_000n;
    const { text, severity, since } = twinFinding('master', {
      ...seen,
      kind: 'nonce',
      nonce,
      usedAt: undefined,
    });
    expect([severity, since]).toEqual(['error', AT]);
    expect(text).toBe(
      `another program uses this key: its highest nonce at Kraken is ${nonce}, which this proxy has never drawn; as ` +
        'nanoseconds it reads 2026-11-22T11:59:00Z. It did so between 2026-11-22T11:55:00Z and 2026-11-22T12:00:00Z',
    );
  });

  it('is told by when it used the key, and by what it refuses us', () => {
    const used = { ...seen, kind: 'last-used', nonce: undefined, usedAt: AT - 100_000 } as const;
    expect(twinFinding('master', used).text).toContain('Kraken saw it used at 2026-11-22T11:58:20Z');
    const refused = { ...seen, kind: 'refused', nonce: NOW_NS, usedAt: undefined } as const;
    expect(twinFinding('master', refused).text).toContain(`refuses our nonce ${NOW_NS} as too low`);
  });
});

it('findings are sorted: errors first, then by account, then by code', () => {
  const one = (
    severity: KeyFinding['severity'],
    account: string | undefined,
    code: FindingCode,
  ): KeyFinding => ({
    ...{ severity, account, code, text: '', fix: '', since: AT },
  });
  const sorted = [
    one('error', undefined, 'clock-off'),
    one('error', 'alice', 'twin'),
    one('error', 'master', 'key-unknown'),
    one('warning', 'alice', 'nonce-window'),
    one('warning', 'alice', 'ip-open'),
    one('info', 'alice', 'not-examined'),
  ];
  expect([...sorted].reverse().sort(bySeverity)).toEqual(sorted);
  expect(new Set(FINDING_CODES).size).toBe(13);
});
