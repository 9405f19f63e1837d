import fc from 'fast-check';
import { readKeyInfo, readTime } from '../../src/doctor/key-info.js';
import { nonceTime } from '../../src/doctor/nonce-units.js';

const good = (result: string): Buffer => Buffer.from(`{"error":[],"result":${result}}`);
const field = (name: string, json: string): unknown =>
  readKeyInfo(good(`{"api_key_name":"x \\"1\\" \\\\","${name}":${json},"iban":"AA00 12"}`));

const NOTHING = {
  nonce: undefined,
  nonceWindow: undefined,
  permissions: undefined,
  ipAllowlist: undefined,
  validUntil: undefined,
  lastUsed: undefined,
};

describe("a key's info", () => {
  const read = {
    nonce: 1_795_348_800_123_456_789n,
    nonceWindow: 0n,
    permissions: ['query-funds', 'withdraw-funds'],
    ipAllowlist: ['198.51.100.7'],
    validUntil: 1_800_000_000_000,
    lastUsed: 1_795_348_799_000,
  };

  it.each([
    [
      'with underscores and texts',
      '{"nonce":"1795348800123456789","nonce_window":"0","permissions":["query-funds","withdraw-funds"],' +
        '"ip_allowlist":["198.51.100.7"],"valid_until":"1800000000","last_used":"1795348799"}',
    ],
    [
      'in camel case and numbers, with blanks',
      ' { "nonce" : 1795348800123456789 , "nonceWindow":0, "permissions":["queryFunds","Withdraw Funds"],\n' +
        '"ipAllowlist":["198.51.100.7"],"validUntil":1800000000,"lastUsed":1795348799 } ',
    ],
    [
      'in ms and dates',
      '{"nonce":1795348800123456789,"nonce-window":0,"permissions":{"query_funds":true,"withdraw_funds":true,"add":false},' +
        '"ip_allowlist":["198.51.100.7"],"valid_until":1800000000000,"last_used":"2026-11-22T11:59:59Z"}',
    ],
  ])('is read %s', (_style, result) => {
    expect(readKeyInfo(good(result))).toEqual(read);
  });

  it.each(['0', '"0"', '""', 'null'])('with an end of %s never ends', (json) => {
    expect(field('valid_until', json)).toEqual({ ...NOTHING, validUntil: 'never' });
  });

  it.each([
    ['1800000000', 1_800_000_000_000],
    ['"1800000000.75"', 1_800_000_000_000],
    ['1.8e9', 1_800_000_000_000],
    ['1800000000123', 1_800_000_000_123],
    ['1800000000123456', 1_800_000_000_123],
    ['"1800000000123456789"', 1_800_000_000_123],
  ])('has its times by their size: %s', (json, ms) => {
    expect(field('validUntil', json)).toEqual({ ...NOTHING, validUntil: ms });
  });

  it.each([
    ['1.795348800123456789e18', 1_795_348_800_123_456_789n],
    ['"9223372036854775807"', 9_223_372_036_854_775_807n],
    ['0', 0n],
  ])('keeps all digits of the nonce %s', (json, nonce) => {
    expect(field('nonce', json)).toEqual({ ...NOTHING, nonce });
  });

  it('keeps every nonce, as a number and as text', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }), (nonce) => {
        expect(field('nonce', String(nonce))).toEqual({ ...NOTHING, nonce });
        expect(field('nonce', `"${nonce}"`)).toEqual({ ...NOTHING, nonce });
      }),
    );
  });

  it.each([
    ['nonce', ['-1', '"x"', 'true', 'null', '[1]', '{}', '"0x10"', '1e-3']],
    ['nonce_window', ['"ten"', 'false', '-5']],
    ['permissions', ['"all"', '[1,2]', '[["a"]]', '{"a":{"b":true}}', 'null', '7']],
    ['ip_allowlist', ['"198.51.100.7"', '[null]', '{}', 'null']],
    ['valid_until', ['true', '"soon"', '-1', '"2026-99-99T00:00:00Z"', '1e40', '100000000000000000000']],
    ['last_used', ['[]', '"yesterday"']],
  ])('with an odd %s says nothing of it', (name, odd) => {
    for (const json of odd) expect([json, field(name, json)]).toEqual([json, NOTHING]);
  });

  it.each([
    '{"error":["EAPI:Invalid key"]}',
    '{"error":[],"result":null}',
    '{"error":[],"result":[]}',
    '{}',
    'x',
    '',
  ])('is not read from %s', (body) => {
    expect(readKeyInfo(Buffer.from(body))).toBeUndefined();
  });

  it('may come with a warning', () => {
    expect(readKeyInfo(Buffer.from('{"error":["WGeneral:Soon"],"result":{"nonce":1}}'))?.nonce).toBe(1n);
  });

  it('never throws, and reads quickly, whatever comes', () => {
    fc.assert(fc.property(fc.string(), (text) => void readKeyInfo(Buffer.from(text))));
    fc.assert(
      fc.property(fc.json(), (json) => void readKeyInfo(good(`{"nonce":${json},"permissions":${json}}`))),
    );
    const started = performance.now();
    for (const part of ['"\\', '"', '[', '1', '{"a":']) {
      readKeyInfo(good(part.repeat(200_000 / part.length)));
    }
    expect(performance.now() - started).toBeLessThan(2_000);
  });
});

it("Kraken's time is its second", () => {
  expect(readTime(good('{"unixtime":1795348800,"rfc1123":"Sun, 22 Nov 26 12:00:00 +0000"}'))).toBe(
    1_795_348_800,
  );
  for (const result of ['{}', '{"unixtime":"now"}', '{"unixtime":1795348800123}', '[]'])
    expect(readTime(good(result))).toBeUndefined();
});

describe('a nonce read as a time', () => {
  const now = Date.UTC(2026, 10, 22, 12);

  it.each([
    ['seconds', BigInt(now) / 1_000n],
    ['milliseconds', BigInt(now)],
    ['microseconds', BigInt(now) * 1_000n],
    ['units of 10 ns', BigInt(now) * 100_000n],
    ['nanoseconds', BigInt(now) * 1_000_000n],
    ['microseconds shifted left by 10 bits', (BigInt(now) * 1_000n) << 10n],
    ['.NET ticks', (BigInt(now) + 62_135_596_800_000n) * 10_000n],
  ])('looks like %s', (unit, nonce) => {
    expect(nonceTime(nonce, now)).toEqual({ unit, at: now });
    // A nonce jump at most, or a clock that is a month off.
    const month = nonceTime((nonce * 1_002n) / 1_000n, now);
    expect(month === undefined || month.unit === unit).toBe(true);
  });

  it.each([0n, 1n, 42n, 2n ** 63n - 1n, 5_000_000_000_000_000_000n])('%s looks like none', (nonce) => {
    expect(nonceTime(nonce, now)).toBeUndefined();
  });
});
