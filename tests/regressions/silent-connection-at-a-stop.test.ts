/*
 * One connection that had been opened and never used (a health check of a load balancer, a bot's spare one), or half a
 * request, held a stop up: node:http counts neither as idle, and once a server is closing it checks no timeout of
 * theirs any more. The process stood there, its state locked, until the supervisor killed it. After the grace
 * everything that is still connected is cut off.
 */
import { Listener } from '../../src/http/listener.js';
import { TestClient } from '../support/http.js';
import { openProxyWorld } from '../support/proxy-world.js';
import { RawConnection, requestText } from '../support/raw-socket.js';
import { until } from '../support/until.js';

const GRACE_MS = 100;
/** Far above any grace here, and below the timeouts that would end a connection of a server that is not closing. */
const LONG_MS = 5_000;

/** What clients leave behind on a connection. */
const REMAINS: readonly [name: string, bytes: (url: string) => string][] = [
  ['not a byte', () => ''],
  ['half a head', (url) => requestText(url, 'POST', '/0/private/Balance').slice(0, 30)],
  [
    'a head without its body',
    (url) => requestText(url, 'POST', '/0/private/Balance', 'asset=XBT').slice(0, -9),
  ],
  ['half a body', (url) => requestText(url, 'POST', '/0/private/Balance', 'asset=XBT').slice(0, -4)],
];

/** Opens a connection and leaves these bytes on it; the other side has taken it when this resolves. */
async function leave(url: string, bytes: string): Promise<RawConnection> {
  const connection = await RawConnection.open(url);
  if (bytes !== '') connection.write(bytes);
  // Connections are accepted in their order: one of a later time has been served.
  const later = new TestClient(url);
  await later.raw('GET', '/');
  later.close();
  return connection;
}

/** Whether it ends by itself in time, however long the grace. */
async function endsInTime(work: Promise<unknown>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => (timer = setTimeout(() => resolve(false), LONG_MS)));
  const ended = await Promise.race([work.then(() => true), late]);
  clearTimeout(timer);
  return ended;
}

describe.each(REMAINS)('%s on a connection', (_, bytes) => {
  it('does not hold up a listener that closes longer than the grace', async () => {
    const listener = await Listener.open(
      (request, response) => void request.resume().on('end', () => response.end()),
      {
        host: '127.0.0.1',
        port: 0,
        requestTimeoutMs: 60_000,
      },
    );
    const silent = await leave(listener.url, bytes(listener.url));
    const closing = listener.close(GRACE_MS);
    const inTime = await endsInTime(Promise.all([closing, silent.closed]));
    silent.hangUp();
    await closing;
    expect(inTime).toBe(true);
    expect(await silent.reply()).toBeUndefined();
  });

  it('does not hold up a proxy that stops, on neither of its listeners', async () => {
    const world = await openProxyWorld();
    const silent = await Promise.all([world.url, world.opsUrl].map((url) => leave(url, bytes(url))));
    const inTime = await endsInTime(
      Promise.all([world.server.close(), ...silent.map(({ closed }) => closed)]),
    );
    for (const connection of silent) connection.hangUp();
    await world.close();
    expect(inTime).toBe(true);
    expect(world.fatal).toEqual([]);
  });
});

it('an answer under way when the listener closes is not cut off, and ends the wait before the grace does', async () => {
  let answer: (() => void) | undefined;
  const listener = await Listener.open(
    (_, response) => {
      answer = () => response.end('whole');
    },
    { host: '127.0.0.1', port: 0, requestTimeoutMs: 60_000 },
  );
  const { url } = listener;
  const client = new TestClient(url);
  const reply = client.raw('GET', '/');
  await until(() => answer !== undefined);
  const closing = listener.close(2 * LONG_MS);
  await expect(RawConnection.open(url)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  answer?.();
  expect((await reply).body.toString()).toBe('whole');
  expect(await endsInTime(closing)).toBe(true);
  client.close();
});
