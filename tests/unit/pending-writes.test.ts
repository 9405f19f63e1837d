import { PendingWrites } from '../../src/answers/pending-writes.js';
import { DatabaseError, type Values } from '../../src/postgres/database.js';
import { until } from '../support/until.js';

/** Takes each statement once it may, in the order in which they come; refuses what it has to. */
class Ledger {
  readonly taken: string[] = [];
  isAway = false;
  /** How often it was asked. */
  asked = 0;
  /** Texts that it will never take. */
  readonly refused = new Map<string, string>();

  // eslint-disable-next-line @typescript-eslint/require-await -- rejects as the database does
  async query<Row>(text: string, values: Values = []): Promise<readonly Row[]> {
    this.asked += 1;
    if (this.isAway) throw new DatabaseError(new Error('connect ECONNREFUSED'));
    const state = this.refused.get(text);
    if (state !== undefined) throw stateError(state);
    this.taken.push([text, ...values].join(' '));
    return [{} as Row];
  }
}

function stateError(sqlState: string): DatabaseError {
  return Object.assign(new DatabaseError(new Error('no')), { sqlState });
}

const away = { code: 'not-owner', message: 'the database: connect ECONNREFUSED' };
let database: Ledger;
let givenUp: unknown[];
let writes: PendingWrites;
const open = (maxBytes?: number): PendingWrites =>
  (writes = new PendingWrites({
    ...{ database, retryMs: 5, onGivenUp: (error: unknown) => void givenUp.push(error) },
    ...(maxBytes === undefined ? {} : { maxBytes }),
  }));

beforeEach(() => {
  database = new Ledger();
  givenUp = [];
  open();
});
afterEach(() => writes.close());

it('writes of one key come in their order, and tell how many rows they gave', async () => {
  const counts = await Promise.all([writes.write('k', 'one', [1]), writes.write('k', 'two', [])]);
  expect([counts, database.taken]).toEqual([
    [1, 1],
    ['one 1', 'two'],
  ]);
  await writes.settled('k');
});

it('what fails is told, and written in its order once the database is back; other keys wait for nobody', async () => {
  database.isAway = true;
  const first = writes.write('k', 'one', []);
  const second = writes.write('k', 'two', []);
  await expect(first).rejects.toMatchObject(away);
  await expect(writes.settled('k')).rejects.toMatchObject(away);
  await writes.settled('other');
  await until(() => database.asked > 3);
  database.isAway = false;
  expect(await writes.write('other', 'three', [])).toBe(1);
  expect(await second).toBe(1);
  await writes.settled('k');
  expect(database.taken.filter((text) => text !== 'three')).toEqual(['one', 'two']);
  expect(givenUp).toEqual([]);
});

it('what is not to be repeated is not', async () => {
  database.isAway = true;
  await expect(writes.write('k', 'one', [], false)).rejects.toMatchObject(away);
  await writes.settled('k');
  database.isAway = false;
  await writes.write('k', 'two', []);
  expect(database.taken).toEqual(['two']);
});

it.each(['22021', '23514'])('what it refuses for its values (%s) is in nobody’s way', async (state) => {
  database.refused.set('bad', state);
  await expect(writes.write('k', 'bad', [])).rejects.toMatchObject({ sqlState: state });
  expect(await writes.write('k', 'good', [])).toBe(1);
  // Also when it finds out later.
  database.isAway = true;
  await expect(writes.write('late', 'bad', [])).rejects.toMatchObject(away);
  await expect(writes.write('other', 'fine', [])).rejects.toMatchObject(away);
  database.isAway = false;
  await Promise.all([writes.settled('late'), writes.settled('other')]);
  expect(database.taken).toEqual(['good', 'fine']);
  expect(givenUp).toMatchObject([{ sqlState: state }, { sqlState: state }]);
});

it.each(['25006', '57P01', '42P01'])('what it refuses for its own state (%s) is repeated', async (state) => {
  database.refused.set('one', state);
  await expect(writes.write('k', 'one', [])).rejects.toMatchObject({ sqlState: state });
  database.refused.clear();
  await writes.settled('k');
  expect(database.taken).toEqual(['one']);
});

it('what waits takes no more memory than it may: the rest is given up', async () => {
  open(2_000);
  database.isAway = true;
  const reply = 'x'.repeat(700);
  for (const key of ['a', 'b', 'c'])
    await expect(writes.write(key, 'answer', [key, reply])).rejects.toMatchObject(away);
  expect(givenUp).toMatchObject([away, away]);
  database.isAway = false;
  await writes.settled('a');
  expect(database.taken).toEqual([`answer a ${reply}`]);
  // There is room again.
  database.isAway = true;
  await expect(writes.write('d', 'answer', ['d'])).rejects.toMatchObject(away);
  database.isAway = false;
  await writes.settled('d');
  expect(givenUp).toHaveLength(2);
});

it.each(['here', 'away'])('closing tries once more what is left; with the database %s', async (where) => {
  database.isAway = true;
  await expect(writes.write('k', 'one', [])).rejects.toMatchObject(away);
  const after = writes.write('k', 'two', []);
  database.isAway = where === 'away';
  const ended = after.catch(() => undefined);
  await writes.close();
  await ended;
  expect(database.taken).toEqual(where === 'away' ? [] : ['one', 'two']);
  expect(givenUp.length > 0).toBe(where === 'away');
  const { asked } = database;
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(database.asked).toBe(asked);
});
