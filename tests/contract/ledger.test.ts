import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { parseAmount, type Decimal } from '../../src/policy/decimal.js';
import type { OpenLedger } from '../../src/policy/owned-ledger.js';
import { PostgresLedger } from '../../src/policy/postgres-ledger.js';
import { Spending, type Reservation } from '../../src/policy/spending.js';
import { Database } from '../../src/postgres/database.js';
import { Secret } from '../../src/secret.js';
import { PostgresServer, withPostgres } from '../support/postgres.js';
import { propertyRuns } from '../support/property-runs.js';
import { until } from '../support/until.js';

const LIMIT = '100';

function amount(text: string): Decimal {
  const value = parseAmount(text);
  if (value === undefined) throw new Error(text);
  return value;
}

/** What every ledger of the day keeps. Each `open` stands for a process; all see the same ledger. */
function itCountsTheDay(openOne: () => Promise<OpenLedger>): void {
  let ledger: OpenLedger;
  const opened: OpenLedger[] = [];
  beforeEach(async () => {
    ledger = await open();
  });
  afterEach(async () => {
    for (const one of opened.splice(0)) await one.close();
  });

  async function open(): Promise<OpenLedger> {
    const one = await openOne();
    opened.push(one);
    return one;
  }

  /** Takes room under the limit, durably; undefined when there is none. */
  async function take(text: string, limit = LIMIT, client = 'bot'): Promise<Reservation | undefined> {
    const reservation = await ledger.reserve(client, 'USD', amount(text), amount(limit));
    await reservation?.written;
    return reservation;
  }

  const spent = async (client = 'bot', quote = 'USD'): Promise<string> =>
    (await ledger.spent(client, quote)).toFixed();

  it('counts by client and quote currency', async () => {
    await take('60');
    await take('7', LIMIT, 'other');
    await (
      await ledger.reserve('bot', 'EUR', amount('8'), undefined)
    )?.written;
    expect([await spent(), await spent('other'), await spent('bot', 'EUR')]).toEqual(['60', '7', '8']);
    expect([await spent('nobody'), await spent('BOT'), await spent('bot', 'usd')]).toEqual(['0', '0', '0']);
  });

  it.each([
    ['bot', 'XBT', 'botX', 'BT'],
    [`O'Brien`, 'USD', `O''Brien`, 'USD'],
    ['a"b', 'c', 'a', 'b"c'],
    ['größer', 'USD', 'gro\u0308ßer', 'USD'],
  ])('counts %s and %s apart from %s and %s', async (client, quote, otherClient, otherQuote) => {
    await (
      await ledger.reserve(client, quote, amount('5'), undefined)
    )?.written;
    expect([await spent(client, quote), await spent(otherClient, otherQuote)]).toEqual(['5', '0']);
  });

  it('takes up to the limit, and not the smallest amount more', async () => {
    await take('60');
    expect(await take('40.00000000000000000001')).toBeUndefined();
    expect(await take('40')).toBeDefined();
    expect(await take('0.00000000000000000001')).toBeUndefined();
    expect(await spent()).toBe('100');
  });

  it.each([
    ['the smallest amount', '0.00000000000000000001', '0.00000000000000000002'],
    ['the largest amount', '9'.repeat(80), `1${'9'.repeat(79)}8`],
    ['every digit', `12345678901234567890.12345678901234567890`, '24691357802469135780.2469135780246913578'],
  ])('counts %s exactly', async (_, text, twice) => {
    for (let times = 0; times < 2; times++)
      await (
        await ledger.reserve('bot', 'USD', amount(text), undefined)
      )?.written;
    // Of 81 digits it is no amount any more: then a ledger may refuse, but not count wrongly.
    const counted = await Promise.resolve(ledger.spent('bot', 'USD')).catch(() => undefined);
    expect(counted?.toFixed() ?? twice).toBe(twice);
    expect(await take('1', text)).toBeUndefined();
  });

  it('without a limit everything counts', async () => {
    await take('100');
    await (
      await ledger.reserve('bot', 'USD', amount('1000'), undefined)
    )?.written;
    expect(await spent()).toBe('1100');
    expect(await take('1')).toBeUndefined();
    expect(await take('1', '1101')).toBeDefined();
  });

  it('many at once share no room', async () => {
    const many = await Promise.all(Array.from({ length: 40 }, () => take('3')));
    expect(many.filter((one) => one !== undefined)).toHaveLength(33);
    expect(await spent()).toBe('99');
  });

  it('what was reserved is found by the next process, whatever became of this one', async () => {
    await take('60');
    ledger = await open(); // the former was not closed
    expect(await spent()).toBe('60');
    expect(await take('41')).toBeUndefined();
    expect(await take('40')).toBeDefined();
  });

  it('what is given back makes room, once, and stays given back', async () => {
    const reservation = await take('60');
    await take('30');
    reservation?.giveBack();
    reservation?.giveBack();
    await until(async () => (await spent()) === '30');
    reservation?.giveBack();
    expect(await take('70')).toBeDefined();
    await ledger.close();
    ledger = await open();
    expect(await spent()).toBe('100');
  });

  it('what is given back before the close is so afterwards', async () => {
    const reservations = [await take('10'), await take('20'), await take('30')];
    reservations[0]?.giveBack();
    reservations[2]?.giveBack();
    await ledger.close();
    ledger = await open();
    expect(await spent()).toBe('20');
  });

  it('nothing is reserved once it is closed', async () => {
    await ledger.close();
    await expect(take('1')).rejects.toThrow('closed');
    ledger = await open();
    expect(await spent()).toBe('0');
  });

  it('counts what an independent sum counts, whatever is reserved and given back', async () => {
    const steps = fc.array(
      fc.oneof(
        { weight: 3, arbitrary: fc.record({ cents: fc.integer({ min: 1, max: 6_000 }) }) },
        { weight: 1, arbitrary: fc.record({ back: fc.nat({ max: 9 }) }) },
      ),
      { maxLength: 12 },
    );
    let runs = 0;
    await fc.assert(
      fc.asyncProperty(steps, async (all) => {
        const client = `bot-${runs++}`;
        const taken: { readonly cents: number; readonly reservation: Reservation }[] = [];
        const sum = (): number => taken.reduce((cents, one) => cents + one.cents, 0);
        for (const step of all) {
          if ('back' in step) {
            for (const { reservation } of taken.splice(step.back, 1)) reservation.giveBack();
            await until(async () => (await ledger.spent(client, 'USD')).times(100).isEqualTo(sum()));
            continue;
          }
          const { cents } = step;
          const reservation = await take((cents / 100).toFixed(2), LIMIT, client);
          expect(reservation !== undefined).toBe(sum() + cents <= 10_000);
          if (reservation !== undefined) taken.push({ cents, reservation });
          expect((await ledger.spent(client, 'USD')).times(100).toFixed()).toBe(String(sum()));
        }
      }),
      { numRuns: propertyRuns(20) },
    );
  });
}

describe('Spending', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'ledger-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  itCountsTheDay(() => Spending.open(join(folder, 'spending.jsonl')));
});

withPostgres('PostgresLedger', () => {
  let server: PostgresServer;
  let database: Database;
  beforeAll(async () => {
    server = await PostgresServer.start({ settings: { fsync: 'off' } });
  }, 60_000);
  afterAll(() => server.remove());

  beforeEach(async () => {
    database = new Database({ url: new Secret(await server.freshDatabase()), lanes: 1 });
  });
  afterEach(() => database.close());

  itCountsTheDay(() => Promise.resolve(new PostgresLedger({ database })));
});
