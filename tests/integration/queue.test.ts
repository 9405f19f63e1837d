import { callLines } from '../support/call-lines.js';
import { openGate, type Gate } from '../support/gate.js';
import { TestClient } from '../support/http.js';
import { Scrape } from '../support/metrics.js';
import { ANYTHING, openProxyWorld, type ConfigParts, type ProxyWorld } from '../support/proxy-world.js';
import { RawConnection, requestText } from '../support/raw-socket.js';
import type { SignedReply } from '../support/sign.js';
import { until } from '../support/until.js';

let gate: Gate;
let world: ProxyWorld;
let client: TestClient;

/** A proxy whose answers from Kraken come through a gate. */
async function openWith(config: ConfigParts): Promise<void> {
  gate = await openGate();
  world = await openProxyWorld({ config: { upstream: { url: gate.url }, ...config } });
  gate.leadTo(world.sandbox.url);
  client = new TestClient(world.url);
}
afterEach(async () => {
  client.close();
  await world.close();
  await gate.close();
});

async function waiting(count: number): Promise<void> {
  await until(async () => (await Scrape.of(world.opsUrl)).value('lane_waiting') === count);
}

async function noncesIssued(): Promise<number> {
  return (await Scrape.of(world.opsUrl)).value('nonces_issued_total');
}

/** A call that has the slot until the gate opens; resolved once Kraken has it. */
async function occupy(): Promise<{ reply: Promise<SignedReply> }> {
  gate.shut();
  const reply = client.private('Balance');
  await until(() => world.sandbox.receivedCount === 1);
  return { reply };
}

/** A call made on a connection of its own, which has joined the lane. */
async function waitOn(endpoint: string): Promise<RawConnection> {
  const connection = await RawConnection.open(world.url);
  connection.write(requestText(world.url, 'POST', `/0/private/${endpoint}`, 'pair=XBTUSD'));
  await waiting(1);
  return connection;
}

function endpoints(): (string | undefined)[] {
  return world.sandbox.received.map(({ endpoint }) => endpoint);
}

function logged(endpoint: string): ReturnType<typeof callLines> {
  return callLines(world.log, { endpoint });
}

function expectGood(reply: SignedReply): void {
  expect(reply.json?.error).toEqual([]);
}

function expectBusy(reply: SignedReply, code: string): void {
  expect(reply.status).toBe(200);
  expect(reply.json).toEqual({ error: ['EService:Busy'] });
  expect(reply.headers['x-proxy-error']).toBe(code);
  expect(reply.headers['retry-after']).toMatch(/^[1-9]\d*$/);
}

describe('one call more than may wait', () => {
  it('is answered queue-full at once; nothing is sent and no nonce is spent for it', async () => {
    await openWith({ queue: { maxWaiting: 2 } });
    const first = await occupy();
    const two = [client.private('TradeBalance'), client.private('OpenOrders')];
    await waiting(2);
    expectBusy(await client.private('AddOrder'), 'queue-full');
    gate.open();
    for (const reply of [first.reply, ...two]) expectGood(await reply);
    expect(endpoints()).toEqual(['Balance', 'TradeBalance', 'OpenOrders']);
    expect(await noncesIssued()).toBe(3);
    expect(await logged('AddOrder')).toMatchObject([{ outcome: 'not-sent', error: 'queue-full' }]);
  });

  it('has room in the lane of another key', async () => {
    await openWith({ queue: { maxWaiting: 1 }, lanes: 'key' });
    const first = await occupy();
    const second = client.private('TradeBalance');
    await waiting(1);
    expectBusy(await client.private('AddOrder'), 'queue-full');
    const other = client.private('OpenOrders', {}, '/accounts/alice');
    await until(() => world.sandbox.receivedCount === 2);
    expect(endpoints()).toEqual(['Balance', 'OpenOrders']);
    gate.open();
    for (const reply of [first.reply, second, other]) expectGood(await reply);
  });
});

describe('a call that gets no turn in time', () => {
  it('is answered queue-timeout; it certainly was not sent and no nonce is spent for it', async () => {
    await openWith({ queue: { maxWaitMs: 100 } });
    const first = await occupy();
    const started = performance.now();
    expectBusy(await client.private('AddOrder'), 'queue-timeout');
    expect(performance.now() - started).toBeGreaterThanOrEqual(99);
    gate.open();
    expectGood(await first.reply);
    expectGood(await client.private('OpenOrders'));
    expect(endpoints()).toEqual(['Balance', 'OpenOrders']);
    expect(await noncesIssued()).toBe(2);
    expect(await logged('AddOrder')).toMatchObject([{ outcome: 'not-sent', error: 'queue-timeout' }]);
    expect((await logged('AddOrder'))[0]?.nonce).toBeUndefined();
  });

  it('leaves its place to those who came later, who have their own time', async () => {
    await openWith({ queue: { maxWaitMs: 500 } });
    const first = await occupy();
    const impatient = client.private('AddOrder');
    await waiting(1);
    let later: Promise<SignedReply> | undefined;
    const timer = setTimeout(() => {
      later = client.private('OpenOrders');
    }, 400);
    expectBusy(await impatient, 'queue-timeout');
    clearTimeout(timer);
    gate.open();
    expectGood(await (later ?? client.private('OpenOrders')));
    expectGood(await first.reply);
    expect(endpoints()).toEqual(['Balance', 'OpenOrders']);
  });
});

describe('a client that hangs up while it waits', () => {
  it('leaves without a nonce, and Kraken never sees its call', async () => {
    await openWith({});
    const first = await occupy();
    const gone = await waitOn('AddOrder');
    gone.hangUp();
    await waiting(0);
    const next = client.private('OpenOrders');
    gate.open();
    expectGood(await first.reply);
    expectGood(await next);
    expect(endpoints()).toEqual(['Balance', 'OpenOrders']);
    expect(await noncesIssued()).toBe(2);
    expect(await logged('AddOrder')).toMatchObject([{ outcome: 'not-sent', hungUp: true }]);
    expect((await logged('AddOrder'))[0]?.nonce).toBeUndefined();
  });

  it('makes room for another in a full lane', async () => {
    await openWith({ queue: { maxWaiting: 1 } });
    const first = await occupy();
    (await waitOn('AddOrder')).hangUp();
    await waiting(0);
    const next = client.private('OpenOrders');
    await waiting(1);
    gate.open();
    expectGood(await first.reply);
    expectGood(await next);
  });
});

describe('a client that hangs up in flight', () => {
  it('does not free the slot early: the next call starts when the answer is in', async () => {
    await openWith({});
    gate.shut();
    const gone = await RawConnection.open(world.url);
    gone.write(requestText(world.url, 'POST', '/0/private/Balance'));
    await until(() => world.sandbox.receivedCount === 1);
    const next = client.private('OpenOrders');
    await waiting(1);
    gone.hangUp();
    // The proxy has seen it go when it has seen a connection of a later time come and go.
    await waiting(1);
    expect((await Scrape.of(world.opsUrl)).value('lane_in_flight')).toBe(1);
    expect(world.sandbox.receivedCount).toBe(1);
    gate.open();
    expectGood(await next);
    expect(endpoints()).toEqual(['Balance', 'OpenOrders']);
    const [{ nonce } = {}] = world.sandbox.received;
    expect(await logged('Balance')).toMatchObject([{ outcome: 'executed', hungUp: true, nonce }]);
  });
});

it('pipelined calls are answered in their order, each with its own', async () => {
  await openWith(ANYTHING.config);
  const pipeline = await RawConnection.open(world.url);
  const names = ['Balance', 'OpenOrders', 'NotInTheTable', 'TradeBalance'];
  const text = (name: string): string =>
    requestText(world.url, 'POST', `/0/private/${name}`, 'nonce=1', ANYTHING.headers);
  gate.shut();
  pipeline.write(names.map(text).join(''));
  await waiting(names.length - 1);
  gate.open();
  const bodies: string[] = [];
  while (bodies.length < names.length) bodies.push((await pipeline.reply())?.body.toString() ?? 'closed');
  pipeline.hangUp();
  expect(bodies[0]).toContain('"XXBT"');
  expect(bodies[1]).toContain('"open"');
  expect(bodies[2]).toBe('{"error":["EGeneral:Unknown method"]}');
  expect(bodies[3]).toContain('"eb"');
  // Two reads waited for the call that is none.
  expect(endpoints()).toEqual(['Balance', 'NotInTheTable', 'OpenOrders', 'TradeBalance']);
  expect(world.sandbox.maxInFlight).toBe(1);
});

describe('calls that wait', () => {
  it('are served by how urgent they are, not by when they came', async () => {
    await openWith(ANYTHING.config);
    client.close();
    client = new TestClient(world.url, ANYTHING.headers);
    const first = await occupy();
    const urgentLast = [
      'ClosedOrders',
      'TradeBalance',
      'GetWebSocketsToken',
      'NotInTheTable',
      'AddOrder',
      'AmendOrder',
      'EditOrder',
      'CancelOrder',
    ];
    const replies: Promise<SignedReply>[] = [];
    for (const [index, name] of urgentLast.entries()) {
      replies.push(client.private(name));
      await waiting(index + 1);
    }
    gate.open();
    await Promise.all([first.reply, ...replies]);
    expect(endpoints()).toEqual([
      'Balance',
      'CancelOrder',
      'AmendOrder',
      'EditOrder',
      'AddOrder',
      'GetWebSocketsToken',
      'NotInTheTable',
      'TradeBalance',
      'ClosedOrders',
    ]);
    expect(world.sandbox.maxInFlight).toBe(1);
  });

  it('are served in the order in which they came where they are equally urgent', async () => {
    await openWith({});
    const first = await occupy();
    const names = ['TradeBalance', 'OpenOrders', 'OpenPositions', 'TradeVolume', 'Balance', 'BalanceEx'];
    const replies: Promise<SignedReply>[] = [];
    for (const [index, name] of names.entries()) {
      replies.push(client.private(name));
      await waiting(index + 1);
    }
    gate.open();
    for (const reply of [first.reply, ...replies]) expectGood(await reply);
    expect(endpoints()).toEqual(['Balance', ...names]);
  });
});

it('what waits when the proxy is told to stop is answered shutting-down', async () => {
  await openWith({});
  const first = await occupy();
  const second = client.private('AddOrder');
  await waiting(1);
  const closing = world.server.close();
  expectBusy(await second, 'shutting-down');
  gate.open();
  expectGood(await first.reply);
  await closing;
  expect(endpoints()).toEqual(['Balance']);
});
