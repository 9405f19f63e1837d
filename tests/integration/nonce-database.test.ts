import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { importNonce, jumpNonce, showNonce } from '../../src/cli/nonce.js';
import { UsageError, type Terminal } from '../../src/cli/terminal.js';
import { parseConfig, type Config } from '../../src/config.js';
import { keyFingerprint } from '../../src/kraken/account.js';
import { CorruptStateError } from '../../src/nonce/store.js';
import { DatabaseError } from '../../src/postgres/database.js';
import { SchemaError } from '../../src/postgres/migrations.js';
import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';
import { PostgresServer, withPostgres } from '../support/postgres.js';

const NOW_MS = Date.UTC(2026, 10, 22);
const CLOCK = BigInt(NOW_MS) * 1_000_000n;
const SECOND = 1_000_000_000n;
const HOUR = 3_600n * SECOND;
const [MASTER = '', ALICE = ''] = DEMO_KEYS.map(({ key }) => keyFingerprint(key));
const STRANGER = '0'.repeat(16);

/** A terminal with a person in front of it. */
class Person implements Terminal {
  readonly lines: string[] = [];
  readonly questions: string[] = [];
  readonly #answer: () => boolean | Promise<boolean>;

  constructor(answer: () => boolean | Promise<boolean> = () => true) {
    this.#answer = answer;
  }

  print(line: string): void {
    this.lines.push(line);
  }

  async confirm(question: string): Promise<boolean> {
    // What becomes of the key stands above the question.
    expect(this.lines.join('\n')).toContain('This cannot be undone.');
    this.questions.push(question);
    return await this.#answer();
  }

  now(): number {
    return NOW_MS;
  }
}

withPostgres('the nonces in a database', () => {
  let server: PostgresServer;
  let url: string;
  let config: Config;
  let folder: string;

  beforeAll(async () => {
    server = await PostgresServer.start({ settings: { fsync: 'off' } });
  }, 60_000);
  afterAll(() => server.remove());
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'kraken-nonce-'));
    url = await server.freshDatabase();
    config = configFor(url);
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  function configFor(database: string): Config {
    const accounts = Object.fromEntries(DEMO_KEYS.map(({ account, ...keys }) => [account, keys]));
    const text = JSON.stringify({ accounts, nonce: { store: 'postgres', url: database } });
    return parseConfig(text, { file: join(folder, 'proxy.config.json'), env: {} });
  }

  const run = async (sql: string): Promise<void> => {
    await server.query(url, sql);
  };
  const lane = (name: string, floor: bigint): Promise<void> =>
    run(`INSERT INTO kraken_proxy.lane (name, floor) VALUES ('${name}', ${floor})`);
  const keyFloor = (key: string, floor: bigint): Promise<void> =>
    run(`INSERT INTO kraken_proxy.key_floor VALUES ('${key}', ${floor})`);

  /** The floors of all lanes and keys are these. */
  async function expectFloors(expected: Readonly<Record<string, bigint>>): Promise<void> {
    const rows = await server.query<{ name: string; floor: string }>(
      url,
      `SELECT 'lane ' || name AS name, floor FROM kraken_proxy.lane
         UNION ALL SELECT 'key ' || fingerprint, floor FROM kraken_proxy.key_floor`,
    );
    const texts = Object.entries(expected).map(([name, floor]) => [name, String(floor)]);
    expect(Object.fromEntries(rows.map(({ name, floor }) => [name, floor]))).toEqual(
      Object.fromEntries(texts),
    );
  }

  describe('nonce show', () => {
    const show = async (): Promise<string> => {
      const person = new Person();
      await showNonce(config, person);
      return person.lines.join('\n');
    };

    it('tells that there is no state yet, and makes none', async () => {
      const shown = await show();
      expect(shown).toContain(`database     ${new URL(url).pathname.slice(1)}, as role postgres`);
      expect(shown).toContain('floor        none yet: the first call begins at the clock');
      expect(shown).toContain('node         none runs');
      await expectFloors({});
    });

    it('tells floors, who holds each lane, and the nodes, dead ones too', async () => {
      await run(`
        INSERT INTO kraken_proxy.node (run, host, version, seen_at) VALUES
          ('1111aaaa', 'host-a', '0.1.0', clock_timestamp()),
          ('2222bbbb', 'host-b', '0.1.0', clock_timestamp() - interval '12 seconds');
        INSERT INTO kraken_proxy.lane (name, floor, node, is_free, drawn_at) VALUES
          ('${ALICE}', ${CLOCK}, '2222bbbb', true, '2026-11-21T23:59:59Z'),
          ('${STRANGER}', ${CLOCK}, '3333cccc', true, '2026-11-21T23:59:58Z'),
          ('${MASTER}', ${CLOCK}, NULL, true, '-infinity'),
          ('global', ${CLOCK + 90n * SECOND}, '1111aaaa', false, '2026-11-22T00:00:00Z')`);
      await keyFloor(ALICE, CLOCK - 2n * SECOND);
      await keyFloor('f'.repeat(16), CLOCK);
      const shown = await show();
      const lines = shown.split('\n');
      expect(lines).toContain(
        `lane         ${CLOCK + 90n * SECOND}  (2026-11-22T00:01:30.000Z, 90.0 s ahead of the clock)  ` +
          'all keys, held by node 1111aaaa on host-a, last nonce 2026-11-22T00:00:00.000Z',
      );
      expect(shown).toContain(
        `${ALICE} (alice), free, last held by node 2222bbbb on host-b, last nonce 2026-11-21T23:59:59.000Z`,
      );
      expect(shown).toContain(
        `${STRANGER} (a key not in the config), free, last held by node 3333cccc, which has ended`,
      );
      expect(shown).toContain(`${MASTER} (master), not used yet`);
      expect(lines).toContain(
        `key floor    ${CLOCK - 2n * SECOND}  (2026-11-21T23:59:58.000Z, 2.0 s behind the clock)  ${ALICE} (alice)`,
      );
      expect(shown).toMatch(/^node {9}1111aaaa on host-a, version 0\.1\.0, since \S+Z, alive$/m);
      expect(shown).toMatch(/^node {9}2222bbbb on host-b, .*, dead: silent for 1\d\.\d s$/m);
    });
  });

  describe('nonce import', () => {
    const importText = async (text: string): Promise<Person> => {
      const person = new Person();
      writeFileSync(join(folder, 'import.txt'), text);
      await importNonce(config, join(folder, 'import.txt'), person);
      return person;
    };

    it('of a state file puts an empty database above it', async () => {
      const person = await importText(`${CLOCK}\n${ALICE} ${CLOCK + SECOND}\n`);
      await expectFloors({ 'lane global': CLOCK, [`key ${ALICE}`]: CLOCK + SECOND });
      expect(person.lines).toEqual([
        `imported     floor ${CLOCK}  (2026-11-22T00:00:00.000Z, 0.0 s behind the clock)`,
        `key floor    ${CLOCK + SECOND}  (2026-11-22T00:00:01.000Z, 1.0 s ahead of the clock)  ${ALICE} (alice)`,
      ]);
    });

    it('lifts every lane there is, and of each key the higher of two floors', async () => {
      await lane('global', CLOCK - SECOND);
      await lane(ALICE, CLOCK);
      await keyFloor(ALICE, CLOCK + 50n);
      await keyFloor(STRANGER, CLOCK + 7n);
      await importText(`${CLOCK + 10n}\n${ALICE} ${CLOCK + 40n}\n${MASTER} ${CLOCK + 60n}\n`);
      await expectFloors({
        'lane global': CLOCK + 10n,
        [`lane ${ALICE}`]: CLOCK + 10n,
        [`key ${ALICE}`]: CLOCK + 50n,
        [`key ${STRANGER}`]: CLOCK + 7n,
        [`key ${MASTER}`]: CLOCK + 60n,
      });
    });

    it('may be made twice', async () => {
      const text = `${CLOCK}\n${ALICE} ${CLOCK + SECOND}\n`;
      await importText(text);
      await importText(text);
      await expectFloors({ 'lane global': CLOCK, [`key ${ALICE}`]: CLOCK + SECOND });
    });

    it.each([['global'], [ALICE]])(
      'refuses to go below the floor of lane %s, and changes nothing',
      async (name) => {
        await lane(name, CLOCK + 1n);
        const refused = importText(`${CLOCK}\n${MASTER} ${CLOCK + 9n}\n`);
        await expect(refused).rejects.toThrow(UsageError);
        await expect(refused).rejects.toThrow(
          `refused: the state's floor ${CLOCK + 1n} is above ${CLOCK} in ${join(folder, 'import.txt')}; a floor never goes down`,
        );
        await expectFloors({ [`lane ${name}`]: CLOCK + 1n });
      },
    );

    it('refuses what is no state before it asks the database', async () => {
      config = configFor('postgres://nobody@127.0.0.1:1/kraken');
      await expect(importText('12345')).rejects.toThrow(CorruptStateError);
      await expect(importNonce(config, join(folder, 'none'), new Person())).rejects.toThrow(UsageError);
      await expect(importText(`${CLOCK}`)).rejects.toThrow(DatabaseError);
    });

    it('is all or nothing', async () => {
      await run(`ALTER TABLE kraken_proxy.key_floor ADD CHECK (fingerprint <> '${STRANGER}')`);
      await expect(importText(`${CLOCK}\n${ALICE} ${CLOCK}\n${STRANGER} ${CLOCK}\n`)).rejects.toThrow(
        DatabaseError,
      );
      await expectFloors({});
    });
  });

  describe('nonce jump', () => {
    const jump = async (by: string, account?: string, person = new Person()): Promise<Person> => {
      await jumpNonce(config, { by, account, yes: false }, person);
      return person;
    };

    it('lifts all lanes from the clock or the highest floor, whichever is higher', async () => {
      const person = await jump('1h');
      expect(person.lines.at(-1)).toBe(`done         every proxy goes on above ${CLOCK + HOUR}`);
      await expectFloors({ 'lane global': CLOCK + HOUR });
      await lane(ALICE, CLOCK + 2n * HOUR);
      await jump('1h');
      await expectFloors({
        'lane global': CLOCK + 3n * HOUR,
        [`lane ${ALICE}`]: CLOCK + 3n * HOUR,
      });
    });

    it('of an account lifts its key above all floors, and leaves the lanes', async () => {
      await lane('global', CLOCK - SECOND);
      await jump('1h', 'alice');
      await expectFloors({ 'lane global': CLOCK - SECOND, [`key ${ALICE}`]: CLOCK + HOUR });
      await jump('1h', 'alice');
      await jump('30s', 'master');
      await expectFloors({
        'lane global': CLOCK - SECOND,
        [`key ${ALICE}`]: CLOCK + 2n * HOUR,
        [`key ${MASTER}`]: CLOCK + 30n * SECOND,
      });
    });

    it.each([
      [undefined, 'lane global'],
      ['alice', `key ${ALICE}`],
    ])('of %s never lowers what a proxy has lifted while the person thought', async (account, name) => {
      const higher = CLOCK + 5n * HOUR;
      const meanwhile = async (): Promise<boolean> => {
        await (account === undefined ? lane('global', higher) : keyFloor(ALICE, higher));
        return true;
      };
      await jump('1h', account, new Person(meanwhile));
      await expectFloors({ [name]: higher });
    });

    it('changes nothing when the answer is no', async () => {
      const person = await jump('1h', undefined, new Person(() => false));
      expect(person.questions).toEqual(['Jump? [y/N] ']);
      expect(person.lines.at(-1)).toBe('nothing was changed');
      await expectFloors({});
    });

    it('refuses what the command line must not say', async () => {
      await expect(jump('8d')).rejects.toThrow('--by needs a duration such as');
      await expect(jump('1h', 'bob')).rejects.toThrow('--account must be one of: master, alice');
      await lane('global', 2n ** 63n - 2n * SECOND);
      await expect(jump('1h')).rejects.toThrow('2^63 - 1');
      await expectFloors({ 'lane global': 2n ** 63n - 2n * SECOND });
    });
  });

  it('are not touched without a schema that fits', async () => {
    config = configFor(await server.freshDatabase({ migrated: false }));
    await expect(showNonce(config, new Person())).rejects.toThrow(SchemaError);
    await expect(
      jumpNonce(config, { by: '1h', account: undefined, yes: true }, new Person()),
    ).rejects.toThrow(SchemaError);
  });
});
