import fc from 'fast-check';
import { readFields, type Fields, type FieldValue } from '../../src/kraken/fields.js';

const form = (body: string): Record<string, unknown> => plain(readFields(Buffer.from(body), 'form'));
const json = (body: string): Record<string, unknown> => plain(readFields(Buffer.from(body), 'json'));

/** Maps as objects, for comparing. */
function plain(fields: Fields): Record<string, unknown> {
  const value = (one: FieldValue): unknown => {
    if (one instanceof Map) return plain(one);
    return Array.isArray(one) ? (one as FieldValue[]).map(value) : one;
  };
  return Object.fromEntries([...fields].map(([name, one]) => [name, value(one)]));
}

function refusal(body: string, format: 'form' | 'json'): { code: unknown; message: string } {
  try {
    readFields(Buffer.from(body), format);
  } catch (error) {
    return error as { code: unknown; message: string };
  }
  throw new Error(`read: ${body}`);
}

describe('a form', () => {
  it('is read with percent-escapes and blanks decoded, names too', () => {
    expect(form('p%61ir=XBT%2FUSD&price=%2B5%25&text=a+b')).toEqual({
      pair: 'XBT/USD',
      price: '+5%',
      text: 'a b',
    });
  });

  it('keeps bracketed names as text, however the brackets came', () => {
    expect(form('close[ordertype]=limit&close%5Bprice%5D=1')).toEqual({
      'close[ordertype]': 'limit',
      'close[price]': '1',
    });
  });

  it('is read without nonce, even several, and with otp', () => {
    expect(form('nonce=1&nonce=2&otp=3&n%6fnce=4&volume=1')).toEqual({ otp: '3', volume: '1' });
    expect(refusal('otp=1&otp=2', 'form')).toMatchObject({ code: 'invalid-body', message: /twice/ });
  });

  it('has the words of JSON as texts', () => {
    expect(form('a=true&b=false&c=True&d=null&e=%22true%22&f=tru%65')).toEqual({
      ...{ a: true, b: false, c: 'True', d: 'null', e: '"true"', f: true },
    });
  });

  it('keeps what has no value, and a name that is empty', () => {
    expect(form('a&b=&=c&&')).toEqual({ a: '', b: '', '': 'c' });
  });

  it('keeps everything after the first equals sign', () => {
    expect(form('a=b=c')).toEqual({ a: 'b=c' });
  });

  it.each(['volume=1&volume=2', 'volume=1&vol%75me=1', 'a&a'])('is refused with a name twice: %s', (body) => {
    expect(refusal(body, 'form')).toMatchObject({ code: 'invalid-body', message: /twice/ });
  });

  it('reads like URLSearchParams', () => {
    // ASCII: beside other letters node's own reader takes a malformed escape for a broken letter.
    const part = fc.oneof(fc.constantFrom('%2B', '%20', '+', '[', '%C3%A4', '='), fc.string());
    const text = fc.array(part, { maxLength: 4 }).map((parts) => parts.join('').replaceAll('&', ''));
    fc.assert(
      fc.property(fc.uniqueArray(text, { maxLength: 4, selector: (one) => one.split('=')[0] }), (pairs) => {
        const body = pairs.join('&');
        const expected = [...new URLSearchParams(`?${body}`)].filter(([name]) => name !== 'nonce');
        fc.pre(new Set(expected.map(([name]) => name)).size === expected.length);
        const read = [...readFields(Buffer.from(body), 'form')];
        const texts = read.map(([name, value]) => [name, typeof value === 'boolean' ? String(value) : value]);
        expect(texts).toEqual(expected);
      }),
    );
  });
});

describe('JSON', () => {
  it('keeps the text of numbers, and words', () => {
    const body =
      '{"a":1795000000000000001,"b":1e400,"c":-0.10,"d":true,"e":false,"f":null,"g":"x","h":"true"}';
    expect(json(body)).toEqual({
      ...{ a: '1795000000000000001', b: '1e400', c: '-0.10' },
      ...{ d: true, e: false, f: null, g: 'x', h: 'true' },
    });
  });

  it('keeps objects and lists, and drops nonce only at the top', () => {
    expect(
      json(' { "nonce" : 1 , "otp":"2", "orders":[ {"nonce":"3","close":{"price":"1"}} , [] ] } '),
    ).toEqual({
      otp: '2',
      orders: [{ nonce: '3', close: { price: '1' } }, []],
    });
  });

  it('decodes escapes in names and texts', () => {
    expect(json('{"vol\\u0075me":"a\\"\\\\\\n"}')).toEqual({ volume: 'a"\\\n' });
  });

  it('takes __proto__ for a name like any other', () => {
    expect([...readFields(Buffer.from('{"__proto__":"1"}'), 'json')]).toEqual([['__proto__', '1']]);
  });

  it.each([
    '{"volume":1,"volume":2}',
    '{"volume":1,"vol\\u0075me":2}',
    '{"orders":[{"volume":1,"volume":1}]}',
    '{"close":{"price":"1","price":"2"}}',
    '{"a":[[{"b":{"c":null,"c":null}}]]}',
  ])('is refused with a name twice at any depth: %s', (body) => {
    expect(refusal(body, 'json')).toMatchObject({ code: 'invalid-body', message: /twice/ });
  });

  it.each([
    '',
    '[]',
    '"a"',
    '{',
    '{"a"}',
    '{"a":}',
    '{"a":1,}',
    '{"a":01}',
    '{"a":"\n"}',
    '{} {}',
    '{"a":.5}',
  ])('is refused when it is none: %j', (body) => {
    expect(refusal(body, 'json').code).toBe('invalid-body');
  });

  it('is refused when it is nested too deep, without a stack overflow', () => {
    expect(refusal(`{"a":${'['.repeat(100_000)}`, 'json').code).toBe('invalid-body');
  });

  it('reads like JSON.parse wherever numbers survive that', () => {
    const value = fc.jsonValue({ maxDepth: 3 }).filter((one) => typeof one === 'object' && one !== null);
    const asText = (one: unknown): unknown => {
      if (typeof one === 'number') return JSON.stringify(one);
      if (Array.isArray(one)) return one.map(asText);
      if (typeof one !== 'object' || one === null) return one;
      return Object.fromEntries(Object.entries(one).map(([name, item]) => [name, asText(item)]));
    };
    fc.assert(
      fc.property(value, (one) => {
        const body = Buffer.from(JSON.stringify({ value: one })).toString();
        expect(json(body)).toEqual(asText(JSON.parse(body)));
      }),
    );
  });
});
