import fc from 'fast-check';

import { parseBody } from '../../src/kraken/body.js';
import { readFields, type FieldValue } from '../../src/kraken/fields.js';
import { putOrderIds } from '../../src/kraken/order-body.js';
import { identifyOrder } from '../../src/orders/order-identity.js';

const blanks = fc
  .array(fc.constantFrom(' ', '\t', '\n', '\r'), { maxLength: 2 })
  .map((some) => some.join(''));

const around = (raw: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  fc.tuple(blanks, raw, blanks).map((parts) => parts.join(''));

/** A string token with any of its characters as a unicode escape. */
const spelled = (text: string): fc.Arbitrary<string> =>
  fc
    .tuple(
      ...Array.from({ length: text.length }, (_, index) => {
        const plain = JSON.stringify(text.charAt(index)).slice(1, -1);
        const code = text.charCodeAt(index).toString(16).padStart(4, '0');
        // Half a surrogate pair has no UTF-8.
        return /[\ud800-\udfff]/.test(text.charAt(index))
          ? fc.constant(`\\u${code}`)
          : fc.constantFrom(plain, plain, plain, `\\u${code}`, `\\u${code.toUpperCase()}`);
      }),
    )
    .map((characters) => `"${characters.join('')}"`);

const anyText = fc.oneof(
  fc.constantFrom(
    'orders',
    'cl_ord_id',
    '"cl_ord_id":"x"',
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '\\',
    'ü',
    '💶',
    '\ud800',
  ),
  fc.string({ unit: 'grapheme', maxLength: 5 }),
);
const anyToken = anyText.chain(spelled);

const { value: anyValue } = fc.letrec<{ value: string; list: string; object: string }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom(
      'true',
      'null',
      '1795000000000000001',
      '-1.50E+3',
      '{}',
      '[ ]',
      '[{}]',
      '{"orders":[{}]}',
    ),
    anyToken,
    tie('list'),
    tie('object'),
  ),
  list: fc.array(around(tie('value')), { maxLength: 3 }).map((items) => `[${items.join(',')}]`),
  object: fc
    .uniqueArray(fc.constantFrom('cl_ord_id', 'userref', 'orders', 'a', 'b'), { maxLength: 3 })
    .chain((names) => fc.tuple(...names.map((name) => memberOf(name, tie('value')))))
    .map((members) => `{${members.join(',')}}`),
}));

function memberOf(name: string, value: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc.tuple(around(spelled(name)), around(value)).map(([key, text]) => `${key}:${text}`);
}

interface OrderText {
  readonly raw: string;
  readonly hasId: boolean;
}

/** The terms that every order needs, in any order with others; an id of the client's or none. */
const order: fc.Arbitrary<OrderText> = fc
  .tuple(
    fc.constantFrom(undefined, undefined, 'cl_ord_id', 'userref'),
    fc.uniqueArray(fc.constantFrom('close', 'price', 'x', '💶', 'orders', 'cl_ord_ids', 'userrefs'), {
      maxLength: 3,
    }),
  )
  .chain(([id, others]) =>
    fc
      .tuple(
        memberOf('type', fc.constant('"buy"')),
        memberOf('ordertype', fc.constant('"limit"')),
        ...others.map((name) => memberOf(name, anyValue)),
        ...(id === undefined ? [] : [memberOf(id, fc.constantFrom('"17"', '"\\u0031"'))]),
      )
      .chain((members) => fc.shuffledSubarray(members, { minLength: members.length }))
      .map((members) => ({ raw: `{${members.join(',')}}`, hasId: id !== undefined })),
  );

const batch = fc
  .tuple(
    fc.array(fc.tuple(blanks, order, blanks), { minLength: 1, maxLength: 4 }),
    fc.array(fc.constantFrom('"z"', '"\\u007a"'), { maxLength: 1 }),
    fc.nat(2),
    blanks,
  )
  .chain(([orders, others, at, blank]) =>
    fc
      .tuple(
        memberOf('orders', fc.constant('@')),
        memberOf('pair', fc.constant('"XBTUSD"')),
        ...others.map(() => memberOf('z', anyValue)),
      )
      .map((members) => {
        // The list goes among the others; '@' stands for it, so that its pieces stay known.
        const [list, ...rest] = members;
        rest.splice(at % (rest.length + 1), 0, list);
        const text = `${blank}{${rest.join(',')}}${blank}`;
        const cut = text.indexOf('@', text.indexOf(list));
        return { before: text.slice(0, cut), orders, after: text.slice(cut + 1) };
      }),
  );

const textOf = (before: string, orders: readonly string[], after: string): string =>
  `${before}[${orders.join(',')}]${after}`;

describe('for any batch', () => {
  it('each order without an id gets the one that is told for it, and every other byte is as it was', () => {
    fc.assert(
      fc.property(batch, ({ before, orders, after }) => {
        const body = Buffer.from(
          textOf(
            before,
            orders.map(([a, one, b]) => a + one.raw + b),
            after,
          ),
        );
        expect(parseBody(body, undefined).format).toBe('json');
        let ids = 0;
        const identified = identifyOrder('AddOrderBatch', readFields(body, 'json'), () => `id-${++ids}`);
        const sent = putOrderIds(body, 'json', identified?.orderIds ?? []);
        let given = 0;
        const expected = textOf(
          before,
          orders.map(([a, one, b]) =>
            one.hasId ? a + one.raw + b : `${a}{"cl_ord_id":"id-${++given}",${one.raw.slice(1)}${b}`,
          ),
          after,
        );
        expect(sent.toString()).toBe(expected);
        // What the proxy will look for is what Kraken will read.
        const list = readFields(sent, 'json').get('orders') as readonly FieldValue[];
        const read = list.map((one) => {
          const fields = one as ReadonlyMap<string, FieldValue>;
          return fields.get('cl_ord_id') ?? fields.get('userref');
        });
        const identity = identified?.identity;
        if (identity?.endpoint !== 'AddOrderBatch') throw new Error('not identified');
        expect(identity.orders.map(({ id }) => id.value)).toEqual(read);
      }),
      { numRuns: 1500 },
    );
  });
});
