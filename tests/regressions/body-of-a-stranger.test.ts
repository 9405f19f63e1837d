/*
 * Bodies were read before anybody looked at the key, and nothing bounded them together: six hundred connections without
 * any credentials, each with a body one byte short, took 600 MB, and over HTTP/2 twenty connections did.
 * A body is now read only for a caller whose key is known, and all bodies together have a bound.
 */
import { BodyBudget } from '../../src/http/body.js';
import { openProxyWorld, type ProxyWorld } from '../support/proxy-world.js';
import { RawConnection } from '../support/raw-socket.js';

let world: ProxyWorld;
beforeAll(async () => {
  world = await openProxyWorld({ config: { clients: { bot: { key: 'bot', accounts: ['master'] } } } });
});
afterAll(() => world.close());

it.each([
  ['an unknown key', 'API-Key: nobody\r\n', 'invalid-key'],
  ['no key', '', 'invalid-key'],
  ['an account that is not its own', 'API-Key: bot\r\n', 'permission-denied'],
])('a caller with %s is answered before its body has come', async (_, header, code) => {
  const connection = await RawConnection.open(world.url);
  const path = code === 'invalid-key' ? '' : '/accounts/alice';
  connection.write(
    `POST ${path}/0/private/Balance HTTP/1.1\r\nHost: localhost\r\n${header}Content-Length: 1000000\r\n\r\nnonce=`,
  );
  expect((await connection.reply())?.headers['x-proxy-error']).toBe(code);
  connection.hangUp();
});

it('bodies share one bound, and give their room back when their call has ended', () => {
  const budget = new BodyBudget(100);
  const one = budget.open();
  const other = budget.open();
  one.take(60);
  expect(() => other.take(41)).toThrow('too many large bodies');
  other.take(40);
  expect(() => one.take(1)).toThrow('too many large bodies');
  other.leave();
  other.leave();
  one.take(40);
  one.leave();
  budget.open().take(100);
});

it('calls give their room back however they end: more passes through than there is room for', async () => {
  const body = `nonce=1&x=${'a'.repeat(1_000_000)}`;
  const connection = await RawConnection.open(world.url);
  for (let call = 0; call < 80; call++) {
    const key = call % 2 === 0 ? 'bot' : 'nobody';
    connection.write(
      `POST /0/private/Nope HTTP/1.1\r\nHost: localhost\r\nAPI-Key: ${key}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    const reply = await connection.reply();
    expect(reply?.headers['x-proxy-error']).toBe(key === 'bot' ? 'permission-denied' : 'invalid-key');
  }
  connection.hangUp();
});
