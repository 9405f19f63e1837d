import fc from 'fast-check';
import { openOrder, PolicyWorld, rulesWith, TXID } from '../support/policy-world.js';

const PLACES = 20;

/** Decimal text in units of 1e-20; undefined for what is no plain number. */
function fixed(text: string): bigint | undefined {
  const [, whole, fraction = ''] = /^([0-9]{1,20})(?:\.([0-9]{1,20}))?$/.exec(text) ?? [];
  return whole === undefined ? undefined : BigInt(whole + fraction.padEnd(PLACES, '0'));
}

const digits = (most: number): fc.Arbitrary<string> => fc.stringMatching(new RegExp(`^[0-9]{1,${most}}$`));
const decimal = fc.oneof(
  fc.tuple(digits(6), digits(12)).map(([whole, fraction]) => `${whole}.${fraction}`),
  fc.tuple(digits(21), digits(21)).map(([whole, fraction]) => `${whole}.${fraction}`),
  digits(8),
  fc.constantFrom(
    '0',
    '0.0',
    '1e3',
    '1E-3',
    '-1',
    '+1',
    '.5',
    '5.',
    ' 1',
    '1 ',
    '1,0',
    '0x10',
    'NaN',
    'Infinity',
    '',
  ),
  fc.string({ maxLength: 6 }),
);

/** `volume * price <= limit`, all three in units of 1e-20. */
const isWithin = (volume: bigint, price: bigint, limit: bigint): boolean =>
  volume * price <= limit * 10n ** BigInt(PLACES);

it('whatever decimal texts come: a purchase that is allowed is worth no more than the limit', async () => {
  const absolute = decimal.filter((text) => !/^[-+#]/.test(text));
  let allowed = 0;
  await fc.assert(
    fc.asyncProperty(decimal, absolute, digits(7), fc.boolean(), async (volume, price, limit, asJson) => {
      const order = { pair: 'XBTUSD', type: 'buy', ordertype: 'limit', price, volume };
      const body = asJson ? order : new URLSearchParams(order).toString();
      const rules = rulesWith({ maxNotional: { USD: limit }, maxVolume: limit });
      if ((await new PolicyWorld().outcome(rules, 'AddOrder', body)) !== 'allowed') return;
      allowed += 1;
      const [v, p, most] = [fixed(volume), fixed(price), fixed(limit)];
      if (v === undefined || p === undefined || most === undefined)
        throw new Error('allowed what is no number');
      expect(v > 0n && v <= most && isWithin(v, p, most)).toBe(true);
    }),
    { numRuns: 2000 },
  );
  expect(allowed).toBeGreaterThan(20);
});

it('an order at the very limit is allowed, and not with a digit more', async () => {
  const small = fc.tuple(digits(5), digits(8)).map(([whole, fraction]) => `1${whole}.${fraction}`);
  await fc.assert(
    fc.asyncProperty(small, small, async (volume, price) => {
      const worth = ((fixed(volume) ?? 0n) * (fixed(price) ?? 0n)) / 10n ** BigInt(PLACES);
      const text = (value: bigint): string => {
        const all = value.toString().padStart(PLACES + 1, '0');
        return `${all.slice(0, -PLACES)}.${all.slice(-PLACES)}`;
      };
      const body = `pair=XBTUSD&type=buy&ordertype=limit&price=${price}&volume=${volume}`;
      const outcome = (limit: bigint): Promise<string> =>
        new PolicyWorld().outcome(rulesWith({ maxNotional: { USD: text(limit) } }), 'AddOrder', body);
      expect(await outcome(worth)).toBe('allowed');
      expect(await outcome(worth - 1n)).toMatch(/^orders\.maxNotional: /);
    }),
    { numRuns: 300 },
  );
});

it('no sale that is allowed is worth more than the limit at the market or at its own price', async () => {
  const price = fc.tuple(digits(3), digits(2)).map(([whole, fraction]) => `${whole}.${fraction}`);
  const type = fc.constantFrom(
    'market',
    'limit',
    'stop-loss',
    'take-profit-limit',
    'trailing-stop',
    'iceberg',
  );
  await fc.assert(
    fc.asyncProperty(type, price, price, price, price, async (ordertype, volume, own, bid, last) => {
      const world = new PolicyWorld();
      world.market.current = { ask: '1', bid, last };
      const order = { pair: 'XBTUSD', type: 'sell', ordertype, price: own, price2: own, volume };
      const outcome = await world.outcome(rulesWith({ maxNotional: { USD: '1000' } }), 'AddOrder', order);
      if (outcome !== 'allowed') return;
      const prices = [bid, last, ...(ordertype === 'market' ? [] : [own])].map((text) => fixed(text) ?? 0n);
      for (const one of prices) expect(isWithin(fixed(volume) ?? 0n, one, fixed('1000') ?? 0n)).toBe(true);
    }),
    { numRuns: 1000 },
  );
});

it('no change that is allowed leaves an order worth more than the limit', async () => {
  const small = fc.tuple(digits(2), digits(4)).map(([whole, fraction]) => `${whole}.${fraction}`);
  const given = fc.option(small, { nil: undefined });
  await fc.assert(
    fc.asyncProperty(small, small, given, given, async (vol, price, newVolume, newPrice) => {
      const world = new PolicyWorld();
      world.orders = { [TXID]: openOrder({ vol }, { price }) };
      const body = new URLSearchParams({ txid: TXID });
      if (newVolume !== undefined) body.set('order_qty', newVolume);
      if (newPrice !== undefined) body.set('limit_price', newPrice);
      const rules = rulesWith({ maxNotional: { USD: '500' } });
      if ((await world.outcome(rules, 'AmendOrder', body.toString())) !== 'allowed') return;
      const volume = fixed(newVolume ?? vol) ?? 0n;
      expect(isWithin(volume, fixed(newPrice ?? price) ?? 0n, fixed('500') ?? 0n)).toBe(true);
    }),
    { numRuns: 500 },
  );
});

const NAMES = [
  'volume',
  'pair',
  'type',
  'ordertype',
  'price',
  'oflags',
  'validate',
  'reduce_only',
  'orders',
  'close',
];

it('a field whose name only looks like a known one is never let through', async () => {
  const disguise = fc.constantFrom<(name: string) => string>(
    (name) => name.toUpperCase(),
    (name) => `${name}[]`,
    (name) => `${name}[0]`,
    (name) => ` ${name}`,
    (name) => `${name}\0`,
    (name) => `${name}\t`,
    (name) => name.replace(/.$/, (last) => last.toUpperCase()),
    (name) => `\ufeff${name}`,
    (name) => `params[${name}]`,
    (name) => `${name}.0`,
    (name) => name.replace('e', '\u0435'),
  );
  const rules = rulesWith({ sides: ['buy'] });
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...NAMES), disguise, fc.boolean(), async (name, hide, asJson) => {
      const hidden = hide(name);
      fc.pre(!NAMES.includes(hidden));
      const order = {
        pair: 'XBTUSD',
        type: 'buy',
        ordertype: 'limit',
        price: '1',
        volume: '1',
        [hidden]: '1000',
      };
      const body = asJson ? order : new URLSearchParams(order).toString();
      expect(await new PolicyWorld().outcome(rules, 'AddOrder', body)).toMatch(/do not know the field/);
    }),
    { numRuns: 300 },
  );
});
