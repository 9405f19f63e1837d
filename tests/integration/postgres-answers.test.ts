import type { Begun } from '../../src/answers/begun.js';
import { PostgresAnswers } from '../../src/answers/postgres-answers.js';
import { DatabaseClock } from '../../src/postgres/database-clock.js';
import { DatabaseError, type Values } from '../../src/postgres/database.js';
import { SharedAnswers, type AnswersNode } from '../support/answers-stores.js';
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
import { until } from '../support/until.js';

interface Row {
  readonly key: string;
  readonly state: string;
  readonly node: string | null;
}

withPostgres('two nodes that share their answers', () => {
  const lostId = callId({ kind: 'body', id: '' });
  const refused = { code: 'not-owner', message: expect.stringMatching(/^the database: /) as unknown };
  let server: PostgresServer;
  let url: string;
  let store: SharedAnswers;
  let one: AnswersNode;
  let other: AnswersNode;

  beforeAll(async () => {
    server = await PostgresServer.start({ settings: { fsync: 'off' } });
    url = await server.freshDatabase();
  }, 60_000);
  afterAll(() => server.remove());
  beforeEach(async () => {
    store = await SharedAnswers.emptied(server, url);
    one = await store.node(1_000, 200);
    other = await store.node(1_000, 200);
  });
  afterEach(async () => {
    await server.thaw();
    await store.remove();
  });

  const begin = ({ answers }: AnswersNode, id = callId()): Promise<Begun> => answers.begin(id, INTENT);
  const rows = (): Promise<readonly Row[]> =>
    store.query<Row>('SELECT key, state, node FROM kraken_proxy.answer');
  const lost = (): Promise<readonly Row[]> =>
    store.query<Row>('SELECT key, state, node FROM kraken_proxy.lost_reply ORDER BY at');
  const statesOf = (begun: readonly Begun[]): string[] => begun.map(({ state }) => state).toSorted();

  it('a repeat that reaches the other node gets the first answer', async () => {
    const record = newRecord(await begin(one));
    expect(await record.answered(replyOf('one'))).toBeUndefined();
    expect(replayed(await begin(other))).toBe('one');
    expect(await other.answers.has(callId())).toBe(true);
  });

  it('its key for another call is a mistake at the other node too', async () => {
    newRecord(await begin(one));
    expect(await begin(other, callId({ digest: 'd2' }))).toEqual({ state: 'mismatch' });
  });

  it('one that comes while it is under way waits for its reply', async () => {
    const record = newRecord(await begin(one));
    const waiting = [outcomeOf(await begin(other)), outcomeOf(await begin(other))];
    await record.answered(replyOf('one'));
    expect((await Promise.all(waiting)).map((reply) => reply?.body.toString())).toEqual(['one', 'one']);
  });

  it.each([
    ['is forgotten', 'new'],
    ['goes into doubt', 'in-doubt'],
    ['was too large to be kept', 'done'],
    ['loses its node', 'in-doubt'],
  ])('one that waits for a call that %s looks anew: it is %s', async (end, state) => {
    const record = newRecord(await begin(one));
    const waiting = outcomeOf(await begin(other));
    if (end === 'is forgotten') record.forget();
    if (end === 'goes into doubt') await record.leaveInDoubt(INTENT);
    if (end === 'was too large to be kept') await record.answered(replyOf('x'.repeat(300_000)));
    if (end === 'loses its node') await store.die(one);
    expect(await waiting).toBeUndefined();
    expect((await begin(other)).state).toBe(state);
  });

  it('who waits elsewhere is not kept by a node that closes', async () => {
    newRecord(await begin(one));
    const waiting = outcomeOf(await begin(other));
    await other.answers.close();
    expect(await waiting).toBeUndefined();
  });

  it('of two that begin at once exactly one is new, fifty times', async () => {
    const pairs = Array.from({ length: 50 }, async (_, index) => {
      const id = callId({ id: `race-${index}` });
      return statesOf(await Promise.all([begin(one, id), begin(other, id)]));
    });
    for (const states of await Promise.all(pairs)) expect(states).toEqual(['new', 'under-way']);
  });

  it.each(['dead', 'in doubt'])(
    'a call whose node is %s is found out by exactly one of several',
    async (how) => {
      const first = await store.node();
      const record = newRecord(await begin(first));
      if (how === 'dead') await store.die(first);
      else await record.leaveInDoubt(INTENT);
      const begun = await Promise.all([one, other, one, other, one, other].map((node) => begin(node)));
      expect(statesOf(begun)).toEqual(['in-doubt', ...Array<string>(5).fill('under-way')]);
      await doubtOf(oneThatIs('in-doubt', begun)).record.answered(replyOf('found'));
      for (const waiting of begun)
        if (waiting.state === 'under-way') expect((await waiting.outcome)?.body.toString()).toBe('found');
    },
  );

  it.each(['answer', 'doubt', 'update', 'forget'])(
    'what a node that was frozen says later (%s) does not change what another has decided',
    async (late) => {
      const frozen = newRecord(await begin(one));
      await store.die(one);
      const doubt = doubtOf(await begin(other));
      const say = async (): Promise<void> => {
        const reason = expect.objectContaining({ code: 'not-owner' }) as unknown;
        if (late === 'answer') expect(await frozen.answered(replyOf('late'))).toEqual(reason);
        if (late === 'doubt') await frozen.leaveInDoubt({ ...INTENT, until: 1 });
        if (late === 'update') await expect(frozen.update({ ...INTENT, until: 1 })).rejects.toEqual(reason);
        if (late === 'forget') frozen.forget();
        await one.answers.close(); // it is written by then
      };
      await say();
      expect(await rows()).toMatchObject([{ state: 'under-way', node: other.run }]);
      expect(await doubt.record.answered(replyOf('decided'))).toBeUndefined();
      expect(replayed(await begin(other))).toBe('decided');
    },
  );

  it('a node that hears that another has taken its call over asks anew, and gets what that one found', async () => {
    const frozen = newRecord(await begin(one));
    await store.die(one);
    const doubt = doubtOf(await begin(other));
    frozen.forget();
    const waiting = outcomeOf(await begin(one));
    await doubt.record.answered(replyOf('decided'));
    expect((await waiting)?.body.toString()).toBe('decided');
  });

  it('a record names the row that has to be its own when it is sent', async () => {
    const { claim } = newRecord(await begin(one));
    expect(await rows()).toEqual([{ key: claim?.answer, state: 'under-way', node: one.run }]);
    const record = one.answers.lost(lostId, INTENT);
    await record.written;
    expect(
      await store.query(
        `SELECT node FROM kraken_proxy.lost_reply WHERE id = '${record.claim?.lostReply ?? ''}'`,
      ),
    ).toEqual([{ node: one.run }]);
  });

  describe('an end that the database has lost', () => {
    /** As a replica has it that takes over: the record, and not its end. */
    const lose = async (as = `state = 'under-way', node = '${one.run}'`): Promise<void> => {
      const json = JSON.stringify(INTENT);
      await store.query(
        `UPDATE kraken_proxy.answer SET ${as}, json = '${json}', account = NULL, orders = NULL`,
      );
    };
    const order = callId({ kind: 'order', id: 'bid' });
    const PLACED = '{"error":[],"result":{"txid":["TXID-1"]}}';

    it.each([
      ['under way, by its own name', undefined],
      ['in doubt', `state = 'in-doubt', node = NULL`],
      ['in doubt since another took it over', `state = 'in-doubt', node = NULL, record = 'another'`],
      ['of another that has died', `state = 'under-way', node = 'dead', record = 'another'`],
    ])('is told again by the node that has told it: %s', async (_, as) => {
      await newRecord(await begin(one, order)).answered(replyOf(PLACED));
      await lose(as);
      expect(replayed(await begin(one, order))).toBe(PLACED);
      expect(replayed(await begin(other, order))).toBe(PLACED);
      await other.answers.canceled('master', ['TXID-1'], performance.now());
      expect((await begin(other, order)).state).toBe('new');
    });

    it('others need not ask for it: its node stores it again', async () => {
      await newRecord(await begin(one, order)).answered(replyOf(PLACED));
      await one.answers.lost(lostId, INTENT).answered(replyOf('lost'));
      await lose();
      await store.query(
        `UPDATE kraken_proxy.lost_reply SET state = 'under-way', node = '${one.run}', json = '{}'`,
      );
      await store.age(11_000);
      await one.answers.releaseStrays();
      expect(replayed(await begin(other, order))).toBe(PLACED);
      expect(replayed(await begin(other, lostId))).toBe('lost');
    });

    it('not while another finds out about it', async () => {
      await newRecord(await begin(one)).answered(replyOf('one'));
      await lose(`state = 'under-way', node = '${other.run}'`);
      expect((await begin(one)).state).toBe('under-way');
    });

    it('not when what is in doubt is a later try', async () => {
      const record = newRecord(await begin(one));
      await record.leaveInDoubt(INTENT);
      const { record: found } = doubtOf(await begin(one));
      await found.answered(replyOf('first'));
      await lose(`state = 'in-doubt', node = NULL`);
      const sentAgain = doubtOf(await begin(other)).record;
      await sentAgain.update(INTENT);
      await sentAgain.leaveInDoubt(INTENT);
      expect((await begin(one)).state).toBe('in-doubt');
    });

    it('what was canceled elsewhere is not told again', async () => {
      await newRecord(await begin(one, order)).answered(replyOf(PLACED));
      await other.answers.canceled('master', ['bid'], performance.now());
      await newRecord(await begin(other, order)).leaveInDoubt(INTENT);
      expect((await begin(one, order)).state).toBe('in-doubt');
    });

    it('of a lost reply it is told to one all the same', async () => {
      await one.answers.lost(lostId, INTENT).answered(replyOf('one'));
      await store.query(
        `UPDATE kraken_proxy.lost_reply SET state = 'under-way', node = '${one.run}', json = '{}'`,
      );
      expect(replayed(await begin(one, lostId))).toBe('one');
      expect((await begin(one, lostId)).state).toBe('new');
    });
  });

  describe('a statement that comes late', () => {
    type Query = (text: string, values: Values) => boolean;
    /** Those that `isLost` chooses are given up, as after a patience; they may arrive when the next one has been sent. */
    class Lossy {
      readonly lost: (() => Promise<unknown>)[] = [];
      isLost: Query = () => false;
      mayHaveArrived = false;

      async query<Row>(text: string, values: Values = []): Promise<readonly Row[]> {
        const send = async (): Promise<readonly Row[]> => await one.database.query<Row>(text, values);
        if (!this.isLost(text, values)) return await send();
        if (this.mayHaveArrived) await send();
        else this.lost.push(send);
        throw new DatabaseError(new Error('Query read timeout'));
      }

      /** They arrive. */
      async arrive(): Promise<void> {
        for (const send of this.lost.splice(0)) await send();
      }
    }
    let lossy: Lossy;
    let node: PostgresAnswers;
    beforeEach(() => {
      lossy = new Lossy();
      node = new PostgresAnswers({ database: lossy, run: one.run, clock: new DatabaseClock() });
    });
    afterEach(() => node.close());
    /** The first statement that matches is lost. */
    const loseFirst = (pattern: RegExp): void => {
      lossy.isLost = (text) => {
        const isIt = pattern.test(text);
        if (isIt) lossy.isLost = () => false;
        return isIt;
      };
    };

    it.each(['forget', 'leaveInDoubt', 'update'] as const)(
      'a %s of the call before does nothing to the one that is under way',
      async (end) => {
        const former = newRecord(await node.begin(callId(), INTENT));
        loseFirst(/^\s*(?:DELETE|UPDATE)/);
        if (end === 'update') await former.update({ ...INTENT, until: 1 }).catch(() => undefined);
        else await former[end]({ ...INTENT, until: 1 });
        if (end !== 'forget') former.forget();
        const begun = await node.begin(callId(), INTENT);
        const record = end === 'leaveInDoubt' ? doubtOf(begun).record : newRecord(begun);
        await lossy.arrive();
        const intent = JSON.stringify(INTENT);
        const [row] = await store.query('SELECT state, node, json FROM kraken_proxy.answer');
        if (end === 'leaveInDoubt') expect(row).toMatchObject({ state: 'under-way', node: one.run });
        else expect(row).toEqual({ state: 'under-way', node: one.run, json: intent });
        expect(await record.answered(replyOf('one'))).toBeUndefined();
        expect(replayed(await begin(other))).toBe('one');
      },
    );

    it.each([true, false])(
      'a beginning that is not answered is tried again; it arrived: %s',
      async (mayHaveArrived) => {
        lossy.mayHaveArrived = mayHaveArrived;
        loseFirst(/INSERT INTO kraken_proxy.answer/);
        const record = newRecord(await node.begin(callId(), INTENT));
        await lossy.arrive();
        expect(await record.answered(replyOf('one'))).toBeUndefined();
        expect(replayed(await begin(other))).toBe('one');
      },
    );

    it.each([true, false])(
      'a lost reply that may have been taken is told; it was: %s',
      async (mayHaveArrived) => {
        await one.answers.lost(lostId, INTENT).answered(replyOf('one'));
        lossy.mayHaveArrived = mayHaveArrived;
        loseFirst(/DELETE FROM kraken_proxy.lost_reply/);
        expect(replayed(await node.begin(lostId, INTENT))).toBe('one');
        expect((await node.begin(lostId, INTENT)).state).toBe('new');
        expect(await lost()).toEqual([]);
      },
    );

    it('a cancel leaves what was placed after it', async () => {
      const order = callId({ kind: 'order', id: 'bid' });
      await newRecord(await node.begin(order, INTENT)).answered(replyOf('{}'));
      loseFirst(/lost_reply/);
      await node.canceled('master', ['bid'], performance.now());
      await until(async () => (await rows()).length === 0);
      await newRecord(await node.begin(order, INTENT)).answered(replyOf('{}'));
      await lossy.arrive();
      expect((await node.begin(order, INTENT)).state).toBe('answered');
    });

    it('a cancel of all leaves what was placed after it was sent', async () => {
      for (const answers of [node, other.answers]) await answers.begin(callId(), INTENT); // they know the time
      const sentAt = performance.now();
      const order = callId({ kind: 'order', id: 'bid' });
      await newRecord(await node.begin(order, INTENT)).answered(replyOf('{}'));
      await other.answers.canceled('master', 'all', sentAt);
      await node.canceled('master', 'all', sentAt);
      expect((await begin(other, order)).state).toBe('answered');
    });

    it('an answer that is written late is not told of an order that was canceled meanwhile', async () => {
      const order = callId({ kind: 'order', id: 'bid' });
      const record = newRecord(await node.begin(order, INTENT));
      lossy.isLost = (text) => text.includes('state = $4');
      await record.answered(replyOf('{}'));
      const canceling = node.canceled('master', ['bid'], performance.now());
      lossy.isLost = () => false;
      await canceling;
      expect((await begin(other, order)).state).toBe('new');
    });

    it('a disk without room is told, and when there is room again', async () => {
      await node.begin(callId({ id: 'before' }), INTENT);
      expect(node.problem).toBeUndefined();
      const full = Object.assign(new DatabaseError(new Error('No space left on device')), {
        sqlState: '53100',
      });
      lossy.isLost = (text) => {
        if (text.includes('INSERT')) throw full;
        return false;
      };
      await expect(node.begin(callId(), INTENT)).rejects.toBe(full);
      expect(node.problem).toBe('the database: No space left on device');
      // Known to be so for longer than a call waits: nobody waits in vain.
      await until(() => node.problem !== undefined);
      const began = performance.now();
      await expect(node.begin(callId(), INTENT)).rejects.toBe(full);
      expect(performance.now() - began).toBeLessThan(1_000);
      lossy.isLost = () => false;
      await until(() => node.problem === undefined);
      expect((await node.begin(callId(), INTENT)).state).toBe('new');
      await until(async () => (await rows()).length === 2);
    }, 20_000);
  });

  describe('a database that is away', () => {
    // A test that failed has left it so.
    afterEach(() => server.restart().catch(() => undefined));

    it('a restart refuses nobody: what begins meanwhile waits for it', async () => {
      const patient = await store.node();
      await patient.answers.begin(lostId, INTENT);
      await server.kill();
      const begun = [
        begin(patient),
        begin(patient, lostId),
        patient.answers.has(callId({ id: 'k2' })),
      ] as const;
      await server.restart();
      const [withId, without, isKnown] = await Promise.all(begun);
      expect([withId.state, without.state, isKnown]).toEqual(['new', 'new', false]);
    });

    it('nothing begins; once it is back all does', async () => {
      await server.kill();
      await expect(begin(one)).rejects.toMatchObject(refused);
      await expect(begin(one, lostId)).rejects.toMatchObject(refused);
      await expect(one.answers.has(callId())).rejects.toMatchObject(refused);
      await server.restart();
      expect((await begin(one)).state).toBe('new');
      expect((await begin(other)).state).toBe('under-way');
    });

    it('an answer that comes meanwhile is stored when it is back', async () => {
      const record = newRecord(await begin(one));
      await server.kill();
      expect(await record.answered(replyOf('one'))).toMatchObject(refused);
      await server.restart();
      expect(replayed(await begin(one))).toBe('one');
      expect(replayed(await begin(other))).toBe('one');
    });

    it.each(['doubt', 'forget', 'lost reply'])('so is a %s', async (what) => {
      const record = newRecord(await begin(one));
      await server.kill();
      if (what === 'doubt') await record.leaveInDoubt({ ...INTENT, until: 5 });
      if (what === 'forget') record.forget();
      if (what === 'lost reply') {
        const reply = one.answers.lost(lostId, INTENT);
        await expect(reply.written).rejects.toMatchObject(refused);
        expect(await reply.answered(replyOf('found'))).toMatchObject({ code: 'not-owner' });
      }
      await server.restart();
      if (what === 'doubt') {
        await until(async () => (await rows())[0]?.state === 'in-doubt');
        expect(doubtOf(await begin(other)).intent.until).toBe(5);
      }
      if (what === 'forget') await until(async () => (await rows()).length === 0);
      if (what === 'lost reply') {
        await until(async () => (await lost())[0]?.state === 'answered');
        expect(replayed(await begin(other, lostId))).toBe('found');
      }
    });

    it('a lost reply that it has not taken yet is known to an equal call at its node', async () => {
      await begin(one, lostId);
      await server.kill();
      await expect(one.answers.lost(lostId, INTENT).written).rejects.toMatchObject(refused);
      await server.restart();
      expect((await begin(one, lostId)).state).toBe('under-way');
    });

    it('a call that it took too late, when nobody waited any more, is not under way for ever', async () => {
      await begin(one, callId({ id: 'before' }));
      await server.freeze();
      await expect(begin(one)).rejects.toMatchObject(refused);
      await server.thaw();
      // The node takes back what it has begun, whichever of the two comes to the database first.
      expect((await begin(one)).state).toMatch(/^(?:new|in-doubt)$/);
    });

    it('what is not stored at a stop is tried once more, and nobody waits for it for ever', async () => {
      const record = newRecord(await begin(one));
      await server.kill();
      await record.leaveInDoubt(INTENT);
      const began = performance.now();
      await one.answers.close();
      expect(performance.now() - began).toBeLessThan(5_500);
      expect(one.troubles).toMatchObject([refused]);
      await server.restart();
    });
  });

  describe('calls without an id whose replies were lost', () => {
    it('each is told to exactly one of several equal calls at two nodes', async () => {
      for (const text of ['first', 'second']) await one.answers.lost(lostId, INTENT).answered(replyOf(text));
      const nodes = [one, other, one, other, one, other, one, other];
      const begun = await Promise.all(nodes.map((node) => begin(node, lostId)));
      expect(statesOf(begun)).toEqual(['answered', 'answered', ...Array<string>(6).fill('new')]);
      const told = begun.filter(({ state }) => state === 'answered').map(replayed);
      expect(told.toSorted()).toEqual(['first', 'second']);
      expect(await lost()).toEqual([]);
    });

    it.each(['dead', 'in doubt'])(
      'one whose node is %s is found out by exactly one of several',
      async (how) => {
        const first = await store.node();
        const record = first.answers.lost(lostId, INTENT);
        await record.written;
        if (how === 'dead') await store.die(first);
        else await record.leaveInDoubt(INTENT);
        const nodes = [one, other, one, other, one, other];
        const begun = await Promise.all(nodes.map((node) => begin(node, lostId)));
        expect(statesOf(begun)).toEqual(['in-doubt', ...Array<string>(5).fill('under-way')]);
        // What its own node says later is not heard.
        if (how === 'dead')
          expect(await record.answered(replyOf('late'))).toMatchObject({ code: 'not-owner' });
        const doubt = doubtOf(oneThatIs('in-doubt', begun));
        await doubt.record.answered(replyOf('found'));
        // One of those who waited gets it; the others are calls of their own.
        const outcomes = begun.filter(({ state }) => state === 'under-way').map(outcomeOf);
        expect(await Promise.all(outcomes)).toEqual(Array(5).fill(undefined));
        const again = await Promise.all(nodes.slice(1).map((node) => begin(node, lostId)));
        expect(statesOf(again)).toEqual(['answered', ...Array<string>(4).fill('new')]);
      },
    );

    it('one that arrived at the other node before the client was gone is a call of its own', async () => {
      await begin(other, lostId);
      const arrivedAt = performance.now();
      await begin(one, lostId);
      const since = arrivedAt + 2_000;
      await one.answers.lost(lostId, INTENT, since).answered(replyOf('found'));
      expect(await other.answers.has(lostId, arrivedAt)).toBe(false);
      expect((await other.answers.begin(lostId, INTENT, arrivedAt)).state).toBe('new');
      expect((await other.answers.begin(lostId, INTENT, since + 2_000)).state).toBe('answered');
    });

    it('a hang-up that was noticed late is one from before the call that repeats it elsewhere', async () => {
      for (const node of [one, other]) await begin(node, lostId); // they know the time
      const now = performance.now();
      const [arrivedAt, seenAt] = [now - 5_000, now];
      const isKnown = async (at: number): Promise<boolean> => await other.answers.has(lostId, at);
      await one.answers.lost(lostId, INTENT, seenAt, arrivedAt).written;
      expect([await isKnown(seenAt - 900), await isKnown(seenAt - 1_200)]).toEqual([true, false]);
      await store.query('DELETE FROM kraken_proxy.lost_reply');
      // But not one that was there before it.
      await one.answers.lost(lostId, INTENT, seenAt, seenAt - 400).written;
      expect([await isKnown(seenAt - 300), await isKnown(seenAt - 600)]).toEqual([true, false]);
      await store.query('DELETE FROM kraken_proxy.lost_reply');
      // Nor with one whose client was told, which knows when.
      await one.answers.lost(lostId, INTENT, seenAt).written;
      expect([await isKnown(seenAt + 300), await isKnown(seenAt - 300)]).toEqual([true, false]);
    });

    it('one that is being lost is seen by an equal call at the same node at once', async () => {
      await begin(one, lostId);
      const record = one.answers.lost(lostId, INTENT);
      const { state } = await begin(one, lostId);
      expect(state).toBe('under-way');
      await record.written;
    });
  });

  describe('sweeping', () => {
    it('drops what is older than a day, and nothing else', async () => {
      const ends = ['answered', 'in-doubt', 'under-way', 'of a dead node'];
      const dead = await store.node();
      for (const end of ends) {
        const record = newRecord(await begin(end === 'of a dead node' ? dead : one, callId({ id: end })));
        if (end === 'answered') await record.answered(replyOf('one'));
        if (end === 'in-doubt') await record.leaveInDoubt(INTENT);
      }
      await store.die(dead);
      await other.answers.sweep();
      expect(await rows()).toHaveLength(4);
      await store.age(24 * 60 * 60 * 1000);
      newRecord(await begin(one, callId({ id: 'young' })));
      await other.answers.sweep();
      expect(await rows()).toMatchObject([{ state: 'under-way' }, { state: 'under-way' }]);
      expect((await begin(one, callId({ id: 'under-way' }))).state).toBe('under-way');
    });

    it('drops more than it does at a time', async () => {
      await store.query(`
        INSERT INTO kraken_proxy.answer (key, state, json, at)
        SELECT 'k' || i, 'done', '', clock_timestamp() - interval '2 days' FROM generate_series(1, 2500) i`);
      await Promise.all([one.answers.sweep(), other.answers.sweep()]);
      expect(await rows()).toEqual([]);
    });

    it('drops lost replies ten minutes after their answers, and a day after their doubt', async () => {
      await one.answers.lost(lostId, INTENT).answered(replyOf('one'));
      await one.answers.lost(lostId, INTENT).leaveInDoubt(INTENT);
      await store.age(10 * 60 * 1000);
      await other.answers.sweep();
      expect(await lost()).toMatchObject([{ state: 'in-doubt' }]);
      await store.age(24 * 60 * 60 * 1000);
      await other.answers.sweep();
      expect(await lost()).toEqual([]);
    });

    it('what is under way by a node that knows nothing of it is in doubt: an end that the database lost', async () => {
      const mine = newRecord(await begin(one, callId({ id: 'mine' })));
      const stray = newRecord(await begin(one));
      await stray.leaveInDoubt(INTENT);
      await store.query(`
        UPDATE kraken_proxy.answer SET state = 'under-way', node = '${one.run}'
        WHERE key = '${stray.claim?.answer ?? ''}'`);
      await store.query(`
        INSERT INTO kraken_proxy.lost_reply (id, key, state, json, node, since, record)
        VALUES ('stray', 'k', 'under-way', '{}', '${one.run}', '-infinity', 'former')`);
      await store.age(9_000);
      const waiting = outcomeOf(await begin(other));
      await one.answers.releaseStrays();
      expect((await begin(other)).state).toBe('under-way');
      await store.age(2_000);
      await one.answers.releaseStrays();
      expect(await waiting).toBeUndefined();
      expect((await begin(other)).state).toBe('in-doubt');
      expect(await lost()).toMatchObject([{ state: 'in-doubt', node: null }]);
      expect((await rows()).find(({ key }) => key === mine.claim?.answer)).toMatchObject({
        state: 'under-way',
      });
    });
  });
});
