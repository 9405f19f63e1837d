import { jest } from '@jest/globals';
import { parseDecimal, type Decimal } from '../../src/policy/decimal.js';
import { PostgresLedger, type PostgresLedgerOptions } from '../../src/policy/postgres-ledger.js';
import type { Reservation } from '../../src/policy/spending.js';
import { Database, type Session } from '../../src/postgres/database.js';
import { Secret } from '../../src/secret.js';
import { PostgresServer, withPostgres } from '../support/postgres.js';
import { until } from '../support/until.js';

function amount(text: string): Decimal {
  const value = parseDecimal(text);
  if (value === undefined) throw new Error(text);
  return value;
}

withPostgres('the ledger of the day of several nodes', () => {
  let server: PostgresServer;
  let url: string;
  const ledgers: PostgresLedger[] = [];
  const databases: Database[] = [];

  beforeAll(async () => {
    server = await PostgresServer.start({ settings: { fsync: 'off' } });
  }, 60_000);
  afterAll(() => server.remove());

  beforeEach(async () => {
    url = await server.freshDatabase();
  });
  afterEach(async () => {
    for (const ledger of ledgers.splice(0)) await ledger.close();
    for (const database of databases.splice(0)) await database.close();
  });

  function connect(): Database {
    const database = new Database({ url: new Secret(url), lanes: 1, patienceMs: 4_000 });
    databases.push(database);
    return database;
  }

  /** As each node has it: with connections of its own. */
  function open(database: PostgresLedgerOptions['database'] = connect()): PostgresLedger {
    const ledger = new PostgresLedger({ database });
    ledgers.push(ledger);
    return ledger;
  }

  /** A ledger whose sessions say something else to the statements they are asked. */
  function openWith(query: (session: Session, text: string, healthy: () => Promise<unknown>) => unknown) {
    const database = connect();
    return open({
      query: (...asked) => database.query(...asked),
      async session() {
        const session = await database.session();
        return {
          ...{ onLost: () => undefined, release: () => session.release(), destroy: () => session.destroy() },
          query: async <Row>(...asked: Parameters<Session['query']>) =>
            (await query(session, asked[0], () => session.query<Row>(...asked))) as readonly Row[],
        };
      },
    });
  }

  const reserve = (ledger: PostgresLedger, text: string, client = 'bot'): Promise<Reservation | undefined> =>
    ledger.reserve(client, 'USD', amount(text), amount('100'));
  const spent = async (ledger: PostgresLedger): Promise<string> =>
    (await ledger.spent('bot', 'USD')).toFixed();
  const count = async (): Promise<number> =>
    (await server.query<object>(url, 'SELECT FROM kraken_proxy.spending')).length;
  const locks = async (): Promise<number> =>
    (await server.query<object>(url, `SELECT FROM pg_locks WHERE locktype = 'advisory'`)).length;

  it('100 reservations at five nodes at once fill the day to its limit and never pass it', async () => {
    const nodes = Array.from({ length: 5 }, () => open());
    const many = Array.from({ length: 20 }, () => nodes.map((node) => reserve(node, '3'))).flat();
    const taken = (await Promise.all(many)).filter((one) => one !== undefined);
    expect(taken).toHaveLength(33);
    expect(await Promise.all(nodes.map(spent))).toEqual(nodes.map(() => '99'));
    expect([await count(), await locks()]).toEqual([33, 0]);
  });

  it('one that is not committed yet has its room already', async () => {
    let goOn = (): void => undefined;
    const gate = new Promise<void>((resolve) => (goOn = resolve));
    let isInserted = false;
    const slow = openWith(async (_, text, healthy) => {
      if (text === 'COMMIT') {
        isInserted = true;
        await gate;
      }
      return await healthy();
    });
    const first = reserve(slow, '60');
    await until(() => isInserted);
    const second = reserve(open(), '60');
    await until(async () => (await locks()) === 2); // one has it, one waits
    goOn();
    expect(await first).toBeDefined();
    expect(await second).toBeUndefined();
  });

  it('room that one node gives back is the others’ to take', async () => {
    const both = [open(), open()] as const;
    const reservation = await reserve(both[0], '80');
    expect(await reserve(both[1], '30')).toBeUndefined();
    reservation?.giveBack();
    await until(async () => (await reserve(both[1], '30')) !== undefined);
    expect(await spent(both[0])).toBe('30');
  });

  it('counts 24 hours by the database’s clock', async () => {
    const ledger = open();
    await reserve(ledger, '60');
    await server.query(url, `UPDATE kraken_proxy.spending SET at = at - interval '23 hours 59 minutes'`);
    expect(await spent(ledger)).toBe('60');
    expect(await reserve(ledger, '50')).toBeUndefined();
    await server.query(url, `UPDATE kraken_proxy.spending SET at = at - interval '1 minute'`);
    expect(await spent(ledger)).toBe('0');
    expect(await reserve(ledger, '50')).toBeDefined();
  });

  it('rows older than a day are taken out once a minute', async () => {
    await server.query(
      url,
      `INSERT INTO kraken_proxy.spending (client, quote, amount, at)
       SELECT 'bot', 'USD', 1, clock_timestamp() - interval '24 hours 1 second' FROM generate_series(1, 1500)`,
    );
    jest.useFakeTimers({ doNotFake: ['setTimeout', 'setImmediate', 'nextTick', 'performance', 'Date'] });
    try {
      const ledger = open();
      await reserve(ledger, '7');
      jest.advanceTimersByTime(60_000);
      await until(async () => (await count()) === 501);
      jest.advanceTimersByTime(60_000);
      await until(async () => (await count()) === 1);
      expect(await spent(ledger)).toBe('7');
    } finally {
      jest.useRealTimers();
    }
  });

  it('with the database away nothing is reserved, and those that wait in line are told at once', async () => {
    const ledger = open();
    await reserve(ledger, '1');
    await server.kill();
    try {
      const began = performance.now();
      const many = Array.from({ length: 50 }, () => reserve(ledger, '1'));
      for (const one of await Promise.allSettled(many))
        expect(one).toMatchObject({
          status: 'rejected',
          reason: { code: 'not-owner', retryAfterSeconds: 1 },
        });
      await expect(ledger.spent('bot', 'USD')).rejects.toMatchObject({ code: 'not-owner' });
      expect(performance.now() - began).toBeLessThan(4_000);
    } finally {
      await server.restart();
    }
    expect(await reserve(ledger, '99')).toBeDefined();
    expect(await spent(ledger)).toBe('100');
  });

  it('what is given back while the database is away makes room once it is back', async () => {
    const ledger = open();
    const reservation = await reserve(ledger, '60');
    await server.kill();
    reservation?.giveBack();
    await expect(ledger.spent('bot', 'USD')).rejects.toMatchObject({ code: 'not-owner' });
    await server.restart();
    await until(async () => (await spent(ledger)) === '0');
  });

  it('a commit whose answer is lost is no reservation, and its amount does not stay', async () => {
    let committed = 0;
    const ledger = openWith(async (_, text, healthy) => {
      const rows = await healthy();
      if (text === 'COMMIT' && committed++ === 0) throw new Error('lost');
      return rows;
    });
    await expect(reserve(ledger, '60')).rejects.toThrow('lost');
    await until(async () => (await count()) === 0);
    expect(await reserve(ledger, '100')).toBeDefined();
  });

  it('one whose statement is lost counts nothing, and no lock stays', async () => {
    let isLost = true;
    const ledger = openWith((session, text, healthy) => {
      if (!isLost || !text.includes('INSERT')) return healthy();
      isLost = false;
      session.destroy();
      throw new Error('lost');
    });
    await expect(reserve(ledger, '60')).rejects.toThrow('lost');
    await until(async () => (await locks()) === 0);
    expect(await count()).toBe(0);
    expect(await reserve(ledger, '100')).toBeDefined();
  });

  it('a node that froze in the middle keeps the others waiting no longer than 2 s, and has counted nothing', async () => {
    let goOn = (): void => undefined;
    const gate = new Promise<void>((resolve) => (goOn = resolve));
    let isFrozen = false;
    const frozen = openWith(async (_, text, healthy) => {
      if (text === 'COMMIT') {
        isFrozen = true;
        await gate;
      }
      return await healthy();
    });
    const lost = reserve(frozen, '60');
    await until(() => isFrozen);
    expect(await reserve(open(), '100')).toBeDefined();
    goOn();
    await expect(lost).rejects.toMatchObject({ code: 'not-owner' });
    expect(await count()).toBe(1);
  });

  it('other clients do not wait for the one that is held up', async () => {
    let goOn = (): void => undefined;
    const gate = new Promise<void>((resolve) => (goOn = resolve));
    let commits = 0;
    const ledger = openWith(async (_, text, healthy) => {
      if (text === 'COMMIT' && commits++ === 0) await gate;
      return await healthy();
    });
    // More of them than there are connections.
    const many = Array.from({ length: 10 }, () => reserve(ledger, '1'));
    await until(() => commits === 1);
    expect(await reserve(ledger, '1', 'other')).toBeDefined();
    goOn();
    expect((await Promise.all(many)).every((one) => one !== undefined)).toBe(true);
  });

  it('a ledger that holds what is no amount is not read as one', async () => {
    const ledger = open();
    await server.query(
      url,
      `INSERT INTO kraken_proxy.spending (client, quote, amount) VALUES ('bot', 'USD', 'NaN')`,
    );
    await expect(spent(ledger)).rejects.toMatchObject({ code: 'not-owner' });
    expect(await reserve(ledger, '1')).toBeUndefined();
  });
});
