import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';
import { openSandbox } from '../../src/sandbox/sandbox.js';
import { callLines } from '../support/call-lines.js';
import { openGate } from '../support/gate.js';
import { TestClient } from '../support/http.js';
import { Scrape } from '../support/metrics.js';
import { closeWorldsLeftOpen, inWorld, MASTER } from '../support/process-world.js';
import { openProxyWorld, type ProxyWorld } from '../support/proxy-world.js';
import type { SignedReply } from '../support/sign.js';
import { until } from '../support/until.js';

const ORDER = 'pair=XBTUSD&type=buy&ordertype=limit&price=10000&volume=0.01';
const KEYED = { 'idempotency-key': 'order 4711' };
const [, ALICE = ''] = DEMO_KEYS.map(({ key }) => key);

let world: ProxyWorld;
let client: TestClient;
beforeEach(async () => {
  world = await openProxyWorld({ config: { upstream: { timeoutMs: 400 } } });
  client = new TestClient(world.url);
});
afterEach(async () => {
  client.close();
  await world.close();
});
afterAll(closeWorldsLeftOpen);

function post(
  body: string,
  headers: Readonly<Record<string, string>> = {},
  endpoint = 'AddOrder',
): Promise<SignedReply> {
  return client.raw('POST', `/0/private/${endpoint}`, body, headers);
}

/** How many calls reached Kraken. */
function sent(endpoint = 'AddOrder'): number {
  return world.sandbox.received.filter((call) => call.endpoint === endpoint).length;
}

function expectReplay(reply: SignedReply, of: SignedReply): void {
  expect(reply.headers['idempotent-replayed']).toBe('true');
  expect(reply.body.equals(of.body)).toBe(true);
  expect(reply.status).toBe(of.status);
  expect(reply.headers['content-type']).toBe(of.headers['content-type']);
  expect(reply.headers['x-request-id']).not.toBe(of.headers['x-request-id']);
}

function expectSentAnew(reply: SignedReply): void {
  expect(reply.headers['idempotent-replayed']).toBeUndefined();
}

function expectInvalid(reply: SignedReply, detail: string): void {
  expect(reply.json).toEqual({ error: ['EGeneral:Invalid arguments'] });
  expect(reply.headers['x-proxy-error']).toBe('invalid-body');
  expect(reply.headers['x-proxy-error-detail']).toContain(detail);
}

describe('a call with an Idempotency-Key', () => {
  it('that comes again is answered with the same bytes and not sent', async () => {
    const first = await post(`${ORDER}&nonce=1`, KEYED);
    expectSentAnew(first);
    const second = await post(`nonce=2&${ORDER}`, KEYED);
    expectReplay(second, first);
    expect(sent()).toBe(1);
    expect(world.sandbox.orders('master')).toHaveLength(1);
    const lines = await callLines(world.log, { endpoint: 'AddOrder' }, 2);
    expect(lines.map(({ replayed, outcome }) => [replayed, outcome])).toEqual([
      [undefined, 'executed'],
      [true, 'not-sent'],
    ]);
  });

  it('does not freeze a read: that is asked each time', async () => {
    await post('', KEYED, 'Balance');
    const second = await post('', KEYED, 'Balance');
    expect(second.headers['idempotent-replayed']).toBeUndefined();
    expect(sent('Balance')).toBe(2);
  });

  it('does not show its key to Kraken or in the log', async () => {
    await post(ORDER, { 'idempotency-key': 'my-very-own-key' });
    const [call] = world.sandbox.received;
    expect(JSON.stringify([call?.headers, call?.rawBody.toString()])).not.toContain('my-very-own-key');
    await callLines(world.log, { endpoint: 'AddOrder' });
    expect(JSON.stringify(world.log)).not.toContain('my-very-own-key');
  });

  it('and another body, or another endpoint, is refused', async () => {
    await post(ORDER, KEYED);
    expectInvalid(await post(`${ORDER}0`, KEYED), 'used for another call');
    expectInvalid(await post('', KEYED, 'CancelAll'), 'used for another call');
    expect(world.sandbox.receivedCount).toBe(1);
  });

  it('that comes twice at once goes to Kraken once, and both get its answer', async () => {
    world.sandbox.fault({ kind: 'delay', delayMs: 100 });
    const [first, second] = await Promise.all([post(ORDER, KEYED), post(ORDER, KEYED)]);
    expect(first.body.equals(second.body)).toBe(true);
    expect(first.json?.error).toEqual([]);
    const replayed = [first, second].filter((reply) => reply.headers['idempotent-replayed'] === 'true');
    expect(replayed).toHaveLength(1);
    expect(sent()).toBe(1);
  });

  it('that comes again while its first is found out about gets that one’s answer', async () => {
    world.sandbox.fault({ kind: 'hang-after', endpoint: 'AddOrder' });
    const [first, second] = await Promise.all([post(ORDER, KEYED), post(ORDER, KEYED)]);
    expect([first, second].map(({ headers }) => headers['x-proxy-outcome'])).toEqual(['settled', 'settled']);
    expect(first.body.equals(second.body)).toBe(true);
    expect(world.sandbox.orders('master')).toHaveLength(1);
  });

  it('whose first client has hung up gets that one’s answer', async () => {
    world.sandbox.fault({ kind: 'delay', delayMs: 100 });
    const leaver = new TestClient(world.url, KEYED);
    const gone = leaver
      .private('AddOrder', Object.fromEntries(new URLSearchParams(ORDER)))
      .catch(() => undefined);
    await until(() => sent() === 1);
    leaver.close();
    await gone;
    const reply = await post(ORDER, KEYED);
    expect(reply.headers['idempotent-replayed']).toBe('true');
    expect(reply.json?.result).toMatchObject({ txid: [world.sandbox.orders('master')[0]?.txid] });
    expect(sent()).toBe(1);
  });

  it('whose client hung up while it waited was never sent, and may be sent', async () => {
    await world.close();
    const gate = await openGate();
    world = await openProxyWorld({ config: { upstream: { url: gate.url } } });
    gate.leadTo(world.sandbox.url);
    client.close();
    client = new TestClient(world.url);
    gate.shut();
    const blocker = post('', {}, 'Balance');
    await until(() => sent('Balance') === 1);
    const leaver = new TestClient(world.url, KEYED);
    const fields = Object.fromEntries(new URLSearchParams(ORDER));
    const gone = leaver.private('AddOrder', fields).catch(() => undefined);
    await until(async () => (await waiting()) === 1);
    leaver.close();
    await gone;
    await until(async () => (await waiting()) === 0);
    gate.open();
    await blocker;
    expectSentAnew(await post(ORDER, KEYED));
    expect(sent()).toBe(1);
    await gate.close();
  });

  it.each([
    ['EOrder:Insufficient funds', `${ORDER}00000`.replace('price=10000', 'price=20000')],
    ['EQuery:Unknown asset pair', ORDER.replace('XBTUSD', 'NOPE')],
    ['EGeneral:Invalid arguments:volume', ORDER.replace('volume=0.01', 'volume=x')],
  ])('that Kraken refused with %s is refused again, without asking', async (error, body) => {
    const large = error.includes('funds') ? body.replace(/volume=[\d.]+/, 'volume=50000') : body;
    const first = await post(large, KEYED);
    expect(first.json?.error).toEqual([error]);
    expectReplay(await post(large, KEYED), first);
    expect(sent()).toBe(1);
  });

  it.each([
    'EAPI:Rate limit exceeded',
    'EGeneral:Temporary lockout',
    'EOrder:Rate limit exceeded',
    'EService:Market in cancel_only mode',
    'EGeneral:Permission denied',
    'EAPI:Invalid nonce',
  ])('that Kraken refused with %s, for its moment, is sent again', async (error) => {
    world.sandbox.fault({ kind: 'error', error, times: 3 });
    expect((await post(ORDER, KEYED)).json?.error).toEqual([error]);
    world.sandbox.clearFaults();
    const again = await post(ORDER, KEYED);
    expectSentAnew(again);
    // Its breaker is another matter.
    if (!error.includes('lockout')) expect(again.json?.error).toEqual([]);
  });

  it('that was certainly not sent, or got no answer, may be sent', async () => {
    const { port } = world.sandbox;
    await world.sandbox.close();
    const reply = await post(ORDER, KEYED);
    expect(reply.headers['x-proxy-error']).toBe('upstream-unreachable');
    const back = await openSandbox({ keys: DEMO_KEYS, port });
    expect((await post(ORDER, KEYED)).json?.error).toEqual([]);
    await back.close();
  });

  it('is known to its own client only', async () => {
    await world.close();
    world = await openProxyWorld({
      config: {
        clients: Object.fromEntries(
          ['one', 'two'].map((name) => [
            name,
            { key: name, accounts: ['master', 'alice'], allow: ['trade'] },
          ]),
        ),
      },
    });
    client.close();
    client = new TestClient(world.url);
    const first = await post(ORDER, { ...KEYED, 'api-key': 'one' });
    expectSentAnew(await post(ORDER, { ...KEYED, 'api-key': 'two' }));
    expect(world.sandbox.orders('master')).toHaveLength(2);
    expectReplay(await post(ORDER, { ...KEYED, 'api-key': 'one' }), first);
  });

  it('is known for its own account only', async () => {
    await post(ORDER, KEYED);
    expectSentAnew(await post(ORDER, { ...KEYED, 'api-key': ALICE }));
    expect(world.sandbox.orders('master')).toHaveLength(1);
    expect(world.sandbox.orders('alice')).toHaveLength(1);
  });

  it.each([
    ['empty', ''],
    ['longer than 255 characters', 'k'.repeat(256)],
    ['not ASCII', 'schl\u00fcssel'],
  ])('that is %s is refused, and nothing is sent', async (_, key) => {
    expectInvalid(await post(ORDER, { 'idempotency-key': key }), '1 to 255 printable ASCII');
    expect(world.sandbox.receivedCount).toBe(0);
  });

  it('and other headers is the same call', async () => {
    const first = await post(ORDER, KEYED);
    expectReplay(await post(ORDER, { ...KEYED, 'x-proxy-merge': 'no' }), first);
  });

  it('survives a restart', async () => {
    const first = await post(ORDER, KEYED);
    await world.server.close();
    const second = await openProxyWorld({ folder: world.folder });
    const later = new TestClient(second.url);
    const reply = await later.raw('POST', '/0/private/AddOrder', ORDER, KEYED);
    expectReplay(reply, first);
    expect(second.sandbox.receivedCount).toBe(0);
    later.close();
    await second.close();
  });
});

/** How many calls wait in the lane. */
async function waiting(): Promise<number> {
  return (await Scrape.of(world.opsUrl)).value('lane_waiting');
}

describe('an order with a client order id', () => {
  const OWN = `${ORDER}&cl_ord_id=mine-1`;
  const deadline = (ms: number): string =>
    `&deadline=${encodeURIComponent(new Date(Date.now() + ms).toISOString())}`;

  it('that comes again with the same parameters is answered and not sent, whatever its nonce and deadline', async () => {
    const first = await post(`nonce=1&${OWN}${deadline(20_000)}`);
    expect(first.json?.error).toEqual([]);
    expectReplay(await post(`${OWN}${deadline(30_000)}&nonce=2`), first);
    expectReplay(await post(OWN), first);
    expect(sent()).toBe(1);
  });

  it('is the same in JSON', async () => {
    const first = await post(OWN);
    const json = JSON.stringify(Object.fromEntries(new URLSearchParams(OWN)));
    expectReplay(await post(json, { 'content-type': 'application/json' }), first);
  });

  it('is the same after it was filled, when Kraken would take the id again', async () => {
    const market = 'pair=XBTUSD&type=buy&ordertype=market&volume=0.01&cl_ord_id=mine-2';
    const first = await post(market);
    expect(world.sandbox.orders('master')[0]?.status).toBe('closed');
    expectReplay(await post(market), first);
    expect(world.sandbox.orders('master')).toHaveLength(1);
  });

  it('goes to Kraken with other parameters, which then decides', async () => {
    await post(OWN);
    const other = await post(OWN.replace('volume=0.01', 'volume=0.02'));
    expect(other.json?.error).toEqual(['EGeneral:Invalid arguments:cl_ord_id not unique']);
    expect(sent()).toBe(2);
  });

  it('may be sent again when it was refused', async () => {
    const large = OWN.replace('price=10000&volume=0.01', 'price=20000&volume=50000');
    expect((await post(large)).json?.error).toEqual(['EOrder:Insufficient funds']);
    expectSentAnew(await post(large));
    expect(sent()).toBe(2);
  });

  it('is checked by Kraken as often as the client likes', async () => {
    await post(`${OWN}&validate=true`);
    expectSentAnew(await post(`${OWN}&validate=true`));
    expect(sent()).toBe(2);
    const order = await post(OWN);
    expectSentAnew(order);
    expect(order.json?.result).toHaveProperty('txid');
  });

  it('counts in a batch where each order has one', async () => {
    const batch = (...ids: string[]): string =>
      JSON.stringify({
        pair: 'XBTUSD',
        orders: ids.map((id) => ({
          ordertype: 'limit',
          type: 'buy',
          price: '10000',
          volume: '0.01',
          ...(id === '' ? {} : { cl_ord_id: id }),
        })),
      });
    const first = await post(batch('a', 'b'), {}, 'AddOrderBatch');
    expect(first.json?.error).toEqual([]);
    expectReplay(await post(batch('a', 'b'), {}, 'AddOrderBatch'), first);
    expectSentAnew(await post(batch('c', ''), {}, 'AddOrderBatch'));
    expectSentAnew(await post(batch('c', ''), {}, 'AddOrderBatch'));
    expect(sent('AddOrderBatch')).toBe(3);
  });

  it('survives a restart', async () => {
    const first = await post(OWN);
    await world.server.close();
    const second = await openProxyWorld({ folder: world.folder });
    const later = new TestClient(second.url);
    expectReplay(await later.raw('POST', '/0/private/AddOrder', OWN), first);
    expect(second.sandbox.receivedCount).toBe(0);
    later.close();
    await second.close();
  });
});

describe('a process killed between sending an order and its answer', () => {
  it.concurrent.each([
    ['Idempotency-Key', ORDER, KEYED],
    ['cl_ord_id', `${ORDER}&cl_ord_id=mine-3`, {}],
  ])('leaves it in doubt by its %s; after the restart the repeat finds it', (_, body, headers) =>
    inWorld(async (own) => {
      const proxy = await own.ready();
      own.sandbox.fault({ kind: 'hang-after', endpoint: 'AddOrder' });
      const lost = own.client(proxy.url, '', { 'api-key': MASTER, ...headers });
      const gone = lost.raw('POST', '/0/private/AddOrder', body).catch(() => undefined);
      await until(() => own.sandbox.orders('master').length === 1);
      await proxy.crash();
      await gone;

      const next = await own.ready();
      const repeat = own.client(next.url, '', { 'api-key': MASTER, ...headers });
      const reply = await repeat.raw('POST', '/0/private/AddOrder', body);
      expect(reply.json?.result).toMatchObject({ txid: [own.sandbox.orders('master')[0]?.txid] });
      expect(reply.headers['x-proxy-outcome']).toBe('settled');
      expect(own.sandbox.orders('master')).toHaveLength(1);
      // And so it is from then on.
      const third = await repeat.raw('POST', '/0/private/AddOrder', body);
      expect(third.body.equals(reply.body)).toBe(true);
      expect(own.sandbox.received.filter(({ endpoint }) => endpoint === 'AddOrder')).toHaveLength(1);
    }),
  );

  it.concurrent('that Kraken never got is placed by the repeat, once it can no longer be', () =>
    inWorld(async (own) => {
      const config = { queue: { maxWaitMs: 1_000 } };
      const proxy = await own.ready({ config });
      own.sandbox.fault({ kind: 'hang', endpoint: 'AddOrder' });
      const lost = own.client(proxy.url, '', KEYED);
      const gone = lost.raw('POST', '/0/private/AddOrder', ORDER).catch(() => undefined);
      await until(() => own.sandbox.inFlight === 1);
      await proxy.crash();
      await gone;
      const next = await own.ready({ config });
      const repeat = own.client(next.url, '', KEYED);
      const reply = await repeat.raw('POST', '/0/private/AddOrder', ORDER);
      expect(reply.json?.result).toMatchObject({ txid: [own.sandbox.orders('master')[0]?.txid] });
      expect(own.sandbox.orders('master')).toHaveLength(1);
    }),
  );
});
