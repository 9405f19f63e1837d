import { once } from 'node:events';
import { chownSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runDoctor } from '../../src/cli/doctor-command.js';
import { importNonce, jumpNonce } from '../../src/cli/nonce.js';
import { refuseStranger, strangerTo } from '../../src/cli/state-owner.js';
import { UsageError, type Terminal } from '../../src/cli/terminal.js';
import { parseConfig, type Config } from '../../src/config.js';
import { describeSelf } from '../../src/nonce/holder.js';
import { testConfig } from '../support/proxy-world.js';

const FLOOR = `${BigInt(Date.UTC(2026, 10, 22)) * 1_000_000n}\n`;

let folder: string;
let config: Config;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kraken-owner-'));
  config = configOf();
  ({ file } = config.nonce);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function configOf(ops: object = {}): Config {
  const settings = testConfig('http://127.0.0.1:1') as { ops?: object };
  const text = JSON.stringify({ ...settings, ops: { ...settings.ops, ...ops } });
  return parseConfig(text, { file: join(folder, 'proxy.config.json'), env: {} });
}

const SELF = (): number => statSync(folder).uid;
const STRANGER = (): number => SELF() + 1;

class Silent implements Terminal {
  readonly lines: string[] = [];

  print(line: string): void {
    this.lines.push(line);
  }

  confirm(): Promise<boolean> {
    return Promise.resolve(true);
  }

  now(): number {
    return Date.UTC(2026, 10, 22);
  }
}

describe('the owner of a state', () => {
  it('may do everything, with a file and before there is one', () => {
    expect(strangerTo(file, SELF)).toBeUndefined();
    writeFileSync(file, FLOOR);
    expect(strangerTo(file, SELF)).toBeUndefined();
    // As this very process.
    expect(strangerTo(file)).toBeUndefined();
  });

  it('is named to everybody else, and how to become that user', () => {
    writeFileSync(file, FLOOR);
    expect(() => refuseStranger(file, STRANGER)).toThrow(
      new UsageError(
        `the state belongs to uid ${SELF()}: run this as that user (sudo -u '#${SELF()}' …), or ask the running proxy ` +
          'through its page',
      ),
    );
  });

  it('is not asked for where there are no users, nor where there is no folder yet', () => {
    writeFileSync(file, FLOOR);
    expect(strangerTo(file, () => undefined)).toBeUndefined();
    expect(strangerTo(join(folder, 'none', 'state.txt'), STRANGER)).toBeUndefined();
  });

  // Only root can give files away.
  (process.geteuid?.() === 0 ? it : it.skip)(
    'is that of the folder while there is no file, unless the folder is root’s',
    () => {
      expect(strangerTo(file, () => 995)).toBeUndefined(); // a volume shared by its group
      chownSync(folder, 995, 995);
      expect(strangerTo(file)?.message).toContain('uid 995');
      expect(strangerTo(file, () => 995)).toBeUndefined();
      writeFileSync(file, FLOOR);
      chownSync(folder, 0, 0);
      chownSync(file, 996, 996);
      expect(strangerTo(file)?.message).toContain('uid 996');
    },
  );
});

describe('a stranger', () => {
  beforeEach(() => {
    writeFileSync(file, FLOOR);
    writeFileSync(join(folder, 'import.txt'), FLOOR);
  });

  it.each<[string, () => Promise<void>]>([
    ['nonce import', () => importNonce(config, join(folder, 'import.txt'), new Silent(), STRANGER)],
    [
      'nonce jump',
      () => jumpNonce(config, { by: '1h', account: undefined, yes: true }, new Silent(), STRANGER),
    ],
    ['doctor', () => runDoctor(config, '0.0.0', new Silent(), STRANGER)],
  ])('is refused by %s before anything is touched', async (_, run) => {
    const { mtimeMs, ino } = statSync(file);
    const { mtimeMs: folderMs } = statSync(folder);
    await expect(run()).rejects.toThrow(UsageError);
    await expect(run()).rejects.toThrow(`the state belongs to uid ${SELF()}`);
    expect([readFileSync(file, 'latin1'), statSync(file).mtimeMs, statSync(file).ino]).toEqual([
      FLOOR,
      mtimeMs,
      ino,
    ]);
    expect(statSync(folder).mtimeMs).toBe(folderMs);
    expect(readdirSync(folder).sort()).toEqual(['import.txt', 'state.txt']);
  });

  it('has the running proxy examine the keys, and leaves nothing behind', async () => {
    const asked: string[] = [];
    const proxy = createServer((incoming, outgoing) => {
      asked.push(`${incoming.method} ${incoming.url}`);
      outgoing.end(JSON.stringify({ findings: [] }));
    });
    proxy.listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    const { port } = proxy.address() as AddressInfo;
    const terminal = new Silent();
    const doctor = (): Promise<void> => runDoctor(configOf({ port }), '0.0.0', terminal, STRANGER);
    // Without an owner whoever listens there may be anybody.
    await expect(doctor()).rejects.toThrow('the state belongs to uid');
    expect(asked).toEqual([]);
    writeFileSync(`${file}.holder`, JSON.stringify(describeSelf()));
    await doctor();
    expect(asked).toEqual(['POST /v1/doctor']);
    expect(terminal.lines[0]).toBe('Examined by the proxy that runs.');
    proxy.close();
    proxy.closeAllConnections();
    await once(proxy, 'close');
    await expect(doctor()).rejects.toThrow('the state belongs to uid');
    expect(readdirSync(folder).sort()).toEqual(['import.txt', 'state.txt', 'state.txt.holder']);
  });
});
