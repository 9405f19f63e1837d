import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { keyFingerprint } from '../../src/kraken/account.js';
import {
  ALICE,
  closeWorldsLeftOpen,
  expectServed,
  inWorld,
  MASTER,
  until,
  type ProcessWorld,
  type ProxyProcess,
} from '../support/process-world.js';

const HOUR_NS = 3_600_000_000_000n;
const ALICE_ID = keyFingerprint(ALICE);

afterAll(closeWorldsLeftOpen);

function clockNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}

/** The nonce of one more call with this key. */
async function nextNonce(world: ProcessWorld, proxy: ProxyProcess, key: string): Promise<bigint> {
  expectServed(await world.client(proxy.url, '', { 'api-key': key }).private('Balance'));
  return BigInt(world.sandbox.received.at(-1)?.nonce ?? 0);
}

describe('the command line', () => {
  it.concurrent('--help and --version answer and start nothing', () =>
    inWorld(async (world) => {
      const help = await world.run('--help');
      expect(help).toMatchObject({ code: 0, err: '' });
      for (const command of [
        'serve',
        'check',
        'nonce show',
        'nonce import',
        'nonce jump',
        'sandbox',
        'schema',
      ]) {
        expect(help.out).toContain(command);
      }
      const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
      expect(await world.run('--version')).toEqual({ code: 0, out: `${version}\n`, err: '' });
    }),
  );

  it.concurrent('that is not understood ends with 78 and points to --help', () =>
    inWorld(async (world) => {
      const { code, out, err } = await world.run('frobnicate');
      expect({ code, out }).toEqual({ code: 78, out: '' });
      expect(err).toBe('there is no command "frobnicate"; see --help\n');
    }),
  );
});

describe('check', () => {
  it.concurrent('says that a good config is good, and starts nothing', () =>
    inWorld(async (world) => {
      const config = world.writeConfig({ nonce: { file: 'elsewhere/nonce.txt' } });
      const { code, out, err } = await world.run('check', '--config', config);
      expect({ code, err }).toEqual({ code: 0, err: '' });
      expect(out).toContain(`${config} is good: accounts master, alice`);
      expect(existsSync(join(world.folder, 'elsewhere'))).toBe(false);
    }),
  );

  it.concurrent('looks into the certificates, as serve does: both end with 78 and name the file', () =>
    inWorld(async (world) => {
      const tls = { certFile: 'cert.pem', keyFile: 'key.pem' };
      const config = world.writeConfig({ listen: { tls } });
      const why = `listen.tls.certFile (${join(world.folder, 'cert.pem')}): cannot be read: ENOENT`;
      const checked = await world.run('check', '--config', config);
      expect(checked).toMatchObject({ code: 78, out: '' });
      expect(checked.err).toContain(why);
      const proxy = world.start({ config: { listen: { tls } } });
      expect(await proxy.exit()).toEqual({ code: 78, signal: null });
      expect(JSON.stringify((await proxy.line('cannot go on')).err)).toContain(why);
      expect(existsSync(world.lock)).toBe(false);
    }),
  );

  it.concurrent('lists every mistake of a bad config and ends with 78', () =>
    inWorld(async (world) => {
      const config = world.writeConfig({
        listen: { port: 70_000 },
        nonce: { reserveMs: 5, stanby: true },
        defaultAccount: 'bob',
      });
      const { code, out, err } = await world.run('check', '--config', config);
      expect({ code, out }).toEqual({ code: 78, out: '' });
      for (const path of ['listen.port', 'nonce.reserveMs', 'nonce.stanby', 'defaultAccount']) {
        expect(err).toContain(path);
      }
      expect(readdirSync(world.stateFolder)).toEqual([]);
    }),
  );
});

describe('serve', () => {
  it.concurrent('ends with 75 when a port is taken, and gives the state back', () =>
    inWorld(async (world) => {
      const port = Number(new URL(world.sandbox.url).port);
      const proxy = world.start({ config: { ops: { port } } });
      expect(await proxy.exit()).toEqual({ code: 75, signal: null });
      const { err } = await proxy.line('cannot go on');
      expect((err as Error).message).toContain(`EADDRINUSE: address already in use 127.0.0.1:${port}`);
      expect(readdirSync(world.stateFolder)).toEqual(['nonce.txt', 'nonce.txt.answers']);
    }),
  );
});

describe('nonce show', () => {
  it.concurrent('tells the floors, whose they are, and who owns the state, alive or killed', () =>
    inWorld(async (world) => {
      const floor = clockNs() + HOUR_NS;
      writeFileSync(world.stateFile, `${clockNs()}\n${ALICE_ID} ${floor}\n`);
      const config = world.writeConfig();
      const show = async (): Promise<string> => {
        const { code, out, err } = await world.run('nonce', 'show', '--config', config);
        expect({ code, err }).toEqual({ code: 0, err: '' });
        return out;
      };
      const proxy = await world.ready();
      const shown = await show();
      expect(shown).toContain(`owner        process ${proxy.pid} on host ${hostname()}`);
      expect(shown).toMatch(
        new RegExp(`key floor +[0-9]{19} .* s ahead of the clock.* ${ALICE_ID} \\(alice\\)`),
      );
      await proxy.crash();
      expect(await show()).toContain(`owner        none (it was process ${proxy.pid} on host`);
    }),
  );
});

describe('nonce import', () => {
  it.concurrent("takes over the seed system's file; the proxy goes on above it", () =>
    inWorld(async (world) => {
      const floor = clockNs() + HOUR_NS;
      const seed = join(world.folder, 'kraken_global_nonce.txt');
      writeFileSync(seed, String(floor));
      const { code, out } = await world.run('nonce', 'import', seed, '--config', world.writeConfig());
      expect(code).toBe(0);
      expect(out).toContain(`imported     floor ${floor}`);
      expect(world.readState()).toBe(`${floor}\n`);
      expect(readdirSync(world.stateFolder)).toEqual(['nonce.txt']);
      expect(await nextNonce(world, await world.ready(), MASTER)).toBe(floor + 1n);
    }),
  );
});

describe('nonce jump', () => {
  it.concurrent(
    'lifts the floor of all keys, or with --account of one; the proxy goes on above just these',
    () =>
      inWorld(async (world) => {
        const args = ['--by', '1h', '--yes', '--config', world.writeConfig()];
        const before = clockNs();
        const all = await world.run('nonce', 'jump', ...args);
        expect(all).toMatchObject({ code: 0, err: '' });
        expect(all.out).toContain('for          all keys');
        expect(all.out).toContain('Kraken refuses every nonce below the new floor, for ever');
        const floor = BigInt(world.readState().trim());
        expect(floor >= before + HOUR_NS && floor <= clockNs() + HOUR_NS).toBe(true);

        const one = await world.run('nonce', 'jump', '--account', 'alice', ...args);
        expect(one).toMatchObject({ code: 0, err: '' });
        expect(one.out).toContain('for          the key of alice');
        expect(world.readState()).toBe(`${floor}\n${ALICE_ID} ${floor + HOUR_NS}\n`);

        const proxy = await world.ready();
        expect(await nextNonce(world, proxy, MASTER)).toBe(floor + 1n);
        expect(await nextNonce(world, proxy, ALICE)).toBe(floor + HOUR_NS + 1n);
        expect(await nextNonce(world, proxy, MASTER)).toBe(floor + 2n);
      }),
  );

  it.concurrent('without --yes and with nobody there to answer ends with 78 and changes nothing', () =>
    inWorld(async (world) => {
      const state = `${clockNs()}\n`;
      writeFileSync(world.stateFile, state);
      const { code, err } = await world.run('nonce', 'jump', '--by', '1h', '--config', world.writeConfig());
      expect(code).toBe(78);
      expect(err).toContain('nobody is there to answer: add --yes');
      expect(world.readState()).toBe(state);
      expect(readdirSync(world.stateFolder)).toEqual(['nonce.txt']);
    }),
  );
});

it.concurrent(
  'with the proxy running, nonce import and jump end with 75, name it, and do not disturb it',
  () =>
    inWorld(async (world) => {
      const proxy = await world.ready();
      const bots = world.bots(proxy.url, 2);
      const file = join(world.folder, 'import.txt');
      writeFileSync(file, String(clockNs() + HOUR_NS));
      const config = world.writeConfig();
      for (const args of [
        ['import', file],
        ['jump', '--by', '1h', '--yes'],
      ]) {
        const { code, err } = await world.run('nonce', ...args, '--config', config);
        expect(code).toBe(75);
        expect(err).toContain(`process ${proxy.pid} on host ${hostname()}`);
      }
      const { served } = bots;
      await until('more served', () => bots.served > served + 5);
      await bots.stop();
      expect([...bots.errors.keys()]).toEqual([]);
      expect(BigInt(world.readState().trim()) < clockNs() + HOUR_NS / 2n).toBe(true);
    }),
);
