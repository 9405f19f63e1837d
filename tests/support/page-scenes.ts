import type { Call, Finding, HistoryReply, Status } from '../../page/types.js';
import { account, call, historyOf, quietStatus } from './page-stand-in.js';

const ENDPOINTS = [
  'AddOrder',
  'CancelOrder',
  'Balance',
  'OpenOrders',
  'AddOrder',
  'QueryOrders',
  'TradesHistory',
];
const CLIENTS = ['grid-bot', 'hedger', 'market-maker', 'reports'];
/** Rises and falls without chance, so that pictures stay alike. */
const wave = (index: number, length: number): number => 0.5 + 0.5 * Math.sin((index / length) * 2 * Math.PI);

/** A working day with two troubles: one key is locked out, one account is paused. */
export function busyStatus(): Status {
  const ago = (seconds: number): string => new Date(Date.now() - seconds * 1_000).toISOString();
  const hold = {
    mode: 'pause',
    since: ago(840),
    who: 'ana',
    why: 'margin call, looking into it',
  } as const;
  const breaker = { open: true, why: 'lockout', seconds: 312 } as const;
  return {
    ...quietStatus(),
    upstream: 'https://api.kraken.com',
    findings: findings(),
    nonce: {
      floor: '1795356896833004847',
      leadSeconds: 0,
      perSecond: 12.3,
      burst: 40,
      issued: 1_284_203,
      problem: null,
    },
    lanes: [
      {
        name: 'global',
        inFlight: 1,
        waiting: 17,
        byClass: { cancel: 1, own: 0, change: 0, order: 4, other: 0, read: 10, history: 2 },
      },
    ],
    accounts: [
      account('master', {
        tier: 'pro',
        waiting: 9,
        callCounter: { level: 15.4, max: 20, decayPerSecond: 1 },
      }),
      account('alice', {
        fingerprint: 'a04b77e1',
        waiting: 8,
        callCounter: { level: 3.2, max: 20, decayPerSecond: 0.5 },
        engineCounter: { level: 41, max: 125 },
        hold: { ...hold, account: 'alice' },
        keyFloor: `${(Date.now() + 3_600_000).toString()}000000`,
      }),
      account('bob', { tier: 'starter', fingerprint: 'c2281fd9', breaker }),
    ],
    clients: [
      { name: 'grid-bot', waiting: 9, hold: null },
      { name: 'hedger', waiting: 6, hold: null },
      { name: 'market-maker', waiting: 2, hold: null },
      { name: 'reports', waiting: 0, hold: { ...hold, client: 'reports', mode: 'cancel-only' } },
    ],
    clockOffsetSeconds: 0.012,
    calls: { total: 1_281_944, executed: 1_279_620, refused: 2_110, unknown: 3, notSent: 211 },
    journal: {
      file: 'data/journal.jsonl',
      lines: 1_281_960,
      lost: 0,
      problem: null,
      head: 'ab'.repeat(32),
      bytes: 41_221_733,
    },
  };
}

/** One of each severity, the mildest first: the page has to sort them. */
export function findings(): Finding[] {
  const since = new Date(Date.now() - 4_000_000).toISOString();
  return [
    {
      account: 'master',
      code: 'no-ip-allow-list',
      severity: 'info',
      text: 'the key works from every address',
      fix: "restrict it to this machine's address at Kraken, under Settings, API",
      since,
    },
    {
      account: 'alice',
      code: 'expiring',
      severity: 'warning',
      text: 'the key expires in 9 days',
      fix: 'make a new key, put it into the configuration and reload',
      since,
    },
    {
      account: 'bob',
      code: 'twin',
      severity: 'error',
      text: "Kraken's nonce for the key rose although the proxy sent nothing: another program uses it",
      fix: 'stop that program, or give it a key of its own',
      since,
    },
  ];
}

/** 200 calls, newest first, some of every kind. */
export function busyCalls(count = 200): Call[] {
  return Array.from({ length: count }, (_, index) => busyCall(count - index));
}

/** The call with this number; every eleventh and thirteenth went wrong. */
export function busyCall(number: number): Call {
  const plain = call({
    at: new Date(Date.now() - (1_000 - number) * 87).toISOString(),
    requestId: `7d1e09ab-${number.toString(36)}`,
    client: CLIENTS[number % CLIENTS.length] ?? '',
    account: number % 3 === 0 ? 'alice' : 'master',
    endpoint: ENDPOINTS[number % ENDPOINTS.length] ?? '',
    nonce: String(1795356896833004847n + BigInt(number) * 87_000_001n),
    waitMs: 40 * wave(number, 31),
    upstreamMs: 20 + 60 * wave(number, 17),
    totalMs: 21 + 40 * wave(number, 31) + 60 * wave(number, 17),
  });
  if (number % 13 === 0) {
    const reason = 'orders.maxWorth: the order is worth 61,200 USD, 50,000 are allowed';
    return {
      ...plain,
      outcome: 'not-sent',
      nonce: null,
      upstreamMs: null,
      error: 'permission-denied',
      rule: 'maxWorth',
      reason,
    };
  }
  if (number % 11 === 0) {
    return { ...plain, outcome: 'refused', krakenError: 'EOrder:Insufficient funds' };
  }
  if (number % 47 === 0) return { ...plain, outcome: 'unknown', settled: 'untold', error: 'outcome-unknown' };
  return plain.endpoint === 'AddOrder' ? { ...plain, txids: ['OQCLML-BW3P3-BUCMWZ'] } : plain;
}

/** An hour with two waves of calls, a quiet spell, and a burst of errors. */
export function busyHistory(): HistoryReply {
  return historyOf((index) => {
    if (index > 1_500 && index < 1_620) return undefined;
    const load = wave(index, 1_700) * 0.8 + wave(index, 97) * 0.2;
    const isBurst = index > 2_900 && index < 2_960;
    return {
      calls: Math.round(4 + 22 * load),
      errors: isBurst ? 3 + (index % 4) : index % 211 === 0 ? 1 : 0,
      waitMs: 3 + 40 * load * load,
      waitMaxMs: 9 + 130 * load * load + (index % 61 === 0 ? 60 : 0),
      upstreamMs: 28 + 12 * wave(index, 233) + (isBurst ? 160 : 0),
      upstreamMaxMs: 61 + 40 * wave(index, 71) + (isBurst ? 500 : 0),
    };
  });
}
