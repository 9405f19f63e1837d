import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { ProxyError } from '../../src/errors.js';
import { createApp } from '../../src/http/app.js';
import { SlowDown, type Failure } from '../../src/http/slow-down.js';
import { createLog } from '../../src/log.js';
import { until } from '../support/until.js';

let clock: number;
let slowDown: SlowDown;
beforeEach(() => {
  clock = 0;
  slowDown = new SlowDown(() => clock);
});

/** How long the answers to so many failures in a row are held back, ms. */
function heldOf(address: string | undefined, times: number): number[] {
  return Array.from({ length: times }, () => slowDown.failed(address).heldMs);
}

it('holds back from the sixth failure on, twice as long each time, and never longer than 5 s', () => {
  expect(heldOf('10.0.0.1', 14)).toEqual([0, 0, 0, 0, 0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
});

it('an address without a failure for a minute starts anew, and not before', () => {
  heldOf('10.0.0.1', 5);
  clock += 60_000;
  expect(slowDown.failed('10.0.0.1')).toEqual({ count: 6, heldMs: 100 });
  clock += 60_001;
  expect(slowDown.failed('10.0.0.1')).toEqual({ count: 1, heldMs: 0 });
});

it.each([
  ['two IPv4 addresses apart', '10.0.0.1', '10.0.0.2', 1],
  ['an IPv4 address and how a socket on :: shows it together', '10.0.0.1', '::ffff:10.0.0.1', 6],
  ['two IPv4 addresses as a socket on :: shows them apart', '::ffff:10.0.0.1', '::ffff:10.0.0.2', 1],
  ['the addresses of one /64 together', '2001:db8:1:2:3:4:5:6', '2001:db8:1:2::1', 6],
  ['two networks of one /48 apart', '2001:db8:1:2::1', '2001:db8:1:3::1', 1],
  ['a short address and a long one of its network together', '2001:db8::1', '2001:db8:0:0:9::', 6],
  ['callers without an address together', undefined, undefined, 6],
])('counts %s', (_, one, other, count) => {
  heldOf(one, 5);
  expect(slowDown.failed(other).count).toBe(count);
});

it('remembers 10,000 addresses, those that failed last', () => {
  heldOf('10.0.0.1', 5);
  heldOf('10.0.0.2', 5);
  heldOf('10.0.0.1', 1);
  for (let n = 0; n < 9_999; n++) slowDown.failed(`11.${n >> 16}.${(n >> 8) & 255}.${n & 255}`);
  expect(slowDown.failed('10.0.0.1').count).toBe(7);
  expect(slowDown.failed('10.0.0.2').count).toBe(1);
});

it('holds no more than 500 answers at once: beyond, they go out at once, and are held again when some have ended', async () => {
  heldOf('10.0.0.1', 5);
  const hangUps: (() => void)[] = [];
  const held = Array.from({ length: 500 }, () => slowDown.hold(60_000, (end) => hangUps.push(end)));
  expect(slowDown.failed('10.0.0.1')).toEqual({ count: 6, heldMs: 0 });
  for (const hangUp of hangUps) hangUp();
  await Promise.all(held);
  expect(slowDown.failed('10.0.0.1').heldMs).toBe(200);
});

it('an answer is held no longer when its client hangs up', async () => {
  class Watched extends SlowDown {
    began = 0;
    ended = 0;
    override failed(): Failure {
      return { count: 9, heldMs: 60_000 };
    }
    override async hold(...args: Parameters<SlowDown['hold']>): Promise<void> {
      this.began++;
      await super.hold(...args);
      this.ended++;
    }
  }
  const watched = new Watched();
  const refuse = (): never => {
    throw new ProxyError('invalid-key', 'nobody');
  };
  const app = createApp({
    ...{ proxy: { call: refuse }, publicApi: { call: refuse }, hosts: ['localhost'], slowDown: watched },
    ...{ maxBodyBytes: 1, bodyTimeoutMs: 1_000, userAgent: 'test', nextRequestId: () => '1' },
    ...{
      refused: () => undefined,
      log: createLog({ level: 'fatal', destination: { write: () => undefined } }),
    },
  });
  const server = createServer(app).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  socket.write('POST /0/private/Balance HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n');
  await until(() => watched.began === 1);
  socket.destroy();
  await until(() => watched.ended === 1);
  server.close();
});
