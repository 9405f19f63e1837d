/** A nonce read as a moment: unix ms, and how programs that count so are called. */
export interface NonceTime {
  readonly unit: string;
  readonly at: number;
}

/** Programs whose clocks are further off are not guessed at; the units below lie much further apart. */
const NEAR_MS = 60 * 86_400_000;
/** From the year 1, where .NET begins to count, to 1970. */
const DOTNET_EPOCH_MS = 62_135_596_800_000;

/** How clients make nonces (KRAKEN.md 1.6), to unix ms. */
const UNITS: readonly (readonly [unit: string, toMs: (nonce: bigint) => number])[] = [
  ['seconds', (nonce) => Number(nonce) * 1_000],
  ['milliseconds', (nonce) => Number(nonce)],
  ['microseconds', (nonce) => Number(nonce / 1_000n)],
  ['units of 10 ns', (nonce) => Number(nonce / 100_000n)],
  ['nanoseconds', (nonce) => Number(nonce / 1_000_000n)],
  ['microseconds shifted left by 10 bits', (nonce) => Number((nonce >> 10n) / 1_000n)],
  ['.NET ticks', (nonce) => Number(nonce / 10_000n) - DOTNET_EPOCH_MS],
];

/** What a nonce looks like when it was made from a clock that shows about `now`; undefined when like nothing known. */
export function nonceTime(nonce: bigint, now: number): NonceTime | undefined {
  return UNITS.map(([unit, toMs]) => ({ unit, at: toMs(nonce) })).find(
    ({ at }) => Math.abs(at - now) < NEAR_MS,
  );
}
