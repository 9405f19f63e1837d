import type { IncomingMessage } from 'node:http';
import { openApi } from '../../src/http/openapi.js';
import { Secret } from '../../src/secret.js';
import { misfits } from '../support/operator-schema.js';
import { NOON, openOperatorWorld, type OperatorWorld } from '../support/operator-world.js';
import { until } from '../support/until.js';

const DOCUMENT = openApi('0.0.0-test');

const TICK = 'event: tick\n';

interface Tick {
  readonly status: { readonly version: string };
  readonly second: { readonly at: number; readonly calls: number };
  readonly calls: readonly { readonly requestId: string }[];
  readonly skipped: number;
}

/** Reads a stream of events as an EventSource would. */
class Reader {
  text = '';
  ended = false;
  readonly #incoming: IncomingMessage;
  #counted = { ticks: 0, end: 0 };

  constructor(incoming: IncomingMessage) {
    this.#incoming = incoming;
    incoming.on('data', (chunk: Buffer) => (this.text += chunk.toString()));
    incoming.on('close', () => (this.ended = true));
    incoming.on('error', () => undefined); // being cut off is one of the ways it may end
  }

  get status(): number | undefined {
    return this.#incoming.statusCode;
  }

  get ticks(): Tick[] {
    return this.text
      .split('\n\n')
      .slice(0, -1)
      .filter((event) => event.startsWith(TICK))
      .map((event) => JSON.parse(event.slice(`${TICK}data: `.length)) as Tick);
  }

  get tickCount(): number {
    for (;;) {
      const at = this.text.indexOf(TICK, this.#counted.end);
      if (at < 0) return this.#counted.ticks;
      this.#counted = { ticks: this.#counted.ticks + 1, end: at + TICK.length };
    }
  }

  stand(): void {
    this.#incoming.pause();
  }

  goOn(): void {
    this.#incoming.resume();
  }

  hangUp(): void {
    this.#incoming.destroy();
  }
}

let world: OperatorWorld;
beforeEach(async () => {
  world = await openOperatorWorld();
});
afterEach(() => world.close());

async function watch(token?: string): Promise<Reader> {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  return new Reader(await world.watch({ headers }));
}

it('the first bytes come at once, and what is new once a second, as the document says', async () => {
  const incoming = await world.watch();
  expect(incoming.headers).toMatchObject({
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  });
  const reader = new Reader(incoming);
  await until(() => reader.text === 'retry: 2000\n\n');
  world.controls.end('3');
  world.controls.end('4');
  world.clock.wall += 1_020;
  world.tick();
  await until(() => reader.tickCount === 1);
  const [tick] = reader.ticks;
  // The world's calls all ended at noon; the two from before are no news.
  expect(tick?.second).toMatchObject({ at: NOON / 1_000, calls: 4 });
  expect(tick?.calls.map(({ requestId }) => requestId)).toEqual(['4', '3']);
  expect(tick?.skipped).toBe(0);
  expect(misfits(DOCUMENT, { $ref: '#/components/schemas/Tick' }, tick)).toEqual([]);
  world.tick();
  await until(() => reader.tickCount === 2);
  expect(reader.ticks[1]).toMatchObject({ calls: [], skipped: 0 });
});

it('of more than 200 new calls the newest come, and the number of the others', async () => {
  const reader = await watch();
  for (let n = 0; n < 1_250; n++) world.controls.end(`c${n}`);
  world.tick();
  await until(() => reader.tickCount === 1);
  const [tick] = reader.ticks;
  expect([tick?.calls.length, tick?.calls[0]?.requestId, tick?.skipped]).toEqual([200, 'c1249', 1_050]);
});

it('all who watch get the same, gathered once', async () => {
  const readers = [await watch(), await watch(), await watch()];
  let gathered = 0;
  const { controls } = world;
  const status = controls.status.bind(controls);
  controls.status = () => {
    gathered++;
    return status();
  };
  world.controls.end('3');
  world.tick();
  await until(() => readers.every(({ tickCount }) => tickCount === 1));
  expect(gathered).toBe(1);
  expect(new Set(readers.map(({ text }) => text)).size).toBe(1);
});

it('nothing runs while nobody watches', async () => {
  expect(world.ticking).toBe(false);
  const [one, other] = [await watch(), await watch()];
  expect(world.ticking).toBe(true);
  one.hangUp();
  world.tick();
  await until(() => other.tickCount === 1);
  expect(world.ticking).toBe(true);
  other.hangUp();
  await until(() => !world.ticking);
  await watch();
  expect(world.ticking).toBe(true);
});

it('HEAD watches nothing', async () => {
  const { status, headers } = await world.ask('HEAD', '/v1/events');
  expect([status, headers['content-type']]).toEqual([200, 'text/event-stream; charset=utf-8']);
  expect(world.ticking).toBe(false);
});

it('the seventeenth is turned away until one has left', async () => {
  const readers = await Promise.all(Array.from({ length: 16 }, () => watch()));
  expect(readers.map(({ status }) => status)).toEqual(Array(16).fill(200));
  const { status, code, headers } = await world.ask('GET', '/v1/events');
  expect([status, code, headers['retry-after']]).toEqual([503, 'unavailable', '5']);
  readers[3]?.hangUp();
  await until(async () => {
    world.clock.ms += 1_000; // reads are limited as well
    const reader = await watch();
    return reader.status === 200;
  });
});

it('news that cannot be gathered are a comment and a line in the log, and those after it come', async () => {
  const reader = await watch();
  world.controls.broken = new Error('boom');
  world.controls.end('3');
  world.tick();
  await until(() => reader.text.includes('\n: '));
  expect(reader.text).not.toContain('boom');
  expect(world.failed).toEqual([world.controls.broken]);
  world.controls.broken = undefined;
  world.tick();
  await until(() => reader.tickCount === 1);
  expect(reader.ticks[0]?.calls.map(({ requestId }) => requestId)).toEqual(['3']);
});

describe('who reads slowly', () => {
  const PADDING = 1024 * 1024;

  it('misses ticks instead of filling our memory, holds nobody up, and goes on with what is new', async () => {
    world.controls.padding = PADDING;
    const [slow, quick] = [await watch(), await watch()];
    await until(() => slow.text !== '');
    slow.stand();
    // Sockets and their buffers in both kernels take some of it; 29 ticks on end would make it dead.
    for (let n = 1; n <= 25; n++) {
      world.tick();
      await until(() => quick.tickCount === n);
    }
    expect(quick.ended).toBe(false);
    world.controls.padding = 0;
    slow.goOn();
    await until(() => {
      world.controls.end('new');
      world.tick();
      return slow.text.includes('"requestId":"new"');
    });
    expect(slow.tickCount).toBeLessThan(20);
    expect(slow.ticks.every(({ status }) => status.version === '0.0.0-test')).toBe(true); // none is torn
  }, 30_000);

  it('and reads nothing for 30 ticks is cut off', async () => {
    world.controls.padding = PADDING;
    const slow = await watch();
    await until(() => slow.text !== '');
    slow.stand();
    let ticks = 0;
    await until(() => {
      if (world.ticking) ticks++;
      world.tick();
      return !world.ticking;
    });
    expect(ticks).toBeGreaterThanOrEqual(30);
    expect(ticks).toBeLessThan(60);
    slow.goOn();
    await until(() => slow.ended);
  }, 30_000);
});

it('a token that was changed lets nobody watch on', async () => {
  world.token = new Secret('the-old-token');
  const reader = await watch('the-old-token');
  world.tick();
  await until(() => reader.tickCount === 1);
  world.token = new Secret('the-new-token');
  world.tick();
  await until(() => reader.ended);
  expect(reader.tickCount).toBe(1);
  expect(world.ticking).toBe(false);
});

it('a stop ends the streams in order, and nobody watches after it', async () => {
  const [one, other] = [await watch(), await watch()];
  world.tick();
  await until(() => one.tickCount === 1 && other.tickCount === 1);
  world.stop();
  await until(() => one.ended && other.ended);
  expect(one.text.endsWith('\n\n')).toBe(true);
  expect(world.ticking).toBe(false);
  expect((await world.ask('GET', '/v1/events')).status).toBe(503);
  expect((await world.ask('GET', '/v1/status')).status).toBe(200);
});
