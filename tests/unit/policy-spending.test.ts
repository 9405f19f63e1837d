import { jest } from '@jest/globals';
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { open as openFile, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BigNumber } from 'bignumber.js';
import fc from 'fast-check';
import { ProxyError } from '../../src/errors.js';
import { parseDecimal, type Decimal } from '../../src/policy/decimal.js';
import { DAY_MS, Spending, type Reservation } from '../../src/policy/spending.js';
import { openOrder, PolicyWorld, rulesWith, TXID, type Body } from '../support/policy-world.js';

let folder: string;
let file: string;
let clock: number;
const now = (): number => clock;
const opened: Spending[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'spending-'));
  file = join(folder, 'data', 'spending.jsonl');
  clock = 1_800_000_000_000;
});

afterEach(async () => {
  for (const spending of opened.splice(0)) await spending.close();
  rmSync(folder, { recursive: true });
});

async function open(): Promise<Spending> {
  const spending = await Spending.open(file, { now });
  opened.push(spending);
  return spending;
}

function amount(text: string): Decimal {
  const value = parseDecimal(text);
  if (value === undefined) throw new Error(text);
  return value;
}

/** Takes room under a limit of 100 and waits for the disk; undefined when there is none. */
async function take(spending: Spending, text: string, client = 'bot'): Promise<Reservation | undefined> {
  const reservation = spending.reserve(client, 'USD', amount(text), amount('100'));
  await reservation?.written;
  return reservation;
}

const lines = (): string[] => readFileSync(file, 'utf8').split('\n').slice(0, -1);

describe('the ledger of the day', () => {
  it('counts by client and quote currency', async () => {
    const spending = await open();
    await take(spending, '60');
    expect(await take(spending, '40.00000001')).toBeUndefined();
    expect(await take(spending, '60', 'other')).toBeDefined();
    expect(spending.spent('bot', 'USD').toFixed()).toBe('60');
    expect(spending.spent('bot', 'EUR').toFixed()).toBe('0');
    await take(spending, '40');
    expect(await take(spending, '0.00000001')).toBeUndefined();
  });

  it('an amount is on disk before its reservation is', async () => {
    const spending = await open();
    await take(spending, '12.5');
    expect(lines()).toEqual([`{"id":1,"at":${clock},"client":"bot","quote":"USD","amount":"12.5"}`]);
  });

  it('two at once do not share the same room', async () => {
    const spending = await open();
    const both = [spending.reserve('bot', 'USD', amount('60'), amount('100'))];
    both.push(spending.reserve('bot', 'USD', amount('60'), amount('100')));
    expect(both[1]).toBeUndefined();
    await both[0]?.written;
  });

  it('many at once are all written', async () => {
    const spending = await open();
    const many = Array.from({ length: 50 }, () => spending.reserve('bot', 'USD', amount('1'), amount('100')));
    for (const one of many) await one?.written;
    expect(lines()).toHaveLength(50);
  });

  it('survives a restart, and a crash', async () => {
    await take(await open(), '60'); // never closed before the next one opens
    const next = await open();
    expect(next.spent('bot', 'USD').toFixed()).toBe('60');
    expect(await take(next, '41')).toBeUndefined();
  });

  it('what is given back makes room at once, once, and stays given back after a restart', async () => {
    const spending = await open();
    const reservation = await take(spending, '60');
    await take(spending, '30');
    reservation?.giveBack();
    reservation?.giveBack();
    expect(spending.spent('bot', 'USD').toFixed()).toBe('30');
    await spending.close();
    expect((await open()).spent('bot', 'USD').toFixed()).toBe('30');
  });

  it('counts apart what client and currency only spell alike together', async () => {
    const spending = await open();
    await spending.reserve('bot', 'XBT', amount('5'), undefined)?.written;
    expect(spending.spent('botX', 'BT').toFixed()).toBe('0');
  });

  it('forgets nothing over several restarts in which some was given back', async () => {
    let spending = await open();
    const first = await take(spending, '1');
    const second = await take(spending, '2');
    await take(spending, '10');
    first?.giveBack();
    second?.giveBack();
    await spending.close();
    spending = await open();
    await take(spending, '20');
    await take(spending, '30');
    await spending.close();
    expect((await open()).spent('bot', 'USD').toFixed()).toBe('60');
  });

  it('is for its owner’s eyes only', async () => {
    await take(await open(), '1');
    if (process.platform !== 'win32') expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  it('is durable by name before anything is taken from it: file and folder are synced', async () => {
    mkdirSync(join(folder, 'data'));
    const any = await openFile(join(folder, 'data'));
    const files = Object.getPrototypeOf(any) as FileHandle;
    await any.close();
    const sync = jest.spyOn(files, 'sync');
    try {
      await open();
      expect(sync).toHaveBeenCalledTimes(process.platform === 'win32' ? 1 : 2);
    } finally {
      sync.mockRestore();
    }
  });

  it('takes nothing for written before the disk says so', async () => {
    const spending = await open();
    const any = await openFile(file);
    const files = Object.getPrototypeOf(any) as FileHandle;
    await any.close();
    const events: string[] = [];
    const healthy: unknown = Reflect.get(files, 'datasync');
    const datasync = jest.spyOn(files, 'datasync').mockImplementation(async function (this: FileHandle) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      await (healthy as () => Promise<void>).call(this);
      events.push('on disk');
    });
    try {
      await take(spending, '1');
      events.push('written');
      expect(events).toEqual(['on disk', 'written']);
    } finally {
      datasync.mockRestore();
    }
  });

  it('clears away what a process that was killed in the middle of a write has left', async () => {
    mkdirSync(join(folder, 'data'));
    writeFileSync(`${file}.tmp-5f0c`, '{"id":1');
    await open();
    expect(readdirSync(join(folder, 'data'))).toEqual(['spending.jsonl']);
  });

  it('forgets after a day, in memory and on disk', async () => {
    const spending = await open();
    await take(spending, '60');
    clock += DAY_MS - 1;
    await take(spending, '40');
    clock += 1;
    expect(spending.spent('bot', 'USD').toFixed()).toBe('40');
    await spending.close();
    expect((await open()).spent('bot', 'USD').toFixed()).toBe('40');
    expect(lines()).toHaveLength(1);
  });

  it('a clock that steps back forgets nothing early', async () => {
    const spending = await open();
    await take(spending, '60');
    clock -= 10 * DAY_MS;
    await take(spending, '40');
    expect(await take(spending, '1')).toBeUndefined();
    clock += 10 * DAY_MS; // right again: the second one is as old as the first
    expect(await take(spending, '1')).toBeUndefined();
    await spending.close();
    expect(await take(await open(), '1')).toBeUndefined();
  });

  it('a line that a crash tore is left out', async () => {
    await take(await open(), '60');
    appendFileSync(file, '{"id":2,"at":18000');
    const next = await open();
    expect(next.spent('bot', 'USD').toFixed()).toBe('60');
    await take(next, '10');
    expect((await open()).spent('bot', 'USD').toFixed()).toBe('70');
  });

  it.each([
    ['rubbish', 'rubbish\n'],
    ['an empty line', '\n'],
    ['a number', '{"id":1,"at":1,"client":"a","quote":"USD","amount":5}\n'],
    ['an exponent', '{"id":1,"at":1,"client":"a","quote":"USD","amount":"5e3"}\n'],
    ['a negative amount', '{"id":1,"at":1,"client":"a","quote":"USD","amount":"-5"}\n'],
    ['no time', '{"id":1,"client":"a","quote":"USD","amount":"5"}\n'],
    ['null', 'null\n'],
  ])('any other damage stops the start and says where and what to do: %s', async (_, text) => {
    await take(await open(), '1');
    await opened.pop()?.close();
    const damaged = readFileSync(file, 'utf8') + text + readFileSync(file, 'utf8');
    writeFileSync(file, damaged);
    await expect(open()).rejects.toThrow(
      /spending\.jsonl .*line 2 .*move the file away: the day then starts/,
    );
    expect(readFileSync(file, 'utf8')).toBe(damaged);
  });

  it('grows no further than a megabyte and twice what counts', async () => {
    const spending = await open();
    for (let round = 0; round < 30; round++) {
      const many = Array.from({ length: 500 }, () =>
        spending.reserve('bot', 'USD', amount('0.01'), undefined),
      );
      for (const one of many) await one?.written;
      for (const one of many) one?.giveBack();
    }
    await take(spending, '7');
    expect(statSync(file).size).toBeLessThan(1_300_000);
    await spending.close();
    expect((await open()).spent('bot', 'USD').toFixed()).toBe('7');
    expect(readdirSync(join(folder, 'data'))).toEqual(['spending.jsonl']);
  });

  it('what cannot be written is not reserved, and later ones are written in full', async () => {
    const spending = await open();
    await take(spending, '10');
    await spending.close();
    const reservation = spending.reserve('bot', 'USD', amount('10'), amount('100'));
    await expect(reservation?.written).rejects.toThrow('closed');
    expect(spending.spent('bot', 'USD').toFixed()).toBe('10');
    reservation?.giveBack();
  });

  it('nothing can be reserved where there is no ledger', async () => {
    const reservation = Spending.none().reserve('bot', 'USD', amount('1'), amount('100'));
    await expect(reservation?.written).rejects.toThrow('no ledger');
  });
});

// ---- any interleaving

type Step =
  | { readonly kind: 'reserve'; readonly cents: number }
  | { readonly kind: 'giveBack'; readonly which: number }
  | { readonly kind: 'clock'; readonly ms: number }
  | { readonly kind: 'restart' };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant('reserve' as const), cents: fc.integer({ min: 1, max: 60 }) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('giveBack' as const), which: fc.nat() }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('clock' as const),
      ms: fc.oneof(fc.integer({ min: 0, max: DAY_MS / 2 }), fc.constantFrom(DAY_MS, DAY_MS - 1, 1)),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('restart' as const) }) },
);

it('whatever is reserved, given back and restarted: what was kept of any 24 hours stays within the limit', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 40 }),
      fc.integer({ min: 0, max: 3 * DAY_MS }),
      async (steps, back) => {
        rmSync(file, { force: true });
        clock = 1_800_000_000_000;
        /** How far the clock is behind the true time; a clock may step back, and never more than once here. */
        let behind = 0;
        let truth = clock;
        let spending = await Spending.open(file, { now });
        const kept: { at: number; cents: number; reservation: Reservation }[] = [];
        for (const [index, one] of steps.entries()) {
          if (index === Math.floor(steps.length / 2)) behind = back;
          if (one.kind === 'clock') truth += one.ms;
          clock = truth - behind;
          if (one.kind === 'restart') {
            await spending.close();
            spending = await Spending.open(file, { now });
          } else if (one.kind === 'giveBack' && kept.length > 0) {
            const [given] = kept.splice(one.which % kept.length, 1);
            given?.reservation.giveBack();
          } else if (one.kind === 'reserve') {
            const reservation = spending.reserve(
              'bot',
              'USD',
              amount(`0.${String(one.cents).padStart(2, '0')}`),
              amount('1'),
            );
            await reservation?.written;
            if (reservation !== undefined) kept.push({ at: truth, cents: one.cents, reservation });
          }
        }
        await spending.close();
        for (const { at } of kept) {
          const window = kept.filter((other) => other.at > at - DAY_MS && other.at <= at);
          expect(window.reduce((sum, { cents }) => sum + cents, 0)).toBeLessThanOrEqual(100);
        }
      },
    ),
    { numRuns: 60 },
  );
});

// ---- the rule

describe('maxNotionalPerDay', () => {
  const rules = rulesWith({ maxNotionalPerDay: { USD: '250' } });
  const buy = (volume: string, more = ''): string =>
    `pair=XBTUSD&type=buy&ordertype=limit&price=100&volume=${volume}${more}`;

  it('refuses what does not fit into the day any more, and says what is in it', async () => {
    const world = new PolicyWorld(await open());
    expect(await world.outcome(rules, 'AddOrder', buy('1.5'))).toBe('allowed');
    expect(await world.outcome(rules, 'AddOrder', buy('1.01'))).toBe(
      'orders.maxNotionalPerDay: 101 USD on top of 150 in 24 h is more than 250',
    );
    expect(await world.outcome(rules, 'AddOrder', buy('1'))).toBe('allowed');
    expect(await world.outcome(rules, 'AddOrder', buy('1'), 'another')).toBe('allowed');
    expect(await world.outcome(rules, 'AddOrder', buy('1').replace('XBTUSD', 'ETHEUR'))).toMatch(/EUR/);
  });

  it('gives back what became nothing, and keeps what may have become something', async () => {
    const world = new PolicyWorld(await open());
    const first = await world.decide(rules, 'AddOrder', buy('2'));
    first.settle('maybe');
    const second = await world.decide(rules, 'AddOrder', buy('0.5'));
    expect((await world.decide(rules, 'AddOrder', buy('0.5'))).denied).toBeDefined();
    second.settle('nothing');
    second.settle('nothing');
    expect((await world.decide(rules, 'AddOrder', buy('0.5'))).denied).toBeUndefined();
  });

  it.each<[string, Body]>([
    ['another rule refuses', buy('2', '&oflags=')],
    ['it is only a test', buy('2', '&oflags=post&validate=true')],
  ])('counts nothing when %s', async (_, body) => {
    const spending = await open();
    const world = new PolicyWorld(spending);
    const both = rulesWith({ maxNotionalPerDay: { USD: '250' }, postOnly: true });
    await world.decide(both, 'AddOrder', body);
    expect(spending.spent('bot', 'USD').toFixed()).toBe('0');
  });

  it('counts nothing when the turn refuses', async () => {
    const spending = await open();
    const world = new PolicyWorld(spending);
    world.orders = { A: 1 };
    const both = rulesWith({ maxNotionalPerDay: { USD: '250' }, maxOpenOrders: 1 });
    expect(await world.outcome(both, 'AddOrder', buy('2'))).toMatch(/^orders\.maxOpenOrders/);
    expect(spending.spent('bot', 'USD').toFixed()).toBe('0');
  });

  it('counts a whole batch, and conditional closes', async () => {
    const spending = await open();
    const one = { type: 'buy', ordertype: 'limit', price: '100', volume: '0.5' };
    const orders = [one, { ...one, close: { ordertype: 'limit', price: '200' } }];
    await new PolicyWorld(spending).decide(rules, 'AddOrderBatch', { pair: 'XBTUSD', orders });
    expect(spending.spent('bot', 'USD').toFixed()).toBe('200');
  });

  it('of a change of price or volume it counts all that is open of the order as changed', async () => {
    const spending = await open();
    const world = new PolicyWorld(spending);
    const spentAfter = async (body: string, order: unknown, name = 'AmendOrder'): Promise<string> => {
      world.orders = { [TXID]: order };
      const before = spending.spent('bot', 'USD');
      const decision = await world.decide(rules, name, body);
      expect((await decision.inTurn?.(world.ask))?.denied).toBeUndefined();
      const spent = spending.spent('bot', 'USD').minus(before).toFixed();
      decision.settle('nothing');
      expect(spending.spent('bot', 'USD').toFixed()).toBe(before.toFixed());
      return spent;
    };
    expect(await spentAfter(`txid=${TXID}&order_qty=1.5`, openOrder())).toBe('150');
    expect(await spentAfter(`txid=${TXID}&order_qty=0.5`, openOrder())).toBe('50');
    expect(await spentAfter(`txid=${TXID}&limit_price=120`, openOrder())).toBe('120');
    // What has traded can trade no more.
    expect(await spentAfter(`txid=${TXID}&limit_price=120`, openOrder({ vol_exec: '0.9' }))).toBe('12');
    expect(await spentAfter(`txid=${TXID}&order_qty=2&limit_price=50`, openOrder({ vol_exec: '0.9' }))).toBe(
      '55',
    );
    // An edit is a new order: it may trade the whole volume again.
    expect(await spentAfter(`txid=${TXID}&pair=XBTUSD`, openOrder({ vol_exec: '0.9' }), 'EditOrder')).toBe(
      '100',
    );
    expect(await spentAfter(`txid=${TXID}&post_only=true&deadline=1`, openOrder())).toBe('0');
    expect(await spentAfter(`txid=${TXID}&display_qty=0.5`, openOrder())).toBe('0');
  });

  it('an edit that is only a test counts nothing, and must fit all the same', async () => {
    const spending = await open();
    const world = new PolicyWorld(spending);
    world.orders = { [TXID]: openOrder() };
    const edit = (volume: string): Promise<string> =>
      world.outcome(rules, 'EditOrder', `txid=${TXID}&pair=XBTUSD&volume=${volume}&validate=true`);
    expect(await edit('2')).toBe('allowed');
    expect(await edit('4')).toMatch(/^orders\.maxNotionalPerDay: 400 USD /);
    expect(spending.spent('bot', 'USD').toFixed()).toBe('0');
  });

  it('a ledger that cannot be written is no matter of rules: the call is refused as not-owner, and counts nothing', async () => {
    const spending = await open();
    await spending.close();
    const world = new PolicyWorld(spending);
    const failed = {
      code: 'not-owner',
      message: 'the ledger of the day cannot be written: the ledger of the day is closed',
      retryAfterSeconds: 1,
    };
    await expect(world.outcome(rules, 'AddOrder', buy('1'))).rejects.toMatchObject(failed);
    world.orders = { [TXID]: openOrder() };
    const change = world.outcome(rules, 'AmendOrder', `txid=${TXID}&order_qty=2`);
    await expect(change).rejects.toMatchObject(failed);
    expect(spending.spent('bot', 'USD').toFixed()).toBe('0');
    await expect(new PolicyWorld().outcome(rules, 'AddOrder', buy('1'))).rejects.toMatchObject({
      code: 'not-owner',
      message: /no ledger of the day is open$/,
    });
  });

  it('in report mode a ledger that cannot be written is told, and stops no order', async () => {
    const report = { report: ['orders.maxNotionalPerDay'] as const };
    const reporting = rulesWith({ maxNotionalPerDay: { USD: '250' } }, report);
    expect(await new PolicyWorld().decide(reporting, 'AddOrder', buy('1'))).toMatchObject({
      denied: undefined,
      reported: [{ reason: 'the ledger of the day cannot be written: no ledger of the day is open' }],
    });
  });

  describe('of a ledger that is away', () => {
    const away = new ProxyError('not-owner', 'the database: connect ECONNREFUSED', { retryAfterSeconds: 1 });
    const gone = (): Promise<never> => Promise.reject(away);
    const none = (): Promise<Decimal> => Promise.resolve(amount('0'));

    it.each([
      ['looked at', { spent: gone, reserve: gone }],
      ['written', { spent: none, reserve: gone }],
    ])('an order is refused as not-owner when it cannot be %s', async (_, ledger) => {
      const world = new PolicyWorld(ledger);
      await expect(world.outcome(rules, 'AddOrder', buy('1'))).rejects.toBe(away);
      world.orders = { [TXID]: openOrder() };
      await expect(world.outcome(rules, 'AmendOrder', `txid=${TXID}&order_qty=2`)).rejects.toBe(away);
    });

    it.each([
      ['looked at', { spent: gone, reserve: gone }],
      ['written', { spent: none, reserve: gone }],
    ])('in report mode it is told that it cannot be %s, and no order is stopped', async (_, ledger) => {
      const report = ['orders.maxNotionalPerDay'] as const;
      const reporting = rulesWith({ maxNotionalPerDay: { USD: '250' } }, { report });
      const decision = await new PolicyWorld(ledger).decide(reporting, 'AddOrder', buy('1'));
      expect(decision.denied).toBeUndefined();
      expect(decision.reported.at(-1)).toEqual({ rule: report[0], reason: away.message });
    });

    it('another rule refuses all the same, and nothing is asked to count', async () => {
      const limited = rulesWith({ sides: ['sell'], maxNotionalPerDay: { USD: '250' } });
      let asked = 0;
      const ledger = { spent: none, reserve: () => (asked++, gone()) };
      expect(await new PolicyWorld(ledger).outcome(limited, 'AddOrder', buy('1'))).toMatch(
        /^orders\.sides: /,
      );
      expect(asked).toBe(0);
    });
  });

  it('in report mode it counts and tells, and refuses nothing', async () => {
    const spending = await open();
    const reporting = rulesWith(
      { maxNotionalPerDay: { USD: '250' } },
      { report: ['orders.maxNotionalPerDay'] },
    );
    const decision = await new PolicyWorld(spending).decide(reporting, 'AddOrder', buy('3'));
    expect(decision).toMatchObject({ denied: undefined, reported: [{ rule: 'orders.maxNotionalPerDay' }] });
    expect(spending.spent('bot', 'USD').toFixed()).toBe('300');
  });

  it('in report mode it tells when the ledger cannot be written, and refuses nothing', async () => {
    const spending = await open();
    await spending.close();
    const report = ['orders.maxNotionalPerDay'] as const;
    const reporting = rulesWith({ maxNotionalPerDay: { USD: '250' } }, { report });
    const decision = await new PolicyWorld(spending).decide(reporting, 'AddOrder', buy('1'));
    expect(decision.denied).toBeUndefined();
    expect(decision.reported[0]?.reason).toMatch(/^the ledger of the day cannot be written: /);
  });

  it('many calls at once never pass the limit together', async () => {
    const spending = await open();
    const world = new PolicyWorld(spending);
    const decisions = await Promise.all(
      Array.from({ length: 20 }, () => world.decide(rules, 'AddOrder', buy('0.4'))),
    );
    expect(decisions.filter(({ denied }) => denied === undefined)).toHaveLength(6);
    expect(spending.spent('bot', 'USD').toFixed()).toBe('240');
  });

  it('a change that is worth nothing new passes a day that is over its limit already', async () => {
    const spending = await open();
    await take(spending, '60');
    const world = new PolicyWorld(spending);
    world.orders = { [TXID]: openOrder() };
    const lower = rulesWith({ maxNotionalPerDay: { USD: '50' } });
    expect(await world.outcome(lower, 'AmendOrder', `txid=${TXID}&display_qty=0.5`)).toBe('allowed');
    expect(await world.outcome(lower, 'AmendOrder', `txid=${TXID}&order_qty=0.5`)).toMatch(/^orders\.maxN/);
  });

  it('an amount of many digits is counted rounded up', async () => {
    const spending = await open();
    const body = 'pair=XBTUSD&type=buy&ordertype=limit&price=0.000000000001&volume=0.000000000001';
    await new PolicyWorld(spending).decide(rules, 'AddOrder', body);
    expect(spending.spent('bot', 'USD').isEqualTo(new BigNumber('0.00000000000000000001'))).toBe(true);
  });
});
