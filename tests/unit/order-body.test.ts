import { putOrderIds } from '../../src/kraken/order-body.js';

function put(body: string, ...ids: (string | undefined)[]): string {
  return putOrderIds(Buffer.from(body), 'json', ids).toString();
}

describe('ids are put into a batch', () => {
  it.each([
    [
      'right after the brace of each order',
      '{"pair":"XBTUSD","orders":[{"type":"buy"},{"type":"sell"}]}',
      ['a', 'b'],
      '{"pair":"XBTUSD","orders":[{"cl_ord_id":"a","type":"buy"},{"cl_ord_id":"b","type":"sell"}]}',
    ],
    [
      'but not where there is none to put',
      '{"orders":[{"userref":5},{"type":"buy"},{"cl_ord_id":"x"}],"nonce":1}',
      [undefined, 'b', undefined],
      '{"orders":[{"userref":5},{"cl_ord_id":"b","type":"buy"},{"cl_ord_id":"x"}],"nonce":1}',
    ],
    [
      'without a comma in empty orders',
      '{"orders":[{},{ }]}',
      ['a', 'b'],
      '{"orders":[{"cl_ord_id":"a"},{"cl_ord_id":"b" }]}',
    ],
    [
      'among any blanks',
      '\n{ "orders"\t: [\r\n { "a" : 1 }\n,\t{\n"b":2}\n ] , "pair" : "X" } ',
      ['a', 'b'],
      '\n{ "orders"\t: [\r\n {"cl_ord_id":"a", "a" : 1 }\n,\t{"cl_ord_id":"b",\n"b":2}\n ] , "pair" : "X" } ',
    ],
    [
      'whatever is nested inside',
      '{"x":{"orders":[{}]},"orders":[{"close":{"cl_ord_id":"n"},"l":[{"userref":1},[]]}],"y":[{"orders":[{}]}]}',
      ['a'],
      '{"x":{"orders":[{}]},"orders":[{"cl_ord_id":"a","close":{"cl_ord_id":"n"},"l":[{"userref":1},[]]}],"y":[{"orders":[{}]}]}',
    ],
    [
      'with an escaped name for the list',
      '{"\\u006frders":[{"note":"ü\\"cl_ord_id\\":💶"}]}',
      ['a'],
      '{"\\u006frders":[{"cl_ord_id":"a","note":"ü\\"cl_ord_id\\":💶"}]}',
    ],
  ])('%s', (_, body, ids, expected) => {
    expect(put(body, ...ids)).toBe(expected);
  });
});

it('a batch that gets no id is left alone, whatever it is', () => {
  for (const body of ['pair=X', '{"orders":1}', '{', '{"orders":[{"cl_ord_id":"a"}]}']) {
    const bytes = Buffer.from(body);
    expect(putOrderIds(bytes, 'form', [])).toBe(bytes);
    expect(putOrderIds(bytes, 'json', [undefined])).toBe(bytes);
  }
});

describe('an id that has no place is refused, so that nobody looks for an order by it', () => {
  it.each([
    ['no list', '{"pair":"X"}'],
    ['no list but a text', '{"orders":"[{}]"}'],
    ['two lists', '{"orders":[{}],"orders":[{}]}'],
    ['two lists, one escaped', '{"orders":[{}],"\\u006frders":[{}]}'],
    ['an empty list', '{"orders":[]}'],
    ['an order that is no object', '{"orders":[[]]}'],
    ['an order behind it that is no object', '{"orders":[{},null]}'],
    ['more orders than ids', '{"orders":[{},{}]}'],
    ['an order with an id', '{"orders":[{"a":1,"cl_ord_id":null}]}'],
    ['an order with an escaped id', '{"orders":[{"\\u0063l_ord_id":"x"}]}'],
    ['an order with a userref', '{"orders":[{"userref":0}]}'],
  ])('%s', (_, body) => {
    expect(() => put(body, 'a')).toThrow(/ids do not fit|carries an id/);
  });

  it('a form', () => {
    expect(() => putOrderIds(Buffer.from('orders[0][type]=buy'), 'form', ['a'])).toThrow(/do not fit/);
  });

  it('what is not JSON', () => {
    expect(() => put('{"orders":[{"a":1]}', 'a')).toThrow(/not valid JSON/);
  });
});
