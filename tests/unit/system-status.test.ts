import { jest } from '@jest/globals';
import { SystemStatus } from '../../src/kraken/system-status.js';
import { Upstream } from '../../src/kraken/transport.js';
import { until } from '../support/until.js';
import { openWorld } from '../support/sandbox-world.js';

const CHECK = 10_000;
const IN_MAINTENANCE = 'Kraken is in maintenance';

/** Questions under way, to be answered by the test. */
interface Question {
  answer(body: string): Promise<void>;
  fail(): Promise<void>;
}

let questions: Question[];
let changes: (string | undefined)[];
let status: SystemStatus;

beforeEach(() => {
  jest.useFakeTimers();
  questions = [];
  changes = [];
  status = new SystemStatus({
    checkMs: CHECK,
    ask: () =>
      new Promise((resolve, reject) => {
        const settled = async (settle: () => void): Promise<void> => {
          settle();
          for (let turns = 0; turns < 10; turns++) await Promise.resolve();
        };
        questions.push({
          answer: (body) => settled(() => resolve(Buffer.from(body))),
          fail: () => settled(() => reject(new Error('HTTP 502'))),
        });
      }),
    onChange: (now) => changes.push(now),
  });
});

afterEach(() => {
  status.close();
  expect(jest.getTimerCount()).toBe(0);
  jest.useRealTimers();
});

const says = (word: string): string => JSON.stringify({ error: [], result: { status: word } });

/** The latest question. */
function question(): Question {
  const last = questions.at(-1);
  if (last === undefined) throw new Error('nothing was asked');
  return last;
}

async function suspectAnswered(body: string): Promise<void> {
  const before = questions.length;
  status.suspect();
  expect(questions).toHaveLength(before + 1);
  await question().answer(body);
}

describe("Kraken's status", () => {
  it('is not asked for until a call has failed, and is no problem until Kraken says so', () => {
    jest.advanceTimersByTime(100 * CHECK);
    expect(questions).toHaveLength(0);
    expect(status.problem).toBeUndefined();
    status.suspect();
    expect(questions).toHaveLength(1);
    expect(status.problem).toBeUndefined();
  });

  it('is asked for once at a time, and once in checkMs', async () => {
    for (let calls = 0; calls < 100; calls++) status.suspect();
    jest.advanceTimersByTime(5 * CHECK);
    status.suspect();
    expect(questions).toHaveLength(1);
    await question().answer(says('online'));
    status.suspect();
    expect(questions).toHaveLength(2);
    await question().fail();
    jest.advanceTimersByTime(CHECK - 1);
    status.suspect();
    expect(questions).toHaveLength(2);
    jest.advanceTimersByTime(1);
    status.suspect();
    expect(questions).toHaveLength(3);
  });

  it('in maintenance is a problem, asked for again by itself until it is over', async () => {
    await suspectAnswered(says('maintenance'));
    expect(status.problem).toBe(IN_MAINTENANCE);
    for (let checks = 2; checks < 60; checks++) {
      jest.advanceTimersByTime(CHECK);
      expect(questions).toHaveLength(checks);
      expect(status.problem).toBe(IN_MAINTENANCE);
      await question().answer(says('maintenance'));
    }
    jest.advanceTimersByTime(CHECK);
    await question().answer(says('online'));
    expect(status.problem).toBeUndefined();
    expect(jest.getTimerCount()).toBe(0);
    expect(changes).toEqual(['maintenance', 'online']);
  });

  it.each(['online', 'cancel_only', 'post_only', 'limit_only'])('%s takes calls', async (word) => {
    await suspectAnswered(says(word));
    expect(status.problem).toBeUndefined();
    expect(jest.getTimerCount()).toBe(0);
    expect(changes).toEqual([word]);
  });

  it.each(['online', 'cancel_only', 'post_only', 'limit_only'])('%s ends a maintenance', async (word) => {
    await suspectAnswered(says('maintenance'));
    jest.advanceTimersByTime(CHECK);
    await question().answer(says(word));
    expect(status.problem).toBeUndefined();
    expect(changes).toEqual(['maintenance', word]);
  });

  it.each([
    ['nothing', ''],
    ['HTML', '<html>'],
    ['null', 'null'],
    ['an error', '{"error":["EService:Unavailable"]}'],
    ['an error beside a status', '{"error":["EService:Busy"],"result":{"status":"online"}}'],
    ['no error list', '{"result":{"status":"online"}}'],
    ['no result', '{"error":[]}'],
    ['null as its result', '{"error":[],"result":null}'],
    ['no status', '{"error":[],"result":{}}'],
    ['a status that is no word', '{"error":[],"result":{"status":"all is\\nwell"}}'],
    ['a status that is no text', '{"error":[],"result":{"status":1}}'],
    ['half of it', says('online').slice(0, -1)],
  ])('answered with %s changes nothing', async (_, body) => {
    await suspectAnswered(body);
    expect(changes).toEqual([]);
    jest.advanceTimersByTime(CHECK);
    await suspectAnswered(says('maintenance'));
    jest.advanceTimersByTime(CHECK);
    await question().answer(body);
    expect(status.problem).toBe(IN_MAINTENANCE);
    expect(changes).toEqual(['maintenance']);
  });

  it('in maintenance is forgotten when Kraken has not said so for three checks', async () => {
    await suspectAnswered(says('maintenance'));
    for (let checks = 0; checks < 3; checks++) {
      jest.advanceTimersByTime(CHECK);
      await question().fail();
      expect(status.problem).toBe(IN_MAINTENANCE);
    }
    expect(questions).toHaveLength(4);
    jest.advanceTimersByTime(1);
    expect(status.problem).toBeUndefined();
    jest.advanceTimersByTime(CHECK);
    expect(changes).toEqual(['maintenance', undefined]);
    expect(jest.getTimerCount()).toBe(0);
    expect(questions).toHaveLength(4);
    await suspectAnswered(says('maintenance'));
    expect(status.problem).toBe(IN_MAINTENANCE);
  });

  it('in maintenance is forgotten although a question hangs', async () => {
    await suspectAnswered(says('maintenance'));
    jest.advanceTimersByTime(3 * CHECK + 1);
    expect(questions).toHaveLength(2);
    expect(status.problem).toBeUndefined();
    jest.advanceTimersByTime(CHECK);
    expect(changes).toEqual(['maintenance', undefined]);
    // An answer is as old as its question.
    await question().answer(says('maintenance'));
    expect(status.problem).toBeUndefined();
    expect(changes).toEqual(['maintenance', undefined]);
    await suspectAnswered(says('maintenance'));
    expect(status.problem).toBe(IN_MAINTENANCE);
  });

  it('counts from the question, not from its answer', async () => {
    status.suspect();
    jest.advanceTimersByTime(2 * CHECK);
    await question().answer(says('maintenance'));
    expect(status.problem).toBe(IN_MAINTENANCE);
    jest.advanceTimersByTime(CHECK);
    expect(status.problem).toBe(IN_MAINTENANCE);
    jest.advanceTimersByTime(1);
    expect(status.problem).toBeUndefined();
  });

  it('is not asked for by a part that is closed, and a late answer changes nothing', async () => {
    await suspectAnswered(says('maintenance'));
    jest.advanceTimersByTime(CHECK);
    status.close();
    expect(jest.getTimerCount()).toBe(0);
    await question().answer(says('online'));
    expect(changes).toEqual(['maintenance']);
    jest.advanceTimersByTime(CHECK);
    status.suspect();
    expect(questions).toHaveLength(2);
  });
});

it('is understood as the strict stand-in for Kraken tells it', async () => {
  jest.useRealTimers();
  const world = await openWorld();
  const upstream = new Upstream({ url: world.sandbox.url, timeoutMs: 5_000, connections: 1 });
  const own = new SystemStatus({
    checkMs: 100,
    ask: async () =>
      (await upstream.send({ method: 'GET', path: '/0/public/SystemStatus', headers: {}, body: null })).body,
    onChange: (now) => changes.push(now),
  });
  try {
    world.sandbox.systemStatus = 'maintenance';
    await until(() => {
      own.suspect(); // again, should a busy machine have made the first answer an old one
      return own.problem === IN_MAINTENANCE;
    });
    world.sandbox.systemStatus = 'post_only';
    await until(() => changes.at(-1) === 'post_only');
    expect(own.problem).toBeUndefined();
  } finally {
    own.close();
    await upstream.close();
    await world.close();
    jest.useFakeTimers();
  }
});
