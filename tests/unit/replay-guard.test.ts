import fc from 'fast-check';
import { ReplayGuard } from '../../src/replay-guard.js';

it('with a window of 0 only a higher nonce is fresh', () => {
  const guard = new ReplayGuard(0n);
  expect(['5', '5', '4', '6', '1795356896833004847', '6'].map((nonce) => guard.accept(nonce))).toEqual([
    true,
    false,
    false,
    true,
    true,
    false,
  ]);
});

it('with a window a lower nonce is fresh once, down to the window', () => {
  const guard = new ReplayGuard(10n);
  expect(
    ['100', '95', '95', '90', '89', '111', '101', '100', '102'].map((nonce) => guard.accept(nonce)),
  ).toEqual([true, true, false, true, false, true, true, false, true]);
});

it.each(['', '-1', '1.5', '0x5', ' 5', '9'.repeat(21), 'NaN'])(
  'what is no nonce is never fresh: %j',
  (text) => {
    expect(new ReplayGuard(0n).accept(text)).toBe(false);
  },
);

it('no nonce is ever taken twice, and none from below the window, however many come', () => {
  fc.assert(
    fc.property(
      fc.bigInt(0n, 30_000n),
      fc.array(fc.bigInt(0n, 50_000n), { minLength: 1, maxLength: 500 }),
      (window, nonces) => {
        const guard = new ReplayGuard(window);
        const taken = new Set<bigint>();
        let highest = -1n;
        const misjudged = nonces.filter((nonce) => {
          const isFresh = nonce > highest || (nonce >= highest - window && !taken.has(nonce));
          taken.add(nonce);
          if (nonce > highest) highest = nonce;
          return guard.accept(nonce.toString()) !== isFresh;
        });
        expect(misjudged).toEqual([]);
      },
    ),
  );
});

it('keeps a bounded number and still takes none twice when a wide window fills up', () => {
  const guard = new ReplayGuard(10n ** 18n);
  const nonces = Array.from({ length: 25_000 }, (_, nonce) => String(nonce));
  expect(nonces.filter((nonce) => !guard.accept(nonce))).toEqual([]);
  expect(nonces.filter((nonce) => guard.accept(nonce))).toEqual([]);
});

it('when a wide window fills up, what lies in its lower half is refused, seen or not: no more is kept', () => {
  const guard = new ReplayGuard(10n ** 18n);
  for (let nonce = 0n; nonce < 25_000n; nonce += 2n) guard.accept(nonce.toString());
  expect(guard.accept('1')).toBe(false);
  expect(guard.accept('24999')).toBe(true);
});
