import { Holds, type Hold, type HoldStore } from '../../src/holds/holds.js';
import { endpointOf } from '../../src/kraken/endpoints.js';

const BY = { since: 1_795_000_000_000, who: 'ann', why: 'odd fills' };
const pause = (target: object = {}): Hold => ({ ...target, mode: 'pause', ...BY });
const cancelOnly = (target: object = {}): Hold => ({ ...target, mode: 'cancel-only', ...BY });
const freeze = (account: string): Hold => ({ account, mode: 'freeze', ...BY });

/** A disk that can fail, and that can be made to wait. */
class Disk implements HoldStore {
  written: (readonly Hold[])[] = [];
  fails = false;
  waits: Promise<void> = Promise.resolve();

  async write(holds: readonly Hold[]): Promise<void> {
    await this.waits;
    if (this.fails) throw new Error('ENOSPC');
    this.written.push(holds);
  }
}

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
  expect(disk.written).toEqual([]);
  goOn();
  await set;
  expect(disk.written.at(-1)).toEqual([pause()]);
});

it('that cannot be written is in force all the same, and says so', async () => {
  disk.fails = true;
  await expect(holds.set(pause())).rejects.toThrow('ENOSPC');
  expect(holds.isPausing).toBe(true);
});

it('is lifted only once that is on disk', async () => {
  await holds.set(pause());
  disk.fails = true;
  await expect(holds.lift({})).rejects.toThrow('ENOSPC');
  expect(holds.isPausing).toBe(true);
  disk.fails = false;
  expect(await holds.lift({})).toBe(true);
  expect(holds.isPausing).toBe(false);
  expect(disk.written.at(-1)).toEqual([]);
  expect(await holds.lift({})).toBe(false);
});

it('a hold that is set while another is lifted stays', async () => {
  await holds.set(pause({ account: 'master' }));
  await Promise.all([holds.lift({ account: 'master' }), holds.set(pause({ account: 'alice' }))]);
  expect(holds.all).toEqual([pause({ account: 'alice' })]);
  expect(disk.written.at(-1)).toEqual([pause({ account: 'alice' })]);
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
  expect(disk.written.at(-1)).toEqual([emergency]);
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
