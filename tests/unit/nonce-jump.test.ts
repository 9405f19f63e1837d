import { JumpError, NonceJumps, parseDistance } from '../../src/nonce/nonce-jump.js';

const NOW = 1_795_000_000_000;
const CLOCK = BigInt(NOW) * 1_000_000n;
const SECOND = 1_000_000_000n;

let now: number;
let floor: bigint | undefined;
let made: [bigint, string | undefined][];
let fails: boolean;
let jumps: NonceJumps;
beforeEach(() => {
  [now, floor, made, fails] = [NOW, CLOCK - 5n * SECOND, [], false];
  jumps = new NonceJumps({
    nonces: {
      floorOf: () => floor,
      jump: (to, key) => {
        if (fails) return Promise.reject(new Error('ENOSPC'));
        made.push([to, key]);
        floor = to;
        return Promise.resolve();
      },
    },
    now: () => now,
  });
});

/** Of every account, unless a test changes it. */
let keyOf: () => string | undefined;
beforeEach(() => (keyOf = () => 'fp'));

const asked = { account: 'master', key: 'fp', distance: undefined, seen: undefined };

it('a plan changes nothing; the jump is made by its id, once', async () => {
  const plan = jumps.plan({ ...asked, distance: '1h' });
  expect(made).toEqual([]);
  expect(plan).toMatchObject({ account: 'master', from: CLOCK, to: CLOCK + 3_600n * SECOND });
  await jumps.apply(plan.id, keyOf);
  expect(made).toEqual([[plan.to, 'fp']]);
  await expect(jumps.apply(plan.id, keyOf)).rejects.toThrow(JumpError);
});

it('starts from the floor where that is ahead of the clock', () => {
  floor = CLOCK + 60n * SECOND;
  expect(jumps.plan({ ...asked, distance: '1s' }).to).toBe(CLOCK + 61n * SECOND);
});

it('without a distance goes a second above what Kraken has seen', () => {
  const seen = CLOCK + 7_200n * SECOND;
  const plan = jumps.plan({ ...asked, seen });
  expect(plan.to).toBe(seen + SECOND);
  expect(plan.cause).toContain('2.00 h above ours');
});

it.each([
  ['nothing is known', {}, 'say a distance'],
  ['Kraken has seen less than ours', { seen: CLOCK - 1n }, 'say a distance'],
  [
    'what Kraken has seen is more than a week ahead',
    { seen: CLOCK + 8n * 86_400n * SECOND },
    'make a new key',
  ],
  [
    'the distance does not reach what Kraken has seen',
    { seen: CLOCK + 7_200n * SECOND, distance: '1h' },
    'not enough',
  ],
  ['the distance is none', { distance: '1 h' }, 'duration'],
  ['the distance is too far', { distance: '8d' }, 'at most 7d'],
  ['Kraken takes no nonces there', { seen: 2n ** 63n - 2n }, 'make a new key'],
])('is refused when %s', (_, more, why) => {
  expect(() => jumps.plan({ ...asked, ...more })).toThrow(why);
});

it('never leaves the range of nonces', () => {
  floor = 2n ** 63n - 3_600n * SECOND;
  expect(() => jumps.plan({ ...asked, distance: '1h' })).toThrow('2^63');
});

it('only the latest plan counts, for five minutes, and while the floor is below it', async () => {
  const first = jumps.plan({ ...asked, distance: '1h' });
  const second = jumps.plan({ ...asked, distance: '2h' });
  await expect(jumps.apply(first.id, keyOf)).rejects.toThrow('no such plan');
  now += 300_000;
  await expect(jumps.apply(second.id, keyOf)).rejects.toThrow('too old');
  const third = jumps.plan({ ...asked, distance: '1h' });
  floor = third.to;
  await expect(jumps.apply(third.id, keyOf)).rejects.toThrow('passed');
  expect(made).toEqual([]);
});

it('is refused once the account has another key: the plan was for the former', async () => {
  const plan = jumps.plan({ ...asked, distance: '1h' });
  keyOf = () => 'another';
  await expect(jumps.apply(plan.id, keyOf)).rejects.toThrow('another key');
  expect(made).toEqual([]);
});

it('says when the state is not ours, and passes on why a floor cannot be written', async () => {
  const plan = jumps.plan({ ...asked, distance: '1h' });
  fails = true;
  await expect(jumps.apply(plan.id, keyOf)).rejects.toThrow('ENOSPC');
  floor = undefined;
  expect(() => jumps.plan({ ...asked, distance: '1h' })).toThrow('not ours');
  await expect(jumps.apply(plan.id, keyOf)).rejects.toThrow(JumpError);
});

it.each([
  ['500ms', 500n],
  ['30s', 30_000n],
  ['10m', 600_000n],
  ['7d', 604_800_000n],
  ['8d', undefined],
  ['0s', undefined],
  ['1.5h', undefined],
  ['-1h', undefined],
  ['1w', undefined],
  [undefined, undefined],
])('the distance %s is %s ms', (text, ms) => {
  expect(parseDistance(text)).toBe(ms);
});
