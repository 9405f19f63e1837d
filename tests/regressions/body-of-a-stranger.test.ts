/*
 * Bodies were read before anybody looked at the key, and nothing bounded them together: six hundred connections without
 * any credentials, each with a body one byte short, took 600 MB, and over HTTP/2 twenty connections did.
 * A body is now read only for a caller whose key is known, and all bodies together have a bound. Pieces of one byte,
 * kept as they came, took 250 times their size: four connections made a gigabyte of 4 MB.
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

it('bodies share one bound, small ones never count, and room is given back when a call has ended', () => {
  const free = 4_096;
  const budget = new BodyBudget(100);
  const [one, other, small] = [budget.open(), budget.open(), budget.open()];
  one.take(free);
  one.take(60);
  other.take(free + 40);
  expect(() => other.take(1)).toThrow('too many large bodies');
  expect(() => one.take(1)).toThrow('too many large bodies');
  small.take(free);
  other.leave();
  other.leave();
  one.take(40);
  one.leave();
  budget.open().take(free + 100);
});

it('a body is the same in however many pieces it comes', async () => {
  const text = Array.from({ length: 3_000 }, (_, index) => `f${index}=${index % 7}`).join('&');
  for (const size of [1, 3, 1_000, 4_097, text.length]) {
    const connection = await RawConnection.open(world.url);
    const pieces = text.match(new RegExp(`.{1,${size}}`, 'g')) ?? [];
    const head =
      'POST /0/private/Balance HTTP/1.1\r\nHost: localhost\r\nAPI-Key: bot\r\nTransfer-Encoding: chunked';
    const chunks = pieces.map((piece) => `${piece.length.toString(16)}\r\n${piece}\r\n`).join('');
    connection.write(`${head}\r\n\r\n${chunks}0\r\n\r\n`);
    expect((await connection.reply())?.status).toBe(200);
    expect(
      world.sandbox.received
        .at(-1)
        ?.rawBody.toString()
        .replace(/^nonce=\d+&/, ''),
    ).toBe(text);
    connection.hangUp();
  }
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
