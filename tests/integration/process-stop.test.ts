import { existsSync, readdirSync } from 'node:fs';
import { request } from 'node:http';
import {
  ALICE,
  closeWorldsLeftOpen,
  expectFlawless,
  expectServed,
  inWorld,
  noncesAt,
  until,
} from '../support/process-world.js';

afterAll(closeWorldsLeftOpen);

it.concurrent.each(['SIGTERM', 'SIGINT'] as const)(
  '%s under load: the call in flight gets its answer, what waits is refused, the exact floor is written, exit 0',
  (signal) =>
    inWorld(async (world) => {
      const gate = await world.gate();
      const proxy = await world.ready({ config: { upstream: { url: gate.url } } });
      const client = world.client(proxy.url);
      expectServed(await client.private('Balance'));
      gate.shut();
      const inFlight = client.private('Balance');
      await until('a call in flight', () => world.sandbox.receivedCount === 2);
      const waiting = Array.from({ length: 20 }, () => client.private('Balance'));
      await until('a line', async () => (await world.gauge(proxy, 'lane_waiting')) === 20);
      proxy.kill(signal);
      for (const { status, headers, json } of await Promise.all(waiting)) {
        expect({ status, code: headers['x-proxy-error'], error: json?.error }).toEqual({
          status: 200,
          code: 'shutting-down',
          error: ['EService:Busy'],
        });
      }
      gate.open();
      expectServed(await inFlight);
      expect(await proxy.exit()).toEqual({ code: 0, signal: null });
      const nonces = noncesAt(world.sandbox);
      expect(nonces).toHaveLength(2);
      expect(world.readState()).toBe(`${String(nonces.at(-1))}\n`);
      expect(readdirSync(world.stateFolder)).toEqual(['nonce.txt', 'nonce.txt.answers']);
      expectFlawless(world.sandbox);
    }),
);

it.concurrent(
  'a second SIGTERM while a call hangs in flight ends the process at once with 0; the next start is as safe',
  () =>
    inWorld(async (world) => {
      const proxy = await world.ready();
      world.sandbox.fault({ kind: 'hang' });
      const hanging = world.client(proxy.url).private('Balance');
      hanging.catch(() => undefined);
      await until('a call in flight', () => world.sandbox.inFlight === 1);
      proxy.kill('SIGTERM');
      await proxy.line('stopping');
      expect(proxy.running).toBe(true);
      const again = performance.now();
      proxy.kill('SIGTERM');
      expect(await proxy.exit()).toEqual({ code: 0, signal: null });
      await world.expectWithin(1_000, performance.now() - again);
      await expect(hanging).rejects.toThrow('socket hang up');
      expect(existsSync(world.lock)).toBe(false);

      const next = await world.ready();
      expectServed(await world.client(next.url).private('Balance'));
      expectFlawless(world.sandbox);
    }),
);

it.concurrent.each([
  ['that nothing can be found out about', { pair: 'XBTUSD' }],
  ['that is being looked for', { pair: 'XBTUSD', type: 'buy', ordertype: 'market', volume: '1' }],
])('a stop does not wait longer than a hanging call may take: an order %s', (_, order) =>
  inWorld(async (world) => {
    const proxy = await world.ready({ config: { upstream: { timeoutMs: 800 } } });
    world.sandbox.fault({ kind: 'hang' });
    const hanging = world.client(proxy.url).private('AddOrder', order);
    await until('a call in flight', () => world.sandbox.inFlight === 1);
    proxy.kill('SIGTERM');
    const asked = performance.now();
    expect((await hanging).headers['x-proxy-error']).toBe('outcome-unknown');
    expect(await proxy.exit()).toEqual({ code: 0, signal: null });
    await world.expectWithin(800 + 1_500, performance.now() - asked);
    expect(world.readState()).toBe(`${String(noncesAt(world.sandbox).at(-1))}\n`);
    expect(world.sandbox.received.filter(({ endpoint }) => endpoint === 'AddOrder')).toHaveLength(1);
  }),
);

it.concurrent(
  "a key's first call that becomes whole during the stop is refused: it would be cut off in flight",
  () =>
    inWorld(async (world) => {
      const gate = await world.gate();
      const proxy = await world.ready({ config: { lanes: 'key', upstream: { url: gate.url } } });
      gate.shut();
      const inFlight = world.client(proxy.url).private('Balance');
      await until('a call in flight', () => world.sandbox.receivedCount === 1);
      const { hostname, port } = new URL(proxy.url);
      const headers = {
        'api-key': ALICE,
        'content-length': '4',
        'content-type': 'application/x-www-form-urlencoded',
      };
      const half = request({ hostname, port, method: 'POST', path: '/0/private/Balance', headers });
      const answer = new Promise<unknown>((resolve, reject) => {
        half.once('response', (response) => {
          response.resume();
          resolve(response.headers['x-proxy-error']);
        });
        half.once('error', reject);
      });
      await new Promise((resolve) => half.write('a=', resolve));
      // The proxy has seen the half once it has answered a request sent after it.
      expect((await world.client(proxy.url).raw('GET', '/nowhere')).status).toBe(404);
      proxy.kill('SIGTERM');
      await proxy.line('stopping');
      half.end('b=');
      expect(await answer).toBe('shutting-down');
      gate.open();
      expectServed(await inFlight);
      expect(await proxy.exit()).toEqual({ code: 0, signal: null });
      expect(noncesAt(world.sandbox)).toHaveLength(1);
    }),
);
