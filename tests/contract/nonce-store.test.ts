import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileStore } from '../../src/nonce/file-store.js';
import {
  CorruptStateError,
  StateLostError,
  StateOwnedElsewhereError,
  type NonceState,
  type NonceStore,
} from '../../src/nonce/store.js';
import { MemoryDisk } from '../support/memory-store.js';

const FLOOR = 1_795_352_862_000_000_000n;
const KEY = '0123456789abcdef';
const HIGHEST = 2n ** 63n - 2n;

function stateOf(floor: bigint, keyFloors: readonly (readonly [string, bigint])[] = []): NonceState {
  return { floor, keyFloors: new Map(keyFloors) };
}

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kraken-store-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A place where state is kept: each `open` stands for a process that wants to own it. */
type Place = () => Promise<NonceStore>;

/** What every NonceStore keeps, whatever it writes to. */
describe.each<[string, () => Place]>([
  ['FileStore', () => () => FileStore.open(join(folder, 'nonce.txt'))],
  [
    'MemoryStore, which the tests of the sequence trust',
    () => {
      const disk = new MemoryDisk();
      // eslint-disable-next-line @typescript-eslint/require-await -- rejects as the port does
      return async () => disk.open();
    },
  ],
])('%s', (_, createPlace) => {
  let open: Place;
  let store: NonceStore;
  beforeEach(async () => {
    open = createPlace();
    store = await open();
  });
  afterEach(() => store.close());

  async function reopen(): Promise<NonceState | undefined> {
    await store.close();
    store = await open();
    return store.initial;
  }

  it('finds nothing where nothing was written', async () => {
    expect(store.initial).toBeUndefined();
    expect(await reopen()).toBeUndefined();
  });

  it.each([
    ['a floor', stateOf(FLOOR)],
    [
      'floors of keys',
      stateOf(FLOOR, [
        [KEY, FLOOR + 5n],
        ['f'.repeat(16), HIGHEST],
      ]),
    ],
    ['the highest floor', stateOf(HIGHEST)],
  ])('finds %s as it was written', async (__, state) => {
    await store.write(state);
    expect(await reopen()).toEqual(state);
  });

  it('keeps the last of many writes, and nothing of those before', async () => {
    await store.write(stateOf(FLOOR, [[KEY, FLOOR + 5n]]));
    await store.write(stateOf(FLOOR + 1n));
    await store.write(stateOf(FLOOR + 2n));
    expect(await reopen()).toEqual(stateOf(FLOOR + 2n));
  });

  it('tells at the open what was found then, not what was written since', async () => {
    await store.write(stateOf(FLOOR));
    expect(store.initial).toBeUndefined();
  });

  it('proves its ownership while it is open, and never after the close', async () => {
    await store.write(stateOf(FLOOR));
    expect(() => store.assertOwned(Date.now())).not.toThrow();
    await store.close();
    expect(() => store.assertOwned(Date.now())).toThrow(StateLostError);
    await expect(store.write(stateOf(FLOOR + 1n))).rejects.toThrow(StateLostError);
    expect(await reopen()).toEqual(stateOf(FLOOR));
  });

  it('proves its ownership whatever the wall clock says', () => {
    for (const day of [-1, 1, 0]) {
      expect(() => store.assertOwned(Date.now() + day * 86_400_000)).not.toThrow();
    }
  });

  it('may be closed twice', async () => {
    await store.close();
    await expect(store.close()).resolves.toBeUndefined();
  });

  it('has one owner at a time', async () => {
    await store.write(stateOf(FLOOR));
    await expect(open()).rejects.toThrow(StateOwnedElsewhereError);
    expect(() => store.assertOwned(Date.now())).not.toThrow();
    await store.write(stateOf(FLOOR + 1n));
    expect(await reopen()).toEqual(stateOf(FLOOR + 1n));
  });
});

describe('the file of a FileStore', () => {
  it('is text: the common floor, then a line for each key that needed its own', async () => {
    const store = await FileStore.open(join(folder, 'deep', 'er', 'nonce.txt'));
    await store.write(stateOf(FLOOR, [[KEY, FLOOR + 5n]]));
    await store.close();
    expect(readFileSync(join(folder, 'deep/er/nonce.txt'), 'latin1')).toBe(
      `${FLOOR}\n${KEY} ${FLOOR + 5n}\n`,
    );
    expect(readdirSync(join(folder, 'deep/er'))).toEqual(['nonce.txt']);
  });

  it.each([
    ['without a newline, as the seed system writes it', String(FLOOR)],
    ['with Windows line ends', `${FLOOR}\r\n`],
  ])('is read %s', async (_, text) => {
    writeFileSync(join(folder, 'nonce.txt'), text);
    const store = await FileStore.open(join(folder, 'nonce.txt'));
    expect(store.initial).toEqual(stateOf(FLOOR));
    await store.close();
  });

  it.each([
    ['nothing', ''],
    ['a blank line', '\n'],
    ['digits cut off', String(FLOOR).slice(0, -1)],
    ['a digit too many', `${FLOOR}0`],
    ['a sign', `-${FLOOR}`],
    ['a leading zero', `0${String(FLOOR).slice(1)}`],
    ['a space', ` ${FLOOR}`],
    ['milliseconds', '1795352862000'],
    ['2^63 - 1, above which there is nothing to hand out', String(2n ** 63n - 1n)],
    ['two floors', `${FLOOR}\n${FLOOR}\n`],
    ['a key line cut off', `${FLOOR}\n${KEY} 17953`],
    ['a key line that only lacks its end', `${FLOOR}\n${KEY} ${FLOOR}`],
    ['a key in capitals', `${FLOOR}\n${KEY.toUpperCase()} ${FLOOR}\n`],
    ['bytes beyond ASCII', `${FLOOR}\n\xff\n`],
    ['zeros', '\0'.repeat(20)],
  ])('that holds %s is refused, and stays as it is', async (_, text) => {
    const file = join(folder, 'nonce.txt');
    writeFileSync(file, text, 'latin1');
    await expect(FileStore.open(file)).rejects.toThrow(CorruptStateError);
    await expect(FileStore.open(file)).rejects.toThrow(`${file} is not a nonce state`);
    expect(readFileSync(file, 'latin1')).toBe(text);
    expect(readdirSync(folder)).toEqual(['nonce.txt']);
  });

  it('behind a link is written through it, and has one owner under both names', async () => {
    const file = join(folder, 'nonce.txt');
    writeFileSync(file, String(FLOOR));
    symlinkSync(file, join(folder, 'link.txt'));
    const store = await FileStore.open(join(folder, 'link.txt'));
    await expect(FileStore.open(file)).rejects.toThrow(StateOwnedElsewhereError);
    await store.write(stateOf(FLOOR + 1n));
    await store.close();
    expect(readFileSync(file, 'latin1')).toBe(`${FLOOR + 1n}\n`);
  });
});
