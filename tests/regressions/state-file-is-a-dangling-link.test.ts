/*
 * The state file was a link to a volume that was not mounted yet. A link to nothing looked like no state at all: a new
 * file was made in the link's place, nonces started from the clock, and when the volume was back its floor was
 * forgotten, although nonces above the clock had been used (Kraken: "Invalid nonce" for every call). Such a link now
 * ends the start until what it leads to is there.
 */
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileStore } from '../../src/nonce/file-store.js';
import { NonceSequence } from '../../src/nonce/sequence.js';
import { openProxyWorld } from '../support/proxy-world.js';

const FLOOR = 1_795_352_862_000_000_000n;

let folder: string;
let volume: string;
let link: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'link-'));
  volume = join(folder, 'volume');
  link = join(folder, 'state.txt');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Everything below the folder, links as what they are. */
function everything(): string[] {
  return (readdirSync(folder, { recursive: true }) as string[])
    .map((name) => (lstatSync(join(folder, name)).isSymbolicLink() ? `${name} ->` : name))
    .sort();
}

describe.each([
  ['to a file that is missing', () => symlinkSync(join(volume, 'nonce.txt'), link), true],
  ['to a folder that is missing', () => symlinkSync(join(volume, 'nonce.txt'), link), false],
  ['by a relative path', () => symlinkSync('volume/nonce.txt', link), false],
  [
    'over another link',
    () => {
      symlinkSync(join(volume, 'nonce.txt'), join(folder, 'other.txt'));
      symlinkSync('other.txt', link);
    },
    true,
  ],
])('a link to nothing, %s', (_, makeLink, mounted) => {
  beforeEach(() => {
    if (mounted) mkdirSync(volume);
    makeLink();
  });

  it('is refused with its name and ENOENT, as often as it is tried, and nothing is made', async () => {
    const before = everything();
    for (let time = 0; time < 2; time++) {
      await expect(FileStore.open(link)).rejects.toMatchObject({
        code: 'ENOENT',
        message: `the nonce state ${link} cannot be opened: ${link} is a link to nothing`,
      });
      expect(everything()).toEqual(before);
    }
  });

  it('is not waited for by a standby either', async () => {
    const before = everything();
    await expect(FileStore.open(link, { standby: true })).rejects.toMatchObject({ code: 'ENOENT' });
    expect(everything()).toEqual(before);
  });

  it('goes on above the floor it leads to, once that is there', async () => {
    await expect(FileStore.open(link)).rejects.toThrow('is a link to nothing');
    mkdirSync(volume, { recursive: true });
    writeFileSync(join(volume, 'nonce.txt'), `${FLOOR}\n`);
    const store = await FileStore.open(link);
    expect(store.initial?.floor).toBe(FLOOR);
    await store.close();
  });
});

it('a state folder that is a link to nothing is refused as well', async () => {
  symlinkSync(volume, join(folder, 'data'));
  const file = join(folder, 'data', 'nonce.txt');
  await expect(FileStore.open(file)).rejects.toMatchObject({
    code: 'ENOENT',
    message: expect.stringContaining(`the nonce state ${file} cannot be opened`) as string,
  });
  expect(everything()).toEqual(['data ->']);
});

it('a proxy on a link to nothing does not start; on the link made good it does', async () => {
  symlinkSync(join(volume, 'nonce.txt'), link);
  await expect(openProxyWorld({ folder })).rejects.toMatchObject({
    code: 'ENOENT',
    message: expect.stringContaining(link) as string,
  });
  expect(everything()).toEqual(['state.txt ->']);
  mkdirSync(volume);
  writeFileSync(join(volume, 'nonce.txt'), `${FLOOR}\n`);
  const world = await openProxyWorld({ folder });
  expect(lstatSync(link).isSymbolicLink()).toBe(true);
  await world.close();
  expect(everything()).toEqual(['state.txt ->', 'volume', 'volume/nonce.txt', 'volume/nonce.txt.answers']);
});

it('a good link stays a link through writes and restarts; the state and its lock live where it leads', async () => {
  mkdirSync(volume);
  const file = join(volume, 'nonce.txt');
  writeFileSync(file, String(FLOOR));
  symlinkSync('volume/nonce.txt', link);
  let last = FLOOR;
  for (let life = 0; life < 3; life++) {
    const store = await FileStore.open(link);
    const sequence = await NonceSequence.open(store, { reserveMs: 10_000, now: () => 0 });
    expect(everything()).toContain(join('volume', 'nonce.txt.lock'));
    const nonce = await sequence.draw('a');
    expect(nonce).toBe(last + 1n);
    last = nonce;
    await sequence.close();
    expect(readlinkSync(link)).toBe('volume/nonce.txt');
    expect(readFileSync(file, 'latin1')).toBe(`${last}\n`);
  }
  expect(everything()).toEqual(['state.txt ->', 'volume', 'volume/nonce.txt']);
});

it('a link that loses its target while the state is owned is refused at the next start only', async () => {
  mkdirSync(volume);
  symlinkSync('volume/nonce.txt', link);
  writeFileSync(join(volume, 'nonce.txt'), String(FLOOR));
  const store = await FileStore.open(link);
  await store.write({ floor: FLOOR + 1n, keyFloors: new Map() });
  await store.close();
  renameSync(volume, join(folder, 'elsewhere'));
  await expect(FileStore.open(link)).rejects.toThrow('is a link to nothing');
  renameSync(join(folder, 'elsewhere'), volume);
  const again = await FileStore.open(link);
  expect(again.initial?.floor).toBe(FLOOR + 1n);
  await again.close();
});
