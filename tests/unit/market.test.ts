import { KrakenMarket, type Pair } from '../../src/kraken/market.js';

const PAIRS = {
  XXBTZUSD: { altname: 'XBTUSD', wsname: 'XBT/USD', base: 'XXBT', quote: 'ZUSD' },
  SOLUSD: { altname: 'SOLUSD', wsname: 'SOL/USD', base: 'SOL', quote: 'ZUSD' },
  XBTOLD: { altname: 'XBTOLD' },
};
const XBTUSD: Pair = { id: 'XXBTZUSD', base: 'XBT', quote: 'USD' };

const ok = (result: unknown): Buffer => Buffer.from(JSON.stringify({ error: [], result }));
const ticker = (last = '60000.0', id = 'XXBTZUSD'): Buffer =>
  ok({ [id]: { a: ['60000.1', '1', '1'], b: ['59999.9', '1', '1'], c: [last, '0.1'] } });

/** A market whose upstream and clock the test holds. */
class World {
  now = 1_000_000;
  wallNow = 1_800_000_000_000;
  readonly asked: string[] = [];
  answer: (path: string) => Buffer | Promise<Buffer> = (path) =>
    path === '/0/public/AssetPairs' ? ok(PAIRS) : ticker();
  readonly market = new KrakenMarket({
    send: async (path) => {
      this.asked.push(path);
      return await this.answer(path);
    },
    now: () => this.now,
    wallNow: () => this.wallNow,
  });

  fail(): void {
    this.answer = () => Promise.reject(new Error('connection refused'));
  }
}

describe('pairs', () => {
  it('are found by id, altname and wsname, in exact case only', async () => {
    const { market } = new World();
    for (const name of ['XXBTZUSD', 'XBTUSD', 'XBT/USD']) expect(await market.pair(name)).toEqual(XBTUSD);
    for (const name of ['xbtusd', 'BTCUSD', 'XBTUSD ', '', '__proto__', 'constructor', 'XBTOLD']) {
      expect(await market.pair(name)).toBeUndefined();
    }
  });

  it('share one question', async () => {
    const world = new World();
    await Promise.all([
      world.market.pair('XBTUSD'),
      world.market.pair('SOLUSD'),
      world.market.pair('XBTUSD'),
    ]);
    expect(world.asked).toEqual(['/0/public/AssetPairs']);
  });

  it('are asked again after an hour, and before for an unknown name, but not twice a minute', async () => {
    const world = new World();
    await world.market.pair('XBTUSD');
    world.now += 59_999;
    await world.market.pair('NEWUSD');
    expect(world.asked).toHaveLength(1);
    world.now += 1;
    await world.market.pair('NEWUSD');
    await world.market.pair('NEWUSD');
    expect(world.asked).toHaveLength(2);
    world.now += 3_599_999;
    await world.market.pair('XBTUSD');
    expect(world.asked).toHaveLength(2);
    world.now += 1;
    await world.market.pair('XBTUSD');
    expect(world.asked).toHaveLength(3);
  });

  it('a pair that Kraken lists later is found', async () => {
    const world = new World();
    expect(await world.market.pair('NEWUSD')).toBeUndefined();
    world.answer = () => ok({ ...PAIRS, NEWUSD: { altname: 'NEWUSD', wsname: 'NEW/USD' } });
    world.now += 60_000;
    expect(await world.market.pair('NEWUSD')).toMatchObject({ quote: 'USD' });
  });

  it('stay good for any time when Kraken does not answer, and are asked for at most once a second', async () => {
    const world = new World();
    await world.market.pair('XBTUSD');
    world.fail();
    world.now += 86_400_000;
    for (let call = 0; call < 3; call++) expect(await world.market.pair('XBTUSD')).toEqual(XBTUSD);
    expect(world.asked).toHaveLength(2);
    world.now += 1000;
    await world.market.pair('XBTUSD');
    expect(world.asked).toHaveLength(3);
  });

  it('reject when there never was a list; a failure is not kept longer than a second', async () => {
    const world = new World();
    const answer = world.answer;
    world.fail();
    await expect(world.market.pair('XBTUSD')).rejects.toThrow();
    world.answer = answer;
    await expect(world.market.pair('XBTUSD')).rejects.toThrow();
    world.now += 1000;
    expect(await world.market.pair('XBTUSD')).toEqual(XBTUSD);
  });

  it('a name that two pairs have is nobody’s', async () => {
    const world = new World();
    world.answer = () => ok({ ...PAIRS, OTHER: { altname: 'XBTUSD', wsname: 'XBT/EUR' } });
    expect(await world.market.pair('XBTUSD')).toBeUndefined();
    expect(await world.market.pair('XXBTZUSD')).toEqual(XBTUSD);
  });

  it.each([
    ['not JSON', Buffer.from('<html>')],
    ['an error', Buffer.from('{"error":["EService:Unavailable"]}')],
    ['no error list', Buffer.from('{"result":{}}')],
    ['no pairs', ok({})],
    ['a list', ok([])],
    ['no objects', ok({ XBTUSD: 'XBT/USD' })],
  ])('reject an odd reply: %s', async (_, reply) => {
    const world = new World();
    world.answer = () => reply;
    await expect(world.market.pair('XBTUSD')).rejects.toThrow();
  });
});

describe('prices', () => {
  it('are what the ticker says, kept for 5 s and shared', async () => {
    const world = new World();
    const price = { ask: '60000.1', bid: '59999.9', last: '60000.0' };
    expect(await Promise.all([world.market.price(XBTUSD), world.market.price(XBTUSD)])).toEqual([
      price,
      price,
    ]);
    world.now += 4999;
    await world.market.price(XBTUSD);
    expect(world.asked).toEqual(['/0/public/Ticker?pair=XXBTZUSD']);
    world.answer = () => ticker('61000');
    world.now += 1;
    expect((await world.market.price(XBTUSD)).last).toBe('61000');
  });

  it('stay good until they are a minute old, measured from the question', async () => {
    const world = new World();
    world.answer = () => {
      world.now += 10_000; // a slow reply
      return ticker();
    };
    await world.market.price(XBTUSD);
    world.fail();
    world.now += 49_999;
    expect((await world.market.price(XBTUSD)).last).toBe('60000.0');
    world.now += 1;
    await expect(world.market.price(XBTUSD)).rejects.toThrow();
  });

  it('are no longer good when the machine slept for a minute, which only the clock on the wall tells', async () => {
    const world = new World();
    await world.market.price(XBTUSD);
    world.fail();
    world.wallNow += 59_999;
    expect((await world.market.price(XBTUSD)).last).toBe('60000.0');
    world.wallNow += 1;
    await expect(world.market.price(XBTUSD)).rejects.toThrow();
  });

  it('become no younger by a wall clock that is set back', async () => {
    const world = new World();
    await world.market.price(XBTUSD);
    world.fail();
    world.wallNow -= 86_400_000;
    world.now += 60_000;
    await expect(world.market.price(XBTUSD)).rejects.toThrow();
  });

  it('reject a reply that took a minute', async () => {
    const world = new World();
    world.answer = () => {
      world.now += 60_000;
      return ticker();
    };
    await expect(world.market.price(XBTUSD)).rejects.toThrow();
  });

  it('a failed question is asked again after a second, not by every caller', async () => {
    const world = new World();
    world.fail();
    for (let call = 0; call < 3; call++) await expect(world.market.price(XBTUSD)).rejects.toThrow();
    expect(world.asked).toHaveLength(1);
    world.now += 1000;
    await expect(world.market.price(XBTUSD)).rejects.toThrow();
    expect(world.asked).toHaveLength(2);
  });

  it.each([
    ['of another pair', ticker('1', 'XETHZUSD')],
    ['of two pairs', ok({ XXBTZUSD: { a: ['1'], b: ['1'], c: ['1'] }, XETHZUSD: {} })],
    ['zero', ticker('0.0')],
    ['negative', ticker('-1')],
    ['with an exponent', ticker('1e5')],
    ['empty', ok({})],
    ['without an ask', ok({ XXBTZUSD: { b: ['1'], c: ['1'] } })],
    ['as numbers', ok({ XXBTZUSD: { a: [1], b: [1], c: [1] } })],
    ['an error', Buffer.from('{"error":["EGeneral:Too many requests"],"result":{}}')],
  ])('reject an odd reply: %s', async (_, reply) => {
    const world = new World();
    world.answer = () => reply;
    await expect(world.market.price(XBTUSD)).rejects.toThrow();
  });

  it('a pair that is called like a property of objects has no price by accident', async () => {
    const world = new World();
    world.answer = () => ok({});
    await expect(world.market.price({ id: 'constructor', base: 'A', quote: 'B' })).rejects.toThrow();
  });
});
