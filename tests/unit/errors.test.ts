import { ProxyError, renderError } from '../../src/errors.js';

const detailOf = (detail: string | undefined, message = 'a reason'): string | undefined =>
  renderError(new ProxyError('permission-denied', message, detail === undefined ? {} : { detail })).headers[
    'x-proxy-error-detail'
  ];

it('the detail of an error is one line of printable ASCII of at most 256 characters', () => {
  expect(detailOf('orders.pairs: a\r\nSet-Cookie: b\0é')).toBe('orders.pairs: a??Set-Cookie: b??');
  expect(detailOf('x'.repeat(300))).toBe('x'.repeat(256));
});

it('the reason of an error stays in the log: without a detail none goes out', () => {
  const { headers, body } = renderError(new ProxyError('invalid-key', 'bot-7 has expired'));
  expect(headers).not.toHaveProperty('x-proxy-error-detail');
  expect(JSON.stringify(headers) + body.toString()).not.toContain('bot-7');
});
