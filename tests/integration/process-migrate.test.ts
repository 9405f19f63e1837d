import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { versionOf } from '../../src/postgres/migrations.js';
import { freePort } from '../support/free-port.mjs';
import { PostgresServer, withPostgres } from '../support/postgres.js';
import { closeWorldsLeftOpen, inWorld, type ProcessWorld } from '../support/process-world.js';

afterAll(closeWorldsLeftOpen);

/** A config with the state in this database. */
const inDatabase = (world: ProcessWorld, url: string): string =>
  world.writeConfig({ nonce: { store: 'postgres', url } });

/** The url with another password, which nobody may see either. */
function withPassword(url: string, password: string): string {
  const other = new URL(url);
  other.password = password;
  return other.href;
}

interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

withPostgres('the command line, with the state in a database,', () => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await PostgresServer.start();
  }, 60_000);
  afterAll(() => server.remove());

  /** Runs a command whose output holds no password. */
  async function run(world: ProcessWorld, url: string, ...args: string[]): Promise<Ran> {
    const ran = await world.run(...args);
    expect(`${ran.out}${ran.err}`).not.toContain(new URL(url).password);
    expect(`${ran.out}${ran.err}`).not.toContain(url);
    return ran;
  }

  it('migrate makes the schema, says each step, and then that there is nothing to do', () =>
    inWorld(async (world) => {
      const url = await server.freshDatabase({ migrated: false });
      const config = inDatabase(world, url);
      expect(await run(world, url, 'migrate', '--config', config)).toEqual({
        code: 0,
        out: 'applied      1 shared_state\n',
        err: '',
      });
      expect(await run(world, url, 'migrate', '--config', config)).toEqual({
        code: 0,
        out: `nothing to do: version ${versionOf()}\n`,
        err: '',
      });
    }));

  it('migrate --grant gives a role what check and nonce show need', () =>
    inWorld(async (world) => {
      const url = await server.freshDatabase({ migrated: false });
      const role = `proxy_${randomBytes(4).toString('hex')}`;
      await server.query(url, `CREATE ROLE ${role} LOGIN PASSWORD 'of-the-role'`);
      const own = new URL(withPassword(url, 'of-the-role'));
      own.username = role;
      const config = inDatabase(world, own.href);
      const refused = await run(world, own.href, 'migrate', '--config', config);
      expect(refused).toMatchObject({ code: 78, out: '' });
      expect(refused.err).toContain('--url-env NAME');
      const granted = await run(world, url, 'migrate', '--grant', role, '--config', inDatabase(world, url));
      expect(granted.out).toContain(`granted      what a proxy needs, to ${role}\n`);
      expect(await run(world, own.href, 'check', '--config', config)).toMatchObject({ code: 0, err: '' });
      const shown = await run(world, own.href, 'nonce', 'show', '--config', config);
      expect(shown).toMatchObject({ code: 0, err: '' });
      expect(shown.out).toContain(`as role ${role}\n`);
    }));

  it('migrate --grant ends with 78 for a role that there is not', () =>
    inWorld(async (world) => {
      const url = await server.freshDatabase();
      const args = ['migrate', '--grant', 'nobody', '--config', inDatabase(world, url)];
      expect(await run(world, url, ...args)).toMatchObject({
        code: 78,
        err: 'the database has no role "nobody"\n',
      });
    }));

  it('migrate --url-env takes the owner’s url from a variable, and reads no config', () =>
    inWorld(async (world) => {
      const url = await server.freshDatabase({ migrated: false });
      const args = ['migrate', '--url-env', 'OWNER', '--config', join(world.folder, 'none.json')];
      const withOwner = async (owner: string): Promise<Ran> => {
        const command = world.spawn(args, ['env', `OWNER=${owner}`]);
        const { code } = await command.exit();
        expect(`${command.stdout}${command.stderr}`).not.toContain(new URL(url).password);
        return { code, out: command.stdout, err: command.stderr };
      };
      expect(await withOwner(url)).toMatchObject({ code: 0, out: 'applied      1 shared_state\n' });
      const faulty = await withOwner(url.replace('postgres:', 'mysql:'));
      expect(faulty).toMatchObject({ code: 78, out: '' });
      expect(faulty.err).toContain('--url-env OWNER: found a text that is no postgres:// url');
      expect(await withOwner('')).toMatchObject({
        code: 78,
        err: '--url-env takes the name of a variable that is set\n',
      });
    }));

  it('migrate ends with 78 when the state is in a file', () =>
    inWorld(async (world) => {
      const { code, out, err } = await world.run('migrate', '--config', world.writeConfig());
      expect({ code, out }).toEqual({ code: 78, out: '' });
      expect(err).toContain('keeps the state in a file, which needs no migration');
    }));

  it('a database that cannot be reached ends with 75, and check only warns', () =>
    inWorld(async (world) => {
      const url = `postgres://proxy:nobody-may-see-it@127.0.0.1:${await freePort()}/kraken`;
      const config = inDatabase(world, url);
      for (const command of [['migrate'], ['nonce', 'show'], ['nonce', 'jump', '--by', '1h', '--yes']]) {
        const ran = await run(world, url, ...command, '--config', config);
        expect(ran).toMatchObject({ code: 75, out: '' });
        expect(ran.err).toMatch(/^the database: .*ECONNREFUSED.*\n$/);
      }
      const checked = await run(world, url, 'check', '--config', config);
      expect(checked).toMatchObject({ code: 0, err: '' });
      expect(checked.out).toMatch(/^warning: the schema was not checked: the database: .*ECONNREFUSED/);
      expect(checked.out).toContain(`${config} is good`);
    }));

  it('a wrong password is told without it', () =>
    inWorld(async (world) => {
      const url = withPassword(await server.freshDatabase(), 'not-the-one');
      const ran = await run(world, url, 'migrate', '--config', inDatabase(world, url));
      expect(ran.code).toBe(75);
      expect(ran.err).toContain('password authentication failed');
    }));

  it.each([
    ['is missing', false, '', 'run kraken-signing-proxy migrate'],
    ['is newer', true, "INSERT INTO kraken_proxy.migration VALUES (9999, 'x')", 'update this node'],
  ])('a schema that %s ends check, nonce show and nonce jump with 78', (_, migrated, sql, told) =>
    inWorld(async (world) => {
      const url = await server.freshDatabase({ migrated });
      if (sql !== '') await server.query(url, sql);
      const config = inDatabase(world, url);
      for (const command of [['check'], ['nonce', 'show'], ['nonce', 'jump', '--by', '1h', '--yes']]) {
        const ran = await run(world, url, ...command, '--config', config);
        expect(ran).toMatchObject({ code: 78, out: '' });
        expect(ran.err).toContain(told);
      }
    }),
  );

  it('check says that the schema fits, and starts nothing', () =>
    inWorld(async (world) => {
      const url = await server.freshDatabase();
      const config = inDatabase(world, url);
      const { code, out } = await run(world, url, 'check', '--config', config);
      expect(code).toBe(0);
      expect(out).toContain(
        `the database was asked: its schema is of version ${versionOf()}, as it should be\n`,
      );
      expect(await server.query(url, 'SELECT FROM kraken_proxy.node')).toEqual([]);
    }));

  it('nonce import and nonce jump lift the floor that nonce show tells', () =>
    inWorld(async (world) => {
      const url = await server.freshDatabase();
      const config = inDatabase(world, url);
      const floor = BigInt(Date.now() + 60_000) * 1_000_000n;
      writeFileSync(join(world.folder, 'seed.txt'), `${floor}`);
      const imported = await run(
        world,
        url,
        'nonce',
        'import',
        join(world.folder, 'seed.txt'),
        '--config',
        config,
      );
      expect(imported).toMatchObject({ code: 0, err: '' });
      const jumped = await run(world, url, 'nonce', 'jump', '--by', '30s', '--yes', '--config', config);
      expect(jumped.out).toContain('This cannot be undone.');
      const { out } = await run(world, url, 'nonce', 'show', '--config', config);
      expect(out).toContain(`lane         ${floor + 30_000_000_000n}  `);
    }));
});
