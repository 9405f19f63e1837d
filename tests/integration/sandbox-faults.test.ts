import { once } from 'node:events';
import { connect } from 'node:net';

import type { ReceivedCall } from '../../src/sandbox/sandbox.js';
import { apiSign, rawRequest, signedRequest } from '../support/sign.js';
import { errorOf, openWorld, TEST_KEY, TEST_SECRET, type SandboxWorld } from '../support/sandbox-world.js';
import { until } from '../support/until.js';

const ORDER = { pair: 'XBTUSD', type: 'buy', ordertype: 'limit', price: '10000', volume: '1' };

let world: SandboxWorld;

beforeEach(async () => {
  world = await openWorld();
});
afterEach(async () => {
  await world.close();
});

function lastCall(): ReceivedCall | undefined {
  return world.sandbox.received.at(-1);
}

/** A raw private call on a socket of its own, so that half calls and hang-ups are possible. */
function rawCall(nonce: string): string {
  const body = `nonce=${nonce}`;
  const sign = apiSign('/0/private/Balance', nonce, body, TEST_SECRET);
  return (
    `POST /0/private/Balance HTTP/1.1\r\nHost: sandbox\r\nAPI-Key: ${TEST_KEY.key}\r\n` +
    `API-Sign: ${sign}\r\nContent-Length: ${body.length}\r\n\r\n${body}`
  );
}

describe('faults', () => {
  it('reset-before: the connection is reset, nothing ran and no nonce was spent', async () => {
    world.sandbox.fault({ kind: 'reset-before' });
    await expect(world.call('AddOrder', ORDER)).rejects.toMatchObject({ code: 'ECONNRESET' });
    expect(lastCall()).toMatchObject({ executed: false, endpoint: 'AddOrder' });
    expect(world.sandbox.orders('master')).toHaveLength(0);
    expect(world.sandbox.highestNonce(TEST_KEY.key)).toBeUndefined();
  });

  it('reset-after: the connection is reset and the order stands', async () => {
    world.sandbox.fault({ kind: 'reset-after' });
    await expect(world.call('AddOrder', ORDER)).rejects.toMatchObject({ code: 'ECONNRESET' });
    expect(lastCall()).toMatchObject({ executed: true, error: undefined });
    expect(world.sandbox.orders('master')).toHaveLength(1);
  });

  it.each([
    ['hang', 0],
    ['hang-after', 1],
  ] as const)('%s: never answered, in flight until the client goes, %i orders', async (kind, orders) => {
    world.sandbox.fault({ kind });
    const abort = new AbortController();
    const nonce = world.nonce();
    const body = new URLSearchParams({ nonce, ...ORDER }).toString();
    const path = '/0/private/AddOrder';
    const sign = apiSign(path, nonce, body, TEST_SECRET);
    const answer = fetch(world.sandbox.url + path, {
      method: 'POST',
      body,
      signal: abort.signal,
      headers: {
        'API-Key': TEST_KEY.key,
        'API-Sign': sign,
        'Content-Type': 'application/x-www-form-urlencoded',
      },
    });
    await until(() => world.sandbox.receivedCount === 1);
    expect(world.sandbox.inFlightOf(TEST_KEY.key)).toBe(1);
    expect(world.sandbox.orders('master')).toHaveLength(orders);
    abort.abort();
    await expect(answer).rejects.toMatchObject({ name: 'AbortError' });
    await until(() => world.sandbox.inFlight === 0);
  });

  it.each([502, 504, 520, 522, 525])('html: Cloudflare says %i and nothing ran', async (status) => {
    world.sandbox.fault({ kind: 'html', status });
    const reply = await world.call('AddOrder', ORDER);
    expect(reply.status).toBe(status);
    expect(reply.headers).toMatchObject({ server: 'cloudflare', 'content-type': 'text/html; charset=UTF-8' });
    expect(reply.body.toString()).toContain(`Error code ${status}`);
    expect(world.sandbox.orders('master')).toHaveLength(0);
  });

  it('html-after: Cloudflare says 502 and the order stands', async () => {
    world.sandbox.fault({ kind: 'html-after' });
    expect((await world.call('AddOrder', ORDER)).status).toBe(502);
    expect(world.sandbox.orders('master')).toHaveLength(1);
  });

  it('cut: half of a good reply, and the order stands', async () => {
    world.sandbox.fault({ kind: 'cut' });
    await expect(world.call('AddOrder', ORDER)).rejects.toMatchObject({ code: 'ECONNRESET' });
    expect(world.sandbox.orders('master')).toHaveLength(1);

    world.sandbox.fault({ kind: 'cut' });
    const socket = connect(world.sandbox.port, '127.0.0.1');
    let text = '';
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
    socket.write(rawCall(world.nonce()));
    await once(socket, 'close');
    const [head = '', half = ''] = text.split('\r\n\r\n');
    const promised = Number(/content-length: (\d+)/i.exec(head)?.[1]);
    expect(half.startsWith('{"error":[],')).toBe(true);
    expect(half).toHaveLength(Math.ceil(promised / 2));
  });

  it('error: answered so after the checks, not run', async () => {
    world.sandbox.fault({ kind: 'error', error: 'EService:Busy', times: 2 });
    expect(errorOf(await world.call('AddOrder', ORDER))).toBe('EService:Busy');
    expect(lastCall()).toMatchObject({ executed: false, error: 'EService:Busy' });
    expect(world.sandbox.highestNonce(TEST_KEY.key)).toBeDefined();
    expect(errorOf(await world.call('AddOrder', { ...ORDER, nonce: '1' }))).toBe('EAPI:Invalid nonce');
  });

  it('error-after: answered so though the order stands', async () => {
    world.sandbox.fault({ kind: 'error-after', error: 'EGeneral:Internal error' });
    expect(errorOf(await world.call('AddOrder', ORDER))).toBe('EGeneral:Internal error');
    expect(lastCall()).toMatchObject({ executed: true, error: 'EGeneral:Internal error' });
    expect(world.sandbox.orders('master')).toHaveLength(1);
  });

  it('delay: executed at once, answered later', async () => {
    world.sandbox.fault({ kind: 'delay', delayMs: 30 });
    const started = performance.now();
    const answer = world.call('AddOrder', ORDER);
    await until(() => world.sandbox.orders('master').length === 1);
    expect(errorOf(await answer)).toBeUndefined();
    expect(performance.now() - started).toBeGreaterThan(25);
  });

  it('late: lost at once, yet it arrives; behind a later nonce it can no longer run', async () => {
    world.sandbox.fault({ kind: 'late', delayMs: 10 });
    await expect(world.call('AddOrder', ORDER)).rejects.toMatchObject({ code: 'ECONNRESET' });
    await until(() => lastCall()?.executed === true);
    expect(world.sandbox.orders('master')).toHaveLength(1);

    // On its way in real time: long enough for a busy machine to be overtaken by the next call.
    world.sandbox.fault({ kind: 'late', delayMs: 500 });
    await expect(world.call('AddOrder', ORDER)).rejects.toMatchObject({ code: 'ECONNRESET' });
    const lost = lastCall();
    expect(errorOf(await world.call('OpenOrders'))).toBeUndefined();
    await until(() => lost?.error !== undefined);
    expect(lost).toMatchObject({ executed: false, error: 'EAPI:Invalid nonce' });
    expect(world.sandbox.orders('master')).toHaveLength(1);
  });

  it('hit only what they name, after those they skip, as often as they say', async () => {
    world.sandbox.fault({ kind: 'error', error: 'EService:Busy', endpoint: 'AddOrder', skip: 1, times: 2 });
    world.sandbox.fault({ kind: 'error', error: 'EService:Unavailable', key: 'another' });
    const answers: (string | undefined)[] = [];
    for (const endpoint of ['Balance', 'AddOrder', 'AddOrder', 'Balance', 'AddOrder', 'AddOrder']) {
      answers.push(errorOf(await world.call(endpoint, ORDER)));
    }
    const busy = 'EService:Busy';
    expect(answers).toEqual([undefined, undefined, busy, undefined, busy, undefined]);
    world.sandbox.fault({ kind: 'error', times: Infinity });
    expect(errorOf(await world.call('Balance'))).toBe('EService:Unavailable');
    world.sandbox.clearFaults();
    expect(errorOf(await world.call('Balance'))).toBeUndefined();
  });

  it('with a probability hit as the injected chance has it', async () => {
    await world.close();
    const chances = [0.9, 0.1];
    world = await openWorld({ random: () => chances.shift() ?? 0.9 });
    world.sandbox.fault({ kind: 'error', probability: 0.5, times: Infinity });
    expect(errorOf(await world.call('Balance'))).toBeUndefined();
    expect(errorOf(await world.call('Balance'))).toBe('EService:Unavailable');
  });

  it('leave public calls alone unless they name one', async () => {
    world.sandbox.fault({ kind: 'html' });
    const get = async (name: string): Promise<number> =>
      (await rawRequest(world.sandbox.url, `/0/public/${name}`, 'GET', '', {})).status;
    expect(await get('Time')).toBe(200);
    world.sandbox.fault({ kind: 'html', endpoint: 'Time', status: 522 });
    expect(await get('Time')).toBe(522);
  });
});

describe('calls in flight', () => {
  it('are counted from their headers to the end of the reply, per key and in all', async () => {
    await world.close();
    const second = { ...TEST_KEY, key: 'second-key' };
    world = await openWorld({ keys: [TEST_KEY, second], delayMs: 20 });
    const { url } = world.sandbox;
    // Each on a connection of its own.
    const calls = [TEST_KEY, TEST_KEY, second].map(({ key, secret }) =>
      signedRequest(url, '/0/private/Balance', key, secret, `nonce=${world.nonce()}`),
    );
    await until(() => world.sandbox.inFlight === 3);
    expect(world.sandbox.inFlightOf(TEST_KEY.key)).toBe(2);
    await Promise.all(calls);
    await until(() => world.sandbox.inFlight === 0);
    expect(world.sandbox.maxInFlight).toBe(3);
    expect(world.sandbox.maxInFlightOf(TEST_KEY.key)).toBe(2);
    expect(world.sandbox.maxInFlightOf('second-key')).toBe(1);
  });

  it('one after the other never count as two', async () => {
    for (let i = 0; i < 50; i += 1) await world.call('Balance');
    expect(world.sandbox.maxInFlight).toBe(1);
  });

  it('a call that only half arrives counts, and is not received', async () => {
    const socket = connect(world.sandbox.port, '127.0.0.1');
    socket.write(rawCall(world.nonce()).slice(0, -1));
    await until(() => world.sandbox.inFlightOf(TEST_KEY.key) === 1);
    socket.destroy();
    await until(() => world.sandbox.inFlight === 0);
    expect(world.sandbox.receivedCount).toBe(0);
  });
});

describe('control plane', () => {
  async function control(
    method: string,
    path: string,
    body: unknown = '',
    headers: Record<string, string> = {},
  ): Promise<{ status: number; value: unknown }> {
    const text = body === '' ? '' : JSON.stringify(body);
    const reply = await rawRequest(world.sandbox.url, `/sandbox/${path}`, method, text, headers);
    return { status: reply.status, value: reply.json };
  }

  it('tells what was received, the state and the orders', async () => {
    await world.call('AddOrder', ORDER);
    expect((await control('GET', 'received')).value).toMatchObject([
      { seq: 1, endpoint: 'AddOrder', key: TEST_KEY.key, executed: true, nonce: '1795000000000000001' },
    ]);
    expect((await control('GET', 'state')).value).toMatchObject({
      receivedCount: 1,
      maxInFlight: 1,
      rateLimited: 0,
      invalidNonces: 0,
      accounts: { master: { engineCounter: { XBTUSD: 0, SOLUSD: 0 } } },
      keys: { [TEST_KEY.key]: { counter: 0, inFlight: 0, highestNonce: '1795000000000000001' } },
    });
    expect((await control('GET', 'orders?account=master')).value).toMatchObject([{ status: 'open' }]);
  });

  it('sets faults, clears them and raises nonces', async () => {
    expect((await control('POST', 'faults', [{ kind: 'html', status: 520, times: null }])).status).toBe(200);
    expect((await world.call('Balance')).status).toBe(520);
    await control('DELETE', 'faults');
    expect((await world.call('Balance')).status).toBe(200);
    const nonce = '1900000000000000001';
    expect(await control('POST', 'nonce', { key: TEST_KEY.key, nonce })).toMatchObject({ value: { nonce } });
    expect(errorOf(await world.call('Balance'))).toBe('EAPI:Invalid nonce');
  });

  it('turns the counters on and off and sets the system status', async () => {
    const settings = { callCounter: true, engineCounter: true, systemStatus: 'post_only' };
    expect((await control('POST', 'settings', settings)).status).toBe(200);
    expect(errorOf(await world.call('AddOrder', ORDER))).toBe('EService:Market in post_only mode');
    await control('POST', 'settings', { systemStatus: 'online' });
    await world.result('AddOrder', ORDER);
    for (let i = 0; i < 20; i += 1) await world.result('Balance');
    expect(errorOf(await world.call('Balance'))).toBe('EAPI:Rate limit exceeded');
    expect(errorOf(await world.call('Balance', { nonce: '1' }))).toBe('EAPI:Invalid nonce');
    expect((await control('GET', 'state')).value).toMatchObject({
      systemStatus: 'online',
      rateLimited: 1,
      invalidNonces: 1,
      accounts: { master: { engineCounter: { XBTUSD: 2 } } },
      keys: { [TEST_KEY.key]: { counter: 20 } },
    });
    await control('POST', 'settings', { callCounter: false, engineCounter: false });
    await world.result('Balance');
    await world.result('AddOrder', ORDER);
    expect(world.sandbox.engineCounter('master', 'XBTUSD')).toBe(2);
  });

  it('changes nothing for settings of which one is bad', async () => {
    for (const bad of [{ systemStatus: 'asleep' }, { engineCounter: 'yes' }, { colour: 'red' }]) {
      expect((await control('POST', 'settings', { callCounter: true, ...bad })).status).toBe(400);
    }
    for (let i = 0; i < 21; i += 1) await world.result('Balance');
  });

  it('slows the engine of another process', async () => {
    const fault = { kind: 'slow-engine', endpoint: 'AddOrder', delayMs: 1000 };
    expect((await control('POST', 'faults', fault)).status).toBe(200);
    await expect(world.call('AddOrder', ORDER)).rejects.toMatchObject({ code: 'ECONNRESET' });
    expect((await control('GET', 'orders?account=master')).value).toEqual([]);
    world.time += 1000;
    expect((await control('GET', 'orders?account=master')).value).toMatchObject([{ status: 'open' }]);
    expect((await control('GET', 'received')).value).toMatchObject([{ executed: true }]);
  });

  it('refuses what it does not understand, and browsers', async () => {
    expect((await control('POST', 'faults', { kind: 'explode' })).status).toBe(400);
    expect((await control('POST', 'faults', { kind: 'hang', colour: 'red' })).status).toBe(400);
    expect((await control('POST', 'nonce', { key: 'no', nonce: '1' })).status).toBe(400);
    expect((await control('GET', 'nothing')).status).toBe(404);
    for (const headers of [{ Origin: 'http://evil.example' }, { 'Sec-Fetch-Site': 'cross-site' }]) {
      expect((await control('GET', 'received', '', headers)).status).toBe(403);
    }
    expect(world.sandbox.receivedCount).toBe(0);
  });
});
