import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HoldsFile } from '../../src/holds/holds-file.js';
import { NotDurableError, type Hold, type HoldStore } from '../../src/holds/holds.js';
import { PostgresHolds } from '../../src/holds/postgres-holds.js';
import { Database } from '../../src/postgres/database.js';
import { Secret } from '../../src/secret.js';
import { Disk } from '../support/disk.js';
import { PostgresServer, withPostgres } from '../support/postgres.js';

const BY = { since: 1_795_000_000_123, who: 'ann', why: 'odd fills' };
const pause = (target: object = {}): Hold => ({ ...target, mode: 'pause', ...BY });
const cancelOnly = (target: object = {}): Hold => ({ ...target, mode: 'cancel-only', ...BY });
const freeze = (account: string): Hold => ({ account, mode: 'freeze', ...BY });

/** Each call stands for a process that begins where the last one ended. */
type Open = () => Promise<HoldStore & { readonly former: readonly Hold[] }>;

/** What every HoldStore keeps, whatever it writes to. */
function itKeepsHolds(open: Open): void {
  const former = async (): Promise<readonly Hold[]> => (await open()).former;
  const set = async (...holds: readonly Hold[]): Promise<void> => {
    const store = await open();
    for (const hold of holds) await store.change({ lifted: [], set: [hold] });
  };

  it('finds nothing where nothing was set', async () => {
    expect(await former()).toEqual([]);
  });

  it.each([
    ['on everything', [pause()]],
    ['on an account', [cancelOnly({ account: 'master' })]],
    ['on a client', [pause({ client: 'grid-bot' })]],
    ['that are freezes', [freeze('master'), freeze('alice')]],
    [
      'on all at once',
      [pause(), freeze('master'), cancelOnly({ account: 'master' }), pause({ client: 'grid' })],
    ],
    ['for odd reasons', [{ ...pause(), who: `O'Brien "ü"`, why: `'; DROP TABLE x; --\\ \u2028 😀 $1 %s` }]],
  ])('finds holds %s as they were set, in their order', async (_, holds) => {
    await set(...holds);
    expect(await former()).toEqual(holds);
  });

  it('an operator’s takes the place of an operator’s on the same target, and of nothing else', async () => {
    await set(freeze('master'), pause({ account: 'master' }), pause(), pause({ client: 'master' }));
    await set(cancelOnly({ account: 'master' }));
    expect(await former()).toEqual([
      ...[freeze('master'), pause(), pause({ client: 'master' }), cancelOnly({ account: 'master' })],
    ]);
  });

  it('a freeze takes the place of a freeze on the same account', async () => {
    await set(freeze('master'), pause({ account: 'master' }), freeze('alice'));
    await set({ ...freeze('master'), why: 'again' });
    expect(await former()).toEqual([
      ...[pause({ account: 'master' }), freeze('alice'), { ...freeze('master'), why: 'again' }],
    ]);
  });

  it.each([
    ['since', { since: BY.since + 1 }],
    ['who', { who: 'bob' }],
    ['why', { why: 'another reason' }],
    ['mode', { mode: 'cancel-only' as const }],
    ['target', { account: 'master' }],
  ])('a hold of another %s than the lifted one stays', async (_, other) => {
    const stays = { ...pause(), ...other };
    await set(stays);
    const store = await open();
    await store.change({ lifted: [pause()], set: [] });
    expect(await former()).toEqual([stays]);
    await store.change({ lifted: [stays], set: [] });
    expect(await former()).toEqual([]);
  });

  it('lifts and sets in one change, the lifting first', async () => {
    await set(pause(), freeze('master'));
    const store = await open();
    await store.change({ lifted: [pause(), freeze('master')], set: [pause(), freeze('alice')] });
    expect(await former()).toEqual([pause(), freeze('alice')]);
  });

  it('a change may be repeated', async () => {
    const store = await open();
    const change = { lifted: [cancelOnly()], set: [pause(), freeze('alice')] };
    await store.change({ lifted: [], set: [cancelOnly()] });
    await store.change(change);
    await store.change(change);
    expect(await former()).toEqual([pause(), freeze('alice')]);
  });

  it('tells at the open what was found then, not what was set since', async () => {
    const store = await open();
    await store.change({ lifted: [], set: [pause()] });
    expect(store.former).toEqual([]);
  });
}

describe('HoldsFile', () => {
  let folder: string;
  let file: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'holds-'));
    file = join(folder, 'holds');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const open = (): Promise<HoldsFile> => HoldsFile.open(file, () => undefined);
  itKeepsHolds(open);

  it('is text: one line of JSON for each hold', async () => {
    await (await open()).change({ lifted: [], set: [pause({ account: 'master' })] });
    const { mode, since, who, why, account } = { ...pause(), account: 'master' };
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual({ mode, since, who, why, account });
    expect(readdirSync(folder)).toEqual(['holds']);
  });

  it('that cannot be written stays as it was, and the next change is of that', async () => {
    const store = await open();
    await store.change({ lifted: [], set: [pause()] });
    const disk = await Disk.of(file);
    try {
      disk.replace('sync', () => Promise.reject(new Error('ENOSPC')));
      await expect(store.change({ lifted: [pause()], set: [freeze('alice')] })).rejects.toThrow('ENOSPC');
    } finally {
      disk.mend();
    }
    expect((await open()).former).toEqual([pause()]);
    await store.change({ lifted: [], set: [freeze('master')] });
    expect((await open()).former).toEqual([pause(), freeze('master')]);
  });

  it('whose folder cannot be synced has changed, and says that a power cut may undo it', async () => {
    const store = await open();
    await store.change({ lifted: [], set: [pause()] });
    const disk = await Disk.of(file);
    try {
      disk.replace('sync', async (healthy, _, handle) => {
        if ((await handle.stat()).isDirectory()) throw new Error('EIO');
        await healthy();
      });
      await expect(store.change({ lifted: [pause()], set: [] })).rejects.toThrow(NotDurableError);
    } finally {
      disk.mend();
    }
    expect((await open()).former).toEqual([]);
    await store.change({ lifted: [], set: [freeze('master')] });
    expect((await open()).former).toEqual([freeze('master')]);
  });
});

withPostgres('PostgresHolds', () => {
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

  itKeepsHolds(() => PostgresHolds.open({ database }));
});
