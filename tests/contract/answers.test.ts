import type { Begun, OpenRecord } from '../../src/answers/begun.js';
import {
  FileAnswers,
  SharedAnswers,
  type AnswersStore,
  type KeptAnswers,
} from '../support/answers-stores.js';
import {
  callId,
  doubtOf,
  INTENT,
  newRecord,
  oneThatIs,
  outcomeOf,
  replayed,
  replyOf,
} from '../support/answers-world.js';
import { PostgresServer, withPostgres } from '../support/postgres.js';

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;

describe('KnownAnswers, in a file of one process', () => {
  keepsItsPromises(() => Promise.resolve(new FileAnswers()));
});

withPostgres('PostgresAnswers, which several nodes share', () => {
  let server: PostgresServer;
  let url: string;
  beforeAll(async () => {
    server = await PostgresServer.start({ settings: { fsync: 'off' } });
    url = await server.freshDatabase();
  }, 60_000);
  afterAll(() => server.remove());
  keepsItsPromises(() => SharedAnswers.emptied(server, url));
});

/** What every implementation of `Answers` does, whatever it writes to. */
function keepsItsPromises(createStore: () => Promise<AnswersStore>): void {
  let store: AnswersStore;
  let answers: KeptAnswers;
  beforeEach(async () => {
    store = await createStore();
    answers = await store.open();
  });
  afterEach(() => store.remove());

  const lostId = callId({ kind: 'body', id: '' });
  const begin = async (id = callId(), intent = INTENT): Promise<Begun> => await answers.begin(id, intent);

  /** A call that is sent and answered. */
  async function answer(text: string, id = callId()): Promise<void> {
    const record = newRecord(await begin(id));
    await record.written;
    expect(await record.answered(replyOf(text))).toBeUndefined();
  }

  /** A call of that id whose reply was lost, and of which nobody finds out. */
  async function lose(until?: number): Promise<void> {
    const record = answers.lost(lostId, INTENT);
    await record.written;
    await record.leaveInDoubt({ ...INTENT, until });
  }

  /** As the next process finds it. */
  async function restart(): Promise<void> {
    answers = await store.open();
  }

  describe.each(['key', 'order'] as const)('a call with an id of its own (%s)', (kind) => {
    const id = callId({ kind });

    it('is done once; its answer is replayed, byte for byte, after a restart too', async () => {
      await answer('{"error":[],"result":"é"}', id);
      expect(await begin(id)).toEqual({ state: 'answered', reply: replyOf('{"error":[],"result":"é"}') });
      await restart();
      expect(await begin(id)).toEqual({ state: 'answered', reply: replyOf('{"error":[],"result":"é"}') });
    });

    it('an answer that is no text is replayed byte for byte', async () => {
      const record = newRecord(await begin(id));
      await record.written;
      const reply = { ...replyOf(''), body: Buffer.from([0, 255, 0xc3, 0x28, 10]) };
      await record.answered(reply);
      expect(await begin(id)).toEqual({ state: 'answered', reply });
      await restart();
      expect(await begin(id)).toEqual({ state: 'answered', reply });
    });

    it('one at a time: those who come meanwhile get its reply', async () => {
      const record = newRecord(await begin(id));
      const waiting = [outcomeOf(await begin(id)), outcomeOf(await begin(id))];
      await record.written;
      void record.answered(replyOf('one'));
      expect((await Promise.all(waiting)).map((reply) => reply?.body.toString())).toEqual(['one', 'one']);
    });

    it('of many that begin at once one is new', async () => {
      const begun = await Promise.all(Array.from({ length: 20 }, () => begin(id)));
      const states = begun.map(({ state }) => state);
      expect(states.toSorted()).toEqual(['new', ...Array<string>(19).fill('under-way')].toSorted());
      const record = newRecord(oneThatIs('new', begun));
      await record.written;
      await record.answered(replyOf('one'));
      for (const one of begun)
        if (one.state === 'under-way') expect((await one.outcome)?.body.toString()).toBe('one');
    });

    it('that is forgotten is new for the next, and for those who waited', async () => {
      const record = newRecord(await begin(id));
      const waiting = outcomeOf(await begin(id));
      await record.written;
      record.forget();
      expect(await waiting).toBeUndefined();
      await newRecord(await begin(id)).written;
      await restart();
      expect((await begin(id)).state).toBe('in-doubt');
    });

    it('that was forgotten before it was written is new after a restart', async () => {
      const record = newRecord(await begin(id));
      record.forget();
      await record.written;
      await answers.close();
      await restart();
      expect((await begin(id)).state).toBe('new');
    });

    it('without an end is in doubt after a crash, with its intent; one finds out, the others wait', async () => {
      await newRecord(await begin(id)).written;
      await restart();
      const doubt = doubtOf(await begin(id, { ...INTENT, until: 1 }));
      expect(doubt.intent).toEqual(INTENT);
      const waiting = outcomeOf(await begin(id));
      await doubt.record.written;
      await doubt.record.answered(replyOf('found'));
      expect((await waiting)?.body.toString()).toBe('found');
      await restart();
      expect(replayed(await begin(id))).toBe('found');
    });

    it('that is left in doubt is so for the next, with the latest intent, after a restart too', async () => {
      const record = newRecord(await begin(id));
      const waiting = outcomeOf(await begin(id));
      await record.written;
      await record.leaveInDoubt({ ...INTENT, sentAt: 5 });
      expect(await waiting).toBeUndefined();
      const doubt = doubtOf(await begin(id));
      expect(doubt.intent).toEqual({ ...INTENT, sentAt: 5 });
      await doubt.record.leaveInDoubt({ ...INTENT, until: 7 });
      await answers.close();
      await restart();
      expect(doubtOf(await begin(id)).intent.until).toBe(7);
      // A crash of the one who was finding out.
      await restart();
      expect(doubtOf(await begin(id)).intent.until).toBe(7);
    });

    it('whose doubt was cleared up is new', async () => {
      await newRecord(await begin(id)).written;
      await restart();
      doubtOf(await begin(id)).record.forget();
      expect((await begin(id)).state).toBe('new');
    });

    it('that is updated is looked for by its later intent', async () => {
      const record = newRecord(await begin(id));
      await record.written;
      await record.update({ ...INTENT, sentAt: 9 });
      expect((await begin(id)).state).toBe('under-way');
      await restart();
      expect(doubtOf(await begin(id)).intent).toEqual({ ...INTENT, sentAt: 9 });
    });

    it('comes to one end: later ones do nothing', async () => {
      const record = newRecord(await begin(id));
      await record.written;
      await record.answered(replyOf('one'));
      record.forget();
      await record.leaveInDoubt(INTENT);
      await record.update(INTENT);
      expect(await record.answered(replyOf('two'))).toBeUndefined();
      expect(replayed(await begin(id))).toBe('one');
    });

    it('whose answer is too large to be kept was done', async () => {
      await answer('x'.repeat(300_000), id);
      expect(await begin(id)).toEqual({ state: 'done' });
      await restart();
      expect(await begin(id)).toEqual({ state: 'done' });
    });

    it('is known for 24 hours from its end', async () => {
      await answer('one', id);
      await store.age(DAY_MS - MINUTE_MS);
      expect([await answers.has(id), (await begin(id)).state]).toEqual([true, 'answered']);
      await store.age(MINUTE_MS);
      expect([await answers.has(id), (await begin(id)).state]).toEqual([false, 'new']);
    });

    it('in doubt for 24 hours it is new', async () => {
      const record = newRecord(await begin(id));
      await record.written;
      await record.leaveInDoubt(INTENT);
      await store.age(DAY_MS);
      expect([await answers.has(id), (await begin(id)).state]).toEqual([false, 'new']);
    });

    it('under way it stays so for longer than a day', async () => {
      await newRecord(await begin(id)).written;
      await store.age(2 * DAY_MS);
      expect([await answers.has(id), (await begin(id)).state]).toEqual([true, 'under-way']);
    });
  });

  describe('orders that are canceled', () => {
    const id = callId({ kind: 'order', id: 'bid' });
    const PLACED = '{"error":[],"result":{"txid":["TXID-1"]}}';
    const cancel = async (orders: readonly string[] | 'all', account = 'master'): Promise<void> =>
      await answers.canceled(account, orders, performance.now());
    const known = async (of = id): Promise<boolean> => await answers.has(of);

    it.each([
      ['its txid', ['other', 'TXID-1']],
      ['its cl_ord_id', ['bid']],
      ['a cancel of all', 'all'],
    ] as const)('an order that is canceled by %s is new, after a restart too', async (_, orders) => {
      await answer(PLACED, id);
      await restart();
      await cancel(orders);
      expect(await known()).toBe(false);
      await answer('{"error":[],"result":{"txid":["TXID-2"]}}', id);
      await cancel(['TXID-1']);
      expect(replayed(await begin(id))).toContain('TXID-2');
    });

    it('the orders of a batch are named by each of their ids', async () => {
      const batch = callId({ kind: 'order', endpoint: 'AddOrderBatch', id: 'bid\nask' });
      const text = '{"error":[],"result":{"orders":[{"txid":"TXID-1"},{"txid":"TXID-2"}]}}';
      for (const name of ['bid', 'ask', 'TXID-1', 'TXID-2']) {
        await answer(text, batch);
        await cancel([name]);
        expect(await known(batch)).toBe(false);
      }
    });

    it('what else is canceled, or elsewhere, changes nothing', async () => {
      await answer(PLACED, id);
      await cancel(['ask', 'TXID-2', '']);
      await cancel([]);
      await cancel(['bid', 'TXID-1'], 'alice');
      await cancel('all', 'alice');
      expect(replayed(await begin(id))).toBe(PLACED);
    });

    it('an Idempotency-Key stands for its one call all the same', async () => {
      await answer(PLACED);
      await cancel(['TXID-1']);
      await cancel('all');
      expect(replayed(await begin())).toBe(PLACED);
    });

    it('one under way, or in doubt, is not forgotten', async () => {
      const record = newRecord(await begin(id));
      await record.written;
      await cancel(['bid']);
      await cancel('all');
      expect((await begin(id)).state).toBe('under-way');
      await record.leaveInDoubt(INTENT);
      await cancel(['bid']);
      await cancel('all');
      expect((await begin(id)).state).toBe('in-doubt');
    });

    it('nor is money that moves', async () => {
      const withdrawal = callId({ kind: 'body', id: '', endpoint: 'Withdraw' });
      await answers.lost(withdrawal, INTENT).answered(replyOf('{"error":[],"result":{"refid":"REF-1"}}'));
      await cancel('all');
      await cancel(['REF-1']);
      expect(await known(withdrawal)).toBe(true);
    });
  });

  it.each([{ endpoint: 'CancelOrder' }, { digest: 'd2' }])(
    'an idempotency key that is used for another call (%o) is a mistake, in every state',
    async (other) => {
      const mistake = { state: 'mismatch' };
      const record = newRecord(await begin());
      await record.written;
      expect(await begin(callId(other))).toEqual(mistake);
      await record.leaveInDoubt(INTENT);
      expect(await begin(callId(other))).toEqual(mistake);
      await doubtOf(await begin()).record.answered(replyOf('one'));
      expect(await begin(callId(other))).toEqual(mistake);
      await restart();
      expect(await begin(callId(other))).toEqual(mistake);
      expect(replayed(await begin())).toBe('one');
      await store.age(DAY_MS);
      expect((await begin(callId(other))).state).toBe('new');
    },
  );

  it.each([{ client: 'other' }, { account: 'alice' }, { id: 'k2' }, { kind: 'order' as const }])(
    'another call (%o) is another',
    async (other) => {
      await answer('one');
      expect(await answers.has(callId(other))).toBe(false);
      expect((await begin(callId(other))).state).toBe('new');
    },
  );

  it('an order with the same id but other parameters is another one', async () => {
    await answer('one', callId({ kind: 'order' }));
    expect((await begin(callId({ kind: 'order', digest: 'd2' }))).state).toBe('new');
  });

  describe('a call without an id', () => {
    it('is new each time while none was lost, and leaves no trace', async () => {
      const record = newRecord(await begin(lostId));
      expect((await begin(lostId)).state).toBe('new');
      await record.written;
      expect(await record.answered(replyOf('one'))).toBeUndefined();
      expect(await answers.has(lostId)).toBe(false);
      expect((await begin(lostId)).state).toBe('new');
    });

    it('that is left in doubt is found out by the next; its answer is replayed once', async () => {
      await newRecord(await begin(lostId)).leaveInDoubt(INTENT);
      expect((await begin(callId({ kind: 'body', id: '', digest: 'd2' }))).state).toBe('new');
      const doubt = doubtOf(await begin(lostId, { ...INTENT, until: 1 }));
      expect(doubt.intent).toEqual(INTENT);
      await doubt.record.written;
      await doubt.record.answered(replyOf('found'));
      doubt.record.forget();
      expect(replayed(await begin(lostId))).toBe('found');
      expect((await begin(lostId)).state).toBe('new');
    });

    it('whose holder finds out himself: an equal one waits for him, and is told his answer', async () => {
      const record = answers.lost(lostId, INTENT);
      expect([answers.hasBodies, await answers.has(lostId)]).toEqual([true, true]);
      const waiting = outcomeOf(await begin(lostId));
      await record.leaveInDoubt({ ...INTENT, until: 3 });
      expect(await waiting).toBeUndefined();
      const doubt = doubtOf(await begin(lostId));
      expect(doubt.intent.until).toBe(3);
      await doubt.record.answered(replyOf('found'));
      expect(replayed(await begin(lostId))).toBe('found');
      expect(await answers.has(lostId)).toBe(false);
    });

    it('concerns only those that arrived after its client was gone', async () => {
      // What is known of the time of others is a matter of milliseconds.
      await begin(lostId);
      const since = performance.now();
      await answers.lost(lostId, INTENT, since).answered(replyOf('found'));
      expect(await answers.has(lostId, since - 5_000)).toBe(false);
      expect((await answers.begin(lostId, INTENT, since - 5_000)).state).toBe('new');
      expect(await answers.has(lostId, since + 5_000)).toBe(true);
      expect(replayed(await answers.begin(lostId, INTENT, since + 5_000))).toBe('found');
    });

    it('told to one of those who waited, it has been told: the others are calls of their own', async () => {
      await lose();
      const { record } = doubtOf(await begin(lostId));
      const waiting = [outcomeOf(await begin(lostId)), outcomeOf(await begin(lostId))];
      await record.answered(replyOf('found'));
      expect(await Promise.all(waiting)).toEqual([undefined, undefined]);
      expect(await begin(lostId)).toEqual({ state: 'answered', reply: replyOf('found') });
      expect((await begin(lostId)).state).toBe('new');
    });

    it('certainly not executed, it is new', async () => {
      await lose();
      doubtOf(await begin(lostId)).record.forget();
      expect((await begin(lostId)).state).toBe('new');
    });

    it('two equal ones that were lost are found out one by one, and told one by one', async () => {
      await lose(1);
      await lose(2);
      const first = doubtOf(await begin(lostId));
      const second = doubtOf(await begin(lostId));
      expect([first.intent.until, second.intent.until]).toEqual([1, 2]);
      await first.record.answered(replyOf('first'));
      await second.record.answered(replyOf('second'));
      expect(replayed(await begin(lostId))).toBe('first');
      expect(replayed(await begin(lostId))).toBe('second');
      expect((await begin(lostId)).state).toBe('new');
    });

    it('too large to be kept, it is not done again once', async () => {
      await lose();
      await doubtOf(await begin(lostId)).record.answered(replyOf('x'.repeat(300_000)));
      expect(await begin(lostId)).toEqual({ state: 'done' });
      expect((await begin(lostId)).state).toBe('new');
    });

    it.each([['TXID-1'], 'all'] as const)('whose order is canceled (%s) is new', async (orders) => {
      const reply = replyOf('{"error":[],"result":{"txid":["TXID-1"]}}');
      await answers.lost(lostId, INTENT).answered(reply);
      await lose();
      await answers.canceled('master', orders, performance.now());
      expect((await begin(lostId)).state).toBe('in-doubt');
    });

    it.each([
      ['answer', (record: OpenRecord) => record.answered(replyOf('found'))],
      ['doubt', (record: OpenRecord) => record.leaveInDoubt(INTENT)],
    ])('its %s lasts ten minutes', async (_, end) => {
      await end(answers.lost(lostId, INTENT));
      await store.age(9 * MINUTE_MS);
      expect(await answers.has(lostId)).toBe(true);
      await store.age(MINUTE_MS);
      expect(await answers.has(lostId)).toBe(false);
      expect((await begin(lostId)).state).toBe('new');
    });
  });
}
