import { gzipSync } from 'node:zlib';
import { Upstream, type UpstreamReply } from '../../src/kraken/transport.js';
import { PublicBudget, type PublicBudgetOptions } from '../../src/lane/public-budget.js';
import type { CallRecord } from '../../src/log.js';
import type { Answer } from '../../src/proxy.js';
import { PublicApi, type PublicCall } from '../../src/public-api.js';
import { openOddUpstream } from '../support/odd-upstream.js';
import { openWorld, type SandboxWorld } from '../support/sandbox-world.js';
import { until } from '../support/until.js';

/** So many a second that a turn is soon there, and so few that calls of one moment find none. */
const SOON = { perSecond: 20, burst: 1, maxWaitMs: 60_000 };
const NEVER = { perSecond: 0.001, burst: 1, maxWaitMs: 1e9 };

let world: SandboxWorld;
let records: CallRecord[];
let closers: (() => unknown)[];

beforeEach(async () => {
  world = await openWorld();
  records = [];
  closers = [];
});

afterEach(async () => {
  for (const close of closers) await close();
  await world.close();
});

interface Api {
  readonly api: PublicApi;
  readonly budget: PublicBudget;
  /** Makes calls when the burst is used up, in no time by the budget's clock, so that they all wait. */
  whenSpent<T>(make: () => T): Promise<T>;
}

function open(options: PublicBudgetOptions, url = world.sandbox.url, connections = 8): Api {
  const upstream = new Upstream({ url, timeoutMs: 15_000, connections });
  let stopped: number | undefined;
  const budget = new PublicBudget({ ...options, now: () => stopped ?? performance.now() });
  closers.push(
    () => budget.close(),
    () => upstream.close(),
  );
  const api = new PublicApi({ upstream, budget, record: (call) => records.push(call) });
  const whenSpent = async <T>(make: () => T): Promise<T> => {
    stopped = performance.now();
    expect((await api.call(call('', { endpoint: 'Time' })).reply).status).toBe(200);
    const made = make();
    stopped = undefined;
    return made;
  };
  return { api, budget, whenSpent };
}

const call = (query: string, parts: Partial<PublicCall> = {}): PublicCall => ({
  requestId: query,
  endpoint: 'Ticker',
  query,
  body: undefined,
  headers: {},
  acceptEncoding: undefined,
  ...parts,
});

const received = (): string[] =>
  world.sandbox.received.filter(({ endpoint }) => endpoint !== 'Time').map(({ path }) => path);

const bodyOf = async ({ reply }: Answer): Promise<string> => (await reply).body.toString();

const codesOf = async (answers: readonly Answer[]): Promise<unknown[]> => {
  const ends = await Promise.allSettled(answers.map(({ reply }) => reply));
  return ends.map((end) =>
    end.status === 'fulfilled' ? end.value.status : (end.reason as { code: unknown }).code,
  );
};

const XBT = '?pair=XBTUSD';
const ETH = '?pair=ETHUSD';

describe('public calls that wait', () => {
  it('and are the same reach Kraken once, and all get its answer', async () => {
    const own = open(SOON);
    const answers = await own.whenSpent(() => Array.from({ length: 20 }, () => own.api.call(call(XBT))));
    const bodies = await Promise.all(answers.map(bodyOf));
    expect(new Set(bodies).size).toBe(1);
    expect(bodies[0]).toContain('"XXBTZUSD"');
    expect(received()).toEqual([`/0/public/Ticker${XBT}`]);
    // Each is a call of its own in the log and the metrics.
    expect(records).toHaveLength(21);
    for (const record of records) {
      expect(record).toMatchObject({
        client: 'public',
        outcome: 'executed',
        status: 200,
        ownError: undefined,
      });
      expect(record.upstreamMs).toBeLessThanOrEqual(record.totalMs);
    }
  });

  it('share nothing when they differ in path, query or encoding', async () => {
    const own = open(SOON, world.sandbox.url, 1);
    const calls = [
      call(XBT),
      call(ETH),
      call(XBT, { endpoint: 'Depth' }),
      call(XBT, { acceptEncoding: 'gzip' }),
      call('', { body: Buffer.from('pair=XBTUSD') }), // an old client's way to ask for the first
      call(XBT, { headers: { 'user-agent': 'another' } }),
    ];
    const answers = await own.whenSpent(() => calls.map((each) => own.api.call(each)));
    await Promise.all(answers.map(bodyOf));
    expect(received()).toEqual(
      [XBT, ETH, XBT, XBT].map((q, i) => `/0/public/${i === 2 ? 'Depth' : 'Ticker'}${q}`),
    );
    expect(world.sandbox.received.map(({ headers }) => headers['accept-encoding'])).toEqual([
      ...[undefined, undefined, undefined, undefined],
      'gzip',
    ]);
  });

  it.each([
    ['opted out', { merge: false }],
    ['asks for what has changed only', { headers: { 'if-none-match': '"x"' } }],
  ])('share nothing with one that has %s', async (_, parts) => {
    const own = open(SOON);
    const calls = [call(XBT, parts), call(XBT), call(XBT, parts), call(XBT, { merge: true })];
    const answers = await own.whenSpent(() => calls.map((each) => own.api.call(each)));
    await Promise.all(answers.map(bodyOf));
    expect(received()).toHaveLength(3);
  });

  it('go in the order of their arrival', async () => {
    // By one connection: on several the last leg may differ.
    const own = open({ ...SOON, perSecond: 100 }, world.sandbox.url, 1);
    const queries = Array.from({ length: 15 }, (_, index) => `${XBT}&n=${index}`);
    const answers = await own.whenSpent(() => queries.map((query) => own.api.call(call(query))));
    await Promise.all(answers.map(bodyOf));
    expect(received()).toEqual(queries.map((query) => `/0/public/Ticker${query}`));
  });

  it('get an answer that is no older than their question', async () => {
    const own = open(SOON);
    world.sandbox.fault({ kind: 'hang', endpoint: 'Ticker' });
    const first = own.api.call(call(XBT));
    void codesOf([first]);
    await until(() => received().length === 1);
    // The same one is under way; this one wants to know what is true now.
    expect(await bodyOf(own.api.call(call(XBT)))).toContain('"XXBTZUSD"');
    expect(received()).toHaveLength(2);
  });

  it('leave for free when their client hangs up', async () => {
    const own = open(SOON);
    const answers = await own.whenSpent(() => {
      const made = [XBT, ETH, XBT, `${XBT}&n=1`].map((query) => own.api.call(call(query)));
      made[0]?.hangUp(); // the third is the same and waits on
      made[1]?.hangUp();
      made[1]?.hangUp();
      return made;
    });
    const ends = await Promise.allSettled(answers.map(bodyOf));
    expect(ends.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'fulfilled', 'fulfilled']);
    expect(ends[0]).toMatchObject({ reason: { name: 'HungUp' } });
    expect(received()).toEqual([XBT, `${XBT}&n=1`].map((query) => `/0/public/Ticker${query}`));
    const gone = records.filter(({ hungUp }) => hungUp);
    expect(gone).toHaveLength(2);
    for (const record of gone)
      expect(record).toMatchObject({ outcome: 'not-sent', upstreamMs: undefined, ownError: undefined });
  });

  it('whose client hangs up once they are sent go on to their end', async () => {
    const own = open(SOON);
    world.sandbox.fault({ kind: 'delay', endpoint: 'Ticker', delayMs: 20 });
    const answer = own.api.call(call(XBT));
    answer.hangUp();
    expect(await bodyOf(answer)).toContain('"XXBTZUSD"');
    expect(records).toMatchObject([{ hungUp: true, outcome: 'executed' }]);
  });

  it('are bounded, however many come at once', async () => {
    const own = open({ ...NEVER, burst: 5 });
    const answers = Array.from({ length: 1_000 }, (_, index) => own.api.call(call(`${XBT}&n=${index}`)));
    expect(own.budget.waiting).toBe(256);
    const codes = codesOf(answers);
    await until(() => records.length === 744); // the 256 wait on
    own.budget.close();
    const count = new Map<unknown, number>();
    for (const code of await codes) count.set(code, (count.get(code) ?? 0) + 1);
    expect(Object.fromEntries(count)).toEqual({ 200: 5, 'queue-full': 739, 'shutting-down': 256 });
    expect(received()).toHaveLength(5);
    expect(own.budget.waiting).toBe(0);
  });

  it('are refused at once when their turn could not come in time', async () => {
    const own = open({ maxWaitMs: 2_000 });
    const answers = Array.from({ length: 100 }, (_, index) => own.api.call(call(`${XBT}&n=${index}`)));
    expect(own.budget.waiting).toBe(2);
    own.budget.close();
    const codes = codesOf(answers);
    expect((await codes).filter((code) => code === 'rate-limited')).toHaveLength(93);
    const refused = records.filter(({ ownError }) => ownError === 'rate-limited');
    for (const record of refused)
      expect(record).toMatchObject({ outcome: 'not-sent', upstreamMs: undefined });
  });

  it('all fail when the one that was sent for them gets no reply', async () => {
    const own = open(SOON);
    world.sandbox.fault({ kind: 'reset-before', endpoint: 'Ticker' });
    const answers = await own.whenSpent(() => [1, 2, 3].map(() => own.api.call(call(XBT))));
    expect(await codesOf(answers)).toEqual(Array(3).fill('upstream-unreachable'));
    expect(records.filter(({ ownError }) => ownError === 'upstream-unreachable')).toHaveLength(3);
    expect(await bodyOf(own.api.call(call(XBT)))).toContain('"XXBTZUSD"');
  });

  it('are not kept waiting when they cannot be sent at all', async () => {
    const own = open(NEVER);
    const bad = { body: Buffer.from('{"pair":1}') };
    const answer = await own.whenSpent(() => own.api.call(call('', bad)));
    expect(await codesOf([answer])).toEqual(['invalid-body']);
    expect(own.budget.waiting).toBe(0);
  });
});

describe('the budget is empty', () => {
  it.each(['EAPI:Rate limit exceeded', 'EGeneral:Too many requests', 'EService: Throttled: 1'])(
    'after Kraken has answered %s',
    async (error) => {
      const own = open({ ...NEVER, burst: 100 });
      world.sandbox.fault({ kind: 'error', endpoint: 'Ticker', error });
      expect(await bodyOf(own.api.call(call(XBT)))).toContain(error);
      expect(records).toMatchObject([{ outcome: 'refused', krakenError: error }]);
      expect(own.budget.tryTake()).toBe(false);
    },
  );

  it('after Cloudflare has answered 429', async () => {
    const own = open({ ...NEVER, burst: 100 });
    world.sandbox.fault({ kind: 'html', endpoint: 'Ticker', status: 429 });
    await bodyOf(own.api.call(call(XBT)));
    expect(own.budget.tryTake()).toBe(false);
  });

  it.each(['EQuery:Unknown asset pair', 'EService:Unavailable'])('not after %s', async (error) => {
    const own = open({ ...NEVER, burst: 100 });
    world.sandbox.fault({ kind: 'error', endpoint: 'Ticker', error });
    await bodyOf(own.api.call(call(XBT)));
    expect(own.budget.tryTake()).toBe(true);
  });

  it.each([
    ['gzip', gzipSync('{"error":["EGeneral:Too many requests"]}'), 'refused', false],
    ['gzip', gzipSync('{"error":[],"result":{}}'), 'executed', true],
    ['gzip', Buffer.from('not gzip at all'), 'executed', true],
    ['gzip', gzipSync(Buffer.alloc(100_000)), 'executed', true],
    ['zstd', Buffer.from('whatever'), 'executed', true],
  ] as const)('also where the answer is encoded: %s %#', async (encoding, body, outcome, isLeft) => {
    const head = `HTTP/1.1 200 OK\r\ncontent-encoding: ${encoding}\r\ncontent-length: ${body.length}\r\n\r\n`;
    const odd = await openOddUpstream(Buffer.concat([Buffer.from(head), body]));
    closers.push(() => odd.close());
    const own = open({ ...NEVER, burst: 100 }, odd.url);
    const { reply } = own.api.call(call(XBT, { acceptEncoding: encoding }));
    expect((await reply).body).toEqual(body); // as it came
    expect(records).toMatchObject([{ outcome, status: 200 }]);
    expect(own.budget.tryTake()).toBe(isLeft);
  });
});

it('without a budget every call goes at once, 256 at a time', async () => {
  const upstream = new Upstream({ url: world.sandbox.url, timeoutMs: 15_000, connections: 8 });
  closers.push(() => upstream.close());
  const api = new PublicApi({ upstream, record: (record) => records.push(record) });
  const codes = await codesOf(Array.from({ length: 1_000 }, () => api.call(call(XBT))));
  expect(codes.filter((code) => code === 200)).toHaveLength(256);
  expect(codes.filter((code) => code === 'queue-full')).toHaveLength(744);
  expect(records.filter(({ upstreamMs }) => upstreamMs === undefined)).toHaveLength(744);
  expect((await api.call(call(XBT)).reply).status).toBe(200);
});

describe('one attempt', () => {
  const send = (upstream: Upstream, timeoutMs: number): Promise<UpstreamReply> =>
    upstream.send({ method: 'GET', path: `/0/public/Ticker${XBT}`, headers: {}, body: null, timeoutMs });

  it.each([
    ['may have less time than the others', 15_000, 30],
    ['has no more time than the others', 30, 15_000],
  ])('%s', async (_, ofAll, ofOne) => {
    const upstream = new Upstream({ url: world.sandbox.url, timeoutMs: ofAll, connections: 1 });
    closers.push(() => upstream.close());
    world.sandbox.fault({ kind: 'hang', endpoint: 'Ticker' });
    await expect(send(upstream, ofOne)).rejects.toMatchObject({ message: 'no whole reply within 30 ms' });
  });
});
