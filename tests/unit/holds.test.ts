import {
  changedBy,
  Holds,
  NotDurableError,
  type Hold,
  type HoldChange,
  type HoldStore,
} from '../../src/holds/holds.js';
import { endpointOf } from '../../src/kraken/endpoints.js';
import { until } from '../support/until.js';

const BY = { since: 1_795_000_000_000, who: 'ann', why: 'odd fills' };
const pause = (target: object = {}): Hold => ({ ...target, mode: 'pause', ...BY });
const cancelOnly = (target: object = {}): Hold => ({ ...target, mode: 'cancel-only', ...BY });
const freeze = (account: string): Hold => ({ account, mode: 'freeze', ...BY });

/** A place that can fail, that can be made to wait, and that others can change. */
class Disk implements HoldStore {
  stored: readonly Hold[] = [];
  writes = 0;
  failure: Error | undefined;
  waits: Promise<void> = Promise.resolve();
  /** As others read it. */
  tell: (holds: readonly Hold[]) => void = () => undefined;

  async change(change: HoldChange): Promise<void> {
    await this.waits;
    if (this.failure === undefined || this.failure instanceof NotDurableError) {
      this.stored = changedBy(this.stored, change);
      this.writes++;
    }
    if (this.failure !== undefined) throw this.failure;
  }

  follow(onHolds: (holds: readonly Hold[]) => void): void {
    this.tell = onHolds;
  }

  /** What it holds as it comes out of a database: other objects each time. */
  read(): void {
    this.tell(this.stored.map((hold) => ({ ...hold })));
  }
}

const FULL = new Error('ENOSPC');
const UNSYNCED = new NotDurableError(new Error('EIO'));

let disk: Disk;
let holds: Holds;
beforeEach(() => {
  disk = new Disk();
  holds = new Holds();
  holds.own(disk, []);
});

function isRefused(client: string, account: string, endpoint: string): boolean {
  try {
    holds.assertAllowed(client, account, endpointOf(endpoint));
    return false;
  } catch {
    return true;
  }
}

it('is in force at once, on disk when it resolves', async () => {
  let goOn = (): void => undefined;
  disk.waits = new Promise((resolve) => (goOn = resolve));
  const set = holds.set(pause());
  expect(holds.pauseOf('bot', 'master')).toMatchObject(BY);
  expect(disk.writes).toBe(0);
  goOn();
  await set;
  expect(disk.stored).toEqual([pause()]);
});

it('that cannot be written is in force all the same, and says so', async () => {
  disk.failure = FULL;
  await expect(holds.set(pause())).rejects.toThrow('ENOSPC');
  expect(holds.isPausing).toBe(true);
});

it('is lifted only once that is on disk', async () => {
  await holds.set(pause());
  disk.failure = FULL;
  await expect(holds.lift({})).rejects.toThrow('ENOSPC');
  expect(holds.isPausing).toBe(true);
  disk.failure = undefined;
  expect(await holds.lift({})).toBe(true);
  expect(holds.isPausing).toBe(false);
  expect(disk.stored).toEqual([]);
  expect(await holds.lift({})).toBe(false);
});

it('a hold that is set while another is lifted stays', async () => {
  await holds.set(pause({ account: 'master' }));
  await Promise.all([holds.lift({ account: 'master' }), holds.set(pause({ account: 'alice' }))]);
  expect(holds.all).toEqual([pause({ account: 'alice' })]);
  expect(disk.stored).toEqual([pause({ account: 'alice' })]);
});

it('an operator’s hold takes the place of the operator’s former one, never of a freeze', async () => {
  await holds.set(freeze('master'));
  await holds.set(pause({ account: 'master' }));
  await holds.set(cancelOnly({ account: 'master' }));
  expect(holds.all).toEqual([freeze('master'), cancelOnly({ account: 'master' })]);
  expect(await holds.lift({ account: 'master' })).toBe(true);
  expect(holds.all).toEqual([freeze('master')]); // whoever lifts a pause may know nothing of it
  expect(await holds.lift({ account: 'master' })).toBe(true);
  expect(holds.all).toEqual([]);
});

it('a hold on the same target that is set while the former is lifted stays, in force and on disk', async () => {
  await holds.set(pause());
  let goOn = (): void => undefined;
  disk.waits = new Promise((resolve) => (goOn = resolve));
  const lifted = holds.lift({});
  const emergency = { ...pause(), why: 'emergency' };
  const set = holds.set(emergency);
  goOn();
  await Promise.all([lifted, set]);
  expect(holds.all).toEqual([emergency]);
  expect(disk.stored).toEqual([emergency]);
});

it('shows the pause first of what is on a target', async () => {
  await holds.set(freeze('master'));
  await holds.set(pause({ account: 'master' }));
  expect(holds.of({ account: 'master' })?.mode).toBe('pause');
  expect(holds.of({ account: 'alice' })).toBeUndefined();
  expect(holds.of({})).toBeUndefined();
});

it.each([
  [{}, [true, true, true, true]],
  [{ account: 'master' }, [true, false, true, false]],
  [{ client: 'grid' }, [true, true, false, false]],
])('a pause on %j is about these calls and no others', async (target, expected) => {
  await holds.set(pause(target));
  const calls = [
    ['grid', 'master'],
    ['grid', 'alice'],
    ['exit', 'master'],
    ['exit', 'alice'],
  ] as const;
  expect(calls.map(([client, account]) => holds.pauseOf(client, account) !== undefined)).toEqual(expected);
});

it.each([['cancel-only' as const], ['freeze' as const]])(
  '%s lets cancels and reads through, and no more',
  async (mode) => {
    await holds.set({ account: 'master', mode, ...BY });
    const goes = ['CancelOrder', 'CancelAll', 'CancelAllOrdersAfter', 'Balance', 'Ledgers', 'GetApiKeyInfo'];
    const stays = ['AddOrder', 'AddOrderBatch', 'EditOrder', 'AmendOrder', 'Withdraw', 'WalletTransfer'];
    const others = ['GetWebSocketsToken', 'AddExport', 'Earn/Allocate', 'NobodyKnowsIt'];
    expect(goes.filter((endpoint) => isRefused('bot', 'master', endpoint))).toEqual([]);
    const refused = [...stays, ...others].filter((endpoint) => isRefused('bot', 'master', endpoint));
    expect(refused).toEqual([...stays, ...others]);
    expect(isRefused('bot', 'alice', 'AddOrder')).toBe(false);
  },
);

it('keeps what was set before the state was owned, beside what was on disk', async () => {
  const early = new Holds();
  await expect(early.set(pause({ client: 'grid' }))).rejects.toThrow('not ours');
  early.own(disk, [cancelOnly()]);
  expect(early.all).toEqual([cancelOnly(), pause({ client: 'grid' })]);
});

it('tells of every change', async () => {
  let changes = 0;
  holds.onChange(() => changes++);
  await holds.set(pause());
  await holds.lift({});
  expect(changes).toBe(2);
});

it('one that could not be written is on disk with the next change', async () => {
  disk.failure = FULL;
  await expect(holds.set(pause({ account: 'master' }))).rejects.toThrow('ENOSPC');
  disk.failure = undefined;
  await holds.set(pause({ account: 'alice' }));
  expect(disk.stored).toEqual([pause({ account: 'master' }), pause({ account: 'alice' })]);
});

it('one that could not be written can be lifted, and is not written later', async () => {
  disk.failure = FULL;
  await expect(holds.set(pause())).rejects.toThrow('ENOSPC');
  await expect(holds.lift({})).rejects.toThrow('ENOSPC');
  disk.failure = undefined;
  expect(await holds.lift({})).toBe(true);
  await holds.set(pause({ account: 'alice' }));
  expect(disk.stored).toEqual([pause({ account: 'alice' })]);
});

it('is lifted though a power cut may bring it back; set, that fails', async () => {
  await holds.set(pause());
  disk.failure = UNSYNCED;
  expect(await holds.lift({})).toBe(true);
  expect(holds.all).toEqual([]);
  await expect(holds.set(freeze('master'))).rejects.toThrow('a power cut may undo it: EIO');
  expect(holds.all).toEqual([freeze('master')]);
  disk.failure = undefined;
  const { writes } = disk;
  await holds.set(pause());
  expect(disk.writes).toBe(writes + 1);
  expect(disk.stored).toEqual([freeze('master'), pause()]);
});

describe('of several nodes', () => {
  it('what another sets and lifts is so here', async () => {
    await holds.set(pause({ account: 'master' }));
    disk.stored = [cancelOnly({ account: 'alice' }), freeze('master')];
    disk.read();
    expect(holds.all).toEqual([cancelOnly({ account: 'alice' }), freeze('master')]);
    expect(holds.isPausing).toBe(false);
  });

  it('tells of a change, not of each reading', async () => {
    await holds.set(pause());
    let changes = 0;
    holds.onChange(() => changes++);
    disk.read();
    disk.read();
    expect(changes).toBe(0);
    disk.stored = [];
    disk.read();
    expect(changes).toBe(1);
  });

  it('one that is not stored yet holds on, whatever is read', async () => {
    let goOn = (): void => undefined;
    disk.waits = new Promise((resolve) => (goOn = resolve));
    const set = holds.set(pause());
    disk.read();
    expect(holds.all).toEqual([pause()]);
    goOn();
    await set;
    expect(disk.stored).toEqual([pause()]);
    expect(disk.writes).toBe(1);
  });

  it('one that could not be stored is so as soon as the store can be read, and follows the others from there', async () => {
    disk.stored = [freeze('alice')];
    disk.failure = FULL;
    await expect(holds.set(pause())).rejects.toThrow('ENOSPC');
    disk.read(); // and fails again
    await until(() => holds.all.length === 2);
    disk.failure = undefined;
    await until(() => {
      disk.read();
      return disk.writes > 0;
    });
    expect(disk.stored).toEqual([freeze('alice'), pause()]);
    await until(() => {
      disk.stored = [];
      disk.read();
      return holds.all.length === 0;
    });
  });

  it('one that is set here takes the place of another’s on the same target', async () => {
    disk.stored = [cancelOnly()];
    disk.failure = FULL;
    await expect(holds.set(pause())).rejects.toThrow('ENOSPC');
    disk.read();
    expect(holds.all).toEqual([pause()]);
  });

  it('one that is being lifted is gone when that is stored, though it was read meanwhile', async () => {
    await holds.set(pause());
    let goOn = (): void => undefined;
    disk.waits = new Promise((resolve) => (goOn = resolve));
    const lifted = holds.lift({});
    disk.stored = [pause(), freeze('alice')];
    disk.read();
    expect(holds.isPausing).toBe(true);
    goOn();
    expect(await lifted).toBe(true);
    expect(holds.all).toEqual([freeze('alice')]);
    expect(disk.stored).toEqual([freeze('alice')]);
  });

  it('one that another has set on the target meanwhile stays when the former is lifted', async () => {
    await holds.set(pause());
    let goOn = (): void => undefined;
    disk.waits = new Promise((resolve) => (goOn = resolve));
    const lifted = holds.lift({});
    disk.stored = [{ ...pause(), who: 'bob' }];
    goOn();
    expect(await lifted).toBe(true);
    disk.read();
    expect(holds.all).toEqual([{ ...pause(), who: 'bob' }]);
  });
});
