import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { KnownAnswers } from '../../src/answers/known-answers.js';
import {
  callId,
  doubtOf,
  INTENT,
  newRecord,
  outcomeOf,
  replayed,
  replyOf,
} from '../support/answers-world.js';
import { Disk } from '../support/disk.js';
import { until } from '../support/until.js';

const PATIENCE_MS = 5_000;
const late = {
  name: 'ProxyError',
  code: 'not-owner',
  message: 'the file of known answers was not written within 5000 ms',
  retryAfterSeconds: 1,
};

let folder: string;
let file: string;
let disk: Disk;
let answers: KnownAnswers;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'answers-'));
  file = join(folder, 'nonce.answers');
  answers = await KnownAnswers.open(file);
  disk = await Disk.of(file);
});

afterEach(async () => {
  disk.mend();
  await answers.close();
  rmSync(folder, { recursive: true });
});

const reopen = (): Promise<KnownAnswers> => KnownAnswers.open(file);

describe('a disk that hangs', () => {
  /** Ends what hangs. */
  let wake: () => void;

  beforeEach(() => {
    const awake = new Promise<void>((resolve) => (wake = resolve));
    for (const call of ['datasync', 'appendFile'] as const) {
      disk.replace(call, async (healthy) => {
        await awake;
        await healthy();
      });
    }
    // Timers only: the disk and the ages go on as they are.
    jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate', 'performance', 'Date'] });
  });

  afterEach(() => {
    wake();
    jest.useRealTimers();
  });

  it('is waited for 5 s; then the call is refused, and is new for the next, now and after a restart', async () => {
    const record = newRecord(answers.begin(callId(), INTENT));
    const waiting = outcomeOf(answers.begin(callId(), INTENT));
    const became = jest.fn();
    record.written.catch(became);
    await jest.advanceTimersByTimeAsync(PATIENCE_MS - 1);
    expect(became).not.toHaveBeenCalled();
    await jest.advanceTimersByTimeAsync(1);
    expect(became).toHaveBeenCalledWith(expect.objectContaining(late));
    expect(await waiting).toBeUndefined();
    expect(jest.getTimerCount()).toBe(0);
    expect(answers.count).toBe(0);
    wake();
    await answers.close();
    const next = await reopen();
    expect(newRecord(next.begin(callId(), INTENT))).toBeDefined();
    await next.close();
  });

  it('does not keep an answer from its client for longer, and says why; it is known all the same', async () => {
    const record = newRecord(answers.begin(callId(), INTENT));
    record.written.catch(() => undefined);
    const noted = record.answered(replyOf('one'));
    await jest.advanceTimersByTimeAsync(PATIENCE_MS);
    expect(await noted).toMatchObject(late);
    expect(replayed(answers.begin(callId(), INTENT))).toBe('one');
    wake();
    await answers.close();
    const next = await reopen();
    expect(replayed(next.begin(callId(), INTENT))).toBe('one');
    await next.close();
  });
});

describe('a disk that fails', () => {
  const failed = {
    code: 'not-owner',
    message: 'the file of known answers cannot be written: no space left',
    retryAfterSeconds: 1,
    cause: { code: 'ENOSPC' },
  };
  const fail = (): Promise<never> =>
    Promise.reject(Object.assign(new Error('no space left'), { code: 'ENOSPC' }));

  it.each(['appendFile', 'datasync'] as const)(
    'refuses the call, which is new for the next (%s)',
    async (call) => {
      disk.replace(call, fail);
      await expect(newRecord(answers.begin(callId(), INTENT)).written).rejects.toMatchObject(failed);
      disk.mend();
      await newRecord(answers.begin(callId(), INTENT)).written;
      const next = await reopen();
      doubtOf(next.begin(callId(), INTENT));
      await next.close();
    },
  );

  it('a refusal that nobody waits for is no unhandled one', async () => {
    disk.replace('appendFile', fail);
    answers.begin(callId(), INTENT);
    await until(() => answers.count === 0);
    await new Promise((resolve) => setImmediate(resolve));
  });

  it('an answer that could not be written is known, and written with the next line', async () => {
    const record = newRecord(answers.begin(callId(), INTENT));
    await record.written;
    disk.replace('appendFile', async (_, data, handle) => {
      disk.mend();
      await handle.appendFile(data.subarray(0, 20));
      await fail();
    });
    expect(await record.answered(replyOf('one'))).toMatchObject(failed);
    expect(readFileSync(file, 'utf8')).not.toMatch(/\n$/);
    expect(replayed(answers.begin(callId(), INTENT))).toBe('one');
    // After a crash it would be in doubt.
    await newRecord(answers.begin(callId({ id: 'k2' }), INTENT)).written;
    const next = await reopen();
    expect(replayed(next.begin(callId(), INTENT))).toBe('one');
    doubtOf(next.begin(callId({ id: 'k2' }), INTENT));
    await next.close();
  });

  it('an intent that could not be changed leaves the record open', async () => {
    const record = newRecord(answers.begin(callId(), INTENT));
    await record.written;
    disk.replace('appendFile', fail);
    await expect(record.update({ ...INTENT, until: 1 })).rejects.toMatchObject(failed);
    disk.mend();
    expect(answers.begin(callId(), INTENT).state).toBe('under-way');
    expect(await record.answered(replyOf('one'))).toBeUndefined();
  });
});
