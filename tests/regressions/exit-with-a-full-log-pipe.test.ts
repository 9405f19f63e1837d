/**
 * The last flush of the log wrote synchronously. With a log reader that stood still (a stuck log agent, a pager), the
 * pipe was full, and a process that had been asked to stop, or had lost its state, never ended.
 */
import { PassThrough, Writable } from 'node:stream';
import { createLogOutput } from '../../src/log.js';

it('a reader that stands still does not hold up the exit', async () => {
  const stuck = new Writable({ highWaterMark: 1, write: () => undefined });
  const output = createLogOutput(stuck);
  for (let line = 0; line < 1_000; line++) output.write(`line ${line}\n`);
  const started = performance.now();
  await output.flush(50);
  expect(performance.now() - started).toBeLessThan(1_000);
  stuck.destroy();
});

it('a reader that reads gets every line, in order, before the flush ends', async () => {
  const reader = new PassThrough();
  const output = createLogOutput(reader);
  const lines = Array.from({ length: 700 }, (_, line) => `line ${line}\n`);
  for (const line of lines) output.write(line);
  await output.flush(5_000);
  expect(String(reader.read())).toBe(lines.join(''));
});

it('a reader that is gone does not end the process', async () => {
  const gone = new Writable({ write: (_chunk, _encoding, done) => done(new Error('EPIPE')) });
  const output = createLogOutput(gone);
  output.write('line\n');
  await output.flush(50);
  output.write('another\n');
  await output.flush(50);
  expect(gone.destroyed).toBe(true);
});
