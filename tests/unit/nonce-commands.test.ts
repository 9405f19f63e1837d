import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { importNonce, jumpNonce, showNonce } from '../../src/cli/nonce.js';
import { UsageError, type Terminal } from '../../src/cli/terminal.js';
import { parseConfig, type Config } from '../../src/config.js';
import { keyFingerprint } from '../../src/kraken/account.js';
import { CorruptStateError } from '../../src/nonce/store.js';
import { testConfig } from '../support/proxy-world.js';

const NOW_MS = Date.UTC(2026, 10, 22);
const CLOCK = BigInt(NOW_MS) * 1_000_000n;
const SECOND = 1_000_000_000n;
const ALICE = keyFingerprint('sandbox-alice-key');

/** A terminal with a person in front of it. */
class Person implements Terminal {
  readonly lines: string[] = [];
  readonly questions: string[] = [];
  readonly #says: boolean;

  constructor(says = true) {
    this.#says = says;
  }

  print(line: string): void {
    this.lines.push(line);
  }

  confirm(question: string): Promise<boolean> {
    // What becomes of the key stands above the question.
    expect(this.lines.join('\n')).toContain('This cannot be undone.');
    this.questions.push(question);
    return Promise.resolve(this.#says);
  }

  now(): number {
    return NOW_MS;
  }
}

let folder: string;
let config: Config;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kraken-nonce-'));
  config = parseConfig(JSON.stringify(testConfig('http://127.0.0.1:1')), {
    file: join(folder, 'proxy.config.json'),
    env: {},
  });
  ({ file } = config.nonce);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function writeState(text: string): void {
  writeFileSync(file, text);
}

function readState(): string {
  return readFileSync(file, 'latin1');
}

describe('nonce show', () => {
  it('tells that there is no state yet, and makes none', async () => {
    const person = new Person();
    await showNonce(config, person);
    expect(person.lines.join('\n')).toContain('floor        none yet: the first start begins at the clock');
    expect(readdirSync(folder)).toEqual([]);
  });

  it('refuses a corrupt state and names the repair', async () => {
    writeState('garbage');
    await expect(showNonce(config, new Person())).rejects.toThrow(CorruptStateError);
    await expect(showNonce(config, new Person())).rejects.toThrow('Repair:');
  });

  it('tells how far ahead of the clock a floor is', async () => {
    writeState(`${CLOCK + 90n * SECOND}\n`);
    const person = new Person();
    await showNonce(config, person);
    expect(person.lines).toContain(
      `floor        ${CLOCK + 90n * SECOND}  (2026-11-22T00:01:30.000Z, 90.0 s ahead of the clock)`,
    );
  });
});

describe('nonce import', () => {
  async function importText(text: string): Promise<void> {
    writeFileSync(join(folder, 'import.txt'), text);
    await importNonce(config, join(folder, 'import.txt'), new Person());
  }

  it('takes a higher floor over, and of each key the higher of two', async () => {
    writeState(`${CLOCK}\n${ALICE} ${CLOCK + 50n}\n${'0'.repeat(16)} ${CLOCK + 7n}\n`);
    await importText(`${CLOCK + 10n}\n${ALICE} ${CLOCK + 40n}\n${'1'.repeat(16)} ${CLOCK + 60n}\n`);
    const keys = [
      `${ALICE} ${CLOCK + 50n}`,
      `${'0'.repeat(16)} ${CLOCK + 7n}`,
      `${'1'.repeat(16)} ${CLOCK + 60n}`,
    ];
    expect(readState()).toBe([`${CLOCK + 10n}`, ...keys, ''].join('\n'));
  });

  it.each([
    ['a lower floor', String(CLOCK - 1n), UsageError],
    ['what is no state', '12345', CorruptStateError],
  ])('refuses %s and changes nothing', async (_, text, error) => {
    writeState(`${CLOCK}\n`);
    await expect(importText(text)).rejects.toThrow(error);
    expect(readState()).toBe(`${CLOCK}\n`);
    expect(readdirSync(folder).sort()).toEqual(['import.txt', 'state.txt']);
  });

  it('refuses a file that is not there as a mistake in the command line', async () => {
    await expect(importNonce(config, join(folder, 'none.txt'), new Person())).rejects.toThrow(UsageError);
  });
});

describe('nonce jump', () => {
  const jump = async (by: string | undefined, account?: string, person = new Person()): Promise<Person> => {
    await jumpNonce(config, { by, account, yes: false }, person);
    return person;
  };

  it.each([
    ['500ms', 500n * 1_000_000n],
    ['30s', 30n * SECOND],
    ['10m', 600n * SECOND],
    ['1h', 3_600n * SECOND],
    ['7d', 7n * 86_400n * SECOND],
  ])(
    'by %s lifts the floor by that much from the clock or the floor, whichever is higher',
    async (by, ns) => {
      await jump(by);
      expect(readState()).toBe(`${CLOCK + ns}\n`);
      await jump(by);
      expect(readState()).toBe(`${CLOCK + 2n * ns}\n`);
    },
  );

  it('of an account lifts its key above both floors, and leaves the common floor', async () => {
    writeState(`${CLOCK - SECOND}\n`);
    await jump('1h', 'alice');
    expect(readState()).toBe(`${CLOCK - SECOND}\n${ALICE} ${CLOCK + 3_600n * SECOND}\n`);
    await jump('1h', 'alice');
    expect(readState()).toBe(`${CLOCK - SECOND}\n${ALICE} ${CLOCK + 7_200n * SECOND}\n`);
  });

  it('changes nothing when the answer is no', async () => {
    const person = await jump('1h', undefined, new Person(false));
    expect(person.questions).toEqual(['Jump? [y/N] ']);
    expect(person.lines.at(-1)).toBe('nothing was changed');
    expect(readdirSync(folder)).toEqual([]);
  });

  it.each([[undefined], ['1'], ['-1h'], ['0s'], ['1.5h'], ['8d'], ['1y'], ['99999999999d'], [' 1h']])(
    'refuses --by %s',
    async (by) => {
      await expect(jump(by)).rejects.toThrow('--by needs a duration such as');
      expect(readdirSync(folder)).toEqual([]);
    },
  );

  it('refuses an account that the config does not have', async () => {
    await expect(jump('1h', 'bob')).rejects.toThrow('--account must be one of: master, alice');
  });

  it('refuses to pass the last nonce that Kraken takes', async () => {
    const state = `${2n ** 63n - 2n * SECOND}\n`;
    writeState(state);
    await expect(jump('1h')).rejects.toThrow('2^63 - 1');
    expect(readState()).toBe(state);
  });
});
