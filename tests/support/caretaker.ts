import { spawn, type ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';

/**
 * Waits until nobody holds the other end of its input any more, which is so even when that process was killed. Then ends
 * every process that works in the folder ($1) or its `data`, whichever they are by then, and removes what is left of them.
 */
const SCRIPT = `
while read -r line; do :; done
while
  found=
  for process in /proc/[0-9]*; do
    if [ "$process/cwd" -ef "$1" ] || [ "$process/cwd" -ef "$1/data" ]; then
      found=yes
      kill -9 "\${process#/proc/}"
    fi
  done
  [ -n "$found" ]
do sleep 0.02; done
# A PostgreSQL that was killed leaves a piece of shared memory, named by the seventh line.
memory=$(sed -n 7p "$1/data/postmaster.pid") && [ -n "$memory" ] && ipcrm -m "\${memory##* }"
rm -rf "$1"
`;

/**
 * Ends the processes of a folder and removes it, when asked or when this process ends in whatever way: within jest there
 * is no `exit` event, and none comes after kill -9. Linux only.
 */
export class Caretaker {
  readonly #shell: ChildProcess;
  readonly #ended: Promise<void>;

  /** `folder`: absolute; it and its `data` are where the processes have their working directory. */
  constructor(folder: string) {
    // Detached: what interrupts the tests at a terminal must not reach it.
    this.#shell = spawn('/bin/sh', ['-c', SCRIPT, 'caretaker', folder], {
      cwd: '/',
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    this.#ended = new Promise((resolve, reject) => {
      this.#shell.once('close', () => resolve());
      this.#shell.once('error', reject);
    });
    this.#ended.catch(() => undefined);
    // Neither keeps the test run from ending.
    this.#shell.unref();
    (this.#shell.stdin as Socket).unref();
  }

  /** Resolves when the processes and the folder are gone. May be called twice. */
  async cleanUp(): Promise<void> {
    this.#shell.ref();
    this.#shell.stdin?.end();
    await this.#ended;
  }
}
