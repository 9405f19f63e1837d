/**
 * A disk that hangs at a stop held the process up: its last write had no limit of its own, the exit code said "asked to
 * stop" or "a bug" where a later try may help, and with a thread of the file system stuck in the kernel `process.exit`
 * itself never returned, so that no supervisor could start the proxy again.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  closeWorldsLeftOpen,
  expectFlawless,
  expectServed,
  inWorld,
  type ProcessWorld,
} from '../support/process-world.js';

afterAll(closeWorldsLeftOpen);

const UPSTREAM = { timeoutMs: 100 };
const NS_PER_MS = 1_000_000n;

/** Loaded into the proxy before itself: from the second state write on, `instead` takes the place of the write. */
function hanging(instead: string): readonly string[] {
  const module = `
    import { promises } from 'node:fs';
    import { syncBuiltinESMExports } from 'node:module';
    const { open } = promises;
    let writes = 0;
    promises.open = async (path, ...rest) => {
      if (String(path).includes('nonce.txt.tmp-') && ++writes > 1) { ${instead} }
      return await open(path, ...rest);
    };
    syncBuiltinESMExports();
  `;
  return ['env', `NODE_OPTIONS=--import=data:text/javascript,${encodeURIComponent(module)}`];
}

async function stopWith(world: ProcessWorld, wrapper: readonly string[]): Promise<object> {
  writeFileSync(world.stateFile, String(BigInt(Date.now()) * NS_PER_MS));
  // The reservation lasts for the whole test: the second write is that of the stop.
  const proxy = await world.ready({
    config: { upstream: UPSTREAM, nonce: { reserveMs: 60_000 } },
    wrapper: [...wrapper],
  });
  expectServed(await world.client(proxy.url).private('Balance'));
  const asked = performance.now();
  proxy.kill('SIGTERM');
  const exit = await proxy.exit();
  await world.expectWithin(5_000 + 3_000, performance.now() - asked);
  const next = await world.ready();
  expectServed(await world.client(next.url).private('Balance'));
  expectFlawless(world.sandbox);
  return exit;
}

it.concurrent(
  'a last write that never ends leaves the exit code 75; the next start is above all that was used',
  () =>
    inWorld(async (world) => {
      const never = 'return await new Promise(() => setInterval(() => undefined, 1_000));';
      expect(await stopWith(world, hanging(never))).toEqual({ code: 75, signal: null });
    }),
);

it.concurrent('a thread stuck in the disk does not keep the process: it leaves by the kernel’s way', () =>
  inWorld(async (world) => {
    // Opening a FIFO that nobody writes to holds its thread in the kernel, as a dead network disk does.
    const fifo = join(world.stateFolder, 'fifo');
    execFileSync('mkfifo', [fifo]);
    const stuck = `await open(${JSON.stringify(fifo)}, 'r');`;
    expect(await stopWith(world, hanging(stuck))).toEqual({ code: null, signal: 'SIGKILL' });
  }),
);
