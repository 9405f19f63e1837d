import type { Fault, SandboxKey } from '../../src/sandbox/sandbox.js';
import { DEMO_KEYS } from '../../src/sandbox/demo-keys.js';
import { callLines } from '../support/call-lines.js';
import { TestClient } from '../support/http.js';
import { ANYTHING, openProxyWorld, type ConfigParts, type ProxyWorld } from '../support/proxy-world.js';
import { TEST_SECRET } from '../support/sandbox-world.js';
import { rawRequest, signedRequest, type SignedReply } from '../support/sign.js';
import { until } from '../support/until.js';

// What is found out by waiting for deadlines takes seconds, so all of it happens at the same time: each case has an
// account, and so a lane, of its own.

const OWN_QUESTIONS = ['OpenOrders', 'ClosedOrders', 'QueryOrders', 'OrderAmends', 'WithdrawStatus'];
const TIMEOUT_MS = 400;
const ORDER = 'pair=XBTUSD&type=buy&ordertype=limit&price=10000&volume=0.01';
const TXID = /[A-Z0-9]{6}-[A-Z0-9]{5}-[A-Z0-9]{6}/;
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

type EndpointName = 'AddOrder' | 'AddOrderBatch' | 'EditOrder' | 'AmendOrder';
const ENDPOINTS: readonly EndpointName[] = ['AddOrder', 'AddOrderBatch', 'EditOrder', 'AmendOrder'];

/** The body of a call; `txid` is an order that is open already, for those that change one. */
const BODIES: Readonly<Record<EndpointName, (txid: string) => string>> = {
  AddOrder: () => ORDER,
  AddOrderBatch: () =>
    '{"pair": "XBTUSD", "orders": [{"ordertype":"limit","type":"buy","price":"10000","volume":"0.01"},' +
    ' {"ordertype":"limit","type":"sell","price":"900000","volume":"0.02"}]}',
  EditOrder: (txid) => `txid=${txid}&pair=XBTUSD&price=11000&volume=0.02`,
  AmendOrder: (txid) => `txid=${txid}&limit_price=12000`,
};

const EXECUTED: readonly Fault[] = [
  { kind: 'reset-after' },
  { kind: 'hang-after' },
  { kind: 'html-after' },
  { kind: 'cut' },
  { kind: 'error-after', error: 'EService:Unavailable' },
  { kind: 'slow-engine', delayMs: 1_200 },
  { kind: 'slow-engine-hang', delayMs: 600 },
];
const NOT_EXECUTED: readonly Fault[] = [
  { kind: 'reset-before' },
  { kind: 'hang' },
  { kind: 'html', status: 520 },
  { kind: 'error', error: 'EService:Unavailable' },
  // Far later than the question about it, also on a busy machine.
  { kind: 'late', delayMs: 2_500 },
  // Its deadline is over by then: the engine refuses it.
  { kind: 'slow-engine', delayMs: 6_000 },
];

const WAIT_MS = 8_000;

const plays: (() => Promise<unknown>)[] = [];

/** A test that takes seconds of waiting: the first of them to run starts them all. */
function together<T>(play: () => Promise<T>): () => Promise<T> {
  let result: Promise<T> | undefined;
  const start = (): Promise<T> => (result ??= play());
  plays.push(start);
  return () => {
    for (const each of plays) each().catch(() => undefined); // its own test tells
    return start();
  };
}

const worlds = new Set<ProxyWorld>();
const clients = new Set<TestClient>();

afterAll(async () => {
  for (const client of clients) client.close();
  await Promise.all([...worlds].map((world) => world.close()));
});

async function openWorld(config: ConfigParts, accounts: readonly string[] = []): Promise<ProxyWorld> {
  const keys: SandboxKey[] = accounts.map((account) => ({
    account,
    key: `key-${account}`,
    secret: TEST_SECRET,
  }));
  const world = await openProxyWorld({
    config: {
      lanes: 'key',
      upstream: { timeoutMs: TIMEOUT_MS },
      accounts: Object.fromEntries(keys.map(({ account, key, secret }) => [account, { key, secret }])),
      ...config,
    },
    sandbox: { keys: [...DEMO_KEYS, ...keys] },
  });
  worlds.add(world);
  return world;
}

function clientOf(world: ProxyWorld, headers: Readonly<Record<string, string>> = {}): TestClient {
  const client = new TestClient(world.url, headers);
  clients.add(client);
  return client;
}

function post(client: TestClient, endpoint: string, body: string, headers = {}): Promise<SignedReply> {
  return client.raw('POST', `/0/private/${endpoint}`, body, headers);
}

/** Two replies of different seconds tell Kraken's clock; before that a proxy has to leave room for 2 s of difference. */
async function learnClock(client: TestClient): Promise<void> {
  const dateOf = async (): Promise<unknown> => (await client.private('Balance')).headers.date;
  const first = await dateOf();
  await until(async () => {
    await new Promise((resolve) => setTimeout(resolve, 50));
    return (await dateOf()) !== first;
  });
}

async function placed(client: TestClient): Promise<string> {
  const { json } = await post(client, 'AddOrder', ORDER);
  expect(json?.error).toEqual([]);
  return (json?.result as { txid: [string] }).txid[0];
}

/** What arrived with a key, in order; the proxy asks for SystemStatus beside it. */
function privateCalls(world: ProxyWorld): (string | undefined)[] {
  return world.sandbox.received.filter(({ key }) => key !== undefined).map(({ endpoint }) => endpoint);
}

function isChange(endpoint: EndpointName): boolean {
  return endpoint === 'EditOrder' || endpoint === 'AmendOrder';
}

/** A lost call, and all there is to see of it. */
interface Played {
  readonly reply: SignedReply;
  readonly world: ProxyWorld;
  readonly account: string;
  /** The client's body. */
  readonly body: string;
  /** The endpoints of the calls on its key from the lost one on. */
  readonly calls: readonly string[];
  /** The bodies of the calls of its endpoint. */
  readonly sent: readonly string[];
}

async function play(
  world: ProxyWorld,
  account: string,
  endpoint: EndpointName,
  fault: Fault | undefined,
): Promise<Played> {
  const key = `key-${account}`;
  const client = clientOf(world, { 'api-key': key });
  const body = BODIES[endpoint](isChange(endpoint) ? await placed(client) : '');
  const first = world.sandbox.received.filter((call) => call.key === key).length;
  if (fault !== undefined) world.sandbox.fault({ ...fault, endpoint, key });
  const reply = await post(client, endpoint, body);
  const received = world.sandbox.received.filter((call) => call.key === key).slice(first);
  return {
    reply,
    world,
    account,
    body,
    calls: received.map((call) => call.endpoint ?? ''),
    sent: received.filter((call) => call.endpoint === endpoint).map(({ rawBody }) => rawBody.toString()),
  };
}

/** A reply without what differs from one order to the next, and without a field that only the sandbox has. */
function comparable({ body }: SignedReply): unknown {
  const text = body.toString().replaceAll(new RegExp(TXID, 'g'), 'ID');
  const json = JSON.parse(text) as { result?: { amend_timestamp?: unknown } };
  delete json.result?.amend_timestamp;
  return json;
}

/** The call had its effect exactly once, and the answer names it. */
function expectOnce(endpoint: EndpointName, { world, account, reply }: Played): void {
  const orders = world.sandbox.orders(account);
  const [first, second] = orders;
  const text = reply.body.toString();
  switch (endpoint) {
    case 'AddOrder':
      expect(orders).toHaveLength(1);
      expect(text).toContain(first?.txid);
      return;
    case 'AddOrderBatch':
      expect(orders.map(({ side }) => side)).toEqual(['buy', 'sell']);
      expect(reply.json?.result).toMatchObject({ orders: orders.map(({ txid }) => ({ txid })) });
      return;
    case 'EditOrder':
      expect(orders.map(({ status }) => status)).toEqual(['canceled', 'open']);
      expect(reply.json?.result).toMatchObject({ txid: second?.txid, originaltxid: first?.txid });
      return;
    case 'AmendOrder':
      expect(orders).toHaveLength(1);
      expect(first).toMatchObject({ amended: 1, price: '12000.0', status: 'open' });
  }
}

const CASES = ENDPOINTS.flatMap((endpoint) =>
  [...EXECUTED, ...NOT_EXECUTED].map((fault, index) => {
    const name = `${fault.kind}${fault.delayMs === undefined ? '' : ` ${fault.delayMs} ms`}`;
    return {
      endpoint,
      fault,
      name,
      account: `${endpoint}-${index}`.toLowerCase(),
      isExecuted: EXECUTED.includes(fault),
    };
  }),
);

/** Every case, all at once. */
const playAll = together(async () => {
  const plain = ENDPOINTS.map((endpoint) => `${endpoint}-plain`.toLowerCase());
  const accounts = [...plain, ...CASES.map(({ account }) => account)];
  const world = await openWorld({ queue: { maxWaitMs: WAIT_MS } }, accounts);
  await learnClock(clientOf(world));
  const played = await Promise.all([
    ...ENDPOINTS.map((endpoint, index) => play(world, plain[index] ?? '', endpoint, undefined)),
    ...CASES.map(({ account, endpoint, fault }) => play(world, account, endpoint, fault)),
  ]);
  return new Map(played.map((one) => [one.account, one]));
});

async function outcomeOf(account: string): Promise<Played> {
  const played = (await playAll()).get(account);
  if (played === undefined) throw new Error(`nothing was played for ${account}`);
  return played;
}

describe.each(ENDPOINTS)('an %s whose reply is lost', (endpoint) => {
  const cases = CASES.filter((one) => one.endpoint === endpoint);

  it.concurrent.each(cases.filter(({ isExecuted }) => isExecuted))(
    'though it was executed ($name) is found and answered as it would have been',
    async ({ account }) => {
      const played = await outcomeOf(account);
      const plain = await outcomeOf(`${endpoint}-plain`.toLowerCase());
      expect(comparable(played.reply)).toEqual(comparable(plain.reply));
      expect(played.reply.headers['x-proxy-outcome']).toBe('settled');
      expect(played.sent).toHaveLength(1);
      expectOnce(endpoint, played);
    },
  );

  it.concurrent.each(cases.filter(({ isExecuted }) => !isExecuted))(
    'and that was not executed ($name) is sent once more, and its answer is given',
    async ({ account }) => {
      const played = await outcomeOf(account);
      const plain = await outcomeOf(`${endpoint}-plain`.toLowerCase());
      expect(comparable(played.reply)).toEqual(comparable(plain.reply));
      expect(played.reply.headers['x-proxy-outcome']).toBeUndefined();
      expect(played.sent).toHaveLength(2);
      expectOnce(endpoint, played);
    },
  );

  it.concurrent('is followed on its key by the question about it, and nothing else', async () => {
    for (const { account } of cases) {
      const { calls } = await outcomeOf(account);
      expect(calls[0]).toBe(endpoint);
      expect(OWN_QUESTIONS).toContain(calls[1]);
      expect(calls.filter((name) => name !== endpoint && !OWN_QUESTIONS.includes(name))).toEqual([]);
    }
  });

  it.concurrent('carries the client’s bytes as they came', async () => {
    for (const { account } of cases) {
      const { sent, body } = await outcomeOf(account);
      for (const bytes of sent) {
        const own = bytes.replaceAll(/"cl_ord_id":"[0-9a-f-]{36}",/g, '');
        expect(endpoint === 'AddOrderBatch' ? own.endsWith(body.slice(1)) : bytes.endsWith(`&${body}`)).toBe(
          true,
        );
      }
    }
  });

  it.concurrent(
    'is told in the log with what became of it, and every call with the nonce that it was',
    async () => {
      const [first] = cases;
      const { world } = await outcomeOf(first?.account ?? '');
      for (const { account, isExecuted } of cases) {
        const [line] = await callLines(world.log, {
          account,
          endpoint,
          settled: isExecuted ? 'done' : 'not-done',
        });
        expect(line).toMatchObject({ outcome: 'executed', nonce: expect.any(String) as string });
      }
    },
  );
});

describe('the fields that an order is given', () => {
  async function sentBytes(
    endpoint: string,
    body: string,
    config: ConfigParts = {},
  ): Promise<{ text: string; reply: SignedReply }> {
    const world = await openWorld(config);
    const reply = await post(clientOf(world), endpoint, body);
    const [call] = world.sandbox.received.filter((one) => one.endpoint === endpoint);
    return { text: call?.rawBody.toString() ?? '', reply };
  }

  it.concurrent(
    'are a client order id and a deadline of half the wait, in front of the client’s bytes',
    async () => {
      const { text } = await sentBytes('AddOrder', `${ORDER}&oflags=%66cib&x=%2B5%25`);
      const [, id = '', deadline = '', rest = ''] =
        /^nonce=\d{19}&cl_ord_id=([^&]*)&deadline=([^&]*)&(.*)$/.exec(text) ?? [];
      expect(id).toMatch(UUID);
      // Half of 8 s, and up to 2 s by which the clocks may differ.
      const ahead = Date.parse(decodeURIComponent(deadline)) - Date.now();
      expect(ahead).toBeGreaterThan(2_000);
      expect(ahead).toBeLessThanOrEqual(6_000);
      expect(rest).toBe(`${ORDER}&oflags=%66cib&x=%2B5%25`);
    },
  );

  it.concurrent('stand in JSON as in a form', async () => {
    const own = '"pair":"XBTUSD" , "type":"buy","ordertype":"limit","price":10000,"volume":0.01}';
    const { text, reply } = await sentBytes('AddOrder', `{"nonce":1, ${own}`);
    expect(text).toMatch(/^\{"nonce":\d{19},"cl_ord_id":"[0-9a-f-]{36}","deadline":"[^"]*"/);
    expect(text.endsWith(`, ${own}`)).toBe(true);
    expect(reply.json?.error).toEqual([]);
  });

  it.concurrent('leave out the id where the client gave a cl_ord_id or a userref', async () => {
    for (const own of ['cl_ord_id=mine', 'userref=7']) {
      const { text } = await sentBytes('AddOrder', `${own}&${ORDER}`);
      expect(text).toMatch(
        new RegExp(`^nonce=\\d{19}&deadline=[^&]*&${own}&${ORDER.replaceAll('.', '\\.')}$`),
      );
    }
  });

  it.concurrent('leave out the deadline where the client gave one', async () => {
    const deadline = encodeURIComponent(new Date(Date.now() + 20_000).toISOString());
    const { text } = await sentBytes('AddOrder', `deadline=${deadline}&${ORDER}`);
    expect(text).toMatch(/^nonce=\d{19}&cl_ord_id=[0-9a-f-]{36}&deadline=/);
    expect(text.match(/deadline/g)).toHaveLength(1);
    expect(text.endsWith(`&deadline=${deadline}&${ORDER}`)).toBe(true);
  });

  it.concurrent('are an id in each order of a batch that has none', async () => {
    const body =
      '{"pair":"XBTUSD","orders":[{"cl_ord_id":"mine","ordertype":"limit","type":"buy","price":"10000","volume":"0.01"},' +
      '{"ordertype":"limit","type":"buy","price":"10000","volume":"0.02"}]}';
    const { text } = await sentBytes('AddOrderBatch', body);
    expect(text.match(/"cl_ord_id"/g)).toHaveLength(2);
    expect(text.replace(/"cl_ord_id":"[0-9a-f-]{36}",/, '').endsWith(body.slice(1))).toBe(true);
  });

  it.concurrent('are only a deadline for what changes an order', async () => {
    const world = await openWorld({});
    const client = clientOf(world);
    const txid = await placed(client);
    for (const endpoint of ['AmendOrder', 'EditOrder'] as const) {
      const body = BODIES[endpoint](txid);
      expect((await post(client, endpoint, body)).json?.error).toEqual([]);
      const text = world.sandbox.received.find((call) => call.endpoint === endpoint)?.rawBody.toString();
      expect(text).toMatch(/^nonce=\d{19}&deadline=[^&]*&txid=/);
      expect(text?.endsWith(`&${body}`)).toBe(true);
    }
  });

  it.concurrent('are none for a test order, and none where orders are not to be settled', async () => {
    const test = await sentBytes('AddOrder', `${ORDER}&validate=true`);
    expect(test.text).toMatch(new RegExp(`^nonce=\\d{19}&${ORDER.replaceAll('.', '\\.')}&validate=true$`));
    const plain = await sentBytes('AddOrder', ORDER, { orders: { settle: false } });
    expect(plain.text).toMatch(new RegExp(`^nonce=\\d{19}&${ORDER.replaceAll('.', '\\.')}$`));
  });
});

it.concurrent('a deadline of ours that Kraken does not take costs no order: it is sent without', async () => {
  const world = await openWorld({});
  world.sandbox.fault({ kind: 'error', error: 'EGeneral:Invalid arguments:deadline', endpoint: 'AddOrder' });
  expect((await post(clientOf(world), 'AddOrder', ORDER)).json?.error).toEqual([]);
  const [first = '', second = ''] = world.sandbox.received.map(({ rawBody }) => rawBody.toString());
  expect(second).toBe(
    first.replace(/^nonce=\d+/, /^nonce=\d+/.exec(second)?.[0] ?? '').replace(/&deadline=[^&]*/, ''),
  );
  expect(world.sandbox.orders('master')).toHaveLength(1);
});

it.concurrent('a deadline of the client’s that Kraken does not take is the client’s to know', async () => {
  const world = await openWorld({});
  const reply = await post(clientOf(world), 'AddOrder', `${ORDER}&deadline=tomorrow`);
  expect(reply.json?.error).toEqual(['EGeneral:Invalid arguments:deadline']);
  expect(privateCalls(world)).toEqual(['AddOrder']);
});

it.concurrent('a test order whose reply is lost is simply asked again', async () => {
  const world = await openWorld({});
  world.sandbox.fault({ kind: 'reset-before', endpoint: 'AddOrder' });
  const reply = await post(clientOf(world), 'AddOrder', `${ORDER}&validate=true`);
  expect(reply.json?.error).toEqual([]);
  expect(privateCalls(world)).toEqual(['AddOrder', 'AddOrder']);
  expect(world.sandbox.orders('master')).toEqual([]);
});

it.concurrent('the question about a lost order goes before every call that waits, cancels too', async () => {
  const world = await openWorld({ lanes: 'global', upstream: { timeoutMs: 2_000 } });
  const [master = '', alice = ''] = DEMO_KEYS.map(({ key }) => key);
  world.sandbox.fault({ kind: 'hang-after', endpoint: 'AddOrder' });
  const client = clientOf(world, { 'api-key': master });
  const lost = post(client, 'AddOrder', ORDER);
  await until(() => world.sandbox.inFlight === 1);
  const others = ['Balance', 'CancelAll', 'AddOrder'].flatMap((endpoint) =>
    [master, alice].map((key) =>
      post(
        clientOf(world, { 'api-key': key }),
        endpoint,
        endpoint === 'AddOrder' ? `${ORDER}&userref=3` : '',
      ),
    ),
  );
  const reply = await lost;
  await Promise.all(others);
  expect(reply.headers['x-proxy-outcome']).toBe('settled');
  const signed = world.sandbox.received.filter(({ key }) => key !== undefined);
  expect(signed.slice(0, 2).map(({ endpoint, key }) => [endpoint, key])).toEqual([
    ['AddOrder', master],
    ['OpenOrders', master],
  ]);
  expect(signed[2]?.endpoint).toBe('CancelAll');
});

it.concurrent(
  'a lost order that was not executed is answered Busy where nothing is to be sent again',
  together(async () => {
    const accounts = ENDPOINTS.map((endpoint) => endpoint.toLowerCase());
    const world = await openWorld({ orders: { resend: false }, queue: { maxWaitMs: 6_000 } }, accounts);
    await learnClock(clientOf(world));
    const played = await Promise.all(
      ENDPOINTS.map((endpoint) => play(world, endpoint.toLowerCase(), endpoint, { kind: 'reset-before' })),
    );
    for (const { reply, sent } of played) {
      expect(reply.json).toEqual({ error: ['EService:Busy'] });
      expect(reply.headers['x-proxy-error']).toBe('queue-timeout');
      expect(reply.headers['x-proxy-error-detail']).toContain('certainly did not execute');
      expect(sent).toHaveLength(1);
    }
    expect(accounts.map((account) => world.sandbox.orders(account).length)).toEqual([0, 0, 1, 1]);
  }),
);

it.concurrent(
  'a lost order that was not executed, and whose second turn comes too late, is Busy and not unknown',
  together(async () => {
    const engineTiers = { intermediate: { max: 100, decayPerSecond: 0.01 } };
    const pacing = { enabled: false, engine: 'enforce', engineTiers };
    const world = await openWorld({ pacing, queue: { maxWaitMs: 6_000 } });
    const client = clientOf(world);
    await learnClock(client);
    world.sandbox.fault({ kind: 'reset-before', endpoint: 'AddOrder' });
    const lost = post(client, 'AddOrder', ORDER);
    await until(() => privateCalls(world).includes('ClosedOrders'));
    // From here on there is no room for another order.
    world.sandbox.fault({ kind: 'error', error: 'EOrder:Rate limit exceeded', endpoint: 'AddOrder' });
    expect((await post(client, 'AddOrder', `${ORDER}&userref=1`)).json?.error).toHaveLength(1);
    const reply = await lost;
    expect(reply.json).toEqual({ error: ['EService:Busy'] });
    expect(privateCalls(world).filter((name) => name === 'AddOrder')).toHaveLength(2);
    expect(world.sandbox.orders('master')).toEqual([]);
  }),
);

it.concurrent(
  'with a deadline of the client’s own a lost order is not sent again',
  together(async () => {
    const world = await openWorld({});
    const client = clientOf(world);
    await learnClock(client);
    world.sandbox.fault({ kind: 'reset-before', endpoint: 'AddOrder' });
    const deadline = encodeURIComponent(new Date(Date.now() + 3_000).toISOString());
    const reply = await post(client, 'AddOrder', `${ORDER}&deadline=${deadline}`);
    expect(reply.json).toEqual({ error: ['EService:Busy'] });
    expect(world.sandbox.orders('master')).toEqual([]);
  }),
);

it.concurrent('where orders are not settled the client is told that the outcome is unknown', async () => {
  const world = await openWorld({ orders: { settle: false } });
  const client = clientOf(world);
  world.sandbox.fault({ kind: 'reset-after', endpoint: 'AddOrder' });
  const reply = await post(client, 'AddOrder', ORDER);
  expect(reply.json).toEqual({ error: ['EProxy:Outcome unknown'] });
  expect(privateCalls(world)).toEqual(['AddOrder']);
  // Told once, its client decides: nobody else can find out.
  expect((await post(client, 'AddOrder', ORDER)).json?.error).toEqual([]);
  expect(world.sandbox.orders('master')).toHaveLength(2);
});

it.concurrent(
  'an order that is lost while Kraken cannot be reached is told to the one that repeats it, once',
  together(async () => {
    const world = await openWorld({});
    const client = clientOf(world);
    await learnClock(client);
    const deadline = encodeURIComponent(new Date(Date.now() + 2_600).toISOString());
    world.sandbox.fault({ kind: 'reset-after', endpoint: 'AddOrder' });
    for (const endpoint of OWN_QUESTIONS)
      world.sandbox.fault({ kind: 'reset-before', endpoint, times: Infinity });
    const lost = await post(client, 'AddOrder', `${ORDER}&deadline=${deadline}`);
    expect(lost.json).toEqual({ error: ['EProxy:Outcome unknown'] });
    expect(lost.headers['x-proxy-error']).toBe('outcome-unknown');
    const [order] = world.sandbox.orders('master');

    world.sandbox.clearFaults();
    await until(() =>
      world.log.some(({ msg, settled }) => msg === 'a call whose reply was lost' && settled === 'done'),
    );
    const later = encodeURIComponent(new Date(Date.now() + 20_000).toISOString());
    const repeat = await post(client, 'AddOrder', `${ORDER}&deadline=${later}`);
    expect(repeat.headers['idempotent-replayed']).toBe('true');
    expect(repeat.headers['x-proxy-outcome']).toBe('settled');
    expect(repeat.json?.result).toMatchObject({ txid: [order?.txid] });
    expect(world.sandbox.orders('master')).toHaveLength(1);

    const third = await post(client, 'AddOrder', ORDER);
    expect(third.json?.error).toEqual([]);
    expect(third.headers['idempotent-replayed']).toBeUndefined();
    expect(world.sandbox.orders('master')).toHaveLength(2);
  }),
  30_000,
);

describe('a client that hangs up while its order is in flight, and repeats it,', () => {
  /** Sends an order and is gone as soon as it has reached Kraken. */
  async function sendAndHangUp(world: ProxyWorld, fault: Fault): Promise<void> {
    world.sandbox.fault({ ...fault, endpoint: 'AddOrder' });
    const leaver = new TestClient(world.url);
    const gone = post(leaver, 'AddOrder', ORDER).catch(() => undefined);
    await until(() => world.sandbox.received.some(({ endpoint }) => endpoint === 'AddOrder'));
    leaver.close();
    await gone;
  }

  it.concurrent(
    'gets the first one’s answer though it repeats before that is there',
    together(async () => {
      for (let round = 0; round < 5; round++) {
        const world = await openWorld({});
        await sendAndHangUp(world, { kind: 'delay', delayMs: 300 });
        const repeat = await post(clientOf(world), 'AddOrder', ORDER);
        expect(world.sandbox.orders('master')).toHaveLength(1);
        expect(repeat.json?.result).toMatchObject({ txid: [world.sandbox.orders('master')[0]?.txid] });
        expect(repeat.headers['idempotent-replayed']).toBe('true');
      }
    }),
  );

  it.concurrent('gets the first one’s answer afterwards, once', async () => {
    const world = await openWorld({});
    await sendAndHangUp(world, { kind: 'delay', delayMs: 300 });
    await callLines(world.log, { endpoint: 'AddOrder', hungUp: true });
    const client = clientOf(world);
    const repeat = await post(client, 'AddOrder', ORDER);
    expect(repeat.headers['idempotent-replayed']).toBe('true');
    expect(repeat.json?.result).toMatchObject({ txid: [world.sandbox.orders('master')[0]?.txid] });
    expect(world.sandbox.orders('master')).toHaveLength(1);
    expect((await post(client, 'AddOrder', ORDER)).headers['idempotent-replayed']).toBeUndefined();
    expect(world.sandbox.orders('master')).toHaveLength(2);
  });

  it.concurrent('gets the first one’s answer when the reply to that was lost', async () => {
    const world = await openWorld({});
    await sendAndHangUp(world, { kind: 'hang-after' });
    const repeat = await post(clientOf(world), 'AddOrder', ORDER);
    expect(repeat.json?.result).toMatchObject({ txid: [world.sandbox.orders('master')[0]?.txid] });
    expect(world.sandbox.orders('master')).toHaveLength(1);
  });

  it.concurrent(
    'has one order, and its answer, when the first was not executed',
    together(async () => {
      const world = await openWorld({ queue: { maxWaitMs: 6_000 } });
      await learnClock(clientOf(world));
      await sendAndHangUp(world, { kind: 'hang' });
      const client = clientOf(world);
      const repeat = await post(client, 'AddOrder', ORDER);
      expect(repeat.json?.error).toEqual([]);
      expect(world.sandbox.orders('master').map(({ txid }) => txid)).toEqual(
        (repeat.json?.result as { txid: string[] }).txid,
      );
      // What the repeat was told is not told again.
      expect((await post(client, 'AddOrder', ORDER)).headers['idempotent-replayed']).toBeUndefined();
      expect(world.sandbox.orders('master')).toHaveLength(2);
    }),
  );
});

it.concurrent(
  'an order that is repeated at once by a client that has not hung up is another order',
  async () => {
    const world = await openWorld({});
    const client = clientOf(world);
    await Promise.all([post(client, 'AddOrder', ORDER), post(client, 'AddOrder', ORDER)]);
    expect(world.sandbox.orders('master')).toHaveLength(2);
  },
);

it.concurrent(
  'an order that could be either of two is unknown; later ones like it are not refused for it for ever',
  together(async () => {
    const world = await openWorld({});
    const client = clientOf(world);
    await learnClock(client);
    const order = `${ORDER}&userref=7`;
    const deadline = encodeURIComponent(new Date(Date.now() + 2_600).toISOString());
    // Another program of the trader's has placed the same with a key of its own.
    const { key, secret } = DEMO_KEYS[0] ?? { key: '', secret: '' };
    world.sandbox.fault({ kind: 'reset-after', endpoint: 'AddOrder', skip: 1 });
    // Just above the nonces there were: this machine's two clocks may differ by more than the pause between the calls.
    const nonce =
      BigInt(world.sandbox.received.findLast((call) => call.nonce !== undefined)?.nonce ?? 0) + 1n;
    const body = `nonce=${nonce}&${order}`;
    const others = await signedRequest(world.sandbox.url, '/0/private/AddOrder', key, secret, body);
    expect(others.json?.error).toEqual([]);
    const lost = await post(client, 'AddOrder', `${order}&deadline=${deadline}`);
    expect(lost.json).toEqual({ error: ['EProxy:Outcome unknown'] });
    expect(world.sandbox.orders('master')).toHaveLength(2);
    const told = await post(client, 'AddOrder', order);
    expect(told.json).toEqual({ error: ['EProxy:Outcome unknown'] });
    // The client was told, twice: now it means it.
    expect((await post(client, 'AddOrder', order)).json?.error).toEqual([]);
  }),
);

describe('a withdrawal whose reply is lost', () => {
  const WITHDRAWAL = 'asset=XBT&key=cold&amount=0.5';

  it.concurrent.each(['reset-after', 'hang-after', 'html-after', 'cut', 'error-after'] as const)(
    'though it was executed (%s) is found by its amount and time',
    async (kind) => {
      const world = await openWorld({ ...ANYTHING.config });
      world.sandbox.fault({ kind, endpoint: 'Withdraw' });
      const reply = await post(clientOf(world, ANYTHING.headers), 'Withdraw', WITHDRAWAL);
      expect(reply.json).toEqual({
        error: [],
        result: { refid: world.sandbox.withdrawals('master')[0]?.refid },
      });
      expect(reply.headers['x-proxy-outcome']).toBe('settled');
      expect(privateCalls(world)).toEqual(['Withdraw', 'WithdrawStatus']);
      expect(world.sandbox.withdrawals('master')).toHaveLength(1);
    },
  );

  for (const kind of ['reset-before', 'hang', 'html', 'error', 'late'] as const) {
    it.concurrent(
      `and that was not executed (${kind}) is unknown, and never sent again`,
      together(async () => {
        const world = await openWorld({ ...ANYTHING.config, queue: { maxWaitMs: 1_000 } });
        world.sandbox.fault({ kind, endpoint: 'Withdraw', delayMs: 2_500 });
        const reply = await post(clientOf(world, ANYTHING.headers), 'Withdraw', WITHDRAWAL);
        expect(reply.json).toEqual({ error: ['EProxy:Outcome unknown'] });
        const sent = world.sandbox.received.filter(({ endpoint }) => endpoint === 'Withdraw');
        expect(sent).toHaveLength(1);
        expect(world.sandbox.withdrawals('master')).toEqual([]);
      }),
    );
  }
});

it.concurrent(
  'an order without an answer is never sent with a wrong id: the signed bytes are what Kraken took',
  async () => {
    const world = await openWorld({});
    const headers = { 'content-type': 'application/json; charset=utf-8' };
    const body =
      '{"ordertype":"limit","type":"buy","pair":"XBTUSD","price":"10000","volume":"0.01","close":{"ordertype":"limit","price":"20000"}}';
    world.sandbox.fault({ kind: 'reset-after', endpoint: 'AddOrder' });
    const reply = await rawRequest(world.url, '/0/private/AddOrder', 'POST', body, headers);
    const plain = await rawRequest(
      world.url,
      '/0/private/AddOrder',
      'POST',
      body.replace('0.01', '0.010'),
      headers,
    );
    expect(reply.headers['x-proxy-outcome']).toBe('settled');
    expect(comparable(reply)).toEqual(comparable(plain));
  },
);
